"""One run of a sync in Dagster: what may be asked of it, the audience evaluated first, the sync run, what is shown."""

# Without postponed annotations: Dagster reads those of configurations.

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from audience_syncs.components.figures import (
    Metadata,
    ProgressLog,
    plan_metadata,
    reported_to_dagster,
    snapshot_metadata,
    sync_metadata,
)
from audience_syncs.components.names import audience_key, sync_key
from audience_syncs.components.sync_checks import (
    broken_key,
    checks_of,
    fresh,
    guard_blocked,
    guard_passed,
    identifiers_check,
    log_check,
    match_rate_check,
    rejection_rate,
)
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SourceConfig, SyncConfig
from audience_syncs.model.errors import AudienceError, GuardBlocked
from audience_syncs.model.schedules import duration
from audience_syncs.model.values import RunOptions, SyncReport

if TYPE_CHECKING:
    from audience_syncs.warehouse import Warehouse

SyncEvent = dg.MaterializeResult[None] | dg.AssetCheckResult

LONG_AGO = datetime.min.replace(tzinfo=UTC)

SCHEDULED_AT = "dagster/scheduled_execution_time"
BACKFILL = "dagster/backfill"
WAIT_S = 1800.0
"""How long a run waits for another of the same sync. Of those with the sync's tag, the queue starts one at a time; but a run of
several assets has no such tag."""


class SyncRunConfig(dg.Config):
    """What may be asked of one run, in Dagster's launchpad."""

    approve: str | None = Field(
        default=None,
        description="Digest of a plan that the guard blocked, from the failed run: exactly this plan may be sent.",
    )
    retry_rejected: bool = Field(
        default=False, description="Try members again that the platform rejected, although nothing about them changed."
    )
    full_resync: bool = Field(
        default=False,
        description="Send everybody again, and remove who should not be there. The list is never empty in between.",
    )
    new_list: bool = Field(
        default=False,
        description="Only when the list is gone at the platform: make another one and send everybody to it.",
    )

    dry_run: bool = Field(
        default=False, description="Only plan: show what would change and how many requests it takes. Sends nothing."
    )
    limit: int | None = Field(
        default=None, ge=1, description="A test: send at most so many members, and remove nobody."
    )
    day: str | None = Field(
        default=None, description="Send the audience as it was on that day, 2026-11-23, instead of the latest."
    )

    def options(self, run_id: str, day: str | None, send_again: bool) -> RunOptions:
        """What this asks of the engine."""
        return RunOptions(
            approve=self.approve,
            approved_by=f"Dagster run {run_id}",
            retry_rejected=self.retry_rejected,
            full_resync=self.full_resync or send_again,
            new_list=self.new_list,
            day=day,
            limit=self.limit,
            wait_s=WAIT_S,
        )


@dataclass(frozen=True)
class Evaluated:
    """An audience that a run evaluates, with the identifying columns of each of its syncs."""

    audience: AudienceConfig
    identifiers: Mapping[str, Sequence[str]]


class SyncRun:
    """One run."""

    def __init__(
        self,
        context: dg.AssetExecutionContext | dg.OpExecutionContext,
        config: SyncRunConfig,
        audience: AudienceConfig,
        sync: SyncConfig,
        source: SourceConfig,
        destination: DestinationConfig,
        identifiers: Mapping[str, Sequence[str]],
        first: Sequence["Evaluated"] = (),
    ) -> None:
        """``identifiers``: the identifying columns of each sync of the audience; ``first``: the audiences that go first."""
        self._context = context
        self._config = config
        self._audience = audience
        self._evaluated = Evaluated(audience, identifiers)
        self._first = first
        self._sync = sync
        self._source = source
        self._destination = destination
        self._key = sync_key(audience.name, sync.key)
        self._progress = ProgressLog(context.log.info)
        self.report: SyncReport | None = None
        """Of the delivery that ended last; None before, and where nothing was to be sent."""

    def events(self) -> Iterator[SyncEvent]:
        """Delivers; yields what the sync's checks say, and its materialisation. A dry run is only observed."""
        # Imported late: definitions load without drivers and HTTP.
        from audience_syncs.warehouse import open_warehouse

        metadata: Metadata = {}
        with reported_to_dagster(self._sync), open_warehouse(self._source, os.environ) as warehouse:
            for day in self._days():
                self._refresh(warehouse, day)
                options = self._config.options(self._context.run_id, day, self._sends_again)
                if self._config.dry_run:
                    metadata |= self._plan(warehouse, options)
                    continue
                try:
                    metadata = self._send(warehouse, options)
                except GuardBlocked as blocked:
                    yield guard_blocked(self._key, blocked)
                    raise
            if self.report is not None:
                yield from self._checked(warehouse, self.report)
        if self._config.dry_run:
            self._context.log_event(dg.AssetObservation(self._key, metadata=metadata))
        else:
            yield dg.MaterializeResult(asset_key=self._key, metadata=metadata)

    def _checked(self, warehouse: "Warehouse", report: SyncReport) -> Iterator[dg.AssetCheckResult]:
        from audience_syncs.health.match_rate import LOOK_BACK, match_rate
        from audience_syncs.warehouse.matched import match_rates

        yield guard_passed(self._key, report)
        yield rejection_rate(self._key, self._sync, report)
        yield identifiers_check(self._key, self._sync, report.reach)
        yield fresh(self._key)
        if self._sync.mode.family.has_list:
            with warehouse.connect() as connection:
                rates = match_rates(connection, warehouse, [report.sync], since=datetime.now(UTC) - LOOK_BACK)
            yield match_rate_check(self._key, self._sync, match_rate(rates.get(report.sync, [])))

    def _days(self) -> list[str | None]:
        """The days to deliver, in their order; a sync without partitions delivers the one that was asked for, or the
        latest."""
        return sorted(self._context.partition_keys) if self._sync.partitioned else [self._config.day or None]

    @property
    def _sends_again(self) -> bool:
        """Whoever backfills a partitioned sync wants those days delivered again."""
        return self._sync.partitioned and BACKFILL in self._context.run.tags

    def _refresh(self, warehouse: "Warehouse", day: str | None) -> None:
        """Evaluates the audience, unless that was done since this run was due, or is young enough; and before it, in the
        same way, the audiences that go first, so that all are of one moment."""
        if self._refreshes(day):
            since = self._due_at() - (duration(self._sync.max_age) if self._sync.max_age else timedelta(0))
            for evaluated in (*self._first, self._evaluated):
                self._evaluate(warehouse, evaluated, day, since)
        else:
            since = self._snapshot_made_at(warehouse, day)
            for evaluated in self._first:
                self._evaluate(warehouse, evaluated, day, since)

    def _snapshot_made_at(self, warehouse: "Warehouse", day: str | None) -> datetime:
        """When the snapshot was made that this run sends. Of an approval, and of an old day, any snapshot of the others
        will do: another one would make it another plan."""
        from audience_syncs.warehouse.state import State

        if self._config.approve or day is not None or not self._first:
            return LONG_AGO
        partitioned = self._audience.partitions is not None
        state = State(warehouse)
        state.prepare()
        snapshot = state.latest_snapshot(self._audience.name, partitioned=partitioned)
        return LONG_AGO if snapshot is None else snapshot.evaluated_at

    def _evaluate(self, warehouse: "Warehouse", evaluated: Evaluated, day: str | None, since: datetime) -> None:
        from audience_syncs.audiences import evaluate_audience

        audience = evaluated.audience
        partitioned = audience.partitions is not None
        key = audience_key(audience.name)
        try:
            snapshot = evaluate_audience(
                audience,
                warehouse,
                run_id=self._context.run_id,
                day=day if partitioned else None,
                # A day that is over is evaluated once.
                unless_since=LONG_AGO if partitioned else since,
                progress=self._progress,
            )
        except AudienceError as error:
            failed = broken_key(key, error)
            if failed is not None:
                log_check(self._context, failed)
            raise
        if snapshot.reused:
            return
        self._context.log_event(
            dg.AssetMaterialization(key, metadata=snapshot_metadata(snapshot), partition=snapshot.partition)
        )
        for check in checks_of(key, audience, snapshot, warehouse, evaluated.identifiers):
            log_check(self._context, check)

    def _refreshes(self, day: str | None) -> bool:
        if self._config.approve:
            return False  # an approval is for the plan from the snapshot there is
        if day is not None:
            return self._audience.partitions is not None
        after = self._sync.schedule
        return self._sync.max_age is not None or isinstance(after, str) or not getattr(after, "is_audience", False)

    def _due_at(self) -> datetime:
        """When the run was scheduled; for others, when it was launched."""
        scheduled = self._context.run.tags.get(SCHEDULED_AT)
        if scheduled:
            return datetime.fromisoformat(scheduled)
        record = self._context.instance.get_run_record_by_id(self._context.run_id)
        return record.create_timestamp.astimezone(UTC) if record is not None else datetime.now(UTC)

    def _plan(self, warehouse: "Warehouse", options: RunOptions) -> Metadata:
        from audience_syncs.destinations.registry import spec_for
        from audience_syncs.engine import plan_sync

        spec = spec_for(self._destination)
        return plan_metadata(
            plan_sync(self._audience, self._sync, spec, warehouse, options=options, progress=self._progress)
        )

    def _send(self, warehouse: "Warehouse", options: RunOptions) -> Metadata:
        from audience_syncs.destinations.registry import open_destination
        from audience_syncs.engine import run_sync

        self.report = run_sync(
            self._audience,
            self._sync,
            open_destination(self._destination, os.environ),
            warehouse,
            run_id=self._context.run_id,
            options=options,
            progress=self._progress,
        )
        return sync_metadata(self.report, self._sync)
