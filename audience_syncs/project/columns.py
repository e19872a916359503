"""Columns as the warehouse told them, recorded beside the definitions they belong to.

Definitions load without a warehouse, and filters are checked when they load: so `audience-syncs columns` asks the warehouse
and writes ``columns.json`` into the folder of a model's ``defs.yaml``. They belong in git; a change of the warehouse's
columns is a change of that file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from audience_syncs.model.schema import RecordedColumns
from audience_syncs.project.problems import Problem

FILE = "columns.json"
HOW_TO_RECORD = "run `audience-syncs columns`: it asks the warehouse, and records the columns beside the definitions"


def recorded_columns(folder: Path) -> tuple[RecordedColumns, list[Problem]]:
    """What is recorded in a folder, by part of a model (``ModelConfig.parts``) or name of an audience."""
    file = folder / FILE
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError) as error:
        line = getattr(error, "lineno", 1)
        return {}, [Problem(file, line, 1, "", "the record of columns cannot be read", HOW_TO_RECORD)]
    if not _is_record(found):
        return {}, [Problem(file, 1, 1, "", "this is no record of columns", HOW_TO_RECORD)]
    return found, []


def record_columns(folder: Path, columns: RecordedColumns) -> bool:
    """Writes the record of a folder, in a form whose changes read well in git; whether it differs from what was there.
    Without columns there is no record."""
    file = folder / FILE
    if not columns:
        there = file.is_file()
        file.unlink(missing_ok=True)
        return there
    text = json.dumps(dict(sorted(columns.items())), indent=2, ensure_ascii=False) + "\n"
    if file.is_file() and file.read_bytes() == text.encode():
        return False
    file.write_text(text, encoding="utf-8")
    return True


@dataclass(frozen=True, slots=True)
class Difference:
    """How the columns of one part differ from its record. By column, the warehouse's name of its type."""

    part: str
    added: dict[str, str]
    removed: dict[str, str]
    retyped: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Column -> its type as recorded, and as it is."""
    is_new: bool = False
    is_gone: bool = False

    @property
    def status(self) -> str:
        return "new" if self.is_new else "gone" if self.is_gone else "changed"


def difference(recorded: RecordedColumns, current: RecordedColumns) -> Iterator[Difference]:
    """What differs between a record and what it should be, part by part."""
    for part in dict.fromkeys([*recorded, *current]):
        before, now = recorded.get(part, {}), current.get(part, {})
        if part not in recorded or part not in current:
            yield Difference(part, now, before, is_new=part not in recorded, is_gone=part not in current)
            continue
        added = {column: kind for column, kind in now.items() if column not in before}
        removed = {column: kind for column, kind in before.items() if column not in now}
        retyped = {name: (before[name], now[name]) for name in before if name in now and before[name] != now[name]}
        if added or removed or retyped:
            yield Difference(part, added, removed, retyped)


def _is_record(found: object) -> bool:
    return isinstance(found, dict) and all(
        isinstance(columns, dict) and all(isinstance(kind, str) for kind in columns.values())
        for columns in found.values()
    )
