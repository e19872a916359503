"""What the simulators received: the last requests of each platform, so that a test can say what must not be sent.

Bodies are kept parsed: whole for the newest requests, up to ``WHOLE_ROWS`` rows together; of older ones a list longer
than ``ROWS_KEPT`` keeps its first rows and a note of how many followed. Tokens are never kept. The journal lives in
memory and ends with the process.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from typing import Any

from audience_syncs.simulators.platform import Call

REQUESTS_KEPT = 5_000
WHOLE_ROWS = 100_000
ROWS_KEPT = 5
TEXT_KEPT = 2_000

SECRETS = frozenset({"access_token", "refresh_token", "client_secret", "assertion", "secret"})
"""Parameters and fields that are not written down."""


class Entry(dict[str, Any]):
    """One request; ``status`` and ``fault`` are filled in when it is answered (``None``: no answer was given)."""


class Journal:
    """The requests of one platform, newest last."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=REQUESTS_KEPT)
        self._whole: deque[Entry] = deque()
        self._whole_rows = 0
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def note(self, call: Call) -> Entry:
        with self._lock:
            entry = Entry(
                n=next(self._numbers),
                at=time.time(),
                method=call.method,
                path=call.path,
                query={name: value for name, value in call.query.items() if name not in SECRETS},
                operation=call.operation,
                list_id=call.list_id,
                rows=len(call.rows),
                status=None,
                fault=None,
                body=_without_token(call.body),
            )
            self._entries.append(entry)
            self._whole.append(entry)
            # Requests without rows count too, so that their number is bounded as well.
            self._whole_rows += max(1, entry["rows"])
            while self._whole_rows > WHOLE_ROWS:
                oldest = self._whole.popleft()
                self._whole_rows -= max(1, oldest["rows"])
                oldest["body"] = shortened(oldest["body"])
            return entry

    def read(self, after: int, limit: int | None) -> list[Entry]:
        """Requests numbered above ``after``; the last ``limit`` of them."""
        with self._lock:
            found = [entry for entry in self._entries if entry["n"] > after]
        return found if limit is None else found[max(0, len(found) - limit) :]

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
            self._whole.clear()
            self._whole_rows = 0


def _without_token(body: Any) -> Any:
    if not isinstance(body, dict):
        return body
    return {name: value for name, value in body.items() if name not in SECRETS}


def shortened(body: Any, depth: int = 0) -> Any:
    """The body without most of its rows."""
    if isinstance(body, dict):
        return {name: shortened(value, depth + 1) for name, value in body.items()}
    if isinstance(body, list):
        kept = [shortened(value, depth + 1) for value in body[:ROWS_KEPT]]
        return kept if len(body) <= ROWS_KEPT or depth > 4 else [*kept, f"... and {len(body) - ROWS_KEPT} more"]
    if isinstance(body, str) and len(body) > TEXT_KEPT:
        return body[:TEXT_KEPT] + "..."
    return body
