"""Whether a sync's schedule or sensor is switched on: Dagster's own switch, the only one there is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from audience_syncs.model.config import sync_id
from audience_syncs.project import Project

if TYPE_CHECKING:
    from dagster import DagsterInstance

PREFIX = "schedule__"
"""Schedules and sensors are both called ``schedule__<audience>__<sync>``."""


@dataclass(frozen=True, slots=True)
class Switch:
    """``since``: when it was switched on, where Dagster knows."""

    on: bool
    since: datetime | None = None


def switches(instance: DagsterInstance, project: Project) -> Mapping[str, Switch]:
    """Sync -> its switch, for every sync with a schedule or sensor.

    What nobody has switched, and the daemon has not seen yet, is as its definition says (``paused``).
    """
    from dagster._core.scheduler.instigation import InstigatorStatus, ScheduleInstigatorData

    states = {state.instigator_name: state for state in instance.all_instigator_state()}
    found: dict[str, Switch] = {}
    for audience in project.audiences.values():
        for sync in audience.syncs:
            if sync.schedule == "manual":
                continue
            state = states.get(f"{PREFIX}{audience.name}__{sync.key}")
            if state is None:
                found[sync_id(audience, sync)] = Switch(not sync.paused)
                continue
            data = state.instigator_data
            started = data.start_timestamp if isinstance(data, ScheduleInstigatorData) else None
            since = datetime.fromtimestamp(started, UTC) if started else None
            on = not sync.paused if state.status is InstigatorStatus.DECLARED_IN_CODE else state.is_running
            found[sync_id(audience, sync)] = Switch(on, since)
    return found
