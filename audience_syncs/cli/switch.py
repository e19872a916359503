"""Pausing and resuming a sync or a sequence: its schedule's (or sensor's) switch in Dagster, the same that the UI shows."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from audience_syncs.cli.local import dagster_home, environment, project_root
from audience_syncs.cli.show import print_json, say
from audience_syncs.cli.syncs import Json, evaluate, find_sync, opened
from audience_syncs.health.switches import PREFIX, SEQUENCE_PREFIX
from audience_syncs.model.config import sync_id
from audience_syncs.model.errors import AudienceSyncsError, DefinitionError
from audience_syncs.model.schedules import After, Schedule
from audience_syncs.project import Project, default_defs_dir, load_project

if TYPE_CHECKING:
    from audience_syncs.engine import PlanPreview


class SwitchError(AudienceSyncsError):
    """Dagster did not take it."""

    code = "SWITCH"


SyncOrSequence = Annotated[
    str, typer.Argument(metavar="NAME", help="audience/sync (what is unique about it is enough), or a sequence's name.")
]


def pause(name: SyncOrSequence, json: Json = False) -> None:
    """Pause a sync or a sequence: its schedule is switched off until somebody resumes it. A run under way goes on."""
    with environment() as variables:
        project = load_project(default_defs_dir(), variables).require_sound()
        trigger = _trigger(project, name)
        _switch(trigger, "stop", variables)
    if json:
        print_json({trigger.kind: trigger.of, "paused": True})
    else:
        typer.echo(f"{trigger.of} is paused. audience-syncs resume {trigger.of} switches it on again.")


def resume(
    name: SyncOrSequence,
    look: Annotated[bool, typer.Option(help="Evaluate the audience and say what has changed meanwhile.")] = True,
    json: Json = False,
) -> None:
    """Resume what is paused; for a sync, say how much has changed since its last run."""
    with environment() as variables:
        project = load_project(default_defs_dir(), variables).require_sound()
        trigger = _trigger(project, name)
    preview = _look(trigger.of) if look and trigger.kind == "sync" else None
    with environment() as variables:
        _switch(trigger, "start", variables)
    if json:
        print_json({trigger.kind: trigger.of, "paused": False, "changed": preview})
        return
    typer.echo(f"{trigger.of} is switched on, {trigger.in_words}.")
    if preview is not None:
        typer.echo(f"Changed since its last run: {preview.counts.in_words()}.")
        if preview.blocked:
            typer.echo(f"The guard would block that: {preview.blocked}")


def _look(sync: str) -> PlanPreview:
    """What the next run would send."""
    with opened(sync) as (project, audience, config, warehouse, _):
        from audience_syncs.destinations.registry import spec_for
        from audience_syncs.engine import plan_sync

        evaluate(project, audience, config, warehouse, str(uuid.uuid4()))
        return plan_sync(audience, config, spec_for(project.destinations[config.destination]), warehouse)


@dataclass(frozen=True, slots=True)
class _Trigger:
    """A schedule or sensor of Dagster, and what it starts."""

    kind: Literal["sync", "sequence"]
    of: str
    name: str
    schedule: Schedule
    in_words: str


def _trigger(project: Project, name: str) -> _Trigger:
    sequence = project.sequences.get(name)
    if sequence is not None:
        trigger = f"{SEQUENCE_PREFIX}{sequence.name}"
        return _Trigger("sequence", sequence.name, trigger, sequence.schedule, sequence.frequency)
    audience, sync = find_sync(project, name)
    trigger = f"{PREFIX}{audience.name}__{sync.key}"
    return _Trigger("sync", sync_id(audience, sync), trigger, sync.schedule, sync.frequency)


def _switch(trigger: _Trigger, turn: Literal["start", "stop"], variables: Mapping[str, str]) -> None:
    """Through Dagster's own command, so that it is the very switch of the UI."""
    where = f"{trigger.kind} {trigger.of}"
    if trigger.schedule == "manual":
        raise DefinitionError(
            f"a manual {trigger.kind} has no schedule to switch",
            where=where,
            remedy="give it a `schedule`, or just run it",
        )
    kind = "sensor" if isinstance(trigger.schedule, After) else "schedule"
    command = [sys.executable, "-m", "dagster", kind, turn, trigger.name]
    command += ["-w", str(project_root() / "workspace.yaml")]
    say(f"asking Dagster to {turn} the {kind} of {trigger.of}")
    environ = {"DAGSTER_HOME": str(dagster_home())} | dict(variables)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()
        raise SwitchError(
            f"Dagster did not {turn} the {kind}: {last[-1] if last else 'no answer'}",
            where=where,
            remedy="set DAGSTER_HOME to the folder of your instance, or use the switch in the UI",
        )
