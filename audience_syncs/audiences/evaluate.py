"""One evaluation of an audience: run its query in the warehouse, check it, keep it, note who entered and who left.

The rows never leave the warehouse, except a handful for the masked preview. Everything happens in one transaction: a
crash leaves no half snapshot, and a reader sees the snapshot with its history or neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences.preview import masked_preview
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError
from audience_syncs.model.values import Column, Progress, Snapshot
from audience_syncs.warehouse.connection import Warehouse, words_of
from audience_syncs.warehouse.forgotten import is_forgotten
from audience_syncs.warehouse.state import State, snapshot_from_row
from audience_syncs.warehouse.tables import StateTables, snapshot_table

MEMBER_KEY = "_member_key"
"""The primary key as text, the first column of every snapshot."""

_EXAMPLES = 5


def evaluate_audience(
    audience: AudienceConfig,
    warehouse: Warehouse,
    *,
    run_id: str,
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Snapshot:
    """Evaluates the audience and returns its new snapshot.

    Raises AudienceError when the query fails, has no columns, lacks the primary key, names a column twice, or when a
    key is null, empty or used by two rows; nothing is kept then.
    """
    where = f"audience {audience.name}"
    State(warehouse).prepare()
    started = time.monotonic()
    evaluated_at = clock()
    tell = progress or (lambda _: None)
    tell(Progress("evaluate the query", 0))
    with warehouse.connect() as connection:
        dialect = warehouse.dialect
        # Evaluations of one audience take turns; each compares itself with the one before.
        dialect.lock_for_transaction(connection, f"{warehouse.schema} audience {audience.name}")
        dialect.tune_for_set_work(connection)
        previous = _latest(connection, warehouse.tables, audience.name)
        names = _column_names(connection, audience, where)
        snapshot_id = _reserve(connection, warehouse.tables, audience, evaluated_at, run_id)
        table_name = f"snapshot_{snapshot_id}"
        qualified = f"{warehouse.schema}.{table_name}"
        quote = connection.dialect.identifier_preparer.quote_identifier
        _execute_user_sql(
            connection,
            f'CREATE TABLE {qualified} AS SELECT CAST(q.{quote(audience.primary_key)} AS text) COLLATE "C" '
            f"AS {MEMBER_KEY}, q.* FROM (\n{audience.sql}\n) AS q",
            where,
        )
        source_as_of = _source_as_of(connection, audience, where)
        tell(Progress("check the keys", 0))
        table = snapshot_table(warehouse.schema, table_name, tuple(names))
        if connection.scalar(sa.select(sa.exists().select_from(warehouse.tables.forgotten))):
            forgotten = is_forgotten(warehouse, audience.primary_key, table.c[MEMBER_KEY])
            connection.execute(sa.delete(table).where(forgotten))
        members = _checked_count(connection, table, audience, where)
        dialect.analyze(connection, qualified)
        columns = _columns(connection, warehouse.schema, table_name, audience)
        tell(Progress("compare with the snapshot before", 0, members))
        entered, exited = _book_membership(connection, warehouse, audience, table, previous, snapshot_id, evaluated_at)
        preview = masked_preview(connection, table, columns)
        snapshots = warehouse.tables.snapshots
        row = connection.execute(
            sa.update(snapshots)
            .where(snapshots.c.id == snapshot_id)
            .values(
                members=members,
                entered=entered,
                exited=exited,
                columns=[asdict(column) for column in columns],
                table_name=table_name,
                source_as_of=source_as_of,
                duration_s=time.monotonic() - started,
            )
            .returning(snapshots)
        ).mappings()
        snapshot = replace(snapshot_from_row(row.one()), preview=preview)
        connection.commit()
        _drop_old(connection, warehouse, audience)
    tell(Progress("done", members, members))
    return snapshot


def _latest(connection: sa.Connection, tables: StateTables, audience: str) -> str | None:
    snapshots = tables.snapshots
    query = (
        sa.select(snapshots.c.table_name)
        .where(snapshots.c.audience == audience, snapshots.c.table_name.is_not(None))
        .order_by(snapshots.c.id.desc())
        .limit(1)
    )
    return connection.scalar(query)


def _column_names(connection: sa.Connection, audience: AudienceConfig, where: str) -> list[str]:
    """The query's columns, without running it to the end; refuses what no snapshot could be made of."""
    result = _execute_user_sql(connection, f"SELECT q.* FROM (\n{audience.sql}\n) AS q LIMIT 0", where)
    names = list(result.keys())
    result.close()
    if not names:
        raise AudienceError(
            "the query returns no columns",
            where=where,
            remedy="select the primary key and the columns to be mapped",
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise AudienceError(
            f"the query names a column twice: {', '.join(twice)}",
            where=where,
            remedy="give each column a name of its own with AS",
        )
    if audience.primary_key not in names:
        raise AudienceError(
            f"the query has no column {audience.primary_key!r}, which `primary_key` names",
            where=where,
            remedy=f"it has: {', '.join(names)}",
        )
    if MEMBER_KEY in names:
        raise AudienceError(
            f"the query has a column {MEMBER_KEY!r}, a name we need ourselves",
            where=where,
            remedy="give that column another name with AS",
        )
    return names


def _execute_user_sql(connection: sa.Connection, statement: str, where: str) -> sa.CursorResult[Any]:
    try:
        # Without parameters, so that a % or a : in the user's query means what it means in SQL.
        return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    except sa.exc.DBAPIError as error:
        raise AudienceError(
            f"the warehouse refused the query: {words_of(error)}",
            where=where,
            remedy="run the audience's SQL in your warehouse to see where it stops",
        ) from None


def _source_as_of(connection: sa.Connection, audience: AudienceConfig, where: str) -> datetime | None:
    """The time of the newest data, by the audience's ``freshness_sql``; a time without a zone counts as UTC."""
    if audience.freshness_sql is None:
        return None
    place = f"{where}, freshness_sql"
    rows = _execute_user_sql(connection, audience.freshness_sql.strip().rstrip(";"), place).fetchmany(2)
    value = rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, datetime.min.time())
    if not isinstance(value, datetime):
        found = "no time, as its table is empty" if value is None and len(rows) == 1 else "no single time"
        raise AudienceError(
            f"the query returns {found}: how old the audience's data is cannot be told",
            where=place,
            remedy="return one timestamp, e.g. SELECT max(loaded_at) FROM shop.events; or leave `freshness_sql` out",
        )
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _reserve(
    connection: sa.Connection,
    tables: StateTables,
    audience: AudienceConfig,
    evaluated_at: datetime,
    run_id: str,
) -> int:
    """The id of the snapshot to be made: its row, filled when the rest is known, in the same transaction."""
    row = sa.insert(tables.snapshots).values(
        audience=audience.name,
        evaluated_at=evaluated_at,
        members=0,
        entered=0,
        exited=0,
        primary_key=audience.primary_key,
        columns=[],
        sql=audience.sql,
        run_id=run_id,
        duration_s=0.0,
    )
    return int(connection.execute(row.returning(tables.snapshots.c.id)).scalar_one())


def _checked_count(connection: sa.Connection, table: sa.TableClause, audience: AudienceConfig, where: str) -> int:
    """Counts the members; refuses null, empty and duplicate keys, naming how many and some of them."""
    key = table.c[MEMBER_KEY]
    count, filled, empty, distinct = connection.execute(
        sa.select(
            sa.func.count(),
            sa.func.count(key),
            sa.func.count().filter(key == ""),
            sa.func.count(key.distinct()),
        ).select_from(table)
    ).one()
    if filled < count or empty:
        raise AudienceError(
            f"{count - filled + empty:,} of {count:,} rows have no {audience.primary_key!r} (null or empty)",
            where=where,
            code="AUDIENCE_NULL_KEY",
            remedy=f"add WHERE {audience.primary_key} IS NOT NULL, or choose another primary_key",
        )
    if distinct < count:
        repeated = (
            sa.select(key, sa.func.count().label("n"))
            .group_by(key)
            .having(sa.func.count() > 1)
            .order_by(sa.desc("n"), key)
        )
        keys = connection.scalar(sa.select(sa.func.count()).select_from(repeated.subquery()))
        examples = connection.execute(repeated.limit(_EXAMPLES)).all()
        named = ", ".join(f"{_shown_key(value, audience)} ({n:,} rows)" for value, n in examples)
        raise AudienceError(
            f"{keys:,} keys are used by more than one of the {count:,} rows, e.g. {named}",
            where=where,
            code="AUDIENCE_DUPLICATE_KEY",
            remedy=f"return one row per {audience.primary_key}: group by it, or use DISTINCT ON",
        )
    return int(count)


def _shown_key(value: str, audience: AudienceConfig) -> str:
    """A key in an error message; one that looks like personal data is only described."""
    if "@" in value or audience.primary_key in audience.personal or len(value) > 40:
        return f"a key of {len(value)} characters"
    return value


def _columns(connection: sa.Connection, schema: str, table_name: str, audience: AudienceConfig) -> tuple[Column, ...]:
    personal = set(audience.personal) | {
        field.column
        for sync in audience.syncs
        for field in sync.mapping.values()
        if field.column and field.column != audience.primary_key
    }
    found = sa.inspect(connection).get_columns(table_name, schema=schema)
    return tuple(
        Column(str(column["name"]), str(column["type"]), str(column["name"]) in personal)
        for column in found
        if column["name"] != MEMBER_KEY
    )


def _book_membership(
    connection: sa.Connection,
    warehouse: Warehouse,
    audience: AudienceConfig,
    table: sa.TableClause,
    previous: str | None,
    snapshot_id: int,
    at: datetime,
) -> tuple[int, int]:
    """Writes who entered and who left since the snapshot before; returns how many of each."""
    now = sa.select(table.c[MEMBER_KEY])
    if previous is None:
        return _book_event(connection, warehouse, audience.name, now, "enter", at, snapshot_id), 0
    before = snapshot_table(warehouse.schema, previous, ())
    key, old_key = table.c[MEMBER_KEY], before.c[MEMBER_KEY]
    came = now.where(~sa.exists().where(old_key == key))
    left = sa.select(old_key).where(~sa.exists().where(key == old_key))
    entered = _book_event(connection, warehouse, audience.name, came, "enter", at, snapshot_id)
    return entered, _book_event(connection, warehouse, audience.name, left, "exit", at, snapshot_id)


def _book_event(
    connection: sa.Connection,
    warehouse: Warehouse,
    audience: str,
    keys: sa.Select[Any],
    event: str,
    at: datetime,
    snapshot_id: int,
) -> int:
    membership = warehouse.tables.membership
    found = keys.subquery()
    query = sa.select(
        sa.literal(audience),
        found.c[MEMBER_KEY],
        sa.literal(event),
        sa.literal(at, sa.DateTime(timezone=True)),
        sa.literal(snapshot_id, sa.BigInteger),
    )
    return connection.execute(
        sa.insert(membership).from_select(["audience", "member_key", "event", "at", "snapshot_id"], query)
    ).rowcount


def _drop_old(connection: sa.Connection, warehouse: Warehouse, audience: AudienceConfig) -> None:
    """Drops the rows of snapshots beyond ``keep_snapshots``; their counts and history stay.

    One that somebody is reading is left for the next time.
    """
    snapshots = warehouse.tables.snapshots
    query = (
        sa.select(snapshots.c.id, snapshots.c.table_name)
        .where(snapshots.c.audience == audience.name, snapshots.c.table_name.is_not(None))
        .order_by(snapshots.c.id.desc())
        .offset(audience.keep_snapshots)
    )
    old = connection.execute(query).all()
    connection.commit()
    for snapshot_id, table_name in old:
        try:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {warehouse.schema}.{table_name}")
            connection.execute(sa.update(snapshots).where(snapshots.c.id == snapshot_id).values(table_name=None))
            connection.commit()
        except sa.exc.OperationalError:
            connection.rollback()
