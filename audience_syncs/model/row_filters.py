"""Which rows of a person count: conditions about them, their time, their number. What each means stands in ``model.filters``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from audience_syncs.model.comparisons import Comparison, Scalar
from audience_syncs.model.moments import is_day, length
from audience_syncs.model.names import Name
from audience_syncs.model.strict import Config


class PropertyCondition(Comparison):
    """About a column of the row."""

    property: str = Field(min_length=1, description="Column of the model (or, in `where`, of its rows).")


class AllRows(Config):
    """Rows that meet all of these."""

    all: list[RowCondition] = Field(min_length=1)


class AnyRows(Config):
    """Rows that meet one of these."""

    any: list[RowCondition] = Field(min_length=1)


class NoneRows(Config):
    """Rows that meet none of these."""

    none: list[RowCondition] = Field(min_length=1)


def kind_by_key(kinds: Iterable[str]) -> Any:
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
    kind_by_key(ROW_KINDS),
]


def _where_kind(value: Any) -> str:
    return "<columns>" if isinstance(value, Mapping) else "<conditions>"


Where = Annotated[
    Annotated[dict[str, Scalar | list[Scalar]], Tag("<columns>")] | Annotated[list[RowCondition], Tag("<conditions>")],
    Discriminator(_where_kind),
]
"""Which rows count: ``{category: Headphones, status: [paid, shipped]}`` for equal values, or a list of conditions that all
must hold."""

WHERE = "Which rows count: `{category: Headphones, status: [paid, shipped]}`, or a list of conditions."


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

WITHIN = "When: `7 days` (before now), or `{from: 2026-11-01, to: 30 days ago}`."


class Windowed(Config):
    where: Where | None = Field(default=None, description=WHERE)
    within: Window | None = Field(default=None, description=WITHIN)

    @field_validator("within")
    @classmethod
    def _readable(cls, value: Any) -> Any:
        if isinstance(value, str):
            length(value)
        return value


class Anchor(Windowed):
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


for _model in (AllRows, AnyRows, NoneRows, Anchor):
    _model.model_rebuild()
