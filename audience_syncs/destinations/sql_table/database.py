"""Connections and transactions of one database, and its errors in words."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from audience_syncs.destinations.sql_table import failures
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.errors import AccessRefused, DefinitionError, ListMissing, NotApplied

ATTEMPTS = 5
PAGE = 10_000

_Result = TypeVar("_Result")


class Database:
    """A database, connected to when first used. Thread-safe."""

    def __init__(self, address: str, where: str, timeout_s: float) -> None:
        """Raises DefinitionError, which never shows the address."""
        self._where = where
        self._engine = _engine(address, where, timeout_s)
        self._counting = threading.Lock()
        self.transactions = 0

    @property
    def longest_name(self) -> int:
        """Bytes of a table's or column's name; longer ones would be cut in silence."""
        return int(self._engine.dialect.max_identifier_length)

    def reflected(self, name: str, schema: str | None) -> sa.Table | None:
        """The table as it is; None where there is none. Its other columns and their types may be anything."""

        def reflect(connection: sa.Connection) -> sa.Table | None:
            try:
                return sa.Table(name, sa.MetaData(), schema=schema, autoload_with=connection, resolve_fks=False)
            except sa.exc.NoSuchTableError:
                return None

        return self.transact(reflect)

    def uniques(self, table: sa.Table) -> list[list[str]]:
        """The sets of columns that are unique, each in order."""
        return self.transact(lambda connection: _uniques(connection, table))

    def pages(self, query: sa.Select[Any], table: sa.Table) -> Iterator[Sequence[Any]]:
        """The first column of the query's rows; memory stays at one page."""
        with self._connection() as connection:
            try:
                result = connection.execution_options(stream_results=True, yield_per=PAGE).scalars(query)
                yield from result.partitions()
            except sa.exc.DBAPIError as error:
                raise self._explained(failures.before_commit(error, self._where), table) from None

    def transact(self, work: Callable[[sa.Connection], _Result], table: sa.Table | None = None) -> _Result:
        """Runs a transaction; again where another one stood in its way. ``table``: the one that must be there.

        Raises what a destination's ``add`` raises.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(work)
            except sa.exc.DBAPIError as error:
                failed = error
            if not failures.worth_repeating(failed):
                raise self._explained(failures.before_commit(failed, self._where), table) from None
            if not rest(0.05 * attempt):
                break
        raise NotApplied(f"other transactions stood in the way {ATTEMPTS} times: {failures.words_of(failed)}")

    def _once(self, work: Callable[[sa.Connection], _Result]) -> _Result:
        with self._connection() as connection:
            result = work(connection)
            try:
                connection.commit()
            except sa.exc.DBAPIError as error:
                if failures.worth_repeating(error):
                    raise
                raise failures.at_commit(error) from None
            return result

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        with self._counting:
            self.transactions += 1
        try:
            connection = self._engine.connect()
        except sa.exc.DBAPIError as error:
            raise failures.when_connecting(error, self._where) from None
        with connection:
            yield connection

    def _explained(self, error: Exception, table: sa.Table | None) -> Exception:
        """A statement that failed because its table is gone says so."""
        if table is None or isinstance(error, AccessRefused):
            return error
        try:
            with self._connection() as connection:
                there = sa.inspect(connection).has_table(table.name, schema=table.schema)
        except (sa.exc.DBAPIError, NotApplied, AccessRefused):
            return error
        return error if there else ListMissing(f"there is no table {table.name!r}", where=self._where)


def _uniques(connection: sa.Connection, table: sa.Table) -> list[list[str]]:
    """The sets of columns that are unique, each in order."""
    inspector = sa.inspect(connection)
    primary = list(inspector.get_pk_constraint(table.name, table.schema).get("constrained_columns", []))
    constraints = [list(found["column_names"]) for found in inspector.get_unique_constraints(table.name, table.schema)]
    indexes = [
        [name for name in found["column_names"] if name is not None]
        for found in inspector.get_indexes(table.name, table.schema)
        # A partial index tells nothing of the other rows.
        if found["unique"] and not found.get("dialect_options", {}).get("postgresql_where")
    ]
    return [primary, *constraints, *indexes]


def _engine(address: str, where: str, timeout_s: float) -> sa.Engine:
    """An engine that connects when first used. Raises DefinitionError, which never shows the address."""
    try:
        url = sa.make_url(address)
    except sa.exc.ArgumentError:
        raise DefinitionError(
            "the database's URL cannot be read",
            where=where,
            remedy="write it as SQLAlchemy does: postgresql://user:password@host:5432/database",
        ) from None
    if url.drivername in ("postgres", "postgresql"):
        # SQLAlchemy 2.1 would take psycopg 3; psycopg2 is there anyway.
        url = url.set(drivername="postgresql+psycopg2")
    is_sqlite = url.get_backend_name() == "sqlite"
    if is_sqlite and url.database in (None, "", ":memory:"):
        raise DefinitionError("a database in memory is gone with its connection", where=where, remedy="name a file")
    try:
        # Between two batches nothing is kept open: there is nobody who would close it.
        engine = sa.create_engine(
            url,
            poolclass=NullPool,
            hide_parameters=True,
            connect_args={"timeout": 30} if is_sqlite else _of_driver(url.drivername, timeout_s),
        )
    except (sa.exc.NoSuchModuleError, ImportError):
        raise DefinitionError(
            f"there is no driver here for {url.get_backend_name()!r} databases ({url.drivername})",
            where=where,
            remedy="install the one that SQLAlchemy's documentation names for this database",
        ) from None
    if is_sqlite:
        _lock_when_beginning(engine)
    return engine


def _of_driver(driver: str, timeout_s: float) -> dict[str, Any]:
    """A server that went away without a word is noticed, also while committing."""
    if driver != "postgresql+psycopg2":
        return {}
    return {
        "connect_timeout": 10,
        "application_name": "audience-syncs",
        "options": f"-c statement_timeout={int(timeout_s * 1000)}",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": int((timeout_s + 10) * 1000),
    }


def _lock_when_beginning(engine: sa.Engine) -> None:
    """SQLite would let two transactions read and then refuse both to write."""

    @sa.event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None

    @sa.event.listens_for(engine, "begin")
    def _(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
