"""One Braze workspace: its paths and operations, keys, limits, and what tests may look into.

Read from Braze's documentation (2026-11). Operations, as faults and the journal name them; those with rows have a star:
``users.track``*, ``users.export``, ``users.delete``, ``attributes.list``, ``segments.list``, ``segments.sizes``. ``partial`` refuses
single objects of a request.

An audience is a boolean attribute, and is called a list here; one that nobody has yet is there already, for Braze makes it with its
first value. Each has a segment of its name, as if a marketer had made one. A key named ``slow...`` has its changes applied a
minute late. There are no paths that message anybody, none that give or take consent but the attributes of /users/track.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.simulators.braze.answers import NO_DATA, Refused, refusal
from audience_syncs.simulators.braze.track import Track
from audience_syncs.simulators.braze.users import Users
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

OPERATIONS = {
    "POST users/track": "users.track",
    "POST users/export/ids": "users.export",
    "POST users/delete": "users.delete",
    "GET custom_attributes": "attributes.list",
    "GET segments/list": "segments.list",
    "GET segments/data_series": "segments.sizes",
}
MOST_BYTES = 4_000_000
MOST_IDS = 50
PAGE, SEGMENTS_PAGE = 50, 100
ONE_BY_ONE = ("email_address", "phone", "braze_id", "device_id")
KINDS = {"external_ids": "external_id", "user_aliases": "user_alias", "braze_ids": "braze_id"}
KINDS |= {"email_addresses": "email", "phone_numbers": "phone"}
EXPORTED = re.compile(r"[a-z_]{3,30}").fullmatch


class Braze(Platform):
    """Users, their custom attributes, and segments of them."""

    name = "braze"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._users = Users(store, self.size_delay_s)
        self._track = Track(store, self._users)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation = OPERATIONS.get(f"{method} {path.strip('/')}", "unknown")
        refused = refusal(404, "Not Found") if operation == "unknown" else None
        parsed: Any = None
        try:
            parsed = orjson.loads(body) if body.strip() else None
        except orjson.JSONDecodeError:
            refused = refused or refusal(400, "Bad syntax")
        if len(body) > MOST_BYTES:
            refused = refused or refusal(413, "Request Entity Too Large")
        rows = parsed.get("attributes") if operation == "users.track" and isinstance(parsed, dict) else None
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=operation,
            body=parsed,
            rows=rows if isinstance(rows, list) else (),
            refusal=refused,
        )

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        try:
            with self.lock:
                answer = self._answer(call, rejected)
        except Refused as refused:
            answer = refused.answer
        return Answer(answer.status, answer.body, {**answer.headers, **self._window()})

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        reset = int(self.clock.now() + (wait_s or 0)) + (1 if wait_s else 0)
        headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)}
        return Answer(status or 429, refusal(429, "Rate limit exceeded").body, headers)

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return refusal(status or 500, "Internal Server Error")

    def forbidden(self, call: Call) -> Answer:
        return refusal(403, "This API key does not have the permission for this endpoint")

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        return refusal(status or 400, NO_DATA)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        self._track.apply(self.clock.now())
        return [
            {"id": name, "name": name, "account": None, "size": self._users.size(number)}
            for number, name in self._users.flags()
        ]

    def has_list(self, list_id: str) -> bool:
        return not self._users.is_blocked(list_id)

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        self._track.apply(self.clock.now())
        return self._users.members(list_id, after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        self._track.apply(self.clock.now())
        return self._users.values(list_id, wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        with self.lock, self.store.transaction() as db:
            for member in members:
                self._users.write(db, {**member, list_id: True}, self.clock.now())
            self._users.note_sizes(db, self.clock.now())
        return len(members)

    def delete_list(self, list_id: str) -> None:
        """As when somebody blocklists the attribute in the dashboard."""
        with self.lock:
            self._users.block(list_id)

    def forget_everything(self) -> None:
        with self.store.transaction() as db:
            for table in ("users", "aliases", "attributes", "flags", "queue", "sizes", "sqlite_sequence"):
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        self._track.apply(now)
        if not self.knows(call.token):
            return refusal(401, f"Invalid API key: {call.token}")
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(call.token):
            return self.forbidden(call)
        if call.operation == "users.track":
            return self._track.take(call.body, rejected, now, slow=call.token.startswith("slow"))
        asked: dict[str, Callable[[Call], Answer]] = {
            "users.export": self._export,
            "users.delete": self._delete,
            "attributes.list": self._attributes,
            "segments.list": self._segments,
            "segments.sizes": self._sizes,
        }
        return asked[call.operation](call)

    def _export(self, call: Call) -> Answer:
        body = call.body if isinstance(call.body, dict) else {}
        wanted = body.get("fields_to_export")
        if not isinstance(wanted, list) or not all(isinstance(name, str) and EXPORTED(name) for name in wanted):
            raise Refused(400, "'fields_to_export' is required")
        named = [(external_id, {"external_id": external_id}) for external_id in body.get("external_ids") or []]
        named += [(alias, {"user_alias": alias}) for alias in body.get("user_aliases") or []]
        singles = [name for name in ONE_BY_ONE if body.get(name) is not None]
        if len(named) > MOST_IDS:
            raise Refused(400, "The max number of external_ids and aliases per request was exceeded")
        if len(singles) > 1 or not (named or singles):
            raise Refused(400, "one kind of identifier must be given")
        for single in singles:
            kind = {"email_address": "email"}.get(single, single)
            named.append((body[single], {kind: body[single]}))
        numbers: dict[int, None] = {}
        unknown = []
        with self.store.transaction() as db:
            for shown, name in named:
                found = self._users.find(db, name)
                numbers |= dict.fromkeys(found)
                unknown += [] if found else [shown]
        users = [self._users.exported(number, wanted) for number in numbers]
        return Answer(201, {"message": "success", "users": users, **({"invalid_user_ids": unknown} if unknown else {})})

    def _delete(self, call: Call) -> Answer:
        body = call.body if isinstance(call.body, dict) else {}
        given = [(kind, body[name]) for name, kind in KINDS.items() if body.get(name)]
        if len(given) != 1 or not isinstance(given[0][1], list):
            raise Refused(400, "one kind of identifier must be given")
        ((kind, values),) = given
        if len(values) > MOST_IDS:
            raise Refused(400, "The max number of ids per request was exceeded")
        with self.store.transaction() as db:
            deleted = sum(self._users.delete(db, {kind: value}) for value in values)
            self._users.note_sizes(db, self.clock.now())
        return Answer(201, {"deleted": deleted, "message": "success"})

    def _attributes(self, call: Call) -> Answer:
        start = call.query.get("cursor", "0")
        if not (start.isascii() and start.isdigit()):
            raise Refused(400, "Invalid cursor")
        found, first = self._users.attributes(), int(start)
        headers = {}
        if len(found) > first + PAGE:
            address = f"https://rest.iad-01.braze.com/custom_attributes?cursor={first + PAGE}"
            headers["link"] = f'<{address}>; rel="next"'
        return Answer(200, {"message": "success", "attributes": found[first : first + PAGE]}, headers)

    def _segments(self, call: Call) -> Answer:
        page = call.query.get("page", "0")
        first = int(page) * SEGMENTS_PAGE if page.isascii() and page.isdigit() else 0
        segments = [
            {"id": f"segment-{number}", "name": name, "analytics_tracking_enabled": True, "tags": []}
            for number, name in self._users.flags()
        ]
        return Answer(200, {"message": "success", "segments": segments[first : first + SEGMENTS_PAGE]})

    def _sizes(self, call: Call) -> Answer:
        digits = call.query.get("segment_id", "").removeprefix("segment-")
        if not (digits.isascii() and digits.isdigit()) or not call.query.get("length", "").isdigit():
            raise Refused(400, "Invalid segment_id")
        now = self.clock.now()
        size, _ = self.store.size_seen(int(digits), now, self.size_delay_s)
        return Answer(
            200, {"message": "success", "data": [{"time": datetime.fromtimestamp(now, UTC).isoformat(), "size": size}]}
        )

    def _window(self) -> dict[str, str]:
        most, left, lasts = (
            (self.limit.max_calls, self.limit.remaining, self.limit.interval_s) if self.limit else (3_000, 2_999, 3.0)
        )
        reset = int(self.clock.now() + lasts) + 1
        return {"x-ratelimit-limit": str(most), "x-ratelimit-remaining": str(left), "x-ratelimit-reset": str(reset)}
