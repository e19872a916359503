"""What can be done with a sync: run it, look at its plan, undo a run, forget people. Plain functions; see ``flow``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import sqlalchemy as sa

from audience_syncs.destinations.contract import Destination, DestinationSpec
from audience_syncs.engine.flow import Clock, Run, Tell
from audience_syncs.engine.guard import objection
from audience_syncs.engine.plan import Plan
from audience_syncs.model.config import AudienceConfig, Removal, SyncConfig
from audience_syncs.model.reach import Reach
from audience_syncs.model.values import PlanCounts, RejectionCount, RunOptions, Snapshot, SyncReport
from audience_syncs.warehouse.connection import Warehouse, in_words


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class PlanPreview:
    """What a run would change now. Nothing is sent, nothing is kept."""

    sync: str
    snapshot_id: int
    in_audience: int
    """Members of the snapshot who are sent."""
    holding: int
    counts: PlanCounts
    digest: str
    requests: int
    """Batches that would be sent; a batch may take more than one request."""
    blocked: str | None
    """The guard's objection, if it has one."""
    dropped_values: tuple[RejectionCount, ...]
    reach: Reach | None
    """How much of the audience the platform can find."""
    withheld: Mapping[str, int] = field(default_factory=dict)
    """Members of the snapshot who are not sent, by the reason."""


def plan_sync(
    audience: AudienceConfig,
    sync: SyncConfig,
    spec: DestinationSpec,
    warehouse: Warehouse,
    *,
    options: RunOptions | None = None,
    undo: str | None = None,
    progress: Tell | None = None,
    clock: Clock = _utc_now,
) -> PlanPreview:
    """What a run of the sync would change, from the audience's latest snapshot; planned for real and rolled back.

    ``undo``: what undoing that run would change, instead. Of a list that is to be adopted, nothing is known yet: its
    members count as additions.
    """
    run = Run(audience, sync, spec, warehouse, "preview", options or RunOptions(), progress, clock, undo=undo)
    with in_words(run.where), warehouse.connect() as connection:
        run.prepare(connection)
        plan = run.plan(connection)
        connection.rollback()
    return _preview(run, plan)


def preview_sync(
    audience: AudienceConfig,
    sync: SyncConfig,
    spec: DestinationSpec,
    apart: Warehouse,
    connection: sa.Connection,
    snapshot: Snapshot,
    *,
    clock: Clock = _utc_now,
) -> PlanPreview:
    """What a run of the sync would change, were this its audience's snapshot, planned in the connection's transaction, which
    the caller rolls back. ``apart``: the warehouse, ``planning_apart``."""
    run = Run(audience, sync, spec, apart, "preview", RunOptions(), None, clock)
    with in_words(run.where):
        run.prepare_preview(connection, snapshot)
        return _preview(run, run.plan(connection))


def _preview(run: Run, plan: Plan) -> PlanPreview:
    return PlanPreview(
        sync=run.name,
        snapshot_id=run.snapshot.id,
        in_audience=run.admitted.members,
        withheld=run.admitted.withheld,
        holding=plan.holding,
        counts=plan.counts,
        digest=plan.digest,
        requests=sum(plan.batches.values()),
        blocked=objection(run.sync.guard, run.figures(plan)),
        dropped_values=run.preparer.dropped,
        reach=run.reach,
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
        AudienceError      no snapshot yet, or it lacks a mapped column, or whom to keep out cannot be decided
        DefinitionError    the definition names another list than the one this sync keeps
        DestinationError   access refused, list gone, platform down
        SourceError        the warehouse failed or was lost; the next run settles what was under way

    Errors raised after the run was recorded carry the report as ``report``.
    """
    options = options or RunOptions()
    if options.new_list:
        options = replace(options, full_resync=True)
    run = Run(audience, sync, destination.spec, warehouse, run_id, options, progress, clock)
    return run.go(destination)


def undo_run(
    audience: AudienceConfig,
    sync: SyncConfig,
    destination: Destination,
    warehouse: Warehouse,
    *,
    undo: str,
    run_id: str,
    options: RunOptions | None = None,
    progress: Tell | None = None,
    clock: Clock = _utc_now,
) -> SyncReport:
    """Takes back what the destination accepted in the run ``undo`` (see ``engine.undo``); a run like any other.

    Who is taken out again is only taken out of the list, whatever the sync's removal: a record may be older than the
    run. Raises what ``run_sync`` raises, and DefinitionError where the run cannot be undone.
    """
    run = Run(audience, sync, destination.spec, warehouse, run_id, options or RunOptions(), progress, clock, undo=undo)
    run.removal = Removal.REMOVE
    return run.go(destination)


def forget_in_sync(
    audience: AudienceConfig,
    sync: SyncConfig,
    destination: Destination,
    warehouse: Warehouse,
    *,
    run_id: str,
    progress: Tell | None = None,
    clock: Clock = _utc_now,
) -> SyncReport:
    """Takes the people whose forgetting was requested (``warehouse.forgotten``) out of this sync's list, and changes
    nothing else. Not subject to the guard. Raises what ``run_sync`` raises."""
    run = Run(audience, sync, destination.spec, warehouse, run_id, RunOptions(), progress, clock)
    run.forgetting = True
    if sync.removal is Removal.KEEP:
        run.removal = Removal.REMOVE
    return run.go(destination)
