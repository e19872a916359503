"""What a mapping's ``cast`` makes of a value: exactly that, or nothing with a reason. Nothing is guessed.

Text is read as ISO 8601 and plain numbers; empty text is ``EMPTY``, as for every rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from audience_syncs.identifiers import UnusableIdentifier
from audience_syncs.identifiers.plain import free_text
from audience_syncs.identifiers.text import as_text
from audience_syncs.model.mapping import Cast

_WORDS = {
    **dict.fromkeys(("true", "t", "yes", "y", "on", "1"), True),
    **dict.fromkeys(("false", "f", "no", "n", "off", "0"), False),
}
_DIGITS = 60
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)


def _number(value: Any, code: str, name: str) -> Decimal:
    text = as_text(value)
    refused = UnusableIdentifier(code, f"is not {name}")
    if isinstance(value, bool):
        return Decimal(int(value))
    if _NUMBER.fullmatch(text) is None:
        raise refused
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise refused from None
    if number and not -_DIGITS <= number.adjusted() <= _DIGITS:
        raise UnusableIdentifier("TOO_LONG", f"is a number of more than {_DIGITS} digits")
    return number


def _integer(value: Any) -> int:
    number = _number(value, "NOT_AN_INTEGER", "a whole number")
    if number != number.to_integral_value():
        raise UnusableIdentifier("NOT_AN_INTEGER", "is not a whole number")
    return int(number)


def _boolean(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = _WORDS.get(as_text(value).lower())
    if found is None:
        raise UnusableIdentifier("NOT_A_BOOLEAN", "is neither true nor false")
    return found


def _date(value: Any) -> date:
    if isinstance(value, datetime):
        return value.date()
    return value if isinstance(value, date) else _moment(value, "NOT_A_DATE", "a date, such as 2026-07-31").date()


def _datetime(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    return _moment(value, "NOT_A_DATETIME", "a time, such as 2026-07-31T12:30:00Z")


def _moment(value: Any, code: str, name: str) -> datetime:
    text = as_text(value)
    if not isinstance(value, str):
        raise UnusableIdentifier(code, f"is not {name}")
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise UnusableIdentifier(code, f"is not {name}") from None


CASTS: Mapping[Cast, Callable[[Any], Any]] = {
    Cast.TEXT: free_text,
    Cast.INTEGER: _integer,
    Cast.NUMBER: lambda value: _number(value, "NOT_A_NUMBER", "a number"),
    Cast.BOOLEAN: _boolean,
    Cast.DATE: _date,
    Cast.DATETIME: _datetime,
}
"""Each raises UnusableIdentifier."""
