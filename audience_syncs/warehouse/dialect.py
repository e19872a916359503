"""The small table of differences between warehouses. Everything else is SQLAlchemy Core and the same everywhere.

A new warehouse is a new class with these methods; nothing outside this room asks which warehouse it is.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import sqlalchemy as sa

Identifiers = Sequence[str]


class Dialect(Protocol):
    """What a warehouse must be able to express."""

    name: str
    temporary_schema: str
    """Of tables that only this session sees."""

    def prepare_session(self, dbapi_connection: Any) -> None:
        """Settings that make the text of values (dates, floats) the same in every session: fingerprints rely on it."""
        ...

    def tune_for_set_work(self, connection: sa.Connection) -> None:
        """Room for large joins, for the current transaction."""
        ...

    def do_not_wait_for_disk(self, connection: sa.Connection) -> None:
        """This session's commits need not be on disk: for what may be lost when the warehouse crashes."""
        ...

    def seconds_now(self) -> sa.ColumnElement[float]:
        """The warehouse's clock at this very moment, in seconds since 1970."""
        ...

    def fingerprint(self, columns: Sequence[sa.ColumnElement[Any]], salt: str) -> sa.ColumnElement[str]:
        """A 128-bit digest of the values of a row and of the salt."""
        ...

    def digest_sum(self, columns: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        """An order-free digest of all rows: a sum of per-row digests."""
        ...

    def key_digest(self, key: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        """SHA-256 of a text, in hexadecimal."""
        ...

    def text_of_row(self, columns: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[str]:
        """Several values as one text, which tells null from an empty one."""
        ...

    def unnest(self, identifiers: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
        """One row per identifier, in a select list."""
        ...

    def contains_all(self, these: sa.ColumnElement[Any], of_those: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """True when every element of ``of_those`` is in ``these``."""
        ...

    def union(self, a: sa.ColumnElement[Any], b: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Elements of either."""
        ...

    def intersection(self, a: sa.ColumnElement[Any], b: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Elements of both."""
        ...

    def difference(self, a: sa.ColumnElement[Any], b: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Elements of the first that are not in the second."""
        ...

    def collect(self, element: sa.ColumnElement[str], condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
        """Aggregate: the elements for which the condition holds, sorted; an empty array when there are none."""
        ...

    def no_identifiers(self) -> sa.ColumnElement[Any]:
        """An empty array of identifiers."""
        ...

    def copy_rows(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Iterable[tuple[Any, ...]],
    ) -> None:
        """Bulk insert, in the connection's transaction."""
        ...

    def add_partition(self, connection: sa.Connection, table: sa.Table, sync: str) -> None:
        """Gives a sync a partition of its own, where there are partitions; nothing if it has one."""
        ...

    def analyze(self, connection: sa.Connection, qualified_table: str) -> None:
        """Tells the planner what a freshly filled table holds."""
        ...

    def partition_name(self, table: sa.Table, sync: str) -> str:
        """The qualified name of the sync's partition, for ``analyze``."""
        ...

    def try_lock(self, connection: sa.Connection, name: str) -> bool:
        """Takes a lock that lasts as long as the connection; a dead process does not keep it."""
        ...

    def unlock(self, connection: sa.Connection, name: str) -> None: ...

    def is_locked(self, connection: sa.Connection, name: str) -> bool:
        """Whether any session holds this lock."""
        ...

    def lock_for_transaction(self, connection: sa.Connection, name: str) -> None:
        """Waits for a lock that ends with the transaction."""
        ...


class PostgreSQL:
    """PostgreSQL 13 and later."""

    name = "postgresql"
    temporary_schema = "pg_temp"

    def prepare_session(self, dbapi_connection: Any) -> None:
        with dbapi_connection.cursor() as cursor:
            cursor.execute(
                "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'iso_8601'; "
                "SET extra_float_digits = 1; SET bytea_output = 'hex'; SET application_name = 'audience-syncs'"
            )
        dbapi_connection.commit()

    def tune_for_set_work(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET LOCAL work_mem = '128MB'")

    def do_not_wait_for_disk(self, connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET synchronous_commit = off")

    def seconds_now(self) -> sa.ColumnElement[float]:
        return sa.cast(sa.func.extract("epoch", sa.func.clock_timestamp()), sa.Double)

    def fingerprint(self, columns: Sequence[sa.ColumnElement[Any]], salt: str) -> sa.ColumnElement[str]:
        # The text of a row tells null from '' and quotes its values, so no two rows share it.
        row = sa.cast(sa.func.row(*columns), sa.Text)
        return sa.cast(sa.func.md5(sa.literal(salt, sa.Text).op("||")(row)), sa.Uuid(as_uuid=False))

    def digest_sum(self, columns: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        text = sa.func.md5(sa.cast(sa.func.row(*columns), sa.Text))
        bits = sa.cast(sa.cast(sa.literal("x").op("||")(sa.func.left(text, 15)), _Bit60()), sa.BigInteger)
        return sa.cast(sa.func.coalesce(sa.func.sum(bits), 0), sa.Text)

    def key_digest(self, key: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
        return sa.func.encode(sa.func.sha256(sa.func.convert_to(key, "UTF8")), "hex", type_=sa.Text)

    def text_of_row(self, columns: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[str]:
        return sa.cast(sa.func.row(*columns), sa.Text)

    def unnest(self, identifiers: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
        return sa.func.unnest(identifiers, type_=sa.Text)

    def contains_all(self, these: sa.ColumnElement[Any], of_those: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        return these.op("@>", is_comparison=True)(of_those)

    def union(self, a: sa.ColumnElement[Any], b: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return self._elements(a.op("||")(b))

    def intersection(self, a: sa.ColumnElement[Any], b: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return self._elements(a, lambda element: element == sa.any_(b))

    def difference(self, a: sa.ColumnElement[Any], b: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return self._elements(a, lambda element: sa.not_(element == sa.any_(b)))

    def _elements(
        self,
        array: sa.ColumnElement[Any],
        condition: Callable[[sa.ColumnElement[Any]], sa.ColumnElement[bool]] | None = None,
    ) -> sa.ColumnElement[Any]:
        """The distinct elements of an array that meet the condition, as an array."""
        unnested = sa.func.unnest(array).table_valued("element").render_derived()
        query = sa.select(unnested.c.element).distinct()
        if condition is not None:
            query = query.where(condition(unnested.c.element))
        # Everything but the elements belongs to the statement around, however deep this stands in it.
        inner = query.correlate_except(unnested).scalar_subquery()
        return sa.func.ARRAY(inner, type_=sa.ARRAY(sa.Text))

    def collect(self, element: sa.ColumnElement[str], condition: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
        from sqlalchemy.dialects.postgresql import aggregate_order_by

        found = sa.func.array_agg(aggregate_order_by(element, element)).filter(condition)
        return sa.func.coalesce(found, self.no_identifiers())

    def no_identifiers(self) -> sa.ColumnElement[Any]:
        return sa.cast(sa.literal("{}"), sa.ARRAY(sa.Text))

    def copy_rows(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Sequence[str],
        rows: Iterable[tuple[Any, ...]],
    ) -> None:
        qualified = f"{table.schema}.{table.name}" if table.schema else table.name
        statement = f"COPY {qualified} ({', '.join(columns)}) FROM STDIN"
        driver_connection: Any = connection.connection.driver_connection
        with driver_connection.cursor() as cursor:
            try:
                cursor.copy_expert(statement, _CopyStream(rows))
            except connection.dialect.loaded_dbapi.Error as error:
                raise _as_of_sqlalchemy(connection, error, cursor) from None

    def add_partition(self, connection: sa.Connection, table: sa.Table, sync: str) -> None:
        qualified = self.partition_name(table, sync)
        if connection.scalar(sa.select(sa.func.to_regclass(qualified))) is not None:
            return
        # Two runs of different syncs may come here together; the lock makes them take turns. Attaching an empty
        # table blocks no reader, creating it as a partition would. What only this session sees has no second one.
        if table.schema != self.temporary_schema:
            self.lock_for_transaction(connection, f"{table.schema}.{table.name} partitions")
        if connection.scalar(sa.select(sa.func.to_regclass(qualified))) is not None:
            return
        parent = f"{table.schema}.{table.name}"
        literal = sync.replace("'", "''")
        connection.exec_driver_sql(f"CREATE TABLE {qualified} (LIKE {parent} INCLUDING ALL)")
        connection.exec_driver_sql(f"ALTER TABLE {parent} ATTACH PARTITION {qualified} FOR VALUES IN ('{literal}')")

    def partition_name(self, table: sa.Table, sync: str) -> str:
        readable = re.sub(r"[^a-z0-9_]+", "__", sync.lower())[:40]
        return f"{table.schema}.{table.name}_{readable}_{hashlib.sha256(sync.encode()).hexdigest()[:8]}"

    def analyze(self, connection: sa.Connection, qualified_table: str) -> None:
        connection.exec_driver_sql(f"ANALYZE {qualified_table}")

    def try_lock(self, connection: sa.Connection, name: str) -> bool:
        return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(_lock_key(name)))))

    def unlock(self, connection: sa.Connection, name: str) -> None:
        connection.execute(sa.select(sa.func.pg_advisory_unlock(_lock_key(name))))

    def is_locked(self, connection: sa.Connection, name: str) -> bool:
        # A lock's number is shown in two halves.
        query = sa.text(
            "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted "
            "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "AND (classid::bigint << 32 | objid::bigint) = :key)"
        )
        return bool(connection.scalar(query, {"key": _lock_key(name)}))

    def lock_for_transaction(self, connection: sa.Connection, name: str) -> None:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_lock_key(name))))


DIALECTS: dict[str, type[PostgreSQL]] = {PostgreSQL.name: PostgreSQL}


def _as_of_sqlalchemy(connection: sa.Connection, error: Exception, cursor: Any) -> sa.exc.DBAPIError:
    """A driver's error as SQLAlchemy would raise it: a lost connection is noted, and nobody prints the row it quotes."""
    driver_connection = connection.connection.driver_connection
    lost = bool(connection.dialect.is_disconnect(error, driver_connection, cursor))  # type: ignore[arg-type]
    wrapped = sa.exc.DBAPIError.instance(
        "COPY",
        None,
        error,
        connection.dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=connection.dialect,
    )
    if lost:
        connection.invalidate(error)
    assert isinstance(wrapped, sa.exc.DBAPIError)
    return wrapped


class _Bit60(sa.types.UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "bit(60)"


def _lock_key(name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"audience-syncs:{name}".encode()).digest()[:8], "big", signed=True)


class _CopyStream:
    """Rows as the text format of COPY, produced while they are read."""

    def __init__(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._lines: Iterator[str] = map(_copy_line, rows)
        self._left = ""

    def read(self, size: int = -1) -> str:
        parts = [self._left]
        length = len(self._left)
        for line in self._lines:
            parts.append(line)
            length += len(line)
            if 0 <= size <= length:
                break
        text = "".join(parts)
        if size < 0:
            self._left = ""
            return text
        self._left = text[size:]
        return text[:size]


_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"})
_needs_escape = re.compile(r"[\\\t\n\r\x08\f\v]").search
_needs_array_escape = re.compile(r'["\\]').search


def _copy_line(row: tuple[Any, ...]) -> str:
    return "\t".join([_copy_value(value) for value in row]) + "\n"


def _copy_value(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        # Looking first is several times faster than translating: hardly any value needs it.
        return value.translate(_ESCAPES) if _needs_escape(value) else value
    if isinstance(value, list):
        literal = _array_literal(value)
        return literal.translate(_ESCAPES) if _needs_escape(literal) else literal
    return str(value)


def _array_literal(values: Sequence[str]) -> str:
    quoted = [
        value.replace("\\", "\\\\").replace('"', '\\"') if _needs_array_escape(value) else value for value in values
    ]
    return '{"' + '","'.join(quoted) + '"}' if quoted else "{}"
