"""One budget of requests per account, shared by every client and thread of this process.

A token bucket with two ways to slow it: ``hold_off`` (the platform said when to come back) and ``slow_down`` (its usage headers say
that the account nears its limit).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an account may be called: so many requests a second on average, ``burst`` at once."""

    requests_per_s: float
    burst: int = 1


class Pacer:
    """The budget of one account. Thread-safe."""

    def __init__(
        self,
        pace: Pace,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._pace = pace
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._tokens = float(pace.burst)
        self._filled_at = clock()
        self._not_before = 0.0
        self._factor = 1.0

    def wait(self, longest_hold_off_s: float = math.inf) -> bool:
        """Returns True when the next request may go, and at once False where the account is held off for longer."""
        while True:
            with self._lock:
                now = self._clock()
                rate = self._pace.requests_per_s * self._factor
                self._tokens = min(self._pace.burst, self._tokens + (now - self._filled_at) * rate)
                self._filled_at = now
                pause = self._not_before - now
                if pause > longest_hold_off_s:
                    return False
                if pause <= 0 and self._tokens >= 1:
                    self._tokens -= 1
                    return True
                pause = max(pause, (1 - self._tokens) / rate)
            self._sleep(pause)

    def hold_off(self, seconds: float) -> None:
        """Nobody of this account sends for so long."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + seconds)

    def set_rate(self, requests_per_s: float) -> None:
        """The account's real limit, once the platform has told it."""
        with self._lock:
            self._pace = Pace(requests_per_s, self._pace.burst)

    def slow_down(self, factor: float) -> None:
        """From now on at this share of the pace; 1 is the full pace."""
        with self._lock:
            self._factor = min(1.0, max(0.01, factor))


_pacers: dict[tuple[str, str], Pacer] = {}
_pacers_lock = threading.Lock()


def pacer_of(platform: str, account: str, pace: Pace) -> Pacer:
    """The one pacer of that account in this process."""
    with _pacers_lock:
        return _pacers.setdefault((platform, account), Pacer(pace))
