"""Filters: who is in an audience, said without SQL.

A filter is one condition about a person of a model; conditions nest with ``all``, ``any`` and ``none``. What each means:

Two-valued
    A condition holds or does not, also where a value is null: a comparison with null does not hold. The negative ones
    (``not_equals``, ``not_in``, ``not_contains``, ``not_matches``, ``not_between``, ``not_in_last``, ``did_not``, ``has_no``,
    ``not_in_audience``, ``none``) hold exactly where the positive one does not: ``not_equals: DE`` holds for null.
Text
    Compared as it is, byte for byte, unless ``ignore_case``. ``matches``: a regular expression found anywhere in the text;
    its ``\\b`` is the edge of a word and its ``.`` not the end of a line, on every warehouse.
Times
    Days begin in the filter's time zone. ``before`` a day: before it begins; ``after`` a day: after it is over; ``on`` a day;
    ``between`` two days: both included. Before and after an instant are strict; ``between`` two instants includes both.
    ``in_last: 7 days``: from that long before now, now itself excluded. ``in_next``: from now on, its end excluded.
    A column without time zone holds the wall-clock time of the model's zone, and is compared as such. A date column is
    compared with days: ``in_last: 7 days`` are today and the six days before; ``in_next`` today and those that follow.
Events
    Rows with a timestamp before now; a row without one does not count. ``within: 7 days``: as ``in_last``.
    ``since`` an event of the same person: at its moment or later; ``after``: strictly later; ``until`` and ``before`` likewise.
    The anchor is the ``first``, the ``last`` or ``any`` such event in the anchor's own ``within`` and ``where``; who has none
    has no event since. ``at_most_apart``: so close to it (inclusive). An anchor may be the same kind of event, and the event
    itself. A ``sequence``: one event for each step, at strictly increasing moments. Times of different kinds (a moment, a time
    without zone, a date, which is its midnight) are compared on the model's clock. Of a date, events up to today count.
Rows
    ``has`` counts related rows; those without a time, or with one to come, too, unless ``within`` says otherwise. With
    ``through``, a row belongs to a person once, however many rows in between lead to it.
Top
    The people with the highest (``lowest``) values among all people of the model, or ``among`` those who meet a condition;
    nobody whose value is null. Of equals, the smaller primary key goes first (texts byte by byte). ``percent`` is of those who
    have a value, and rounded up to whole people.
Sample
    By the MD5 of ``seed:key``: the same people each time, and independent of other seeds.
Other audiences
    Evaluated at the same moment, with their own time zone. A null key in the answer of their SQL is nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, Tag, field_validator, model_validator

from audience_syncs.model.comparisons import Comparison
from audience_syncs.model.moments import length
from audience_syncs.model.names import Name
from audience_syncs.model.row_filters import (
    WHERE,
    WITHIN,
    AllRows,
    Anchor,
    AnyRows,
    Count,
    NoneRows,
    PropertyCondition,
    Where,
    Window,
    Windowed,
    kind_by_key,
)
from audience_syncs.model.strict import Config


class TraitCondition(Comparison):
    """About a trait of the model."""

    trait: Name = Field(description="Name of a trait of the model.")


class _Anchored(Windowed):
    since: Anchor | None = Field(default=None, description="At the moment of another event, or later.")
    after: Anchor | None = Field(default=None, description="Later than another event.")
    until: Anchor | None = Field(default=None, description="At the moment of another event, or earlier.")
    before: Anchor | None = Field(default=None, description="Earlier than another event.")

    @property
    def anchors(self) -> dict[str, Anchor]:
        """Relation (``since``, ``after``, ``until``, ``before``) -> what it is to."""
        given = {"since": self.since, "after": self.after, "until": self.until, "before": self.before}
        return {relation: anchor for relation, anchor in given.items() if anchor is not None}


class Did(_Anchored):
    """Has such an event; with ``count``, so many."""

    did: Name = Field(description="Name of an event of the model.")
    count: Count | None = Field(default=None, description="How many: `{at_least: 2}`. Default: one or more.")


class DidNot(_Anchored):
    """Has no such event."""

    did_not: Name = Field(description="Name of an event of the model.")


class Has(Windowed):
    """Has such a related row; with ``count``, so many."""

    has: Name = Field(description="Name of related rows of the model.")
    count: Count | None = Field(default=None, description="How many: `{at_least: 2}`. Default: one or more.")


class HasNo(Windowed):
    """Has no such related row."""

    has_no: Name = Field(description="Name of related rows of the model.")


class Step(Config):
    """One step of a sequence."""

    did: Name
    where: Where | None = Field(default=None, description=WHERE)
    within_after: str | None = Field(default=None, description="At most so long after the step before: `1 hour`.")

    @field_validator("within_after")
    @classmethod
    def _a_length(cls, value: str | None) -> str | None:
        if value is not None:
            length(value)
        return value


class InSequence(Config):
    """Did one thing after the other."""

    sequence: list[Step] = Field(min_length=2, max_length=10)
    within: Window | None = Field(default=None, description=f"All of its steps. {WITHIN}")

    @model_validator(mode="after")
    def _first_has_none_before(self) -> InSequence:
        if isinstance(self.within, str):
            length(self.within)
        if self.sequence[0].within_after is not None:
            raise ValueError("the first step has none before it; remove its `within_after`, or use `within`")
        return self


# People --------------------------------------------------------------------------------------------------------------


class InAudience(Config):
    """Is in another audience, evaluated at the same moment."""

    in_audience: Name


class NotInAudience(Config):
    """Is not in another audience."""

    not_in_audience: Name


class Rank(Config):
    """The people with the highest values."""

    count: int | None = Field(default=None, ge=1, description="So many people.")
    percent: float | None = Field(
        default=None, gt=0, le=100, description="How many of a hundred people: more than 0, at most 100."
    )
    by: str = Field(min_length=1, description="A column or a trait of the model: a number or a time.")
    lowest: bool = Field(default=False, description="The lowest values instead of the highest.")
    among: Condition | None = Field(default=None, description="Only people who meet this are ranked.")

    @model_validator(mode="after")
    def _one_size(self) -> Rank:
        if (self.count is None) == (self.percent is None):
            raise ValueError("give exactly one of `count` and `percent`; e.g. `{percent: 10, by: revenue}`")
        return self


class Top(Config):
    """Is one of those with the highest values."""

    top: Rank


class Share(Config):
    """A random part, the same people each time."""

    percent: float = Field(gt=0, le=100, description="How many of a hundred people: more than 0, at most 100.")
    seed: str = Field(default="", max_length=200, description="Another seed chooses other people. Default: none.")


class Sample(Config):
    """Is in a random sample."""

    sample: Share


class AllOf(Config):
    """All of these hold."""

    all: list[Condition] = Field(min_length=1)


class AnyOf(Config):
    """At least one of these holds."""

    any: list[Condition] = Field(min_length=1)


class NoneOf(Config):
    """None of these holds."""

    none: list[Condition] = Field(min_length=1)


CONDITION_KINDS = (
    *("property", "trait", "did", "did_not", "sequence", "has", "has_no"),
    *("in_audience", "not_in_audience", "top", "sample", "all", "any", "none"),
)
"""The key that each kind of condition begins with."""
Condition = Annotated[
    Annotated[PropertyCondition, Tag("<property>")]
    | Annotated[TraitCondition, Tag("<trait>")]
    | Annotated[Did, Tag("<did>")]
    | Annotated[DidNot, Tag("<did_not>")]
    | Annotated[InSequence, Tag("<sequence>")]
    | Annotated[Has, Tag("<has>")]
    | Annotated[HasNo, Tag("<has_no>")]
    | Annotated[InAudience, Tag("<in_audience>")]
    | Annotated[NotInAudience, Tag("<not_in_audience>")]
    | Annotated[Top, Tag("<top>")]
    | Annotated[Sample, Tag("<sample>")]
    | Annotated[AllOf, Tag("<all>")]
    | Annotated[AnyOf, Tag("<any>")]
    | Annotated[NoneOf, Tag("<none>")],
    kind_by_key(CONDITION_KINDS),
]
"""A condition about a person."""

_RECURSIVE: tuple[type[Config], ...] = (
    *(Did, DidNot, Has, HasNo, Step, InSequence),
    *(Rank, Top, AllOf, AnyOf, NoneOf),
)
for _model in _RECURSIVE:
    _model.model_rebuild()


def inner(condition: Config) -> list[Any]:
    """The conditions directly inside of one: of ``all``, ``any``, ``none``, and ``among``."""
    if isinstance(condition, (AllOf, AllRows)):
        return list(condition.all)
    if isinstance(condition, (AnyOf, AnyRows)):
        return list(condition.any)
    if isinstance(condition, (NoneOf, NoneRows)):
        return list(condition.none)
    if isinstance(condition, Top) and condition.top.among is not None:
        return [condition.top.among]
    return []


def walk(condition: Config) -> Iterator[Config]:
    """A condition and all inside of it, at any depth."""
    yield condition
    for child in inner(condition):
        yield from walk(child)


def audiences_in(condition: Config) -> list[str]:
    """Names of the other audiences a condition asks about, in their order."""
    names = [
        found.in_audience if isinstance(found, InAudience) else found.not_in_audience
        for found in walk(condition)
        if isinstance(found, (InAudience, NotInAudience))
    ]
    return list(dict.fromkeys(names))
