"""When a sync should have run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from audience_syncs.model.schedules import Schedule, Timed

GRACE = timedelta(minutes=10)
"""How much later than due a run may begin without being late: the queue, the daemon's pace."""


def last_due(schedule: Schedule, now: datetime) -> datetime | None:
    """The latest moment up to now at which the schedule wanted a run; None where it is not by the clock."""
    if not isinstance(schedule, Timed):
        return None
    from dagster._utils.schedules import get_latest_completed_cron_tick

    ticks = [get_latest_completed_cron_tick(cron, now, schedule.zone) for cron in schedule.crons]
    times = [tick.astimezone(UTC) for tick in ticks if tick is not None]
    return max(times, default=None)


def next_due(schedule: Schedule, now: datetime) -> datetime | None:
    """The first moment after now at which the schedule wants a run; None where it is not by the clock."""
    if not isinstance(schedule, Timed):
        return None
    from dagster._utils.schedules import get_next_cron_tick

    ticks = [get_next_cron_tick(cron, now, schedule.zone) for cron in schedule.crons]
    return min((tick.astimezone(UTC) for tick in ticks), default=None)
