"""Whether a list matches as many of its members as it used to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

LOOK_BACK = timedelta(days=30)
FEWEST = 3
"""Earlier readings without which nothing is called usual."""


@dataclass(frozen=True, slots=True)
class MatchRate:
    """Rates in percent of accepted members. ``usual`` is the median of the earlier readings; None while they are few."""

    now: float
    usual: float | None

    @property
    def drop_percent(self) -> float:
        """How much lower than usual, in percent of the usual rate."""
        if self.usual is None or self.usual <= 0:
            return 0.0
        return max(0.0, 100 * (self.usual - self.now) / self.usual)


def match_rate(rates: Sequence[float]) -> MatchRate | None:
    """The last rate against the others; None where there is none."""
    if not rates:
        return None
    *earlier, now = rates
    return MatchRate(now, median(earlier) if len(earlier) >= FEWEST else None)
