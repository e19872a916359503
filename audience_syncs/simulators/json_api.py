"""A JSON API of nobody in particular, simulated: ``{url}/json_api`` stands for a house's own service.

It has what such services have: lists that are made and found by name, members put in bulk or one by one, an answer for each row,
tokens that expire.

    POST   /oauth/token                     client credentials in the header -> a token that lasts ``TOKEN_LASTS_S``
    GET    /lists?name=                     {"data": [{"id", "name"}]}
    POST   /lists                           {"name"} -> 201 {"data": {"id", "name"}}; 409 where there is one
    GET    /lists/{id}                      {"data": {"id", "name", "size"}}
    POST   /lists/{id}/members              {"members": [{"id", ...}]} -> {"results": [{"id", "status", ...}]}
    POST   /lists/{id}/members/remove       {"ids": [...]} -> {"errors": [{"position", "code", "detail"}]}, left out when empty
    PUT    /lists/{id}/members/{key}        one member; DELETE takes them out, 404 where they are not in
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import unquote

import orjson

from audience_syncs.simulators.keyed_lists import KeyedLists
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

MOST_MEMBERS = 500
TOKEN_LASTS_S = 3_600
ROUTES: Sequence[tuple[str, re.Pattern[str], str]] = [
    ("POST", re.compile(r"oauth/token"), "token"),
    ("GET", re.compile(r"lists"), "lists.find"),
    ("POST", re.compile(r"lists"), "lists.create"),
    ("GET", re.compile(r"lists/(?P<list>[^/]+)"), "lists.read"),
    ("POST", re.compile(r"lists/(?P<list>[^/]+)/members"), "members.put"),
    ("POST", re.compile(r"lists/(?P<list>[^/]+)/members/remove"), "members.remove"),
    ("PUT", re.compile(r"lists/(?P<list>[^/]+)/members/(?P<key>[^/]+)"), "member.put"),
    ("DELETE", re.compile(r"lists/(?P<list>[^/]+)/members/(?P<key>[^/]+)"), "member.remove"),
]
OF_MEMBERS = {"members.put", "members.remove", "member.put", "member.remove"}


class JsonApi(Platform):
    """The API. An account is who signs in: a bearer token, a name in Basic, a key in ``X-Api-Key``."""

    name = "json_api"

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._lists = KeyedLists(store)
        store.create("CREATE TABLE IF NOT EXISTS tokens (token TEXT PRIMARY KEY, account TEXT, until REAL)")

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", dict[str, str]()
        for verb, pattern, name in ROUTES:
            found = pattern.fullmatch(path.strip("/"))
            if found is not None and verb == method:
                operation, target = name, {key: unquote(value) for key, value in found.groupdict().items()}
        refusal = None if operation != "unknown" else Answer(404, {"error": {"message": "no such address"}})
        content: Json = None
        if body and operation != "token":
            try:
                content = orjson.loads(body)
            except orjson.JSONDecodeError:
                refusal = Answer(400, {"error": {"message": "the body is not JSON"}})
        target["account"] = self._account(headers)
        if operation == "token":
            target["form"] = body.decode("utf-8", "replace")
        rows: Sequence[Json] = ()
        if operation in ("members.put", "members.remove"):
            found_rows = (
                content.get("members" if operation == "members.put" else "ids") if isinstance(content, dict) else None
            )
            if isinstance(found_rows, list) and 0 < len(found_rows) <= MOST_MEMBERS:
                rows = found_rows
            else:
                refusal = refusal or Answer(400, {"error": {"message": f"1 to {MOST_MEMBERS} members are wanted"}})
        elif operation in ("member.put", "member.remove"):
            rows = [content if isinstance(content, dict) else {"id": target["key"]}]
        return Call(method, path, query, headers, operation, content, target.get("list"), rows, target, refusal)

    def _account(self, headers: Mapping[str, str]) -> str:
        """Who signs in; empty where nobody does, or with a token that is over."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme == "Basic":
            try:
                name = base64.b64decode(given).decode().partition(":")[0]
            except ValueError:
                return ""
            return name if self.knows(name) else ""
        token = given if scheme == "Bearer" else headers.get("x-api-key", "")
        if token.startswith("short-lived-"):
            found = self.store.row("SELECT account, until FROM tokens WHERE token = ?", token)
            return "" if found is None or found[1] < self.clock.now() or not self.knows(token) else str(found[0])
        return token if self.knows(token) else ""

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        account = call.target["account"]
        if call.operation == "token":
            return self._token(call)
        if not account:
            return Answer(401, {"error": {"message": "who are you?"}})
        if not self.may_write(account):
            return self.forbidden(call)
        if call.refusal is not None:
            return call.refusal
        with self.lock:
            if call.list_id is not None and not self._lists.has(call.list_id, account):
                return Answer(404, {"error": {"message": "no such list"}})
            if call.operation in OF_MEMBERS:
                return self._about_members(call, rejected)
            return self._about_lists(call, account)

    def _token(self, call: Call) -> Answer:
        account = call.target["account"]
        if not account or "grant_type=client_credentials" not in call.target["form"].split("&"):
            return Answer(401, {"error": "invalid_client"})
        token = "short-lived-" + hashlib.sha256(f"{account} {self.clock.now()}".encode()).hexdigest()[:20]
        with self.store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO tokens VALUES (?, ?, ?)", (token, account, self.clock.now() + TOKEN_LASTS_S)
            )
        return Answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": TOKEN_LASTS_S})

    def _about_lists(self, call: Call, account: str) -> Answer:
        if call.operation == "lists.find":
            return Answer(
                200, {"data": [one for one in self._lists.of(account) if one["name"] == call.query.get("name")]}
            )
        if call.operation == "lists.read":
            list_id = str(call.list_id)
            name = next(one["name"] for one in self._lists.of(account) if one["id"] == list_id)
            return Answer(200, {"data": {"id": list_id, "name": name, "size": self._lists.size(list_id)}})
        name = call.body.get("name") if isinstance(call.body, dict) else None
        if not isinstance(name, str) or not name:
            return Answer(422, {"error": {"message": "a list has a name"}})
        if self._lists.find(account, name) is not None:
            return Answer(409, {"error": {"message": "there is a list of this name"}})
        return Answer(201, {"data": {"id": str(self._lists.make(account, name)), "name": name}})

    def _about_members(self, call: Call, rejected: frozenset[int]) -> Answer:
        list_id = str(call.list_id)
        if call.operation == "members.put":
            for place, row in enumerate(call.rows):
                if not isinstance(row, dict) or not isinstance(row.get("id"), str) or not row["id"]:
                    return self.batch_refused(call, place)
            self._lists.put(list_id, {row["id"]: row for place, row in enumerate(call.rows) if place not in rejected})
            results = [
                {"id": row["id"], "status": "failed", "code": "BAD_MEMBER", "detail": f"{row['id']} is not wanted"}
                if place in rejected
                else {"id": row["id"], "status": "ok"}
                for place, row in enumerate(call.rows)
            ]
            # Not in the order in which they came.
            return Answer(200, {"results": results[::-1]})
        if call.operation == "members.remove":
            self._lists.remove(list_id, [str(key) for place, key in enumerate(call.rows) if place not in rejected])
            errors = [{"position": place, "code": "LOCKED", "detail": "try again later"} for place in sorted(rejected)]
            return Answer(200, {"errors": errors} if errors else {})
        key = call.target["key"]
        if rejected:
            return Answer(422, {"error": {"message": f"{key} is not wanted"}})
        if call.operation == "member.put":
            if not isinstance(call.body, dict):
                return Answer(422, {"error": {"message": "a member is an object"}})
            self._lists.put(list_id, {key: {"id": key, **call.body}})
            return Answer(200, {"data": {"id": key}})
        if not self._lists.is_member(list_id, key):
            return Answer(404, {"error": {"message": "not in this list"}})
        self._lists.remove(list_id, [key])
        return Answer(204)

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        headers = {} if wait_s is None else {"Retry-After": f"{wait_s:g}"}
        return Answer(status or 429, {"error": {"message": "slow down"}}, headers)

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return Answer(status or 503, {"error": {"message": "out of order"}})

    def forbidden(self, call: Call) -> Answer:
        return Answer(403, {"error": {"message": "you may not"}})

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        return Answer(status or 422, {"error": {"message": "a member cannot be read"}})

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        return self._lists.all()

    def has_list(self, list_id: str) -> bool:
        return self._lists.has(list_id)

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._lists.page(list_id, after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._lists.values(list_id, wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        """Each by its first field."""
        self._lists.put(list_id, {str(next(iter(member.values()))): member for member in members})
        return len(members)

    def delete_list(self, list_id: str) -> None:
        self._lists.delete(list_id)

    def forget_everything(self) -> None:
        self._lists.forget()
        with self.store.transaction() as db:
            db.execute("DELETE FROM tokens")
