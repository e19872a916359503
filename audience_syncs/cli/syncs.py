"""`check`, `list`, `status`, `plan` and `run`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audience_syncs.cli.local import environment
from audience_syncs.cli.review import Format, plan_many
from audience_syncs.cli.show import print_json, print_statuses, print_table, progress_bar, say
from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.errors import DefinitionError, MissingSecret
from audience_syncs.model.reach import Reach
from audience_syncs.model.values import Progress, RunOptions, SyncReport
from audience_syncs.project import Project, default_defs_dir, format_problems, load_project

if TYPE_CHECKING:
    from audience_syncs.health.status import SyncStatus
    from audience_syncs.health.switches import Switch
    from audience_syncs.warehouse import Warehouse

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]
SyncName = Annotated[str, typer.Argument(metavar="SYNC", help="audience/sync; what is unique about it is enough.")]


def check(
    path: Annotated[Path | None, typer.Argument(help="A folder of definitions; default: the project's.")] = None,
    json: Json = False,
) -> None:
    """Check the definitions: every mistake with file, line and what to do."""
    project = load_project(path.absolute() if path else default_defs_dir())
    problems = project.problems
    for note in project.notes:
        say(f"Note: {note}")
    if json:
        print_json([{**_place(problem), "message": problem.message, "remedy": problem.remedy} for problem in problems])
    elif problems:
        typer.echo(format_problems(problems))
    else:
        typer.echo("No problems.")
    raise typer.Exit(1 if problems else 0)


def _place(problem: object) -> dict[str, object]:
    return {name: getattr(problem, name) for name in ("file", "line", "column") if hasattr(problem, name)}


def list_(json: Json = False) -> None:
    """List audiences, their syncs, destinations and schedules."""
    project = load_project(default_defs_dir()).require_sound()
    rows = [
        {
            "sync": sync_id(audience, sync),
            "audience": audience.name,
            "title": audience.label,
            "source": audience.source,
            "destination": sync.destination,
            "platform": project.destinations[sync.destination].platform,
            "list": sync.list.id or sync.list.name or audience.label,
            "mode": sync.mode.value,
            "frequency": sync.frequency,
            "templates": list(sync.templates),
        }
        for audience in project.audiences.values()
        for sync in audience.syncs
    ]
    if json:
        print_json(rows)
        return
    print_table(
        "Audiences and their syncs",
        ("Audience", "Sync", "Platform", "List", "Mode", "Frequency"),
        [(r["title"], r["sync"], r["platform"], r["list"], r["mode"], r["frequency"]) for r in rows],
    )


def status(json: Json = False) -> None:
    """Show the status of every sync."""
    with environment() as variables:
        statuses = read_statuses(load_project(default_defs_dir(), variables).require_sound(), variables)
    if json:
        print_json([row.to_json() for row in statuses])
    else:
        print_statuses(statuses)


def plan(
    sync: Annotated[
        str | None, typer.Argument(metavar="SYNC", help="audience/sync; what is unique about it is enough.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="All syncs that use this template.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All syncs.")] = False,
    changed_since: Annotated[
        str | None, typer.Option(metavar="REF", help="Only syncs whose definition changed since that revision in git.")
    ] = None,
    looks: Annotated[Format, typer.Option("--format", help="How the answer looks.")] = Format.TABLE,
    json: Json = False,
) -> None:
    """Show what a run would change now, of one sync, from the audience as it was last evaluated. With --all, --template or
    --changed-since: what the definitions here would do to each list, their audiences evaluated for it. Sends nothing."""
    if json:
        looks = Format.JSON
    if sync is not None:
        if template is not None or all_ or changed_since is not None or looks is Format.MARKDOWN:
            raise DefinitionError(
                "one sync is planned by itself",
                remedy=f"audience-syncs plan {sync}; or leave the name out, with `--all`, `--template` or `--changed-since`",
            )
        plan_one(sync, json=looks is Format.JSON)
        return
    if template is not None and all_:
        raise DefinitionError("`--all` and `--template` exclude each other", remedy="leave one of them out")
    if template is None and not all_ and changed_since is None:
        raise DefinitionError(
            "what is to be planned?", remedy="name a sync, or give `--all`, `--template T` or `--changed-since REF`"
        )
    plan_many(template, changed_since, looks)


def plan_one(sync: str, *, json: bool) -> None:
    """Shows what a run of the sync would change now."""
    with opened(sync) as (project, audience, config, warehouse, _):
        from audience_syncs.destinations.registry import spec_for
        from audience_syncs.engine import plan_sync

        spec = spec_for(project.destinations[config.destination])
        with progress_bar(f"plan {sync_id(audience, config)}") as progress:
            preview = plan_sync(audience, config, spec, warehouse, progress=progress)
    if json:
        print_json(preview)
        return
    counts = preview.counts
    print_table(
        f"Plan of {preview.sync} from snapshot {preview.snapshot_id}, digest {preview.digest}",
        ("In audience", "Held at the destination", "Add", "Update", "Remove", "Without identifier"),
        [(preview.in_audience, preview.holding, counts.added, counts.updated, counts.removed, counts.unusable)],
    )
    show_withheld(preview.withheld)
    if preview.reach is not None:
        show_reach(preview.reach)
    if preview.blocked:
        typer.echo(f"The guard would block it: {preview.blocked}")
        typer.echo(f"To send exactly this plan: audience-syncs approve {preview.sync} {preview.digest}")


def show_withheld(withheld: Mapping[str, int]) -> None:
    """Who of the audience is not sent, by reason; nothing where nothing keeps anybody out."""
    if withheld:
        counts = ", ".join(f"{reason} {members:,}" for reason, members in withheld.items())
        typer.echo(f"{sum(withheld.values()):,} members are kept out: {counts}")


def show_reach(reach: Reach) -> None:
    """How much of the audience the platform can find, by field and reason."""
    rows = [
        (
            field.field,
            f"{reach.usable(field):,} ({reach.usable_percent(field):.1f} %)",
            field.missing if field.identifier else "",
            ", ".join(f"{code.lower().replace('_', ' ')}: {count:,}" for code, count in field.refused.items()),
        )
        for field in reach.fields
    ]
    title = f"Usable values; {reach.unreachable:,} of {reach.members:,} members have no usable identifier"
    print_table(title, ("Field", "Usable", "Missing", "Refused"), rows)


def run(
    sync: SyncName,
    refresh: Annotated[bool, typer.Option(help="Evaluate the audience first.")] = True,
    approve: Annotated[str | None, typer.Option(help="Digest of a blocked plan that may be sent.")] = None,
    retry_rejected: Annotated[bool, typer.Option("--retry-rejected", help="Try rejected members again.")] = False,
    json: Json = False,
) -> None:
    """Run a sync now, in this process."""
    options = RunOptions(approve=approve, retry_rejected=retry_rejected)
    with opened(sync) as (project, audience, config, warehouse, variables):
        execute(project, audience, config, warehouse, variables, options, json=json, refresh=refresh)


def execute(
    project: Project,
    audience: AudienceConfig,
    sync: SyncConfig,
    warehouse: Warehouse,
    variables: Mapping[str, str],
    options: RunOptions,
    *,
    json: bool,
    refresh: bool,
) -> None:
    """Runs a sync and prints what came of it; ``refresh``: evaluates its audience first."""
    from audience_syncs.destinations.registry import open_destination
    from audience_syncs.engine import run_sync

    run_id = str(uuid.uuid4())
    destination = open_destination(project.destinations[sync.destination], variables)
    with progress_bar(sync_id(audience, sync)) as progress:
        evaluate(project, audience, sync, warehouse, run_id, progress, refresh=refresh)
        report = run_sync(audience, sync, destination, warehouse, run_id=run_id, options=options, progress=progress)
    if json:
        print_json(report.to_json())
    else:
        print_report(report)


def evaluate(
    project: Project,
    audience: AudienceConfig,
    sync: SyncConfig,
    warehouse: Warehouse,
    run_id: str,
    progress: Callable[[Progress], None] | None = None,
    *,
    refresh: bool = True,
) -> None:
    """Evaluates a sync's audience and those that go before it; without ``refresh`` only those of the latter that never
    were."""
    from audience_syncs.audiences import evaluate_audience

    since = datetime.now(UTC) if refresh else datetime.min.replace(tzinfo=UTC)
    for name in sync.admission.before:
        evaluate_audience(project.audiences[name], warehouse, run_id=run_id, unless_since=since, progress=progress)
    if refresh:
        evaluate_audience(audience, warehouse, run_id=run_id, progress=progress)


def print_report(report: SyncReport) -> None:
    print_table(
        f"{report.sync}: {report.status.value} in {report.duration_s:.1f} s",
        ("In audience", "Delivered", "Accepted", "Added", "Updated", "Removed", "Rejected", "Retry", "Unknown"),
        [
            (
                report.in_audience,
                report.delivered,
                report.accepted,
                report.added,
                report.updated,
                report.removed,
                report.rejected,
                report.retryable,
                report.unknown,
            )
        ],
    )
    show_withheld(report.withheld)
    for count in report.rejections:
        typer.echo(f"{count.members:,} rejected: {count.reason_code} {count.reason}")


def read_statuses(project: Project, variables: Mapping[str, str]) -> list[SyncStatus]:
    """The status of every sync, from the state in each source and from Dagster's switches where it can be asked."""
    from audience_syncs.health.status import sync_statuses
    from audience_syncs.model.values import SyncRun
    from audience_syncs.warehouse import open_warehouse
    from audience_syncs.warehouse.state import State

    runs: dict[str, SyncRun] = {}
    for source in project.sources.values():
        with open_warehouse(source, variables) as warehouse:
            state = State(warehouse)
            if state.exists():
                runs |= state.last_runs(project.sync_ids(source.name))
    return sync_statuses(project, runs, _switches(project, variables))


def _switches(project: Project, variables: Mapping[str, str]) -> Mapping[str, Switch]:
    from audience_syncs.cli.local import dagster_home, read_local_environment

    dagster_folder = variables.get("DAGSTER_HOME") or (str(dagster_home()) if read_local_environment() else "")
    if not dagster_folder:
        say("DAGSTER_HOME is not set: whether a sync is paused is not known")
        return {}
    from dagster import DagsterInstance

    from audience_syncs.health.switches import switches

    with DagsterInstance.from_config(dagster_folder) as instance:
        return switches(instance, project)


@contextmanager
def opened(name: str) -> Iterator[tuple[Project, AudienceConfig, SyncConfig, Warehouse, Mapping[str, str]]]:
    """The sync of that name with everything a run of it needs."""
    from audience_syncs.warehouse import open_warehouse

    with environment() as variables:
        project = load_project(default_defs_dir(), variables).require_sound()
        audience, sync = find_sync(project, name)
        try:
            with open_warehouse(project.sources[audience.source], variables) as warehouse:
                yield project, audience, sync, warehouse, variables
        except MissingSecret as error:
            raise MissingSecret(
                error.message, where=error.where, remedy=f"{error.remedy}; or start the local demo: audience-syncs demo"
            ) from None


def find_sync(project: Project, name: str) -> tuple[AudienceConfig, SyncConfig]:
    """The sync of that name, or the only one whose name holds it. DefinitionError offers the nearest names."""
    known = {
        sync_id(audience, sync): (audience, sync) for audience in project.audiences.values() for sync in audience.syncs
    }
    if name in known:
        return known[name]
    holding = [full for full in known if name in full]
    if len(holding) == 1:
        return known[holding[0]]
    nearest = holding or get_close_matches(name, known, n=3, cutoff=0.3) or sorted(known)
    kind = "several syncs have" if holding else "there is no sync with"
    raise DefinitionError(f"{kind} the name {name!r}", remedy=f"one of: {', '.join(nearest)}")
