"""A filter as one SQL statement. ``model.filters`` says what each condition means; nothing here decides that.

Each condition about rows becomes ``key IN (SELECT ...)``: a set that the warehouse makes once and looks up in, however the
condition is nested. Traits are joined, one grouped query for each. Every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from audience_syncs.audiences.annotated import annotated
from audience_syncs.audiences.as_of import with_as_of
from audience_syncs.audiences.comparisons import Clock, Comparisons, Predicate, Value, interval, not_
from audience_syncs.audiences.origins import Origins, PersonRows, raw_sql
from audience_syncs.audiences.traits import grouped, kind_of_trait, of_nobody
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.filter_words import in_words
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
from audience_syncs.model.row_filters import AllRows, Anchor, AnyRows, NoneRows, PropertyCondition, row_conditions
from audience_syncs.model.strict import Config
from audience_syncs.warehouse.expressions import SHARES, Expressions, as_text

Keys = sa.Select[Any]
"""A query of primary keys."""
_GROUPS: dict[type[Config], str] = {AllOf: "all of these", AnyOf: "any of these", NoneOf: "none of these"}
"""The reason of a group whose parts tell their own."""


def compile_audience(
    audience: AudienceConfig, expressions: Expressions, now: datetime, *, annotate: bool = False
) -> sa.Select[Any]:
    """The people of an audience that has a model: one row each, the primary key first, then its columns and traits.

    ``now``: the moment that counts as now. ``annotate``: with the reason of each part as a comment. Raises DefinitionError
    where the filter names what its model has not, or an audience that contains itself.
    """
    compiler = Compiler(audience, expressions, now, annotate=annotate)
    parts = audience.filter.all if isinstance(audience.filter, AllOf) else [audience.filter]
    predicates = [compiler.predicate(part) for part in parts if part is not None]
    columns = compiler.selected(audience.columns)
    return sa.select(*columns).select_from(compiler.people()).where(*predicates)


class Compiler:
    """Compiles the conditions of one audience about one set of people, in one statement."""

    def __init__(
        self,
        audience: AudienceConfig,
        expressions: Expressions,
        now: datetime,
        *,
        annotate: bool = False,
        inside: Sequence[str] = (),
    ) -> None:
        """``inside``: the audiences that this one is asked about in, outermost first."""
        if audience.model is None:
            raise DefinitionError(f"the audience {audience.name} has SQL and no filter")
        if audience.name in inside:
            circle = " -> ".join([*inside, audience.name])
            raise DefinitionError(f"the audience {audience.name} contains itself: {circle}", remedy="break the circle")
        self._audience = audience
        self._schema = audience.refers_to
        self._model = self._schema.models[audience.model]
        self._expressions = expressions
        columns_zone = ZoneInfo(self._model.timezone)
        self._clock = Clock(now, ZoneInfo(audience.timezone or self._model.timezone), columns_zone)
        self._comparisons = Comparisons(expressions, self._clock)
        # A trait has one value for a person, whichever audience asks: its days are the model's.
        self._of_traits = Comparisons(expressions, Clock(now, columns_zone, columns_zone))
        self._annotate = annotate
        self._inside = (*inside, audience.name)
        self._origins = Origins(self._model, self._schema)
        self._people = self._origins.people()
        self._traits: dict[str, tuple[sa.Subquery, Value]] = {}

    @property
    def key(self) -> Value:
        """The primary key of the people."""
        return self._origins.key_of(self._people)

    def people(self) -> sa.FromClause:
        """FROM: the people, with the traits that were asked for so far."""
        source = self._people.source
        for joined, _ in self._traits.values():
            source = source.outerjoin(joined, joined.c.key == self.key.column)
        return source

    def selected(self, names: Sequence[str] | None) -> list[sa.ColumnElement[Any]]:
        """The primary key, and these columns and traits; by default all columns."""
        wanted = dict.fromkeys([self._model.primary_key, *(names if names is not None else self._people.columns)])
        return [
            self._people.source.c[name] if name in self._people.columns else self.value(name).column.label(name)
            for name in wanted
        ]

    def value(self, name: str) -> Value:
        """A column of the model, or a trait."""
        return self._people.value(name) if name in self._people.columns else self.trait(name)

    def predicate(self, condition: Config) -> Predicate:
        """Whether a condition holds for a person. It may be null, which counts as no."""
        found = self._compile[type(condition)](self, condition)
        if not self._annotate:
            return found
        return annotated(found, _GROUPS.get(type(condition)) or in_words(condition))

    # People ---------------------------------------------------------------------------------------------------------

    def _all(self, condition: AllOf) -> Predicate:
        return sa.and_(*(self.predicate(child) for child in condition.all))

    def _any(self, condition: AnyOf) -> Predicate:
        return sa.or_(*(self.predicate(child) for child in condition.any))

    def _none(self, condition: NoneOf) -> Predicate:
        return not_(sa.or_(*(self.predicate(child) for child in condition.none)))

    def _property(self, condition: PropertyCondition) -> Predicate:
        return self._comparisons.holds(self._people.value(condition.property), condition)

    def _trait(self, condition: TraitCondition) -> Predicate:
        return self._comparisons.holds(self.trait(condition.trait), condition)

    def _in_audience(self, condition: InAudience) -> Predicate:
        return self._members(condition.in_audience)

    def _not_in_audience(self, condition: NotInAudience) -> Predicate:
        return sa.not_(self._members(condition.not_in_audience))

    def _members(self, name: str) -> Predicate:
        other = self._schema.audiences.get(name)
        if other is None:
            raise DefinitionError(f"there is no audience {name!r}", where=f"audience {self._audience.name}")
        if other.model is None:
            # Keys of another query may be of another type.
            assert other.sql is not None
            rows = raw_sql(f"\n{with_as_of(other.sql, self._clock.now)}\n").columns(sa.column(other.primary_key))
            members = rows.subquery("members")
            key = as_text(members.c[other.primary_key])
            return as_text(self.key.column).in_(sa.select(key).where(members.c[other.primary_key].is_not(None)))
        compiler = Compiler(other, self._expressions, self._clock.now, inside=self._inside)
        predicate = compiler.predicate(other.filter) if other.filter is not None else sa.true()
        if other.model == self._audience.model:
            return self.key.column.in_(sa.select(compiler.key.column).select_from(compiler.people()).where(predicate))
        keys = sa.select(as_text(compiler.key.column)).select_from(compiler.people()).where(predicate)
        return as_text(self.key.column).in_(keys)

    def _sample(self, condition: Sample) -> Predicate:
        return self.in_share(condition.sample)

    def in_share(self, share: Share) -> Predicate:
        """Whether a person is in a random share."""
        limit = -int(-(Decimal(repr(share.percent)) * SHARES // 100))
        return self._expressions.share(share.seed, self.key.column) < sa.literal(limit, sa.BigInteger())

    def _top(self, condition: Top) -> Predicate:
        rank: Rank = condition.top
        ranked = Compiler(self._audience, self._expressions, self._clock.now, inside=self._inside[:-1])
        by = ranked.value(rank.by)
        key = ranked.key
        ordered = self._expressions.in_order(key.column) if key.kind is Kind.TEXT else key.column
        place = sa.func.row_number().over(order_by=[by.column if rank.lowest else by.column.desc(), ordered])
        counted: Predicate = by.column.is_not(None)
        if rank.among is not None:
            counted = sa.and_(counted, ranked.predicate(rank.among))
        places = (
            sa.select(key.column.label("key"), place.label("place"), sa.func.count().over().label("people"))
            .select_from(ranked.people())
            .where(counted)
            .subquery("places")
        )
        if rank.count is not None:
            first = places.c.place <= rank.count
        else:
            # Rounded up to whole people: the last one is in if part of them is.
            percent = sa.literal(Decimal(repr(rank.percent)), sa.Numeric())
            first = (places.c.place - 1) * 100 < percent * places.c.people
        return self.key.column.in_(sa.select(places.c.key).where(first))

    # Traits ---------------------------------------------------------------------------------------------------------

    def trait(self, name: str) -> Value:
        """A trait of the people; its query is joined once, however often it is asked for."""
        if name not in self._traits:
            trait = self._model.traits.get(name)
            if trait is None:
                known = ", ".join(self._model.traits) or "none"
                raise DefinitionError(f"the model {self._model.name} has no trait {name!r}", remedy=f"it has: {known}")
            rows = self._origins.rows(trait.of)
            taken = None if trait.column is None else rows.origin.value(trait.column)
            counted = sa.select().select_from(rows.source).where(rows.key.is_not(None))
            counted = counted.where(*self._counting(rows, trait.of, trait.where, trait.within, self._of_traits))
            query = grouped(trait, rows.key, taken, rows.at, counted, self._expressions)
            joined = query.subquery(f"trait_{name}")
            kind = kind_of_trait(trait, None if taken is None else taken.kind)
            self._traits[name] = (joined, Value(of_nobody(trait, joined.c.value), kind))
        return self._traits[name][1]

    # Rows -----------------------------------------------------------------------------------------------------------

    def _did(self, condition: Did) -> Predicate:
        return self._so_many(self._keys(condition, condition.did), condition.count)

    def _did_not(self, condition: DidNot) -> Predicate:
        return self.key.column.not_in(self._keys(condition, condition.did_not)[0])

    def _has(self, condition: Has) -> Predicate:
        return self._so_many(self._keys(condition, condition.has), condition.count)

    def _has_no(self, condition: HasNo) -> Predicate:
        return self.key.column.not_in(self._keys(condition, condition.has_no)[0])

    def _keys(self, condition: Did | DidNot | Has | HasNo, name: str) -> tuple[Keys, sa.ColumnElement[Any]]:
        """The people who have such rows, once for each row."""
        rows = self._origins.rows(name)
        source = rows.source
        conditions = self._counting(rows, name, condition.where, condition.within)
        anchors = condition.anchors if isinstance(condition, (Did, DidNot)) else {}
        for relation, anchor in anchors.items():
            source, related = self._anchored(rows, source, relation, anchor)
            conditions.append(related)
        return sa.select(rows.key).select_from(source).where(rows.key.is_not(None), *conditions), rows.key

    def _so_many(self, found: tuple[Keys, sa.ColumnElement[Any]], count: Any) -> Predicate:
        keys, key = found
        least, most = (1, None) if count is None else count.bounds
        if least == 0 and most is None:
            return sa.true()
        if least == 0:
            return self.key.column.not_in(keys.group_by(key).having(sa.func.count() > most))
        if (least, most) == (1, None):
            return self.key.column.in_(keys)
        bounds = [sa.func.count() >= least, *([sa.func.count() <= most] if most is not None else [])]
        return self.key.column.in_(keys.group_by(key).having(sa.and_(*bounds)))

    def _counting(
        self, rows: PersonRows, name: str, where: Any, window: Any, comparisons: Comparisons | None = None
    ) -> list[Predicate]:
        """Which rows count: conditions about them and their time. An event has happened."""
        by = comparisons or self._comparisons
        found = [self._row(rows, condition, by) for condition in row_conditions(where)] if where is not None else []
        if rows.at is not None and window is not None:
            found.append(by.within(rows.at, window))
        if rows.at is not None and name in self._model.events and not (isinstance(window, str)):
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
            each = sa.select(sa.literal(1)).select_from(other.source)
            each = each.where(other.key == rows.key, *conditions, related(theirs))
            return source, each.exists()
        first = anchor.pick == "first" or (anchor.pick == "any" and later)
        picked = (sa.func.min if first else sa.func.max)(theirs)
        anchors = (
            sa.select(other.key.label("key"), picked.label("at"))
            .select_from(other.source)
            .where(other.key.is_not(None), *conditions)
            .group_by(other.key)
            .subquery(f"{anchor.pick}_{anchor.event}_{relation}")
        )
        return source.join(anchors, anchors.c.key == rows.key), related(anchors.c.at)

    def _sequence(self, condition: InSequence) -> Predicate:
        steps = [self._origins.rows(step.did) for step in condition.sequence]
        first = steps[0]
        source: sa.FromClause = first.source
        conditions: list[Predicate] = [first.key.is_not(None)]
        for number, (rows, step) in enumerate(zip(steps, condition.sequence, strict=True)):
            conditions += self._counting(rows, step.did, step.where, condition.within)
            if number == 0:
                continue
            before = steps[number - 1]
            assert rows.at is not None
            assert before.at is not None
            now, then = self._comparable(rows.at, before.at)
            source = source.join(rows.source, rows.key == first.key)
            conditions.append(now > then)
            if step.within_after is not None:
                conditions.append(now <= then + interval(length(step.within_after)))
        return self.key.column.in_(sa.select(first.key).select_from(source).where(*conditions))

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
            zone = sa.literal(str(self._clock.columns_zone), sa.Text())
            return sa.func.timezone(zone, value.column, type_=sa.DateTime())
        return sa.cast(value.column, sa.DateTime()) if value.kind is Kind.DATE else value.column

    _compile: dict[type[Config], Callable[..., Predicate]] = {  # noqa: RUF012 - filled once, below its methods
        AllOf: _all,
        AnyOf: _any,
        NoneOf: _none,
        PropertyCondition: _property,
        TraitCondition: _trait,
        InAudience: _in_audience,
        NotInAudience: _not_in_audience,
        Sample: _sample,
        Top: _top,
        Did: _did,
        DidNot: _did_not,
        Has: _has,
        HasNo: _has_no,
        InSequence: _sequence,
    }
