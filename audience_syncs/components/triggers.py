"""What starts a sync or a sequence by itself: a schedule, or a sensor on what it waits for. Its switch pauses it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from audience_syncs.components.names import audience_key
from audience_syncs.model.schedules import After, Daily, Schedule, Timed

Trigger = dg.ScheduleDefinition | dg.SensorDefinition
Job = UnresolvedAssetJobDefinition | dg.JobDefinition

SECONDS_BETWEEN_LOOKS = 30


@dataclass(frozen=True)
class Starts:
    """What is to be started, and when."""

    name: str
    """The schedule's or sensor's."""
    schedule: Schedule
    description: str
    paused: bool
    """Whether it starts switched off."""
    audience: str = ""
    """The one that ``after: audience`` means."""
    days: Daily | None = None
    """Of a partitioned sync: each run is for one day."""


def build_trigger(starts: Starts, job: Job) -> Trigger | None:
    """The schedule or sensor; None for what is started by hand."""
    if isinstance(starts.schedule, After):
        return _sensor(starts, starts.schedule, job)
    return None if isinstance(starts.schedule, str) else _schedule(starts, starts.schedule, job)


def _schedule(starts: Starts, timed: Timed, job: Job) -> dg.ScheduleDefinition:
    crons = timed.crons
    return dg.ScheduleDefinition(
        name=starts.name,
        job=job,
        cron_schedule=crons if len(crons) > 1 else crons[0],
        execution_timezone=timed.zone,
        default_status=dg.DefaultScheduleStatus.STOPPED if starts.paused else dg.DefaultScheduleStatus.RUNNING,
        description=starts.description,
        execution_fn=_each_day(starts.days) if starts.days is not None else None,
    )


def _each_day(days: Daily):  # type: ignore[no-untyped-def]
    def latest_day(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest]:
        # A day that was delivered is not delivered again: the run's key is the day.
        day = days.latest(context.scheduled_execution_time)
        yield dg.RunRequest(run_key=day, partition_key=day)

    return latest_day


def _sensor(starts: Starts, after: After, job: Job) -> dg.SensorDefinition:
    upstream = audience_key(starts.audience) if after.is_audience else dg.AssetKey(after.after.split("/"))

    @dg.asset_sensor(
        asset_key=upstream,
        job=job,
        name=starts.name,
        minimum_interval_seconds=SECONDS_BETWEEN_LOOKS,
        default_status=dg.DefaultSensorStatus.STOPPED if starts.paused else dg.DefaultSensorStatus.RUNNING,
        description=starts.description,
    )
    def start(context: dg.SensorEvaluationContext, event: dg.EventLogEntry) -> dg.RunRequest:
        materialization = event.asset_materialization
        day = materialization.partition if materialization is not None else None
        return dg.RunRequest(partition_key=day if starts.days is not None else None)

    return start
