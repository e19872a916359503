"""A filter as one SQL statement. ``model.filters`` says what each condition means; nothing here decides that.

Each condition about rows, other audiences or ranks becomes a set of primary keys, each once, that is joined to the people: a
person is in it or not, however deep the condition is nested. ``key NOT IN (SELECT ...)`` would read easier, and PostgreSQL goes
through the whole set for every person as soon as it is too large for its memory (``row_sets``). Traits are joined likewise, one
grouped query for each. Every value is a parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from audience_syncs.audiences.annotated import annotated, comment
from audience_syncs.audiences.as_of import with_as_of
from audience_syncs.audiences.comparisons import Clock, Comparisons, Predicate, Value, not_
from audience_syncs.audiences.origins import Origins, raw_sql
from audience_syncs.audiences.row_sets import RowSets
from audience_syncs.audiences.traits import AS_TAKEN, grouped, kind_of_trait, of_nobody
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
from audience_syncs.model.row_filters import Count, PropertyCondition
from audience_syncs.model.strict import Config
from audience_syncs.warehouse.expressions import SHARES, Expressions, as_text

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
        self._row_sets = RowSets(self._origins, self._comparisons)
        self._traits: dict[str, Value] = {}
        self._joined: list[tuple[sa.Subquery, Predicate]] = []
        self._reason = ""

    @property
    def key(self) -> sa.ColumnElement[Any]:
        """The primary key of the people."""
        return self._people.source.c[self._model.primary_key]

    def people(self) -> sa.FromClause:
        """FROM: the people, with the sets and traits that were asked for so far; each person once."""
        source = self._people.source
        for joined, matched in self._joined:
            source = source.outerjoin(joined, matched)
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
        if not self._annotate:
            return self._compile[type(condition)](self, condition)
        self._reason = reason = _GROUPS.get(type(condition)) or in_words(condition)
        return annotated(self._compile[type(condition)](self, condition), reason)

    def _among(self, keys: sa.Select[Any], name: str, *, texts: bool = False) -> Predicate:
        """Whether a person is among those whose key a query returns, each once, as ``key``. ``texts``: as text."""
        if self._annotate:
            keys = keys.prefix_with(comment(self._reason))
        joined = keys.subquery(self._origins.name(name))
        own = as_text(self.key) if texts else self.key
        self._joined.append((joined, joined.c.key == own))
        return joined.c.key.is_not(None)

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
        alias = f"in_{name}"
        if other.model is None:
            # Keys of another query may be of another type.
            assert other.sql is not None
            rows = raw_sql(f"\n{with_as_of(other.sql, self._clock.now)}\n").columns(sa.column(other.primary_key))
            members = rows.subquery("members")
            theirs = members.c[other.primary_key]
            keys = sa.select(as_text(theirs).label("key")).distinct().where(theirs.is_not(None))
            return self._among(keys, alias, texts=True)
        compiler = Compiler(other, self._expressions, self._clock.now, annotate=self._annotate, inside=self._inside)
        predicate = compiler.predicate(other.filter) if other.filter is not None else sa.true()
        same = other.model == self._audience.model
        key = compiler.key if same else as_text(compiler.key)
        keys = sa.select(key.label("key")).select_from(compiler.people()).where(predicate)
        return self._among(keys, alias, texts=not same)

    def _sample(self, condition: Sample) -> Predicate:
        return self.in_share(condition.sample)

    def in_share(self, share: Share) -> Predicate:
        """Whether a person is in a random share."""
        limit = -int(-(Decimal(repr(share.percent)) * SHARES // 100))
        return self._expressions.share(share.seed, self.key) < sa.literal(limit, sa.BigInteger())

    def _top(self, condition: Top) -> Predicate:
        rank: Rank = condition.top
        inside = self._inside[:-1]
        ranked = Compiler(self._audience, self._expressions, self._clock.now, annotate=self._annotate, inside=inside)
        by = ranked.value(rank.by)
        # Of equals, the smaller key: of texts byte by byte, and of what is like a text, its text.
        key = self._origins.key_of(ranked._people)
        ordered = self._expressions.in_order(key.column) if key.kind is Kind.TEXT else key.column
        place = sa.func.row_number().over(order_by=[by.column if rank.lowest else by.column.desc(), ordered])
        counted: Predicate = by.column.is_not(None)
        if rank.among is not None:
            counted = sa.and_(counted, ranked.predicate(rank.among))
        places = (
            sa.select(ranked.key.label("key"), place.label("place"), sa.func.count().over().label("people"))
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
        return self._among(sa.select(places.c.key).where(first), "top")

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
            counted = self._row_sets.counted(rows, trait.of, trait.where, trait.within, self._of_traits)
            query = grouped(trait, rows.key, taken, rows.at, counted, self._expressions)
            joined = query.subquery(self._origins.name(f"trait_{name}"))
            kind = kind_of_trait(trait, None if taken is None else taken.kind)
            self._joined.append((joined, joined.c.key == self.key))
            single = taken is not None and taken.single and trait.take in AS_TAKEN
            self._traits[name] = Value(of_nobody(trait, joined.c.value), kind, single)
        return self._traits[name]

    # Rows -----------------------------------------------------------------------------------------------------------

    def _did(self, condition: Did) -> Predicate:
        return self._so_many(condition, condition.did, condition.count, f"did_{condition.did}")

    def _did_not(self, condition: DidNot) -> Predicate:
        return sa.not_(self._among(self._row_sets.keys(condition, condition.did_not), f"did_{condition.did_not}"))

    def _has(self, condition: Has) -> Predicate:
        return self._so_many(condition, condition.has, condition.count, f"has_{condition.has}")

    def _has_no(self, condition: HasNo) -> Predicate:
        return sa.not_(self._among(self._row_sets.keys(condition, condition.has_no), f"has_{condition.has_no}"))

    def _so_many(self, condition: Did | Has, name: str, count: Count | None, alias: str) -> Predicate:
        least, most = (1, None) if count is None else count.bounds
        if least == 0 and most is None:
            return sa.true()
        if least == 0:
            # Who has no row at all has few enough.
            assert most is not None
            return sa.not_(self._among(self._row_sets.keys(condition, name, most + 1), alias))
        return self._among(self._row_sets.keys(condition, name, least, most), alias)

    def _sequence(self, condition: InSequence) -> Predicate:
        return self._among(self._row_sets.in_sequence(condition), "in_sequence")

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
