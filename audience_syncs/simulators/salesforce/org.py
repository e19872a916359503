"""One Salesforce org: its paths and operations, tokens, limits, and what tests may look into.

Read from the REST API Developer Guide and the Bulk API 2.0 Developer Guide (versions 58 to 66), and Salesforce Help on OAuth.

Operations, as faults and the journal name them; those with rows have a star: ``oauth.token``; ``query`` (also as parts of a
Composite request); ``{Object}.insert``*, ``.update``*, ``.upsert``*, ``.delete``*, ``.get``; ``jobs.create``, ``jobs.upload``*,
``jobs.change``, ``jobs.get``, ``jobs.results``, ``jobs.find``; ``leads.convert``; ``limits``.

Everybody may sign in by any of the flows, but for those named ``revoked...``; whoever is named ``spent...`` has used up
nearly all of the org's calls of the day. There are no paths that change consent.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import orjson

from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.salesforce import errors, soql
from audience_syncs.simulators.salesforce.collections import PREFIXES, Collections
from audience_syncs.simulators.salesforce.errors import BadRecord, Refused, error
from audience_syncs.simulators.salesforce.jobs import Jobs, parsed
from audience_syncs.simulators.salesforce.objects import OBJECTS, long_id
from audience_syncs.simulators.salesforce.records import Records
from audience_syncs.simulators.salesforce.signing_in import answered
from audience_syncs.simulators.store import Clock, Store
from audience_syncs.simulators.tokens import holder_of

PAGE = 2_000
LONGEST_ADDRESS = 16_384
NEWEST = 68
CALLS_A_DAY = 5_000_000
_DATA = r"services/data/v(?P<version>\d{2,3})\.0"
ROUTES = [
    (method, re.compile(f"{pattern}/?").fullmatch, operation)
    for method, pattern, operation in (
        ("POST", "services/oauth2/token", "oauth.token"),
        ("GET", f"{_DATA}/limits", "limits"),
        ("GET", f"{_DATA}/query", "query"),
        ("GET", f"{_DATA}/query/(?P<locator>[^/]+)", "query"),
        ("POST", f"{_DATA}/composite", "query"),
        ("POST", f"{_DATA}/composite/sobjects", "many.insert"),
        ("PATCH", f"{_DATA}/composite/sobjects", "many.update"),
        ("DELETE", f"{_DATA}/composite/sobjects", "many.delete"),
        ("PATCH", f"{_DATA}/composite/sobjects/(?P<object>\\w+)/(?P<by>\\w+)", "many.upsert"),
        ("POST", f"{_DATA}/sobjects/(?P<object>\\w+)", "one.insert"),
        ("GET", f"{_DATA}/sobjects/(?P<object>\\w+)/(?P<id>\\w+)", "one.get"),
        ("PATCH", f"{_DATA}/sobjects/(?P<object>\\w+)/(?P<id>\\w+)", "one.update"),
        ("DELETE", f"{_DATA}/sobjects/(?P<object>\\w+)/(?P<id>\\w+)", "one.delete"),
        ("POST", f"{_DATA}/actions/standard/convertLead", "leads.convert"),
        ("POST", f"{_DATA}/jobs/ingest", "jobs.create"),
        ("GET", f"{_DATA}/jobs/ingest", "jobs.find"),
        ("GET", f"{_DATA}/jobs/ingest/(?P<job>\\w+)", "jobs.get"),
        ("PATCH", f"{_DATA}/jobs/ingest/(?P<job>\\w+)", "jobs.change"),
        ("PUT", f"{_DATA}/jobs/ingest/(?P<job>\\w+)/batches", "jobs.upload"),
        (
            "GET",
            f"{_DATA}/jobs/ingest/(?P<job>\\w+)/(?P<which>successfulResults|failedResults|unprocessedrecords)",
            "jobs.results",
        ),
    )
]


class Salesforce(Platform):
    """A Salesforce org."""

    name = "salesforce"

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._records = Records(store)
        self._collections = Collections(store, self._records)
        self._jobs = Jobs(store, self._records)
        self._cursors: dict[str, list[dict[str, Any]]] = {}
        self._numbers = itertools.count(1)
        self._calls = 0

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        operation, target = "unknown", {}
        for wanted, matches, named in ROUTES:
            found = matches(path)
            if wanted == method and found:
                operation = named
                target = {name: value for name, value in found.groupdict().items() if value is not None}
                break
        refusal = errors.not_found() if operation == "unknown" else None
        if int(target.get("version", NEWEST)) > NEWEST:
            refusal = errors.not_found()
        if len(path) + sum(len(quote(value)) + len(name) + 2 for name, value in query.items()) > LONGEST_ADDRESS:
            refusal = error(414, "URI_TOO_LONG", "URI Too Long")
        content: Any = None
        try:
            if operation in ("jobs.upload", "oauth.token"):
                content = body.decode("utf-8")
            else:
                content = orjson.loads(body) if body.strip() else None
        except (orjson.JSONDecodeError, UnicodeDecodeError) as bad:
            refusal = refusal or error(400, "JSON_PARSER_ERROR", f"Unexpected character at [line:1, column:1] ({bad})")
        rows = _rows(operation, content, query)
        return Call(
            method=method,
            path=f"/{path}",
            query=query,
            headers=headers,
            operation=_named(operation, target, rows),
            body=_without_secrets(operation, content),
            rows=rows,
            target={**target, "kind": operation, **({"form": content} if operation == "oauth.token" else {})},
            refusal=refusal,
        )

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        try:
            with self.lock:
                self._calls += 1
                answer = self._answer(call, rejected)
        except Refused as refused:
            answer = refused.answer
        if call.operation == "oauth.token":
            return answer
        return Answer(answer.status, answer.body, {**answer.headers, "Sforce-Limit-Info": self._usage(call)})

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        return errors.throttled() if status is None else Answer(status, errors.throttled().body)

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return errors.broken(status or 500)

    def forbidden(self, call: Call) -> Answer:
        if call.operation == "oauth.token":
            text = {"error": "invalid_grant", "error_description": "user hasn't approved this consumer"}
            return Answer(400, text)
        return errors.forbidden()

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        text = f"Cannot deserialize instance of date from VALUE_STRING value x at [line:{position + 1}, column:1]"
        return error(status or 400, "JSON_PARSER_ERROR", text)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        self._jobs.carry_out(self.clock.now())
        return [
            {"id": name, "name": label, "account": None, "size": size}
            for name, label, size in self._records.campaigns()
        ]

    def has_list(self, list_id: str) -> bool:
        self._jobs.carry_out(self.clock.now())
        found = self._records.get(None, list_id)
        return found is not None and found[0] == "Campaign" and not found[2]

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._records.members(list_id, after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.members(list_id, after, 20_000):
            after = page[-1][0]
            yield [value for _, text in page if (value := orjson.loads(text).get(wanted))]

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        now = self.clock.now()
        with self.lock, self.store.transaction() as db:
            for member in members:
                found = self._records.where(db, "Contact", "Email", member.get("Email", ""))
                fields = {"LastName": "Stranger", **member}
                contact = found[0] if found else self._records.insert(db, OBJECTS["Contact"], fields, now)
                joins = {"CampaignId": list_id, "ContactId": contact}
                try:
                    self._records.insert(db, OBJECTS["CampaignMember"], joins, now)
                except BadRecord:
                    continue
        return len(members)

    def delete_list(self, list_id: str) -> None:
        with self.lock, self.store.transaction() as db:
            self._records.delete(db, OBJECTS["Campaign"], list_id)

    def forget_everything(self) -> None:
        self._calls = 0
        with self.store.transaction() as db:
            for table in ("records", "jobs", "results", "sqlite_sequence"):
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        self._jobs.carry_out(now)
        if call.operation == "oauth.token":
            here = f"http://{call.headers.get('host', 'localhost')}/{self.name}"
            return answered(call.target["form"], call.headers, here, now, self.knows)
        who = holder_of(call.token, now) if call.token.startswith("at.") else call.token
        if who is None or not self.knows(who) or call.token in self._revoked:
            return errors.expired()
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(who):
            return errors.forbidden()
        kind, target = call.target["kind"], call.target
        if kind.startswith("jobs."):
            return self._of_jobs(call, rejected, who, now)
        if kind == "query":
            return self._of_query(call)
        if kind == "limits":
            most, left = CALLS_A_DAY, CALLS_A_DAY - self._calls
            return Answer(200, {"DailyApiRequests": {"Max": most, "Remaining": left}})
        if kind == "leads.convert":
            leads = [each["leadId"] for each in call.body.get("inputs", [])]
            made = [self._records.convert(long_id(each), now) for each in leads]
            return Answer(200, [{"isSuccess": True, "outputValues": {"contactId": each}} for each in made])
        if kind == "many.delete":
            return self._collections.delete(call.query, rejected)
        if kind.startswith("many."):
            wanted = {name: target[name] for name in ("object", "by") if name in target}
            assigns = call.headers.get("sforce-auto-assign", "TRUE").upper() != "FALSE"
            return self._collections.write(call.method, wanted, call.body, rejected, now, assigns=assigns)
        return self._collections.one(call.method, target, call.body, rejected, now)

    def _of_jobs(self, call: Call, rejected: frozenset[int], who: str, now: float) -> Answer:
        kind, job = call.target["kind"], call.target.get("job", "")
        if kind == "jobs.create":
            return self._jobs.create(call.body, who, now)
        if kind == "jobs.find":
            return self._jobs.all()
        if kind == "jobs.upload":
            told = call.headers.get("content-type", "")
            return self._jobs.upload(job, str(call.body).encode(), rejected, told)
        if kind == "jobs.change":
            return self._jobs.change(job, call.body, now)
        if kind == "jobs.results":
            return self._jobs.results(job, call.target["which"])
        return self._jobs.get(job)

    def _of_query(self, call: Call) -> Answer:
        version = call.target["version"]
        if call.method == "GET":
            return self._queried(call.query, call.target.get("locator"), version)
        parts = call.body.get("compositeRequest") if isinstance(call.body, dict) else None
        if not isinstance(parts, list) or not 1 <= len(parts) <= 25:
            raise Refused(error(400, "INVALID_INPUT", "compositeRequest must have 1 to 25 parts"))
        if len(parts) > 5:
            raise Refused(error(400, "INVALID_INPUT", "at most 5 parts may be queries"))
        told = []
        for part in parts:
            split = urlsplit(str(part.get("url", "")))
            if part.get("method") != "GET" or not re.fullmatch(rf"/{_DATA}/query/?", split.path):
                raise Refused(error(400, "INVALID_INPUT", "only queries are parts here"))
            try:
                answer = self._queried(dict(parse_qsl(split.query)), None, version)
            except Refused as refused:
                answer = refused.answer
            told.append(
                {
                    "body": answer.body,
                    "httpHeaders": {},
                    "httpStatusCode": answer.status,
                    "referenceId": part.get("referenceId"),
                }
            )
        return Answer(200, {"compositeResponse": told})

    def _queried(self, query: Mapping[str, str], locator: str | None, version: str) -> Answer:
        if locator is not None:
            cursor, _, start = locator.rpartition("-")
            if cursor not in self._cursors or not start.isdigit():
                raise Refused(error(400, "INVALID_QUERY_LOCATOR", "invalid query locator"))
            return self._page(self._cursors[cursor], cursor, int(start), version)
        understood = soql.understood(query.get("q", ""))
        rows = self.store.rows(understood.sql, *understood.parameters)
        if not understood.fields:
            return Answer(200, {"totalSize": rows[0][0], "done": True, "records": []})
        found = [soql.as_json(understood, row, version) for row in rows]
        cursor = f"01gSim{next(self._numbers):09d}{int(time.time()) % 1000:03d}"
        if len(found) > PAGE:
            self._cursors[cursor] = found
        return self._page(found, cursor, 0, version)

    def _page(self, found: Sequence[Mapping[str, Any]], cursor: str, start: int, version: str) -> Answer:
        shown, end = found[start : start + PAGE], start + PAGE
        answer: dict[str, Any] = {"totalSize": len(found), "done": end >= len(found), "records": shown}
        if end < len(found):
            answer["nextRecordsUrl"] = f"/services/data/v{version}.0/query/{cursor}-{end}"
        return Answer(200, answer)

    def _usage(self, call: Call) -> str:
        who = holder_of(call.token, self.clock.now()) or call.token
        used = int(CALLS_A_DAY * 0.99) if who.startswith("spent") else self._calls
        return f"api-usage={used}/{CALLS_A_DAY}"


def _rows(operation: str, content: Any, query: Mapping[str, str]) -> Sequence[Any]:
    if operation == "jobs.upload" and isinstance(content, str):
        return parsed(content)
    if operation == "many.delete":
        return [{"Id": each} for each in query.get("ids", "").split(",") if each]
    if operation.startswith("many.") and isinstance(content, dict):
        records = content.get("records")
        return records if isinstance(records, list) else ()
    return ()


def _named(operation: str, target: Mapping[str, str], rows: Sequence[Any]) -> str:
    """Operations that change records are named by their object."""
    room, _, verb = operation.partition(".")
    if room == "one":
        return f"{target['object']}.{verb}"
    if room != "many":
        return operation
    first = rows[0] if rows and isinstance(rows[0], dict) else {}
    by_prefix = PREFIXES.get(str(first.get("Id", ""))[:3])
    named = (first.get("attributes") or {}).get("type") or (by_prefix.name if by_prefix else "unknown")
    return f"{named}.{verb}"


def _without_secrets(operation: str, content: Any) -> Any:
    return None if operation == "oauth.token" else content
