"""Lift: what the groups of a split did, and how sure it is that they did it for being in the group. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import sqrt
from statistics import NormalDist
from typing import Any

ENOUGH = 100
"""People in a group below which nothing is said about it in words. The interval holds for fewer, and is very wide."""

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True, slots=True)
class Proportion:
    """So many of so many."""

    part: int
    whole: int

    @property
    def rate(self) -> float:
        return self.part / self.whole if self.whole else 0.0

    def interval(self) -> tuple[float, float]:
        """95 % score interval without continuity correction (Wilson, JASA 22, 1927, 209-212; method 3 in Newcombe, Statistics
        in Medicine 17, 1998, 857-872). Of nobody, everything is possible."""
        if not self.whole:
            return 0.0, 1.0
        n, p, z2 = self.whole, self.rate, _Z * _Z
        middle, spread = 2 * n * p + z2, _Z * sqrt(z2 + 4 * n * p * (1 - p))
        return max(0.0, (middle - spread) / (2 * (n + z2))), min(1.0, (middle + spread) / (2 * (n + z2)))


def difference(one: Proportion, other: Proportion) -> tuple[float, float, float]:
    """The difference of two independent proportions, with its 95 % interval: the hybrid score interval without continuity
    correction (method 10 in Newcombe, Statistics in Medicine 17, 1998, 873-890)."""
    (low, high), (other_low, other_high) = one.interval(), other.interval()
    found = one.rate - other.rate
    lower = found - sqrt((one.rate - low) ** 2 + (other_high - other.rate) ** 2)
    upper = found + sqrt((high - one.rate) ** 2 + (other.rate - other_low) ** 2)
    return found, lower, upper


@dataclass(frozen=True, slots=True)
class GroupLift:
    """One group: its people since they were first in it, and those of them who converted."""

    group: str
    people: int
    converted: int
    is_baseline: bool = False
    difference: float | None = None
    """Of the rate to the baseline's, as a part of 1; None for the baseline, and without one."""
    lower: float | None = None
    upper: float | None = None
    """Where that difference is, in 95 of 100 cases."""
    relative: float | None = None
    """The difference as a part of the baseline's rate; None also where nobody of the baseline converted."""
    verdict: str = ""
    """In words."""

    @property
    def rate(self) -> float:
        return Proportion(self.converted, self.people).rate

    @property
    def interval(self) -> tuple[float, float]:
        """Where that rate is, in 95 of 100 cases."""
        return Proportion(self.converted, self.people).interval()


@dataclass(frozen=True, slots=True)
class Lift:
    """The lift report of one conversion."""

    audience: str
    conversion: str
    within: str | None
    baseline: str | None
    groups: Sequence[GroupLift] = field(default_factory=tuple)
    moved: int = 0
    """People who came into another group later, as percentages were changed; they count in their first."""
    note: str = ""
    """Why there is nothing to compare with, where there is not."""
    since: datetime | None = None
    """When the first of these people came into their group, in UTC; None without anybody."""

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "audience": self.audience,
            "conversion": self.conversion,
            "within": self.within,
            "baseline": self.baseline,
            "since": self.since,
            "moved": self.moved,
            "note": self.note,
            "groups": [
                {
                    "group": group.group,
                    "people": group.people,
                    "converted": group.converted,
                    "rate": group.rate,
                    "rate_lower": group.interval[0],
                    "rate_upper": group.interval[1],
                    "is_baseline": group.is_baseline,
                    "difference": group.difference,
                    "lower": group.lower,
                    "upper": group.upper,
                    "relative": group.relative,
                    "verdict": group.verdict,
                }
                for group in self.groups
            ],
        }


def compared(counts: Sequence[tuple[str, int, int]], baseline: str | None) -> tuple[GroupLift, ...]:
    """Groups (name, people, converted), each compared with the baseline where there is one."""
    base = next((Proportion(converted, people) for name, people, converted in counts if name == baseline), None)
    return tuple(_compared(*count, baseline=baseline, base=base) for count in counts)


def _compared(name: str, people: int, converted: int, *, baseline: str | None, base: Proportion | None) -> GroupLift:
    if base is None:
        return GroupLift(name, people, converted)
    if name == baseline:
        return GroupLift(name, people, converted, is_baseline=True)
    found, lower, upper = difference(Proportion(converted, people), base)
    return GroupLift(
        name,
        people,
        converted,
        difference=found,
        lower=lower,
        upper=upper,
        relative=found / base.rate if base.rate else None,
        verdict=_verdict(people, base, str(baseline), lower, upper),
    )


def _verdict(people: int, base: Proportion, baseline: str, lower: float, upper: float) -> str:
    if not people or not base.whole:
        return f"nobody in {baseline if people else 'the group'} yet"
    if people < ENOUGH or base.whole < ENOUGH:
        fewer = f"only {people:,} people" if people < ENOUGH else f"only {base.whole:,} people in {baseline}"
        return f"too few to tell: {fewer}"
    if lower > 0:
        return f"higher than {baseline}"
    if upper < 0:
        return f"lower than {baseline}"
    return f"no difference to {baseline} shown"
