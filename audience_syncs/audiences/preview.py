"""A few rows of an audience, with personal data masked, for people to recognise what they have built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from audience_syncs.model.values import Column

PREVIEW_ROWS = 5


def masked_preview(
    connection: sa.Connection, table: sa.TableClause, columns: Sequence[Column], rows: int = PREVIEW_ROWS
) -> tuple[dict[str, str], ...]:
    """The first rows as text; values of personal columns and of free text keep only their shape."""
    found = connection.execute(sa.select(*(table.c[column.name] for column in columns)).limit(rows)).all()
    return tuple(
        {column.name: shown(value, column) for column, value in zip(columns, row, strict=True)} for row in found
    )


def shown(value: Any, column: Column) -> str:
    """One value as a person may see it: masked unless its column is not personal and it is a plain, short value."""
    if value is None:
        return "(null)"
    if column.personal or (isinstance(value, str) and ("@" in value or len(value) > 40)):
        return mask(value)
    return str(value)


def mask(value: Any) -> str:
    """``anna@example.com`` -> ``a***@***``; ``+49 151 234`` -> ``+***``; ``Ωmega`` -> ``Ω***``; a number -> ``***``."""
    if not isinstance(value, str):
        return "***"
    text = value.strip()
    if not text:
        return "(empty)"
    return f"{text[0]}***@***" if "@" in text else f"{text[0]}***"
