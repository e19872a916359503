"""Splits: an audience divided into named groups, each with syncs of its own; a group without syncs is held out."""

from __future__ import annotations

from pydantic import Field, model_validator

from audience_syncs.model.names import Name
from audience_syncs.model.strict import Config

GROUP = "_group"
"""The member's group: a column of the snapshots of an audience with a split, which may be mapped like any other."""

HUNDRED = 1e-9
"""How far the percentages may be from a hundred: they are decimal fractions."""


class Group(Config):
    """One part of a split."""

    name: Name
    percent: float = Field(
        gt=0, le=100, description="How many of a hundred members: more than 0, and 100 together with the other groups."
    )
    syncs: list[Name] = Field(
        default_factory=list,
        description="Syncs of the audience that this group is sent to. Without any, it is the holdout: sent nowhere.",
    )


class Conversion(Config):
    """What counts as success, for the lift report."""

    event: Name | None = Field(
        default=None, description="Event of the audience's model: who did it since they were in."
    )
    sql: str | None = Field(
        default=None,
        min_length=1,
        description="One SELECT of two columns, instead of an event: the primary key of who converted, and when.",
    )
    within: str | None = Field(default=None, description="So long after they came into the audience: `30 days`.")

    @model_validator(mode="after")
    def _one_origin(self) -> Conversion:
        from audience_syncs.model.moments import length

        if (self.event is None) == (self.sql is None):
            raise ValueError("give exactly one of `event` and `sql`")
        if self.within is not None:
            length(self.within)
        return self


class Split(Config):
    """Members divided by a salted hash of their key: who is in a group stays in it, also when the audience grows."""

    groups: list[Group] = Field(min_length=2, max_length=50)
    salt: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Another salt divides anew. Default: the audience's name.",
    )
    stratify: list[str] = Field(
        default_factory=list,
        description="Columns of the audience within whose values the groups have their percentages: `[country]`.",
    )
    conversions: dict[Name, Conversion] = Field(default_factory=dict, description="For the lift report.")

    @property
    def holdouts(self) -> list[str]:
        """Groups without syncs."""
        return [group.name for group in self.groups if not group.syncs]

    @model_validator(mode="after")
    def _whole(self) -> Split:
        names = [group.name for group in self.groups]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two groups are called {', '.join(twice)}; give each its own name")
        total = sum(group.percent for group in self.groups)
        if abs(total - 100) > HUNDRED:
            raise ValueError(f"the groups' percentages come to {total:g}; make them 100, e.g. with a holdout")
        return self
