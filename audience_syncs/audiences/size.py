"""How large an audience is before anything is sent: what each condition leaves, how it overlaps with others, what changed.

All of it is counted in the warehouse. A filter's funnel is counted by its conditions; overlaps are counted over the
snapshots that other audiences last made, so nobody else's query runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences.keys import MEMBER_KEY
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.values import Snapshot
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.state import latest_snapshots
from audience_syncs.warehouse.tables import snapshot_table

MOST_ROWS_COMPARED = 2_000_000
"""Members that are read to compare an audience with others by the way, after its evaluation; who asks for it with
`audience-syncs size` may wait."""


@dataclass(frozen=True, slots=True)
class Change:
    """An audience as it is now against its last snapshot, in members."""

    before: int
    entered: int
    exited: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many members of one audience are in another one too."""

    audience: str
    members: int
    """Of the other audience."""
    both: int


def change_since(
    connection: sa.Connection, warehouse: Warehouse, keys: sa.FromClause, last: Snapshot | None
) -> tuple[int, Change | None]:
    """How many there are, and how they differ from the last snapshot. ``keys``: the members' keys, its first column."""
    now = keys.c[0]
    if last is None:
        return int(connection.scalar(sa.select(sa.func.count()).select_from(keys)) or 0), None
    before = snapshot_table(warehouse.schema, last.table, ())
    then = before.c[MEMBER_KEY]
    joined = keys.outerjoin(before, now == then, full=True)
    members, entered, exited = connection.execute(
        sa.select(
            sa.func.count(now),
            sa.func.count().filter(then.is_(None)),
            sa.func.count().filter(now.is_(None)),
        ).select_from(joined)
    ).one()
    return int(members), Change(last.members, int(entered), int(exited))


def overlaps(
    connection: sa.Connection, warehouse: Warehouse, keys: sa.FromClause, others: Sequence[Snapshot]
) -> tuple[Overlap, ...]:
    """How many of these members are in each of the other audiences' snapshots, the largest overlap first."""
    counts: list[sa.Select[Any]] = []
    for other in others:
        theirs = snapshot_table(warehouse.schema, other.table, ())
        joined = keys.join(theirs, keys.c[0] == theirs.c[MEMBER_KEY])
        both = sa.select(sa.func.count()).select_from(joined).scalar_subquery()
        counts.append(sa.select(sa.literal(other.audience), both))
    if not counts:
        return ()
    found = {str(name): int(both) for name, both in connection.execute(sa.union_all(*counts))}
    rows = (Overlap(other.audience, other.members, found[other.audience]) for other in others)
    return tuple(sorted(rows, key=lambda overlap: (-overlap.both, overlap.audience)))


def comparable(connection: sa.Connection, warehouse: Warehouse, audiences: Iterable[AudienceConfig]) -> list[Snapshot]:
    """The latest snapshots of these audiences, as far as they were ever evaluated."""
    names: dict[bool, list[str]] = {False: [], True: []}
    for audience in audiences:
        names[audience.partitions is not None].append(audience.name)
    return [
        snapshot
        for partitioned, wanted in names.items()
        if wanted
        for snapshot in latest_snapshots(connection, warehouse.tables, wanted, partitioned=partitioned)
    ]


def alike(audience: AudienceConfig) -> list[AudienceConfig]:
    """Other audiences of the project whose members have the same source and primary key: those it can be compared with."""
    return [
        other
        for other in audience.refers_to.audiences.values()
        if (other.source, other.primary_key) == (audience.source, audience.primary_key) and other.name != audience.name
    ]


def matrix(
    connection: sa.Connection, warehouse: Warehouse, snapshots: Sequence[Snapshot]
) -> dict[tuple[str, str], int]:
    """For each pair of audiences, how many people are in both; with itself, how many are in it."""
    keys = {snapshot.audience: snapshot_table(warehouse.schema, snapshot.table, ()) for snapshot in snapshots}
    found: dict[tuple[str, str], int] = {}
    for number, snapshot in enumerate(snapshots):
        name = snapshot.audience
        found[name, name] = snapshot.members
        for overlap in overlaps(connection, warehouse, keys[name], snapshots[number + 1 :]):
            found[name, overlap.audience] = found[overlap.audience, name] = overlap.both
    return found
