"""Whether a sync's schedule is switched on: Dagster's own switch, the only one there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dagster import DagsterInstance

_PREFIX = "schedule__"


def schedule_switches(instance: DagsterInstance) -> dict[str, bool]:
    """Sync -> whether its schedule runs, for every schedule somebody has switched or the daemon has seen.

    A schedule that is missing has its default, which is on.
    """
    from dagster._core.scheduler.instigation import InstigatorStatus, InstigatorType

    return {
        state.instigator_name.removeprefix(_PREFIX).replace("__", "/", 1): state.status != InstigatorStatus.STOPPED
        for state in instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE)
        if state.instigator_name.startswith(_PREFIX)
    }
