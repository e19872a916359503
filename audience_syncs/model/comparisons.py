"""Comparisons: one operator, and what a value is compared with. What each means stands in ``model.filters``."""

from __future__ import annotations

import re
from typing import Any

from pydantic import Field, field_validator, model_validator

from audience_syncs.model.moments import is_day, length
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
