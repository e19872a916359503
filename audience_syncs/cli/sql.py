"""`sql`: the statement an audience is evaluated by, to be read and to be pasted into a SQL client."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

import typer

from audience_syncs.cli.local import environment
from audience_syncs.cli.show import print_json, say
from audience_syncs.cli.size import AudienceName, find_audience
from audience_syncs.cli.syncs import Json
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceSyncsError, DefinitionError, SourceError
from audience_syncs.project import Project, default_defs_dir, load_project

At = Annotated[
    str | None,
    typer.Option(
        "--now", help="The moment that counts as now: `2026-11-01T12:00:00Z`. Default: as an evaluation would."
    ),
]


def sql(audience: AudienceName, now: At = None, json: Json = False) -> None:
    """Print the SQL of an audience: of a filter, with the reason of each part. Needs no warehouse."""
    with environment() as variables:
        project = load_project(default_defs_dir(), variables).require_sound()
        chosen = find_audience(project, audience)
        moment = _read(now) if now is not None else _now(project, chosen, variables)
    text, parameters = statement(chosen, moment, _warehouse_name(project, chosen, variables))
    if json:
        print_json({"audience": chosen.name, "now": moment, "sql": text, "parameters": parameters})
    else:
        typer.echo(f"-- {chosen.label}, as of {moment.isoformat()}\n{text}")


def statement(audience: AudienceConfig, now: datetime, warehouse: str) -> tuple[str, Mapping[str, object]]:
    """The statement with its values in it, and the values by the names they are bound with in an evaluation."""
    from audience_syncs.audiences.as_of import with_as_of
    from audience_syncs.audiences.compile import compile_audience
    from audience_syncs.warehouse.expressions import EXPRESSIONS, readable

    if audience.sql is not None:
        return with_as_of(audience.sql, now), {}
    expressions = EXPRESSIONS.get(warehouse)
    if expressions is None:
        known = ", ".join(sorted(EXPRESSIONS))
        raise SourceError(
            f"the source of the audience {audience.name} is a {warehouse} warehouse, which is not supported yet",
            remedy=f"supported: {known}",
        )
    bound = compile_audience(audience, expressions, now).compile(dialect=expressions.dialect())
    return readable(compile_audience(audience, expressions, now, annotate=True), expressions), dict(bound.params)


def _now(project: Project, audience: AudienceConfig, variables: Mapping[str, str]) -> datetime:
    """What an evaluation would take for now; without the warehouse, where it is needed for that, this moment."""
    if audience.partitions is not None:
        return audience.partitions.end_of(audience.partitions.latest(datetime.now(UTC)))
    model = project.models.get(audience.model or "")
    if model is None or model.now_sql is None:
        return datetime.now(UTC)
    from audience_syncs.audiences.query import now_of
    from audience_syncs.warehouse import open_warehouse

    try:
        with (
            open_warehouse(project.sources[audience.source], variables) as warehouse,
            warehouse.connect() as connection,
        ):
            return now_of(connection, audience, datetime.now(UTC), f"audience {audience.name}")
    except AudienceSyncsError as error:
        say(f"`now_sql` of the model {model.name} could not be asked ({error.message}): this moment counts as now")
        return datetime.now(UTC)


def _warehouse_name(project: Project, audience: AudienceConfig, variables: Mapping[str, str]) -> str:
    """Which warehouse the source is, as far as its address is known here."""
    import sqlalchemy as sa

    address = variables.get(project.sources[audience.source].url.env, "")
    try:
        backend = sa.make_url(address).get_backend_name() if address else "postgresql"
    except sa.exc.ArgumentError:
        backend = "postgresql"
    return "postgresql" if backend == "postgres" else backend


def _read(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise DefinitionError(f"{text!r} is no moment", where="--now", remedy="write 2026-11-01T12:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
