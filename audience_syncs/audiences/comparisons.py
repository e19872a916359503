"""One comparison as SQL: an operator on a column, by the kind of its values. See ``model.filters`` for what each means.

What is returned may be null where the column is, which counts as "does not hold"; negative operators are never null.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.sql import operators

from audience_syncs.model.comparisons import NEGATIVE, Comparison
from audience_syncs.model.kinds import Kind
from audience_syncs.model.moments import Day, length, moment
from audience_syncs.model.row_filters import Between
from audience_syncs.warehouse.expressions import Expressions, as_text

_PLAIN_TEXTS = ("text", "varchar", "character varying", "string")
"""Types of text that operators work on as they are; others (uuid, enums, citext, char with its blanks) are compared as their
text."""
_OWN_EQUALITY = ("uuid", "enum", "citext")
"""Types of text that no warehouse takes for equal to another type of text, or that are equal in a way of their own."""
_SINGLE_PRECISION = ("real", "float4", "float")

_ESCAPE = "/"

Column = sa.ColumnElement[Any]
Predicate = sa.ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class Value:
    """A column, a trait or a timestamp: what can be compared."""

    column: Column
    kind: Kind
    single: bool = False
    """A number of single precision: what it is compared with is one too, so that 0.1 is 0.1."""


def value_of(column: Column, kind: Kind, type_name: str) -> Value:
    """A recorded column; types with rules of their own are taken as plain texts and numbers."""
    name = _bare(type_name)
    if kind is Kind.TEXT and name not in _PLAIN_TEXTS:
        return Value(as_text(column), kind)
    if name == "money":
        return Value(sa.cast(column, sa.Numeric()), kind)
    return Value(column, kind, name in _SINGLE_PRECISION)


def equal(one: Column, its_type: str, other: Column, other_type: str) -> Predicate:
    """Whether two columns of these types are equal: a uuid and a text, where their texts are."""
    if not is_equal_as_it_is(its_type, other_type):
        one, other = as_text(one), as_text(other)
    return one == other


def is_equal_as_it_is(one: str, other: str) -> bool:
    """Whether a warehouse compares columns of two types without a word about how."""
    names = {_bare(one), _bare(other)}
    # Two enums may be different ones.
    return names.isdisjoint(_OWN_EQUALITY) or (len(names) == 1 and "enum" not in names)


def _bare(type_name: str) -> str:
    return type_name.partition("(")[0].strip().lower()


def not_(predicate: Predicate) -> Predicate:
    """Holds exactly where the other does not, also where that is null."""
    if getattr(predicate, "operator", None) in (operators.is_, operators.is_not):
        return sa.not_(predicate)  # it is never null, and a warehouse sees what it can do with it
    return sa.not_(sa.func.coalesce(predicate, sa.false()))


@dataclass(frozen=True, slots=True)
class Clock:
    """The moment that counts as now, where days begin, and the zone of columns without one."""

    now: datetime
    zone: ZoneInfo
    columns_zone: ZoneInfo

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()

    def read(self, text: str) -> Day | datetime:
        return moment(text, self.now, self.zone)

    def start(self, found: Day | datetime) -> datetime:
        return found.start(self.zone) if isinstance(found, Day) else found

    def literal(self, instant: datetime, kind: Kind) -> Column:
        """An instant as it is compared with columns of that kind."""
        if kind is Kind.TIMESTAMP:
            return sa.literal(instant.astimezone(self.columns_zone).replace(tzinfo=None), sa.DateTime())
        return sa.literal(instant.astimezone(UTC), sa.DateTime(timezone=True))

    def is_past(self, value: Value) -> Predicate:
        """Before now; of dates, up to today."""
        if value.kind is Kind.DATE:
            return value.column <= sa.literal(self.today, sa.Date())
        return value.column < self.literal(self.now, value.kind)


class Comparisons:
    """Compiles comparisons for one warehouse at one moment."""

    def __init__(self, expressions: Expressions, clock: Clock) -> None:
        self._expressions = expressions
        self.clock = clock

    def holds(self, value: Value, comparison: Comparison) -> Predicate:
        """The comparison as a predicate."""
        operator = comparison.operator
        wanted = comparison.value_of(operator)
        if operator == "is_null":
            return value.column.is_(None) if wanted else value.column.is_not(None)
        positive = NEGATIVE.get(operator)
        if positive is not None:
            return not_(self._positive(value, positive, wanted, comparison.ignore_case))
        return self._positive(value, operator, wanted, comparison.ignore_case)

    def within(self, value: Value, window: str | Between) -> Predicate:
        """Whether a row's time is in a window."""
        if isinstance(window, str):
            return self._in_last(value, window)
        parts = []
        if window.from_ is not None:
            parts.append(self._not_before(value, self.clock.read(window.from_)))
        if window.to is None:
            parts.append(self.clock.is_past(value))
        else:
            end = self.clock.read(window.to)
            # Of an instant, the end is not part of the window.
            parts.append(self._up_to(value, end) if isinstance(end, Day) else self._before(value, end))
        return sa.and_(*parts)

    def _positive(self, value: Value, operator: str, wanted: Any, ignore_case: bool) -> Predicate:
        if operator in ("equals", "in"):
            several = wanted if operator == "in" else [wanted]
            return self._one_of(value, several, ignore_case)
        if operator in ("contains", "starts_with", "ends_with", "matches"):
            return self._about_text(value.column, operator, wanted, ignore_case)
        if operator == "between":
            return self._between(value, *wanted)
        if operator in ("greater_than", "at_least", "less_than", "at_most"):
            number = _number(value, wanted)
            return {
                "greater_than": value.column > number,
                "at_least": value.column >= number,
                "less_than": value.column < number,
                "at_most": value.column <= number,
            }[operator]
        if operator == "in_last":
            return self._in_last(value, wanted)
        if operator == "in_next":
            return self._in_next(value, wanted)
        found = self.clock.read(wanted)
        if operator == "before":
            return self._before(value, found)
        if operator == "after":
            return sa.not_(self._up_to(value, found))
        return sa.and_(self._not_before(value, found), self._up_to(value, found))

    def _one_of(self, value: Value, wanted: list[Any], ignore_case: bool) -> Predicate:
        if value.kind is Kind.BOOLEAN:
            return sa.or_(*(value.column.is_(sa.true() if flag else sa.false()) for flag in wanted))
        literals = [self._literal(value, one) for one in wanted]
        column = value.column
        if ignore_case and value.kind is Kind.TEXT:
            column, literals = sa.func.lower(column), [sa.func.lower(one) for one in literals]
        return column == literals[0] if len(literals) == 1 else column.in_(literals)

    def _literal(self, value: Value, wanted: Any) -> Column:
        kind = value.kind
        if kind is Kind.DATE:
            found = self.clock.read(str(wanted))
            day = found.date if isinstance(found, Day) else found.astimezone(self.clock.zone).date()
            return sa.literal(day, sa.Date())
        if kind.is_time:
            return self.clock.literal(self.clock.start(self.clock.read(str(wanted))), kind)
        if kind.is_number:
            return _number(value, wanted)
        return sa.literal(str(wanted), sa.Text())

    def _about_text(self, column: Column, operator: str, wanted: str, ignore_case: bool) -> Predicate:
        if operator == "matches":
            return self._expressions.matches(column, wanted, ignore_case=ignore_case)
        escaped = re.sub(f"([%_{_ESCAPE}])", rf"{_ESCAPE}\1", wanted)
        before, after = "" if operator == "starts_with" else "%", "" if operator == "ends_with" else "%"
        pattern: Column = sa.literal(f"{before}{escaped}{after}", sa.Text())
        if ignore_case:
            # Both by the warehouse, whose small letters are not always Python's.
            column, pattern = sa.func.lower(column), sa.func.lower(pattern)
        return column.like(pattern, escape=_ESCAPE)

    def _between(self, value: Value, low: Any, high: Any) -> Predicate:
        if not isinstance(low, str):
            return sa.and_(value.column >= _number(value, low), value.column <= _number(value, high))
        return sa.and_(self._not_before(value, self.clock.read(low)), self._up_to(value, self.clock.read(high)))

    # Times: a day is as long as it is, an instant is one ------------------------------------------------------------

    def _before(self, value: Value, found: Day | datetime) -> Predicate:
        if value.kind is Kind.DATE:
            return value.column < self._day(found)
        return value.column < self.clock.literal(self.clock.start(found), value.kind)

    def _not_before(self, value: Value, found: Day | datetime) -> Predicate:
        if value.kind is Kind.DATE:
            return value.column >= self._day(found)
        return value.column >= self.clock.literal(self.clock.start(found), value.kind)

    def _up_to(self, value: Value, found: Day | datetime) -> Predicate:
        """Not later than a day or an instant, itself included."""
        if value.kind is Kind.DATE:
            return value.column <= self._day(found)
        if isinstance(found, Day):
            return value.column < self.clock.literal(found.end(self.clock.zone), value.kind)
        return value.column <= self.clock.literal(found, value.kind)

    def _in_last(self, value: Value, text: str) -> Predicate:
        span = length(text)
        if value.kind is Kind.DATE:
            first = sa.literal(self.clock.today - span, sa.Date())
            return sa.and_(value.column > first, self.clock.is_past(value))
        begin = self.clock.literal(self.clock.now - span, value.kind)
        return sa.and_(value.column >= begin, self.clock.is_past(value))

    def _in_next(self, value: Value, text: str) -> Predicate:
        span = length(text)
        if value.kind is Kind.DATE:
            today = self.clock.today
            return sa.and_(
                value.column >= sa.literal(today, sa.Date()), value.column < sa.literal(today + span, sa.Date())
            )
        now = self.clock.now
        return sa.and_(
            value.column >= self.clock.literal(now, value.kind),
            value.column < self.clock.literal(now + span, value.kind),
        )

    def _day(self, found: Day | datetime) -> Column:
        day = found.date if isinstance(found, Day) else found.astimezone(self.clock.zone).date()
        return sa.literal(day, sa.Date())


def _number(value: Value, wanted: int | float) -> Column:
    """A number as it was written: 0.1 is a tenth, not the nearest binary fraction."""
    if isinstance(wanted, float):
        number: Column = sa.literal(Decimal(repr(wanted)), sa.Numeric(asdecimal=True))
    else:
        number = sa.literal(wanted, sa.BigInteger() if -(2**63) <= wanted < 2**63 else sa.Numeric())
    return sa.cast(number, sa.REAL()) if value.single else number


def interval(span: timedelta) -> Column:
    """An absolute length. In seconds: a day of an interval has the hours that it has in the session's time zone."""
    seconds = span // timedelta(seconds=1)
    return sa.cast(sa.literal(f"{seconds} seconds", sa.Text()), sa.Interval())
