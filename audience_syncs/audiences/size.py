"""How large an audience is before anything is sent: what each condition leaves, how it overlaps with others, what changed.

All of it is counted in the warehouse. A filter's funnel is counted by its conditions; overlaps are counted over the
snapshots that other audiences last made, so nobody else's query runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences.keys import MEMBER_KEY
from audience_syncs.audiences.query import now_of, query_of
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.filters import AllOf
from audience_syncs.model.sizes import Change, Overlap, Size, Step
from audience_syncs.model.values import Progress, Snapshot
from audience_syncs.warehouse.connection import Warehouse, in_words
from audience_syncs.warehouse.expressions import EXPRESSIONS
from audience_syncs.warehouse.state import State, latest_snapshots
from audience_syncs.warehouse.tables import snapshot_table

MOST_ROWS_COMPARED = 2_000_000
"""Members that are read to compare an audience with others by the way, after its evaluation; who asks for it with
`audience-syncs size` may wait."""


def size_of(
    audience: AudienceConfig,
    warehouse: Warehouse,
    others: Iterable[AudienceConfig] = (),
    *,
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Size:
    """Counts an audience by its definition, at this moment; of a partitioned one, as of the end of its latest day.

    ``others``: audiences to compare it with, by their last snapshots. Keeps nothing. Raises what an evaluation raises,
    except for what is wrong with keys.
    """
    where = f"audience {audience.name}"
    tell = progress or (lambda _: None)
    now = clock()
    as_of = now if audience.partitions is None else audience.partitions.end_of(audience.partitions.latest(now))
    State(warehouse).prepare()
    with in_words(where), warehouse.connect() as connection:
        warehouse.dialect.tune_for_set_work(connection)
        tell(Progress("evaluate the query", 0))
        query = query_of(connection, audience, as_of, where)
        query.create_table(connection, "TEMP TABLE sized", audience.primary_key, MEMBER_KEY, "")
        warehouse.dialect.analyze(connection, "sized")
        keys = sa.table("sized", sa.column(MEMBER_KEY))
        last = comparable(connection, warehouse, [audience])
        tell(Progress("compare with the last snapshot", 0))
        members, change = change_since(connection, warehouse, keys, last[0] if last else None)
        tell(Progress("count each condition", 0))
        people, funnel = funnel_of(connection, audience, as_of, where)
        tell(Progress("compare with other audiences", 0))
        snapshots = comparable(connection, warehouse, others)
        found = matrix(connection, warehouse, snapshots)
        found[audience.name] = {audience.name: members}
        for overlap in overlaps(connection, warehouse, keys, snapshots):
            found[audience.name][overlap.audience] = found[overlap.audience][audience.name] = overlap.both
        connection.rollback()
    first = {audience.name: found.pop(audience.name), **found}
    return Size(members, people if funnel else members, funnel, change, first if snapshots else {})


def funnel_of(
    connection: sa.Connection, audience: AudienceConfig, as_of: datetime, where: str
) -> tuple[int, tuple[Step, ...]]:
    """How many people the model has, and how many of them each condition of the filter leaves; nothing for SQL."""
    if audience.model is None or audience.filter is None:
        return 0, ()
    from audience_syncs.audiences.compile import Compiler
    from audience_syncs.model.filter_words import in_words as said

    parts = audience.filter.all if isinstance(audience.filter, AllOf) else [audience.filter]
    compiler = Compiler(audience, EXPRESSIONS[connection.dialect.name], now_of(connection, audience, as_of, where))
    holds = [compiler.predicate(part) for part in parts]
    # Each is asked once for each person, however many counts it is part of.
    asked = (
        sa.select(*(sa.func.coalesce(one, sa.false()).label(f"c{number}") for number, one in enumerate(holds)))
        .select_from(compiler.people())
        .subquery("asked")
    )
    columns = list(asked.c)
    counts: list[sa.ColumnElement[int]] = [sa.func.count()]
    for number, column in enumerate(columns):
        counts.append(sa.func.count().filter(column))
        counts.append(sa.func.count().filter(sa.and_(*columns[: number + 1])))
    people, *rest = (int(count) for count in connection.execute(sa.select(*counts).select_from(asked)).one())
    steps = (Step(said(part), alone, left) for part, alone, left in zip(parts, rest[::2], rest[1::2], strict=True))
    return people, tuple(steps)


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


def overlaps_by_the_way(
    connection: sa.Connection, warehouse: Warehouse, audience: AudienceConfig, table: sa.FromClause, members: int
) -> tuple[Overlap, ...]:
    """Overlaps of a snapshot just made, ``table``, with the audiences it can be compared with; none where that would read
    more than ``MOST_ROWS_COMPARED`` members."""
    others = comparable(connection, warehouse, alike(audience))
    if not others or sum(other.members + members for other in others) > MOST_ROWS_COMPARED:
        return ()
    return overlaps(connection, warehouse, table, others)


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


def matrix(connection: sa.Connection, warehouse: Warehouse, snapshots: Sequence[Snapshot]) -> dict[str, dict[str, int]]:
    """For each pair of audiences, how many people are in both snapshots; with itself, how many are in it."""
    found = {snapshot.audience: {snapshot.audience: snapshot.members} for snapshot in snapshots}
    for number, snapshot in enumerate(snapshots):
        keys = snapshot_table(warehouse.schema, snapshot.table, ())
        for overlap in overlaps(connection, warehouse, keys, snapshots[number + 1 :]):
            found[snapshot.audience][overlap.audience] = found[overlap.audience][snapshot.audience] = overlap.both
    return found
