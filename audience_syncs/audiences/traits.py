"""Traits as SQL: one row for each person who has rows, with their key and the trait's value."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences.comparisons import Value
from audience_syncs.model.kinds import Kind
from audience_syncs.model.schema import Aggregation, Trait
from audience_syncs.warehouse.expressions import Expressions

_COUNTS = (Aggregation.COUNT, Aggregation.COUNT_DISTINCT)
AS_TAKEN = (
    *(Aggregation.MIN, Aggregation.MAX),
    *(Aggregation.FIRST, Aggregation.LAST, Aggregation.MOST_FREQUENT),
)
"""Whose value is one of those it is made from, of the same type."""


def grouped(
    trait: Trait,
    key: sa.ColumnElement[Any],
    taken: Value | None,
    at: Value | None,
    rows: sa.Select[Any],
    expressions: Expressions,
) -> sa.Select[Any]:
    """``key`` and ``value`` of each person; ``rows``: a select of nothing from the rows that count."""
    if trait.take is Aggregation.COUNT:
        return rows.add_columns(key.label("key"), sa.func.count().label("value")).group_by(key)
    assert taken is not None
    if trait.take in (Aggregation.FIRST, Aggregation.LAST, Aggregation.MOST_FREQUENT):
        return _picked(trait.take, key, taken, at, rows, expressions)
    column = taken.column
    value: sa.ColumnElement[Any]
    if trait.take is Aggregation.COUNT_DISTINCT:
        value = sa.func.count(column.distinct())
    elif trait.take is Aggregation.AVG:
        value = expressions.average(column)
    elif taken.kind is Kind.TEXT:
        value = expressions.out_of_order(getattr(sa.func, trait.take.value)(expressions.in_order(column)))
    else:
        value = getattr(sa.func, trait.take.value)(column)
    return rows.add_columns(key.label("key"), value.label("value")).group_by(key)


def kind_of_trait(trait: Trait, taken: Kind | None) -> Kind:
    """The kind of its values; ``taken``: of the column it is made from."""
    if trait.take in _COUNTS:
        return Kind.INTEGER
    if trait.take is Aggregation.AVG:
        return Kind.NUMBER
    return taken or Kind.OTHER


def of_nobody(trait: Trait, value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The trait also of people without such rows: counts are 0 then, all others null."""
    return sa.func.coalesce(value, 0) if trait.take in _COUNTS else value


def _picked(
    take: Aggregation,
    key: sa.ColumnElement[Any],
    taken: Value,
    at: Value | None,
    rows: sa.Select[Any],
    expressions: Expressions,
) -> sa.Select[Any]:
    """One of a person's values: the first of them in an order."""
    smaller = expressions.in_order(taken.column) if taken.kind is Kind.TEXT else taken.column
    rows = rows.where(taken.column.is_not(None))
    if take is Aggregation.MOST_FREQUENT:
        rows = rows.group_by(key, taken.column)
        order = [sa.func.count().desc(), smaller]
    else:
        assert at is not None
        rows = rows.where(at.column.is_not(None))
        order = [at.column.desc() if take is Aggregation.LAST else at.column, smaller]
    place = sa.func.row_number().over(partition_by=key, order_by=order)
    ranked = rows.add_columns(key.label("key"), taken.column.label("value"), place.label("place")).subquery("ranked")
    return sa.select(ranked.c.key, ranked.c.value).where(ranked.c.place == 1)
