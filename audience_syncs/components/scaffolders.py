"""`dg scaffold defs audience_syncs.components.Audience NAME`: the same commented YAML that `audience-syncs new` writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import dagster as dg
from dagster.components.component_scaffolding import scaffold_component
from pydantic import BaseModel, ConfigDict, Field, create_model

from audience_syncs.model.errors import AudienceSyncsError
from audience_syncs.project import MODELS, format_problems, load_project
from audience_syncs.project.dg_projects import dg_defs_dir
from audience_syncs.project.problems import shown_path


class ScaffoldParams(BaseModel):
    """What can be asked for beside the name; each kind understands some of it."""

    model_config = ConfigDict(extra="forbid")


_TEXT: Any = str | None
_TEXTS: Any = list[str] | None

_PARAMS: dict[str, dict[str, tuple[Any, str]]] = {
    "Destination": {"platform": (_TEXT, "Which platform; `audience-syncs destinations` lists them.")},
    "Model": {
        "source": (_TEXT, "Name of a source. Default: the only one."),
        "table": (_TEXT, "Table or view of people. Default: the name."),
        "primary_key": (_TEXT, "Column that identifies a person. Default: id."),
        "asset": (_TEXT, "Dagster's asset that makes the table: dbt/customers."),
    },
    "Audience": {
        "model": (_TEXT, "Name of a model to filter. Default: SQL instead."),
        "source": (_TEXT, "With SQL: name of a source. Default: the only one."),
        "table": (_TEXT, "With SQL: the table to start from."),
        "primary_key": (_TEXT, "With SQL: column that identifies a person. Default: id."),
        "destinations": (_TEXTS, "A destination to sync to; several times for more."),
        "title": (_TEXT, "Shown to marketers."),
    },
    "SyncTemplate": {"destinations": (_TEXTS, "A destination whose fields it maps.")},
    "Priority": {"audiences": (_TEXTS, "An audience, the most important first; several times.")},
    "Sequence": {"steps": (_TEXTS, "A sync, audience/sync; several times, in order."), "title": (_TEXT, "Its title.")},
}


class DefinitionScaffolder(dg.Scaffolder[ScaffoldParams]):
    """Writes the YAML of one kind of definition."""

    kind = ""
    params: type[ScaffoldParams] = ScaffoldParams

    @classmethod
    def get_scaffold_params(cls) -> type[ScaffoldParams]:
        return cls.params

    def scaffold(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        if request.scaffold_format == "python":
            scaffold_component(request)
            return
        try:
            self._write(request)
        except AudienceSyncsError as error:
            # `dg` makes the folder before it asks us, and would take it for a definition from then on.
            if not request.append and request.target_path.is_dir() and not any(request.target_path.iterdir()):
                request.target_path.rmdir()
            raise click.ClickException(str(error)) from None

    def _write(self, request: dg.ScaffoldRequest[ScaffoldParams]) -> None:
        # Imported late: with it come the platforms, which nobody needs who only loads definitions.
        from audience_syncs.model.names import as_name
        from audience_syncs.project.scaffolds import Wishes, place, problems_of, scaffold

        file = request.target_path if request.append else request.target_path / "defs.yaml"
        defs = _defs_dir(request, file)
        name = as_name(file.parent.name)
        wishes = Wishes(**request.params.model_dump(exclude_none=True))
        text = scaffold(self.kind, name, wishes, load_project(defs, with_columns=False), file)
        if request.append:
            with file.open("a", encoding="utf-8") as stream:
                stream.write(f"---\n{text}")
        else:
            place(file, text)
        click.echo(f"Written: {shown_path(file)}")
        found = problems_of(file, defs)
        if found.mistakes or found.by_columns:
            click.echo(format_problems([*found.mistakes, *found.by_columns]), err=True)


def scaffolder_of(kind: str) -> type[DefinitionScaffolder]:
    """The scaffolder of a kind; each has parameters of its own."""
    fields: dict[str, Any] = {
        name: (annotation, Field(default=None, description=description))
        for name, (annotation, description) in _PARAMS.get(kind, {}).items()
    }
    params = create_model(f"{kind}ScaffoldParams", __base__=ScaffoldParams, **fields)
    return type(f"{kind}Scaffolder", (DefinitionScaffolder,), {"kind": kind, "params": params})


def add_scaffolders(module: dict[str, Any]) -> None:
    """Gives every component in a module its scaffolder: as many as there are kinds of definitions."""
    for kind in MODELS:
        dg.scaffold_with(scaffolder_of(kind))(module[kind])


def _defs_dir(request: dg.ScaffoldRequest[ScaffoldParams], file: Path) -> Path:
    found = dg_defs_dir(request.project_root or file.parent)
    return found if found is not None and file.is_relative_to(found) else file.parent.parent
