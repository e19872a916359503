"""`columns`: asks the warehouse for the columns of models and queries, and records them beside the definitions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from audience_syncs.cli.local import environment
from audience_syncs.cli.show import print_json
from audience_syncs.cli.syncs import Json
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceSyncsError, DefinitionError, MissingSecret, SourceError
from audience_syncs.model.schema import ModelConfig, RecordedColumns, Rows
from audience_syncs.project import Project, default_defs_dir, load_project
from audience_syncs.project.columns import FILE, Difference, difference, record_columns, recorded_columns
from audience_syncs.project.problems import choose_from, shown_path


@dataclass(frozen=True, slots=True)
class Asked:
    """A table or query whose columns are asked for: the name of its record, the record's folder, and its source."""

    part: str
    rows: Rows
    folder: Path
    source: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the warehouse told about one part, or why it did not."""

    asked: Asked
    columns: Mapping[str, str] | None
    error: str = ""


def columns(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL|AUDIENCE]...", help="Default: all models and audiences.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail where the record is stale.")] = False,
    json: Json = False,
) -> None:
    """Record the columns of models and of audiences with SQL, as the warehouse knows them, for the checks of filters.

    They are written to `columns.json` beside the definitions, which belongs in git.
    """
    with environment() as variables:
        # What is only wrong by the record is about to be put right.
        project = load_project(default_defs_dir(), variables, with_columns=False).require_sound()
        everything = _parts(project)
        answers = _ask(project, _chosen(project, names, everything), variables)
    folders = {place for place, _ in project.files}
    changed: list[tuple[Difference, Path]] = []
    stale = False
    for folder in sorted(folders):
        recorded, problems = recorded_columns(folder)
        current = _current(folder, recorded, everything, answers)
        changed += [(found, folder) for found in difference(recorded, current)]
        if current != recorded or problems:
            stale = True
            if not check:
                _write(folder, current)
    if json:
        print_json(_as_json(answers, changed))
    else:
        _print(answers, changed, check=check)
    failed = any(answer.columns is None for answer in answers)
    raise typer.Exit(1 if failed or (check and stale) else 0)


def _parts(project: Project) -> list[Asked]:
    """Everything whose columns are recorded: all parts of all models, and audiences with SQL."""
    # Imported late: it brings SQLAlchemy.
    from audience_syncs.audiences.as_of import with_as_of

    found = []
    for (folder, _), located in project.files.items():
        config = located.config
        if isinstance(config, ModelConfig):
            found += [Asked(part, rows, folder, config.source) for part, rows in config.parts.items()]
        elif isinstance(config, AudienceConfig) and config.sql is not None:
            rows = Rows(sql=with_as_of(config.sql, datetime.now(UTC)))
            found.append(Asked(config.name, rows, folder, config.source))
    return found


def _chosen(project: Project, names: Sequence[str] | None, everything: list[Asked]) -> list[Asked]:
    """The parts of what was named; all where nothing was. Of an audience with a filter, those of its model."""
    if not names:
        return everything
    wanted = set()
    for name in names:
        audience = project.audiences.get(name)
        if audience is None and name not in project.models:
            known = sorted({*project.models, *project.audiences})
            remedy = choose_from(name, known, none="there is none yet")
            raise DefinitionError(f"there is no model and no audience {name!r}", remedy=remedy)
        wanted.add(audience.model or name if audience is not None else name)
    return [asked for asked in everything if asked.part.partition(".")[0] in wanted]


def _ask(project: Project, parts: Sequence[Asked], variables: Mapping[str, str]) -> list[Answer]:
    """The warehouses' answers. A part that fails, or a source, does not keep the others from being asked."""
    from audience_syncs.warehouse import open_warehouse

    answers = []
    for source in dict.fromkeys(asked.source for asked in parts):
        of_source = [asked for asked in parts if asked.source == source]
        try:
            with open_warehouse(project.sources[source], variables) as warehouse, warehouse.connect() as connection:
                answers += [_answer(connection, asked) for asked in of_source]
        except (SourceError, MissingSecret) as error:
            answers += [Answer(asked, None, _words(error)) for asked in of_source]
    return answers


def _answer(connection: Any, asked: Asked) -> Answer:
    from audience_syncs.warehouse.columns import columns_of
    from audience_syncs.warehouse.connection import in_words

    try:
        with in_words(asked.part, "correct its `table` or `sql`, or make it in the warehouse"):
            return Answer(asked, columns_of(connection, asked.rows))
    except SourceError as error:
        return Answer(asked, None, _words(error))
    finally:
        # A statement that failed has ended its transaction; what follows begins another.
        connection.rollback()


def _words(error: AudienceSyncsError) -> str:
    return f"{error.message}; {error.remedy}" if error.remedy else error.message


def _current(
    folder: Path, recorded: RecordedColumns, everything: Sequence[Asked], answers: Sequence[Answer]
) -> RecordedColumns:
    """What a folder's record should be: the new answers, what was not asked or failed as it was, nothing of what is gone."""
    told = {answer.asked.part: dict(answer.columns) for answer in answers if answer.columns is not None}
    belongs = [asked.part for asked in everything if asked.folder == folder]
    return {part: told.get(part, recorded.get(part, {})) for part in belongs if part in told or part in recorded}


def _write(folder: Path, current: RecordedColumns) -> None:
    try:
        record_columns(folder, current)
    except OSError as error:
        raise DefinitionError(
            f"{shown_path(folder / FILE)} cannot be written: {error.strerror}",
            remedy="run the command where the definitions can be changed, in a clone of their repository, and commit "
            f"{FILE}; `audience-syncs columns --check` writes nothing",
        ) from None


def _print(answers: Sequence[Answer], changed: Sequence[tuple[Difference, Path]], *, check: bool) -> None:
    different = {found.part: found for found, _ in changed}
    for answer in answers:
        if answer.columns is None:
            typer.echo(f"{answer.asked.part}: failed: {answer.error}")
        elif answer.asked.part not in different:
            typer.echo(f"{answer.asked.part}: {len(answer.columns)} columns, unchanged")
    for found, _ in changed:
        for line in _lines(found):
            typer.echo(f"{found.part}: {line}")
    files = ", ".join(shown_path(folder / FILE) for folder in dict.fromkeys(folder for _, folder in changed))
    if files and check:
        typer.echo(f"The record is stale: {files}. What to do: run `audience-syncs columns`, and commit what it writes")
    elif files:
        typer.echo(f"Recorded: {files}. They belong in git")


def _lines(found: Difference) -> Iterator[str]:
    if found.is_new:
        yield f"{len(found.added)} columns, recorded for the first time"
    elif found.is_gone:
        yield "no longer defined"
    else:
        yield from (f"new column `{column}` ({kind})" for column, kind in found.added.items())
        yield from (f"column `{column}` ({kind}) is gone" for column, kind in found.removed.items())
        yield from (f"column `{column}` was {old}, is {new}" for column, (old, new) in found.retyped.items())


def _as_json(answers: Sequence[Answer], changed: Sequence[tuple[Difference, Path]]) -> list[dict[str, Any]]:
    different = {found.part: (found, folder) for found, folder in changed}
    rows = [
        _row(answer.asked.part, answer.asked.folder, answer, different.get(answer.asked.part)) for answer in answers
    ]
    asked = {answer.asked.part for answer in answers}
    return rows + [_row(part, found[1], None, found) for part, found in different.items() if part not in asked]


def _row(part: str, folder: Path, answer: Answer | None, found: tuple[Difference, Path] | None) -> dict[str, Any]:
    change = found[0] if found is not None else None
    failed = answer is not None and answer.columns is None
    return {
        "part": part,
        "file": str(folder / FILE),
        "status": "failed" if failed else "unchanged" if change is None else change.status,
        "columns": answer.columns if answer is not None else None,
        "new": change.added if change is not None else {},
        "gone": change.removed if change is not None else {},
        "changed": {name: list(kinds) for name, kinds in change.retyped.items()} if change is not None else {},
        "error": answer.error if answer is not None else "",
    }
