"""The flow of one run, DESIGN.md, section 3: prepare, recover, plan, guard, deliver and book, settle, report."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import sqlalchemy as sa

from audience_syncs.audiences.admission import Admitted, admit
from audience_syncs.audiences.splits import columns_of
from audience_syncs.destinations.contract import Destination, DestinationSpec, ResumesJobs, TellsMatchedUsers
from audience_syncs.engine import records
from audience_syncs.engine.approvals import pass_guard
from audience_syncs.engine.calls import calls
from audience_syncs.engine.deliver import deliver
from audience_syncs.engine.forget import plan_forgetting
from audience_syncs.engine.guard import Figures
from audience_syncs.engine.lists import ListKeeper
from audience_syncs.engine.lock import locked
from audience_syncs.engine.plan import Basis, Plan, plan_changes
from audience_syncs.engine.prepare import Preparer
from audience_syncs.engine.publish import publish
from audience_syncs.engine.reach import reach_of
from audience_syncs.engine.settle import Settled, settle
from audience_syncs.engine.shared_pace import pace_shared
from audience_syncs.engine.undo import plan_undo
from audience_syncs.model.config import AudienceConfig, Mode, ModeFamily, SyncConfig, sync_id
from audience_syncs.model.errors import (
    AudienceError,
    AudienceSyncsError,
    DestinationError,
    GuardBlocked,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.reach import Reach
from audience_syncs.model.values import (
    MatchedUsers,
    PlanCounts,
    Progress,
    RemoteList,
    RunOptions,
    RunStatus,
    Snapshot,
    SyncReport,
)
from audience_syncs.warehouse.connection import Warehouse, in_words, lost
from audience_syncs.warehouse.jobs import Jobs
from audience_syncs.warehouse.matched import keep_matched
from audience_syncs.warehouse.state import State

log = logging.getLogger("audience_syncs.engine")

Clock = Callable[[], datetime]
Tell = Callable[[Progress], None]


class Run:
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
        *,
        undo: str | None = None,
    ) -> None:
        self.audience = audience
        self.sync = sync
        self.spec = spec
        self.warehouse = warehouse
        self.run_id = run_id
        self.options = options
        self.tell: Tell = progress or (lambda _: None)
        self.clock = clock
        self.undo = undo
        """The run to be undone, instead of bringing the list in step."""
        self.forgetting = False
        """Only take forgotten people out."""
        self.removal = sync.removal
        self.name = sync_id(audience, sync)
        self.where = f"sync {self.name}"
        self.started_at = clock()
        self.record_id: int | None = None
        self.recovered = 0
        self.current: Plan | None = None
        self.settled = Settled()
        self._is_settled = False
        self.list: RemoteList | None = None
        self.matched: MatchedUsers | None = None
        self.reach: Reach | None = None

    def go(self, destination: Destination) -> SyncReport:
        """The whole run, under the sync's lock, with its record."""
        settled_next = "nothing is lost: run the sync again, it settles first what was under way"
        with (
            in_words(self.where, settled_next),
            self.warehouse.connect() as connection,
            locked(
                connection,
                self.warehouse,
                self.name,
                patience_s=self.options.wait_s,
                waits=lambda: self.tell(Progress("wait for another run of this sync", 0)),
            ),
        ):
            self.prepare(connection, record=True)
            try:
                with in_words(self.where, settled_next), pace_shared(destination, self.warehouse):
                    return self._bring_in_step(connection, destination)
            except BaseException as error:
                self._record_failure(connection, error, destination)
                raise

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
            self.snapshot = self._snapshot_to_send()
            self.preparer = self._new_preparer()
            self.admitted = self._admit(connection)
            connection.commit()  # from here on it is decided, whatever becomes of the transactions that follow
        except (AudienceSyncsError, sa.exc.SQLAlchemyError) as error:
            if self.record_id is not None and not lost(connection):
                connection.rollback()
                text = str(error) if isinstance(error, AudienceSyncsError) else type(error).__name__
                records.close_failed_run(connection, self.warehouse, self.record_id, text, self.clock())
            raise

    def prepare_preview(self, connection: sa.Connection, snapshot: Snapshot) -> None:
        """For a plan from this snapshot that is only looked at: in the connection's transaction, without the state tables."""
        self.warehouse.dialect.add_partition(connection, self.warehouse.tables.plan, self.name)
        self.snapshot = snapshot
        self.preparer = self._new_preparer()
        self.admitted = self._admit(connection)

    def _snapshot_to_send(self) -> Snapshot:
        """The latest there is; or that of the day which was asked for."""
        state, day = State(self.warehouse), self.options.day
        partitioned = self.audience.partitions is not None
        if day is None or partitioned:
            snapshot = state.latest_snapshot(self.audience.name, partitioned=partitioned, day=day)
        else:
            snapshot = state.latest_snapshot(self.audience.name, before=_end_of(day, self.where))
        if snapshot is not None:
            return snapshot
        name = self.audience.name
        if day is None:
            raise AudienceError(
                f"audience {name!r} has not been evaluated yet",
                where=self.where,
                remedy=f"materialise the asset audiences/{name} first",
            )
        remedy = f"the last {self.audience.keep_snapshots} evaluations are kept (`keep_snapshots`)"
        raise AudienceError(
            f"what audience {name!r} was on {day} is not kept",
            where=self.where,
            remedy=f"materialise that partition of audiences/{name} first" if partitioned else remedy,
        )

    def _admit(self, connection: sa.Connection) -> Admitted:
        admission = self.sync.admission
        if self.sync.mode.family is ModeFamily.OUT_OF_LIST:
            # Who must be in no list may well be taken out of one.
            admission = replace(admission, exclusions=())
        day, partitioned = self.options.day, self.audience.partitions is not None
        newest = None
        if admission and day is not None:
            newest = State(self.warehouse).latest_snapshot(self.audience.name, partitioned=partitioned)
        return admit(
            connection,
            self.warehouse,
            admission,
            self.snapshot,
            sync=self.name,
            newest=newest if newest is not None and newest.id != self.snapshot.id else None,
            before=_end_of(day, self.where) if day is not None and not partitioned else None,
        )

    def _bring_in_step(self, connection: sa.Connection, destination: Destination) -> SyncReport:
        """Recover, plan, guard, deliver and book, settle, report."""
        self.recovered = self._recover(connection)
        keeper = ListKeeper(connection, self.warehouse, self.audience, self.sync)
        self.list = keeper.known
        adopting = False
        if self.options.new_list:
            keeper.give_up_missing(destination)
        else:
            keeper.refuse_another()
            if self.sync.adopt and self.undo is None and not self.forgetting:
                adopting = keeper.adopt(destination, self.clock())
        self.current = plan = self.plan(connection, adopting=adopting)
        if not self.forgetting:
            self._guard(connection, plan)
        connection.commit()  # sealed: from here on the plan outlives us
        try:
            self._deliver(connection, destination, plan, keeper)
            self._settle_now(connection, plan)
            if self.list is not None:
                publish(self._basis(connection, self._new_preparer()), destination, self.list.id)
            self._read_matched(connection, destination)
        except ListMissing as missing:
            raise keeper.with_way_out(missing) from None
        finally:
            # Also after an error: what was answered is settled now, not only by the next run.
            self._settle_now(connection, plan)
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

    def _new_preparer(self) -> Preparer:
        return Preparer(self.sync, self.spec, columns_of(self.snapshot), self.where)

    def _basis(self, connection: sa.Connection, preparer: Preparer) -> Basis:
        return Basis(
            connection=connection,
            warehouse=self.warehouse,
            sync_name=self.name,
            sync=self.sync,
            snapshot=self.snapshot,
            admitted=self.admitted,
            preparer=preparer,
            batch_size=self.spec.batch_size,
            run_id=self.run_id,
            now=self.clock(),
            progress=self.tell,
            refresh_after=self.spec.refresh_after,
        )

    def plan(self, connection: sa.Connection, *, adopting: bool = False) -> Plan:
        self.tell(Progress("plan", 0))
        basis = self._basis(connection, self.preparer)
        if self.forgetting:
            return plan_forgetting(basis)
        if self.undo is not None:
            return plan_undo(basis, self.undo)
        plan = plan_changes(basis, self.options, adopting=adopting)
        self.reach = reach_of(basis, plan, self.spec)
        return plan

    def figures(self, plan: Plan) -> Figures:
        """What the guard looks at."""
        data_of = self.snapshot.source_as_of or self.snapshot.evaluated_at
        # Who asks for an old day does not want fresh data.
        age = timedelta(0) if self.options.day is not None else self.clock() - data_of
        mirrors = self.sync.mode is Mode.MIRROR and self.undo is None
        withheld = sum(self.admitted.withheld.values())
        return Figures(self.admitted.members, plan.holding, plan.counts, age, withheld, mirrors)

    def _guard(self, connection: sa.Connection, plan: Plan) -> None:
        pass_guard(
            connection,
            self.warehouse,
            plan,
            self.sync,
            self.figures(plan),
            self.options,
            run_id=self.run_id,
            now=self.clock(),
            undoing=self.undo,
        )

    def _deliver(self, connection: sa.Connection, destination: Destination, plan: Plan, keeper: ListKeeper) -> None:
        if not plan.batches and keeper.known is not None:
            return
        self.tell(Progress("find the list", 0))
        self.list = keeper.find(destination, self.clock())
        self._wait_for_jobs(destination, self.list.id)
        deliver(
            connection,
            self.warehouse,
            plan,
            calls(destination, self.list.id, self.sync, self.removal),
            self.spec.concurrency,
            fields=tuple(self.sync.mapping),
            progress=self.tell,
            clock=self.clock,
        )

    def _wait_for_jobs(self, destination: Destination, list_id: str) -> None:
        """What runs before this one left under way at a platform that works on its own time."""
        jobs = Jobs(self.warehouse, self.name)
        left = jobs.left() if isinstance(destination, ResumesJobs) else []
        if left and isinstance(destination, ResumesJobs):
            self.tell(Progress("wait for jobs of an earlier run", 0))
            destination.resume(list_id, left)
            jobs.forget(left)

    def _settle_now(self, connection: sa.Connection, plan: Plan) -> None:
        if self._is_settled or lost(connection):
            return
        self.tell(Progress("settle", 0))
        connection.rollback()
        self.settled = settle(connection, self.warehouse, self.name, plan.id, self.run_id, self.clock())
        self._is_settled = True

    def _read_matched(self, connection: sa.Connection, destination: Destination) -> None:
        if self.list is None or not self.sync.mode.family.has_list or not isinstance(destination, TellsMatchedUsers):
            return
        try:
            self.matched = destination.matched_users(self.list.id)
        except ListMissing:
            raise
        except (NotApplied, NoAnswer, DestinationError) as error:
            # Everything was delivered and settled: a size that is not told now is told to the sensor later.
            log.warning("%s: how many people are matched could not be read: %s", self.name, error.message)
            return
        accepted = records.numbers(connection, self.warehouse, self.name, self.snapshot, self.admitted).accepted
        keep_matched(connection, self.warehouse, self.name, self.matched, accepted)

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
        numbers = records.numbers(connection, self.warehouse, self.name, self.snapshot, self.admitted)
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
            in_audience=self.admitted.members,
            delivered=numbers.delivered,
            accepted=numbers.accepted,
            matched=self.matched,
            planned=self.current.counts if self.current else PlanCounts(),
            added=self.settled.added,
            updated=self.settled.updated,
            removed=self.settled.removed,
            resent=self.settled.resent,
            adopted=self.settled.adopted,
            rejected=self.settled.rejected,
            retryable=self.settled.retryable + self.settled.unsent,
            unknown=self.settled.unknown,
            recovered=self.recovered,
            rejections=numbers.rejections,
            dropped_values=self.preparer.dropped,
            requests=destination.requests_sent,
            list=self.list,
            error=error,
            reach=self.reach,
            withheld=self.admitted.withheld,
        )

    def _record_failure(self, connection: sa.Connection, error: BaseException, destination: Destination) -> None:
        """Writes how the run ended. Where even that fails (the database is gone), the next run marks it interrupted."""
        if isinstance(error, (NotApplied, NoAnswer)) and not error.remedy:
            error.where = self.where
            error.remedy = "nothing is lost: run again when the platform answers; the next run goes on where this ended"
        status = RunStatus.BLOCKED if isinstance(error, GuardBlocked) else RunStatus.FAILED
        text = str(error) if isinstance(error, AudienceSyncsError) else type(error).__name__
        if lost(connection):
            return
        if not isinstance(error, Exception):
            # An interrupt, whatever it is called where we run: somebody stopped us.
            status, text = RunStatus.CANCELLED, "cancelled; what was answered is booked, and the next run goes on"
        try:
            connection.rollback()
            report = self.report(connection, destination, status, text)
            records.close_run(connection, self.warehouse, self._record(), report)
        except sa.exc.SQLAlchemyError:
            return
        error.report = report  # type: ignore[attr-defined]


def _end_of(day: str, where: str) -> datetime:
    try:
        return datetime.combine(date.fromisoformat(day) + timedelta(days=1), datetime.min.time(), UTC)
    except ValueError:
        raise AudienceError(f"{day!r} is no day", where=where, remedy="write it as 2026-11-23") from None
