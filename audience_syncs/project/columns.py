"""Columns as the warehouse told them, recorded beside the definitions they belong to.

Definitions load without a warehouse, and filters are checked when they load: so `audience-syncs columns` asks the warehouse
and writes ``columns.json`` into the folder of a model's ``defs.yaml``. It belongs into git; a change of the warehouse's
columns is a change of that file.
"""

from __future__ import annotations

import json
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
    """Writes the record of a folder, in a form whose changes read well in git; whether it differs from what was there."""
    file = folder / FILE
    text = json.dumps(dict(sorted(columns.items())), indent=2, ensure_ascii=False) + "\n"
    if file.is_file() and file.read_text(encoding="utf-8") == text:
        return False
    file.write_text(text, encoding="utf-8")
    return True


def _is_record(found: object) -> bool:
    return isinstance(found, dict) and all(
        isinstance(columns, dict) and all(isinstance(kind, str) for kind in columns.values())
        for columns in found.values()
    )
