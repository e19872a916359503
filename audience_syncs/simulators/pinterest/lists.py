"""Pinterest's customer lists and who is in them.

Read from Pinterest's OpenAPI description 5.28.0: the fields of a list; records as one text separated by commas, emails in lower
case or hashed with SHA-1, SHA-256 or MD5, mobile ids hashed; that making a list counts as one batch and each update as another;
that the counters grow also for records that are there already, or are not; statuses, of which ``TOO_SMALL`` means fewer than
100 people.

Ours, where nothing is published: a request with a record of another form is refused as a whole; an email that is sent plain and
the SHA-256 of it are one record; a list needs a record to be made; every record counts as one Pinterest account, four in five of
which are found. ``records_v2`` is not understood.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

import orjson

from audience_syncs.simulators.pinterest.errors import Refused, invalid, not_found
from audience_syncs.simulators.store import Store

TYPES = {"EMAIL", "IDFA", "MAID", "LR_ID", "DLX_ID", "HASHED_PINNER_ID"}
SMALL = 100
MATCH_PERCENT = 80
MOST_BYTES = 5_000_000
CHUNK = 20_000
FIRST_ID = 549_000_000_000
is_email = re.compile(r"[^\s@,A-Z]+@[^\s@,A-Z]+").fullmatch
is_hash = re.compile(r"[0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64}").fullmatch


class Lists:
    """All customer lists. Callers serialise access."""

    def __init__(self, store: Store, delay_s: float) -> None:
        self._store = store
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS lists (number INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL,"
            " name TEXT NOT NULL, type TEXT NOT NULL, created INTEGER NOT NULL, updated REAL NOT NULL,"
            " batches INTEGER NOT NULL, uploaded INTEGER NOT NULL, removed INTEGER NOT NULL)",
            "CREATE TABLE IF NOT EXISTS members (n INTEGER PRIMARY KEY AUTOINCREMENT, list INTEGER NOT NULL,"
            " record TEXT NOT NULL)",
            "CREATE UNIQUE INDEX IF NOT EXISTS members_once ON members (list, record)",
        )

    def create(self, account: str, body: object, now: float) -> dict[str, Any]:
        asked = body if isinstance(body, dict) else {}
        name, kind = asked.get("name"), asked.get("list_type", "EMAIL")
        if not isinstance(name, str) or not name.strip():
            raise Refused(invalid("name is required"))
        if kind not in TYPES:
            raise Refused(invalid(f"list_type must be one of {sorted(TYPES)}"))
        records = read_records(asked)
        with self._store.transaction() as db:
            number = db.execute(
                "INSERT INTO lists (account, name, type, created, updated, batches, uploaded, removed)"
                " VALUES (?, ?, ?, ?, ?, 1, ?, 0)",
                (account, name, kind, int(now), now, len(records)),
            ).lastrowid
            self._put(db, number or 0, records, now)
        return self.show(number or 0, now)

    def update(self, number: int, body: object, now: float) -> dict[str, Any]:
        asked = body if isinstance(body, dict) else {}
        operation, records = asked.get("operation_type"), read_records(asked)
        if operation not in ("ADD", "REMOVE"):
            raise Refused(invalid("operation_type must be ADD or REMOVE"))
        counter = "uploaded" if operation == "ADD" else "removed"
        with self._store.transaction() as db:
            db.execute(
                f"UPDATE lists SET batches = batches + 1, {counter} = {counter} + ?, updated = ? WHERE number = ?",
                (len(records), now, number),
            )
            if operation == "ADD":
                self._put(db, number, records, now)
            else:
                rows = [(number, record) for record in records]
                db.executemany("DELETE FROM members WHERE list = ? AND record = ?", rows)
                self._count(db, number, now)
        return self.show(number, now)

    def show(self, number: int, now: float) -> dict[str, Any]:
        account, name, created, updated, batches, uploaded, removed = self._store.rows(
            "SELECT account, name, created, updated, batches, uploaded, removed FROM lists WHERE number = ?", number
        )[0]
        small = "TOO_SMALL" if self.matched(number, now) < SMALL else "READY"
        return {
            "ad_account_id": account,
            "created_time": created,
            "id": list_id(number),
            "name": name,
            "num_batches": batches,
            "num_removed_user_records": removed,
            "num_uploaded_user_records": uploaded,
            "status": small if now >= updated + self._delay_s else "PROCESSING",
            "type": "customerlist",
            "updated_time": int(updated),
            "exceptions": {},
        }

    def number(self, text: str, account: str | None = None) -> int:
        """Raises Refused where there is none, or it is another account's."""
        number = int(text) - FIRST_ID if re.fullmatch(r"[0-9]{1,18}", text, re.ASCII) else 0
        found = self._store.row("SELECT account FROM lists WHERE number = ?", number)
        if found is None or account not in (None, found[0]):
            raise Refused(not_found("Customer list"))
        return number

    def page(self, account: str, after: int, most: int, now: float) -> tuple[list[dict[str, Any]], int | None]:
        found = self._store.rows(
            "SELECT number FROM lists WHERE account = ? AND number > ? ORDER BY number LIMIT ?",
            account,
            after,
            most + 1,
        )
        numbers = [number for (number,) in found]
        return [self.show(number, now) for number in numbers[:most]], (
            numbers[most - 1] if len(numbers) > most else None
        )

    def all(self) -> list[tuple[int, str, str]]:
        return [
            (number, name, account)
            for number, name, account in self._store.rows("SELECT number, name, account FROM lists ORDER BY number")
        ]

    def delete(self, number: int) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM lists WHERE number = ?", (number,))
            db.execute("DELETE FROM members WHERE list = ?", (number,))
            db.execute("DELETE FROM sizes WHERE list = ?", (number,))

    # Who is in them

    def put(self, number: int, records: Sequence[str], now: float) -> None:
        with self._store.transaction() as db:
            self._put(db, number, [_as_held(record) for record in records], now)

    def size(self, number: int) -> int:
        found = self._store.row("SELECT count(*) FROM members WHERE list = ?", number)
        return int(found[0]) if found else 0

    def matched(self, number: int, now: float) -> int:
        return self._store.size_seen(number, now, self._delay_s)[1]

    def members(self, number: int, after: int, most: int) -> list[tuple[int, str]]:
        found = self._store.rows(
            "SELECT n, record FROM members WHERE list = ? AND n > ? ORDER BY n LIMIT ?", number, after, most
        )
        return [(n, orjson.dumps({"record": record}).decode()) for n, record in found]

    def values(self, number: int) -> Iterator[list[str]]:
        after = 0
        while page := self._store.rows(
            "SELECT n, record FROM members WHERE list = ? AND n > ? ORDER BY n LIMIT ?", number, after, CHUNK
        ):
            after = page[-1][0]
            yield [record for _, record in page]

    def _put(self, db: sqlite3.Connection, number: int, records: Sequence[str], now: float) -> None:
        db.executemany(
            "INSERT OR IGNORE INTO members (list, record) VALUES (?, ?)", [(number, each) for each in records]
        )
        self._count(db, number, now)

    def _count(self, db: sqlite3.Connection, number: int, now: float) -> None:
        (size,) = db.execute("SELECT count(*) FROM members WHERE list = ?", (number,)).fetchone()
        self._store.note_size(db, number, now, size, size * MATCH_PERCENT // 100, self._delay_s)


def split(body: object) -> list[str]:
    """The records of a request as they were sent."""
    text = body.get("records") if isinstance(body, dict) else None
    return [each.strip() for each in re.split(r"[,\n]", text) if each.strip()] if isinstance(text, str) else []


def read_records(body: Mapping[str, Any]) -> list[str]:
    """The records of a request as they are held. Raises Refused."""
    if len(str(body.get("records", ""))) > MOST_BYTES:
        raise Refused(invalid("records is too large"))
    records = split(body)
    if not records:
        raise Refused(invalid("records is required"))
    bad = next((record for record in records if not is_email(record) and not is_hash(record)), None)
    if bad is not None:
        raise Refused(invalid(f"records has one that is neither an email in lower case nor hashed: {bad}"))
    return [_as_held(record) for record in records]


def list_id(number: int) -> str:
    return str(FIRST_ID + number)


def _as_held(record: str) -> str:
    return sha256(record.encode()).hexdigest() if is_email(record) else record
