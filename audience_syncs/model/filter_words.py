"""Conditions in words, for people who look at an audience: in the SQL, in its funnel, on its page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audience_syncs.model.comparisons import Comparison
from audience_syncs.model.filters import (
    AllOf,
    AnyOf,
    Did,
    DidNot,
    Has,
    HasNo,
    InAudience,
    InSequence,
    NoneOf,
    NotInAudience,
    Sample,
    Step,
    Top,
    TraitCondition,
)
from audience_syncs.model.row_filters import (
    AllRows,
    Anchor,
    AnyRows,
    Between,
    Count,
    NoneRows,
    PropertyCondition,
    row_conditions,
)
from audience_syncs.model.strict import Config

_OPERATORS = {
    "equals": "is",
    "not_equals": "is not",
    "in": "is one of",
    "not_in": "is none of",
    "contains": "contains",
    "not_contains": "does not contain",
    "starts_with": "starts with",
    "ends_with": "ends with",
    "matches": "matches",
    "not_matches": "does not match",
    "greater_than": "is more than",
    "at_least": "is at least",
    "less_than": "is less than",
    "at_most": "is at most",
    "between": "is between",
    "not_between": "is not between",
    "before": "is before",
    "after": "is after",
    "on": "is on",
    "in_last": "is in the last",
    "not_in_last": "is not in the last",
    "in_next": "is in the next",
}


def in_words(condition: Config) -> str:
    """A condition in one line: ``did cart_adds where category is Headphones, in the last 7 days``."""
    if isinstance(condition, (AllOf, AllRows)):
        return _joined(condition.all, " and ")
    if isinstance(condition, (AnyOf, AnyRows)):
        return _joined(condition.any, " or ")
    if isinstance(condition, (NoneOf, NoneRows)):
        return f"none of: {_joined(condition.none, '; ')}"
    if isinstance(condition, PropertyCondition):
        return f"{condition.property} {_compared(condition)}"
    if isinstance(condition, TraitCondition):
        return f"{condition.trait} {_compared(condition)}"
    if isinstance(condition, InAudience):
        return f"is in the audience {condition.in_audience}"
    if isinstance(condition, NotInAudience):
        return f"is not in the audience {condition.not_in_audience}"
    if isinstance(condition, Top):
        return _top(condition)
    if isinstance(condition, Sample):
        seed = f", seed {condition.sample.seed}" if condition.sample.seed else ""
        return f"is in a random sample of {condition.sample.percent:g} percent{seed}"
    if isinstance(condition, InSequence):
        steps = ", then ".join(_step(step) for step in condition.sequence)
        return f"did {steps}{_window(condition.within)}"
    assert isinstance(condition, (Did, DidNot, Has, HasNo))
    return _rows(condition)


def reasons(condition: Config) -> list[str]:
    """A filter in lines: one for each condition that must hold."""
    return [in_words(one) for one in condition.all] if isinstance(condition, AllOf) else [in_words(condition)]


def _joined(conditions: Sequence[Any], word: str) -> str:
    several = len(conditions) > 1
    return word.join(f"({in_words(one)})" if several and _is_group(one) else in_words(one) for one in conditions)


def _is_group(condition: Config) -> bool:
    return isinstance(condition, (AllOf, AnyOf, NoneOf, AllRows, AnyRows, NoneRows))


def _compared(comparison: Comparison) -> str:
    if comparison.operator == "is_null":
        return "has no value" if comparison.value else "has a value"
    value = comparison.value
    shown = " and ".join(str(one) for one in value) if isinstance(value, tuple) else _shown(value)
    case = ", whatever its capitals" if comparison.ignore_case else ""
    return f"{_OPERATORS[comparison.operator]} {shown}{case}"


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_shown(one) for one in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _rows(condition: Did | DidNot | Has | HasNo) -> str:
    if isinstance(condition, (Did, Has)):
        name = condition.did if isinstance(condition, Did) else condition.has
        verb = "did" if isinstance(condition, Did) else "has"
        text = f"{verb} {name}{_count(condition.count)}"
    elif isinstance(condition, DidNot):
        text = f"did not do {condition.did_not}"
    else:
        text = f"has no {condition.has_no}"
    text += _where(condition.where) + _window(condition.within)
    if isinstance(condition, (Did, DidNot)):
        text += "".join(_anchor(relation, anchor) for relation, anchor in condition.anchors.items())
    return text


def _count(count: Count | None) -> str:
    if count is None:
        return ""
    if count.exactly is not None:
        return f" exactly {count.exactly} times"
    least, most = count.bounds
    if most is None:
        return f" at least {least} times"
    return f" {least} to {most} times" if least else f" at most {most} times"


def _where(where: Any) -> str:
    if where is None:
        return ""
    return f" where {_joined(row_conditions(where), ' and ')}"


def _window(window: str | Between | None) -> str:
    if window is None:
        return ""
    if isinstance(window, str):
        return f", in the last {window}"
    begin = f" from {window.from_}" if window.from_ is not None else ""
    return f",{begin} until {window.to if window.to is not None else 'now'}"


def _anchor(relation: str, anchor: Anchor) -> str:
    which = f"{'any' if anchor.pick == 'any' else f'the {anchor.pick}'} {anchor.event}"
    apart = f", at most {anchor.at_most_apart} apart" if anchor.at_most_apart is not None else ""
    return f", {relation} {which}{_where(anchor.where)}{_window(anchor.within)}{apart}"


def _step(step: Step) -> str:
    after = f" within {step.within_after}" if step.within_after is not None else ""
    return f"{step.did}{_where(step.where)}{after}"


def _top(condition: Top) -> str:
    rank = condition.top
    size = f"{rank.count:,}" if rank.count is not None else f"{rank.percent:g} percent"
    order = "lowest" if rank.lowest else "highest"
    among = f" among those who meet: {in_words(rank.among)}" if rank.among is not None else ""
    return f"is one of the {size} with the {order} {rank.by}{among}"
