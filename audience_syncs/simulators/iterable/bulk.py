"""Many users in one request to Iterable: who fails is named, by email address or userId, and the others are done.

Documented: counts, and failures sorted by why; ``notFound`` in subscribing and unsubscribing only; ``channelUnsubscribe`` ends all
mail of the list's channel. 1,000 users a request, as others send, is the limit here; beyond it all is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audience_syncs.simulators.iterable.answers import Refused
from audience_syncs.simulators.iterable.lists import Lists
from audience_syncs.simulators.iterable.users import Failed, Users
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MOST = 1_000


class Bulk:
    """Requests with many users."""

    def __init__(self, store: Store, users: Users, lists: Lists) -> None:
        self._store = store
        self._users = users
        self._lists = lists

    def subscribe(self, body: Any, rejected: frozenset[int], project: str, now: float) -> Answer:
        given = _object(body)
        number = self._lists.static(given.get("listId"))
        rows = _rows(given, "subscribers")
        existing_only = given.get("updateExistingUsersOnly") is True
        outcome = Outcome()
        with self._store.transaction() as db:
            for row in rows:
                self._users.check_types(db, row.get("dataFields") or {})
            joined = []
            for place, row in enumerate(rows):
                try:
                    if place in rejected:
                        raise _invalid_data(row)
                    joined.append(self._users.write(db, row, project, existing_only=existing_only))
                except Failed as failed:
                    outcome.add(failed)
            self._lists.put(db, number, joined, now)
        return outcome.answer(len(joined))

    def unsubscribe(self, body: Any, rejected: frozenset[int], project: str, now: float) -> Answer:
        given = _object(body)
        number = self._lists.static(given.get("listId"))
        rows = _rows(given, "subscribers")
        outcome = Outcome()
        with self._store.transaction() as db:
            left = []
            for place, row in enumerate(rows):
                try:
                    if place in rejected:
                        raise _invalid_data(row)
                    email, user_id, user = self._users.named(db, row, project)
                    if not user:
                        raise Failed("notFound", email=email, user_id="" if email else user_id)
                    left.append(user)
                except Failed as failed:
                    outcome.add(failed)
            self._lists.take_out(db, number, left, now)
            if given.get("channelUnsubscribe") is True:
                db.executemany("UPDATE users SET unsubscribed = 1 WHERE number = ?", [(user,) for user in left])
        return outcome.answer(len(left))

    def update(self, body: Any, rejected: frozenset[int], project: str) -> Answer:
        rows = _rows(_object(body), "users")
        outcome = Outcome()
        done = 0
        with self._store.transaction() as db:
            for row in rows:
                self._users.check_types(db, row.get("dataFields") or {})
            for place, row in enumerate(rows):
                try:
                    if place in rejected:
                        raise _invalid_data(row)
                    self._users.write(db, row, project)
                    done += 1
                except Failed as failed:
                    outcome.add(failed)
        return outcome.answer(done)


class Outcome:
    """Who failed, and why."""

    def __init__(self) -> None:
        self._failed: dict[str, list[str]] = {}
        self._count = 0

    def add(self, failed: Failed) -> None:
        self._count += 1
        name, value = ("Emails", failed.email) if failed.email else ("UserIds", failed.user_id)
        self._failed.setdefault(f"{failed.why}{name}", []).append(value)

    def answer(self, done: int) -> Answer:
        told = {
            "successCount": done,
            "failCount": self._count,
            "createdFields": [],
            "filteredOutFields": [],
            "invalidEmails": self._failed.get("invalidEmails", []),
            "invalidUserIds": self._failed.get("invalidUserIds", []),
            "failedUpdates": self._failed,
        }
        return Answer(200, told)


def _invalid_data(row: dict[str, Any]) -> Failed:
    if row.get("email"):
        return Failed("invalidData", email=str(row["email"]))
    return Failed("invalidData", user_id=str(row.get("userId")))


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(400, "BadJsonBody", "the body must be an object")
    return body


def _rows(given: dict[str, Any], name: str) -> Sequence[dict[str, Any]]:
    rows = given.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Refused(400, "BadParams", f"[{name}] must be an array of objects")
    if len(rows) > MOST:
        raise Refused(400, "BatchTooLarge", f"at most {MOST} {name} are taken at once")
    return rows
