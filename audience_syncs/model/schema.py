"""The schema that filters are about: a parent model (people), what is related to it, its events and its traits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, field_validator, model_validator

from audience_syncs.model.kinds import Kind, kind_of
from audience_syncs.model.moments import length
from audience_syncs.model.names import Name
from audience_syncs.model.row_filters import Where, Window
from audience_syncs.model.schedules import TimeZone
from audience_syncs.model.strict import Config

if TYPE_CHECKING:
    from audience_syncs.model.config import AudienceConfig

Columns = Annotated[dict[str, str], Field(min_length=1)]

_ASSET = "Dagster's asset that makes the table, e.g. `dbt/customers`: it becomes an upstream of the audiences."


class Rows(Config):
    """Where rows come from: a table, or a query."""

    table: str | None = Field(default=None, min_length=1, description="A table or view: `shop.users`.")
    sql: str | None = Field(default=None, min_length=1, description="One SELECT, instead of a table.")
    asset: str | None = Field(default=None, min_length=1, description=_ASSET)

    @model_validator(mode="after")
    def _one_origin(self) -> Rows:
        if (self.table is None) == (self.sql is None):
            raise ValueError("give exactly one of `table` and `sql`")
        return self

    @field_validator("sql")
    @classmethod
    def _one_statement(cls, value: str | None) -> str | None:
        text = (value or "").strip().rstrip(";").strip()
        if value is not None and not text:
            raise ValueError("`sql` is empty; write one SELECT")
        return text or None


class Link(Rows):
    """The table between people and rows that both may have many of."""

    parent: Columns = Field(description="Column of the model -> column of this table.")
    related: Columns = Field(description="Column of this table -> column of the related rows.")


class Related(Rows):
    """Rows that belong to a person: orders, subscriptions; with ``through``, rows that many people share."""

    join: Columns | None = Field(default=None, description="Column of the model -> column of these rows.")
    through: Link | None = Field(default=None, description="Instead of `join`: the table in between.")
    timestamp: str | None = Field(default=None, min_length=1, description="Column with the time of a row.")
    description: str = ""

    @model_validator(mode="after")
    def _one_way(self) -> Related:
        if (self.join is None) == (self.through is None):
            raise ValueError("give exactly one of `join` and `through`")
        return self


class Event(Related):
    """Rows that happened at a time: page views, purchases."""

    timestamp: str = Field(min_length=1, description="Column with the time of the event.")


class Aggregation(StrEnum):
    """How a trait is made from rows. Nulls are left out; ``first`` and ``last`` go by the rows' timestamp, of equals the
    smaller value; ``most_frequent``, of equally many, is the smaller value. Texts are ordered by their bytes, averages are
    rounded to 9 decimals. Who has no such rows has none of these values, and counts of 0."""

    COUNT = "count"
    COUNT_DISTINCT = "count_distinct"
    SUM = "sum"
    AVG = "avg"
    MIN = "min"
    MAX = "max"
    FIRST = "first"
    LAST = "last"
    MOST_FREQUENT = "most_frequent"


class Trait(Config):
    """A value about a person, aggregated over their related rows or events. Whichever audience asks, it is the same at a
    moment: days in its ``where`` and ``within`` begin in the model's time zone."""

    of: Name = Field(description="Name of related rows or of an event.")
    take: Aggregation = Field(description="count, count_distinct, sum, avg, min, max, first, last, most_frequent.")
    column: str | None = Field(default=None, min_length=1, description="Column of those rows; `count` needs none.")
    where: Where | None = Field(
        default=None, description="Which rows count: `{status: paid}`, or a list of conditions."
    )
    within: Window | None = Field(default=None, description="`365 days` before now, or `{from: ..., to: ...}`.")
    description: str = ""

    @model_validator(mode="after")
    def _complete(self) -> Trait:
        if isinstance(self.within, str):
            length(self.within)
        if self.take is Aggregation.COUNT and self.column is not None:
            raise ValueError("`count` counts rows; remove `column`, or take `count_distinct`")
        if self.take is not Aggregation.COUNT and self.column is None:
            raise ValueError(f"`{self.take}` needs a column; add `column: ...`")
        return self


class ModelConfig(Rows):
    """A parent model: the people that audiences are chosen from, and what is known about them."""

    name: Name
    source: Name = Field(description="Name of a source.")
    title: str | None = Field(default=None, min_length=1, max_length=120)
    description: str = ""
    primary_key: str = Field(min_length=1, description="Column that identifies a person; unique and never null.")
    label: str | None = Field(default=None, min_length=1, description="Column by which people recognise a person.")
    timezone: TimeZone = Field(
        default="UTC",
        description="IANA name. Days of filters begin in it, unless an audience says otherwise; columns without a time zone "
        "hold its wall-clock time.",
    )
    now_sql: str | None = Field(
        default=None,
        min_length=1,
        description="One SELECT of one timestamp that counts as now, for a warehouse that lags: `SELECT max(loaded_at) FROM "
        "events`. Default: the moment of the evaluation.",
    )
    personal: list[str] = Field(default_factory=list, description="Columns with personal data; masked in previews.")
    related: dict[Name, Related] = Field(default_factory=dict)
    events: dict[Name, Event] = Field(default_factory=dict)
    traits: dict[Name, Trait] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _distinct_names(self) -> ModelConfig:
        both = sorted(set(self.related) & set(self.events))
        if both:
            raise ValueError(f"{', '.join(both)} is a name of related rows and of an event; give one another name")
        return self

    def rows(self, name: str) -> Related | None:
        """The related rows or the event of that name."""
        return self.events.get(name) or self.related.get(name)

    @property
    def parts(self) -> dict[str, Rows]:
        """Everything with columns of its own, by the name it is recorded under: the model's name for people,
        ``model.rows`` for rows, ``model.rows.through`` for a table in between."""
        found: dict[str, Rows] = {self.name: self}
        for name, rows in {**self.related, **self.events}.items():
            found[f"{self.name}.{name}"] = rows
            if rows.through is not None:
                found[f"{self.name}.{name}.through"] = rows.through
        return found

    @property
    def assets(self) -> list[str]:
        """Dagster's assets behind it, each once."""
        return list(dict.fromkeys(rows.asset for rows in self.parts.values() if rows.asset is not None))


RecordedColumns = dict[str, dict[str, str]]
"""Columns as the warehouse told them: part of a model (or an audience's name) -> column -> the warehouse's name of its type."""


@dataclass(frozen=True)
class Schema:
    """What a filter may refer to, resolved: models with their columns, and the audiences it names."""

    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    columns: RecordedColumns = field(default_factory=dict)
    audiences: Mapping[str, AudienceConfig] = field(default_factory=dict)

    def kind(self, part: str, column: str) -> Kind | None:
        """The kind of a column of a part (``ModelConfig.parts``); None where there is no such column."""
        type_name = self.columns.get(part, {}).get(column)
        return None if type_name is None else kind_of(type_name)
