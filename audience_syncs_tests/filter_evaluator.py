"""Who is in an audience, said in plain Python: the second opinion that the compiled SQL is held against.

Slow, row by row, and as near to the words of ``audience_syncs.model.filters`` as can be. It was written from them without
a look at the compiler.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from math import ceil
from typing import Any
from zoneinfo import ZoneInfo

from audience_syncs.model.config import AudienceConfig
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
    Rank,
    Sample,
    Share,
    Top,
    TraitCondition,
)
from audience_syncs.model.kinds import Kind
from audience_syncs.model.moments import length
from audience_syncs.model.row_filters import (
    AllRows,
    Anchor,
    AnyRows,
    NoneRows,
    PropertyCondition,
    Where,
    Window,
    row_conditions,
)
from audience_syncs.model.schema import Aggregation, ModelConfig, Related, Schema, Trait
from audience_syncs_tests.filter_comparisons import Times, at_most_apart, exact, holds

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Evaluator:
    """Audiences over tables that are lists of rows."""

    schema: Schema
    rows: Mapping[str, list[Row]]
    """Part of a model (``ModelConfig.parts``) -> its rows."""
    keys: Mapping[str, Collection[Any]]
    """Audience with SQL -> the primary keys that its query returns, with nulls where it returns some."""
    now: datetime

    def members(self, audience: AudienceConfig) -> set[Any]:
        """The primary keys of who is in it."""
        if audience.model is None:
            return {key for key in self.keys[audience.name] if key is not None}
        people = self._people(audience)
        return {people.key(one) for one in people.all if audience.filter is None or people.meets(one, audience.filter)}

    def values(self, audience: AudienceConfig) -> dict[Any, dict[str, Any]]:
        """The primary key of each member -> the audience's columns; traits are columns of their name."""
        people, members = self._people(audience), self.members(audience)
        columns = audience.columns or list(self.schema.columns[people.model.name])
        return {
            people.key(one): {column: people.value(one, column)[0] for column in columns}
            for one in people.all
            if people.key(one) in members
        }

    def _people(self, audience: AudienceConfig) -> _People:
        assert audience.model is not None
        model = self.schema.models[audience.model]
        wall = ZoneInfo(model.timezone)
        return _People(self, model, Times(self.now, ZoneInfo(audience.timezone or model.timezone), wall))


@dataclass(frozen=True)
class _People:
    """The people of a model, as a filter with its time zone sees them."""

    evaluator: Evaluator
    model: ModelConfig
    times: Times

    @property
    def all(self) -> list[Row]:
        return self.evaluator.rows[self.model.name]

    def key(self, person: Row) -> Any:
        return person[self.model.primary_key]

    def value(self, person: Row, name: str) -> tuple[Any, Kind]:
        """A column's or a trait's value, and its kind."""
        kind = self.evaluator.schema.kind(self.model.name, name)
        if kind is not None:
            return person[name], kind
        return self.trait(person, self.model.traits[name])

    # Conditions ------------------------------------------------------------------------------------------------------

    def meets(self, person: Row, condition: Any) -> bool:
        match condition:
            case AllOf():
                return all(self.meets(person, one) for one in condition.all)
            case AnyOf():
                return any(self.meets(person, one) for one in condition.any)
            case NoneOf():
                return not any(self.meets(person, one) for one in condition.none)
            case PropertyCondition():
                return holds(condition, *self.value(person, condition.property), self.times)
            case TraitCondition():
                return holds(condition, *self.value(person, condition.trait), self.times)
            case Did():
                return _in_bounds(len(self.events(person, condition.did, condition)), condition)
            case DidNot():
                return not self.events(person, condition.did_not, condition)
            case Has():
                found = self.related(person, condition.has, condition.where, condition.within, self.times)
                return _in_bounds(len(found), condition)
            case HasNo():
                return not self.related(person, condition.has_no, condition.where, condition.within, self.times)
            case InSequence():
                return self.in_sequence(person, condition)
            case InAudience():
                return self.key(person) in self.other(condition.in_audience)
            case NotInAudience():
                return self.key(person) not in self.other(condition.not_in_audience)
            case Top():
                return self.key(person) in self.top(condition.top)
            case Sample():
                return in_sample(self.key(person), condition.sample)
        raise AssertionError(f"no such condition: {condition!r}")

    def other(self, name: str) -> set[Any]:
        return self.evaluator.members(self.evaluator.schema.audiences[name])

    def top(self, rank: Rank) -> list[Any]:
        """The keys of those at the top, the first first."""
        among = [one for one in self.all if rank.among is None or self.meets(one, rank.among)]
        ranked = [one for one in among if self.value(one, rank.by)[0] is not None]
        ranked.sort(key=lambda one: _in_order(self.key(one)))
        # Sorting keeps the order of equals: the smaller key stays before.
        ranked.sort(key=lambda one: self.value(one, rank.by)[0], reverse=not rank.lowest)
        size = rank.count
        if size is None:
            size = ceil(exact(rank.percent or 0) * len(ranked) / 100)
        return [self.key(one) for one in ranked[:size]]

    # Rows ------------------------------------------------------------------------------------------------------------

    def belonging(self, person: Row, name: str) -> list[Row]:
        """The rows that belong to a person. One that several rows of the table in between lead to belongs once."""
        rows = self.model.rows(name)
        assert rows is not None
        part = f"{self.model.name}.{name}"
        if rows.join is not None:
            return [row for row in self.evaluator.rows[part] if _joined(person, row, rows.join)]
        link = rows.through
        assert link is not None
        links = [one for one in self.evaluator.rows[f"{part}.through"] if _joined(person, one, link.parent)]
        return [row for row in self.evaluator.rows[part] if any(_joined(one, row, link.related) for one in links)]

    def related(
        self, person: Row, name: str, where: Where | None, within: Window | None, times: Times
    ) -> list[tuple[Any, Row]]:
        """Related rows or events that count, each with its time (None: it has none)."""
        rows = self.model.rows(name)
        assert rows is not None
        kind = self.time_kind(name)
        found = []
        for row in self.belonging(person, name):
            at = row[rows.timestamp] if rows.timestamp is not None else None
            happened = at is not None and kind is not None and times.is_past(at, kind)
            if name in self.model.events and not happened:
                continue
            if times.in_window(at, within, kind) and self.counts(row, name, where, times):
                found.append((at, row))
        return found

    def counts(self, row: Row, name: str, where: Where | None, times: Times) -> bool:
        return where is None or all(self.row_meets(row, name, one, times) for one in row_conditions(where))

    def row_meets(self, row: Row, name: str, condition: Any, times: Times) -> bool:
        match condition:
            case AllRows():
                return all(self.row_meets(row, name, one, times) for one in condition.all)
            case AnyRows():
                return any(self.row_meets(row, name, one, times) for one in condition.any)
            case NoneRows():
                return not any(self.row_meets(row, name, one, times) for one in condition.none)
        kind = self.evaluator.schema.kind(f"{self.model.name}.{name}", condition.property)
        assert kind is not None
        return holds(condition, row[condition.property], kind, times)

    def time_kind(self, name: str) -> Kind | None:
        rows: Related | None = self.model.rows(name)
        if rows is None or rows.timestamp is None:
            return None
        return self.evaluator.schema.kind(f"{self.model.name}.{name}", rows.timestamp)

    # Events ----------------------------------------------------------------------------------------------------------

    def events(self, person: Row, name: str, condition: Did | DidNot) -> list[Any]:
        """The times of the events that meet a condition."""
        found = self.related(person, name, condition.where, condition.within, self.times)
        return [
            at
            for at, _ in found
            if all(
                self.is_anchored(person, name, at, relation, anchor) for relation, anchor in condition.anchors.items()
            )
        ]

    def is_anchored(self, person: Row, name: str, at: Any, relation: str, anchor: Anchor) -> bool:
        """Whether an event at a moment stands in a relation to the anchor."""
        anchors = [moment for moment, _ in self.related(person, anchor.event, anchor.where, anchor.within, self.times)]
        if anchors and anchor.pick != "any":
            anchors = [min(anchors) if anchor.pick == "first" else max(anchors)]
        limit = None if anchor.at_most_apart is None else length(anchor.at_most_apart)
        kind, anchor_kind = self.time_kind(name), self.time_kind(anchor.event)
        assert kind is not None
        assert anchor_kind is not None
        pairs = [self.times.together(at, kind, moment, anchor_kind) for moment in anchors]
        return any(_RELATIONS[relation](one, other) and at_most_apart(one, other, limit) for one, other in pairs)

    def in_sequence(self, person: Row, condition: InSequence) -> bool:
        steps = [
            [at for at, _ in self.related(person, step.did, step.where, condition.within, self.times)]
            for step in condition.sequence
        ]
        kinds = [self.time_kind(step.did) for step in condition.sequence]

        def goes_on(step: int, before: Any) -> bool:
            if step == len(steps):
                return True
            limit = condition.sequence[step].within_after
            kind, kind_before = kinds[step], kinds[step - 1]
            assert kind is not None
            assert kind_before is not None
            for at in steps[step]:
                one, other = self.times.together(at, kind, before, kind_before)
                if one > other and (limit is None or one - other <= length(limit)) and goes_on(step + 1, at):
                    return True
            return False

        return any(goes_on(1, at) for at in steps[0])

    # Traits ----------------------------------------------------------------------------------------------------------

    def trait(self, person: Row, trait: Trait) -> tuple[Any, Kind]:
        """A trait's value and its kind. It is the model's: the same in every audience, so its days are the model's."""
        times = Times(self.times.now, self.times.wall, self.times.wall)
        rows = self.related(person, trait.of, trait.where, trait.within, times)
        if trait.take is Aggregation.COUNT:
            return len(rows), Kind.INTEGER
        assert trait.column is not None
        kind = self.evaluator.schema.kind(f"{self.model.name}.{trait.of}", trait.column)
        assert kind is not None
        kind = {
            Aggregation.COUNT_DISTINCT: Kind.INTEGER,
            Aggregation.SUM: Kind.NUMBER,
            Aggregation.AVG: Kind.NUMBER,
        }.get(trait.take, kind)
        found = [(at, row[trait.column]) for at, row in rows if row[trait.column] is not None]
        return _AGGREGATIONS[trait.take](found), kind


def _in_bounds(found: int, condition: Did | Has) -> bool:
    least, most = (1, None) if condition.count is None else condition.count.bounds
    return least <= found and (most is None or found <= most)


def _joined(one: Row, other: Row, columns: Mapping[str, str]) -> bool:
    """Null is equal to nothing, not to null either."""
    return all(one[left] is not None and one[left] == other[right] for left, right in columns.items())


def _in_order(value: Any) -> Any:
    """Texts go byte by byte."""
    return value.encode() if isinstance(value, str) else value


_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "since": lambda at, anchor: at >= anchor,
    "after": lambda at, anchor: at > anchor,
    "until": lambda at, anchor: at <= anchor,
    "before": lambda at, anchor: at < anchor,
}


def _smallest(values: list[Any]) -> Any:
    return min(values, key=_in_order, default=None)


def _at(pick: Callable[..., Any]) -> Callable[[list[tuple[Any, Any]]], Any]:
    """The value at the first or the last time; a row without a time is at neither."""

    def value(found: list[tuple[Any, Any]]) -> Any:
        when = pick((at for at, _ in found if at is not None), default=None)
        return _smallest([value for at, value in found if when is not None and at == when])

    return value


def _most_frequent(found: list[tuple[Any, Any]]) -> Any:
    times = Counter(value for _, value in found)
    most = max(times.values(), default=0)
    return _smallest([value for value, count in times.items() if count == most])


def _average(found: list[tuple[Any, Any]]) -> Fraction | None:
    if not found:
        return None
    average = sum((exact(value) for _, value in found), Fraction(0)) / len(found)
    billionths = abs(average) * 10**9 + Fraction(1, 2)
    return Fraction(math.floor(billionths), 10**9) * (1 if average >= 0 else -1)


_AGGREGATIONS: dict[Aggregation, Callable[[list[tuple[Any, Any]]], Any]] = {
    Aggregation.COUNT_DISTINCT: lambda found: len({value for _, value in found}),
    Aggregation.SUM: lambda found: sum((exact(value) for _, value in found), Fraction(0)) if found else None,
    Aggregation.AVG: _average,
    Aggregation.MIN: lambda found: _smallest([value for _, value in found]),
    Aggregation.MAX: lambda found: max((value for _, value in found), key=_in_order, default=None),
    Aggregation.FIRST: _at(min),
    Aggregation.LAST: _at(max),
    Aggregation.MOST_FREQUENT: _most_frequent,
}


def in_sample(key: Any, share: Share) -> bool:
    """The first 13 hexadecimal digits of the MD5 of ``seed:key``, as a part of all that there are, below the percentage."""
    digest = hashlib.md5(f"{share.seed}:{key}".encode(), usedforsecurity=False).hexdigest()
    return Fraction(int(digest[:13], 16), 16**13) < exact(share.percent) / 100
