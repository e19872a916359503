"""Pinterest's paths and operations, tokens, limits, and what tests may look into.

Read from Pinterest's OpenAPI description 5.28.0 (paths, pages of up to 250 with a bookmark, tokens by Basic sign-in) and its pages on
rate limits and authentication: client credentials for the account that owns the app, refresh tokens of 60 days that are replaced
whenever they are used. Here the old one goes on being accepted: that it ends is not published.

Operations, as faults and the journal name them; those with rows have a star: ``token``; ``lists.create``, ``lists.find``,
``lists.get``, ``lists.update``*; ``audiences.create``, ``audiences.find``. Rows are the records of an update. ``partial`` refuses
the whole update: Pinterest says nothing about single records. There is no path that deletes a list.

Who is named ``noscope...`` may read only.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import orjson

from audience_syncs.simulators.pinterest import errors
from audience_syncs.simulators.pinterest.audiences import Audiences
from audience_syncs.simulators.pinterest.errors import Refused
from audience_syncs.simulators.pinterest.lists import Lists, list_id, split
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store
from audience_syncs.simulators.tokens import form_of, granted, holder_of

LASTS_S = 2_592_000
REFRESH_LASTS_S = 5_184_000
CALLS_A_MINUTE = {"lists.create": 400, "lists.update": 400, "audiences.create": 400}
OTHER_CALLS_A_MINUTE = 1_000
MOST = 250
ROUTES = [
    (method, re.compile(f"{pattern}/?").fullmatch, operation)
    for method, pattern, operation in (
        ("POST", "/v5/oauth/token", "token"),
        ("POST", "/v5/ad_accounts/(?P<account>[^/]+)/customer_lists", "lists.create"),
        ("GET", "/v5/ad_accounts/(?P<account>[^/]+)/customer_lists", "lists.find"),
        ("GET", "/v5/ad_accounts/(?P<account>[^/]+)/customer_lists/(?P<list>[^/]+)", "lists.get"),
        ("PATCH", "/v5/ad_accounts/(?P<account>[^/]+)/customer_lists/(?P<list>[^/]+)", "lists.update"),
        ("POST", "/v5/ad_accounts/(?P<account>[^/]+)/audiences", "audiences.create"),
        ("GET", "/v5/ad_accounts/(?P<account>[^/]+)/audiences", "audiences.find"),
    )
]


class Pinterest(Platform):
    """Pinterest's customer lists."""

    name = "pinterest"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._lists = Lists(store, self.size_delay_s)
        self._audiences = Audiences(store, self._lists)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", {}
        for wanted, matches, named in ROUTES:
            found = matches(f"/{path}")
            if wanted == method and found:
                operation, target = named, {name: unquote(value) for name, value in found.groupdict().items()}
                break
        refusal = errors.not_found("Path") if operation == "unknown" else None
        parsed: Any = None
        if operation == "token":
            parsed = form_of(body)
        elif body.strip():
            try:
                parsed = orjson.loads(body)
            except orjson.JSONDecodeError:
                refusal = refusal or errors.invalid("the body is not JSON")
            if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
                refusal = refusal or errors.invalid("Content-Type must be application/json")
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=operation,
            body=parsed,
            list_id=target.get("list"),
            rows=split(parsed) if operation == "lists.update" else (),
            target=target,
            refusal=refusal,
        )

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        try:
            with self.lock:
                answer = self._answer(call, rejected)
        except Refused as refused:
            answer = refused.answer
        return Answer(answer.status, answer.body, {**answer.headers, **self._window(call)})

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        hint = {} if wait_s is None else {"x-ratelimit-reset": str(round(wait_s))}
        return Answer(
            status or 429, errors.throttled().body, {**self._window(call), "x-ratelimit-remaining": "0", **hint}
        )

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return errors.broken(status or 500)

    def forbidden(self, call: Call) -> Answer:
        return errors.not_permitted()

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        return Answer(status or 400, errors.invalid(f"{call.rows[position]} is not a record").body)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        return [
            {"id": list_id(number), "name": name, "account": account, "size": self._lists.size(number)}
            for number, name, account in self._lists.all()
        ]

    def has_list(self, list_id: str) -> bool:
        try:
            self._lists.number(list_id)
        except Refused:
            return False
        return True

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._lists.members(self._lists.number(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._lists.values(self._lists.number(list_id))

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        number = self._lists.number(list_id)
        with self.lock:
            before = self._lists.size(number)
            self._lists.put(number, [each for member in members for each in member.values() if each], self.clock.now())
            return self._lists.size(number) - before

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._lists.delete(self._lists.number(list_id))

    def forget_everything(self) -> None:
        with self.store.transaction() as db:
            for table in ("lists", "members", "audiences", "sizes", "sqlite_sequence"):
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        if call.operation == "token":
            return self._token(call, now)
        who = holder_of(call.token, now) if call.token.startswith("at.") else call.token
        if who is None or not self.knows(who) or call.token in self._revoked:
            return errors.unauthorized()
        if call.refusal is not None:
            return call.refusal
        account = call.target["account"]
        if not account.isascii() or not account.isdigit() or account.startswith("404"):
            return errors.not_found("Ad account")
        if (call.method != "GET" and not self.may_write(who)) or account.startswith("403"):
            return self.forbidden(call)
        if call.operation.endswith(".find"):
            return self._find(call, account, now)
        if call.operation == "audiences.create":
            return Answer(200, self._audiences.create(account, call.body, now))
        if call.operation == "lists.create":
            return Answer(200, self._lists.create(account, call.body, now))
        number = self._lists.number(call.target["list"], account)
        if call.operation == "lists.get":
            return Answer(200, self._lists.show(number, now))
        if rejected:
            return errors.invalid("one of the records is not acceptable")
        return Answer(200, self._lists.update(number, call.body, now))

    def _token(self, call: Call, now: float) -> Answer:
        scheme, _, encoded = call.headers.get("authorization", "").partition(" ")
        try:
            client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            client_id, secret = "", ""
        form: dict[str, str] = {**call.body, "client_id": client_id, "client_secret": secret}
        asks_for_nobody = form.get("grant_type") == "refresh_token" and not self.knows(form.get("refresh_token", ""))
        if scheme.lower() != "basic" or not client_id or not secret or asks_for_nobody:
            return errors.unauthorized()
        if form.get("grant_type") == "client_credentials" and not form.get("scope"):
            return errors.invalid("scope is required")
        more: dict[str, object] = {"scope": "ads:read,ads:write", "response_type": form.get("grant_type", "")}
        if form.get("grant_type") == "refresh_token":
            more |= {"refresh_token": form["refresh_token"] + "~", "refresh_token_expires_in": REFRESH_LASTS_S}
        answer = granted(form, now, LASTS_S, **more)
        return answer if answer.status == 200 else errors.unauthorized()

    def _find(self, call: Call, account: str, now: float) -> Answer:
        size, bookmark = call.query.get("page_size", "25"), call.query.get("bookmark", "0")
        if not size.isdigit() or not 1 <= int(size) <= MOST or not bookmark.isdigit():
            raise Refused(errors.invalid(f"page_size must be between 1 and {MOST}"))
        kept = self._lists if call.operation == "lists.find" else self._audiences
        found, following = kept.page(account, int(bookmark), int(size), now)
        return Answer(200, {"items": found, "bookmark": None if following is None else str(following)})

    def _window(self, call: Call) -> dict[str, str]:
        most = self.limit.max_calls if self.limit else CALLS_A_MINUTE.get(call.operation, OTHER_CALLS_A_MINUTE)
        left = self.limit.remaining if self.limit else most - 1
        length = self.limit.interval_s if self.limit else 60
        return {
            "x-ratelimit-limit": str(most),
            "x-ratelimit-remaining": str(left),
            "x-ratelimit-reset": f"{length:.0f}",
        }
