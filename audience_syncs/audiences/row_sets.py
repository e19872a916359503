"""Which people have rows that meet a condition: events, related rows, events in an order. Each is a query of primary keys.

Each key is returned once, so that the people can be joined with them. That is why there is no ``IN (SELECT ...)``: under
``NOT`` and ``OR``, PostgreSQL makes a hash of such a set only where it fits into ``work_mem``, and otherwise goes through all of
it for every person; ten million events took hours. A join has no such limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences.comparisons import Comparisons, Predicate, Value, interval, not_
from audience_syncs.audiences.origins import Origins, PersonRows
from audience_syncs.model.filters import Did, DidNot, Has, HasNo, InSequence
from audience_syncs.model.kinds import Kind
from audience_syncs.model.moments import length
from audience_syncs.model.row_filters import AllRows, Anchor, AnyRows, NoneRows, PropertyCondition, row_conditions
from audience_syncs.model.strict import Config

Keys = sa.Select[Any]
"""A query of primary keys, as ``key``; none is null, none is there twice."""


class RowSets:
    """Compiles conditions about the rows of one model's people."""

    def __init__(self, origins: Origins, comparisons: Comparisons) -> None:
        self._origins = origins
        self._comparisons = comparisons

    def keys(self, condition: Did | DidNot | Has | HasNo, name: str, least: int = 1, most: int | None = None) -> Keys:
        """The people who have such rows, at least and at most so many."""
        rows = self._origins.rows(name)
        source, related = rows.source, []
        anchors = condition.anchors if isinstance(condition, (Did, DidNot)) else {}
        for relation, anchor in anchors.items():
            source, predicate = self._anchored(rows, source, relation, anchor)
            related.append(predicate)
        query = sa.select(rows.key.label("key")).select_from(source)
        query = query.where(*self._counting(rows, name, condition.where, condition.within), *related)
        if (least, most) == (1, None):
            return query.distinct()
        bounds = [sa.func.count() >= least, *([sa.func.count() <= most] if most is not None else [])]
        return query.group_by(rows.key).having(sa.and_(*bounds))

    def in_sequence(self, condition: InSequence) -> Keys:
        """The people who did one thing after the other.

        Of each step, only the earliest moment is kept at which it can have been reached; all of them where the next step must
        follow within some time. So a person with a thousand events costs a thousand rows, not a thousand to the power of
        the steps.
        """
        reached: sa.Subquery | None = None
        before: Value | None = None
        for number, step in enumerate(condition.sequence):
            rows = self._origins.rows(step.did)
            assert rows.at is not None
            source, predicates = rows.source, self._counting(rows, step.did, step.where, condition.within)
            if reached is not None and before is not None:
                now, then = self._comparable(rows.at, before)
                if step.within_after is None:
                    source = source.join(reached, reached.c.key == rows.key)
                    predicates.append(now > then)
                else:
                    latest = then + interval(length(step.within_after))
                    each: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(reached)
                    predicates.append(each.where(reached.c.key == rows.key, now > then, now <= latest).exists())
            if number == len(condition.sequence) - 1:
                break
            query = sa.select(rows.key.label("key")).select_from(source).where(*predicates)
            if condition.sequence[number + 1].within_after is None:
                query = query.add_columns(sa.func.min(rows.at.column).label("at")).group_by(rows.key)
            else:
                query = query.add_columns(rows.at.column.label("at")).distinct()
            reached = query.subquery(self._origins.name(f"step_{number + 1}"))
            before = Value(reached.c.at, rows.at.kind)
        return sa.select(rows.key.label("key")).distinct().select_from(source).where(*predicates)

    def counted(
        self, rows: PersonRows, name: str, where: Any, window: Any, comparisons: Comparisons | None = None
    ) -> sa.Select[Any]:
        """A select of nothing from the rows that count, to which columns can be added."""
        return sa.select().select_from(rows.source).where(*self._counting(rows, name, where, window, comparisons))

    def _counting(
        self, rows: PersonRows, name: str, where: Any, window: Any, comparisons: Comparisons | None = None
    ) -> list[Predicate]:
        """Which rows count: somebody's, by conditions about them and their time. An event has happened."""
        by = comparisons or self._comparisons
        found: list[Predicate] = [rows.key.is_not(None)]
        if where is not None:
            found += [self._row(rows, condition, by) for condition in row_conditions(where)]
        if rows.at is not None and window is not None:
            found.append(by.within(rows.at, window))
        if rows.at is not None and name in self._origins.model.events and not isinstance(window, str):
            found.append(by.clock.is_past(rows.at))
        return found

    def _row(self, rows: PersonRows, condition: Config, by: Comparisons) -> Predicate:
        if isinstance(condition, PropertyCondition):
            return by.holds(rows.origin.value(condition.property), condition)
        if isinstance(condition, AllRows):
            return sa.and_(*(self._row(rows, child, by) for child in condition.all))
        if isinstance(condition, AnyRows):
            return sa.or_(*(self._row(rows, child, by) for child in condition.any))
        assert isinstance(condition, NoneRows)
        return not_(sa.or_(*(self._row(rows, child, by) for child in condition.none)))

    # Anchors --------------------------------------------------------------------------------------------------------

    def _anchored(
        self, rows: PersonRows, source: sa.FromClause, relation: str, anchor: Anchor
    ) -> tuple[sa.FromClause, Predicate]:
        """Rows joined to the event they are compared with; where any will do and how far apart counts, each is looked at."""
        other = self._origins.rows(anchor.event)
        assert rows.at is not None
        assert other.at is not None
        conditions = self._counting(other, anchor.event, anchor.where, anchor.within)
        mine, theirs = self._comparable(rows.at, other.at)
        later = relation in ("since", "after")
        span = None if anchor.at_most_apart is None else interval(length(anchor.at_most_apart))

        def related(at: sa.ColumnElement[Any]) -> Predicate:
            compared: dict[str, Callable[[], Predicate]] = {
                "since": lambda: mine >= at,
                "after": lambda: mine > at,
                "until": lambda: mine <= at,
                "before": lambda: mine < at,
            }
            apart = [] if span is None else [mine <= at + span if later else mine >= at - span]
            return sa.and_(compared[relation](), *apart)

        if anchor.pick == "any" and span is not None:
            each: sa.Select[Any] = sa.select(sa.literal_column("1")).select_from(other.source)
            return source, each.where(other.key == rows.key, *conditions, related(theirs)).exists()
        first = anchor.pick == "first" or (anchor.pick == "any" and later)
        picked = (sa.func.min if first else sa.func.max)(theirs)
        anchors = (
            sa.select(other.key.label("key"), picked.label("at"))
            .select_from(other.source)
            .where(*conditions)
            .group_by(other.key)
            .subquery(self._origins.name(f"{anchor.pick}_{anchor.event}"))
        )
        return source.join(anchors, anchors.c.key == rows.key), related(anchors.c.at)

    def _comparable(self, one: Value, other: Value) -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
        """Two times of rows, to be compared with each other: on the model's clock, where they are of different kinds.

        A clock's time is no certain moment where it is put back, and each warehouse takes it for another; the contrary, what
        the clock shows at a moment, is certain.
        """
        if one.kind is other.kind:
            return one.column, other.column
        return self._on_the_clock(one), self._on_the_clock(other)

    def _on_the_clock(self, value: Value) -> sa.ColumnElement[Any]:
        if value.kind is Kind.INSTANT:
            zone = sa.literal(str(self._comparisons.clock.columns_zone), sa.Text())
            return sa.func.timezone(zone, value.column, type_=sa.DateTime())
        return sa.cast(value.column, sa.DateTime()) if value.kind is Kind.DATE else value.column
