"""Keeps requests about the same person apart that say opposite things of the same list.

For platforms that apply requests some moments after they have answered them, in no promised order: a removal and an addition that
follow each other closely could change places. Within one process; a run that follows another one comes later anyway.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from audience_syncs.destinations.stopping import rest
from audience_syncs.model.errors import NotApplied


class Settling:
    """What was said of whom in the last seconds. Thread-safe."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._lock = threading.Lock()
        self._said: dict[tuple[str, str], tuple[float, bool]] = {}
        self._ages: deque[tuple[float, tuple[str, str]]] = deque()

    def __len__(self) -> int:
        return len(self._said)

    @contextmanager
    def kept(self, list_id: str, keys: Collection[str], member: bool) -> Iterator[None]:
        """Inside, this may be said of these people: what was last said of them, if it was the opposite, has settled.

        Raises NotApplied when the run is being stopped before that.
        """
        self._wait_for(list_id, keys, member)
        try:
            yield
        finally:
            self._note(list_id, keys, member)

    def _wait_for(self, list_id: str, keys: Collection[str], member: bool) -> None:
        with self._lock:
            said = [self._said.get((list_id, key)) for key in keys]
            latest = max((at for at, was in filter(None, said) if was is not member), default=None)
        pause = 0.0 if latest is None else latest + self._settle_s - time.monotonic()
        if pause > 0 and not rest(pause):
            raise NotApplied("the run is being stopped")

    def _note(self, list_id: str, keys: Collection[str], member: bool) -> None:
        now = time.monotonic()
        with self._lock:
            for key in keys:
                self._said[list_id, key] = (now, member)
                self._ages.append((now, (list_id, key)))
            while self._ages and self._ages[0][0] < now - self._settle_s:
                _, old = self._ages.popleft()
                if old in self._said and self._said[old][0] < now - self._settle_s:
                    del self._said[old]
