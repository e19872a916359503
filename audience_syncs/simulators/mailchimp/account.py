"""Mailchimp's Marketing API, version 3.0: its paths and operations, keys, limits, and what tests may look into.

Read from Mailchimp's own client (3.0.80, which prints the API's description), slices of that description, and its pages on
fundamentals and errors. What others have observed at real accounts is named where it is imitated.

Operations, as faults and the journal name them; those with rows have a star: ``audience.get``, ``contacts.subscribe``*,
``contacts.get``, ``contacts.put``*, ``contacts.update``*, ``contacts.archive``, ``contacts.forget``; ``tags.get``,
``tags.change``; ``segments.create``, ``segments.find``, ``segments.get``, ``segments.change``*, ``segments.delete``;
``members.read``; ``merge_fields.find``, ``merge_fields.create``. ``partial`` fails single people among a call's errors.

There is an audience of every id but those that begin with ``gone``. Keys are taken as HTTP's Basic password, whatever the user, or
as Bearer; what follows their last hyphen is their data centre, and never compared: one address stands for all of them. The limit
is a test's to turn on: the real one is of connections, and tells nothing in headers.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import orjson

from audience_syncs.simulators.mailchimp import errors
from audience_syncs.simulators.mailchimp.contacts import Contacts
from audience_syncs.simulators.mailchimp.errors import Refused
from audience_syncs.simulators.mailchimp.segments import Segments, as_number, page_of
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

_A = "/lists/(?P<audience>[^/]+)"
_C, _S = f"{_A}/members/(?P<contact>[^/]+)", f"{_A}/segments/(?P<segment>[^/]+)"
ROUTES = [
    (method, re.compile(f"{pattern}/?").fullmatch, operation)
    for method, pattern, operation in (
        ("GET", _A, "audience.get"),
        ("POST", _A, "contacts.subscribe"),
        ("GET", f"{_A}/segments", "segments.find"),
        ("POST", f"{_A}/segments", "segments.create"),
        ("GET", f"{_A}/merge-fields", "merge_fields.find"),
        ("POST", f"{_A}/merge-fields", "merge_fields.create"),
        ("GET", _S, "segments.get"),
        ("POST", _S, "segments.change"),
        ("DELETE", _S, "segments.delete"),
        ("GET", f"{_S}/members", "members.read"),
        ("GET", _C, "contacts.get"),
        ("PUT", _C, "contacts.put"),
        ("PATCH", _C, "contacts.update"),
        ("DELETE", _C, "contacts.archive"),
        ("POST", f"{_C}/actions/delete-permanent", "contacts.forget"),
        ("GET", f"{_C}/tags", "tags.get"),
        ("POST", f"{_C}/tags", "tags.change"),
    )
]


class Mailchimp(Platform):
    """Mailchimp's audiences, contacts and static segments."""

    name = "mailchimp"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._contacts = Contacts(store)
        self._segments = Segments(store, self._contacts, self.size_delay_s)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", {}
        for wanted, matches, named in ROUTES:
            found = matches(f"/{path}")
            if wanted == method and found:
                operation, target = named, {name: unquote(value) for name, value in found.groupdict().items()}
                break
        refusal = errors.not_found() if operation == "unknown" else None
        parsed: Any = None
        try:
            parsed = orjson.loads(body) if body.strip() else None
        except orjson.JSONDecodeError:
            text = "We encountered an unspecified JSON parsing error."
            refusal = refusal or errors.problem(400, "JSON Parse Error", text)
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=operation,
            body=parsed,
            list_id=target.get("segment"),
            rows=_rows(operation, parsed),
            target=target,
            refusal=refusal,
        )

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        try:
            with self.lock:
                return self._answer(call, rejected)
        except Refused as refused:
            return refused.answer

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        answer = errors.throttled()
        return Answer(status or 429, answer.body, answer.headers)

    def broken(self, call: Call, status: int | None = None) -> Answer:
        answer = errors.broken()
        return Answer(status or 500, answer.body, answer.headers)

    def forbidden(self, call: Call) -> Answer:
        return errors.not_permitted()

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        answer = errors.schema(f"members.item:{position}", "Schema describes object")
        return Answer(status or 400, answer.body, answer.headers)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        return [
            {"id": str(number), "name": name, "account": audience, "size": self._segments.size(number)}
            for number, name, audience in self._segments.all()
        ]

    def has_list(self, list_id: str) -> bool:
        return bool(self._segments.audience_of(as_number(list_id)))

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._segments.members(as_number(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._segments.values(as_number(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        number = as_number(list_id)
        with self.lock:
            audience = self._segments.audience_of(number)
            contacts = [self._contacts.put_other(audience, member).number for member in members]
            return self._segments.put(number, contacts, self.clock.now())

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._segments.delete(as_number(list_id))

    def forget_everything(self) -> None:
        tables = ("contacts", "forgotten", "merge_fields", "segments", "memberships", "sizes", "sqlite_sequence")
        with self.store.transaction() as db:
            for table in tables:
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        key = key_of(call.headers)
        if not key:
            return errors.no_key()
        if not self.knows(key) or key in self._revoked:
            return errors.bad_key()
        if not self.may_write(key):
            return self.forbidden(call)
        if call.refusal is not None:
            return call.refusal
        audience, now = call.target["audience"], self.clock.now()
        if audience.startswith("gone"):
            return errors.not_found()
        if call.operation == "audience.get":
            return Answer(200, {"id": audience, "web_id": 1, "name": f"Audience {audience}", "_links": []})
        if call.operation.startswith("merge_fields."):
            return self._of_fields(call, audience)
        if call.operation == "contacts.subscribe":
            return self._contacts.subscribe(audience, call.body, call.query, rejected, now)
        if call.operation.startswith(("contacts.", "tags.")):
            return self._of_contact(call, audience, rejected, now)
        return self._of_segments(call, audience, rejected, now, strict=key.startswith("strict"))

    def _of_fields(self, call: Call, audience: str) -> Answer:
        if call.operation == "merge_fields.create":
            return self._contacts.make_field(audience, call.body)
        found = self._contacts.merge_fields(audience)
        shown = page_of(found, call.query)
        return Answer(200, {"merge_fields": shown, "list_id": audience, "total_items": len(found), "_links": []})

    def _of_contact(self, call: Call, audience: str, rejected: frozenset[int], now: float) -> Answer:
        key = call.target["contact"]
        if call.operation == "contacts.get":
            found = self._contacts.get(audience, key)
            tags = self._segments.tags(found)
            return Answer(200, found.as_json(tags=tags, tags_count=len(tags)))
        if call.operation in ("contacts.put", "contacts.update"):
            if rejected:
                raise Refused(errors.invalid("Your merge fields were invalid.", ("FNAME", "Please enter a value")))
            return self._contacts.put(audience, key, call.body, call.query, makes=call.operation == "contacts.put")
        if call.operation == "contacts.archive":
            self._segments.count_again(self._contacts.archive(audience, key), now)
            return Answer(204)
        if call.operation == "contacts.forget":
            self._segments.count_again(self._contacts.forget(audience, key), now)
            return Answer(204)
        contact = self._contacts.get(audience, key)
        if call.operation == "tags.change":
            return self._segments.tag(contact, call.body, now)
        found_tags = self._segments.tags(contact)
        shown = page_of(found_tags, call.query)
        return Answer(200, {"tags": shown, "total_items": len(found_tags), "_links": []})

    def _of_segments(self, call: Call, audience: str, rejected: frozenset[int], now: float, *, strict: bool) -> Answer:
        if call.operation == "segments.create":
            return self._segments.create(audience, call.body, now)
        if call.operation == "segments.find":
            return self._segments.find(audience, call.query, now)
        name = call.target["segment"]
        if call.operation == "segments.get":
            return self._segments.get(audience, name, call.query, now)
        if call.operation == "segments.change":
            return self._segments.change(audience, name, call.body, rejected, now, strict=strict)
        if call.operation == "members.read":
            return self._segments.page(audience, name, call.query)
        self._segments.delete(self._segments.number(audience, name))
        return Answer(204)


def key_of(headers: Mapping[str, str]) -> str:
    """The API key without its data centre, or the OAuth token; empty where there is none."""
    scheme, _, told = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            told = base64.b64decode(told).decode().partition(":")[2]
        except ValueError:
            return ""
    elif scheme.lower() != "bearer":
        return ""
    return re.sub(r"-[a-z]{2}\d{1,3}$", "", told.strip())


def _rows(operation: str, body: Any) -> Sequence[Any]:
    if not isinstance(body, dict):
        return ()
    if operation == "contacts.subscribe":
        members = body.get("members")
        return members if isinstance(members, list) else ()
    if operation == "segments.change":
        return [each for way in ("members_to_add", "members_to_remove") for each in body.get(way) or []]
    return [body] if operation in ("contacts.put", "contacts.update") else ()
