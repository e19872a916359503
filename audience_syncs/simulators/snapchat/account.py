"""Snapchat's paths and operations, tokens, and what tests may look into.

Read from Snap's pages: customer lists, API patterns (pages of 50 to 1,000, ``paging.next_link``), authentication (tokens last an
hour), rate limits (10 requests a second for a token, told by nothing but a 429).

Operations, as faults and the journal name them; those with rows have a star: ``token``; ``segments.create``, ``segments.find``,
``segments.get``, ``segments.update``, ``segments.delete``; ``users.add``*, ``users.remove``*, ``users.remove_all``. ``partial``
makes the one part of an addition fail, as the envelope has it; a removal knows no partial failure.

Whoever signs in with a refresh token named ``noscope...`` has no role on any ad account.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import orjson

from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.snapchat import errors
from audience_syncs.simulators.snapchat.errors import Refused
from audience_syncs.simulators.snapchat.segments import Segments, read_users, segment_id
from audience_syncs.simulators.store import Clock, Store
from audience_syncs.simulators.tokens import form_of, granted, holder_of

FEWEST, MOST = 50, 1_000
ROUTES = [
    (method, re.compile(f"{pattern}/?").fullmatch, operation)
    for method, pattern, operation in (
        ("POST", "/login/oauth2/access_token", "token"),
        ("POST", "/v1/adaccounts/(?P<account>[^/]+)/segments", "segments.create"),
        ("GET", "/v1/adaccounts/(?P<account>[^/]+)/segments", "segments.find"),
        ("PUT", "/v1/adaccounts/(?P<account>[^/]+)/segments", "segments.update"),
        ("GET", "/v1/segments/(?P<segment>[^/]+)", "segments.get"),
        ("DELETE", "/v1/segments/(?P<segment>[^/]+)", "segments.delete"),
        ("POST", "/v1/segments/(?P<segment>[^/]+)/users", "users.add"),
        ("DELETE", "/v1/segments/(?P<segment>[^/]+)/users", "users.remove"),
        ("DELETE", "/v1/segments/(?P<segment>[^/]+)/all_users", "users.remove_all"),
    )
]


class Snapchat(Platform):
    """Snapchat's customer lists."""

    name = "snapchat"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._segments = Segments(store, self.size_delay_s)

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
        if operation == "token":
            parsed = form_of(body)
        elif body.strip():
            try:
                parsed = orjson.loads(body)
            except orjson.JSONDecodeError:
                refusal = refusal or errors.invalid("The body is not JSON")
            if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                refusal = refusal or errors.invalid("Content-Type must be application/json")
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
        return Answer(status or 429, errors.throttled().body)

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return errors.broken(status or 500)

    def forbidden(self, call: Call) -> Answer:
        return errors.not_permitted()

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        return Answer(status or 400, errors.invalid(f"data has an invalid identifier: {call.rows[position]}").body)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        now = self.clock.now()
        return [
            {"id": segment_id(number), "name": name, "account": account, "size": self._segments.size(number, now)}
            for number, name, account in self._segments.all()
        ]

    def has_list(self, list_id: str) -> bool:
        try:
            self._segments.number(list_id)
        except Refused:
            return False
        return True

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        number = self._segments.number(list_id)
        self._segments.size(number, self.clock.now())
        return self._segments.members(number, after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._segments.values(self._segments.number(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        """Each identifier is a member by itself."""
        number, now = self._segments.number(list_id), self.clock.now()
        with self.lock:
            before = self._segments.size(number, now)
            identifiers = [(kind, value) for member in members for kind, value in member.items() if value]
            self._segments.add(number, identifiers, now)
            return self._segments.size(number, now) - before

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._segments.delete(self._segments.number(list_id))

    def forget_everything(self) -> None:
        with self.store.transaction() as db:
            for table in ("segments", "members", "sizes", "sqlite_sequence"):
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        if call.operation == "token":
            return self._token(call.body, now)
        who = holder_of(call.token, now) if call.token.startswith("at.") else call.token
        if who is None or not self.knows(who) or call.token in self._revoked:
            return errors.unauthorized()
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(who) or call.target.get("account", "").startswith("others"):
            return self.forbidden(call)
        if call.operation == "segments.create":
            return errors.success("segments", "segment", self._segments.create(call.target["account"], call.body, now))
        if call.operation == "segments.find":
            return self._find(call, now)
        if call.operation == "segments.update":
            return self._update(call, now)
        return self._of_segment(call, self._segments.number(call.target["segment"]), rejected, now)

    def _token(self, form: Mapping[str, str], now: float) -> Answer:
        missing = [name for name in ("client_id", "client_secret") if not form.get(name)]
        if missing:
            return Answer(400, {"error": "invalid_request", "error_description": f"{missing[0]} is missing"})
        if not self.knows(form.get("refresh_token", "revoked")):
            return Answer(400, {"error": "invalid_grant", "error_description": "Invalid refresh token"})
        return granted(form, now, refresh_token=form["refresh_token"], scope="snapchat-marketing-api")

    def _find(self, call: Call, now: float) -> Answer:
        limit, cursor = call.query.get("limit", str(MOST)), call.query.get("cursor", "0")
        if not limit.isdigit() or not FEWEST <= int(limit) <= MOST or not cursor.isdigit():
            raise Refused(errors.invalid(f"limit must be between {FEWEST} and {MOST}"))
        account = call.target["account"]
        found, following = self._segments.page(account, int(cursor), int(limit), now)
        link = f"https://adsapi.snapchat.com/v1/adaccounts/{account}/segments?cursor={following}&limit={limit}"
        return errors.success("segments", "segment", found, paging={} if following is None else {"next_link": link})

    def _update(self, call: Call, now: float) -> Answer:
        asked = call.body.get("segments") if isinstance(call.body, dict) else None
        if not isinstance(asked, list) or not all(isinstance(each, dict) for each in asked):
            raise Refused(errors.invalid("segments must be a list of segments"))
        numbers = [self._segments.number(str(each.get("id"))) for each in asked]
        for number, each in zip(numbers, asked, strict=True):
            self._segments.rename(number, each, now)
        return errors.success("segments", "segment", [self._segments.show(number, now) for number in numbers])

    def _of_segment(self, call: Call, number: int, rejected: frozenset[int], now: float) -> Answer:
        if call.operation == "segments.get":
            return errors.success("segments", "segment", [self._segments.show(number, now)])
        if call.operation == "segments.delete":
            self._segments.delete(number)
            return errors.success("segments", "segment", [])
        if call.operation == "users.remove_all":
            self._segments.remove(number, None, now)
            return errors.success("segments", "segment", [self._segments.show(number, now)])
        identifiers = read_users(call.body)
        if call.operation == "users.remove":
            self._segments.remove(number, identifiers, now)
        elif rejected:
            return errors.part_refused("users", "E2001: the identifiers are not valid")
        else:
            self._segments.add(number, identifiers, now)
        return errors.success("users", "user", [{"number_uploaded_users": len(identifiers)}])


def _rows(operation: str, body: Any) -> Sequence[Any]:
    users = body.get("users") if operation in ("users.add", "users.remove") and isinstance(body, dict) else None
    first = users[0] if isinstance(users, list) and users and isinstance(users[0], dict) else {}
    data = first.get("data")
    return data if isinstance(data, list) else ()
