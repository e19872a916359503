"""The Data Manager API's paths and operations, tokens, quotas, and what tests may look into.

Read from the protos of ``google.ads.datamanager.v1`` (HTTP annotations) and the API's guides. Operations, as faults and the journal
name them; those with rows have a star: ``ingest``*, ``remove``*, ``remove_all``, ``status``; ``lists.create``, ``lists.find``,
``lists.get``, ``lists.update``, ``lists.delete``; ``token``. ``partial`` makes single records of an upload fail when it is carried
out; ``reject_batch`` refuses the upload at once and names one of them.

Tokens are fetched with a refresh token or with an assertion that a service account has signed, and hold for an hour; whoever is named
``slow...`` has uploads that take a minute of the simulators' clock. The account 9999999999 is nobody's who is known here.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators import tokens
from audience_syncs.simulators.google import errors
from audience_syncs.simulators.google.enums import named
from audience_syncs.simulators.google.errors import Refused
from audience_syncs.simulators.google.ingestion import Ingestion
from audience_syncs.simulators.google.lists import Lists
from audience_syncs.simulators.google.people import People
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

NOBODYS = "9999999999"
SCOPE = "https://www.googleapis.com/auth/datamanager"
_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LISTS = r"/v1/accountTypes/(?P<type>[A-Z_]+)/accounts/(?P<account>\d+)/userLists"
ROUTES = [
    (method, re.compile(f"{pattern}").fullmatch, operation)
    for method, pattern, operation in (
        ("POST", "/token", "token"),
        ("POST", "/v1/audienceMembers:ingest", "ingest"),
        ("POST", "/v1/audienceMembers:remove", "remove"),
        ("POST", "/v1/audienceMembers:removeAll", "remove_all"),
        ("GET", "/v1/requestStatus:retrieve", "status"),
        ("POST", _LISTS, "lists.create"),
        ("GET", _LISTS, "lists.find"),
        ("GET", rf"{_LISTS}/(?P<list>[^/]+)", "lists.get"),
        ("PATCH", rf"{_LISTS}/(?P<list>[^/]+)", "lists.update"),
        ("DELETE", rf"{_LISTS}/(?P<list>[^/]+)", "lists.delete"),
    )
]
_RESOURCE = re.compile(r"accountTypes/([A-Z_]+)/accounts/(\d+)").fullmatch


class Google(Platform):
    """Customer Match lists at the Data Manager API."""

    name = "google"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._people = People(store)
        self._lists = Lists(store, self._people, self.size_delay_s)
        self._ingestion = Ingestion(store, self._people, self._lists)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", {}
        for wanted, matches, kind in ROUTES:
            found = matches(f"/{path}")
            if wanted == method and found:
                operation, target = kind, found.groupdict()
                break
        refusal = errors.error(404, "NOT_FOUND", "Requested entity was not found.") if operation == "unknown" else None
        parsed: Any = None
        if operation == "token":
            parsed = tokens.form_of(body)
        elif body.strip():
            try:
                parsed = named(orjson.loads(body))
            except orjson.JSONDecodeError as bad:
                refusal = refusal or errors.unreadable(str(bad))
        rows = parsed.get("audienceMembers") if isinstance(parsed, dict) else None
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=operation,
            body=parsed,
            list_id=target.get("list") or _list_of(parsed),
            rows=rows if isinstance(rows, list) else (),
            target=target,
            refusal=refusal,
        )

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        if call.operation == "token":
            return self._token(call)
        try:
            with self.lock:
                return self._answer(call, rejected)
        except Refused as refused:
            return refused.answer

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        mutates = "Mutate" if call.method != "GET" else "Read"
        service = "Management" if call.operation.startswith("lists.") else "Ingestion"
        limit = f"{service}{mutates}RequestsPerMinutePerProject"
        answer = errors.error(
            status or 429,
            "RATE_LIMIT_EXCEEDED",
            f"Quota exceeded for quota metric '{service} requests'.",
            metadata={"service": errors.DOMAIN, "quota_limit": limit},
            domain="googleapis.com",
        )
        return Answer(answer.status, answer.body, {} if wait_s is None else {"Retry-After": f"{wait_s:g}"})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return errors.error(status or 500, "INTERNAL_ERROR", "An internal error has occurred.")

    def forbidden(self, call: Call) -> Answer:
        return errors.no_scope()

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        field = f"audience_members[{position}].user_data.user_identifiers[0].email_address"
        answer = errors.invalid(
            errors.violation(field, "INVALID_SHA256_FORMAT", "The SHA256 encoded value is malformed.")
        )
        return Answer(status or answer.status, answer.body)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        self._catch_up()
        return [
            {"id": str(number), "name": name, "account": account, "size": self._people.size(number)}
            for number, account, name, _ in self._lists.all()
        ]

    def has_list(self, list_id: str) -> bool:
        self._catch_up()
        return list_id.isdigit() and any(number == int(list_id) for number, *_ in self._lists.all())

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        self._catch_up()
        return self._people.page(int(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        self._catch_up()
        return self._people.values(int(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        before = self._people.size(int(list_id))
        with self.lock, self.store.transaction() as db:
            self._people.add(db, int(list_id), [list(member.items()) for member in members], self.clock.now())
            self._lists.note_size(db, int(list_id), self.clock.now())
        return self._people.size(int(list_id)) - before

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._lists.delete(int(list_id))

    def forget_everything(self) -> None:
        with self.store.transaction() as db:
            for table in ("lists", "members", "identifiers", "requests", "carried_out", "sizes", "sqlite_sequence"):
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _catch_up(self) -> None:
        with self.lock:
            self._ingestion.carry_out(self.clock.now())

    def _token(self, call: Call) -> Answer:
        form = dict(call.body)
        if form.get("grant_type") == _JWT:
            who = _signer(form.get("assertion", ""), self.clock.now())
            if who is None:
                return Answer(400, {"error": "invalid_grant", "error_description": "Invalid JWT."})
            form["assertion"] = who
        elif not form.get("client_id") or not form.get("client_secret"):
            return Answer(401, {"error": "invalid_client", "error_description": "The OAuth client was not found."})
        return tokens.granted(form, self.clock.now(), scope=SCOPE)

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        self._ingestion.carry_out(now)
        who = tokens.holder_of(call.token, now)
        if who is None or not self.knows(who) or call.token in self._revoked:
            return errors.bad_token()
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(who):
            return self.forbidden(call)
        if call.operation == "status":
            return self._ingestion.status(call.query.get("requestId", ""), now)
        if call.operation in ("ingest", "remove", "remove_all"):
            if NOBODYS in _accounts(call.body):
                return errors.no_access()
            kind = call.operation.replace("remove_all", "removeAll")
            return self._ingestion.take(kind, call.body, rejected, now, slow=who.startswith("slow"))
        return self._of_lists(call, now)

    def _of_lists(self, call: Call, now: float) -> Answer:
        for header in ("login-account", "linked-account"):
            if header in call.headers and not _RESOURCE(call.headers[header]):
                return errors.invalid(errors.violation(header, "INVALID_RESOURCE_NAME"))
        if call.target["account"] == NOBODYS:
            return errors.no_access()
        account, name = f"{call.target['type']}/{call.target['account']}", call.target.get("list", "")
        if call.operation == "lists.create":
            return self._lists.create(account, call.body, call.query)
        if call.operation == "lists.find":
            return self._lists.find(account, call.query, now)
        if call.operation == "lists.get":
            return self._lists.get(account, name, now)
        if call.operation == "lists.update":
            return self._lists.patch(account, name, call.body, now)
        self._lists.delete(self._lists.number(account, name))
        return Answer(200, {})


def _list_of(body: object) -> str | None:
    found = body.get("destinations") if isinstance(body, dict) else None
    first = found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}
    list_id = first.get("productDestinationId")
    return list_id if isinstance(list_id, str) else None


def _accounts(body: object) -> set[str]:
    found = body.get("destinations") if isinstance(body, dict) else None
    return {
        str(account.get("accountId"))
        for each in (found if isinstance(found, list) else ())
        for account in (each.values() if isinstance(each, dict) else ())
        if isinstance(account, dict)
    }


def _signer(assertion: str, now: float) -> str | None:
    """The service account that an assertion names; None where its claims are not in order. Signatures are not checked here:
    nobody's public key is known."""
    parts = assertion.split(".")
    try:
        header, claims = (orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))) for part in parts[:2])
    except (ValueError, binascii.Error):
        return None
    good = (
        len(parts) == 3
        and bool(parts[2])
        and header.get("alg") == "RS256"
        and str(claims.get("aud", "")).endswith("/token")
        and SCOPE in str(claims.get("scope", "")).split()
        and claims.get("iat", 0) <= now + 60
        and now < claims.get("exp", 0) <= claims.get("iat", 0) + 3_600
    )
    return str(claims.get("iss")) if good else None
