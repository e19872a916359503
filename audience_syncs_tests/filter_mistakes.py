"""Mistakes that a compiler of filters typically makes, to see that the comparison notices each of them.

A mistake is said as another audience: what the compiler would have answered for. Only the compiler is given that one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from audience_syncs.model.config import AudienceConfig

Node = dict[str, Any]
Mistake = Callable[[Node], Node]


def _nulls_are_not_unequal(node: Node) -> Node:
    if "not_equals" not in node:
        return node
    subject = {key: node[key] for key in ("property", "trait") if key in node}
    return {"all": [node, {**subject, "is_null": False}]}


def _strict_bounds(node: Node) -> Node:
    return _renamed(node, "at_least", "greater_than") if "property" in node or "trait" in node else node


def _no_rows_are_not_few(node: Node) -> Node:
    """Counts rows with a join, so that who has none is not there to be counted."""
    count = node.get("count")
    most = count.get("at_most") if isinstance(count, dict) else None
    return {**node, "count": {"at_least": 1, "at_most": most}} if most else node


def _none_is_not_all(node: Node) -> Node:
    return {"none": [{"all": node["none"]}]} if len(node.get("none", ())) > 1 else node


def _never_did_since(node: Node) -> Node:
    """Forgets what the event that did not happen should have followed."""
    if "did_not" not in node:
        return node
    return {key: value for key, value in node.items() if key not in ("since", "after", "until", "before")}


def _day_begins_but_never_ends(node: Node) -> Node:
    """Takes a day for its first moment: later than a day includes most of it, as later than the day before would."""
    after = node.get("after")
    if not isinstance(after, str):
        return node
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", after):
        return {**node, "after": str(date.fromisoformat(after) - timedelta(days=1))}
    return {**node, "after": {"tomorrow": "today", "today": "yesterday", "yesterday": "2 days ago"}.get(after, after)}


def _without(key: str) -> Mistake:
    return lambda node: {name: value for name, value in node.items() if name != key}


def _renaming(old: str, new: str) -> Mistake:
    return lambda node: _renamed(node, old, new)


def _renamed(node: Node, old: str, new: str) -> Node:
    return {new if key == old else key: value for key, value in node.items()}


MISTAKES: dict[str, Mistake] = {
    "not_equals drops nulls": _nulls_are_not_unequal,
    "at_least is strict": _strict_bounds,
    "at_most leaves out who has no rows": _no_rows_are_not_few,
    "none is read as not all": _none_is_not_all,
    "did_not forgets its anchor": _never_did_since,
    "after a day is after it began": _day_begins_but_never_ends,
    "days begin in the model's zone": _without("timezone"),
    "case counts": _without("ignore_case"),
    "steps may be any time apart": _without("within_after"),
    "anchors may be any time apart": _without("at_most_apart"),
    "since is strict": _renaming("since", "after"),
    "the lowest are the highest": _without("lowest"),
    "all are ranked": _without("among"),
    "the first is the last": _renaming("first", "last"),
    "the last is any": _renaming("last", "any"),
    "every row counts": _without("where"),
    "every time counts": _without("within"),
    "each seed is the same": _without("seed"),
    "is null is the contrary": lambda node: {**node, "is_null": not node["is_null"]} if "is_null" in node else node,
}


def with_mistake(audience: AudienceConfig, mistake: Mistake) -> AudienceConfig:
    """The audience as one with the mistake reads it; itself where the mistake does not matter."""
    given = written(audience)
    wrong = _everywhere(given, mistake)
    if wrong == given:
        return audience
    read = AudienceConfig.model_validate(wrong)
    return read.resolved(
        audience.refers_to, source=audience.source, primary_key=audience.primary_key, personal=audience.personal
    )


def written(audience: AudienceConfig) -> Node:
    """An audience as it stands in YAML."""
    keys = {"name", "model", "timezone", "filter", "columns"}
    return audience.model_dump(mode="json", by_alias=True, exclude_unset=True, include=keys)


def _everywhere(value: Any, mistake: Mistake) -> Any:
    if isinstance(value, list):
        return [_everywhere(one, mistake) for one in value]
    if not isinstance(value, dict):
        return value
    return mistake({key: _everywhere(one, mistake) for key, one in value.items()})
