"""Values of a mapping that are made of a row: templates, objects, casts, defaults and lists out of text.

Compiled once per run. Plain columns and constants do not come here: they are most of what is mapped, and cost nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

from audience_syncs.engine.casts import CASTS
from audience_syncs.identifiers import UnusableIdentifier
from audience_syncs.identifiers.plain import free_text
from audience_syncs.model.mapping import MappedField
from audience_syncs.model.row_templates import RowTemplate, TemplateFailed

Row = Sequence[Any]
Make = Callable[[Row], Any]
"""The value for a row: None where it is null. Raises UnusableIdentifier."""
_LARGEST = 2**63
_DEEPEST = 8
_MOST_ITEMS = 1_000


def maker(mapped: MappedField, position: Callable[[str], int]) -> Make | None:
    """What makes the field's value; None for a plain column or constant. ``position``: where a column's value is in a row."""
    options = (mapped.default, mapped.split, mapped.cast)
    if mapped.object is not None:
        return _object(mapped.object, position)
    if mapped.template is None and options == (None, None, None):
        return None
    read = _column(position(mapped.column)) if mapped.column is not None else _template(mapped.template or "", position)
    return _changed(read, mapped)


def _column(place: int) -> Make:
    return lambda row: row[place]


def _template(source: str, position: Callable[[str], int]) -> Make:
    template = RowTemplate(source)
    places = [(name, position(name)) for name in template.columns]

    def made(row: Row) -> str | None:
        try:
            return template({name: row[place] for name, place in places})
        except TemplateFailed as failed:
            raise UnusableIdentifier(failed.code, failed.reason) from None

    return made


def _changed(read: Make, mapped: MappedField) -> Make:
    """``default``, then ``split``, then ``cast``."""
    default, split = mapped.default, mapped.split
    cast = None if mapped.cast is None else CASTS[mapped.cast]

    def made(row: Row) -> Any:
        value = read(row)
        if value is None:
            value = default
        if value is None:
            return None
        if split is not None:
            value = _parts(value, split)
        if cast is None:
            return value
        if isinstance(value, (list, tuple)):
            return [cast(each) for each in value if each is not None]
        return cast(value)

    return made


def _parts(value: Any, separator: str) -> list[Any]:
    """Parts of a text, without white space around them and without empty ones; a list stays one."""
    if isinstance(value, (list, tuple)):
        return list(value)
    return [part.strip() for part in free_text(value).split(separator) if part.strip()]


def _object(parts: Mapping[str, MappedField], position: Callable[[str], int]) -> Make:
    made_of = [(name, _within(part, position)) for name, part in parts.items()]

    def made(row: Row) -> dict[str, Any] | None:
        found = {name: value for name, make in made_of if (value := make(row)) is not None}
        return found or None

    return made


def _within(part: MappedField, position: Callable[[str], int]) -> Make:
    if part.constant is not None:
        return lambda _: part.constant
    make = maker(part, position)
    if make is None:
        make = _column(position(part.column or ""))
    return partial(_as_json, make)


def _as_json(make: Make, row: Row) -> Any:
    try:
        return json_value(make(row))
    except UnusableIdentifier as unusable:
        if unusable.reason_code == "EMPTY":
            return None
        raise


def json_value(value: Any, depth: int = 0) -> Any:
    """A value within an object, as JSON has it: numbers and booleans stay what they are, all else is text or made of it."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and -_LARGEST <= value < _LARGEST:
        return value
    if isinstance(value, (float, Decimal)):
        return _json_number(value)
    if isinstance(value, (str, int, date, uuid.UUID)):
        return free_text(value)
    if isinstance(value, (list, tuple, Mapping)):
        if depth >= _DEEPEST or len(value) > _MOST_ITEMS:
            raise UnusableIdentifier(
                "TOO_LONG", f"holds more than {_MOST_ITEMS:,} values, or {_DEEPEST} objects in objects"
            )
        if isinstance(value, Mapping):
            return {free_text(name): json_value(each, depth + 1) for name, each in value.items()}
        return [json_value(each, depth + 1) for each in value]
    raise UnusableIdentifier("WRONG_TYPE", f"is of the type {type(value).__name__}, which JSON has not")


def _json_number(value: float | Decimal) -> int | float | str:
    """A number that JSON's readers would not give back as it is, goes as text."""
    text = free_text(value)  # refuses what is no number
    number = Decimal(text)
    if number == number.to_integral_value() and abs(number) < 2**53:
        return int(number)
    return float(number) if Decimal(repr(float(number))) == number else text
