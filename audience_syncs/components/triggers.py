"""What starts a sync by itself: a schedule, or a sensor on what it waits for. Its switch pauses the sync."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from audience_syncs.components.names import audience_key, trigger_name
from audience_syncs.model.config import AudienceConfig, SyncConfig
from audience_syncs.model.schedules import After, Timed

Trigger = dg.ScheduleDefinition | dg.SensorDefinition

SECONDS_BETWEEN_LOOKS = 30


def build_trigger(audience: AudienceConfig, sync: SyncConfig, job: UnresolvedAssetJobDefinition) -> Trigger | None:
    """The sync's schedule or sensor; None for a manual one. It starts switched on, unless ``paused``."""
    if isinstance(sync.schedule, After):
        return _sensor(audience, sync, sync.schedule, job)
    return None if isinstance(sync.schedule, str) else _schedule(audience, sync, sync.schedule, job)


def _says(audience: AudienceConfig, sync: SyncConfig) -> str:
    return f"{audience.label} to {sync.destination}, {sync.frequency}. Switch it off to pause the sync."


def _schedule(
    audience: AudienceConfig, sync: SyncConfig, timed: Timed, job: UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition:
    crons = timed.crons
    return dg.ScheduleDefinition(
        name=trigger_name(audience.name, sync.key),
        job=job,
        cron_schedule=crons if len(crons) > 1 else crons[0],
        execution_timezone=timed.zone,
        default_status=dg.DefaultScheduleStatus.STOPPED if sync.paused else dg.DefaultScheduleStatus.RUNNING,
        description=_says(audience, sync),
        execution_fn=_days(audience) if sync.partitioned else None,
    )


def _days(audience: AudienceConfig):  # type: ignore[no-untyped-def]
    partitions = audience.partitions
    assert partitions is not None

    def latest_day(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        # A day that was delivered is not delivered again: the run's key is the day.
        day = partitions.latest(context.scheduled_execution_time)
        yield dg.RunRequest(run_key=day, partition_key=day)

    return latest_day


def _sensor(
    audience: AudienceConfig, sync: SyncConfig, after: After, job: UnresolvedAssetJobDefinition
) -> dg.SensorDefinition:
    upstream = audience_key(audience.name) if after.is_audience else dg.AssetKey(after.after.split("/"))

    @dg.asset_sensor(
        asset_key=upstream,
        job=job,
        name=trigger_name(audience.name, sync.key),
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.STOPPED if sync.paused else dg.DefaultSensorStatus.RUNNING,
        description=_says(audience, sync),
    )
    def start(context: dg.SensorEvaluationContext, event: dg.EventLogEntry) -> dg.RunRequest:
        materialization = event.asset_materialization
        day = materialization.partition if materialization is not None else None
        return dg.RunRequest(partition_key=day if sync.partitioned else None)

    return start
