"""Who entered an audience and who left it, since the snapshot before.

Of a partitioned audience, "before" is the nearest earlier day there is. Days may come in any order and again: booking one
replaces what was booked for it, and books the day after it anew, whose "before" has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences.keys import MEMBER_KEY
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.tables import snapshot_table


def book_next(
    connection: sa.Connection, warehouse: Warehouse, audience: str, snapshot_id: int, *, at: datetime
) -> None:
    """Books the newest snapshot of an audience without partitions against the one before it."""
    snapshots = warehouse.tables.snapshots
    before = connection.scalar(
        sa.select(snapshots.c.table_name)
        .where(snapshots.c.audience == audience, snapshots.c.partition_key.is_(None))
        .where(snapshots.c.table_name.is_not(None), snapshots.c.id < snapshot_id)
        .order_by(snapshots.c.id.desc())
        .limit(1)
    )
    _book(connection, warehouse, audience, snapshot_id, f"snapshot_{snapshot_id}", before, at)


def book_day(
    connection: sa.Connection,
    warehouse: Warehouse,
    audience: str,
    snapshot_id: int,
    *,
    end_of: Callable[[str], datetime],
) -> None:
    """Books a day's snapshot against the day before it, and the day after against this one."""
    snapshots = warehouse.tables.snapshots
    day = str(connection.scalar(sa.select(snapshots.c.partition_key).where(snapshots.c.id == snapshot_id)))
    replaced = sa.select(snapshots.c.id).where(snapshots.c.audience == audience, snapshots.c.partition_key == day)
    _erase(connection, warehouse, replaced)
    earlier = _nearest(
        connection, warehouse, audience, snapshots.c.partition_key < day, snapshots.c.partition_key.desc()
    )
    before = earlier[1] if earlier else None
    _book(connection, warehouse, audience, snapshot_id, f"snapshot_{snapshot_id}", before, end_of(day))
    later = _nearest(connection, warehouse, audience, snapshots.c.partition_key > day, snapshots.c.partition_key)
    if later is not None:
        later_id, later_table, later_day = later
        _erase(connection, warehouse, sa.select(sa.literal(later_id)))
        table = f"snapshot_{snapshot_id}"
        _book(connection, warehouse, audience, later_id, later_table, table, end_of(later_day))


def _nearest(
    connection: sa.Connection,
    warehouse: Warehouse,
    audience: str,
    side: sa.ColumnElement[bool],
    order: sa.ColumnElement[Any],
) -> tuple[int, str, str] | None:
    """id, table, day of the newest snapshot of the nearest day on one side."""
    snapshots = warehouse.tables.snapshots
    query = (
        sa.select(snapshots.c.id, snapshots.c.table_name, snapshots.c.partition_key)
        .where(snapshots.c.audience == audience, snapshots.c.table_name.is_not(None), side)
        .order_by(order, snapshots.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (int(row[0]), str(row[1]), str(row[2]))


def _erase(connection: sa.Connection, warehouse: Warehouse, snapshot_ids: sa.Select[Any]) -> None:
    membership = warehouse.tables.membership
    connection.execute(sa.delete(membership).where(membership.c.snapshot_id.in_(snapshot_ids)))


def _book(
    connection: sa.Connection,
    warehouse: Warehouse,
    audience: str,
    snapshot_id: int,
    table_name: str,
    before_name: str | None,
    at: datetime,
) -> None:
    """Writes the events of one snapshot, and how many they are into its row."""
    snapshots = warehouse.tables.snapshots
    table = snapshot_table(warehouse.schema, table_name, ())
    key = table.c[MEMBER_KEY]
    came, exited = sa.select(key), 0
    if before_name is not None:
        before = snapshot_table(warehouse.schema, before_name, ())
        old_key = before.c[MEMBER_KEY]
        came = came.where(~sa.exists().where(old_key == key))
        left = sa.select(old_key).where(~sa.exists().where(key == old_key))
        exited = _book_event(connection, warehouse, audience, left, "exit", at, snapshot_id)
    entered = _book_event(connection, warehouse, audience, came, "enter", at, snapshot_id)
    connection.execute(sa.update(snapshots).where(snapshots.c.id == snapshot_id).values(entered=entered, exited=exited))


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
