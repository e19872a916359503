"""What is wrong with a model of people: names of others, and columns that its tables have not, or not of that kind."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from audience_syncs.model.kinds import Kind
from audience_syncs.model.schema import Aggregation, ModelConfig, Related, Rows, Schema, Trait
from audience_syncs.project.columns import HOW_TO_RECORD
from audience_syncs.project.parts import Part, people, rows
from audience_syncs.project.problems import Problem, YamlPath, choose_from
from audience_syncs.project.row_filters import check_where
from audience_syncs.project.rules import check_name, check_reference
from audience_syncs.project.yaml_documents import Document

_TOP: YamlPath = ("attributes",)
_SAID_ABOUT = {Kind.ARRAY, Kind.OTHER}
"""Kinds that can neither be compared nor ordered."""


def check_model(
    document: Document, model: ModelConfig, schema: Schema, *, sources: Collection[str], with_columns: bool
) -> Iterator[Problem]:
    """All that is wrong with a model beyond its fields' types. ``with_columns``: also what only its recorded columns tell."""
    yield from check_reference(document, (*_TOP, "source"), model.source, "source", sources)
    yield from _check_names(document, model)
    if not with_columns:
        yield from _check_traits(document, model, schema)
        return
    unrecorded = [part for part in model.parts if part not in schema.columns]
    if unrecorded:
        message = f"the columns of {', '.join(unrecorded)} are not recorded yet"
        path = _TOP if len(unrecorded) == len(model.parts) else _place(model, unrecorded[0])
        yield document.problem((*path, _origin(model.parts[unrecorded[0]])), message, HOW_TO_RECORD)
        return
    yield from _check_people(document, model, people(model, schema))
    for key, group in (("related", model.related), ("events", model.events)):
        for name, related in group.items():
            yield from _check_rows(document, (*_TOP, key, name), model, name, related, schema)
    yield from _check_traits(document, model, schema)


def _check_names(document: Document, model: ModelConfig) -> Iterator[Problem]:
    yield from check_name(document, (*_TOP, "name"), model.name)
    for key in ("related", "events", "traits"):
        for name in getattr(model, key):
            yield from check_name(document, (*_TOP, key, name), name, of_key=True)


def _origin(part: Rows) -> str:
    return "table" if part.table is not None else "sql"


def _place(model: ModelConfig, part: str) -> YamlPath:
    """Where the rows of a part are defined: ``customers.orders.through``."""
    _, _, name = part.partition(".")
    if not name:
        return _TOP
    rows_name, _, through = name.partition(".")
    key = "events" if rows_name in model.events else "related"
    return (*_TOP, key, rows_name, "through") if through else (*_TOP, key, rows_name)


def _check_people(document: Document, model: ModelConfig, known: Part) -> Iterator[Problem]:
    path = (*_TOP, "primary_key")
    yield from known.missing(document, path, model.primary_key)
    if known.kind(model.primary_key) in _SAID_ABOUT:
        message = f"nobody can be identified by `{model.primary_key}`: it is {known.words(model.primary_key)}"
        yield document.problem(path, message, "name a column of text or numbers")
    if model.label is not None:
        yield from known.missing(document, (*_TOP, "label"), model.label)
    for number, column in enumerate(model.personal):
        yield from known.missing(document, (*_TOP, "personal", number), column)


def _check_rows(
    document: Document, path: YamlPath, model: ModelConfig, name: str, related: Related, schema: Schema
) -> Iterator[Problem]:
    own, theirs = people(model, schema), rows(model, name, schema)
    if related.join is not None:
        yield from _check_pairs(document, (*path, "join"), related.join, own, theirs)
    if related.through is not None:
        between = rows(model, name, schema, through=True)
        yield from _check_pairs(document, (*path, "through", "parent"), related.through.parent, own, between)
        yield from _check_pairs(document, (*path, "through", "related"), related.through.related, between, theirs)
    if related.timestamp is not None:
        at = (*path, "timestamp")
        yield from theirs.missing(document, at, related.timestamp)
        kind = theirs.kind(related.timestamp)
        if kind is not None and not kind.is_time:
            message = f"`{related.timestamp}` is no time: it is {theirs.words(related.timestamp)}"
            times = [column for column in theirs.columns if (found := theirs.kind(column)) and found.is_time]
            none = "the rows have no column with a time; make one in a query: `sql: SELECT ...`"
            yield document.problem(at, message, choose_from(related.timestamp, times, none=none))


def _check_pairs(
    document: Document, path: YamlPath, pairs: Mapping[str, str], left: Part, right: Part
) -> Iterator[Problem]:
    for one, other in pairs.items():
        yield from left.missing(document, (*path, one), one, of_key=True)
        yield from right.missing(document, (*path, one), other)
        kinds = left.kind(one), right.kind(other)
        if kinds[0] is not None and kinds[1] is not None and not comparable(kinds[0], kinds[1]):
            message = f"`{one}` and `{other}` are never equal: {left.words(one)}, and {right.words(other)}"
            yield document.problem((*path, one), message, "cast one of them, in a query: `sql: SELECT ...`")


def comparable(one: Kind, other: Kind) -> bool:
    """Whether values of two kinds may be equal."""
    if one in _SAID_ABOUT or other in _SAID_ABOUT:
        return False
    return one is other or (one.is_number and other.is_number) or (one.is_time and other.is_time)


def _check_traits(document: Document, model: ModelConfig, schema: Schema) -> Iterator[Problem]:
    known = people(model, schema)
    for name, trait in model.traits.items():
        path = (*_TOP, "traits", name)
        if name in known.columns:
            message = f"`{name}` is a column of the people already"
            yield document.problem(path, message, "give the trait another name", of_key=True)
        related = model.rows(trait.of)
        if related is None:
            names = [*model.related, *model.events]
            none = "the model has none yet; define them under `related` or `events`"
            message = f"there are no related rows or events `{trait.of}`"
            yield document.problem((*path, "of"), message, choose_from(trait.of, names, none=none))
            continue
        theirs = rows(model, trait.of, schema)
        yield from _check_aggregation(document, path, trait, theirs)
        if related.timestamp is None:
            yield from _check_needs_time(document, path, trait)
        yield from check_where(document, (*path, "where"), trait.where, theirs)


def _check_needs_time(document: Document, path: YamlPath, trait: Trait) -> Iterator[Problem]:
    remedy = f"give `{trait.of}` a `timestamp`: its column with the time of a row"
    if trait.within is not None:
        message = f"the rows of `{trait.of}` have no time, so none is within one"
        yield document.problem((*path, "within"), message, remedy, of_key=True)
    if trait.take in (Aggregation.FIRST, Aggregation.LAST):
        message = f"the rows of `{trait.of}` have no time, so none is the {trait.take}"
        yield document.problem((*path, "take"), message, remedy)


def _check_aggregation(document: Document, path: YamlPath, trait: Trait, theirs: Part) -> Iterator[Problem]:
    if trait.column is None:
        return
    yield from theirs.missing(document, (*path, "column"), trait.column)
    kind = theirs.kind(trait.column)
    if kind is None:
        return
    fit: Any = {
        Aggregation.SUM: (kind.is_number, "numbers"),
        Aggregation.AVG: (kind.is_number, "numbers"),
        Aggregation.MIN: (kind.is_number or kind.is_time or kind is Kind.TEXT, "numbers, times and texts"),
        Aggregation.MAX: (kind.is_number or kind.is_time or kind is Kind.TEXT, "numbers, times and texts"),
    }.get(trait.take, (kind not in _SAID_ABOUT, "numbers, times, texts, true and false"))
    if not fit[0]:
        message = f"`{trait.take}` is of {fit[1]}: `{trait.column}` is {theirs.words(trait.column)}"
        others = [column for column in theirs.columns if theirs.kind(column) not in _SAID_ABOUT]
        if trait.take in (Aggregation.SUM, Aggregation.AVG):
            others = [column for column in others if (found := theirs.kind(column)) and found.is_number]
        none = "take `count` or `count_distinct`"
        yield document.problem((*path, "column"), message, choose_from(trait.column, others, none=none))
