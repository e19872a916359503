"""Klaviyo's bulk imports: answered at once with a job, carried out a little later.

Published: at most 10,000 profiles and 5 MB; the job's states; its errors, twenty a page unless asked otherwise. Observed by
others in 2026: a request is checked as a whole, so that one malformed row refuses it with 400 and its place; a second import
of the same people changes nothing; joining a list this way gives no consent.

A job is carried out when its time has come, in the order of arrival, whether or not anybody still waits for it. A key named
``pk_slow...`` has jobs that wait a minute of the simulators' clock.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

import orjson

from audience_syncs.simulators.klaviyo.errors import Refused, errors, invalid, not_found
from audience_syncs.simulators.klaviyo.lists import Lists, decoded, links, list_id, list_number
from audience_syncs.simulators.klaviyo.profiles import Conflict, Profiles, check, iso, page_size, read_filter
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MAX_PROFILES = 10_000
MAX_BYTES = 5_000_000
TAKES_S = 0.02
SLOW_S = 60.0
EXPIRES_S = 7 * 86_400.0


class Imports:
    """All bulk import jobs of the account."""

    def __init__(self, store: Store, profiles: Profiles, lists: Lists) -> None:
        self._store = store
        self._profiles = profiles
        self._lists = lists
        store.create(
            "CREATE TABLE IF NOT EXISTS jobs (id TEXT PRIMARY KEY, number INTEGER, asked TEXT NOT NULL,"
            " lists TEXT NOT NULL, total INTEGER NOT NULL, failed INTEGER NOT NULL DEFAULT 0,"
            " created REAL NOT NULL, due REAL NOT NULL, done INTEGER NOT NULL DEFAULT 0)",
            "CREATE INDEX IF NOT EXISTS jobs_to_do ON jobs (done, due)",
            "CREATE TABLE IF NOT EXISTS import_errors (job TEXT, place INTEGER, error TEXT, PRIMARY KEY (job, place))",
        )

    def create(self, body: object, rejected: frozenset[int], now: float, *, slow: bool) -> Answer:
        rows, wanted = _read(body)
        if len(rows) > MAX_PROFILES:
            raise Refused(
                errors(invalid(f"At most {MAX_PROFILES} profiles are allowed.", "/data/attributes/profiles/data"))
            )
        if len(orjson.dumps(body)) > MAX_BYTES:
            raise Refused(Answer(413))
        problems = [
            found
            for place, row in enumerate(rows)
            for found in check(row, f"/data/attributes/profiles/data/{place}/attributes")
        ]
        if problems:
            raise Refused(errors(*problems))
        known = {number for number, _ in self._lists.all()}
        for each in wanted:
            if list_number(each) not in known:
                raise Refused(errors(invalid(f"List ID {each} does not exist.", "/data")))
        job = uuid.uuid4().hex[:26].upper()
        with self._store.transaction() as db:
            (number,) = db.execute("SELECT coalesce(max(number), 0) + 1 FROM jobs").fetchone()
            db.execute(
                "INSERT INTO jobs (id, number, asked, lists, total, created, due) VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    job,
                    number,
                    orjson.dumps({"rows": rows, "rejected": sorted(rejected)}).decode(),
                    orjson.dumps([list_number(each) for each in wanted]).decode(),
                    len(rows),
                    now,
                    now + (SLOW_S if slow else TAKES_S),
                ),
            )
        return Answer(202, {"data": self._show(job, now)})

    def carry_out(self, now: float) -> None:
        """Does what is due."""
        for job, asked, wanted in self._store.rows(
            "SELECT id, asked, lists FROM jobs WHERE done = 0 AND due <= ? ORDER BY number", now
        ):
            told = orjson.loads(asked)
            written, failed = [], []
            with self._store.transaction() as db:
                for place, row in enumerate(told["rows"]):
                    if place in told["rejected"]:
                        failed.append((place, invalid("The profile could not be imported.", _pointer(place)), row))
                        continue
                    try:
                        written.append(self._profiles.write(db, _without_nulls(row), now))
                    except Conflict:
                        text = "A profile already exists with one of these identifiers."
                        failed.append((place, invalid(text, _pointer(place)) | {"code": "duplicate_profile"}, row))
                db.executemany(
                    "INSERT INTO import_errors VALUES (?, ?, ?)",
                    [
                        (job, place, orjson.dumps({**error, "original_payload": row}).decode())
                        for place, error, row in failed
                    ],
                )
                db.execute("UPDATE jobs SET done = 1, failed = ?, asked = '{}' WHERE id = ?", (len(failed), job))
            for number in orjson.loads(wanted):
                self._lists.put(number, written, now)

    def get(self, job: str, now: float) -> Answer:
        return Answer(200, {"data": self._show(job, now)})

    def find(self, query: Mapping[str, str], now: float) -> Answer:
        most = page_size(query)
        states = {"queued", "processing", "complete"}
        if "filter" in query:
            states = set(read_filter(query["filter"], ("status",))[1])
            if states - {"queued", "processing", "complete"}:
                raise Refused(errors(invalid("Invalid filter provided: status", "/filter")))
        after = int(decoded(query.get("page[cursor]", "")) or 0)
        found = self._store.rows("SELECT id, number FROM jobs WHERE number > ? ORDER BY number", after)
        shown = [(number, self._show(job, now)) for job, number in found]
        fitting = [(number, each) for number, each in shown if each["attributes"]["status"] in states]
        following = str(fitting[most - 1][0]) if len(fitting) > most else None
        return Answer(
            200,
            {"data": [each for _, each in fitting[:most]], "links": links("profile-bulk-import-jobs", following)},
        )

    def errors(self, job: str, query: Mapping[str, str], now: float) -> Answer:
        self._show(job, now)
        most, after = page_size(query), int(decoded(query.get("page[cursor]", "")) or -1)
        found = self._store.rows(
            "SELECT place, error FROM import_errors WHERE job = ? AND place > ? ORDER BY place LIMIT ?",
            job,
            after,
            most + 1,
        )
        told = ("code", "title", "detail", "source", "original_payload")
        data = []
        for _, text in found[:most]:
            error = orjson.loads(text)
            shown = {name: error[name] for name in told}
            here = {"self": f"https://a.klaviyo.com/api/import-error/{error['id']}/"}
            data.append({"type": "import-error", "id": error["id"], "attributes": shown, "links": here})
        following = str(found[most - 1][0]) if len(found) > most else None
        path = f"profile-bulk-import-jobs/{job}/import-errors"
        return Answer(200, {"data": data, "links": links(path, following)})

    def _show(self, job: str, now: float) -> dict[str, Any]:
        found = self._store.row("SELECT lists, total, failed, created, due, done FROM jobs WHERE id = ?", job)
        if found is None:
            raise Refused(not_found("profile bulk import job", job))
        wanted, total, failed, created, due, done = found
        status = "complete" if done else "processing" if now > (created + due) / 2 else "queued"
        here = f"https://a.klaviyo.com/api/profile-bulk-import-jobs/{job}"
        return {
            "type": "profile-bulk-import-job",
            "id": job,
            "attributes": {
                "status": status,
                "created_at": iso(created),
                "total_count": total,
                "completed_count": total - failed if done else 0,
                "failed_count": failed,
                "completed_at": iso(due) if done else None,
                "expires_at": iso(created + EXPIRES_S),
                "started_at": None if status == "queued" else iso((created + due) / 2),
            },
            "relationships": {
                "lists": {
                    "data": [{"type": "list", "id": list_id(number)} for number in orjson.loads(wanted)],
                    "links": {"self": f"{here}/relationships/lists/", "related": f"{here}/lists/"},
                },
            },
            "links": {"self": f"{here}/"},
        }


def _read(body: object) -> tuple[list[Any], list[str]]:
    """The attributes of the profiles, and the lists they go to; raises Refused."""
    data = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, dict) or data.get("type") != "profile-bulk-import-job":
        raise Refused(errors(invalid("type must be profile-bulk-import-job", "/data/type")))
    profiles = ((data.get("attributes") or {}).get("profiles") or {}).get("data")
    if not isinstance(profiles, list) or not profiles:
        raise Refused(errors(invalid("profiles is a required field.", "/data/attributes/profiles")))
    if not all(isinstance(each, dict) and each.get("type") == "profile" for each in profiles):
        raise Refused(errors(invalid("every profile needs the type profile", "/data/attributes/profiles/data")))
    named = ((data.get("relationships") or {}).get("lists") or {}).get("data") or []
    return [each.get("attributes") for each in profiles], [str(each.get("id")) for each in named]


def _pointer(place: int) -> str:
    return f"/data/attributes/profiles/data/{place}/attributes"


def _without_nulls(row: Mapping[str, Any]) -> dict[str, Any]:
    """Documented (guide to bulk imports, 2026-11): an import never empties a field."""
    return {
        name: _without_nulls(value) if isinstance(value, dict) else value
        for name, value in row.items()
        if value is not None
    }
