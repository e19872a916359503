"""Bulk API 2.0 ingest: a job is made, filled once, closed, and carried out a little later.

Read from the Bulk API 2.0 Developer Guide: the states, the fields of a job, one upload a job, results as CSV with all
values quoted, a job for a field that is not there fails as a whole. A job is carried out when its time has come, whether or
not anybody still waits for it. Somebody named ``slow...`` has jobs that wait a minute of the simulators' clock.
"""

from __future__ import annotations

import csv
import io
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.salesforce.errors import BadRecord, Refused, error, not_found
from audience_syncs.simulators.salesforce.objects import is_external_id, object_named, record_id, written
from audience_syncs.simulators.salesforce.records import Records
from audience_syncs.simulators.store import Store

TAKES_S = 0.02
SLOW_S = 60.0
MOST_BYTES = 150_000_000
OPERATIONS = ("insert", "update", "upsert", "delete", "hardDelete")
RESULTS = {"successfulResults": "success", "failedResults": "failed", "unprocessedrecords": "left"}


class Jobs:
    """All ingest jobs of the org."""

    def __init__(self, store: Store, records: Records) -> None:
        self._store = store
        self._records = records
        store.create(
            "CREATE TABLE IF NOT EXISTS jobs (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE, user TEXT, object TEXT,"
            " operation TEXT, external_id TEXT, state TEXT, created REAL, due REAL, content TEXT, rejected TEXT,"
            " processed INTEGER DEFAULT 0, failed INTEGER DEFAULT 0, message TEXT, slow INTEGER)",
            "CREATE INDEX IF NOT EXISTS jobs_to_do ON jobs (state, due)",
            "CREATE TABLE IF NOT EXISTS results (job TEXT, place INTEGER, kind TEXT, row TEXT, PRIMARY KEY (job, place))",
        )

    def create(self, body: object, user: str, now: float) -> Answer:
        given = body if isinstance(body, dict) else {}
        operation, name = given.get("operation"), given.get("object")
        if operation not in OPERATIONS or not isinstance(name, str):
            raise Refused(error(400, "INVALIDJOB", "operation and object are required"))
        if given.get("contentType", "CSV") != "CSV":
            raise Refused(error(400, "INVALIDJOB", "Invalid content type"))
        kind = object_named(name)
        by = given.get("externalIdFieldName")
        if operation == "upsert" and (not isinstance(by, str) or not (is_external_id(by) or by == "Id")):
            text = f"InvalidJob : Field name not found or not an external id: {by}"
            raise Refused(error(400, "INVALIDJOB", text))
        with self._store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO jobs (user, object, operation, external_id, state, created, slow) VALUES (?, ?, ?, ?, 'Open', ?, ?)",
                (user, kind.name, operation, by, now, user.startswith("slow")),
            )
            job = record_id("750", int(cursor.lastrowid or 0))
            db.execute("UPDATE jobs SET id = ? WHERE number = ?", (job, cursor.lastrowid))
        return Answer(200, self._show(job))

    def upload(self, job: str, content: bytes, rejected: frozenset[int], content_type: str) -> Answer:
        state, held = self._state(job), self._store.row("SELECT content FROM jobs WHERE id = ?", job)
        if not content_type.startswith("text/csv"):
            raise Refused(error(415, "INVALIDCONTENTTYPE", "Content-Type must be text/csv"))
        if state != "Open" or (held is not None and held[0] is not None):
            raise Refused(error(400, "INVALIDJOBSTATE", f"Data was already uploaded, or the job is {state}"))
        if len(content) > MOST_BYTES:
            raise Refused(Answer(413))
        with self._store.transaction() as db:
            told = orjson.dumps(sorted(rejected)).decode()
            db.execute("UPDATE jobs SET content = ?, rejected = ? WHERE id = ?", (content.decode("utf-8"), told, job))
        return Answer(201)

    def change(self, job: str, body: object, now: float) -> Answer:
        wanted = body.get("state") if isinstance(body, dict) else None
        state = self._state(job)
        if wanted not in ("UploadComplete", "Aborted"):
            raise Refused(error(400, "INVALIDJOBSTATE", "state must be UploadComplete or Aborted"))
        if state in ("JobComplete", "Failed", "Aborted") or (wanted == "UploadComplete" and state != "Open"):
            raise Refused(error(400, "INVALIDJOBSTATE", f"Job is in state {state}"))
        found = self._store.row("SELECT content, slow FROM jobs WHERE id = ?", job)
        if wanted == "UploadComplete" and (found is None or found[0] is None):
            raise Refused(error(400, "INVALIDJOBSTATE", "There is no data in the job"))
        due = now + (SLOW_S if found is not None and found[1] else TAKES_S)
        with self._store.transaction() as db:
            db.execute("UPDATE jobs SET state = ?, due = ? WHERE id = ?", (wanted, due, job))
        return Answer(200, self._show(job))

    def get(self, job: str) -> Answer:
        self._state(job)
        return Answer(200, self._show(job))

    def all(self) -> Answer:
        found = self._store.rows("SELECT id FROM jobs ORDER BY number LIMIT 1000")
        return Answer(200, {"done": True, "records": [self._show(job) for (job,) in found], "nextRecordsUrl": None})

    def results(self, job: str, which: str) -> Answer:
        if self._state(job) not in ("JobComplete", "Failed", "Aborted"):
            raise Refused(error(400, "INVALIDJOBSTATE", "Results are there when the job is over"))
        found = self._store.rows(
            "SELECT row FROM results WHERE job = ? AND kind = ? ORDER BY place DESC", job, RESULTS[which]
        )
        rows = [orjson.loads(text) for (text,) in found]
        return Answer(200, _csv(rows) if rows else None, {"Content-Type": "text/csv; charset=UTF-8"} if rows else {})

    def carry_out(self, now: float) -> None:
        """Does what is due."""
        for (job,) in self._store.rows(
            "SELECT id FROM jobs WHERE state = 'UploadComplete' AND due <= ? ORDER BY due", now
        ):
            with self._store.transaction() as db:
                self._carry_out(db, job, now)

    def _carry_out(self, db: sqlite3.Connection, job: str, now: float) -> None:
        name, operation, by, content, rejected = db.execute(
            "SELECT object, operation, external_id, content, rejected FROM jobs WHERE id = ?", (job,)
        ).fetchone()
        rows = parsed(content)
        refused = set(orjson.loads(rejected))
        try:
            changes = [written(object_named(name), row) for row in rows]
        except Refused as bad:
            field = str(bad.answer.body[0]["message"]).split("'")[1]
            self._end(db, job, "Failed", 0, 0, f"InvalidBatch : Field name not found : {field}")
            self._keep(db, job, [("left", row) for row in rows])
            return
        found: list[tuple[str, dict[str, str]]] = []
        for place, (row, fields) in enumerate(zip(rows, changes, strict=True)):
            try:
                if place in refused:
                    raise BadRecord("FIELD_CUSTOM_VALIDATION_EXCEPTION", "This record is not wanted")
                given = {key: None if value == "#N/A" else value for key, value in fields.items() if row.get(key) != ""}
                made, record = self._change(db, name, operation, by, row, given, now)
                found.append(("success", {"sf__Id": record, "sf__Created": str(made).lower(), **row}))
            except BadRecord as bad:
                found.append(("failed", {"sf__Id": row.get("Id", ""), "sf__Error": bad.in_csv(), **row}))
        self._keep(db, job, found)
        self._end(db, job, "JobComplete", len(rows), sum(kind == "failed" for kind, _ in found), None)

    def _change(
        self,
        db: sqlite3.Connection,
        name: str,
        operation: str,
        by: str | None,
        row: Mapping[str, str],
        given: Mapping[str, Any],
        now: float,
    ) -> tuple[bool, str]:
        kind = object_named(name)
        if operation == "insert":
            return True, self._records.insert(db, kind, given, now)
        if operation == "upsert" and by is not None and by != "Id":
            record, made = self._records.upsert(db, kind, by, given, now)
            return made, record
        if not row.get("Id"):
            raise BadRecord("MISSING_ARGUMENT", "Id not specified in an update call")
        if operation == "update":
            return False, self._records.update(db, kind, row["Id"], given)
        return False, self._records.delete(db, kind, row["Id"])

    def _keep(self, db: sqlite3.Connection, job: str, rows: Sequence[tuple[str, Mapping[str, str]]]) -> None:
        db.executemany(
            "INSERT INTO results VALUES (?, ?, ?, ?)",
            [(job, place, kind, orjson.dumps(row).decode()) for place, (kind, row) in enumerate(rows)],
        )

    def _end(
        self, db: sqlite3.Connection, job: str, state: str, processed: int, failed: int, message: str | None
    ) -> None:
        db.execute(
            "UPDATE jobs SET state = ?, processed = ?, failed = ?, message = ?, content = '' WHERE id = ?",
            (state, processed, failed, message, job),
        )

    def _state(self, job: str) -> str:
        found = self._store.row("SELECT state FROM jobs WHERE id = ?", job)
        if found is None:
            raise Refused(not_found())
        return str(found[0])

    def _show(self, job: str) -> dict[str, Any]:
        found = self._store.row(
            "SELECT object, operation, external_id, state, created, user, processed, failed, message FROM jobs WHERE id = ?",
            job,
        )
        name, operation, by, state, created, user, processed, failed, message = found or ("",) * 9
        shown = {
            "id": job,
            "operation": operation,
            "object": name,
            "createdById": user,
            "createdDate": datetime.fromtimestamp(float(created or 0), UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000"),
            "state": state,
            "externalIdFieldName": by,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": 62.0,
            "jobType": "V2Ingest",
            "contentUrl": f"services/data/v62.0/jobs/ingest/{job}/batches",
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
            "numberRecordsProcessed": processed,
            "numberRecordsFailed": failed,
            "retries": 0,
        }
        return {**shown, **({"errorMessage": message} if message else {})}


def parsed(text: str) -> list[dict[str, str]]:
    return [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]


def _csv(rows: Sequence[Mapping[str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n", quoting=csv.QUOTE_ALL, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
