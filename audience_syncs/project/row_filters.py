"""What is wrong with a `where`: the rows of an event, of related rows or of a trait that count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from audience_syncs.model.filters import inner
from audience_syncs.model.kinds import Kind
from audience_syncs.model.row_filters import AllRows, AnyRows, NoneRows, PropertyCondition
from audience_syncs.project.comparisons import check_comparison, check_values
from audience_syncs.project.parts import Part
from audience_syncs.project.problems import Problem, YamlPath
from audience_syncs.project.yaml_documents import Document

RowCondition = PropertyCondition | AllRows | AnyRows | NoneRows


def check_where(document: Document, path: YamlPath, where: Any, part: Part) -> Iterator[Problem]:
    """All that is wrong with the ``where`` at a path, about the rows of a part."""
    if where is None:
        return
    if isinstance(where, Mapping):
        yield from _check_equal_values(document, path, where, part)
        return
    for number, condition in enumerate(where):
        yield from _check_condition(document, (*path, number), condition, part)


def check_property(
    document: Document, path: YamlPath, condition: PropertyCondition, part: Part, hint: str = ""
) -> Iterator[Problem]:
    """What is wrong with a condition about a column. ``hint``: what to do where there is none, instead of the nearest."""
    column = condition.property
    yield from part.missing(document, (*path, "property"), column, hint=hint)
    kind = part.kind(column)
    if kind is not None:
        yield from check_comparison(document, path, condition, column, kind, part.words(column))


def _check_condition(document: Document, path: YamlPath, condition: RowCondition, part: Part) -> Iterator[Problem]:
    if isinstance(condition, PropertyCondition):
        yield from check_property(document, path, condition, part)
        return
    (key,) = type(condition).model_fields
    for number, child in enumerate(inner(condition)):
        yield from _check_condition(document, (*path, key, number), child, part)


def _check_equal_values(document: Document, path: YamlPath, where: Mapping[str, Any], part: Part) -> Iterator[Problem]:
    """The short form: column -> value, or a list of values."""
    for column, value in where.items():
        at = (*path, column)
        yield from part.missing(document, at, column, of_key=True)
        listed = isinstance(value, list)
        if value == []:
            yield document.problem(at, "the list is empty; nothing would be one of its values", "name at least one")
            continue
        kind = part.kind(column)
        if kind is None:
            continue
        if kind in (Kind.TIMESTAMP, Kind.INSTANT):
            message = f"`{column}` is {part.words(column)}, and a time is hardly ever equal to another"
            remedy = f"write a condition: `where: [{{property: {column}, after: ...}}]`, or use `within`"
            yield document.problem(at, message, remedy)
            continue
        yield from check_values(
            document, at, value if listed else [value], column, kind, part.words(column), listed=listed
        )
