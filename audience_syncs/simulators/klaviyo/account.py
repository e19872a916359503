"""One Klaviyo account: its paths and operations, keys, limits, and what tests may look into.

Read from Klaviyo's OpenAPI description (revisions 2026-07-15 and 2026-10-15, as its Python client prints them) and its page on
rate limits and errors. What others have observed at real accounts is named where it is imitated.

Operations, as faults and the journal name them; those with rows have a star: ``lists.create``, ``lists.find``, ``lists.get``,
``lists.delete``; ``members.read``, ``members.add``*, ``members.remove``*; ``imports.create``*, ``imports.find``,
``imports.get``, ``imports.errors``; ``profiles.find``, ``profiles.update``. ``partial`` fails single profiles of an import;
members know no partial failure.

The headers of the steady window are always sent; it is counted, and enforced, only when a test turns a limit on. There are
no paths that give or take consent, and none that delete a profile: nobody who keeps an audience in step has business there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import orjson

from audience_syncs.simulators.klaviyo import errors
from audience_syncs.simulators.klaviyo.errors import Refused
from audience_syncs.simulators.klaviyo.imports import Imports
from audience_syncs.simulators.klaviyo.lists import Lists, decoded, links, list_id, list_number
from audience_syncs.simulators.klaviyo.profiles import IDENTIFIERS, Profiles, page_size, read_filter
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

CALLS_A_MINUTE = {"lists.create": 150, "lists.delete": 150, "members.add": 150, "members.remove": 150}
CALLS_A_MINUTE |= dict.fromkeys(("imports.create", "imports.find", "imports.get", "imports.errors"), 150)
OTHER_CALLS_A_MINUTE = 750
REVISION = re.compile(r"\d{4}-\d{2}-\d{2}(\.pre)?").fullmatch

_JOBS = "/api/profile-bulk-import-jobs"
ROUTES = [
    (method, re.compile(f"{pattern}/?").fullmatch, operation)
    for method, pattern, operation in (
        ("POST", "/api/lists", "lists.create"),
        ("GET", "/api/lists", "lists.find"),
        ("GET", "/api/lists/(?P<list>[^/]+)", "lists.get"),
        ("DELETE", "/api/lists/(?P<list>[^/]+)", "lists.delete"),
        ("GET", "/api/lists/(?P<list>[^/]+)/profiles", "members.read"),
        ("POST", "/api/lists/(?P<list>[^/]+)/relationships/profiles", "members.add"),
        ("DELETE", "/api/lists/(?P<list>[^/]+)/relationships/profiles", "members.remove"),
        ("POST", _JOBS, "imports.create"),
        ("GET", _JOBS, "imports.find"),
        ("GET", f"{_JOBS}/(?P<job>[^/]+)", "imports.get"),
        ("GET", f"{_JOBS}/(?P<job>[^/]+)/import-errors", "imports.errors"),
        ("GET", "/api/profiles", "profiles.find"),
        ("PATCH", "/api/profiles/(?P<profile>[^/]+)", "profiles.update"),
    )
]


class Klaviyo(Platform):
    """Klaviyo's profiles, lists and bulk imports."""

    name = "klaviyo"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._profiles = Profiles(store)
        self._lists = Lists(store, self._profiles, self.size_delay_s)
        self._imports = Imports(store, self._profiles, self._lists)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", {}
        for wanted, matches, named in ROUTES:
            found = matches(f"/{path}")
            if wanted == method and found:
                operation, target = named, {name: unquote(value) for name, value in found.groupdict().items()}
                break
        refusal = errors.no_such_path() if operation == "unknown" else None
        parsed: Any = None
        try:
            parsed = orjson.loads(body) if body.strip() else None
        except orjson.JSONDecodeError as bad:
            refusal = refusal or errors.errors(errors.invalid(f"JSON parse error - {bad}"))
        if not REVISION(headers.get("revision", "")):
            refusal = refusal or errors.errors(errors.invalid("The revision header is required, as YYYY-MM-DD."))
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=operation,
            body=parsed,
            list_id=target.get("list"),
            rows=_rows(operation, parsed),
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
        answer = errors.throttled(wait_s)
        return Answer(status or 429, answer.body, {} if wait_s is None else {"Retry-After": f"{wait_s:g}"})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        text = "A server error occurred."
        return Answer(status or 500, errors.errors(errors.problem(500, "error", text, text)).body)

    def forbidden(self, call: Call) -> Answer:
        return errors.not_permitted()

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        place = f"/data/attributes/profiles/data/{position}/attributes/first_name"
        pointer = place if call.operation == "imports.create" else f"/data/{position}/id"
        return Answer(status or 400, errors.errors(errors.invalid("Invalid input", pointer)).body)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        self._imports.carry_out(self.clock.now())
        return [
            {"id": list_id(number), "name": name, "account": None, "size": self._lists.size(number)}
            for number, name in self._lists.all()
        ]

    def has_list(self, list_id: str) -> bool:
        self._imports.carry_out(self.clock.now())
        try:
            self._lists.number(list_id)
        except Refused:
            return False
        return True

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._lists.members(list_number(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._lists.values(list_number(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        now = self.clock.now()
        with self.lock:
            profiles = [self._profiles.put(member, now) for member in members]
            return self._lists.put(list_number(list_id), profiles, now)

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._lists.delete(list_number(list_id))

    def forget_everything(self) -> None:
        with self.store.transaction() as db:
            for table in ("profiles", "lists", "memberships", "jobs", "import_errors", "sizes", "sqlite_sequence"):
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        self._imports.carry_out(now)
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        if scheme not in ("Klaviyo-API-Key", "Bearer"):
            return errors.no_key()
        if not self.knows(key.removeprefix("pk_")) or key in self._revoked:
            return errors.bad_key()
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(key.removeprefix("pk_")):
            return self.forbidden(call)
        if call.operation.startswith("imports."):
            return self._of_imports(call, rejected, now, slow=key.startswith("pk_slow"))
        if call.operation == "profiles.find":
            return self._find_profiles(call)
        if call.operation == "profiles.update":
            if not self._profiles.find("id", [call.target["profile"]]):
                return errors.not_found("profile", call.target["profile"])
            return Answer(200, {"data": self._profiles.patch(call.target["profile"], call.body, now).as_json()})
        return self._of_lists(call, now)

    def _of_imports(self, call: Call, rejected: frozenset[int], now: float, *, slow: bool) -> Answer:
        if call.operation == "imports.create":
            return self._imports.create(call.body, rejected, now, slow=slow)
        if call.operation == "imports.find":
            return self._imports.find(call.query, now)
        if call.operation == "imports.get":
            return self._imports.get(call.target["job"], now)
        return self._imports.errors(call.target["job"], call.query, now)

    def _find_profiles(self, call: Call) -> Answer:
        most = page_size(call.query)
        name, wanted = read_filter(call.query.get("filter", ""), ("id", *IDENTIFIERS))
        after = int(decoded(call.query.get("page[cursor]", "")) or 0)
        found = [profile for profile in self._profiles.find(name, wanted) if profile.number > after]
        following = str(found[most - 1].number) if len(found) > most else None
        return Answer(
            200, {"data": [profile.as_json() for profile in found[:most]], "links": links("profiles", following)}
        )

    def _of_lists(self, call: Call, now: float) -> Answer:
        name = call.target.get("list", "")
        if call.operation == "lists.create":
            return self._lists.create(call.body, now)
        if call.operation == "lists.find":
            return self._lists.find(call.query)
        if call.operation == "lists.get":
            return self._lists.get(name, call.query, now)
        if call.operation == "lists.delete":
            self._lists.delete(self._lists.number(name))
            return Answer(204)
        if call.operation == "members.read":
            return self._lists.page(name, call.query)
        return self._lists.change(name, call.body, now, add=call.operation == "members.add")

    def _window(self, call: Call) -> dict[str, str]:
        """The headers of the steady window of a minute."""
        most = self.limit.max_calls if self.limit else CALLS_A_MINUTE.get(call.operation, OTHER_CALLS_A_MINUTE)
        left = self.limit.remaining if self.limit else most - 1
        length = self.limit.interval_s if self.limit else 60
        return {"RateLimit-Limit": str(most), "RateLimit-Remaining": str(left), "RateLimit-Reset": f"{length:g}"}


def _rows(operation: str, body: Any) -> Sequence[Any]:
    if not isinstance(body, dict):
        return ()
    data = body.get("data")
    if operation == "imports.create" and isinstance(data, dict):
        profiles = ((data.get("attributes") or {}).get("profiles") or {}).get("data")
        return profiles if isinstance(profiles, list) else ()
    return data if operation.startswith("members.") and isinstance(data, list) else ()
