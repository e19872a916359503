"""What one comparison of a filter says about one value: the plain reading of ``audience_syncs.model.filters``, for tests.

Nothing here is shared with the compiler but how moments are written (``audience_syncs.model.moments``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

from audience_syncs.model.comparisons import Comparison
from audience_syncs.model.kinds import Kind
from audience_syncs.model.moments import Day, length, moment
from audience_syncs.model.row_filters import Window


@dataclass(frozen=True)
class Times:
    """Now, and the zones in which days begin and in which columns without a zone are read."""

    now: datetime
    zone: ZoneInfo
    """Of the filter: its days begin here."""
    wall: ZoneInfo
    """Of the model: columns without time zone hold its wall-clock time."""

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()

    def read(self, text: str) -> Day | datetime:
        return moment(text, self.now, self.zone)

    def as_column(self, instant: datetime, kind: Kind) -> datetime:
        """An instant as a column of that kind would hold it."""
        if kind is Kind.INSTANT:
            return instant
        assert kind is Kind.TIMESTAMP, f"an instant is not compared with {kind}"
        return instant.astimezone(self.wall).replace(tzinfo=None)

    def is_before(self, value: Any, text: str, kind: Kind) -> bool:
        bound = self.read(text)
        if isinstance(bound, Day):
            return bool(value < (bound.date if kind is Kind.DATE else self.as_column(bound.start(self.zone), kind)))
        return bool(value < self.as_column(bound, kind))

    def is_after(self, value: Any, text: str, kind: Kind) -> bool:
        bound = self.read(text)
        if isinstance(bound, Day):
            if kind is Kind.DATE:
                return bool(value > bound.date)
            return bool(value >= self.as_column(bound.end(self.zone), kind))
        return bool(value > self.as_column(bound, kind))

    def is_between(self, value: Any, low: str, high: str, kind: Kind) -> bool:
        """From the first moment of one to the last of the other."""
        return not self.is_before(value, low, kind) and not self.is_after(value, high, kind)

    def is_past(self, value: Any, kind: Kind) -> bool:
        """Before now; of days, today is one that has begun."""
        if kind is Kind.DATE:
            return bool(value <= self.today)
        return bool(value < self.as_column(self.now, kind))

    def in_last(self, value: Any, text: str, kind: Kind) -> bool:
        if kind is Kind.DATE:
            return bool(self.today - length(text) < value <= self.today)
        start = self.as_column(self.now - length(text), kind)
        return bool(start <= value < self.as_column(self.now, kind))

    def in_next(self, value: Any, text: str, kind: Kind) -> bool:
        if kind is Kind.DATE:
            return bool(self.today <= value < self.today + length(text))
        end = self.as_column(self.now + length(text), kind)
        return bool(self.as_column(self.now, kind) <= value < end)

    def in_window(self, value: Any, window: Window | None, kind: Kind | None) -> bool:
        if window is None:
            return True
        if value is None:
            return False
        assert kind is not None
        if isinstance(window, str):
            return self.in_last(value, window, kind)
        if window.from_ is not None and self.is_before(value, window.from_, kind):
            return False
        if window.to is None:
            return self.is_past(value, kind)
        if isinstance(self.read(window.to), Day):
            return not self.is_after(value, window.to, kind)
        return self.is_before(value, window.to, kind)

    def together(self, a: Any, a_kind: Kind, b: Any, b_kind: Kind) -> tuple[Any, Any]:
        """The times of two rows, comparable: of different kinds, both are read off the model's clock."""
        if a_kind is b_kind:
            return a, b
        return self.on_the_clock(a, a_kind), self.on_the_clock(b, b_kind)

    def on_the_clock(self, value: Any, kind: Kind) -> datetime:
        if kind is Kind.DATE:
            return datetime.combine(value, time())
        return self.as_column(value, Kind.TIMESTAMP) if kind is Kind.INSTANT else value  # type: ignore[no-any-return]


def holds(comparison: Comparison, value: Any, kind: Kind, times: Times) -> bool:
    """Whether a value meets a comparison."""
    operator, operand = comparison.operator, comparison.value
    if operator == "is_null":
        return (value is None) == operand
    if operator.startswith("not_"):
        return not _positive(operator.removeprefix("not_"), operand, value, kind, comparison.ignore_case, times)
    return _positive(operator, operand, value, kind, comparison.ignore_case, times)


def _positive(operator: str, operand: Any, value: Any, kind: Kind, ignore_case: bool, times: Times) -> bool:
    if value is None:
        return False
    if kind is Kind.TEXT:
        return _text(operator, operand, value, ignore_case)
    if kind.is_number:
        return _number(operator, operand, value)
    if kind is Kind.BOOLEAN:
        return _one_of(operator, operand, value)
    assert kind.is_time, f"{kind} is compared with nothing"
    return _time(operator, operand, value, kind, times)


def _one_of(operator: str, operand: Any, value: Any) -> bool:
    choices: Sequence[Any] = {"equals": [operand], "in": operand}[operator]
    return any(value == choice for choice in choices)


def _text(operator: str, operand: Any, value: str, ignore_case: bool) -> bool:
    if operator == "matches":
        return re.search(operand, value, re.IGNORECASE if ignore_case else 0) is not None
    if ignore_case:
        value = value.lower()
        operand = [one.lower() for one in operand] if isinstance(operand, list) else operand.lower()
    if operator == "contains":
        return operand in value
    if operator == "starts_with":
        return value.startswith(operand)
    if operator == "ends_with":
        return value.endswith(operand)
    return _one_of(operator, operand, value)


def _number(operator: str, operand: Any, value: Any) -> bool:
    found = exact(value)
    if operator == "between":
        low, high = operand
        return exact(low) <= found <= exact(high)
    if operator == "in":
        return any(found == exact(choice) for choice in operand)
    bound = exact(operand)
    return {
        "equals": found == bound,
        "greater_than": found > bound,
        "at_least": found >= bound,
        "less_than": found < bound,
        "at_most": found <= bound,
    }[operator]


def _time(operator: str, operand: Any, value: Any, kind: Kind, times: Times) -> bool:
    if operator == "between":
        return times.is_between(value, *operand, kind)
    if operator in ("equals", "in"):
        return value in [date.fromisoformat(day) for day in ([operand] if operator == "equals" else operand)]
    if operator == "on":
        return times.is_between(value, operand, operand, kind)
    question = {
        "before": times.is_before,
        "after": times.is_after,
        "in_last": times.in_last,
        "in_next": times.in_next,
    }[operator]
    return question(value, operand, kind)


def exact(number: int | float | Decimal | Fraction) -> Fraction:
    """A number as it is written: 19.99 is 1999 hundredths, whichever type holds it."""
    return number if isinstance(number, Fraction) else Fraction(str(number))


def at_most_apart(a: Any, b: Any, limit: timedelta | None) -> bool:
    return limit is None or abs(a - b) <= limit
