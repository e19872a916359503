"""One evaluation of an audience: run its query in the warehouse, check it, keep it, note who entered and who left.

The rows never leave the warehouse, except a handful for the masked preview. Everything happens in one transaction: a
crash leaves no half snapshot, and a reader sees the snapshot with its history or neither.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import UTC, datetime

import sqlalchemy as sa

from audience_syncs.audiences.as_of import with_as_of
from audience_syncs.audiences.history import book_day, book_next
from audience_syncs.audiences.keys import MEMBER_KEY, checked_count
from audience_syncs.audiences.preview import masked_preview
from audience_syncs.audiences.query import Query, query_of, time_of
from audience_syncs.audiences.size import funnel_of, overlaps_by_the_way
from audience_syncs.audiences.splits import assign, check_columns, group_column
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError
from audience_syncs.model.splits import GROUP
from audience_syncs.model.values import Column, Progress, Snapshot
from audience_syncs.warehouse.connection import Warehouse, in_words
from audience_syncs.warehouse.forgotten import is_forgotten
from audience_syncs.warehouse.state import State, latest_snapshot, snapshot_from_row
from audience_syncs.warehouse.tables import StateTables, snapshot_table

KEEP_DAYS = 400
"""Days of a partitioned audience whose rows are kept."""


def evaluate_audience(
    audience: AudienceConfig,
    warehouse: Warehouse,
    *,
    run_id: str,
    day: str | None = None,
    unless_since: datetime | None = None,
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    within: sa.Connection | None = None,
) -> Snapshot:
    """Evaluates the audience and returns its new snapshot.

    ``day``: of a partitioned audience, the day to evaluate; default: the last that is over. ``unless_since``: a snapshot
    that was made since then is returned instead of another one, so that several who need it together make it once.
    ``within``: evaluate in this connection's transaction, which the caller rolls back: nothing is kept, no history is written,
    nobody is waited for, and nobody waits.

    Raises AudienceError when the query fails, has no columns, lacks the primary key, names a column twice, or when a
    key is null, empty or used by two rows; nothing is kept then.
    """
    where = f"audience {audience.name}" + (f", day {day}" if day else "")
    if within is None:
        State(warehouse).prepare()
    started = time.monotonic()
    tell = progress or (lambda _: None)
    with in_words(where), warehouse.connect() if within is None else nullcontext(within) as connection:
        dialect = warehouse.dialect
        if within is None:
            # Evaluations of one audience take turns; each compares itself with the one before.
            dialect.lock_for_transaction(connection, f"{warehouse.schema} audience {audience.name}")
        evaluated_at = clock()
        day, as_of = _moment(audience, day, evaluated_at, where)
        if unless_since is not None:
            found = latest_snapshot(connection, warehouse.tables, audience.name, partitioned=day is not None, day=day)
            if found is not None and found.evaluated_at >= unless_since:
                return replace(found, reused=True)
        tell(Progress("evaluate the query", 0))
        dialect.tune_for_set_work(connection)
        query = query_of(connection, audience, as_of, where)
        names = _column_names(connection, audience, query, where)
        snapshot_id = _reserve(connection, warehouse.tables, audience, query.shown, day, evaluated_at, run_id)
        table_name = f"snapshot_{snapshot_id}"
        qualified = f"{warehouse.schema}.{table_name}"
        group = "" if audience.split is None else f"{group_column(audience, warehouse)}, "
        query.create_table(connection, f"TABLE {qualified}", audience.primary_key, MEMBER_KEY, f", {group}q.*")
        source_as_of = _source_as_of(connection, audience, as_of, where)
        tell(Progress("check the keys", 0))
        table = snapshot_table(warehouse.schema, table_name, (*names, *([GROUP] if audience.split is not None else [])))
        if connection.scalar(sa.select(sa.exists().select_from(warehouse.tables.forgotten))):
            forgotten = is_forgotten(warehouse, audience.primary_key, table.c[MEMBER_KEY])
            connection.execute(sa.delete(table).where(forgotten))
        members = checked_count(connection, table, audience, where)
        dialect.analyze(connection, qualified)
        split = None
        if audience.split is not None:
            tell(Progress("divide into groups", 0, members))
            split = assign(connection, warehouse, audience, table, evaluated_at)
        columns = _columns(connection, warehouse.schema, table_name, audience)
        snapshots = warehouse.tables.snapshots
        connection.execute(
            sa.update(snapshots)
            .where(snapshots.c.id == snapshot_id)
            .values(
                members=members,
                columns=[asdict(column) for column in columns],
                table_name=table_name,
                source_as_of=source_as_of,
                split=split.to_json() if split is not None else sa.null(),
            )
        )
        if within is None:
            tell(Progress("compare with the snapshot before", 0, members))
            if day is None:
                book_next(connection, warehouse, audience.name, snapshot_id, at=evaluated_at)
            else:
                book_day(connection, warehouse, audience.name, snapshot_id, end_of=_end_of(audience))
        preview = masked_preview(connection, table, columns)
        tell(Progress("count its conditions and overlaps", members, members))
        people, funnel = funnel_of(connection, audience, as_of, where)
        shared = overlaps_by_the_way(connection, warehouse, audience, table, members)
        row = connection.execute(
            sa.update(snapshots)
            .where(snapshots.c.id == snapshot_id)
            .values(duration_s=time.monotonic() - started)
            .returning(snapshots)
        ).mappings()
        snapshot = replace(snapshot_from_row(row.one()), preview=preview, people=people, funnel=funnel, overlaps=shared)
        if within is not None:
            return snapshot
        connection.commit()
        _drop_old(connection, warehouse, audience)
    tell(Progress("done", members, members))
    return snapshot


def _moment(audience: AudienceConfig, day: str | None, now: datetime, where: str) -> tuple[str | None, datetime]:
    """The day to evaluate and the moment it is as of; AudienceError for a day that cannot be."""
    partitions = audience.partitions
    if partitions is None:
        if day is None:
            return None, now
        raise AudienceError(
            "the audience is not partitioned: what it was on another day cannot be evaluated",
            where=where,
            remedy="give the audience `partitions: daily`, and use `:as_of` in its SQL",
        )
    chosen = day or partitions.latest(now)
    try:
        as_of = partitions.end_of(chosen)
    except ValueError as error:
        raise AudienceError(str(error), where=where, remedy="give a day such as 2026-11-23") from None
    if as_of > now:
        raise AudienceError(
            f"the day {chosen} is not over", where=where, remedy=f"the latest is {partitions.latest(now)}"
        )
    return chosen, as_of


def _end_of(audience: AudienceConfig) -> Callable[[str], datetime]:
    assert audience.partitions is not None
    return audience.partitions.end_of


def _column_names(connection: sa.Connection, audience: AudienceConfig, query: Query, where: str) -> list[str]:
    """The query's columns; refuses what no snapshot could be made of."""
    names = query.column_names(connection)
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
    if audience.split is not None:
        check_columns(audience.split, names, where)
    return names


def _source_as_of(connection: sa.Connection, audience: AudienceConfig, as_of: datetime, where: str) -> datetime | None:
    """The time of the newest data, by the audience's ``freshness_sql``; a time without a zone counts as UTC."""
    if audience.freshness_sql is None:
        return None
    place = f"{where}, freshness_sql"
    remedy = "return one timestamp, e.g. SELECT max(loaded_at) FROM shop.events; or leave `freshness_sql` out"
    value = time_of(connection, with_as_of(audience.freshness_sql, as_of), place, remedy)
    return value if value.tzinfo is not None else value.replace(tzinfo=UTC)


def _reserve(
    connection: sa.Connection,
    tables: StateTables,
    audience: AudienceConfig,
    sql: str,
    day: str | None,
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
        sql=sql,
        partition_key=day,
        run_id=run_id,
        duration_s=0.0,
    )
    return int(connection.execute(row.returning(tables.snapshots.c.id)).scalar_one())


def _columns(connection: sa.Connection, schema: str, table_name: str, audience: AudienceConfig) -> tuple[Column, ...]:
    personal = set(audience.personal) | {
        column
        for sync in audience.syncs
        for field in sync.mapping.values()
        for column in field.columns
        if column not in (audience.primary_key, field.region)
    }
    found = sa.inspect(connection).get_columns(table_name, schema=schema)
    return tuple(
        Column(str(column["name"]), str(column["type"]), str(column["name"]) in personal)
        for column in found
        if column["name"] != MEMBER_KEY and not (column["name"] == GROUP and audience.split is not None)
    )


def _drop_old(connection: sa.Connection, warehouse: Warehouse, audience: AudienceConfig) -> None:
    """Drops the rows of snapshots whose time is over; their counts and history stay.

    That is those beyond ``keep_snapshots``; of a partitioned audience, those that were replaced and days beyond
    ``KEEP_DAYS``. One that somebody is reading is left for the next time.
    """
    snapshots = warehouse.tables.snapshots
    kept = sa.and_(snapshots.c.audience == audience.name, snapshots.c.table_name.is_not(None))
    if audience.partitions is None:
        age = sa.func.row_number().over(order_by=snapshots.c.id.desc())
        limit = audience.keep_snapshots
    else:
        age = sa.func.dense_rank().over(order_by=snapshots.c.partition_key.desc().nulls_last())
        limit = KEEP_DAYS
    replaced = sa.func.row_number().over(partition_by=snapshots.c.partition_key, order_by=snapshots.c.id.desc())
    ranked = sa.select(
        snapshots.c.id, snapshots.c.table_name, snapshots.c.partition_key, age.label("age"), replaced.label("newer")
    ).where(kept)
    rows = ranked.subquery("ranked")
    over = sa.or_(rows.c.age > limit, sa.and_(rows.c.partition_key.is_not(None), rows.c.newer > 1))
    old = connection.execute(sa.select(rows.c.id, rows.c.table_name).where(over)).all()
    connection.commit()
    for snapshot_id, table_name in old:
        try:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {warehouse.schema}.{table_name}")
            connection.execute(sa.update(snapshots).where(snapshots.c.id == snapshot_id).values(table_name=None))
            connection.commit()
        except sa.exc.OperationalError:
            connection.rollback()
