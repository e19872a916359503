"""A table in PostgreSQL: one row per member, written set-wise, one transaction per batch.

The list is the table. Its rows are told apart by ``key`` alone: any other mapped name is a column, and a change of it is
an update. Who wrote a row stands in the row: a row of somebody else is neither changed nor deleted, and a member whose
key such a row holds is rejected by name.

A column is ours when its comment says so. All of ours are written with every row, so that a value that went away becomes
NULL; any other column is left alone, and mapping to one is refused.

PostgreSQL says what came of a transaction unless the connection is lost while committing. Anything that fails before that
was certainly not applied.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from audience_syncs.destinations.contract import Account, DestinationSpec, FieldSpec, ListMember, ListRequest
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import (
    AccessRefused,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import ACCEPTED, Batch, RemoteList, Verdict, VerdictKind

if TYPE_CHECKING:
    import sqlalchemy as sa

_Result = TypeVar("_Result")

KEY, OWNER, WRITTEN = "key", "audience_syncs_owner", "audience_syncs_written_at"
OURS = "written by audience-syncs"
"""The comment of our columns."""
LONGEST_NAME = 63
"""Bytes of a name in PostgreSQL, which cuts longer ones without an error."""
TAKEN = Verdict(VerdictKind.REJECTED, "ROW_OF_SOMEBODY_ELSE", "the table has a row with this key that others wrote")
_PAGE = 10_000

SPEC = DestinationSpec(
    platform="sql_table",
    title="SQL table",
    kind="postgres",
    fields=(
        FieldSpec(KEY, "generic.external_id", identifier=True, description="The table's key: one row for each value."),
    ),
    open_fields=FieldSpec("", "generic.text", description="A column of the table, made where it is missing."),
    credentials=("url",),
    settings={
        "schema": "The schema of the tables; it must exist. Default: public.",
        "owner": "Stands in every row that is written here. Default: the destination's name.",
        "timeout_s": "Seconds a statement may take. Default: 60.",
    },
    required_settings=frozenset(),
    required_fields=frozenset({KEY}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=10_000,
    concurrency=2,
    reads_members=True,
    docs="docs/destinations/sql-table.md",
)


class SqlTable:
    """One schema of one database."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        self._name = account.name
        self._schema = _name_of(str(account.settings.get("schema") or "public"), "schema")
        self._owner = str(account.settings.get("owner") or account.name)
        self._engine = _engine(account)
        self._columns: dict[str, frozenset[str]] = {}
        self._altering = threading.Lock()
        self._counting = threading.Lock()
        self._sent = 0

    @property
    def requests_sent(self) -> int:
        """Transactions: there are no HTTP requests."""
        return self._sent

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        table = _name_of(wanted.id if wanted.id is not None else wanted.name, "table")

        def make(connection: sa.Connection) -> bool:
            columns = self._read_columns(connection, table)
            if columns is None:
                if wanted.id is not None:
                    raise _missing(table)
                _create(connection, self._path(table))
                return True
            missing = {KEY, OWNER, WRITTEN} - {name for name, comment in columns.items() if comment == OURS}
            if missing:
                raise DestinationError(
                    f"there is a table {table!r} that was not made by audience-syncs: "
                    f"{', '.join(sorted(missing))} is not a column of ours",
                    code="TABLE_OF_SOMEBODY_ELSE",
                    remedy="give the sync's `list` another name: the table is then made",
                )
            return False

        return RemoteList(table, table, None, self._transaction(make))

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        import sqlalchemy as sa
        from sqlalchemy.dialects.postgresql import ARRAY, insert

        for position, member in enumerate(batch.members):
            if any("\0" in (_text(value) or "") for value in member.fields.values()):
                raise BatchRefused("PostgreSQL stores no NUL in text", reason_code="NUL_IN_TEXT", position=position)
        columns = self._with_columns(list_id, {name for member in batch.members for name in member.fields} - {KEY})
        # Members who share a key are one row; sorted, so that two batches lock their rows in the same order.
        rows = {_key(member.fields): member.fields for member in batch.members}
        keys = sorted(rows)
        names = [KEY, *sorted(columns)]
        arrays = [sa.literal([_text(rows[key].get(name)) for key in keys], ARRAY(sa.Text())) for name in names]
        places = [f"c{place}" for place in range(len(names))]
        given = sa.func.unnest(*arrays).table_valued(*places).render_derived(name="given")
        target = self._table(list_id, names)
        statement = insert(target).from_select(
            [*names, OWNER, WRITTEN],
            sa.select(*(given.c[place] for place in places), sa.literal(self._owner), sa.func.now()),
        )
        written = statement.on_conflict_do_update(
            index_elements=[target.c[KEY]],
            set_={target.c[name]: statement.excluded[name] for name in (*names, WRITTEN)},
            where=target.c[OWNER] == self._owner,
        ).returning(target.c[KEY])
        held = self._transaction(lambda connection: set(connection.execute(written).scalars()), list_id)
        return [ACCEPTED if _key(member.fields) in held else TAKEN for member in batch.members]

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        import sqlalchemy as sa
        from sqlalchemy.dialects.postgresql import ARRAY

        target = self._table(list_id, [KEY])
        keys = sa.literal(sorted({_key(member.fields) for member in batch.members}), ARRAY(sa.Text()))
        gone = sa.delete(target).where(target.c[KEY] == sa.any_(keys), target.c[OWNER] == self._owner)
        self._transaction(lambda connection: connection.execute(gone), list_id)
        return [ACCEPTED] * len(batch)

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        """Everybody whose row was written here; rows of others are not in the list."""
        import sqlalchemy as sa

        target, after = self._table(list_id, [KEY]), ""
        while True:
            page = (
                sa.select(target.c[KEY])
                .where(target.c[OWNER] == self._owner, target.c[KEY] > after)
                .order_by(target.c[KEY])
                .limit(_PAGE)
            )
            keys = self._transaction(partial(_keys, page), list_id)
            if not keys:
                return
            yield [ListMember({KEY: key}) for key in keys]
            after = keys[-1]

    def _with_columns(self, table: str, wanted: Collection[str]) -> frozenset[str]:
        """Our columns of the table, the key and our marks aside, after those that were missing were made."""
        with self._altering:
            known = self._columns.get(table)
            if known is None or not known.issuperset(wanted):
                known = self._transaction(lambda connection: self._make_columns(connection, table, wanted), table)
                self._columns[table] = known
            return known

    def _make_columns(self, connection: sa.Connection, table: str, wanted: Collection[str]) -> frozenset[str]:
        there = self._read_columns(connection, table)
        if there is None:
            raise _missing(table)
        for name in sorted(wanted):
            if there.get(_name_of(name, "column")) == OURS and name not in (OWNER, WRITTEN):
                continue
            if name in there:
                raise DestinationError(
                    f"the table {table!r} has a column {name!r} that was not made by this sync",
                    code="COLUMN_OF_SOMEBODY_ELSE",
                    remedy="map to another name in the sync's `mapping`: its column is then made",
                )
            _run(connection, f'ALTER TABLE {self._path(table)} ADD COLUMN {_quoted(name)} text COLLATE "C"')
            _run(connection, f"COMMENT ON COLUMN {self._path(table)}.{_quoted(name)} IS '{OURS}'")
            there[name] = OURS
        return frozenset(name for name, comment in there.items() if comment == OURS) - {KEY, OWNER, WRITTEN}

    def _read_columns(self, connection: sa.Connection, table: str) -> dict[str, str | None] | None:
        """The table's columns with their comments; None where there is no such table."""
        import sqlalchemy as sa

        found = connection.execute(
            sa.text(
                "SELECT a.attname, col_description(c.oid, a.attnum) FROM pg_class c "
                "JOIN pg_namespace n ON n.oid = c.relnamespace "
                "LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
                "WHERE n.nspname = :schema AND c.relname = :name"
            ),
            {"schema": self._schema, "name": table},
        ).all()
        return {name: comment for name, comment in found if name is not None} if found else None

    def _table(self, name: str, columns: Sequence[str]) -> sa.Table:
        import sqlalchemy as sa
        from sqlalchemy.sql import quoted_name

        return sa.Table(
            quoted_name(name, True),
            sa.MetaData(),
            *(sa.Column(quoted_name(column, True), sa.Text()) for column in (*columns, OWNER)),
            sa.Column(WRITTEN, sa.DateTime(timezone=True)),
            schema=quoted_name(self._schema, True),
        )

    def _path(self, table: str) -> str:
        return f"{_quoted(self._schema)}.{_quoted(table)}"

    def _transaction(self, work: Callable[[sa.Connection], _Result], table: str = "") -> _Result:
        """Does the work and commits it. Until the commit is sent, what fails was not applied."""
        import sqlalchemy as sa

        with self._counting:
            self._sent += 1
        committing = False
        try:
            with self._engine.connect() as connection:
                done = work(connection)
                committing = True
                connection.commit()
                return done
        except sa.exc.DBAPIError as error:
            _raise(error, table, committing=committing)


def _engine(account: Account) -> sa.Engine:
    import sqlalchemy as sa

    where, remedy = f"destination {account.name}", "write it as postgresql://user:password@host:5432/database"
    try:
        url = sa.make_url(account.credentials["url"])
    except (sa.exc.ArgumentError, ValueError):
        # The error of SQLAlchemy shows the URL, with its password.
        raise DefinitionError("the secret `url` is no database URL", where=where, remedy=remedy) from None
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise DefinitionError(
            f"{url.get_backend_name()!r} is not supported: only PostgreSQL is", where=where, remedy=remedy
        )
    try:
        timeout_s = float(account.settings.get("timeout_s") or 60)
    except (TypeError, ValueError):
        timeout_s = 0.0
    if not 0.1 <= timeout_s <= 3_600:
        raise DefinitionError("`timeout_s` must be a number from 0.1 to 3600", where=where, remedy="correct it")
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg2"),
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 10,
            "application_name": "audience-syncs",
            "options": f"-c statement_timeout={int(timeout_s * 1000)}",
            # A server that went away without a word is noticed, also while committing.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": int((timeout_s + 10) * 1000),
        },
    )


def _create(connection: sa.Connection, path: str) -> None:
    # Two runs may come at the same time; the lock is given back with the transaction.
    _run(
        connection,
        f'CREATE TABLE IF NOT EXISTS {path} ("{KEY}" text COLLATE "C" PRIMARY KEY, "{OWNER}" text, '
        f'"{WRITTEN}" timestamptz)',
    )
    for name in (KEY, OWNER, WRITTEN):
        _run(connection, f"COMMENT ON COLUMN {path}.\"{name}\" IS '{OURS}'")


def _run(connection: sa.Connection, statement: str) -> None:
    """A statement without parameters, in which a percent sign is one."""
    connection.exec_driver_sql(statement, execution_options={"no_parameters": True})


def _keys(page: sa.Select[Any], connection: sa.Connection) -> list[str]:
    return list(connection.execute(page).scalars())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _name_of(name: str, what: str) -> str:
    if not name or "\0" in name or len(name.encode()) > LONGEST_NAME:
        raise DestinationError(
            f"{name[:80]!r} can be no {what} in PostgreSQL: names have 1 to {LONGEST_NAME} bytes",
            code="NAME_REFUSED",
            remedy="choose a shorter name",
        )
    return name


def _key(fields: Mapping[str, Any]) -> str:
    return _text(fields[KEY]) or ""


def _text(value: str | list[str] | None) -> str | None:
    return value[0] if isinstance(value, list) else value


def _missing(table: str) -> ListMissing:
    return ListMissing(
        f"the table {table!r} no longer exists",
        remedy="restore it; or give the sync's `list` another name, and everybody is written to a new table",
    )


def _raise(error: sa.exc.DBAPIError, table: str, *, committing: bool) -> NoReturn:
    """Our error for one of PostgreSQL. Its own words may hold values of a row, and are not passed on."""
    state = str(getattr(error.orig, "pgcode", None) or "")
    words = str(error.orig)
    if state == "42P01":
        raise _missing(table) from None
    if state in ("42501", "3F000", "25006") or state[:2] == "28" or (not state and _is_refused(words)):
        raise AccessRefused(
            f"PostgreSQL refuses access{f' (SQLSTATE {state})' if state else ''}",
            remedy="check the user, password and database in the secret `url`, that the schema exists, and that the user "
            "may create tables in it and write to them",
        ) from None
    if state[:2] in ("22", "23", "54") or state == "P0001":
        raise BatchRefused(f"PostgreSQL refuses a row (SQLSTATE {state})", reason_code=f"SQLSTATE_{state}") from None
    if state == "42703":
        raise DestinationError(
            f"a column of the table {table!r} was dropped or renamed", remedy="run the sync again: it is then made anew"
        ) from None
    if committing and (error.connection_invalidated or not state or state[:3] in ("57P", "08")):
        raise NoAnswer("PostgreSQL: the connection was lost while committing") from None
    raise NotApplied(f"PostgreSQL: {f'SQLSTATE {state}' if state else 'no connection, or it was lost'}") from None


def _is_refused(words: str) -> bool:
    """What a server says that lets nobody in, which has no SQLSTATE at the driver."""
    return any(
        said in words for said in ("authentication failed", "pg_hba.conf", "does not exist", "no password supplied")
    )
