"""One run of one sync: the flow of DESIGN.md, section 3, in order. Knows no Dagster and no platform."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from audience_syncs.destinations.contract import Destination, DestinationSpec, ListRequest, TellsMatchedUsers
from audience_syncs.engine import records
from audience_syncs.engine.deliver import deliver
from audience_syncs.engine.guard import Figures, objection
from audience_syncs.engine.plan import Plan, plan_changes
from audience_syncs.engine.prepare import Preparer
from audience_syncs.engine.settle import Settled, settle
from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.errors import (
    AudienceError,
    AudienceSyncsError,
    DefinitionError,
    GuardBlocked,
    SourceError,
    SyncLocked,
)
from audience_syncs.model.values import (
    MatchedUsers,
    PlanCounts,
    Progress,
    RejectionCount,
    RemoteList,
    RunOptions,
    RunStatus,
    Snapshot,
    SyncReport,
)
from audience_syncs.warehouse.connection import Warehouse, lost, words_of
from audience_syncs.warehouse.state import State

Clock = Callable[[], datetime]
Tell = Callable[[Progress], None]


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class PlanPreview:
    """What a run would change now. Nothing is sent, nothing is kept."""

    sync: str
    snapshot_id: int
    in_audience: int
    holding: int
    counts: PlanCounts
    digest: str
    blocked: str | None
    """The guard's objection, if it has one."""
    dropped_values: tuple[RejectionCount, ...]


def plan_sync(
    audience: AudienceConfig,
    sync: SyncConfig,
    spec: DestinationSpec,
    warehouse: Warehouse,
    *,
    options: RunOptions | None = None,
    progress: Tell | None = None,
    clock: Clock = _utc_now,
) -> PlanPreview:
    """What a run of the sync would change, from the audience's latest snapshot; planned for real and rolled back."""
    run = _Run(audience, sync, spec, warehouse, "preview", options or RunOptions(), progress, clock)
    with warehouse.connect() as connection:
        run.prepare(connection)
        plan = run.plan(connection)
        connection.rollback()
    figures = Figures(run.snapshot.members, plan.holding, plan.counts)
    return PlanPreview(
        sync=run.name,
        snapshot_id=run.snapshot.id,
        in_audience=run.snapshot.members,
        holding=plan.holding,
        counts=plan.counts,
        digest=plan.digest,
        blocked=objection(sync.guard, figures),
        dropped_values=run.preparer.dropped,
    )


def run_sync(
    audience: AudienceConfig,
    sync: SyncConfig,
    destination: Destination,
    warehouse: Warehouse,
    *,
    run_id: str,
    options: RunOptions | None = None,
    progress: Tell | None = None,
    clock: Clock = _utc_now,
) -> SyncReport:
    """Brings the list in step with the audience's latest snapshot, and says what came of it.

    Rejected members do not make it fail: the report names them. It raises, after booking every answer and writing the
    run's record:

        SyncLocked         another run of this sync is under way
        GuardBlocked       the plan is beyond the guard's limits; nothing was sent
        AudienceError      no snapshot yet, or it lacks a mapped column
        DestinationError   access refused, list gone, platform down
        SourceError        the warehouse failed or was lost; the next run settles what was under way

    Errors raised after the run was recorded carry the report as ``report``.
    """
    run = _Run(audience, sync, destination.spec, warehouse, run_id, options or RunOptions(), progress, clock)
    with warehouse.connect() as connection, _locked(connection, warehouse, run.name):
        run.prepare(connection, record=True)
        try:
            return run.bring_in_step(connection, destination)
        except sa.exc.SQLAlchemyError as error:
            failure = run.warehouse_failure(error)
            run.record_failure(connection, failure, destination)
            raise failure from None
        except BaseException as error:
            run.record_failure(connection, error, destination)
            raise


@contextmanager
def _locked(connection: sa.Connection, warehouse: Warehouse, name: str) -> Iterator[None]:
    """One run of a sync at a time, across processes and machines. The lock dies with the connection.

    It is held by the connection that also writes everything else: who loses it can book nothing any more.
    """
    lock = f"{warehouse.schema} sync {name}"
    if not warehouse.dialect.try_lock(connection, lock):
        raise SyncLocked(
            "another run of this sync is under way",
            where=f"sync {name}",
            remedy="wait for it to end, or cancel it; a run whose process died frees the sync by itself",
        )
    connection.commit()
    try:
        yield
    finally:
        if not lost(connection):
            try:
                connection.rollback()
                warehouse.dialect.unlock(connection, lock)
                connection.commit()
            except sa.exc.DBAPIError:
                connection.invalidate()


class _Run:
    """What the steps of one run share."""

    def __init__(
        self,
        audience: AudienceConfig,
        sync: SyncConfig,
        spec: DestinationSpec,
        warehouse: Warehouse,
        run_id: str,
        options: RunOptions,
        progress: Tell | None,
        clock: Clock,
    ) -> None:
        self.audience = audience
        self.sync = sync
        self.spec = spec
        self.warehouse = warehouse
        self.run_id = run_id
        self.options = options
        self.tell: Tell = progress or (lambda _: None)
        self.clock = clock
        self.name = sync_id(audience, sync)
        self.where = f"sync {self.name}"
        self.started_at = clock()
        self.record_id: int | None = None
        self.recovered = 0
        self.current: Plan | None = None
        self.settled = Settled()
        self.list: RemoteList | None = None
        self.matched: MatchedUsers | None = None

    def prepare(self, connection: sa.Connection, *, record: bool = False) -> None:
        """State tables, the sync's partitions, the snapshot to deliver, the compiled mapping."""
        State(self.warehouse).prepare()
        tables = self.warehouse.tables
        for table in (tables.ledger, tables.plan):
            self.warehouse.dialect.add_partition(connection, table, self.name)
        connection.commit()
        if record:
            self.record_id = records.open_run(connection, self.warehouse, self.name, self.run_id, self.started_at)
        try:
            self.snapshot = self._latest_snapshot()
            available = [column.name for column in self.snapshot.columns]
            self.preparer = Preparer(self.sync, self.spec, available, self.where)
        except AudienceSyncsError as error:
            if self.record_id is not None:
                records.close_failed_run(connection, self.warehouse, self.record_id, str(error), self.clock())
            raise

    def _latest_snapshot(self) -> Snapshot:
        snapshot = State(self.warehouse).latest_snapshot(self.audience.name)
        if snapshot is None:
            raise AudienceError(
                f"audience {self.audience.name!r} has not been evaluated yet",
                where=self.where,
                remedy=f"materialise the asset audiences/{self.audience.name} first",
            )
        return snapshot

    def bring_in_step(self, connection: sa.Connection, destination: Destination) -> SyncReport:
        """Recover, plan, guard, deliver and book, settle, report."""
        self.recovered = self._recover(connection)
        known = self._known_list(connection)
        self.current = plan = self.plan(connection)
        self._guard(connection, plan)
        connection.commit()  # sealed: from here on the plan outlives us
        try:
            self._deliver(connection, destination, plan, known)
        finally:
            # Also after an error: what was answered is settled now, not only by the next run.
            if not lost(connection):
                self.tell(Progress("settle", 0))
                self._settle(connection, plan)
        self._read_matched(connection, destination)
        report = self.report(connection, destination)
        records.close_run(connection, self.warehouse, self._record(), report)
        return report

    def _recover(self, connection: sa.Connection) -> int:
        """Settles what a run that died left open; returns how many members that concerned."""
        open_plans = records.unsettled_plans(connection, self.warehouse, self.name)
        recovered = 0
        for plan_id in open_plans:
            self.tell(Progress("recover", recovered))
            settled = settle(connection, self.warehouse, self.name, plan_id, self.run_id, self.clock())
            recovered += settled.added + settled.updated + settled.removed + settled.unknown + settled.rejected
        records.mark_interrupted(connection, self.warehouse, self.name, self._record(), self.clock())
        return recovered

    def plan(self, connection: sa.Connection) -> Plan:
        self.tell(Progress("plan", 0))
        return plan_changes(
            connection,
            self.warehouse,
            sync_name=self.name,
            sync=self.sync,
            snapshot=self.snapshot,
            preparer=self.preparer,
            batch_size=self.spec.batch_size,
            run_id=self.run_id,
            now=self.clock(),
            options=self.options,
            progress=self.tell,
        )

    def _guard(self, connection: sa.Connection, plan: Plan) -> None:
        reason = objection(self.sync.guard, Figures(self.snapshot.members, plan.holding, plan.counts))
        approved = self.options.approve
        if approved is not None and approved != plan.digest:
            changed = (
                f"the plan is now {plan.digest}, not the approved {approved}: the audience or the list changed since"
            )
            reason = f"{changed}; {reason}" if reason else None
        if reason is None or approved == plan.digest:
            return
        connection.rollback()
        raise GuardBlocked(
            f"nothing was sent: {reason}. Planned: {plan.counts.added:,} to add, {plan.counts.updated:,} to update, "
            f"{plan.counts.removed:,} to remove",
            digest=plan.digest,
            where=self.where,
            remedy=f"check the audience's query; if this is what you want, approve exactly this plan: run config "
            f"`approve: {plan.digest}`, or audience-syncs run {self.name} --approve {plan.digest}",
        )

    def _known_list(self, connection: sa.Connection) -> RemoteList | None:
        """The list this sync has kept so far.

        The ledger tells of that one list: a definition that now names another would leave people in the old one for
        ever, and is refused.
        """
        known = records.known_list(connection, self.warehouse, self.name)
        connection.commit()
        if known is None:
            return None
        self.list = known.list
        if known.wanted == self._wanted_list() or known.list.id == self.sync.list.id:
            return known.list
        raise DefinitionError(
            f"this sync keeps the list {known.wanted!r} (id {known.list.id}); its definition now names "
            f"{self._wanted_list()!r}",
            where=self.where,
            code="LIST_CHANGED",
            remedy=f'to rename the list, rename it there and write `list: {{id: "{known.list.id}"}}`; to fill '
            "another list, give the sync another `name`",
        )

    def _deliver(
        self, connection: sa.Connection, destination: Destination, plan: Plan, known: RemoteList | None
    ) -> None:
        if not plan.batches and known is not None:
            return
        self.tell(Progress("find the list", 0))
        wanted = ListRequest(
            name=self.sync.list.name or self.audience.label,
            id=known.id if known is not None else self.sync.list.id,
            description=self.sync.list.description or self.audience.description,
        )
        self.list = destination.ensure_list(wanted)
        records.keep_list(connection, self.warehouse, self.name, self._wanted_list(), self.list, self.clock())
        deliver(connection, self.warehouse, plan, destination, self.list.id, progress=self.tell, clock=self.clock)

    def _wanted_list(self) -> str:
        return self.sync.list.id or self.sync.list.name or self.audience.label

    def _settle(self, connection: sa.Connection, plan: Plan) -> None:
        connection.rollback()
        self.settled = settle(connection, self.warehouse, self.name, plan.id, self.run_id, self.clock())

    def _read_matched(self, connection: sa.Connection, destination: Destination) -> None:
        if self.list is None or not isinstance(destination, TellsMatchedUsers):
            return
        self.matched = destination.matched_users(self.list.id)
        accepted = records.numbers(connection, self.warehouse, self.name, self.snapshot).accepted
        records.keep_matched(connection, self.warehouse, self.name, self.matched, accepted)

    def _record(self) -> int:
        if self.record_id is None:
            raise RuntimeError("the run has no record yet")
        return self.record_id

    def report(
        self,
        connection: sa.Connection,
        destination: Destination,
        status: RunStatus | None = None,
        error: str = "",
    ) -> SyncReport:
        """What this run did, with the four numbers as they are now.

        Without a ``status``, it succeeded: with a warning while any member is rejected or has to be sent again.
        """
        numbers = records.numbers(connection, self.warehouse, self.name, self.snapshot)
        if status is None:
            open_members = self.settled.retryable + self.settled.unknown + self.settled.unsent
            status = RunStatus.WARNING if open_members or numbers.rejections else RunStatus.SUCCEEDED
        return SyncReport(
            sync=self.name,
            run_id=self.run_id,
            status=status,
            started_at=self.started_at,
            finished_at=self.clock(),
            snapshot_id=self.snapshot.id,
            plan_digest=self.current.digest if self.current else "",
            in_audience=self.snapshot.members,
            delivered=numbers.delivered,
            accepted=numbers.accepted,
            matched=self.matched,
            planned=self.current.counts if self.current else PlanCounts(),
            added=self.settled.added,
            updated=self.settled.updated,
            removed=self.settled.removed,
            rejected=self.settled.rejected,
            retryable=self.settled.retryable + self.settled.unsent,
            unknown=self.settled.unknown,
            recovered=self.recovered,
            rejections=numbers.rejections,
            dropped_values=self.preparer.dropped,
            requests=destination.requests_sent,
            list=self.list,
            error=error,
        )

    def warehouse_failure(self, error: sa.exc.SQLAlchemyError) -> SourceError:
        """What to say of a database error; its own text may hold rows."""
        words = words_of(error) if isinstance(error, sa.exc.DBAPIError) else type(error).__name__
        return SourceError(
            f"the warehouse failed during the run: {words}",
            where=self.where,
            remedy="nothing is lost: run the sync again, it settles first what was under way",
        )

    def record_failure(self, connection: sa.Connection, error: BaseException, destination: Destination) -> None:
        """Writes how the run ended. Where even that fails (the database is gone), the next run marks it interrupted."""
        status = RunStatus.BLOCKED if isinstance(error, GuardBlocked) else RunStatus.FAILED
        text = str(error) if isinstance(error, AudienceSyncsError) else type(error).__name__
        if lost(connection):
            return
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            status, text = RunStatus.INTERRUPTED, "cancelled"
        try:
            connection.rollback()
            report = self.report(connection, destination, status, text)
            records.close_run(connection, self.warehouse, self._record(), report)
        except sa.exc.SQLAlchemyError:
            return
        error.report = report  # type: ignore[attr-defined]
