"""`plan --all`, `--template` and `--changed-since`: what the definitions of this working copy would do to each list."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from audience_syncs.cli.local import environment
from audience_syncs.cli.review_page import (
    COLUMNS,
    Gone,
    Page,
    Row,
    gone_in_words,
    table_rows,
    to_json,
    to_markdown,
)
from audience_syncs.cli.show import print_json, print_table, progress_bar
from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.errors import AudienceSyncsError, DefinitionError
from audience_syncs.project import Project, default_defs_dir, load_project
from audience_syncs.project.problems import choose_from
from audience_syncs.project.revisions import Changes, changes_since

if TYPE_CHECKING:
    from audience_syncs.engine.review import KeptList, Review, Wanted


class Format(StrEnum):
    """How the answer looks."""

    TABLE = "table"
    MARKDOWN = "markdown"
    JSON = "json"


def plan_many(template: str | None, since: str | None, looks: Format) -> None:
    """Plans all syncs, those of a template, or those whose definition changed; exit code 1 where one fails."""
    folder = default_defs_dir()
    with environment() as variables:
        project = load_project(folder, variables).require_sound()
        wanted = _syncs_of(project, template)
        scope = "all syncs" if template is None else f"syncs that use the template {template}"
        changes: Changes | None = None
        if since is not None:
            changes = changes_since(since, folder, project, variables)
            chosen = {*changes.new, *changes.changed}
            wanted = [(audience, sync) for audience, sync in wanted if sync_id(audience, sync) in chosen]
            scope += f", changed since {since} ({changes.revision})"
        page = _page(project, wanted, scope, changes, variables, with_gone=template is None)
    _show(page, looks)
    raise typer.Exit(1 if page.failed else 0)


def _syncs_of(project: Project, template: str | None) -> list[tuple[AudienceConfig, SyncConfig]]:
    if template is not None and template not in project.templates:
        remedy = choose_from(template, sorted(project.templates), none="there is none yet: docs/templates.md")
        raise DefinitionError(f"there is no sync template {template!r}", remedy=remedy)
    return [
        (audience, sync)
        for audience in project.audiences.values()
        for sync in audience.syncs
        if template is None or template in sync.templates
    ]


def _page(
    project: Project,
    wanted: list[tuple[AudienceConfig, SyncConfig]],
    scope: str,
    changes: Changes | None,
    variables: Mapping[str, str],
    *,
    with_gone: bool,
) -> Page:
    # Imported late: other commands need neither drivers nor the engine.
    from audience_syncs.engine.review import Failure, Review, kept_lists, review_syncs
    from audience_syncs.warehouse import open_warehouse

    reviews: dict[str, Review] = {}
    kept: dict[str, KeptList] = {}
    remarks = [_remark(changes)]
    defined = {sync_id(audience, sync) for audience in project.audiences.values() for sync in audience.syncs}
    for source in project.sources.values():
        of_source = [_wanted(project, *pair) for pair in wanted if pair[0].source == source.name]
        if not of_source and not with_gone:
            continue
        try:
            with open_warehouse(source, variables) as warehouse, progress_bar(f"plan, {source.name}") as progress:
                changed: Collection[str] = changes.audiences if changes is not None else ()
                for review in review_syncs(of_source, project.audiences, warehouse, changed=changed, progress=progress):
                    reviews[review.sync] = review
                if with_gone:
                    kept |= kept_lists(warehouse)
        except AudienceSyncsError as error:
            failure = Failure(error.code, error.message, error.remedy)
            for one in of_source:
                reviews.setdefault(one.name, Review(one.name, failure=failure))
            if not of_source:
                remarks.append(f"The source {source.name} could not be asked for lists of its own: {error.message}.")
    rows = [_row(project, audience, sync, reviews[sync_id(audience, sync)], changes) for audience, sync in wanted]
    gone = [name for name in kept if name not in defined] if changes is None else list(changes.gone)
    return Page(scope, rows, [_gone(name, kept) for name in gone] if with_gone else [], " ".join(filter(None, remarks)))


def _wanted(project: Project, audience: AudienceConfig, sync: SyncConfig) -> Wanted:
    from audience_syncs.destinations.registry import pace_of, spec_for
    from audience_syncs.engine.review import Wanted

    destination = project.destinations[sync.destination]
    return Wanted(audience, sync, spec_for(destination), pace_of(destination))


def _row(project: Project, audience: AudienceConfig, sync: SyncConfig, review: Review, changes: Changes | None) -> Row:
    return Row(
        review,
        destination=sync.destination,
        platform=project.destinations[sync.destination].platform,
        templates=tuple(sync.templates),
        is_new=changes is not None and review.sync in changes.new,
        makes_list=sync.mode.family.has_list and review.list_name is None,
    )


def _gone(sync: str, kept: Mapping[str, KeptList]) -> Gone:
    known = kept.get(sync)
    return Gone(sync) if known is None else Gone(sync, known.name, known.members)


def _remark(changes: Changes | None) -> str:
    if changes is None or not changes.problems:
        return ""
    count = f"{changes.problems:,} mistake{'s' if changes.problems != 1 else ''}"
    return f"The definitions of {changes.revision} have {count}; what they concern counts as new."


def _show(page: Page, looks: Format) -> None:
    if looks is Format.JSON:
        print_json(to_json(page))
        return
    if looks is Format.MARKDOWN:
        typer.echo(to_markdown(page), nl=False)
        return
    print_table(f"Plan of {page.scope}; nothing is sent, nothing is kept", COLUMNS, table_rows(page))
    for gone in page.gone:
        typer.echo(gone_in_words(gone))
    if page.remark:
        typer.echo(page.remark)
