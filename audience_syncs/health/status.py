"""The status of every sync, as people are shown it: computed here, whoever shows it.

pending   never ran                     paused    its schedule is switched off
blocked   the guard stopped the plan    failed    the last run failed or its process died
warning   members are rejected or must be sent again
active    everything else
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from audience_syncs.model.config import sync_id
from audience_syncs.model.values import RunStatus, SyncRun
from audience_syncs.project import Project


class SyncState(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    WARNING = "warning"
    FAILED = "failed"
    BLOCKED = "blocked"
    PENDING = "pending"


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """One row of the Syncs table. Counts are members; ``matched`` is the platform's approximate word, or empty."""

    sync: str
    audience: str
    destination: str
    status: SyncState
    last_run: datetime | None
    """When the last run started."""
    frequency: str
    in_audience: int | None
    accepted: int | None
    rejected: int | None
    matched: str
    last_updated: datetime | None
    """When the last run ended that changed or confirmed the list."""
    list_name: str | None
    list_url: str | None
    error: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def sync_statuses(
    project: Project, runs: Mapping[str, SyncRun], switched_on: Mapping[str, bool] | None = None
) -> list[SyncStatus]:
    """The status of every sync of the project, in the order of its definitions.

    ``runs``: the latest run of each sync (``State.last_runs``). ``switched_on``: whether a sync's schedule runs, as
    Dagster knows it; syncs that are missing there count as switched on.
    """
    return [
        _status(
            sync_id(audience, sync),
            audience.name,
            sync.destination,
            sync.frequency,
            runs.get(sync_id(audience, sync)),
            paused=sync.schedule != "manual" and not (switched_on or {}).get(sync_id(audience, sync), True),
        )
        for audience in project.audiences.values()
        for sync in audience.syncs
    ]


def _status(
    sync: str, audience: str, destination: str, frequency: str, run: SyncRun | None, *, paused: bool
) -> SyncStatus:
    good = run is not None and run.status in (RunStatus.SUCCEEDED, RunStatus.WARNING)
    return SyncStatus(
        sync=sync,
        audience=audience,
        destination=destination,
        status=_state(run, paused=paused),
        last_run=run.started_at if run else None,
        frequency=frequency,
        in_audience=run.in_audience if run else None,
        accepted=run.accepted if run else None,
        rejected=run.rejected if run else None,
        matched=_matched(run),
        last_updated=run.finished_at if run and good else None,
        list_name=run.list_name if run else None,
        list_url=run.list_url if run else None,
        error=run.error if run else "",
    )


def _state(run: SyncRun | None, *, paused: bool) -> SyncState:
    if paused:
        return SyncState.PAUSED
    if run is None:
        return SyncState.PENDING
    return {
        RunStatus.SUCCEEDED: SyncState.ACTIVE,
        RunStatus.WARNING: SyncState.WARNING,
        RunStatus.BLOCKED: SyncState.BLOCKED,
        RunStatus.FAILED: SyncState.FAILED,
        RunStatus.INTERRUPTED: SyncState.FAILED,
        RunStatus.RUNNING: SyncState.ACTIVE,
    }[run.status]


def _matched(run: SyncRun | None) -> str:
    if run is None or run.matched_lower is None or run.matched_upper is None:
        return ""
    if run.matched_lower == run.matched_upper:
        return f"~{run.matched_lower:,}"
    return f"{run.matched_lower:,}-{run.matched_upper:,}"
