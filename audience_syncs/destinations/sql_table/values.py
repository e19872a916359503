"""From a member's fields, which are text, to the values a column takes; and back, for keys."""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa

from audience_syncs.destinations.sql_table.declaration import ColumnType
from audience_syncs.model.values import FieldValue

Convert = Callable[[FieldValue], Any]
"""Raises ValueError where the column does not take the value."""

_TRUE, _FALSE = {"true", "t", "yes", "1"}, {"false", "f", "no", "0"}

NEW_COLUMN: dict[ColumnType, sa.types.TypeEngine[Any]] = {
    ColumnType.TEXT: sa.Text(),
    ColumnType.INTEGER: sa.BigInteger(),
    ColumnType.NUMERIC: sa.Numeric().with_variant(sa.Numeric(38, 9), "mysql", "mariadb", "mssql"),
    ColumnType.FLOAT: sa.Float(53),
    ColumnType.BOOLEAN: sa.Boolean(),
    ColumnType.DATE: sa.Date(),
    ColumnType.TIMESTAMP: sa.DateTime(timezone=True),
    ColumnType.JSON: sa.JSON(),
}
"""Types of columns that we make."""

KEY_COLUMN = sa.Text().with_variant(sa.String(255), "mysql", "mariadb", "mssql", "oracle")
"""A key of a table that we make: some databases have no primary keys of unlimited text."""


def converter(column: sa.Column[Any]) -> Convert:
    """What makes the values of a column, by its type."""
    kind = column.type
    if isinstance(kind, sa.ARRAY):
        return lambda value: value if isinstance(value, list) else [value]
    if isinstance(kind, sa.JSON):
        return lambda value: value
    return _of_text(_plain(kind))


def key_text(value: Any) -> str:
    """A key out of the table, in the form in which it is sent."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def key_converter(column: sa.Column[Any]) -> Convert:
    """As ``converter``; a key that would not come back as it went in is refused: nobody would find it again."""
    convert = converter(column)

    def key(value: FieldValue) -> Any:
        converted = convert(value)
        if key_text(converted) != value:
            raise ValueError
        return converted

    return key


def _of_text(convert: Callable[[str], Any]) -> Convert:
    def one(value: FieldValue) -> Any:
        # Several values in a column that holds one.
        return convert(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))

    return one


def _plain(kind: sa.types.TypeEngine[Any]) -> Callable[[str], Any]:
    if isinstance(kind, sa.Integer):
        return int
    if isinstance(kind, sa.Float):
        return _finite
    if isinstance(kind, sa.Numeric):
        return _decimal
    if isinstance(kind, sa.Boolean):
        return _boolean
    if isinstance(kind, sa.DateTime):
        return _moment if kind.timezone else lambda text: _moment(text).astimezone(UTC).replace(tzinfo=None)
    if isinstance(kind, sa.Date):
        return lambda text: _moment(text).date() if len(text) > 10 else date.fromisoformat(text)
    if isinstance(kind, sa.Uuid):
        return uuid.UUID if kind.as_uuid else lambda text: str(uuid.UUID(text))
    return _text


def _text(text: str) -> str:
    # PostgreSQL's text has no room for it, and its driver's error would stop the batch.
    if "\0" in text:
        raise ValueError
    return text


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError
    return number


def _decimal(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError from None
    if not number.is_finite():
        raise ValueError
    return number


def _boolean(text: str) -> bool:
    word = text.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
