"""`end-orphaned-runs`: what a container says before it starts the code location again."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from audience_syncs.cli.show import print_json
from audience_syncs.cli.syncs import Json
from audience_syncs.model.errors import MissingSecret


def end_orphaned_runs(
    location: Annotated[str, typer.Option(help="The code location, as the workspace names it.")] = "audience_syncs",
    json: Json = False,
) -> None:
    """Mark runs as failed whose process died with their container. Only while the code location is not running."""
    from dagster import DagsterInstance

    from audience_syncs.components import orphans

    if not os.environ.get("DAGSTER_HOME"):
        raise MissingSecret("DAGSTER_HOME is not set", remedy="set it to the folder of your instance's dagster.yaml")
    with DagsterInstance.get() as instance:
        ended = orphans.end_orphaned_runs(instance, location)
    if json:
        print_json(ended)
    else:
        typer.echo(f"{len(ended)} orphaned runs ended.")
