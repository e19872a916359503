"""Pausing and resuming a sync: its schedule's (or sensor's) switch in Dagster, the same that the UI shows."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Mapping
from typing import Annotated, Literal

import typer

from audience_syncs.cli.local import dagster_home, project_root
from audience_syncs.cli.show import print_json, say
from audience_syncs.cli.syncs import Json, SyncName, opened
from audience_syncs.health.switches import PREFIX
from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.errors import AudienceSyncsError, DefinitionError
from audience_syncs.model.schedules import After


class SwitchError(AudienceSyncsError):
    """Dagster did not take it."""

    code = "SWITCH"


def pause(sync: SyncName, json: Json = False) -> None:
    """Pause a sync: its schedule is switched off until somebody resumes it. A run under way goes on."""
    with opened(sync) as (_, audience, config, _, variables):
        _switch(audience, config, "stop", variables)
        name = sync_id(audience, config)
    if json:
        print_json({"sync": name, "paused": True})
    else:
        typer.echo(f"{name} is paused. audience-syncs resume {name} switches it on again.")


def resume(
    sync: SyncName,
    look: Annotated[bool, typer.Option(help="Evaluate the audience and say what has changed meanwhile.")] = True,
    json: Json = False,
) -> None:
    """Resume a paused sync, and say how much has changed since its last run."""
    with opened(sync) as (project, audience, config, warehouse, variables):
        from audience_syncs.audiences import evaluate_audience
        from audience_syncs.destinations.registry import spec_of
        from audience_syncs.engine import plan_sync

        name = sync_id(audience, config)
        preview = None
        if look:
            evaluate_audience(audience, warehouse, run_id=str(uuid.uuid4()))
            spec = spec_of(project.destinations[config.destination].platform)
            preview = plan_sync(audience, config, spec, warehouse)
        _switch(audience, config, "start", variables)
    if json:
        print_json({"sync": name, "paused": False, "changed": preview})
        return
    typer.echo(f"{name} is switched on, {config.frequency}.")
    if preview is not None:
        typer.echo(f"Changed since its last run: {preview.counts.in_words()}.")
        if preview.blocked:
            typer.echo(f"The guard would block that: {preview.blocked}")


def _switch(
    audience: AudienceConfig, sync: SyncConfig, turn: Literal["start", "stop"], variables: Mapping[str, str]
) -> None:
    """Through Dagster's own command, so that it is the very switch of the UI."""
    name = sync_id(audience, sync)
    if sync.schedule == "manual":
        raise DefinitionError(
            "a manual sync has no schedule to switch",
            where=f"sync {name}",
            remedy="give it a `schedule`, or just run it",
        )
    kind = "sensor" if isinstance(sync.schedule, After) else "schedule"
    command = [sys.executable, "-m", "dagster", kind, turn, f"{PREFIX}{audience.name}__{sync.key}"]
    command += ["-w", str(project_root() / "workspace.yaml")]
    say(f"asking Dagster to {turn} the {kind} of {name}")
    environ = {"DAGSTER_HOME": str(dagster_home())} | dict(variables)
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr or done.stdout).strip().splitlines()
        raise SwitchError(
            f"Dagster did not {turn} the {kind}: {last[-1] if last else 'no answer'}",
            where=f"sync {name}",
            remedy="set DAGSTER_HOME to the folder of your instance, or use the switch in the UI",
        )
