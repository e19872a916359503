"""One Iterable project: its paths and operations, keys, limits, and what tests may look into.

Read from Iterable's API description 1.8 and its pages on project types, response codes and lists. Operations, as faults and the
journal name them; those with rows have a star: ``lists.find``, ``lists.create``, ``lists.delete``, ``lists.members``, ``lists.size``,
``members.add``*, ``members.remove``*, ``users.update``*, ``users.find``, ``users.delete``, ``users.forget``. ``partial`` fails single
users of a request, for invalid data.

A key named ``email...`` is that of an email-based project, ``userid...`` of a userID-based one, any other of a hybrid one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import orjson

from audience_syncs.simulators.iterable.answers import Refused, bad_key, envelope, text
from audience_syncs.simulators.iterable.bulk import Bulk
from audience_syncs.simulators.iterable.lists import Lists
from audience_syncs.simulators.iterable.users import EMAIL_BASED, HYBRID, USER_ID_BASED, Users
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

MOST_BYTES = 4_000_000
ROUTES = [
    (method, re.compile(f"{pattern}/?").fullmatch, operation)
    for method, pattern, operation in (
        ("GET", "api/lists", "lists.find"),
        ("POST", "api/lists", "lists.create"),
        ("GET", "api/lists/getUsers", "lists.members"),
        ("POST", "api/lists/subscribe", "members.add"),
        ("POST", "api/lists/unsubscribe", "members.remove"),
        ("GET", "api/lists/(?P<list>[^/]+)/size", "lists.size"),
        ("DELETE", "api/lists/(?P<list>[^/]+)", "lists.delete"),
        ("POST", "api/users/bulkUpdate", "users.update"),
        ("POST", "api/users/forget", "users.forget"),
        ("GET", "api/users/getByEmail", "users.find"),
        ("GET", "api/users/byUserId", "users.find"),
        ("DELETE", "api/users/byUserId/(?P<user_id>.+)", "users.delete"),
        ("DELETE", "api/users/(?P<email>[^/]+)", "users.delete"),
    )
]
ROWS_IN = {"members.add": "subscribers", "members.remove": "subscribers", "users.update": "users"}


class Iterable(Platform):
    """Users and lists of one project."""

    name = "iterable"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._users = Users(store)
        self._lists = Lists(store, self.size_delay_s)
        self._bulk = Bulk(store, self._users, self._lists)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", {}
        for wanted, matches, named in ROUTES:
            found = matches(path.strip("/"))
            if wanted == method and found:
                operation, target = named, {name: unquote(value) for name, value in found.groupdict().items()}
                break
        refusal = envelope(404, "NotFound", "no such address") if operation == "unknown" else None
        parsed: Any = None
        try:
            parsed = orjson.loads(body) if body.strip() else None
        except orjson.JSONDecodeError:
            refusal = refusal or envelope(400, "BadJsonBody", "[/api] Invalid JSON body")
        if len(body) > MOST_BYTES:
            refusal = refusal or envelope(413, "BatchTooLarge", "the body is larger than 4 MB")
        rows = parsed.get(ROWS_IN.get(operation, "")) if isinstance(parsed, dict) else None
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=operation,
            body=parsed,
            list_id=target.get("list"),
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
        answer = envelope(status or 429, "RateLimitExceeded", "Rate limit exceeded")
        return Answer(answer.status, answer.body, {} if wait_s is None else {"retry-after": f"{wait_s:g}"})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return envelope(status or 500, "GenericError", "An error occurred")

    def forbidden(self, call: Call) -> Answer:
        return bad_key()

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        return envelope(status or 400, "BadParams", "Invalid parameters")

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        return [
            {"id": str(each["id"]), "name": each["name"], "account": None, "size": self._lists.size(each["id"])}
            for each in self._lists.all()
        ]

    def has_list(self, list_id: str) -> bool:
        try:
            self._lists.number(list_id)
        except Refused:
            return False
        return True

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._lists.members(int(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._lists.values(int(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        now = self.clock.now()
        with self.lock, self.store.transaction() as db:
            users = [self._users.write(db, member, HYBRID) for member in members]
            self._lists.put(db, int(list_id), users, now)
        return len(members)

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._lists.delete(int(list_id))

    def forget_everything(self) -> None:
        with self.store.transaction() as db:
            for table in (
                *("users", "forgotten", "field_types", "lists", "memberships"),
                *("sizes", "sqlite_sequence"),
            ):
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        key = call.headers.get("api-key", "")
        if not self.knows(key) or not self.may_write(key):
            return bad_key()
        if call.refusal is not None:
            return call.refusal
        project = EMAIL_BASED if key.startswith("email") else USER_ID_BASED if key.startswith("userid") else HYBRID
        if call.operation == "members.add":
            return self._bulk.subscribe(call.body, rejected, project, now)
        if call.operation == "members.remove":
            return self._bulk.unsubscribe(call.body, rejected, project, now)
        if call.operation == "users.update":
            return self._bulk.update(call.body, rejected, project)
        return self._of_users(call) if call.operation.startswith("users.") else self._of_lists(call, now)

    def _of_lists(self, call: Call, now: float) -> Answer:
        if call.operation == "lists.find":
            return Answer(200, {"lists": self._lists.all()})
        if call.operation == "lists.create":
            body = call.body if isinstance(call.body, dict) else {}
            return Answer(200, {"listId": self._lists.make(body.get("name"), body.get("description"), now)})
        number = self._lists.number(call.query.get("listId") if call.operation == "lists.members" else call.list_id)
        if call.operation == "lists.members":
            return text(self._lists.lines(number, prefer_user_id=call.query.get("preferUserId") == "true"))
        if call.operation == "lists.size":
            size, _ = self.store.size_seen(number, now, self.size_delay_s)
            return text(str(size))
        self._lists.delete(number)
        return envelope(200, "Success")

    def _of_users(self, call: Call) -> Answer:
        if call.operation == "users.find":
            if "userId" in call.query:
                found = self._users.shown("user_id", call.query["userId"])
                if found is None:
                    return envelope(400, "error.users.noUserWithIdExists", "No user exists with this userId")
            else:
                found = self._users.shown("email", call.query.get("email", "").lower())
            return Answer(200, {} if found is None else {"user": found})
        with self.store.transaction() as db:
            if call.operation == "users.forget":
                body = call.body if isinstance(call.body, dict) else {}
                name = "email" if body.get("email") else "user_id"
                value = str(body.get("email") or body.get("userId"))
                self._users.delete(db, name, value)
                self._users.forget(db, value)
                return envelope(200, "Success")
            name = "email" if "email" in call.target else "user_id"
            if not self._users.delete(db, name, call.target[name]):
                return envelope(400, "UnknownEmailError" if name == "email" else "UnknownUserIdError", "no such user")
        return envelope(200, "Success")
