"""Where a new definition goes, and what is wrong with it once it is there. Nothing that exists is ever overwritten."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audience_syncs.model.errors import DefinitionError
from audience_syncs.project.load import load_project
from audience_syncs.project.problems import Problem, shown_path
from audience_syncs.project.schemas import SCHEMAS_DIR


def place(file: Path, text: str) -> None:
    """Writes a new file, with its folder. DefinitionError where there is one already, also under Dagster's other name."""
    for taken in (file, file.with_suffix(".yml")):
        if taken.exists():
            raise DefinitionError(
                f"{shown_path(taken)} is there already", remedy="take another name, or change that file"
            )
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("x", encoding="utf-8") as stream:
        stream.write(text)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a new definition: its mistakes, and what only the warehouse's columns can put right."""

    mistakes: Sequence[Problem]
    by_columns: Sequence[Problem]
    """Mostly that its columns are not recorded yet, which `audience-syncs columns` does."""


def problems_of(file: Path, defs: Path) -> Findings:
    """What is wrong with one file of a project."""
    mistakes = [problem for problem in load_project(defs, with_columns=False).problems if problem.file == file]
    every = [problem for problem in load_project(defs).problems if problem.file == file]
    return Findings(mistakes, [problem for problem in every if problem not in mistakes])


def schema_address(kind: str, file: Path) -> str:
    """Where an editor finds the schema of a kind, seen from the file."""
    return Path(os.path.relpath(SCHEMAS_DIR / f"{kind.lower()}.json", file.parent)).as_posix()
