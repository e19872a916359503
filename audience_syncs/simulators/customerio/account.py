"""One Customer.io workspace: both APIs' paths and operations, keys, limits, and what tests may look into.

Read from Customer.io's descriptions of its APIs (2026-10) and its own client, 3.2.0.

Operations, as faults and the journal name them; those with rows have a star: ``people.batch``*, ``people.identify``,
``people.delete``, ``people.suppress``, ``people.find``, ``people.segments``; ``segments.add``, ``segments.remove``,
``segments.create``, ``segments.find``, ``segments.get``, ``segments.count``, ``segments.delete``; ``members.read``. ``partial``
fails single operations of a batch: the calls about segments know no partial failure.

The Track API takes any site id with a key, as HTTP's Basic; the App API a key as Bearer. The limit is a test's to turn on.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import orjson

from audience_syncs.simulators.customerio import errors
from audience_syncs.simulators.customerio.errors import Refused
from audience_syncs.simulators.customerio.people import People
from audience_syncs.simulators.customerio.queue import SOON_S, Queue
from audience_syncs.simulators.customerio.segments import Segments
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

_S = "(?P<segment>[^/]+)"
ROUTES = [
    (method, re.compile(f"{pattern}/?").fullmatch, operation)
    for method, pattern, operation in (
        ("POST", "/api/v2/batch", "people.batch"),
        ("PUT", "/api/v1/customers/(?P<person>[^/]+)", "people.identify"),
        ("DELETE", "/api/v1/customers/(?P<person>[^/]+)", "people.delete"),
        ("POST", "/api/v1/customers/(?P<person>[^/]+)/suppress", "people.suppress"),
        ("POST", f"/api/v1/segments/{_S}/add_customers", "segments.add"),
        ("POST", f"/api/v1/segments/{_S}/remove_customers", "segments.remove"),
        ("POST", "/v1/customers/attributes", "people.find"),
        ("GET", "/v1/customers/(?P<person>[^/]+)/segments", "people.segments"),
        ("POST", "/v1/segments", "segments.create"),
        ("GET", "/v1/segments", "segments.find"),
        ("GET", f"/v1/segments/{_S}", "segments.get"),
        ("DELETE", f"/v1/segments/{_S}", "segments.delete"),
        ("GET", f"/v1/segments/{_S}/customer_count", "segments.count"),
        ("GET", f"/v1/segments/{_S}/membership", "members.read"),
    )
]


class CustomerIo(Platform):
    """Customer.io's Track and App APIs."""

    name = "customerio"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._queue = Queue(store)
        self._people = People(store)
        self._segments = Segments(store, self._people, self.size_delay_s)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", {}
        for wanted, matches, named in ROUTES:
            found = matches(f"/{path}")
            if wanted == method and found:
                operation, target = named, {name: unquote(value) for name, value in found.groupdict().items()}
                break
        refusal = errors.not_found(f"/{path}") if operation == "unknown" else None
        parsed: Any = None
        try:
            parsed = orjson.loads(body) if body.strip() else None
        except orjson.JSONDecodeError:
            refusal = refusal or errors.first("invalid JSON")
        rows = parsed.get("batch") if isinstance(parsed, dict) and operation == "people.batch" else ()
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=operation,
            body=parsed,
            list_id=target.get("segment"),
            rows=rows if isinstance(rows, list) else (),
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
        answer = errors.app(429, "too many requests")
        return Answer(status or 429, answer.body, {} if wait_s is None else {"Retry-After": f"{wait_s:g}"})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return Answer(status or 500, errors.app(500, "internal server error").body)

    def forbidden(self, call: Call) -> Answer:
        return errors.app(403, "forbidden")

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        wrong = errors.of_operation("invalid", f"batch[{position}]", "could not be read")
        return Answer(status or 400, errors.second(wrong).body)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        self._settle(SOON_S)
        return [
            {"id": str(number), "name": name, "account": None, "size": self._segments.size(number)}
            for number, name in self._segments.all()
        ]

    def has_list(self, list_id: str) -> bool:
        self._settle(SOON_S)
        return list_id in {str(number) for number, _ in self._segments.all()}

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._segments.members(int(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._segments.values(int(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        with self.lock:
            people = [self._people.put_other(member) for member in members]
            return self._segments.put(int(list_id), people, self.clock.now())

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._segments.delete(int(list_id))

    def forget_everything(self) -> None:
        tables = ("queue", "people", "suppressed", "segments", "memberships", "sizes", "sqlite_sequence")
        with self.store.transaction() as db:
            for table in tables:
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _settle(self, ahead_s: float = 0.0) -> None:
        """Carries out what is due."""
        now = self.clock.now()
        with self.lock:
            self._queue.carry_out(now + ahead_s, self._do)

    def _do(self, kind: str, told: Any) -> None:
        now = self.clock.now()
        if kind == "people":
            for operation in told:
                self._people.do(operation)
        else:
            self._segments.change(told, now, add=kind == "segments.add")

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        self._settle()
        is_app = call.path.startswith("/v1/")
        key = key_of(call.headers, "bearer" if is_app else "basic")
        if not self.knows(key) or key in self._revoked:
            return errors.unauthorized(call.path)
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(key):
            return self.forbidden(call)
        if is_app:
            return self._of_app(call)
        return self._of_track(call, rejected, slow=key.startswith("slow"))

    def _of_track(self, call: Call, rejected: frozenset[int], *, slow: bool) -> Answer:
        now = self.clock.now()
        if call.operation.startswith("segments."):
            told = self._segments.check(call.target["segment"], call.body, call.query)
            self._queue.take(call.operation, told, now, slow=slow)
            return Answer(200, {})
        if call.operation == "people.batch":
            answer, taken = self._people.check(call.body, rejected)
        else:
            action = call.operation.removeprefix("people.")
            operation = {"type": "person", "identifiers": {"id": call.target["person"]}, "action": action}
            answer, taken = self._people.check({"batch": [{**operation, "attributes": call.body or {}}]}, rejected)
            if answer.status != 200:
                return errors.first("invalid")
        if taken:
            self._queue.take("people", taken, now, slow=slow)
        return answer

    def _of_app(self, call: Call) -> Answer:
        now, name = self.clock.now(), call.target.get("segment", "")
        if call.operation == "people.find":
            return self._people.look_up(call.body, call.query)
        if call.operation == "people.segments":
            return self._segments.of_person(call.target["person"], call.query)
        if call.operation == "segments.create":
            return self._segments.create(call.body, now)
        if call.operation == "segments.find":
            return self._segments.find()
        if call.operation == "segments.get":
            return self._segments.get(name)
        if call.operation == "segments.count":
            return self._segments.count(name, now)
        if call.operation == "members.read":
            return self._segments.page(name, call.query)
        self._segments.delete(self._segments.number(name))
        return Answer(204)


def key_of(headers: Mapping[str, str], wanted: str) -> str:
    """The key, where it comes as it is wanted; else empty."""
    scheme, _, told = headers.get("authorization", "").partition(" ")
    if scheme.lower() != wanted:
        return ""
    if wanted == "bearer":
        return told.strip()
    try:
        return base64.b64decode(told).decode().partition(":")[2]
    except ValueError:
        return ""
