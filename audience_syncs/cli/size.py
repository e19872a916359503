"""`size`: how large an audience would be, condition by condition, and whom it shares with others. Sends and keeps nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

import typer

from audience_syncs.cli.local import environment
from audience_syncs.cli.show import print_json, print_table, progress_bar
from audience_syncs.cli.syncs import Json
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import DefinitionError
from audience_syncs.project import Project, default_defs_dir, load_project

if TYPE_CHECKING:
    from audience_syncs.model.sizes import Size

AudienceName = Annotated[str, typer.Argument(metavar="AUDIENCE", help="Name of an audience.")]
Others = Annotated[
    list[str] | None,
    typer.Argument(metavar="[OTHER ...]", help="Audiences to compare it with. Default: all with the same key."),
]


def size(audience: AudienceName, others: Others = None, json: Json = False) -> None:
    """Count an audience as it is now: each condition's share, its overlaps, what changed. Sends and keeps nothing."""
    from audience_syncs.audiences.size import alike, size_of
    from audience_syncs.warehouse import open_warehouse

    with environment() as variables:
        project = load_project(default_defs_dir(), variables).require_sound()
        chosen = find_audience(project, audience)
        compared = [find_audience(project, name) for name in others] if others else alike(chosen)
        with open_warehouse(project.sources[chosen.source], variables) as warehouse, progress_bar(audience) as progress:
            found = size_of(chosen, warehouse, compared, progress=progress)
    if json:
        print_json({**asdict(found), "audience": chosen.name})
    else:
        print_size(chosen, found)


def print_size(audience: AudienceConfig, size: Size) -> None:
    """For people."""
    typer.echo(f"{audience.label}: {size.members:,} members now")
    if size.change is not None:
        change = size.change
        typer.echo(
            f"The last evaluation had {change.before:,}: {change.entered:,} would enter, {change.exited:,} would leave"
        )
    if size.funnel:
        rows: list[Sequence[object]] = [("everybody in the model", size.people, size.people)]
        rows += [(step.condition, step.alone, step.left) for step in size.funnel]
        print_table("What each condition leaves", ("Condition", "Meet it", "Left so far"), rows)
    if size.matrix:
        names = list(size.matrix)
        rows = [(name, *(size.matrix[name].get(other, "") for other in names)) for name in names]
        print_table("People in both; of other audiences, by their last evaluation", ("Audience", *names), rows)


def find_audience(project: Project, name: str) -> AudienceConfig:
    """The audience of that name. DefinitionError offers the nearest names."""
    if name in project.audiences:
        return project.audiences[name]
    nearest = get_close_matches(name, project.audiences, n=3, cutoff=0.3) or sorted(project.audiences)
    raise DefinitionError(f"there is no audience {name!r}", remedy=f"one of: {', '.join(nearest)}")
