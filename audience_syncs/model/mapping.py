"""Where a destination field's value comes from: a column, a constant, a template or an object; and what is done with it.

The steps are always in this order: the value, or ``default`` where it is null; ``split``; ``cast``; the field's own rule
(normalised, hashed). What cannot be read is left out, with a reason code; the member's other fields go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, ClassVar

from pydantic import Field, field_validator, model_validator

from audience_syncs.model import row_templates
from audience_syncs.model.strict import Config

Plain = str | int | float | bool


class Cast(StrEnum):
    """What a value is made before the field's rule sees it."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"


class Nulls(StrEnum):
    """What a null does to the field at the destination."""

    SKIP = "skip"
    CLEAR = "clear"


class MappedField(Config):
    """Where a destination field's value comes from: a column, a constant, a template, or an object of such."""

    column: str | None = Field(default=None, min_length=1, description="Column of the audience.")
    constant: Plain | None = Field(default=None, description="The same value for every member.")
    template: str | None = Field(
        default=None,
        min_length=1,
        max_length=row_templates.LONGEST_SOURCE,
        description="Text made of columns: `{{ first_name }} {{ last_name|upper }}`. A null is empty text; a result without any "
        "text is null. docs/mapping.md has all that it can do.",
    )
    object: dict[str, MappedField] | None = Field(
        default=None,
        min_length=1,
        description="An object, for destinations that take nested values: `{city: city, zip: {column: zip}}`. Nulls within are "
        "left out; one without any value is null.",
    )
    default: Plain | None = Field(
        default=None, description="With `column` or `template`: the value where that is null. Not for identifiers."
    )
    split: str | None = Field(
        default=None,
        min_length=1,
        max_length=10,
        description="Makes a list of a text, at this separator: `','`. For fields that take several values.",
    )
    cast: Cast | None = Field(
        default=None,
        description="Makes the value text, integer, number, boolean, date or datetime first; what is none is left out.",
    )
    nulls: Nulls | None = Field(
        default=None,
        description="`skip` (default): a null leaves the destination's field as it is. `clear`: it empties the field, where the "
        "platform can.",
    )
    region: str | None = Field(
        default=None,
        description="Phones only: column with the ISO 3166 country of the member, for numbers without a country code.",
    )
    default_region: str | None = Field(
        default=None,
        pattern=r"^[A-Z]{2}$",
        description="Phones only: ISO 3166 country for numbers without a country code, where `region` gives none.",
    )
    hashed: bool | None = Field(
        default=None,
        description="Fields that are sent hashed only: `true`, the column holds SHA-256 hashes, and anything else is left "
        "out; `false`, it holds plain values, and a hash is left out. Default: a hash is recognised, and sent as it is.",
    )

    ORIGINS: ClassVar = ("column", "constant", "template", "object")
    NEWER: ClassVar = ("template", "object", "default", "split", "cast", "nulls", "hashed")
    """What mappings did not have at first: unset, they are no part of a mapping's fingerprint."""

    @model_validator(mode="before")
    @classmethod
    def _column_by_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @field_validator("template")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        found = None if value is None else row_templates.problem(value)
        if found is not None:
            raise ValueError(found)
        return value

    @model_validator(mode="after")
    def _one_origin(self) -> MappedField:
        given = [name for name in self.ORIGINS if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of `column`, `constant`, `template` and `object`")
        if given[0] in ("constant", "object"):
            for name in ("default", "split", "cast", *(("region",) if given[0] == "constant" else ())):
                if getattr(self, name) is not None:
                    raise ValueError(f"`{name}` is for columns and templates, not for `{given[0]}`; remove it")
        if self.nulls is not None and (self.constant is not None or self.default is not None):
            raise ValueError("this is never null, so `nulls` would do nothing; remove it")
        for name, part in (self.object or {}).items():
            for option in ("nulls", "region", "default_region", "hashed"):
                if getattr(part, option) is not None:
                    raise ValueError(f"`{option}` is for whole fields, not for `{name}` within one; remove it")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The audience's columns it is made of, each once; those of ``region`` too."""
        return tuple(dict.fromkeys(self._columns()))

    def _columns(self) -> Iterator[str]:
        if self.column is not None:
            yield self.column
        if self.template is not None:
            yield from row_templates.columns_of(self.template)
        for part in (self.object or {}).values():
            yield from part.columns
        if self.region is not None:
            yield self.region

    @property
    def clears(self) -> bool:
        """Whether a null empties the field."""
        return self.nulls is Nulls.CLEAR

    @property
    def in_words(self) -> str:
        """What it is made of, for people."""
        if self.column is not None:
            return f"`{self.column}`"
        if self.constant is not None:
            return "a constant"
        made_of = ", ".join(f"`{name}`" for name in self.columns) or "no column"
        return f"{'a template' if self.template is not None else 'an object'} of {made_of}"
