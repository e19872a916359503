"""Sequences: syncs that run one after the other, as one thing with a schedule of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from audience_syncs.model.names import Name
from audience_syncs.model.schedules import Schedule
from audience_syncs.model.strict import Config

Step = Annotated[
    str,
    Field(pattern=r"^[a-z][a-z0-9_]*/[a-z][a-z0-9_]*$", description="A sync: `audience/sync`."),
]


class StopConfig(Config):
    """What ends a sequence before its last step."""

    failed: bool = Field(
        default=True,
        description="Stop after a sync that failed or was blocked. Otherwise the next ones run all the same, and the run "
        "fails at its end.",
    )
    rejected: int | None = Field(
        default=None, ge=0, description="Stop after a sync with more rejected members than this."
    )
    rejected_percent: float | None = Field(
        default=None,
        ge=0,
        le=100,
        description="Stop after a sync with a greater share of the audience rejected than this.",
    )

    def objection(self, rejected: int, in_audience: int) -> str | None:
        """Why a sequence ends after a sync with so many members rejected; None if it goes on."""
        percent = 100 * rejected / in_audience if in_audience else 0.0
        if self.rejected is not None and rejected > self.rejected:
            return f"{rejected:,} members were rejected, and the sequence allows {self.rejected:,}"
        if self.rejected_percent is not None and percent > self.rejected_percent:
            return (
                f"{percent:.1f} % of the audience were rejected ({rejected:,} of {in_audience:,}), and the sequence allows "
                f"{self.rejected_percent:g} %"
            )
        return None


class SequenceConfig(Config):
    """Syncs in an order, each after the one before has ended well."""

    name: Name
    title: str | None = Field(
        default=None, min_length=1, max_length=120, description="Shown to marketers. Default: the name."
    )
    description: str = ""
    steps: list[Step] = Field(min_length=1, description="The syncs, `audience/sync`, in their order.")
    schedule: Schedule = Field(
        default="manual",
        description="As of a sync. `{after: ...}` names an asset of Dagster; syncs that only run here are `manual` themselves.",
    )
    paused: bool = Field(
        default=False,
        description="Whether its schedule starts switched off. Afterwards, the switch in Dagster decides.",
    )
    stop: StopConfig = Field(default_factory=StopConfig)

    @field_validator("steps")
    @classmethod
    def _distinct(cls, value: list[str]) -> list[str]:
        twice = sorted({step for step in value if value.count(step) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is there twice; each sync is one step")
        return value

    @property
    def label(self) -> str:
        return self.title or self.name

    @property
    def frequency(self) -> str:
        """The schedule in words."""
        return self.schedule if isinstance(self.schedule, str) else self.schedule.in_words()
