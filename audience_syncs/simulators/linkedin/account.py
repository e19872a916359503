"""LinkedIn's API as far as DMP segments go: paths, headers, versions, tokens, and what tests may look into.

Operations, as faults and the journal name them: ``segments.create``, ``segments.find``, ``segments.get``, ``segments.delete``,
``users.add`` and ``users.remove`` (with rows; by the first one's action) and
``token``. ``partial`` refuses single elements, ``reject_batch`` the whole request.

A version is served for thirteen months from its own on, by the simulators' clock. A token named ``slow...`` sees a new segment only
after five seconds of it, as Segment's adapter has seen it, at other times.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import orjson

from audience_syncs.simulators import tokens
from audience_syncs.simulators.linkedin import answers
from audience_syncs.simulators.linkedin.answers import Refused, wrong
from audience_syncs.simulators.linkedin.segments import Segments
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

MONTHS = 13
TOKEN_LASTS_S = 60 * 86_400
ROUTES = [
    (method, re.compile(pattern).fullmatch, operation)
    for method, pattern, operation in (
        ("POST", "oauth/v2/accessToken", "token"),
        ("POST", "rest/dmpSegments", "segments.create"),
        ("GET", "rest/dmpSegments", "segments.find"),
        ("GET", "rest/dmpSegments/(?P<segment>[^/]+)", "segments.get"),
        ("DELETE", "rest/dmpSegments/(?P<segment>[^/]+)", "segments.delete"),
        ("POST", "rest/dmpSegments/(?P<segment>[^/]+)/users", "users.stream"),
    )
]


class LinkedIn(Platform):
    """The segments of every ad account that somebody asks with."""

    name = "linkedin"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._segments = Segments(store, self.size_delay_s)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", {}
        for wanted, matches, named in ROUTES:
            found = matches(path)
            if wanted == method and found:
                operation, target = named, {name: unquote(value) for name, value in found.groupdict().items()}
                break
        refusal = answers.not_found("Resource") if operation == "unknown" else None
        parsed: Any = None
        if operation == "token":
            parsed = tokens.form_of(body)
        elif body.strip():
            try:
                parsed = orjson.loads(body)
            except orjson.JSONDecodeError:
                refusal = refusal or answers.error(400, "The body is not JSON", "INVALID_JSON")
        elements = parsed.get("elements") if isinstance(parsed, dict) and operation == "users.stream" else None
        rows = elements if isinstance(elements, list) else ()
        if operation == "users.stream":
            first = rows[0] if rows else None
            operation = "users.remove" if isinstance(first, dict) and first.get("action") == "REMOVE" else "users.add"
        return Call(method, f"/{path}", query, headers, operation, parsed, target.get("segment"), rows, target, refusal)

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        if call.operation == "token":
            return tokens.granted(call.body, self.clock.now(), TOKEN_LASTS_S, refresh_token_expires_in=31_536_000)
        try:
            with self.lock:
                return self._answer(call, rejected)
        except Refused as refused:
            return refused.answer

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        answer = answers.throttled()
        return Answer(status or 429, answer.body, {} if wait_s is None else {"Retry-After": f"{wait_s:g}"})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return Answer(status or 500, answers.broken().body)

    def forbidden(self, call: Call) -> Answer:
        return answers.not_permitted(call.path, call.method)

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        return Answer(status or 400, wrong("elements could not be read").answer.body)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        return self._segments.all()

    def has_list(self, list_id: str) -> bool:
        return self._segments.number(list_id) is not None

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._segments.members(self._segments.known(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._segments.values(self._segments.known(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        with self.lock:
            return self._segments.put(self._segments.known(list_id), members, self.clock.now())

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._segments.forget(self._segments.known(list_id))

    def forget_everything(self) -> None:
        self._segments.forget()

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        if not call.token:
            return answers.no_token()
        holder = tokens.holder_of(call.token, now) if call.token.startswith("at.") else call.token
        if holder is None:
            return answers.bad_token("EXPIRED_ACCESS_TOKEN")
        if not self.knows(call.token) or not self.knows(holder):
            return answers.bad_token()
        version = call.headers.get("linkedin-version", "")
        if not _is_active(version, now):
            return answers.ended_version(version) if version else answers.error(400, "A version must be present.")
        if call.headers.get("x-restli-protocol-version") != "2.0.0":
            return answers.error(400, "Invalid X-Restli-Protocol-Version", "ILLEGAL_ARGUMENT")
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(holder):
            return self.forbidden(call)
        if call.operation == "segments.create":
            return self._segments.create(call.body if isinstance(call.body, dict) else {}, now)
        if call.operation == "segments.find":
            return self._segments.find(call.query, now)
        segment = call.target["segment"]
        if call.operation == "segments.get":
            return self._segments.get(segment, now)
        if call.operation == "segments.delete":
            self._segments.forget(self._segments.known(segment))
            return Answer(204)
        if call.headers.get("x-restli-method", "").upper() != "BATCH_CREATE" or not isinstance(call.body, dict):
            raise wrong("a batch wants the header X-RestLi-Method: BATCH_CREATE")
        if not isinstance(call.body.get("elements"), list):
            raise wrong("/elements :: field is required but not found")
        return self._segments.stream(segment, call.rows, rejected, now, slow=holder.startswith("slow"))


def _is_active(version: str, now: float) -> bool:
    if re.fullmatch(r"20\d{2}(0[1-9]|1[0-2])", version) is None:
        return False
    today = datetime.fromtimestamp(now, UTC)
    age = (today.year - int(version[:4])) * 12 + today.month - int(version[4:])
    return 0 <= age < MONTHS
