"""`suggest`: a mapping for an audience and a destination, by the names of columns and fields, as YAML to paste."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from audience_syncs.model.errors import DefinitionError

if TYPE_CHECKING:
    from audience_syncs.model.config import AudienceConfig
    from audience_syncs.model.kinds import Kind
    from audience_syncs.project import Project

_Definition = TypeVar("_Definition")


def suggest(
    audience: Annotated[str, typer.Argument(help="Name of an audience.")],
    destination: Annotated[str, typer.Argument(help="Name of a destination.")],
) -> None:
    """Suggest a mapping by the names of columns and fields, as YAML to look over and paste."""
    import yaml

    from audience_syncs.destinations.registry import spec_for
    from audience_syncs.destinations.suggestions import as_yaml, suggest_mapping
    from audience_syncs.project import load_project
    from audience_syncs.project.load import default_defs_dir

    project = load_project(default_defs_dir())
    audience_config = _named("audience", audience, project.audiences, project)
    spec = spec_for(_named("destination", destination, project.destinations, project))
    columns = _columns(audience_config, project)
    found = suggest_mapping(spec, columns, audience_config.primary_key)
    if not found:
        typer.echo(f"# No column of {audience} is called like a field of {spec.title}.")
    else:
        typer.echo(yaml.safe_dump({"mapping": as_yaml(found)}, sort_keys=False, allow_unicode=True).rstrip())
    used = {column for mapped in found.values() for column in mapped.columns}
    left = [column for column in columns if column not in used]
    missing = sorted(spec.required_fields - set(found))
    if missing:
        typer.echo(f"# {spec.title} needs these fields too: {', '.join(missing)}")
    if left:
        typer.echo(f"# Columns that go nowhere yet: {', '.join(left)}")
    if spec.open_fields is not None:
        typer.echo(f"# Any other name is a field, too: {spec.open_fields.description}")


def _named(what: str, name: str, known: Mapping[str, _Definition], project: Project) -> _Definition:
    from audience_syncs.destinations.problems import choose_from

    if name not in known:
        project.require_sound()
        raise DefinitionError(f"there is no {what} `{name}`", remedy=choose_from(name, known))
    return known[name]


def _columns(audience: AudienceConfig, project: Project) -> dict[str, Kind | None]:
    """The audience's columns as they are recorded; raises DefinitionError where they are not."""
    from audience_syncs.project.columns import HOW_TO_RECORD
    from audience_syncs.project.mapping import kinds_of

    schema = audience.refers_to
    found = kinds_of(schema, audience=audience.name, model=audience.model, columns=audience.columns)
    if not found:
        raise DefinitionError(
            f"nothing is recorded of the columns of {audience.name}", where=audience.name, remedy=HOW_TO_RECORD
        )
    return dict(found)
