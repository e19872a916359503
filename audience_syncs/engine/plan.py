"""The plan: what has to change at the destination, compared in SQL, sealed before the first request.

    added, updated     rows whose fingerprint differs from the ledger's, streamed once through ``prepare``
    unchanged          rows that differ, but not in what would be sent: booked, never sent
    removed, retracted see ``leaving``

Only changed members pass through Python; the rest is joins. Everything happens in one transaction: when it commits, the
plan is sealed (rows, batch numbers, digest), and when it does not, nothing was planned.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.engine.leaving import plan_leaving
from audience_syncs.engine.prepare import NO_IDENTIFIER, Prepared, Preparer
from audience_syncs.model.config import Mode, Removal, SyncConfig
from audience_syncs.model.values import ChangeKind, PlanCounts, Progress, RunOptions, Snapshot
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.tables import snapshot_table

NOT_SENT, REMOVALS, ADDITIONS = 0, 1, 2
"""Phases of a plan, in the order they are delivered."""

_CHUNK = 10_000
"""Rows held in memory at a time while planning."""

_PLAN_COLUMNS = (
    "sync",
    "plan_id",
    "seq",
    "phase",
    "batch",
    "kind",
    "member_key",
    "fingerprint",
    "payload_digest",
    "identifiers",
    "payload",
    "reason_code",
    "reason",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """A sealed plan."""

    id: int
    sync: str
    digest: str
    counts: PlanCounts
    batches: dict[int, int]
    """Phase -> number of batches."""
    rows: dict[int, int]
    """Phase -> number of rows."""
    holding: int
    """Members the ledger held, or may have held, at the destination when this was planned."""


def plan_changes(
    connection: sa.Connection,
    warehouse: Warehouse,
    *,
    sync_name: str,
    sync: SyncConfig,
    snapshot: Snapshot,
    preparer: Preparer,
    batch_size: int,
    run_id: str,
    now: datetime,
    options: RunOptions,
    progress: Callable[[Progress], None],
) -> Plan:
    """Compares the snapshot with the ledger and writes the plan, in the connection's transaction.

    The caller commits to seal it, or rolls back.
    """
    warehouse.dialect.tune_for_set_work(connection)
    plan_id = _open_plan(connection, warehouse, sync_name, run_id, snapshot.id, now)
    stage = _stage(warehouse, snapshot, preparer)
    writer = _PlanWriter(connection, warehouse, sync_name, plan_id, batch_size, progress)
    for chunk in _changed(connection, warehouse, stage, sync_name, options):
        writer.write([writer.classified(row, preparer) for row in chunk])
    writer.analyze()
    removes = sync.mode is Mode.MIRROR and sync.removal is Removal.REMOVE
    leaving, refreshed = plan_leaving(
        connection,
        warehouse,
        stage=stage,
        sync_name=sync_name,
        plan_id=plan_id,
        first_seq=writer.seq + 1,
        batch_size=batch_size,
        removes=removes,
    )
    writer.seq += leaving
    for chunk in _of_members(connection, stage, refreshed):
        writer.write([writer.refreshing(row, preparer) for row in chunk])
    writer.analyze()
    return _close_plan(connection, warehouse, sync_name, plan_id)


def _stage(warehouse: Warehouse, snapshot: Snapshot, preparer: Preparer) -> sa.Subquery:
    """The audience as this sync sees it: key, the mapped columns, a fingerprint of them."""
    table = snapshot_table(warehouse.schema, snapshot.table, tuple(preparer.columns))
    columns = [table.c[name] for name in preparer.columns]
    return sa.select(
        table.c["_member_key"].label("member_key"),
        warehouse.dialect.fingerprint(columns, preparer.salt).label("fingerprint"),
        *(column.label(f"c{position}") for position, column in enumerate(columns)),
    ).subquery("stage")


def _changed(
    connection: sa.Connection, warehouse: Warehouse, stage: sa.Subquery, sync_name: str, options: RunOptions
) -> Iterator[Sequence[Sequence[Any]]]:
    """Members who are new, differ from what was last settled, or whose outcome is not known; in chunks."""
    ledger = warehouse.tables.ledger
    columns = [column for column in stage.c if column.name not in ("member_key", "fingerprint")]
    differs = sa.or_(ledger.c.member_key.is_(None), ledger.c.fingerprint.is_distinct_from(stage.c.fingerprint))
    if options.retry_rejected:
        differs = sa.or_(differs, ledger.c.state == "rejected")
    query = (
        sa.select(
            stage.c.member_key,
            sa.cast(stage.c.fingerprint, sa.Text),
            ledger.c.state,
            sa.cast(ledger.c.payload_digest, sa.Text),
            ledger.c.identifiers,
            ledger.c.accepted_at.is_not(None).label("was_accepted"),
            *columns,
        )
        .select_from(
            stage.outerjoin(ledger, sa.and_(ledger.c.sync == sync_name, ledger.c.member_key == stage.c.member_key))
        )
        .where(differs)
    )
    yield from _in_chunks(connection, query)


def _of_members(connection: sa.Connection, stage: sa.Subquery, members: sa.Table) -> Iterator[Sequence[Sequence[Any]]]:
    """Rows of the stage for the members of a table."""
    columns = [column for column in stage.c if column.name not in ("member_key", "fingerprint")]
    query = sa.select(stage.c.member_key, sa.cast(stage.c.fingerprint, sa.Text), *columns).select_from(
        stage.join(members, members.c.member_key == stage.c.member_key)
    )
    yield from _in_chunks(connection, query)


def _in_chunks(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[Sequence[Sequence[Any]]]:
    """A server-side cursor: memory stays at one chunk whatever the size of the answer."""
    with connection.execute(query.execution_options(stream_results=True, yield_per=_CHUNK)) as result:
        yield from result.partitions()


class _PlanWriter:
    """Numbers, batches and copies plan rows as they are prepared."""

    def __init__(
        self,
        connection: sa.Connection,
        warehouse: Warehouse,
        sync_name: str,
        plan_id: int,
        batch_size: int,
        progress: Callable[[Progress], None],
    ) -> None:
        self._connection = connection
        self._warehouse = warehouse
        self._sync_name = sync_name
        self._plan_id = plan_id
        self._batch_size = batch_size
        self._progress = progress
        self._additions = 0
        self.seq = 0

    def classified(self, row: Sequence[Any], preparer: Preparer) -> tuple[Any, ...]:
        """The plan row of a member who is new or whose row changed."""
        member_key, fingerprint, state, old_digest, old_identifiers, was_accepted, *values = row
        prepared = preparer.prepare(values)
        if not prepared.identifiers:
            return self._row(NOT_SENT, ChangeKind.UNUSABLE, member_key, fingerprint, prepared)
        same = (
            state == "accepted"
            and old_digest is not None
            and old_digest.replace("-", "") == prepared.digest
            and set(old_identifiers) <= set(prepared.identifiers)
        )
        if same:
            kind, phase = ChangeKind.UNCHANGED, NOT_SENT
        else:
            kind, phase = ChangeKind.UPDATE if was_accepted else ChangeKind.ADD, ADDITIONS
        return self._row(phase, kind, member_key, fingerprint, prepared)

    def refreshing(self, row: Sequence[Any], preparer: Preparer) -> tuple[Any, ...]:
        """The plan row of an unchanged member who has to be sent again."""
        member_key, fingerprint, *values = row
        return self._row(ADDITIONS, ChangeKind.REFRESH, member_key, fingerprint, preparer.prepare(values))

    def _row(
        self, phase: int, kind: ChangeKind, member_key: str, fingerprint: str, prepared: Prepared
    ) -> tuple[Any, ...]:
        self.seq += 1
        batch = 0
        if phase == ADDITIONS:
            batch = self._additions // self._batch_size + 1
            self._additions += 1
        usable = bool(prepared.identifiers)
        return (
            self._sync_name,
            self._plan_id,
            self.seq,
            phase,
            batch,
            kind.value,
            member_key,
            fingerprint,
            prepared.digest if usable else None,
            prepared.identifiers,
            prepared.payload if phase == ADDITIONS else None,
            None if usable else NO_IDENTIFIER,
            None if usable else prepared.reason,
        )

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._warehouse.dialect.copy_rows(self._connection, self._warehouse.tables.plan, _PLAN_COLUMNS, rows)
        self._progress(Progress("plan", self.seq))

    def analyze(self) -> None:
        """The planner must know the size of what was just written, or it joins a million rows one by one."""
        dialect = self._warehouse.dialect
        dialect.analyze(self._connection, dialect.partition_name(self._warehouse.tables.plan, self._sync_name))


def _open_plan(
    connection: sa.Connection,
    warehouse: Warehouse,
    sync_name: str,
    run_id: str,
    snapshot_id: int,
    now: datetime,
) -> int:
    plans = warehouse.tables.plans
    row = sa.insert(plans).values(
        sync=sync_name,
        run_id=run_id,
        snapshot_id=snapshot_id,
        status="sealed",
        digest="",
        sealed_at=now,
        added=0,
        updated=0,
        removed=0,
        unusable=0,
    )
    return int(connection.execute(row.returning(plans.c.id)).scalar_one())


def _close_plan(connection: sa.Connection, warehouse: Warehouse, sync_name: str, plan_id: int) -> Plan:
    """Counts the plan and gives it its digest."""
    plan, plans, ledger = warehouse.tables.plan, warehouse.tables.plans, warehouse.tables.ledger
    mine = sa.and_(plan.c.sync == sync_name, plan.c.plan_id == plan_id)
    kinds = {
        str(kind): int(count)
        for kind, count in connection.execute(sa.select(plan.c.kind, sa.func.count()).where(mine).group_by(plan.c.kind))
    }
    phases = connection.execute(
        sa.select(plan.c.phase, sa.func.max(plan.c.batch), sa.func.count()).where(mine).group_by(plan.c.phase)
    ).all()
    counts = PlanCounts(
        added=kinds.get(ChangeKind.ADD, 0),
        updated=kinds.get(ChangeKind.UPDATE, 0),
        removed=kinds.get(ChangeKind.REMOVE, 0),
        unusable=kinds.get(ChangeKind.UNUSABLE, 0),
        unchanged=kinds.get(ChangeKind.UNCHANGED, 0),
    )
    content = connection.scalar(
        sa.select(
            warehouse.dialect.digest_sum([plan.c.kind, plan.c.member_key, plan.c.payload_digest, plan.c.identifiers])
        ).where(mine, sa.or_(plan.c.phase > NOT_SENT, plan.c.kind == ChangeKind.REMOVE))
    )
    digest = hashlib.sha256(f"{sync_name}\n{counts}\n{content}".encode()).hexdigest()[:16]
    holding = connection.scalar(
        sa.select(sa.func.count())
        .select_from(ledger)
        .where(ledger.c.sync == sync_name, ledger.c.identifiers != warehouse.dialect.no_identifiers())
    )
    connection.execute(
        sa.update(plans)
        .where(plans.c.id == plan_id)
        .values(
            digest=digest,
            added=counts.added,
            updated=counts.updated,
            removed=counts.removed,
            unusable=counts.unusable,
        )
    )
    return Plan(
        id=plan_id,
        sync=sync_name,
        digest=digest,
        counts=counts,
        batches={int(phase): int(batches or 0) for phase, batches, _ in phases if phase > NOT_SENT},
        rows={int(phase): int(rows) for phase, _, rows in phases},
        holding=int(holding or 0),
    )
