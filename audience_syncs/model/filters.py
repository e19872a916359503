"""Filters: who is in an audience, said without SQL.

A filter is one condition about a person of a model; conditions nest with ``all``, ``any`` and ``none``. What each means:

Two-valued
    A condition holds or does not, also where a value is null: a comparison with null does not hold. The negative ones
    (``not_equals``, ``not_in``, ``not_contains``, ``not_matches``, ``not_between``, ``not_in_last``, ``did_not``, ``has_no``,
    ``not_in_audience``, ``none``) hold exactly where the positive one does not: ``not_equals: DE`` holds for null.
Text
    Compared as it is, byte for byte, unless ``ignore_case``. ``matches``: a regular expression found anywhere in the text.
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

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from audience_syncs.model.moments import is_day, length
from audience_syncs.model.names import Name
from audience_syncs.model.strict import Config

Scalar = str | int | float | bool

OPERATORS = (
    *("equals", "not_equals", "in", "not_in", "is_null"),
    *("contains", "not_contains", "starts_with", "ends_with", "matches", "not_matches"),
    *("greater_than", "at_least", "less_than", "at_most", "between", "not_between"),
    *("before", "after", "on", "in_last", "not_in_last", "in_next"),
)
"""Every operator of a comparison; a comparison has exactly one."""
TEXT_OPERATORS = frozenset({"contains", "not_contains", "starts_with", "ends_with", "matches", "not_matches"})
ORDER_OPERATORS = frozenset({"greater_than", "at_least", "less_than", "at_most"})
TIME_OPERATORS = frozenset({"before", "after", "on", "in_last", "not_in_last", "in_next"})
NEGATIVE = {
    "not_equals": "equals",
    "not_in": "in",
    "not_contains": "contains",
    "not_matches": "matches",
    "not_between": "between",
    "not_in_last": "in_last",
}
"""Operators that hold exactly where another one does not."""


class Comparison(Config):
    """One operator and what it compares with."""

    equals: Scalar | None = Field(default=None, description="Is this value.")
    not_equals: Scalar | None = Field(default=None, description="Is another value, or null.")
    in_: list[Scalar] | None = Field(default=None, alias="in", min_length=1, description="Is one of these.")
    not_in: list[Scalar] | None = Field(default=None, min_length=1, description="Is none of these, or null.")
    is_null: bool | None = Field(default=None, description="`true`: has no value; `false`: has one.")
    contains: str | None = Field(default=None, min_length=1, description="Has this text in it.")
    not_contains: str | None = Field(default=None, min_length=1, description="Has not this text in it, or is null.")
    starts_with: str | None = Field(default=None, min_length=1)
    ends_with: str | None = Field(default=None, min_length=1)
    matches: str | None = Field(default=None, min_length=1, description="A regular expression, found anywhere in it.")
    not_matches: str | None = Field(default=None, min_length=1)
    greater_than: int | float | None = None
    at_least: int | float | None = None
    less_than: int | float | None = None
    at_most: int | float | None = None
    between: tuple[int | float | str, int | float | str] | None = Field(
        default=None, description="`[low, high]`, both included: numbers, days or moments."
    )
    not_between: tuple[int | float | str, int | float | str] | None = None
    before: str | None = Field(default=None, description="Earlier than a day or a moment: `2026-11-01`, `7 days ago`.")
    after: str | None = Field(default=None, description="Later than a day (when it is over) or a moment.")
    on: str | None = Field(default=None, description="On a day: `2026-11-01`, `yesterday`.")
    in_last: str | None = Field(default=None, description="In the last `7 days`, `6 hours`; now itself excluded.")
    not_in_last: str | None = Field(default=None, description="Not in the last ..., or null.")
    in_next: str | None = Field(default=None, description="From now on, in the next `7 days`.")
    ignore_case: bool = Field(default=False, description="Of texts: capital and small letters are the same.")

    @field_validator("matches", "not_matches")
    @classmethod
    def _a_regular_expression(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                re.compile(value)
            except re.error as error:
                raise ValueError(f"is not a regular expression: {error}; correct it") from None
        return value

    @field_validator("before", "after")
    @classmethod
    def _a_moment(cls, value: str | None) -> str | None:
        if value is not None:
            is_day(value)
        return value

    @field_validator("on")
    @classmethod
    def _a_day(cls, value: str | None) -> str | None:
        if value is not None and not is_day(value):
            raise ValueError(f"{value!r} is a moment, not a day; write a day such as `2026-11-01` or `yesterday`")
        return value

    @field_validator("in_last", "not_in_last", "in_next")
    @classmethod
    def _a_length(cls, value: str | None) -> str | None:
        if value is not None:
            length(value)
        return value

    @field_validator("between", "not_between")
    @classmethod
    def _in_order(cls, value: tuple[Any, Any] | None) -> tuple[Any, Any] | None:
        if value is None:
            return value
        low, high = value
        if isinstance(low, str) != isinstance(high, str):
            raise ValueError("its two values are of different kinds; write two numbers, or two days or moments")
        if isinstance(low, str):
            if all(re.fullmatch(r"-?\d+(\.\d+)?", text) for text in (low, high)):
                raise ValueError("its two numbers are in quotes; remove the quotes")
            if is_day(low) != is_day(high):
                raise ValueError("one of its values is a day, the other a moment; write two days, or two moments")
        elif low > high:
            raise ValueError("the lower value comes first; nobody would be between them as it is")
        return value

    @model_validator(mode="after")
    def _one_operator(self) -> Comparison:
        given = self.operators
        if len(given) != 1:
            empty = [name for name in OPERATORS if ("in_" if name == "in" else name) in self.model_fields_set]
            if not given and empty:
                raise ValueError(f"`{empty[0]}` has no value; write `is_null: true` for who has none")
            found = f"has several operators: {', '.join(given)}" if given else "has no operator"
            several = "use `all` with one condition for each" if given else f"add one of {', '.join(OPERATORS)}"
            raise ValueError(f"the comparison {found}; {several}")
        return self

    @property
    def operators(self) -> list[str]:
        return [name for name in OPERATORS if self.value_of(name) is not None]

    @property
    def operator(self) -> str:
        return self.operators[0]

    @property
    def value(self) -> Any:
        """What the operator compares with."""
        return self.value_of(self.operator)

    def value_of(self, operator: str) -> Any:
        return getattr(self, "in_" if operator == "in" else operator)


class PropertyCondition(Comparison):
    """About a column of the row."""

    property: str = Field(min_length=1, description="Column of the model (or, in `where`, of its rows).")


class TraitCondition(Comparison):
    """About a trait of the model."""

    trait: Name = Field(description="Name of a trait of the model.")


# Rows ----------------------------------------------------------------------------------------------------------------


class AllRows(Config):
    """Rows that meet all of these."""

    all: list[RowCondition] = Field(min_length=1)


class AnyRows(Config):
    """Rows that meet one of these."""

    any: list[RowCondition] = Field(min_length=1)


class NoneRows(Config):
    """Rows that meet none of these."""

    none: list[RowCondition] = Field(min_length=1)


def _kind_by_key(kinds: Iterable[str]) -> Any:
    """Which model a mapping is meant for, by the key that only that model has. A model's tag is its key in angle brackets,
    so that no tag is taken for a key where an error is placed."""

    def kind(value: Any) -> str | None:
        keys = value if isinstance(value, Mapping) else vars(value) if isinstance(value, Config) else ()
        return next((f"<{key}>" for key in kinds if key in keys), None)

    return Discriminator(
        kind,
        custom_error_type="condition_unknown",
        custom_error_message=f"this is no condition; begin it with one of {', '.join(f'`{key}:`' for key in kinds)}",
    )


ROW_KINDS = ("property", "all", "any", "none")
RowCondition = Annotated[
    Annotated[PropertyCondition, Tag("<property>")]
    | Annotated[AllRows, Tag("<all>")]
    | Annotated[AnyRows, Tag("<any>")]
    | Annotated[NoneRows, Tag("<none>")],
    _kind_by_key(ROW_KINDS),
]


def _where_kind(value: Any) -> str:
    return "<columns>" if isinstance(value, Mapping) else "<conditions>"


Where = Annotated[
    Annotated[dict[str, Scalar | list[Scalar]], Tag("<columns>")] | Annotated[list[RowCondition], Tag("<conditions>")],
    Discriminator(_where_kind),
]
"""Which rows count: ``{category: Headphones, status: [paid, shipped]}`` for equal values, or a list of conditions that all
must hold."""

_WHERE = "Which rows count: `{category: Headphones, status: [paid, shipped]}`, or a list of conditions."


def row_conditions(where: Mapping[str, Any] | list[Any]) -> list[PropertyCondition | AllRows | AnyRows | NoneRows]:
    """The conditions of a ``where``, whichever way it was written."""
    if not isinstance(where, Mapping):
        return list(where)
    return [
        PropertyCondition.model_validate({"property": column, "in" if isinstance(value, list) else "equals": value})
        for column, value in where.items()
    ]


class Count(Config):
    """How many rows there must be."""

    at_least: int | None = Field(default=None, ge=0)
    at_most: int | None = Field(default=None, ge=0)
    exactly: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _possible(self) -> Count:
        if self.exactly is not None and (self.at_least is not None or self.at_most is not None):
            raise ValueError("`exactly` stands alone; remove the others")
        if self.exactly is None and self.at_least is None and self.at_most is None:
            raise ValueError("the count is empty; give `at_least`, `at_most` or `exactly`")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("`at_least` is more than `at_most`; nobody could meet it")
        return self

    @property
    def bounds(self) -> tuple[int, int | None]:
        """The least, and the most (None: no limit)."""
        if self.exactly is not None:
            return self.exactly, self.exactly
        return self.at_least or 0, self.at_most


class Between(Config):
    """From one moment to another; days are included whole, of instants the end is not."""

    from_: str | None = Field(default=None, alias="from", description="`2026-11-01`, `90 days ago`. Default: ever.")
    to: str | None = Field(default=None, description="`2026-11-30`, `30 days ago`. Default: now.")

    @model_validator(mode="after")
    def _bounded(self) -> Between:
        for text in (self.from_, self.to):
            if text is not None:
                is_day(text)
        if self.from_ is None and self.to is None:
            raise ValueError("the window has neither `from` nor `to`; give one of them, or write `within: 7 days`")
        return self


def _window_kind(value: Any) -> str:
    return "<length>" if isinstance(value, str) else "<between>"


Window = Annotated[
    Annotated[str, Tag("<length>")] | Annotated[Between, Tag("<between>")],
    Discriminator(_window_kind),
]
"""``7 days`` before now, or ``{from: 90 days ago, to: 30 days ago}``."""

_WITHIN = "When: `7 days` (before now), or `{from: 2026-11-01, to: 30 days ago}`."


class _Windowed(Config):
    where: Where | None = Field(default=None, description=_WHERE)
    within: Window | None = Field(default=None, description=_WITHIN)

    @field_validator("within")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        if isinstance(value, str):
            length(value)
        return value


class Anchor(_Windowed):
    """Another event of the same person: its first, its last or any."""

    first: Name | None = Field(default=None, description="Name of an event: the first there is.")
    last: Name | None = Field(default=None, description="Name of an event: the latest there is.")
    any: Name | None = Field(default=None, description="Name of an event: any of them.")
    at_most_apart: str | None = Field(default=None, description="So close to it: `3 days`.")

    @model_validator(mode="after")
    def _one_event(self) -> Anchor:
        if sum(name is not None for name in (self.first, self.last, self.any)) != 1:
            raise ValueError("the anchor needs exactly one of `first`, `last` and `any`; e.g. `{last: cart_adds}`")
        if self.at_most_apart is not None:
            length(self.at_most_apart)
        return self

    @property
    def pick(self) -> Literal["first", "last", "any"]:
        return "first" if self.first is not None else "last" if self.last is not None else "any"

    @property
    def event(self) -> str:
        return self.first or self.last or self.any or ""


class _Anchored(_Windowed):
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


class Has(_Windowed):
    """Has such a related row; with ``count``, so many."""

    has: Name = Field(description="Name of related rows of the model.")
    count: Count | None = Field(default=None, description="How many: `{at_least: 2}`. Default: one or more.")


class HasNo(_Windowed):
    """Has no such related row."""

    has_no: Name = Field(description="Name of related rows of the model.")


class Step(Config):
    """One step of a sequence."""

    did: Name
    where: Where | None = Field(default=None, description=_WHERE)
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
    within: Window | None = Field(default=None, description=f"All of its steps. {_WITHIN}")

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
    _kind_by_key(CONDITION_KINDS),
]
"""A condition about a person."""

_RECURSIVE: tuple[type[Config], ...] = (
    *(AllRows, AnyRows, NoneRows, Anchor, Did, DidNot, Has, HasNo, Step, InSequence),
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
