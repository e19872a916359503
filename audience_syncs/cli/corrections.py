"""What people do when a sync needs a hand: approve, retry, resync, undo, forget, audit, and look at its runs."""

from __future__ import annotations

import getpass
import socket
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from audience_syncs.cli.local import environment
from audience_syncs.cli.show import print_json, print_table, progress_bar, say
from audience_syncs.cli.syncs import Json, SyncName, execute, opened, print_report
from audience_syncs.model.config import AudienceConfig, sync_id
from audience_syncs.model.errors import AudienceSyncsError, DefinitionError, GuardBlocked
from audience_syncs.model.schedules import duration
from audience_syncs.model.values import RunOptions
from audience_syncs.project import Project, default_defs_dir, load_project

if TYPE_CHECKING:
    from audience_syncs.warehouse import Warehouse

By = Annotated[str | None, typer.Option(help="Who does this; recorded. Default: you, by your login and machine.")]


def approve(
    sync: SyncName,
    digest: Annotated[str, typer.Argument(help="The digest of the blocked plan, from its message.")],
    by: By = None,
    expires: Annotated[str, typer.Option(help="How long it is good for, e.g. `2 hours`.")] = "1 day",
    run: Annotated[bool, typer.Option(help="Send the plan now. With --no-run the sync's next run sends it.")] = True,
    json: Json = False,
) -> None:
    """Let exactly one plan pass that the guard blocked, and send it."""
    try:
        lasts = duration(expires)
    except ValueError as error:
        raise DefinitionError(str(error), where="--expires") from None
    with opened(sync) as (project, audience, config, warehouse, variables):
        from audience_syncs.destinations.registry import spec_for
        from audience_syncs.engine import plan_sync
        from audience_syncs.engine.approvals import record_approval

        name = sync_id(audience, config)
        spec = spec_for(project.destinations[config.destination])
        preview = plan_sync(audience, config, spec, warehouse)
        if preview.digest != digest:
            raise GuardBlocked(
                f"the plan is now {preview.digest}, not {digest}: the audience or the list changed since. It has "
                f"{preview.counts.in_words()}" + (f"; {preview.blocked}" if preview.blocked else ""),
                digest=preview.digest,
                where=f"sync {name}",
                remedy=f"look at it (audience-syncs plan {name}) and approve that one, if it is what you want",
            )
        with warehouse.connect() as connection:
            record_approval(connection, warehouse, name, digest, by=by or _who(), now=datetime.now(UTC), lasts=lasts)
            connection.commit()
        say(f"approved for {expires}: {preview.counts.in_words()}")
        if run:
            execute(project, audience, config, warehouse, variables, RunOptions(), json=json, refresh=False)


def retry(sync: SyncName, json: Json = False) -> None:
    """Try the members again that the platform rejected."""
    with opened(sync) as (project, audience, config, warehouse, variables):
        execute(
            project, audience, config, warehouse, variables, RunOptions(retry_rejected=True), json=json, refresh=True
        )


def resync(
    sync: SyncName,
    new_list: Annotated[
        bool, typer.Option("--new-list", help="The list is gone at the platform: make another one.")
    ] = False,
    approve: Annotated[str | None, typer.Option(help="Digest of a blocked plan that may be sent.")] = None,
    json: Json = False,
) -> None:
    """Send everybody again, and remove who should not be there. The list is never empty in between."""
    options = RunOptions(full_resync=True, new_list=new_list, approve=approve, approved_by=_who())
    with opened(sync) as (project, audience, config, warehouse, variables):
        execute(project, audience, config, warehouse, variables, options, json=json, refresh=approve is None)


def undo(
    sync: SyncName,
    run: Annotated[str, typer.Option(help="The run's id, or its beginning: see `audience-syncs runs SYNC`.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    approve: Annotated[str | None, typer.Option(help="Digest of a blocked plan that may be sent.")] = None,
    json: Json = False,
) -> None:
    """Take back what the platform accepted in one run."""
    with opened(sync) as (project, audience, config, warehouse, variables):
        from audience_syncs.destinations.registry import open_destination, spec_for
        from audience_syncs.engine import plan_sync, undo_run

        platform = project.destinations[config.destination]
        if dry_run:
            preview = plan_sync(audience, config, spec_for(platform), warehouse, undo=run)
            if json:
                print_json(preview)
            else:
                typer.echo(f"Undoing run {run}: {preview.counts.in_words()}; digest {preview.digest}")
                typer.echo(
                    f"The guard would block it: {preview.blocked}" if preview.blocked else "The guard lets it pass."
                )
            return
        with progress_bar(f"undo in {sync_id(audience, config)}") as progress:
            report = undo_run(
                audience,
                config,
                open_destination(platform, variables),
                warehouse,
                undo=run,
                run_id=str(uuid.uuid4()),
                options=RunOptions(approve=approve, approved_by=_who()),
                progress=progress,
            )
    if json:
        print_json(report.to_json())
    else:
        print_report(report)
        typer.echo(
            "The audience is as it was: the sync's next run does again what its definition says. Pause it, or correct "
            "the audience's query first."
        )


def audit(sync: SyncName, json: Json = False) -> None:
    """Compare the list at the platform with what we believe is in it. Exit code 1 if they differ."""
    with opened(sync) as (project, audience, config, warehouse, variables):
        from audience_syncs.destinations.registry import open_destination
        from audience_syncs.engine.audit import audit_sync

        destination = open_destination(project.destinations[config.destination], variables)
        report = audit_sync(audience, config, destination, warehouse)
    if json:
        print_json(report.to_json())
    else:
        print_table(
            f"Audit of {report.sync}",
            ("Accepted", "In the list", "Missing", "Others"),
            [(report.accepted, report.listed, report.missing, report.others)],
        )
        if not report.exact and report.matched is not None:
            typer.echo("This platform tells only an approximate size, so nobody can be named.")
        if report.missing_keys:
            typer.echo(f"Missing, for example: {', '.join(report.missing_keys)}")
        typer.echo(report.difference or "No difference.")
    raise typer.Exit(0 if report.passed else 1)


def runs(
    sync: SyncName,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 20,
    json: Json = False,
) -> None:
    """Show the latest runs of a sync."""
    with opened(sync) as (_, audience, config, warehouse, _):
        from audience_syncs.warehouse.state import State

        state = State(warehouse)
        found = state.runs(sync_id(audience, config), limit) if state.exists() else []
    if json:
        print_json(found)
        return
    print_table(
        f"Runs of {sync_id(audience, config)}",
        ("Run", "Started", "Status", "Added", "Updated", "Removed", "Rejected", "Error"),
        [
            (
                run.run_id,
                f"{run.started_at:%Y-%m-%d %H:%M:%S}",
                run.status.value,
                run.added,
                run.updated,
                run.removed,
                run.rejected,
                run.error.partition("\n")[0],
            )
            for run in found
        ],
    )


def forget(
    source: Annotated[str, typer.Option(help="The source whose person it is.")],
    key: Annotated[str, typer.Option(help="The person's primary key.")],
    primary_key: Annotated[
        str | None, typer.Option(help="The column the key is of, where the source's audiences have different ones.")
    ] = None,
    by: By = None,
    json: Json = False,
) -> None:
    """Remove one person from every list, keep them out for ever, and leave evidence without identifiers.

    Exit code 1 while a destination has not acknowledged the removal; that sync's next run tries again.
    """
    with environment() as variables:
        from audience_syncs.warehouse import open_warehouse
        from audience_syncs.warehouse.forgotten import evidence, request_forgetting
        from audience_syncs.warehouse.state import State

        project = load_project(default_defs_dir(), variables).require_sound()
        column, audiences = _audiences_of(project, source, primary_key)
        with open_warehouse(project.sources[source], variables) as warehouse:
            State(warehouse).prepare()
            with warehouse.connect() as connection:
                holding = request_forgetting(
                    connection, warehouse, audiences, column, key, by=by or _who(), now=datetime.now(UTC)
                )
                connection.commit()
            for name in holding:
                _forget_in(project, audiences, name, warehouse, variables)
            with warehouse.connect() as connection:
                records = evidence(connection, warehouse, key)
    if json:
        print_json(records)
    else:
        print_table(
            "Forgotten",
            ("Sync", "Destination", "Status", "Requested", "Acknowledged"),
            [tuple(r[n] for n in ("sync", "destination", "status", "requested_at", "done_at")) for r in records],
        )
    raise typer.Exit(1 if any(record["status"] == "pending" for record in records) else 0)


def _audiences_of(project: Project, source: str, primary_key: str | None) -> tuple[str, dict[str, AudienceConfig]]:
    """The audiences a key of this source is about, with the column it is of."""
    if source not in project.sources:
        raise DefinitionError(f"there is no source {source!r}", remedy=f"one of: {', '.join(project.sources)}")
    of_source = {name: found for name, found in project.audiences.items() if found.source == source}
    columns = sorted({audience.primary_key for audience in of_source.values()})
    if primary_key is None and len(columns) != 1:
        raise DefinitionError(
            f"the audiences of source {source!r} have different primary keys: {', '.join(columns) or 'none'}",
            remedy="say which one the key is of, with --primary-key; repeat for the others",
        )
    column = primary_key or columns[0]
    if column not in columns:
        raise DefinitionError(
            f"no audience of source {source!r} has the primary key {column!r}", remedy=f"one of: {', '.join(columns)}"
        )
    return column, {name: found for name, found in of_source.items() if found.primary_key == column}


def _forget_in(
    project: Project,
    audiences: dict[str, AudienceConfig],
    name: str,
    warehouse: Warehouse,
    variables: dict[str, str],
) -> None:
    from audience_syncs.destinations.registry import open_destination
    from audience_syncs.engine import forget_in_sync

    audience_name, _, key = name.partition("/")
    audience = audiences[audience_name]
    sync = audience.sync(key)
    try:
        destination = open_destination(project.destinations[sync.destination], variables)
        forget_in_sync(audience, sync, destination, warehouse, run_id=str(uuid.uuid4()))
    except AudienceSyncsError as error:
        say(f"{name}: not removed yet, the sync's next run tries again: {error}")


def _who() -> str:
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = "unknown"
    return f"{login}@{socket.gethostname()}"
