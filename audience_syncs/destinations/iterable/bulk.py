"""Many users in one request to Iterable, and what became of each.

Facts: Iterable's API description 1.8: subscribing, unsubscribing and bulk updates answer with counts, and with the email addresses or
userIds of those who failed, sorted by why (``failedUpdates``); the older ``invalidEmails`` and ``invalidUserIds`` say the same without
why. 4 MB a request.
[unsure], and what is done about it: how many users a request takes (others send 1,000; ``BatchTooLarge`` is halved); whether
every failure is named, so more failures counted than named leave the others unknown, and so does a value that is nobody's or
several people's; whether people with invalid data are in the list nevertheless ("not updated" is taken as no).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.iterable.calls import Calls, raise_refusal
from audience_syncs.destinations.portions import in_portions
from audience_syncs.model.errors import NoAnswer
from audience_syncs.model.values import ACCEPTED, Verdict, VerdictKind

log = logging.getLogger("audience_syncs.iterable")

MOST = 1_000
SUBSCRIBE, UNSUBSCRIBE, UPDATE = "/api/lists/subscribe", "/api/lists/unsubscribe", "/api/users/bulkUpdate"
_WHY = (
    ("notFoundEmails", "NOT_FOUND", "is no user of this project"),
    ("notFoundUserIds", "NOT_FOUND", "is no user of this project"),
    ("forgottenEmails", "FORGOTTEN", "was forgotten at Iterable (GDPR)"),
    ("forgottenUserIds", "FORGOTTEN", "was forgotten at Iterable (GDPR)"),
    ("invalidDataEmails", "INVALID_DATA", "has a field that Iterable does not take"),
    ("invalidDataUserIds", "INVALID_DATA", "has a field that Iterable does not take"),
    ("conflictEmails", "CONFLICT", "has an email address or userId of another user"),
    ("conflictUserIds", "CONFLICT", "has an email address or userId of another user"),
    ("invalidEmails", "INVALID_EMAIL", "has an email address that Iterable does not take"),
    ("invalidUserIds", "INVALID_USER_ID", "has a userId that Iterable does not take"),
)
_NOT_THERE = ("NOT_FOUND", "FORGOTTEN", "INVALID_EMAIL", "INVALID_USER_ID")
"""Who fails for these reasons is in no list."""
NOT_MENTIONED = Verdict(VerdictKind.UNKNOWN, "NOT_MENTIONED", "Iterable counts failures without saying whose")


class Bulk:
    """Users by the many, at one project. Thread-safe."""

    def __init__(self, calls: Calls, known_by: str) -> None:
        self._calls = calls
        self._known_by = known_by
        self._lock = threading.Lock()
        self._told: set[str] = set()

    def subscribe(
        self, list_id: str, rows: Mapping[str, Mapping[str, Any]], *, existing_only: bool
    ) -> dict[str, Verdict]:
        """A verdict by key. Raises BatchRefused where Iterable takes nobody and names nobody."""
        body = {"listId": int(list_id), "updateExistingUsersOnly": existing_only}
        return self._send(
            SUBSCRIBE, body, "subscribers", rows, "put users into the list", list_id, strict=existing_only
        )

    def unsubscribe(self, list_id: str, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Verdict]:
        """Takes users out of the list, and out of nothing else: ``channelUnsubscribe`` would end all mail to them."""
        body = {"listId": int(list_id), "channelUnsubscribe": False}
        found = self._send(UNSUBSCRIBE, body, "subscribers", rows, "take users out of the list", list_id)
        return {key: ACCEPTED if verdict.reason_code in _NOT_THERE else verdict for key, verdict in found.items()}

    def update(self, rows: Mapping[str, Mapping[str, Any]]) -> dict[str, Verdict]:
        return self._send(UPDATE, {}, "users", rows, "update users")

    def _send(
        self,
        path: str,
        body: Mapping[str, Any],
        name: str,
        rows: Mapping[str, Mapping[str, Any]],
        doing: str,
        list_id: str = "",
        *,
        strict: bool = False,
    ) -> dict[str, Verdict]:
        def send(keys: Sequence[str]) -> list[Verdict]:
            sent = {**body, name: [rows[key] for key in keys]}
            answer = self._calls.change(path, sent, operation=path.rpartition("/")[2])
            if answer.status >= 400:
                raise_refusal(answer, doing, list_id, per_batch=True)
            if not isinstance(answer.body, dict):
                raise NoAnswer(f"iterable {path.rpartition('/')[2]}: the answer does not tell what was done")
            self._tell_of_dropped_fields(answer)
            return self._outcome(answer, keys, rows, strict=strict)

        keys = list(rows)
        return dict(zip(keys, in_portions(keys, MOST, send), strict=True))

    def _outcome(
        self, answer: Answer, keys: Sequence[str], rows: Mapping[str, Mapping[str, Any]], *, strict: bool
    ) -> list[Verdict]:
        """``strict``: who is not counted as a success is not one, also where no failure is counted."""
        owners = self._owners(keys, rows)
        found: dict[str, Verdict] = {}
        in_doubt = False
        for code, words, value in _failures(answer.body):
            whose = [value] if value in rows else owners.get(value.casefold(), [])
            if len(whose) == 1:
                found.setdefault(whose[0], Verdict(VerdictKind.REJECTED, code, words))
            else:
                in_doubt = True
        failed, done = answer.body.get("failCount"), answer.body.get("successCount")
        others = len(keys) - len(found)
        in_doubt |= isinstance(failed, int) and failed > len(found)
        in_doubt |= strict and isinstance(done, int) and done < others
        return [found.get(key, NOT_MENTIONED if in_doubt else ACCEPTED) for key in keys]

    def _owners(self, keys: Sequence[str], rows: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
        """Whose an email address or userId is: what they are known by comes before what goes along."""
        owners: dict[str, list[str]] = {}
        for key in keys:
            for name, value in rows[key].get("dataFields", {}).items():
                if name in ("email", "userId") and isinstance(value, str):
                    owners.setdefault(value.casefold(), []).append(key)
        by_key: dict[str, list[str]] = {}
        for key in keys:
            by_key.setdefault(key.casefold(), []).append(key)
        return owners | by_key

    def _tell_of_dropped_fields(self, answer: Answer) -> None:
        """A project may be set to drop fields that it does not know: then they are dropped of everybody, every time."""
        dropped = answer.body.get("filteredOutFields")
        names = {name for name in dropped if isinstance(name, str)} if isinstance(dropped, list) else set()
        with self._lock:
            new = names - self._told
            self._told |= new
        if new:
            log.warning(
                "Iterable drops these fields, which the project does not know: %s. Add them under Settings, Data Schema "
                "Management, or let the project take new fields",
                ", ".join(sorted(new))[:500],
            )


def _failures(body: Any) -> list[tuple[str, str, str]]:
    """Code, words and identifier of each failure that is named."""
    told = body.get("failedUpdates")
    found = [
        (code, words, value)
        for name, code, words in _WHY
        for value in _texts(told.get(name) if isinstance(told, dict) else None)
    ]
    named = {value.casefold() for _, _, value in found}
    older = [
        (code, words, value)
        for name, code, words in _WHY[-2:]
        for value in _texts(body.get(name))
        if value.casefold() not in named
    ]
    return found + older


def _texts(value: object) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []
