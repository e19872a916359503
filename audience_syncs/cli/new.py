"""`new`: a definition as commented YAML, checked at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audience_syncs.project import default_defs_dir, format_problems, load_project
from audience_syncs.project.components import MODELS
from audience_syncs.project.problems import shown_path
from audience_syncs.project.scaffolds import FOLDERS, Wishes, add_sync, place, problems_of, scaffold

app = typer.Typer(help="Write a new definition as commented YAML, and check it.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Lower-case letters, digits and underscores.")]
Title = Annotated[str | None, typer.Option(help="Shown to marketers. Default: the name.")]
SourceName = Annotated[str | None, typer.Option("--source", help="Name of a source. Default: the only one.")]
PrimaryKey = Annotated[str | None, typer.Option(help="Column that identifies a person. Default: id.")]


@app.command()
def source(name: Name) -> None:
    """A connection to a warehouse."""
    _new("Source", name, Wishes())


@app.command()
def destination(
    name: Name,
    platform: Annotated[
        str | None, typer.Option(help="Which platform; `audience-syncs destinations` lists them.")
    ] = None,
) -> None:
    """An account on a platform, with all its secrets and settings."""
    _new("Destination", name, Wishes(platform=platform))


@app.command()
def model(
    name: Name,
    table: Annotated[str | None, typer.Option(help="Table or view of people: shop.users. Default: the name.")] = None,
    source: SourceName = None,
    primary_key: PrimaryKey = None,
    asset: Annotated[str | None, typer.Option(help="Dagster's asset that makes the table: dbt/customers.")] = None,
) -> None:
    """People that audiences are chosen from, with what is related to them."""
    _new("Model", name, Wishes(table=table, source=source, primary_key=primary_key, asset=asset))


@app.command()
def audience(
    name: Name,
    model: Annotated[str | None, typer.Option(help="Name of a model to filter. Default: SQL instead.")] = None,
    source: SourceName = None,
    table: Annotated[str | None, typer.Option(help="With SQL: the table to start from.")] = None,
    primary_key: PrimaryKey = None,
    destination: Annotated[
        list[str] | None, typer.Option(help="A destination to sync to; several times for more.")
    ] = None,
    title: Title = None,
) -> None:
    """A saved set of people."""
    wishes = Wishes(
        model=model,
        source=source,
        table=table,
        primary_key=primary_key,
        destinations=destination or (),
        title=title,
    )
    _new("Audience", name, wishes)


@app.command()
def sync(
    audience: Annotated[str, typer.Argument(help="Name of the audience.")],
    destination: Annotated[str, typer.Argument(help="Name of the destination.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the sync within the audience. Default: the destination's.")
    ] = None,
) -> None:
    """A sync of an audience, added to its file; the rest of the file stays as it is."""
    defs = default_defs_dir()
    file = add_sync(audience, destination, load_project(defs, with_columns=False), key=name)
    _tell(file, defs, f"added to {shown_path(file)}")


@app.command()
def template(
    name: Name,
    destination: Annotated[str | None, typer.Option(help="A destination whose fields it maps.")] = None,
) -> None:
    """A partial sync that others start from."""
    _new("SyncTemplate", name, Wishes(destinations=[destination] if destination else ()))


@app.command()
def priority(
    name: Name,
    audience: Annotated[
        list[str] | None, typer.Option(help="An audience, the most important first; several times.")
    ] = None,
) -> None:
    """Audiences in the order of their importance."""
    _new("Priority", name, Wishes(audiences=audience or ()))


@app.command()
def sequence(
    name: Name,
    step: Annotated[list[str] | None, typer.Option(help="A sync, audience/sync; several times, in order.")] = None,
    title: Title = None,
) -> None:
    """Syncs that run one after the other."""
    _new("Sequence", name, Wishes(steps=step or (), title=title))


@app.command()
def alerts() -> None:
    """Who is told when a sync is in trouble; one for all syncs."""
    _new("Alerts", "alerts", Wishes())


def _new(kind: str, name: str, wishes: Wishes) -> None:
    defs = default_defs_dir()
    folder = defs / FOLDERS[kind] / name if "name" in MODELS[kind].model_fields else defs / FOLDERS[kind]
    file = folder / "defs.yaml"
    place(file, scaffold(kind, name, wishes, load_project(defs, with_columns=False), file))
    _tell(file, defs, f"written: {shown_path(file)}")


def _tell(file: Path, defs: Path, done: str) -> None:
    """Says what was done, and what is wrong with the file now; the exit code says whether it has mistakes."""
    typer.echo(done)
    found = problems_of(file, defs)
    if found.mistakes or found.by_columns:
        typer.echo(format_problems([*found.mistakes, *found.by_columns]))
    if found.mistakes:
        raise typer.Exit(1)
