"""Whether a comparison fits what it compares: each operator has kinds of columns, and each kind has its values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from audience_syncs.model.comparisons import ORDER_OPERATORS, TEXT_OPERATORS, TIME_OPERATORS, Comparison
from audience_syncs.model.kinds import Kind
from audience_syncs.model.moments import is_day, length
from audience_syncs.project.problems import Problem, YamlPath
from audience_syncs.project.yaml_documents import Document

_DAYS = "write a day: `2026-11-01`, `today`, `7 days ago`"


def check_comparison(
    document: Document, path: YamlPath, comparison: Comparison, subject: str, kind: Kind, words: str
) -> Iterator[Problem]:
    """What is wrong with the operator and the value of the comparison at ``path``. ``subject``: the column or trait;
    ``words``: what it holds, in words."""
    operator = comparison.operator
    value = comparison.value_of(operator)
    at = (*path, operator)
    misfit = _misfit(operator, value, kind)
    if misfit is not None:
        message = f"`{operator}` does not fit: `{subject}` is {words}"
        yield document.problem(at, message, misfit, of_key=True)
    elif operator in ("equals", "not_equals"):
        yield from check_values(document, at, [value], subject, kind, words)
    elif operator in ("in", "not_in"):
        yield from check_values(document, at, value, subject, kind, words, listed=True)
    elif kind is Kind.DATE:
        yield from _check_days(document, at, operator, value, subject)
    if comparison.ignore_case and kind is not Kind.TEXT:
        message = f"`ignore_case` is about texts: `{subject}` is {words}"
        yield document.problem((*path, "ignore_case"), message, "remove it", of_key=True)


def check_values(
    document: Document,
    path: YamlPath,
    values: Iterable[Any],
    subject: str,
    kind: Kind,
    words: str,
    *,
    listed: bool = False,
) -> Iterator[Problem]:
    """Values that a column is to be equal to, and never can be. ``listed``: each has a place of its own below the path."""
    for number, value in enumerate(values):
        at = (*path, number) if listed else path
        found = value_misfit(value, kind, document.written(at))
        if found is not None:
            message, remedy = found
            yield document.problem(at, f"`{subject}` is {words}, and this is {message}", remedy)


def _misfit(operator: str, value: Any, kind: Kind) -> str | None:
    """What to do where an operator is of no use for a kind; None where it is."""
    if operator == "is_null":
        return None
    if kind in (Kind.OTHER, Kind.ARRAY):
        return "of such a column only `is_null` can be asked; take what you need of it into a column of the model's SQL"
    if operator in TEXT_OPERATORS:
        return None if kind is Kind.TEXT else f"it is for texts; {_instead(kind)}"
    if operator in ORDER_OPERATORS:
        return None if kind.is_number else f"it is for numbers; {_instead(kind)}"
    if operator in TIME_OPERATORS:
        return None if kind.is_time else f"it is for dates and times; {_instead(kind)}"
    if operator in ("between", "not_between"):
        if not (kind.is_number or kind.is_time):
            return f"it is for numbers, dates and times; {_instead(kind)}"
        if isinstance(value[0], str) is kind.is_number:
            return "give two numbers, without quotes" if kind.is_number else f"give two moments; {_DAYS}"
        return None
    # equals, not_equals, in, not_in
    if kind in (Kind.TIMESTAMP, Kind.INSTANT):
        return "a time is hardly ever equal to another; use `on` for a day, `before`, `after`, `between` or `in_last`"
    return None


def _instead(kind: Kind) -> str:
    if kind.is_number:
        return "use `equals`, `in`, `at_least`, `at_most`, `greater_than`, `less_than` or `between`"
    if kind.is_time:
        return "use `on`, `before`, `after`, `between`, `in_last` or `in_next`"
    if kind is Kind.BOOLEAN:
        return "use `equals: true` or `equals: false`"
    return (
        "use `equals`, `in`, `contains`, `starts_with` or `matches`; or make a column of another type of it, in the "
        "model's SQL"
    )


def value_misfit(value: Any, kind: Kind, written: str = "") -> tuple[str, str] | None:
    """What a value is, and what to do, where no column of a kind is ever equal to it. ``written``: as it stands in the YAML."""
    if kind is Kind.TEXT:
        if isinstance(value, str):
            return ("a text with a NUL in it", "remove the `\\0`; no text has one") if "\0" in value else None
        if isinstance(value, bool):
            read = f"true or false, as YAML reads `{written}`" if written else "true or false"
            return read, f'put quotes around it: `"{written or str(value).lower()}"`'
        # A number may be somebody's: it is not repeated.
        return "a number", "put quotes around it"
    if kind.is_number:
        return _number_misfit(value, kind)
    if kind is Kind.BOOLEAN:
        if isinstance(value, bool):
            return None
        quoted = isinstance(value, str) and value.lower() in ("true", "false")
        remedy = f"remove the quotes: `{str(value).lower()}`" if quoted else "write `true` or `false`"
        return ("text" if isinstance(value, str) else "a number"), remedy
    if kind is Kind.DATE:
        return _date_misfit(value)
    return "nothing it could be equal to", "only `is_null` can be asked of it"


def _number_misfit(value: Any, kind: Kind) -> tuple[str, str] | None:
    if isinstance(value, bool):
        return "true or false", "write a number"
    if isinstance(value, str):
        return "text", "remove the quotes" if _is_number(value) else "write a number"
    if not math.isfinite(value):
        return "not finite", "write a number"
    if kind is Kind.INTEGER and value != int(value):
        return "a fraction, which it never equals", "write a whole number, or compare with `at_least`, `at_most`"
    return None


def _date_misfit(value: Any) -> tuple[str, str] | None:
    if not isinstance(value, str):
        return ("true or false" if isinstance(value, bool) else "a number"), "write a day: `2026-11-01`"
    try:
        day = is_day(value)
    except ValueError:
        return "no day", "write a day: `2026-11-01`"
    if day and value[:1].isdigit() and value.count("-") == 2:
        return None
    return ("a day that moves" if day else "a moment"), "write `on: ...` for such a day; `equals` takes `2026-11-01`"


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _check_days(document: Document, at: YamlPath, operator: str, value: Any, subject: str) -> Iterator[Problem]:
    """A date has no hours: it is compared with days, and with lengths of whole days."""
    if operator in ("in_last", "not_in_last", "in_next"):
        if length(value) % timedelta(days=1):
            yield document.problem(at, f"`{subject}` is a date, and has no hours", "write whole days: `7 days`")
        return
    texts = value if isinstance(value, tuple) else (value,)
    for number, text in enumerate(texts):
        if isinstance(text, str) and not is_day(text):
            place = (*at, number) if isinstance(value, tuple) else at
            yield document.problem(place, f"`{subject}` is a date, and this is a moment of a day", _DAYS)
            return  # of two, both are moments
