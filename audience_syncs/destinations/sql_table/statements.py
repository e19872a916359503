"""The statements that bring rows in and take them out, each for a whole batch, inside the caller's transaction.

Rows that are there are updated, others are inserted: an ``INSERT ... ON CONFLICT`` alone would stumble over a column of others
that must not be null. Everything is built by SQLAlchemy: names are quoted, values are bound.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import DDLElement

from audience_syncs.destinations.sql_table.declaration import ORIGIN, SYNCED_AT

CHUNK = 500
"""Rows or keys in one statement: far below every database's limit of parameters for a few dozen columns."""

Row = dict[str, Any]
"""Column -> value, the key's among them."""


class AddColumn(DDLElement):
    """``ALTER TABLE ... ADD COLUMN``."""

    inherit_cache = False

    def __init__(self, table: sa.Table, column: sa.Column[Any]) -> None:
        self.table = table
        self.column = column


@compiles(AddColumn)
def _add_column(element: AddColumn, compiler: Any, **_: Any) -> str:
    word = "ADD" if compiler.dialect.name in ("mssql", "oracle") else "ADD COLUMN"
    table = compiler.preparer.format_table(element.table)
    return f"ALTER TABLE {table} {word} {compiler.get_column_specification(element.column)}"


def existing(connection: sa.Connection, table: sa.Table, key: str, keys: Collection[Any]) -> set[Any]:
    """Those of the keys that have a row; the rows are locked until the transaction ends."""
    found: set[Any] = set()
    for some in _chunks(sorted(keys)):
        query = sa.select(table.c[key]).where(table.c[key].in_(some)).order_by(table.c[key]).with_for_update()
        found.update(connection.scalars(query))
    return found


def put_into_list(connection: sa.Connection, table: sa.Table, key: str, rows: Sequence[Row]) -> None:
    """Makes the rows, or updates them, and marks them as being in the list."""
    now = datetime.now(UTC)
    marked = [{**row, SYNCED_AT: now, ORIGIN: "made"} for row in rows]
    there = existing(connection, table, key, [row[key] for row in rows])
    joined = {ORIGIN: sa.func.coalesce(table.c[ORIGIN], "joined")}
    _update(connection, table, key, [row for row in marked if row[key] in there], joined)
    _insert(connection, table, key, [row for row in marked if row[key] not in there], joined)


def upsert(connection: sa.Connection, table: sa.Table, key: str, rows: Sequence[Row]) -> None:
    """Makes the rows, or updates them; no other column of theirs is touched."""
    there = existing(connection, table, key, [row[key] for row in rows])
    _update(connection, table, key, [row for row in rows if row[key] in there], {})
    _insert(connection, table, key, [row for row in rows if row[key] not in there], {})


def update(connection: sa.Connection, table: sa.Table, key: str, rows: Sequence[Row]) -> set[Any]:
    """Updates those that are there; returns their keys."""
    there = existing(connection, table, key, [row[key] for row in rows])
    _update(connection, table, key, [row for row in rows if row[key] in there], {})
    return there


def insert(connection: sa.Connection, table: sa.Table, key: str, rows: Sequence[Row]) -> None:
    """Makes those that are not there."""
    there = existing(connection, table, key, [row[key] for row in rows])
    _insert(connection, table, key, [row for row in rows if row[key] not in there], None)


def take_out(connection: sa.Connection, table: sa.Table, key: str, keys: Collection[Any]) -> None:
    """Rows that the sync made go; rows that were there before stay, and are in the list no more."""
    for of_some in _of(table, key, keys):
        connection.execute(sa.delete(table).where(of_some, table.c[ORIGIN] == "made"))
        connection.execute(_unmark(table).where(of_some, table.c[ORIGIN] == "joined"))


def take_out_and_clear(
    connection: sa.Connection, table: sa.Table, key: str, keys: Collection[Any], columns: Sequence[str]
) -> None:
    """All rows of the list stay, without these columns' values, and are in the list no more."""
    for of_some in _of(table, key, keys):
        cleared = _unmark(table).values({column: None for column in columns if column in table.c})
        connection.execute(cleared.where(of_some, table.c[ORIGIN].is_not(None)))


def delete(connection: sa.Connection, table: sa.Table, key: str, keys: Collection[Any]) -> None:
    """All rows of the list go, also those that were there before."""
    for of_some in _of(table, key, keys):
        connection.execute(sa.delete(table).where(of_some, table.c[ORIGIN].is_not(None)))


def _unmark(table: sa.Table) -> sa.Update:
    return sa.update(table).values({SYNCED_AT: None, ORIGIN: None})


def _of(table: sa.Table, key: str, keys: Collection[Any]) -> Iterator[sa.ColumnElement[bool]]:
    for some in _chunks(sorted(keys)):
        yield table.c[key].in_(some)


def _update(connection: sa.Connection, table: sa.Table, key: str, rows: Sequence[Row], also: Row) -> None:
    """``also``: columns whose new value is an expression, instead of the row's."""
    if not rows:
        return
    columns = [name for name in rows[0] if name != key and name not in also]
    if not columns and not also:
        return
    if connection.dialect.name != "postgresql":
        # Bound under names of our own: a column's name may be anything.
        names = {name: f"v{number}" for number, name in enumerate([key, *columns])}
        statement = (
            sa.update(table)
            .where(table.c[key] == sa.bindparam(names[key]))
            .values({name: sa.bindparam(names[name]) for name in columns} | also)
        )
        connection.execute(statement, [{names[name]: row[name] for name in names} for row in rows])
        return
    for some in _chunks(rows):
        # One statement for many rows; a column of nulls only would be text without the cast.
        typed = [sa.column(name, table.c[name].type) for name in [key, *columns]]
        new = sa.values(*typed, name="new_rows").data([tuple(row[name] for name in [key, *columns]) for row in some])
        values = {name: sa.cast(new.c[name], table.c[name].type) for name in columns} | also
        found = table.c[key] == sa.cast(new.c[key], table.c[key].type)
        connection.execute(sa.update(table).where(found).values(values))


def _insert(connection: sa.Connection, table: sa.Table, key: str, rows: Sequence[Row], also: Row | None) -> None:
    """``also``: as above, for a row that somebody made a moment ago; None: such a row is left alone."""
    if not rows:
        return
    statement: postgresql.Insert | sqlite.Insert
    if connection.dialect.name == "postgresql":
        statement = postgresql.insert(table)
    elif connection.dialect.name == "sqlite":
        statement = sqlite.insert(table)
    else:
        connection.execute(sa.insert(table), rows)
        return
    new = {name: statement.excluded[name] for name in rows[0] if name != key} | (also or {})
    if also is None or not new:
        connection.execute(statement.on_conflict_do_nothing(index_elements=[table.c[key]]), rows)
    else:
        connection.execute(statement.on_conflict_do_update(index_elements=[table.c[key]], set_=new), rows)


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
