"""What the Track API has taken and not yet carried out.

Customer.io answers when it has taken an operation. Here it is carried out a moment later, in the order of arrival, whether or not
anybody waits: nothing overtakes what came before it. A key named ``slow...`` has operations that wait a minute of the
simulators' clock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from audience_syncs.simulators.store import Store

TAKES_S = 0.02
SLOW_S = 60.0
SOON_S = 5.0
"""Whoever looks into the simulator sees what is carried out within this time as done."""


class Queue:
    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS queue (number INTEGER PRIMARY KEY AUTOINCREMENT, due REAL NOT NULL,"
            " kind TEXT NOT NULL, told TEXT NOT NULL)"
        )

    def take(self, kind: str, told: Any, now: float, *, slow: bool) -> None:
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO queue (due, kind, told) VALUES (?, ?, ?)",
                (now + (SLOW_S if slow else TAKES_S), kind, orjson.dumps(told).decode()),
            )

    def carry_out(self, now: float, do: Callable[[str, Any], None]) -> None:
        """Does what is due, up to the first that is not."""
        for number, due, kind, told in self._store.rows("SELECT number, due, kind, told FROM queue ORDER BY number"):
            if due > now:
                return
            do(kind, orjson.loads(told))
            with self._store.transaction() as db:
                db.execute("DELETE FROM queue WHERE number = ?", (number,))
