"""What is wrong with a filter, condition by condition: names the model does not know, and comparisons that do not fit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from audience_syncs.model.filters import (
    AllOf,
    AnyOf,
    Did,
    DidNot,
    Has,
    HasNo,
    InSequence,
    NoneOf,
    Top,
    TraitCondition,
    inner,
)
from audience_syncs.model.kinds import Kind
from audience_syncs.model.row_filters import PropertyCondition
from audience_syncs.model.schema import ModelConfig, Schema
from audience_syncs.project.comparisons import check_comparison
from audience_syncs.project.parts import people, rows, trait_part
from audience_syncs.project.problems import Problem, YamlPath, choose_from
from audience_syncs.project.row_filters import check_property, check_where
from audience_syncs.project.yaml_documents import Document


def check_filter(
    document: Document, path: YamlPath, condition: Any, model: ModelConfig, schema: Schema
) -> Iterator[Problem]:
    """All that is wrong with the condition at a path, and with all inside of it. Other audiences are not looked at:
    ``audience_references``."""
    checking = _Checking(document, model, schema)
    for place, found in places(path, condition):
        yield from checking.check(place, found)


def places(path: YamlPath, condition: Any) -> Iterator[tuple[YamlPath, Any]]:
    """A condition and all inside of it, at any depth, each with its place."""
    yield path, condition
    if isinstance(condition, Top):
        for child in inner(condition):
            yield from places((*path, "top", "among"), child)
        return
    key = _HOLDING.get(type(condition))
    for number, child in enumerate(inner(condition) if key else ()):
        yield from places((*path, str(key), number), child)


_HOLDING: dict[type, str] = {AllOf: "all", AnyOf: "any", NoneOf: "none"}
"""Conditions that hold others, and their key."""


class _Checking:
    """One filter and the model it is about."""

    def __init__(self, document: Document, model: ModelConfig, schema: Schema) -> None:
        self.document = document
        self.model = model
        self.schema = schema
        self.people = people(model, schema)
        self.traits = trait_part(model, schema)

    def check(self, path: YamlPath, condition: Any) -> Iterator[Problem]:
        if isinstance(condition, PropertyCondition):
            hint = self.meant(condition.property, "property")
            yield from check_property(self.document, path, condition, self.people, hint)
        elif isinstance(condition, TraitCondition):
            yield from self.check_trait(path, condition)
        elif isinstance(condition, (Did, DidNot)):
            yield from self.check_event(path, condition)
        elif isinstance(condition, (Has, HasNo)):
            yield from self.check_related(path, condition)
        elif isinstance(condition, InSequence):
            for number, step in enumerate(condition.sequence):
                at = (*path, "sequence", number)
                yield from self.check_rows_of(at, "did", step.did, step.where)
        elif isinstance(condition, Top):
            yield from self.check_top((*path, "top"), condition)

    def check_trait(self, path: YamlPath, condition: TraitCondition) -> Iterator[Problem]:
        name = condition.trait
        if name not in self.model.traits:
            yield self.unknown((*path, "trait"), "trait", name, list(self.model.traits))
            return
        kind = self.traits.kind(name)
        if kind is not None:
            yield from check_comparison(self.document, path, condition, name, kind, self.traits.words(name))

    def check_event(self, path: YamlPath, condition: Did | DidNot) -> Iterator[Problem]:
        key = "did" if isinstance(condition, Did) else "did_not"
        name = condition.did if isinstance(condition, Did) else condition.did_not
        yield from self.check_rows_of(path, key, name, condition.where)
        for relation, anchor in condition.anchors.items():
            yield from self.check_rows_of((*path, relation), anchor.pick, anchor.event, anchor.where)

    def check_rows_of(self, path: YamlPath, key: str, name: str, where: Any) -> Iterator[Problem]:
        """An event's name at ``key``, and the ``where`` beside it."""
        if name not in self.model.events:
            yield self.unknown((*path, key), key, name, list(self.model.events))
            return
        part = rows(self.model, name, self.schema)
        yield from check_where(self.document, (*path, "where"), where, part)

    def check_related(self, path: YamlPath, condition: Has | HasNo) -> Iterator[Problem]:
        key = "has" if isinstance(condition, Has) else "has_no"
        name = condition.has if isinstance(condition, Has) else condition.has_no
        related = self.model.related.get(name)
        if related is None:
            yield self.unknown((*path, key), key, name, list(self.model.related))
            return
        if condition.within is not None and related.timestamp is None:
            message = f"the rows of `{name}` have no time, so none is within one"
            remedy = f"give `{name}` a `timestamp` in the model `{self.model.name}`: its column with the time of a row"
            yield self.document.problem((*path, "within"), message, remedy, of_key=True)
        part = rows(self.model, name, self.schema)
        yield from check_where(self.document, (*path, "where"), condition.where, part)

    def check_top(self, path: YamlPath, condition: Top) -> Iterator[Problem]:
        name, at = condition.top.by, (*path, "by")
        if name not in self.model.traits and name not in self.people.columns:
            if self.people.columns:
                known = [*self.model.traits, *self.people.columns]
                message = f"the people of `{self.model.name}` have neither a column nor a trait `{name}`"
                yield self.document.problem(at, message, choose_from(name, known, none=""))
            return
        part = self.traits if name in self.model.traits else self.people
        kind = part.kind(name)
        if kind is not None and not _is_ordered(kind):
            message = f"nobody is the top by `{name}`: it is {part.words(name)}"
            ordered = [
                column
                for known in (self.traits, self.people)
                for column in known.columns
                if _is_ordered(known.kind(column))
            ]
            yield self.document.problem(at, message, choose_from(name, ordered, none="rank by a number or a time"))

    def unknown(self, path: YamlPath, key: str, name: str, known: list[str]) -> Problem:
        """The problem that there is nothing of that name, and what it is instead."""
        what = _KINDS[key]
        none = f"the model `{self.model.name}` has none yet; define it under `{_UNDER[what]}`"
        remedy = self.meant(name, key) or choose_from(name, known, none=none)
        article = "are no" if what == "related rows" else "is no"
        return self.document.problem(path, f"there {article} {what} `{name}` in the model `{self.model.name}`", remedy)

    def meant(self, name: str, key: str) -> str:
        """What to write where a name is of another kind than its key says; empty where it is of none."""
        negative = key in ("did_not", "has_no")
        if key in ("first", "last", "any") and name in self.model.related:
            events = ", ".join(f"`{event}`" for event in sorted(self.model.events))
            return f"`{name}` are related rows, and an event belongs here; known are {events}"
        if name in self.model.events:
            how = "did_not" if negative else "did"
            remedy = f"`{name}` is an event; write `{how}: {name}`"
        elif name in self.model.related:
            how = "has_no" if negative else "has"
            remedy = f"`{name}` are related rows; write `{how}: {name}`"
        elif name in self.model.traits:
            remedy = f"`{name}` is a trait; write `trait: {name}`"
        elif name in self.people.columns:
            remedy = f"`{name}` is a column; write `property: {name}`"
        else:
            return ""
        return "" if key == "property" and name in self.people.columns else remedy


_KINDS = {
    "trait": "trait",
    "has": "related rows",
    "has_no": "related rows",
    **dict.fromkeys(("did", "did_not", "first", "last", "any"), "event"),
}
"""Key of a condition -> what it names."""
_UNDER = {"trait": "traits", "related rows": "related", "event": "events"}


def _is_ordered(kind: Kind | None) -> bool:
    return kind is not None and (kind.is_number or kind.is_time)
