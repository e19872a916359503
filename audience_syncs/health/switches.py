"""Whether a sync's or sequence's schedule or sensor is switched on: Dagster's own switch, the only one there is."""

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

SEQUENCE_PREFIX = "sequence_schedule__"
"""Those of a sequence are called ``sequence_schedule__<sequence>``."""


@dataclass(frozen=True, slots=True)
class Switch:
    """``since``: when it was switched on, where Dagster knows."""

    on: bool
    since: datetime | None = None


def switches(instance: DagsterInstance, project: Project) -> Mapping[str, Switch]:
    """Sync or sequence -> its switch, for all with a schedule or sensor; a sequence's name has no ``/``.

    What nobody has switched, and the daemon has not seen yet, is as its definition says (``paused``).
    """
    from dagster._core.scheduler.instigation import InstigatorStatus, ScheduleInstigatorData

    # An instance in memory, as a script may use, has no schedules to switch.
    known = instance.all_instigator_state() if instance.schedule_storage is not None else ()
    states = {state.instigator_name: state for state in known}

    def of(trigger: str, *, paused: bool) -> Switch:
        state = states.get(trigger)
        if state is None:
            return Switch(not paused)
        data = state.instigator_data
        started = data.start_timestamp if isinstance(data, ScheduleInstigatorData) else None
        since = datetime.fromtimestamp(started, UTC) if started else None
        return Switch(not paused if state.status is InstigatorStatus.DECLARED_IN_CODE else state.is_running, since)

    found = {
        sync_id(audience, sync): of(f"{PREFIX}{audience.name}__{sync.key}", paused=sync.paused)
        for audience in project.audiences.values()
        for sync in audience.syncs
        if sync.schedule != "manual"
    }
    return found | {
        sequence.name: of(f"{SEQUENCE_PREFIX}{sequence.name}", paused=sequence.paused)
        for sequence in project.sequences.values()
        if sequence.schedule != "manual"
    }
