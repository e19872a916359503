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
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from audience_syncs.audiences.admission import Admitted
from audience_syncs.engine.adopt import adopt_held
from audience_syncs.engine.leaving import plan_lapses, plan_leaving
from audience_syncs.engine.phases import ADDITIONS, EARLY_ADDITIONS, NOT_SENT, REMOVALS, RETRACTIONS, SENDING
from audience_syncs.engine.prepare import NO_IDENTIFIER, Prepared, Preparer, fields_of
from audience_syncs.model.config import Mode, ModeFamily, Removal, SyncConfig
from audience_syncs.model.values import ChangeKind, PlanCounts, Progress, RunOptions, Snapshot
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.forgotten import is_forgotten
from audience_syncs.warehouse.tables import snapshot_table

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
    "before",
    "lacks",
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


@dataclass(frozen=True, slots=True)
class Basis:
    """What a plan is made from."""

    connection: sa.Connection
    warehouse: Warehouse
    sync_name: str
    sync: SyncConfig
    snapshot: Snapshot
    admitted: Admitted
    """Whom of the snapshot the sync sends."""
    preparer: Preparer
    batch_size: int
    run_id: str
    now: datetime
    progress: Callable[[Progress], None]
    refresh_after: timedelta | None = None
    """Unchanged members are sent again when they were accepted so long ago; None: never."""

    @property
    def of_ledger(self) -> sa.ColumnElement[bool]:
        return self.warehouse.tables.ledger.c.sync == self.sync_name

    @property
    def is_fading(self) -> sa.ColumnElement[bool]:
        """Whether the platform may soon forget a member of the ledger."""
        ledger = self.warehouse.tables.ledger
        if self.refresh_after is None or self.sync.mode.family is not ModeFamily.LIST:
            return sa.false()
        return sa.and_(ledger.c.state == "accepted", ledger.c.accepted_at < self.now - self.refresh_after)


def plan_changes(basis: Basis, options: RunOptions, *, adopting: bool = False) -> Plan:
    """Compares the snapshot with the ledger and writes the plan, in the connection's transaction.

    ``adopting``: members who are in the list already (``adopt``) are booked instead of sent. The caller commits to seal
    the plan, or rolls back.
    """
    ledger = basis.warehouse.tables.ledger
    writer = PlanWriter(basis)
    stage = staged(basis)
    early = options.full_resync and basis.sync.mode.family is ModeFamily.LIST
    classify = _Classifier(basis, options, phase=EARLY_ADDITIONS if early else ADDITIONS)
    for chunk in _changed(basis, stage, options):
        writer.write([writer.row(*classify(row)) for row in chunk])
    writer.analyze()
    if adopting:
        writer.additions = adopt_held(
            basis.connection, basis.warehouse, basis.sync_name, writer.plan_id, basis.batch_size
        )
    left = ~sa.exists().where(stage.c.member_key == ledger.c.member_key)
    if basis.sync.mode.family is not ModeFamily.LIST:
        plan_lapses(
            basis.connection,
            basis.warehouse,
            sync_name=basis.sync_name,
            plan_id=writer.plan_id,
            gone=left,
            first_seq=writer.seq + 1,
        )
    else:
        # A test with a few members takes nobody out.
        removes = basis.sync.mode is Mode.MIRROR and basis.sync.removal is not Removal.KEEP and options.limit is None
        writer.take_out(left if removes else sa.and_(left, _must_go(basis, ledger.c.member_key)), stage, early=early)
    return writer.close()


def _must_go(basis: Basis, member_key: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Who is taken out whatever the mode: those who are forgotten, and those whom the destination excludes."""
    forgotten = is_forgotten(basis.warehouse, basis.snapshot.primary_key, member_key)
    excluded = basis.admitted.excluded(member_key)
    return forgotten if excluded is None else sa.or_(forgotten, excluded)


def staged(basis: Basis) -> sa.Subquery:
    """The audience as this sync sees it: key, the mapped columns, a fingerprint of them; nobody who is forgotten or not
    admitted."""
    warehouse, preparer = basis.warehouse, basis.preparer
    table = snapshot_table(warehouse.schema, basis.snapshot.table, tuple(preparer.columns))
    columns = [table.c[name] for name in preparer.columns]
    query = sa.select(
        table.c["_member_key"].label("member_key"),
        warehouse.dialect.fingerprint(columns, preparer.salt).label("fingerprint"),
        *(column.label(f"c{position}") for position, column in enumerate(columns)),
    )
    if basis.connection.scalar(sa.select(sa.exists().select_from(warehouse.tables.forgotten))):
        query = query.where(~is_forgotten(warehouse, basis.snapshot.primary_key, table.c["_member_key"]))
    kept_out = basis.admitted.kept_out(table.c["_member_key"])
    if kept_out is not None:
        query = query.where(~kept_out)
    return query.subquery("stage")


def _changed(basis: Basis, stage: sa.Subquery, options: RunOptions) -> Iterator[Sequence[Sequence[Any]]]:
    """Members who are new, differ from what was last settled, or whose outcome is not known; in chunks."""
    ledger = basis.warehouse.tables.ledger
    columns = [column for column in stage.c if column.name not in ("member_key", "fingerprint")]
    differs = sa.or_(
        ledger.c.member_key.is_(None),
        ledger.c.fingerprint.is_distinct_from(stage.c.fingerprint),
        basis.is_fading,
    )
    if options.retry_rejected:
        differs = sa.or_(differs, ledger.c.state == "rejected")
    if options.full_resync:
        differs = sa.true()
    query = (
        sa.select(
            stage.c.member_key,
            sa.cast(stage.c.fingerprint, sa.Text),
            ledger.c.state,
            sa.cast(ledger.c.payload_digest, sa.Text),
            ledger.c.identifiers,
            ledger.c.accepted_at.is_not(None).label("was_accepted"),
            basis.is_fading.label("is_fading"),
            *columns,
        )
        .select_from(stage.outerjoin(ledger, sa.and_(basis.of_ledger, ledger.c.member_key == stage.c.member_key)))
        .where(differs)
        .limit(options.limit)
    )
    yield from in_chunks(basis.connection, query)


class _Classifier:
    """What a plan does with a member who is new, or whose row changed."""

    def __init__(self, basis: Basis, options: RunOptions, *, phase: int) -> None:
        self._preparer = basis.preparer
        self._mode = basis.sync.mode
        self._resync = options.full_resync
        self._phase = phase

    def __call__(self, row: Sequence[Any]) -> tuple[Any, ...]:
        """The arguments of ``PlanWriter.row``."""
        member_key, fingerprint, state, old_digest, before, was_accepted, is_fading, *values = row
        prepared = self._preparer.prepare(values)
        if not prepared.identifiers:
            return NOT_SENT, ChangeKind.UNUSABLE, member_key, fingerprint, prepared, before
        accepted = state == "accepted" and old_digest is not None
        same = accepted and old_digest.replace("-", "") == prepared.digest
        if self._mode.family is ModeFamily.LIST:
            same = same and set(before) <= set(prepared.identifiers)
        else:
            prepared = self._without_list(prepared, before)
        # Who was inserted is never written again.
        settled = same or (accepted and self._mode is Mode.INSERT)
        if settled and not self._resync and not is_fading:
            return NOT_SENT, ChangeKind.UNCHANGED, member_key, fingerprint, prepared, before
        changed = ChangeKind.UPDATE if was_accepted else ChangeKind.ADD
        kind = ChangeKind.RESEND if same else changed
        return self._phase, kind, member_key, fingerprint, prepared, before

    def _without_list(self, prepared: Prepared, before: Sequence[str] | None) -> Prepared:
        """The ledger's identifiers are those in a list: none are added to it. Who is taken out of one is named by what
        they have now and by what they were once added with."""
        held = list(before or ())
        if self._mode.family is ModeFamily.RECORDS:
            return replace(prepared, identifiers=held)
        named = [*prepared.identifiers, *(text for text in held if text not in prepared.identifiers)]
        return replace(prepared, payload=orjson.dumps(fields_of(named)).decode(), identifiers=[])


def _of_members(connection: sa.Connection, stage: sa.Subquery, members: sa.Table) -> Iterator[Sequence[Sequence[Any]]]:
    """Rows of the stage for the members of a table."""
    columns = [column for column in stage.c if column.name not in ("member_key", "fingerprint")]
    query = sa.select(stage.c.member_key, sa.cast(stage.c.fingerprint, sa.Text), *columns).select_from(
        stage.join(members, members.c.member_key == stage.c.member_key)
    )
    yield from in_chunks(connection, query)


def in_chunks(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[Sequence[Sequence[Any]]]:
    """A server-side cursor: memory stays at one chunk whatever the size of the answer."""
    with connection.execute(query.execution_options(stream_results=True, yield_per=_CHUNK)) as result:
        yield from result.partitions()


class PlanWriter:
    """Opens a plan; numbers, batches and copies its rows as they are prepared; closes it with counts and digest."""

    def __init__(self, basis: Basis) -> None:
        self._basis = basis
        basis.warehouse.dialect.tune_for_set_work(basis.connection)
        self.plan_id = _open_plan(basis)
        self.seq = 0
        self.additions = 0
        """Rows of the phase of additions so far."""
        self._early_additions = 0

    def row(
        self,
        phase: int,
        kind: ChangeKind,
        member_key: str,
        fingerprint: str | None,
        prepared: Prepared,
        before: Sequence[str] | None,
    ) -> tuple[Any, ...]:
        """The next row of the plan; ``before``: the member's identifiers in the ledger, None if not in it."""
        self.seq += 1
        usable = kind is not ChangeKind.UNUSABLE
        return (
            self._basis.sync_name,
            self.plan_id,
            self.seq,
            phase,
            self._batch(phase),
            kind.value,
            member_key,
            fingerprint,
            prepared.digest if usable else None,
            prepared.identifiers,
            before,
            prepared.lacks,
            prepared.payload if phase in SENDING else None,
            None if usable else NO_IDENTIFIER,
            None if usable else prepared.reason,
        )

    def _batch(self, phase: int) -> int:
        if phase == ADDITIONS:
            self.additions += 1
            return (self.additions - 1) // self._basis.batch_size + 1
        if phase == EARLY_ADDITIONS:
            self._early_additions += 1
            return (self._early_additions - 1) // self._basis.batch_size + 1
        return 0

    def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        basis = self._basis
        basis.warehouse.dialect.copy_rows(basis.connection, basis.warehouse.tables.plan, _PLAN_COLUMNS, rows)
        basis.progress(Progress("plan", self.seq))

    def take_out(self, gone: sa.ColumnElement[bool], stage: sa.Subquery, *, early: bool = False) -> None:
        """Plans the removal of ``gone`` members of the ledger, and what follows from it for those who stay."""
        basis = self._basis
        # Where leaving does more than taking out of the list, retractions are sent by themselves: their members stay.
        together = basis.sync.removal in (Removal.REMOVE, Removal.KEEP)
        written, moved, refreshed = plan_leaving(
            basis.connection,
            basis.warehouse,
            sync_name=basis.sync_name,
            plan_id=self.plan_id,
            gone=gone,
            first_seq=self.seq + 1,
            first_addition=self.additions,
            batch_size=basis.batch_size,
            retraction_phase=REMOVALS if together else RETRACTIONS,
            early=early,
        )
        self.seq += written
        self.additions += moved
        for chunk in _of_members(basis.connection, stage, refreshed):
            self.write([self._refreshing(row) for row in chunk])
        self.analyze()

    def _refreshing(self, row: Sequence[Any]) -> tuple[Any, ...]:
        member_key, fingerprint, *values = row
        prepared = self._basis.preparer.prepare(values)
        return self.row(ADDITIONS, ChangeKind.REFRESH, member_key, fingerprint, prepared, prepared.identifiers)

    def analyze(self) -> None:
        """The planner must know the size of what was just written, or it joins a million rows one by one."""
        basis, dialect = self._basis, self._basis.warehouse.dialect
        dialect.analyze(basis.connection, dialect.partition_name(basis.warehouse.tables.plan, basis.sync_name))

    def close(self) -> Plan:
        """Counts the plan and gives it its digest."""
        return _close_plan(self._basis.connection, self._basis.warehouse, self._basis.sync_name, self.plan_id)


def _open_plan(basis: Basis) -> int:
    plans = basis.warehouse.tables.plans
    row = sa.insert(plans).values(
        sync=basis.sync_name,
        run_id=basis.run_id,
        snapshot_id=basis.snapshot.id,
        status="sealed",
        digest="",
        sealed_at=basis.now,
        added=0,
        updated=0,
        removed=0,
        unusable=0,
    )
    return int(basis.connection.execute(row.returning(plans.c.id)).scalar_one())


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
        resent=kinds.get(ChangeKind.RESEND, 0) + kinds.get(ChangeKind.REFRESH, 0),
        adopted=kinds.get(ChangeKind.ADOPT, 0),
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
