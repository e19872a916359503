"""Waiting that ends when the run is stopped.

Somebody cancels a run: what is under way is still answered and booked, but nothing waits any longer to be tried again. Whoever
delivers says so with the event it will set (``stops_with``); whatever waits does it by ``rest``.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_stop: ContextVar[threading.Event | None] = ContextVar("audience_syncs_stop", default=None)


@contextmanager
def stops_with(event: threading.Event) -> Iterator[None]:
    """What waits inside, in this thread, stops waiting when the event is set."""
    token = _stop.set(event)
    try:
        yield
    finally:
        _stop.reset(token)


def stopped() -> bool:
    """Whether this thread's run is being stopped."""
    event = _stop.get()
    return event is not None and event.is_set()


def rest(seconds: float) -> bool:
    """Waits so long; False at once when the run is being stopped."""
    event = _stop.get()
    if event is None:
        time.sleep(seconds)
        return True
    return not event.wait(seconds)
