"""HubSpot contacts and lists, simulated: ``{url}/hubspot`` stands for https://api.hubapi.com.

Read from HubSpot's published OpenAPI of Contacts and Lists (2026-09 and v3) and its usage guidelines. One account;
the paths of 2026-09 (``/crm/objects/2026-09/contacts``, ``/crm/lists/2026-09``) and those of v3
(``/crm/v3/objects/contacts``, ``/crm/v3/lists``) are the same thing.

The rate limit headers are always sent. The limit itself (190 calls in 10 seconds for a professional account) is
enforced only when a test turns it on.

Operations, as faults and the journal name them; those with rows, for ``partial``, ``reject_batch`` and ``contains``, have
a star: ``contacts.upsert``*, ``contacts.update``*, ``contacts.read``*, ``contacts.archive``*, ``contacts.erase``,
``contacts.get``, ``contacts.delete``; ``lists.create``, ``lists.search``, ``lists.find``, ``lists.get``, ``lists.delete``;
``memberships.add``*, ``memberships.remove``*, ``memberships.add_and_remove``*, ``memberships.read``,
``memberships.join_order``, ``memberships.clear``. ``partial`` refuses single contacts in upserts and updates and calls
records missing in memberships; reading and archiving know no partial failure, and do all of it.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import orjson

from audience_syncs.simulators.hubspot_contacts import Contacts
from audience_syncs.simulators.hubspot_errors import (
    Refused,
    bad_token,
    error,
    invalid,
    missing_scopes,
    no_such_list,
    no_such_path,
    not_json,
    not_valid,
)
from audience_syncs.simulators.hubspot_lists import Lists, read_record_ids
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

CALLS_PER_INTERVAL = 190
INTERVAL_S = 10
CALLS_PER_DAY = 650_000

_CONTACTS = r"/crm/(?:objects/20\d\d-\d\d|v3/objects)/(?:contacts|0-1)"
_LISTS = r"/crm/(?:lists/20\d\d-\d\d|v3/lists)"
ROUTES = [
    (method, re.compile(pattern).fullmatch, operation)
    for method, pattern, operation in (
        ("POST", rf"{_CONTACTS}/batch/upsert", "contacts.upsert"),
        ("POST", rf"{_CONTACTS}/batch/update", "contacts.update"),
        ("POST", rf"{_CONTACTS}/batch/read", "contacts.read"),
        ("POST", rf"{_CONTACTS}/batch/archive", "contacts.archive"),
        ("POST", rf"{_CONTACTS}/gdpr-delete", "contacts.erase"),
        ("GET", rf"{_CONTACTS}/(?P<contact>[^/]+)", "contacts.get"),
        ("DELETE", rf"{_CONTACTS}/(?P<contact>\d+)", "contacts.delete"),
        ("POST", rf"{_LISTS}/?", "lists.create"),
        ("POST", rf"{_LISTS}/search", "lists.search"),
        ("GET", rf"{_LISTS}/object-type-id/0-1/name/(?P<name>[^/]+)", "lists.find"),
        ("GET", rf"{_LISTS}/(?P<list>[^/]+)", "lists.get"),
        ("DELETE", rf"{_LISTS}/(?P<list>[^/]+)", "lists.delete"),
        ("PUT", rf"{_LISTS}/(?P<list>[^/]+)/memberships/add", "memberships.add"),
        ("PUT", rf"{_LISTS}/(?P<list>[^/]+)/memberships/remove", "memberships.remove"),
        ("PUT", rf"{_LISTS}/(?P<list>[^/]+)/memberships/add-and-remove", "memberships.add_and_remove"),
        ("GET", rf"{_LISTS}/(?P<list>[^/]+)/memberships", "memberships.read"),
        ("GET", rf"{_LISTS}/(?P<list>[^/]+)/memberships/join-order", "memberships.join_order"),
        ("DELETE", rf"{_LISTS}/(?P<list>[^/]+)/memberships", "memberships.clear"),
    )
]


class HubSpot(Platform):
    """HubSpot's CRM objects and lists."""

    name = "hubspot"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._contacts = Contacts(store)
        self._lists = Lists(store, self._contacts, self.size_delay_s)
        self._today = (0, 0)
        self._interval: tuple[int, int] = (0, 0)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", {}
        for wanted, matches, named in ROUTES:
            found = matches(f"/{path}")
            if wanted == method and found:
                operation, target = named, {name: unquote(value) for name, value in found.groupdict().items()}
                break
        refusal = no_such_path() if operation == "unknown" else None
        parsed: Any = None
        try:
            parsed = orjson.loads(body) if body.strip() else None
        except orjson.JSONDecodeError as bad:
            refusal = refusal or not_json(str(bad))
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=operation,
            body=parsed,
            list_id=target.get("list"),
            rows=_rows(operation, parsed),
            target=target,
            refusal=refusal,
        )

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        try:
            with self.lock:
                answer = self._answer(call, rejected)
        except Refused as refused:
            answer = refused.answer
        return Answer(answer.status, answer.body, {**answer.headers, **self._limits()})

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        body = {
            "status": "error",
            "message": "You have reached your ten_secondly_rolling limit.",
            "errorType": "RATE_LIMIT",
            "correlationId": str(uuid.uuid4()),
            "policyName": "TEN_SECONDLY_ROLLING",
        }
        hint = {} if wait_s is None else {"Retry-After": f"{wait_s:g}"}
        return Answer(status or 429, body, {**self._limits(), "X-HubSpot-RateLimit-Remaining": "0", **hint})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        body = {"status": "error", "message": "internal error", "correlationId": str(uuid.uuid4())}
        return Answer(status or 500, body)

    def forbidden(self, call: Call) -> Answer:
        return missing_scopes(_scopes(call.operation))

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        text = not_valid("lifecyclestage", "INVALID_OPTION", "Value was not a valid option")
        return error(status or 400, "VALIDATION_ERROR", text)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        return [
            {"id": str(list_id), "name": name, "account": None, "size": self._lists.size(list_id)}
            for list_id, name in self._lists.all()
        ]

    def has_list(self, list_id: str) -> bool:
        try:
            self._lists.kind(list_id)
        except Refused:
            return False
        return True

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._lists.members(int(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._lists.values(int(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        now = self.clock.now()
        with self.lock:
            contacts = [int(member["id"]) if "id" in member else self._contacts.put(member, now) for member in members]
            return self._lists.put(int(list_id), contacts, now)

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._lists.delete(int(list_id))

    def forget_everything(self) -> None:
        with self.store.transaction() as db:
            for table in ("contacts", "unique_values", "erased", "lists", "memberships", "sizes", "sqlite_sequence"):
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        if "authorization" not in call.headers or not self.knows(call.token):
            return bad_token()
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(call.token):
            return self.forbidden(call)
        room = self._of_contacts if call.operation.startswith("contacts.") else self._of_lists
        return room(call, rejected)

    def _of_contacts(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        if call.operation == "contacts.upsert":
            return self._contacts.upsert(call.body, rejected, now)
        if call.operation == "contacts.update":
            return self._contacts.update(call.body, rejected, now)
        if call.operation == "contacts.read":
            return self._contacts.batch_read(call.body, now)
        if call.operation == "contacts.get":
            name = call.query.get("idProperty") or "hs_object_id"
            value = call.target["contact"].lower() if name == "email" else call.target["contact"]
            contact = self._contacts.find(name, value)
            if contact is None:
                return error(404, "OBJECT_NOT_FOUND", "resource not found")
            wanted = [each for each in call.query.get("properties", "").split(",") if each]
            return Answer(200, contact.as_json(only=wanted))
        if call.operation == "contacts.erase":
            gone = self._contacts.erase(call.body)
        elif call.operation == "contacts.delete":
            gone = self._contacts.archive({"inputs": [{"id": call.target["contact"]}]})
        else:
            gone = self._contacts.archive(call.body)
        self._lists.forget(gone, now)
        return Answer(204)

    def _of_lists(self, call: Call, rejected: frozenset[int]) -> Answer:
        now, list_id = self.clock.now(), call.target.get("list", "")
        if call.operation == "lists.create":
            return self._lists.create(call.body, now)
        if call.operation == "lists.search":
            return self._lists.search(call.body, now)
        if call.operation == "lists.find":
            found = self._lists.find(call.target["name"])
            if found is None:
                name = call.target["name"]
                text = f"List does not exist with name {name} and object type ID 0-1."
                return error(404, "OBJECT_NOT_FOUND", text, sub_category="ILS.LIST_NOT_FOUND")
            return Answer(200, {"list": self._lists.show(found, now)})
        if not self.has_list(list_id):
            return no_such_list(list_id)
        if call.operation == "lists.get":
            return Answer(200, {"list": self._lists.show(int(list_id), now)})
        if call.operation == "lists.delete":
            self._lists.delete(int(list_id))
            return Answer(204)
        if call.operation == "memberships.read":
            return self._lists.page(list_id, call.query.get("after", ""), call.query.get("limit", "100"))
        if call.operation == "memberships.join_order":
            return self._lists.page_in_join_order(list_id, call.query.get("after", ""), call.query.get("limit", "100"))
        if call.operation == "memberships.clear":
            self._lists.clear(list_id, now)
            return Answer(204)
        add, remove = _changes(call)
        return self._lists.change(list_id, add, remove, rejected, now)

    def _limits(self) -> dict[str, str]:
        """The rate limit headers. Counted in fixed intervals; HubSpot's window rolls."""
        now = time.time()
        interval, day = int(now // INTERVAL_S), int(now // 86_400)
        self._interval = (interval, self._interval[1] + 1 if self._interval[0] == interval else 1)
        self._today = (day, self._today[1] + 1 if self._today[0] == day else 1)
        most = self.limit.max_calls if self.limit else CALLS_PER_INTERVAL
        left = self.limit.remaining if self.limit else max(0, most - self._interval[1])
        length = self.limit.interval_s if self.limit else INTERVAL_S
        return {
            "X-HubSpot-RateLimit-Max": str(most),
            "X-HubSpot-RateLimit-Remaining": str(left),
            "X-HubSpot-RateLimit-Interval-Milliseconds": str(int(length * 1000)),
            "X-HubSpot-RateLimit-Daily": str(CALLS_PER_DAY),
            "X-HubSpot-RateLimit-Daily-Remaining": str(max(0, CALLS_PER_DAY - self._today[1])),
        }


def _changes(call: Call) -> tuple[list[str], list[str]]:
    """Record ids to add and to remove; raises ``Refused``."""
    if call.operation == "memberships.add":
        return read_record_ids(call.body), []
    if call.operation == "memberships.remove":
        return [], read_record_ids(call.body)
    if not isinstance(call.body, dict) or not {"recordIdsToAdd", "recordIdsToRemove"} <= call.body.keys():
        raise Refused(invalid("recordIdsToAdd and recordIdsToRemove are required"))
    return read_record_ids(call.body["recordIdsToAdd"]), read_record_ids(call.body["recordIdsToRemove"])


def _rows(operation: str, body: Any) -> Sequence[Any]:
    if operation.startswith("contacts.") and isinstance(body, dict) and isinstance(body.get("inputs"), list):
        return list(body["inputs"])
    if operation == "memberships.add_and_remove" and isinstance(body, dict):
        return [*(body.get("recordIdsToAdd") or ()), *(body.get("recordIdsToRemove") or ())]
    return body if isinstance(body, list) else ()


def _scopes(operation: str) -> list[str]:
    if operation.startswith("contacts."):
        return ["crm.objects.contacts.read" if operation.endswith((".read", ".get")) else "crm.objects.contacts.write"]
    reading = (".read", ".join_order", ".get", ".find", ".search")
    return ["crm.lists.read" if operation.endswith(reading) else "crm.lists.write"]
