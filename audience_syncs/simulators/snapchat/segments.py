"""Snapchat's customer lists: segments of the source type FIRST_PARTY, and the identifiers in them.

Read from Snap's page on customer lists: the attributes of a segment, the bodies and answers of adding and removing; that
``retention_in_days`` is 9999 for members who are never forgotten. From other vendors' documentation: at most 100,000 identifiers
in a request, one kind of identifier in a request, 1,000 matched users before a segment can be targeted. Observed by others:
the number of users is rounded, and 0 for a segment that is too small.

Ours, where nothing is published: each identifier is kept by itself, for the retention since it was last added; one that is no
SHA-256 in lower case makes Snapchat refuse the request; whom a removal does not find it passes over; names are not unique.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.simulators.snapchat.errors import Refused, invalid, not_found
from audience_syncs.simulators.store import Store

KINDS = {"EMAIL_SHA256": "email", "PHONE_SHA256": "phone", "MOBILE_AD_ID_SHA256": "mobile_ad_id"}
SOURCES = {"FIRST_PARTY", "ENGAGEMENT", "PIXEL", "MOBILE", "FOOT_TRAFFIC_INSIGHTS"}
LIFETIME_DAYS = 9_999
MOST_IDENTIFIERS = 100_000
LONGEST_NAME = 375
TARGETABLE_FROM = 1_000
MATCH_PERCENT = 80
CHUNK = 20_000
DAY_S = 86_400.0
is_sha256 = re.compile(r"[0-9a-f]{64}").fullmatch

Identifier = tuple[str, str]
"""Kind and hash."""


class Segments:
    """All segments. Callers serialise access."""

    def __init__(self, store: Store, delay_s: float) -> None:
        self._store = store
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS segments (number INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL,"
            " name TEXT NOT NULL, description TEXT NOT NULL, source TEXT NOT NULL, retention INTEGER NOT NULL,"
            " created REAL NOT NULL, updated REAL NOT NULL, uploaded REAL)",
            "CREATE TABLE IF NOT EXISTS members (n INTEGER PRIMARY KEY AUTOINCREMENT, segment INTEGER NOT NULL,"
            " kind TEXT NOT NULL, hash TEXT NOT NULL, at REAL NOT NULL)",
            "CREATE UNIQUE INDEX IF NOT EXISTS members_once ON members (segment, kind, hash)",
        )

    # Segments

    def create(self, account: str, body: object, now: float) -> list[dict[str, Any]]:
        asked = body.get("segments") if isinstance(body, dict) else None
        if not isinstance(asked, list) or not asked or not all(isinstance(each, dict) for each in asked):
            raise Refused(invalid("segments must be a list of segments"))
        made = [self._read(account, each) for each in asked]
        with self._store.transaction() as db:
            numbers = [
                db.execute(
                    "INSERT INTO segments (account, name, description, source, retention, created, updated)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (account, *each, now, now),
                ).lastrowid
                for each in made
            ]
        return [{**self.show(number or 0, now), "status": "PENDING"} for number in numbers]

    def _read(self, account: str, asked: Mapping[str, Any]) -> tuple[str, str, str, int]:
        name, description = asked.get("name"), asked.get("description", "")
        retention, source = asked.get("retention_in_days"), asked.get("source_type")
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST_NAME or not isinstance(description, str):
            raise Refused(invalid(f"name must have 1 to {LONGEST_NAME} characters"))
        if source not in SOURCES:
            raise Refused(invalid(f"source_type must be one of {sorted(SOURCES)}"))
        if isinstance(retention, bool) or not isinstance(retention, int) or not 1 <= retention <= LIFETIME_DAYS:
            raise Refused(invalid("retention_in_days must be a number of days"))
        if asked.get("ad_account_id") != account:
            raise Refused(invalid("ad_account_id does not match the path"))
        return name, description, str(source), retention

    def number(self, segment_id: str) -> int:
        """Raises Refused where there is none."""
        number = _number(segment_id)
        if number is None or self._store.row("SELECT 1 FROM segments WHERE number = ?", number) is None:
            raise Refused(not_found())
        return number

    def account(self, number: int) -> str:
        found = self._store.row("SELECT account FROM segments WHERE number = ?", number)
        return str(found[0]) if found else ""

    def page(self, account: str, after: int, most: int, now: float) -> tuple[list[dict[str, Any]], int | None]:
        """A page of the account's segments, oldest first, and where the next one begins."""
        found = self._store.rows(
            "SELECT number FROM segments WHERE account = ? AND number > ? ORDER BY number LIMIT ?",
            account,
            after,
            most + 1,
        )
        numbers = [number for (number,) in found]
        following = numbers[most - 1] if len(numbers) > most else None
        return [self.show(number, now) for number in numbers[:most]], following

    def all(self) -> list[tuple[int, str, str]]:
        return [
            (number, name, account)
            for number, name, account in self._store.rows("SELECT number, name, account FROM segments ORDER BY number")
        ]

    def show(self, number: int, now: float) -> dict[str, Any]:
        account, name, description, source, retention, created, updated, uploaded = self._store.rows(
            "SELECT account, name, description, source, retention, created, updated, uploaded FROM segments"
            " WHERE number = ?",
            number,
        )[0]
        self._forget_old(number, now)
        matched = self._store.size_seen(number, now, self._delay_s)[1]
        is_done = uploaded is not None and now >= uploaded + self._delay_s
        status = "NO_UPLOAD" if uploaded is None else "COMPLETE" if is_done else "PROCESSING"
        targetable = "READY" if matched >= TARGETABLE_FROM else "TOO_FEW_USERS"
        return {
            "id": segment_id(number),
            "created_at": _iso(created),
            "updated_at": _iso(updated),
            "name": name,
            "ad_account_id": account,
            "description": description,
            "status": "ACTIVE",
            "targetable_status": targetable if is_done else "NOT_READY",
            "upload_status": status,
            "source_type": source,
            "retention_in_days": retention,
            "approximate_number_users": matched // 100 * 100 if matched >= TARGETABLE_FROM else 0,
        }

    def rename(self, number: int, asked: Mapping[str, Any], now: float) -> None:
        with self._store.transaction() as db:
            for column, name in (("name", "name"), ("description", "description"), ("retention", "retention_in_days")):
                if name in asked:
                    db.execute(f"UPDATE segments SET {column} = ? WHERE number = ?", (asked[name], number))
            db.execute("UPDATE segments SET updated = ? WHERE number = ?", (now, number))

    def delete(self, number: int) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM segments WHERE number = ?", (number,))
            db.execute("DELETE FROM members WHERE segment = ?", (number,))
            db.execute("DELETE FROM sizes WHERE list = ?", (number,))

    # Members

    def add(self, number: int, identifiers: Iterable[Identifier], now: float) -> None:
        self._forget_old(number, now)
        with self._store.transaction() as db:
            db.executemany(
                "INSERT INTO members (segment, kind, hash, at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (segment, kind, hash) DO UPDATE SET at = excluded.at",
                [(number, kind, value, now) for kind, value in identifiers],
            )
            self._note(db, number, now)

    def remove(self, number: int, identifiers: Iterable[Identifier] | None, now: float) -> None:
        """``None``: everybody."""
        with self._store.transaction() as db:
            if identifiers is None:
                db.execute("DELETE FROM members WHERE segment = ?", (number,))
            else:
                db.executemany(
                    "DELETE FROM members WHERE segment = ? AND kind = ? AND hash = ?",
                    [(number, kind, value) for kind, value in identifiers],
                )
            self._note(db, number, now)

    def size(self, number: int, now: float) -> int:
        self._forget_old(number, now)
        found = self._store.row("SELECT count(*) FROM members WHERE segment = ?", number)
        return int(found[0]) if found else 0

    def members(self, number: int, after: int, most: int) -> list[tuple[int, str]]:
        found = self._store.rows(
            "SELECT n, kind, hash FROM members WHERE segment = ? AND n > ? ORDER BY n LIMIT ?", number, after, most
        )
        return [(n, orjson.dumps({kind: value}).decode()) for n, kind, value in found]

    def values(self, number: int, kind: str) -> Iterator[list[str]]:
        after = 0
        while page := self._store.rows(
            "SELECT n, hash FROM members WHERE segment = ? AND kind = ? AND n > ? ORDER BY n LIMIT ?",
            number,
            kind,
            after,
            CHUNK,
        ):
            after = page[-1][0]
            yield [value for _, value in page]

    def _forget_old(self, number: int, now: float) -> None:
        found = self._store.row("SELECT retention FROM segments WHERE number = ?", number)
        if found is None or found[0] >= LIFETIME_DAYS:
            return
        with self._store.transaction() as db:
            oldest = now - found[0] * DAY_S
            if db.execute("DELETE FROM members WHERE segment = ? AND at < ?", (number, oldest)).rowcount:
                self._count(db, number, now)

    def _note(self, db: sqlite3.Connection, number: int, now: float) -> None:
        db.execute("UPDATE segments SET updated = ?, uploaded = ? WHERE number = ?", (now, now, number))
        self._count(db, number, now)

    def _count(self, db: sqlite3.Connection, number: int, now: float) -> None:
        (size,) = db.execute("SELECT count(*) FROM members WHERE segment = ?", (number,)).fetchone()
        self._store.note_size(db, number, now, size, size * MATCH_PERCENT // 100, self._delay_s)


def read_users(body: object) -> list[Identifier]:
    """The identifiers of a request that adds or removes. Raises Refused."""
    users = body.get("users") if isinstance(body, dict) else None
    if not isinstance(users, list) or len(users) != 1 or not isinstance(users[0], dict):
        raise Refused(invalid("users must be a list with one element"))
    schema, data = users[0].get("schema"), users[0].get("data")
    if not isinstance(schema, list) or len(schema) != 1 or schema[0] not in KINDS:
        raise Refused(invalid(f"schema must be one of {sorted(KINDS)}"))
    if not isinstance(data, list) or not data:
        raise Refused(invalid("data must be a list of identifiers"))
    if len(data) > MOST_IDENTIFIERS:
        raise Refused(invalid(f"data has {len(data)} identifiers; at most {MOST_IDENTIFIERS} are allowed"))
    bad = next((row for row in data if not _is_row(row)), None)
    if bad is not None:
        raise Refused(invalid(f"data has an identifier that is not hashed with SHA-256: {bad}"))
    return [(KINDS[schema[0]], row[0]) for row in data]


def segment_id(number: int) -> str:
    """Sixteen digits, as Snapchat's are."""
    return str(5_600_000_000_000_000 + number)


def _number(text: str) -> int | None:
    number = int(text) - 5_600_000_000_000_000 if re.fullmatch(r"\d{16}", text, re.ASCII) else 0
    return number if number > 0 else None


def _is_row(row: Sequence[object] | object) -> bool:
    return isinstance(row, list) and len(row) == 1 and isinstance(row[0], str) and is_sha256(row[0]) is not None


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
