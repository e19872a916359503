"""`show`: what holds for a sync, and where each value comes from."""

from __future__ import annotations

from typing import Annotated

import typer

from audience_syncs.cli.local import environment
from audience_syncs.cli.show import print_json
from audience_syncs.cli.syncs import Json, SyncName, find_sync
from audience_syncs.project import default_defs_dir, load_project
from audience_syncs.project.effective import effective


def show(
    sync: SyncName,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    json: Json = False,
) -> None:
    """Show the effective configuration of a sync: its own values, its templates', what it inherits, and the defaults."""
    with environment() as variables:
        project = load_project(default_defs_dir(), variables).require_sound()
    found = effective(project, *find_sync(project, sync))
    if json:
        print_json(found.to_json())
    else:
        typer.echo(found.to_yaml(with_origins=origin), nl=False)
