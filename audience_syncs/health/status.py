"""The status of every sync, as people are shown it: computed here, whoever shows it.

pending   never ran                     paused    its schedule is switched off
blocked   the guard stopped the plan    failed    the last run failed or its process died
warning   members are rejected or must be sent again, or it is overdue
active    everything else

``note`` says what the word leaves open: running since when, overdue since when, cancelled, interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from audience_syncs.health.due import GRACE, last_due
from audience_syncs.health.switches import Switch
from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.schedules import Schedule
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
    note: str
    last_run: datetime | None
    """When the last run started."""
    frequency: str
    in_audience: int | None
    accepted: int | None
    rejected: int | None
    matched: str
    last_updated: datetime | None
    """When a run last ended that changed or confirmed the list."""
    list_name: str | None
    list_url: str | None
    error: str
    run_id: str = ""
    running_since: datetime | None = None
    overdue_since: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def sync_statuses(
    project: Project,
    runs: Mapping[str, SyncRun],
    switches: Mapping[str, Switch] | None = None,
    *,
    now: datetime | None = None,
) -> list[SyncStatus]:
    """The status of every sync of the project, in the order of its definitions.

    ``runs``: the latest run of each sync (``State.last_runs``). ``switches``: as Dagster knows them; a sync that is
    missing there is switched as its definition says.
    """
    at = now or datetime.now(UTC)
    return [
        _status(audience, sync, runs.get(name), _starters(project, name, sync, switches or {}), at)
        for audience in project.audiences.values()
        for sync in audience.syncs
        for name in (sync_id(audience, sync),)
    ]


@dataclass(frozen=True, slots=True)
class _Starter:
    """Something that starts a sync by itself: its own schedule, or that of a sequence it is a step of."""

    schedule: Schedule
    in_words: str
    switch: Switch


def _starters(project: Project, name: str, sync: SyncConfig, switches: Mapping[str, Switch]) -> list[_Starter]:
    starters = []
    if sync.schedule != "manual":
        starters.append(_Starter(sync.schedule, sync.frequency, switches.get(name) or Switch(not sync.paused)))
    for sequence in project.sequences_of.get(name, ()):
        if sequence.schedule != "manual":
            switch = switches.get(sequence.name) or Switch(not sequence.paused)
            words = f"{sequence.frequency}, in {sequence.name}"
            starters.append(_Starter(sequence.schedule, words, switch))
    return starters


def _status(
    audience: AudienceConfig, sync: SyncConfig, run: SyncRun | None, starters: Sequence[_Starter], now: datetime
) -> SyncStatus:
    paused = bool(starters) and not any(starter.switch.on for starter in starters)
    running = run is not None and run.status is RunStatus.RUNNING
    overdue = None if running else _overdue_since(starters, run, now)
    return SyncStatus(
        sync=sync_id(audience, sync),
        audience=audience.name,
        destination=sync.destination,
        status=_state(run, paused=paused, overdue=overdue is not None),
        note=_note(run, overdue),
        last_run=run.started_at if run else None,
        frequency="; ".join(starter.in_words for starter in starters) or sync.frequency,
        in_audience=run.in_audience if run else None,
        accepted=run.accepted if run else None,
        rejected=run.rejected if run else None,
        matched=_matched(run),
        last_updated=run.last_good_at if run else None,
        list_name=run.list_name if run else None,
        list_url=run.list_url if run else None,
        error=run.error if run else "",
        run_id=run.run_id if run else "",
        running_since=run.started_at if run is not None and running else None,
        overdue_since=overdue,
    )


def _overdue_since(starters: Sequence[_Starter], run: SyncRun | None, now: datetime) -> datetime | None:
    """The moment a run should have begun that did not; None where it is in time, or was not switched on then.

    A sync that never ran is pending, and not late.
    """
    if run is None:
        return None
    missed = []
    for starter in starters:
        due = last_due(starter.schedule, now - GRACE) if starter.switch.on else None
        if due is None or run.started_at >= due:
            continue
        if starter.switch.since is None or starter.switch.since <= due:
            missed.append(due)
    return max(missed, default=None)


def _state(run: SyncRun | None, *, paused: bool, overdue: bool) -> SyncState:
    if paused:
        return SyncState.PAUSED
    if run is None:
        return SyncState.PENDING
    state = {
        RunStatus.SUCCEEDED: SyncState.ACTIVE,
        RunStatus.WARNING: SyncState.WARNING,
        RunStatus.BLOCKED: SyncState.BLOCKED,
        RunStatus.FAILED: SyncState.FAILED,
        RunStatus.INTERRUPTED: SyncState.FAILED,
        RunStatus.CANCELLED: SyncState.WARNING,
        RunStatus.RUNNING: SyncState.ACTIVE,
    }[run.status]
    return SyncState.WARNING if overdue and state is SyncState.ACTIVE else state


def _note(run: SyncRun | None, overdue: datetime | None) -> str:
    if run is None:
        return "never ran"
    notes = []
    if run.status is RunStatus.RUNNING:
        notes.append(f"running since {_at(run.started_at)}")
    if overdue is not None:
        notes.append(f"overdue since {_at(overdue)}")
    if run.status is RunStatus.CANCELLED:
        notes.append("the last run was cancelled")
    if run.status is RunStatus.INTERRUPTED:
        notes.append("the last run's process died; the next run goes on")
    if run.status in (RunStatus.WARNING, RunStatus.SUCCEEDED) and run.rejected:
        notes.append(f"{run.rejected:,} rejected")
    if run.status in (RunStatus.FAILED, RunStatus.BLOCKED) and run.error:
        notes.append(run.error.partition("\n")[0])
    return "; ".join(notes)


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _matched(run: SyncRun | None) -> str:
    if run is None or run.matched_lower is None or run.matched_upper is None:
        return ""
    if run.matched_lower == run.matched_upper:
        return f"~{run.matched_lower:,}"
    return f"{run.matched_lower:,}-{run.matched_upper:,}"
