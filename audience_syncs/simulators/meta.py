"""Meta Custom Audiences, simulated: ``{url}/meta`` stands for https://graph.facebook.com.

Read from: Customer File Custom Audiences guide, Custom Audience Users and Usersreplace references, Marketing API
rate limiting (documentation of v25.0; the endpoints are the same in v26.0). Any version from v20.0 is served.

What is ours, where the documentation is silent, is said in ``meta_rows``, ``meta_sessions`` and ``meta_people``.
"""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson

from audience_syncs.simulators import meta_sessions
from audience_syncs.simulators.meta_audiences import Audiences
from audience_syncs.simulators.meta_errors import (
    Refused,
    bad_token,
    error,
    invalid_parameter,
    unknown_object,
    unknown_path,
)
from audience_syncs.simulators.meta_people import Change, People
from audience_syncs.simulators.meta_rows import (
    HASHED,
    BadPayload,
    ReadRows,
    is_sha256,
    read_data,
    read_rows,
    read_schema,
)
from audience_syncs.simulators.meta_sessions import Sessions, read_batch
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

OLDEST_VERSION = 20
CALLS_PER_HOUR = 190_000
DAYS_BEFORE = 18_262  # 2020-01-01, so that a day fits in 16 bits
ACCOUNT = re.compile(r"act_\d+").fullmatch
VERSION = re.compile(r"v(\d+)\.\d+").fullmatch

READS = {
    ("GET", "customaudiences"): "audiences.list",
    ("POST", "customaudiences"): "audiences.create",
    ("DELETE", "usersofanyaudience"): "users.remove_everywhere",
    ("POST", "users"): "users.add",
    ("DELETE", "users"): "users.remove",
    ("POST", "usersreplace"): "users.replace",
    ("GET", "sessions"): "sessions.read",
}
OF_OBJECT = {"GET": "audiences.read", "POST": "audiences.update", "DELETE": "audiences.delete"}


class Meta(Platform):
    """The Graph API's custom audiences."""

    name = "meta"

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._audiences = Audiences(store)
        self._sessions = Sessions(store)
        self._people = People(store)
        self._calls: dict[str, tuple[int, int]] = {}

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        parts = [part for part in path.split("/") if part]
        refusal = None
        if parts and (version := VERSION(parts[0])):
            parts = parts[1:]
            if int(version[1]) < OLDEST_VERSION:
                refusal = error(2635, "(#2635) You are calling a deprecated version of the Ads API. Please update.")
        try:
            parameters = {**_decoded(query), **_parameters(headers.get("content-type", ""), body)}
        except ValueError:
            parameters, refusal = {}, invalid_parameter("The body is neither JSON nor form fields")
        if method == "POST" and str(parameters.get("method", "")).upper() in {"DELETE", "GET"}:
            method = str(parameters["method"]).upper()
        edge = parts[1] if len(parts) == 2 else ""
        operation = OF_OBJECT.get(method) if len(parts) == 1 else READS.get((method, edge))
        if operation is None or not 1 <= len(parts) <= 2:
            operation, refusal = "unknown", refusal or unknown_path("/".join(parts))
        object_id = parts[0] if parts else ""
        if operation == "audiences.read" and ACCOUNT(object_id):
            operation = "accounts.read"
        payload = parameters.get("payload")
        rows = payload.get("data") if isinstance(payload, dict) else None
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=operation,
            body=parameters,
            list_id=None if ACCOUNT(object_id) else object_id or None,
            rows=rows if isinstance(rows, list) else (),
            target={"id": object_id},
            refusal=refusal,
        )

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        try:
            answer = self._answer(call, rejected)
        except Refused as refused:
            answer = refused.answer
        return Answer(answer.status, answer.body, {**answer.headers, **self._usage(call, 0)})

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        answer = error(
            80003,
            "(#80003) There have been too many calls to this ad-account. Wait a bit and try again. For more info, "
            "please refer to https://developers.facebook.com/docs/graph-api/overview/rate-limiting.",
            subcode=2446079,
            status=status or 400,
            transient=True,
        )
        minutes = round((wait_s or 0) / 60)
        hint = {} if wait_s is None or (status or 400) != 429 else {"Retry-After": f"{wait_s:g}"}
        return Answer(answer.status, answer.body, {**self._usage(call, minutes, full=True), **hint})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        message = "An unexpected error has occurred. Please retry your request later."
        return error(2, message, status=status or 500, transient=True)

    def forbidden(self, call: Call) -> Answer:
        return error(
            200,
            "Permissions error",
            subcode=1870090,
            status=403,
            title="Custom Audience Terms Not Accepted",
            detail="To create or edit a custom audience, the Custom Audience terms must be accepted for the account.",
        )

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        answer = invalid_parameter("The payload could not be read")
        return Answer(status or answer.status, answer.body)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        return [
            {"id": str(audience), "name": name, "account": account, "size": self._people.size(audience)}
            for audience, name, account in self._audiences.all()
        ]

    def has_list(self, list_id: str) -> bool:
        return self._audiences.account_of(list_id) is not None

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._people.page(int(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._people.values(int(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        account = self._audiences.account_of(list_id)
        if account is None:
            return 0
        rows = [{key: _as_held(key, value) for key, value in member.items() if value} for member in members]
        with self.lock, self.store.transaction() as db:
            change = self._people.add(db, account, int(list_id), rows, self._day())
            self._note(db, int(list_id), change, 200)
        return change.size

    def delete_list(self, list_id: str) -> None:
        with self.lock, self.store.transaction() as db:
            self._audiences.delete(db, int(list_id))
            self._people.clear(db, int(list_id))
            self._people.clear(db, -int(list_id))

    def forget_everything(self) -> None:
        with self.store.transaction() as db:
            for table in ("audiences", "sessions", "members", "seen", "sizes"):
                db.execute(f"DELETE FROM {table}")
            db.execute("DELETE FROM settings WHERE name = 'last_audience'")
        self._calls = {}
        self._people.load()

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        if not self.knows(call.token):
            return bad_token(call.token)
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(call.token) and call.operation != "accounts.read":
            return self.forbidden(call)
        object_id = call.target["id"]
        if call.operation == "accounts.read":
            return Answer(200, {"id": object_id, "account_id": object_id[4:], "name": f"Account {object_id[4:]}"})
        if call.operation in {"audiences.list", "audiences.create", "users.remove_everywhere"}:
            if not ACCOUNT(object_id):
                return unknown_object(object_id, call.method)
            return self._of_account(call, object_id, rejected)
        account = self._audiences.account_of(object_id)
        if account is None:
            return unknown_object(object_id, call.method)
        with self.lock:
            self._end_overdue_replacement(int(object_id))
        if call.operation == "users.add":
            return self._change_users(call, account, rejected, remove_from=None)
        if call.operation == "users.remove":
            return self._change_users(call, account, rejected, remove_from=[int(object_id)])
        if call.operation == "users.replace":
            return self._replace_users(call, account, rejected)
        return self._of_audience(call, int(object_id))

    def _of_account(self, call: Call, account: str, rejected: frozenset[int]) -> Answer:
        if call.operation == "audiences.create":
            with self.lock:
                return Answer(200, {"id": str(self._audiences.create(account, call.body, self.clock.now()))})
        if call.operation == "users.remove_everywhere":
            own = [audience for audience, _, owner in self._audiences.all() if owner == account]
            return self._change_users(call, account, rejected, remove_from=own)
        return self._list(call, account)

    def _list(self, call: Call, account: str) -> Answer:
        limit = str(call.body.get("limit", 25))
        if not limit.isdigit() or int(limit) < 1:
            return invalid_parameter("limit must be a positive number")
        try:
            after = int(base64.urlsafe_b64decode(str(call.body.get("after", "")).encode()) or b"0")
        except ValueError:
            return invalid_parameter("Invalid cursor")
        found = self._audiences.of_account(account, after, int(limit) + 1)
        page = found[: int(limit)]
        body: dict[str, Any] = {"data": [self._show(call, audience) for audience in page]}
        if page:
            cursors = {"before": _cursor(page[0]), "after": _cursor(page[-1])}
            body["paging"] = {"cursors": cursors}
            if len(found) > len(page):
                wanted = {"fields": call.body.get("fields", ""), "limit": limit, "after": cursors["after"]}
                base = f"http://{call.headers.get('host', 'localhost')}/meta"
                body["paging"]["next"] = f"{base}{call.path}?{urlencode(wanted)}"
        return Answer(200, body)

    def _of_audience(self, call: Call, audience: int) -> Answer:
        if call.operation == "audiences.delete":
            self.delete_list(str(audience))
            return Answer(200, {"success": True})
        if call.operation == "audiences.update":
            with self.store.transaction() as db:
                if isinstance(call.body.get("name"), str):
                    db.execute("UPDATE audiences SET name = ? WHERE id = ?", (call.body["name"], audience))
                db.execute("UPDATE audiences SET updated = ? WHERE id = ?", (self.clock.now(), audience))
            return Answer(200, {"success": True})
        if call.operation == "sessions.read":
            session_id = call.body.get("session_id")
            wanted = None if session_id is None else str(session_id)
            return Answer(200, {"data": self._sessions.read(audience, wanted, self.clock.now())})
        return Answer(200, self._show(call, audience))

    # Members

    def _change_users(
        self, call: Call, account: str, rejected: frozenset[int], *, remove_from: list[int] | None
    ) -> Answer:
        """Add to one audience, or remove from some. A ``session`` is taken where given, as the machine spec allows."""
        keys, rows = self._read_payload(call, rejected)
        batch = read_batch(call.body["session"]) if "session" in call.body else None
        target = call.target["id"]
        audience = 0 if ACCOUNT(target) else int(target)
        now = self.clock.now()
        with self.lock, self.store.transaction() as db:
            if audience and self._sessions.open_replacement(audience) is not None:
                raise meta_sessions.not_now()
            if batch is not None:
                self._sessions.admit(db, account, audience, batch, meta_sessions.USERS, ",".join(keys), now)
            if remove_from is None:
                change = self._people.add(db, account, audience, rows.valid, self._day())
                mostly_invalid = rows.invalid * 2 > rows.received
                self._note(db, audience, change, 412 if mostly_invalid else 200)
            else:
                changes = self._people.remove(db, account, remove_from, rows.valid, self._day())
                for changed, one in changes.items():
                    self._note(db, changed, one, None)
                change = changes.get(audience, Change())
            received, invalid = rows.received, rows.invalid
            if batch is not None:
                received, invalid = self._sessions.book(db, account, batch, rows, change, now)
        return _uploaded(target, batch, received, invalid, rows)

    def _replace_users(self, call: Call, account: str, rejected: frozenset[int]) -> Answer:
        if "session" not in call.body:
            raise meta_sessions.missing("session")
        keys, rows = self._read_payload(call, rejected)
        batch = read_batch(call.body["session"])
        audience, now = int(call.target["id"]), self.clock.now()
        with self.lock, self.store.transaction() as db:
            running = self._sessions.open_replacement(audience)
            if running is not None and running[0] != batch.session_id:
                raise meta_sessions.not_now()
            self._sessions.admit(db, account, audience, batch, meta_sessions.REPLACE, ",".join(keys), now)
            if running is None and batch.sequence == 1:
                self._people.clear(db, -audience)
            self._audiences.set_status(db, audience, 414)
            change = self._people.add(db, account, -audience, rows.valid, self._day())
            received, invalid = self._sessions.book(db, account, batch, rows, change, now)
            if batch.is_last:
                self._put_replacement(db, audience, 200)
        return _uploaded(call.target["id"], batch, received, invalid, rows)

    def _put_replacement(self, db: sqlite3.Connection, audience: int, status: int) -> None:
        people = self._people
        before = Change(people.size(audience), people.matched(audience))
        people.replace(db, audience, -audience)
        change = Change(people.size(audience) - before.size, people.matched(audience) - before.matched)
        self._note(db, audience, change, status)

    def _end_overdue_replacement(self, audience: int) -> None:
        """After 90 minutes a replacement ends with what has arrived."""
        running = self._sessions.open_replacement(audience)
        if running is not None and self.clock.now() - running[1] > meta_sessions.WINDOW_S:
            with self.store.transaction() as db:
                self._put_replacement(db, audience, 415)
                self._sessions.end(db, audience, running[0], self.clock.now())

    def _read_payload(self, call: Call, rejected: frozenset[int]) -> tuple[list[str], ReadRows]:
        payload = call.body.get("payload")
        if payload is None:
            raise meta_sessions.missing("payload")
        try:
            keys = read_schema(payload)
            flat = isinstance(payload["schema"], str) or len(keys) == 1
            return keys, read_rows(keys, read_data(payload, flat=flat), rejected)
        except BadPayload as bad:
            raise Refused(invalid_parameter(str(bad))) from bad

    # Small things

    def _note(self, db: sqlite3.Connection, audience: int, change: Change, status: int | None) -> None:
        self._audiences.note_change(db, audience, change, self.clock.now(), self.size_delay_s, status)

    def _show(self, call: Call, audience: int) -> dict[str, Any]:
        fields = call.body.get("fields", "")
        names = fields.split(",") if isinstance(fields, str) else [str(name) for name in fields]
        return self._audiences.show(audience, [name.strip() for name in names], self.clock.now(), self.size_delay_s)

    def _day(self) -> int:
        return int(self.clock.now() // 86_400) - DAYS_BEFORE

    def _usage(self, call: Call, minutes: int, *, full: bool = False) -> dict[str, str]:
        target = call.target.get("id", "")
        account = (target if ACCOUNT(target) else self._audiences.account_of(target) or "")[4:]
        if not account:
            return {}
        hour, calls = self._calls.get(account, (0, 0))
        this_hour = int(self.clock.now() // 3600)
        calls = calls + 1 if hour == this_hour else 1
        self._calls[account] = (this_hour, calls)
        used = 100 if full else min(100, calls * 100 // CALLS_PER_HOUR)
        usage = {
            "type": "custom_audience",
            "call_count": used,
            "total_cputime": used,
            "total_time": used,
            "estimated_time_to_regain_access": minutes,
            "ads_api_access_tier": "standard_access",
        }
        return {"X-Business-Use-Case-Usage": orjson.dumps({account: [usage]}).decode()}


def _uploaded(target: str, batch: meta_sessions.Batch | None, received: int, invalid: int, rows: ReadRows) -> Answer:
    body: dict[str, Any] = {} if ACCOUNT(target) else {"audience_id": target}
    if batch is not None:
        body["session_id"] = str(batch.session_id)
    samples: dict[str, Any] = {"invalid_entry_samples": rows.samples or []}
    return Answer(200, {**body, "num_received": received, "num_invalid_entries": invalid, **samples})


def _parameters(content_type: str, body: bytes) -> dict[str, Any]:
    """The body's parameters: a JSON object, or form fields of which some hold JSON. Raises ``ValueError``."""
    if not body.strip():
        return {}
    if "json" in content_type or body.lstrip()[:1] == b"{":
        found = orjson.loads(body)
        if not isinstance(found, dict):
            raise ValueError("not an object")
        return _decoded(found)
    return _decoded(dict(parse_qsl(body.decode(), keep_blank_values=True)))


def _decoded(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that are JSON objects or arrays in text, as the SDK sends ``payload`` and ``session``, decoded."""
    decoded = dict(fields)
    for name, value in fields.items():
        if isinstance(value, str) and name in {"payload", "session", "fields", "audience_labels"} and value[:1] in "{[":
            try:
                decoded[name] = orjson.loads(value) if value else value
            except orjson.JSONDecodeError:
                decoded[name] = value
    return decoded


def _as_held(key: str, value: str) -> str:
    """A value put in by hand: hashed, when it is of a hashed key and is not a hash yet."""
    return sha256(value.encode()).hexdigest() if key in HASHED and not is_sha256(value) else value


def _cursor(audience: int) -> str:
    return base64.urlsafe_b64encode(str(audience).encode()).decode()
