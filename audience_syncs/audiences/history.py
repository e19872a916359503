"""Who entered an audience and who left it, since the snapshot before.

Where the audience has a split, the events have the group; and whoever stays and comes into another one, or gets a place in a
split for the first time, has an event of its own: ``move``.

Of a partitioned audience, "before" is the nearest earlier day there is. Days may come in any order and again: booking one
replaces what was booked for it, and books the day after it anew, whose "before" has changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences.keys import MEMBER_KEY
from audience_syncs.model.splits import GROUP
from audience_syncs.model.values import SplitSizes
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
    event = _Events(connection, warehouse, audience, at, snapshot_id)
    now, division = _rows(connection, warehouse, table_name)
    key, group = now.c[MEMBER_KEY], _group_of(now, division)
    came, exited = sa.select(key, group), 0
    if before_name is not None:
        before, division_before = _rows(connection, warehouse, before_name)
        old_key, old_group = before.c[MEMBER_KEY], _group_of(before, division_before)
        came = came.where(~sa.exists().where(old_key == key))
        exited = event.book("exit", sa.select(old_key, old_group).where(~sa.exists().where(key == old_key)))
        if division is not None:
            stayed = sa.select(key, group).select_from(now.join(before, old_key == key))
            # Divided in another way, who is in a group of the same name is there by another chance.
            anew = division != division_before
            event.book("move", stayed if anew else stayed.where(group.is_distinct_from(old_group)))
    entered = event.book("enter", came)
    connection.execute(sa.update(snapshots).where(snapshots.c.id == snapshot_id).values(entered=entered, exited=exited))


Division = tuple[str, bool]


def _rows(connection: sa.Connection, warehouse: Warehouse, table_name: str) -> tuple[sa.TableClause, Division | None]:
    """A snapshot's table, and how its members were divided; None without a split."""
    snapshots = warehouse.tables.snapshots
    stored = connection.scalar(sa.select(snapshots.c.split).where(snapshots.c.table_name == table_name))
    division = SplitSizes.from_json(stored).division if stored else None
    return snapshot_table(warehouse.schema, table_name, (GROUP,) if division is not None else ()), division


def _group_of(rows: sa.TableClause, division: Division | None) -> sa.ColumnElement[str | None]:
    return rows.c[GROUP] if division is not None else sa.cast(sa.null(), sa.Text)


@dataclass(frozen=True)
class _Events:
    """Writes events of one snapshot."""

    connection: sa.Connection
    warehouse: Warehouse
    audience: str
    at: datetime
    snapshot_id: int

    def book(self, event: str, members: sa.Select[Any]) -> int:
        """An event for each member of the query: key, group. Returns how many."""
        membership = self.warehouse.tables.membership
        found = members.subquery()
        key, group = found.c
        query = sa.select(
            sa.literal(self.audience),
            key,
            sa.literal(event),
            sa.literal(self.at, sa.DateTime(timezone=True)),
            sa.literal(self.snapshot_id, sa.BigInteger),
            group,
        )
        columns = ["audience", "member_key", "event", "at", "snapshot_id", "split_group"]
        return self.connection.execute(sa.insert(membership).from_select(columns, query)).rowcount
