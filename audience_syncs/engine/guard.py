"""The guard: limits beyond which a plan is not sent. Pure: figures in, an objection or None out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from audience_syncs.model.config import GuardConfig
from audience_syncs.model.schedules import duration
from audience_syncs.model.values import PlanCounts


@dataclass(frozen=True, slots=True)
class Figures:
    """What the guard looks at. ``in_audience``: members who are sent; ``holding``: members the list held before this plan, as
    far as the ledger knows."""

    in_audience: int
    holding: int
    counts: PlanCounts
    source_age: timedelta = timedelta(0)
    """How old the data behind the audience is."""
    withheld: int = 0
    """Members of the audience who are kept out: excluded, in an audience that goes first, in other groups of the split."""
    mirrors: bool = True
    """Whether the plan makes the list the audience, so that an empty audience empties it."""


def objection(guard: GuardConfig, figures: Figures) -> str | None:
    """Why this plan must not be sent without a person's approval; None when it may be."""
    removed = figures.counts.removed
    if guard.max_source_age is not None and figures.source_age > duration(guard.max_source_age):
        return (
            f"the audience's data is {_in_words(figures.source_age)} old; the limit is {guard.max_source_age} "
            "(guard.max_source_age)"
        )
    if figures.mirrors and figures.in_audience == 0 and not guard.allow_empty:
        if figures.withheld:
            return (
                f"all {figures.withheld:,} members of the audience are kept out by exclusions, priority or split; the list "
                f"holds {figures.holding:,}, all of whom would be removed (guard.allow_empty)"
            )
        return (
            f"the audience has 0 members; the list holds {figures.holding:,}, all of whom would be removed "
            "(guard.allow_empty)"
        )
    share = 100 * removed / figures.holding if figures.holding else 0.0
    if (
        removed > guard.min_drop
        and share > guard.max_drop_percent
        and not (figures.in_audience == 0 and guard.allow_empty)
    ):
        return (
            f"{removed:,} of {figures.holding:,} members would be removed, {share:.1f} %; the limit is "
            f"{guard.max_drop_percent:g} % (guard.max_drop_percent) once it is more than {guard.min_drop:,} people"
        )
    if guard.max_removals is not None and removed > guard.max_removals:
        return f"{removed:,} members would be removed; the limit is {guard.max_removals:,} (guard.max_removals)"
    unusable = figures.counts.unusable
    unusable_share = 100 * unusable / figures.in_audience if figures.in_audience else 0.0
    if unusable > guard.min_drop and unusable_share > guard.max_unusable_percent:
        return (
            f"{unusable:,} of {figures.in_audience:,} members have no usable identifier, {unusable_share:.1f} %; the "
            f"limit is {guard.max_unusable_percent:g} % (guard.max_unusable_percent)"
        )
    return None


def _in_words(age: timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours / 24:.1f} days" if hours >= 48 else f"{hours:.1f} hours"
