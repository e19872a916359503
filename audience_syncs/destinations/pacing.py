"""One budget of requests per account, shared by every client and thread of this process, and with other processes.

A token bucket with two ways to slow it: ``hold_off`` (the platform said when to come back) and ``slow_down`` (its usage headers say
that the account nears its limit). Runs of several syncs to one account are processes of their own: with a ``Budget`` they draw from
one bucket, a few requests at a time.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from audience_syncs.destinations.stopping import rest

DRAW_AHEAD_S = 0.25
"""How many seconds' worth of requests are drawn from a shared budget at once, by who is sending all the time."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an account may be called: so many requests a second on average, ``burst`` at once."""

    requests_per_s: float
    burst: int = 1


@dataclass(frozen=True, slots=True)
class Drawn:
    """Requests drawn from a shared budget: the first may go in so many seconds (now, where that is past), the others
    follow at the pace. ``held_off_s``: for how long the platform wants to be left alone."""

    first_in_s: float
    held_off_s: float = 0.0


class Budget(Protocol):
    """What several processes share of an account. Called by one thread of a process at a time."""

    def draw(self, count: int, pace: Pace) -> Drawn | None:
        """Draws so many requests; None where it cannot be reached now: the process keeps the pace by itself."""
        ...

    def hold_off(self, seconds: float) -> None:
        """No process of this account sends for so long."""
        ...


class Pacer:
    """The budget of one account. Thread-safe."""

    def __init__(
        self,
        pace: Pace,
        account: str = "",
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], bool] = rest,
    ) -> None:
        """``sleep`` waits so many seconds; it answers False at once when the run is being stopped."""
        self.account = account
        self._pace = pace
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tokens = float(pace.burst)
        self._filled_at = clock()
        self._not_before = 0.0
        self._factor = 1.0
        self._budgets: list[Budget] = []
        self._drawn: deque[float] = deque()
        self._drawn_at = -math.inf

    @contextmanager
    def shared(self, budget: Budget) -> Iterator[None]:
        """Meanwhile, requests are drawn from what other processes draw from as well."""
        with self._lock:
            self._budgets.append(budget)
        try:
            yield
        finally:
            with self._lock:
                self._budgets.remove(budget)
                self._drawn.clear()

    def wait(self, longest_hold_off_s: float = math.inf) -> bool:
        """Returns True when the next request may go; at once False where the account is held off for longer, or the run is
        being stopped."""
        while True:
            with self._lock:
                now = self._clock()
                turn = self._turn(now)
                held_off = self._not_before - now
                if held_off > longest_hold_off_s:
                    return False
                pause = max(held_off, turn - now)
                if pause <= 0:
                    self._take()
                    return True
            if not self._sleep(pause):
                return False

    def hold_off(self, seconds: float) -> None:
        """Nobody of this account sends for so long."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + seconds)
            for budget in self._budgets[-1:]:
                budget.hold_off(seconds)

    def set_rate(self, requests_per_s: float) -> None:
        """The account's real limit, once the platform has told it."""
        with self._lock:
            self._pace = Pace(requests_per_s, self._pace.burst)

    def slow_down(self, factor: float) -> None:
        """From now on at this share of the pace; 1 is the full pace."""
        with self._lock:
            self._factor = min(1.0, max(0.01, factor))

    def _turn(self, now: float) -> float:
        """When the next request may go, as far as the pace is concerned."""
        rate = self._pace.requests_per_s * self._factor
        self._tokens = min(self._pace.burst, self._tokens + (now - self._filled_at) * rate)
        self._filled_at = now
        if self._budgets and not self._drawn:
            self._draw(now, rate)
        if self._drawn:
            return self._drawn[0]
        return now if self._tokens >= 1 else now + (1 - self._tokens) / rate

    def _draw(self, now: float, rate: float) -> None:
        is_busy = now - self._drawn_at < 2 * max(DRAW_AHEAD_S, 1 / rate)
        count = max(1, min(self._pace.burst, int(rate * DRAW_AHEAD_S))) if is_busy else 1
        drawn = self._budgets[-1].draw(count, Pace(rate, self._pace.burst))
        if drawn is None:
            return
        self._not_before = max(self._not_before, now + drawn.held_off_s)
        self._drawn.extend(now + drawn.first_in_s + number / rate for number in range(count))
        self._drawn_at = self._drawn[-1]

    def _take(self) -> None:
        # The bucket of this process goes along, for when the shared one cannot be reached.
        self._tokens = max(0.0, self._tokens - 1)
        if self._drawn:
            self._drawn.popleft()


_pacers: dict[tuple[str, str], Pacer] = {}
_pacers_lock = threading.Lock()


def pacer_of(platform: str, account: str, pace: Pace) -> Pacer:
    """The one pacer of that account in this process."""
    with _pacers_lock:
        return _pacers.setdefault((platform, account), Pacer(pace, f"{platform} {account}"))
