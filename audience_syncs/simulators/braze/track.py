"""Braze's POST /users/track: objects are looked at at once, and applied some moments later, in the order in which they came.

Documented: at most 75 objects over all three arrays; each names its user by one identifier; objects that are in order are taken
though others are not. Nothing in order is a refusal as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import orjson

from audience_syncs.simulators.braze.answers import BLOCKED, NO_DATA, NO_IDENTIFIER, Refused, problem
from audience_syncs.simulators.braze.users import CONSENT, FIELDS, TEXTS, Users
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MOST_OBJECTS = 75
SLOW_S = 60.0
ARRAYS = ("attributes", "events", "purchases")
IS_EMAIL = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)+").fullmatch
IS_PHONE = re.compile(r"\+?[\d ()-]{6,20}").fullmatch
SUBSCRIPTION = ("opted_in", "subscribed", "unsubscribed")


class Track:
    """What was taken, and is still to be applied."""

    def __init__(self, store: Store, users: Users) -> None:
        self._store = store
        self._users = users
        store.create("CREATE TABLE IF NOT EXISTS queue (number INTEGER PRIMARY KEY AUTOINCREMENT, due REAL, body TEXT)")

    def take(self, body: object, rejected: frozenset[int], now: float, *, slow: bool) -> Answer:
        given = body if isinstance(body, dict) else {}
        arrays = [given.get(name) for name in ARRAYS]
        if any(array is not None and not isinstance(array, list) for array in arrays):
            raise Refused(400, NO_DATA)
        objects = given.get("attributes") or []
        total = sum(len(array) for array in arrays if array)
        if not total:
            raise Refused(400, NO_DATA)
        if total > MOST_OBJECTS:
            raise Refused(400, "Max Input Length Exceeded")
        errors, good = [], []
        for place, row in enumerate(objects):
            words = BLOCKED if place in rejected else wrong_with(row)
            if words:
                errors.append(problem(place, words))
            else:
                good.append(row)
        if not good:
            raise Refused(400, NO_DATA, errors)
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO queue (due, body) VALUES (?, ?)",
                (now + (SLOW_S if slow else 0), orjson.dumps(good).decode()),
            )
        self.apply(now)
        told: dict[str, Any] = {"message": "success", "attributes_processed": len(good)}
        return Answer(201, {**told, **({"errors": errors} if errors else {})})

    def apply(self, now: float) -> None:
        """Does what is due. What came later waits for what came before."""
        waiting: Sequence[tuple[int, float, str]] = self._store.rows(
            "SELECT number, due, body FROM queue ORDER BY number"
        )
        if not waiting or waiting[0][1] > now:
            return
        with self._store.transaction() as db:
            for number, due, body in waiting:
                if due > now:
                    break
                for row in orjson.loads(body):
                    self._users.write(db, row, now)
                db.execute("DELETE FROM queue WHERE number = ?", (number,))
            self._users.note_sizes(db, now)


def wrong_with(row: object) -> str:
    """What Braze says of an object that it does not take; empty where all is well."""
    if not isinstance(row, dict):
        return NO_IDENTIFIER
    names = [name for name in ("external_id", "user_alias", "braze_id") if row.get(name) is not None]
    if len(names) > 1:
        return "only one of 'external_id', 'braze_id' or 'user_alias' may be given"
    if not names and not row.get("email") and not row.get("phone"):
        return NO_IDENTIFIER
    alias = row.get("user_alias")
    if alias is not None and (not isinstance(alias, dict) or {"alias_name", "alias_label"} - alias.keys()):
        return "'user_alias' must have 'alias_name' and 'alias_label'"
    for name, value in row.items():
        words = _wrong_value(name, value)
        if words:
            return words
    return ""


def _wrong_value(name: str, value: Any) -> str:
    if name in ("external_id", "braze_id") and (not isinstance(value, str) or not value):
        return f"'{name}' must be a non-empty string"
    if name.startswith("$"):
        return f"'{name}' must not begin with a dollar sign"
    if name == "_update_existing_only" and not isinstance(value, bool):
        return f"'{name}' must be a boolean"
    if value is None or name not in FIELDS:
        return ""
    if name in CONSENT and value not in SUBSCRIPTION:
        return f"'{name}' must be one of {', '.join(SUBSCRIPTION)}"
    if name in {*TEXTS, "email", "phone"} and not isinstance(value, str):
        return f"'{name}' must be a string"
    if name == "email" and not IS_EMAIL(value):
        return f"'email' must be a valid email address, and {value} is not"
    return "'phone' must be a valid phone number" if name == "phone" and not IS_PHONE(value) else ""
