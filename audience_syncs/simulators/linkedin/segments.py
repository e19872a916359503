"""LinkedIn's DMP segments, and the ids that are streamed into them.

Read from LinkedIn's pages on DMP segments and segment users: an account and a name; types USER and COMPANY; a hash of an
address is hexadecimal, 64 letters for SHA-256 and 128 for SHA-512; 201 also for an id that is there already, or is gone
already; each element is checked by itself (since 202502); sizes below 300 are told as 0. Second-hand: 5,000 elements at most.

Ours: an id is held by itself, whoever's it is; one id that is none refuses its element, with whatever else is in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators.linkedin.answers import Refused, not_found, problem, wrong
from audience_syncs.simulators.platform import Answer, Json
from audience_syncs.simulators.store import Store

FIRST_ID = 17_000_000
MOST_ELEMENTS = 5_000
SMALLEST = 300
CHUNK = 20_000
SETTLES_S = 5.0
ID_TYPES = {
    "SHA256_EMAIL": re.compile(r"[0-9a-fA-F]{64}").fullmatch,
    "SHA512_EMAIL": re.compile(r"[0-9a-fA-F]{128}").fullmatch,
    "GOOGLE_AID": re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}").fullmatch,
}
FIELDS = {"SHA256_EMAIL": "email", "SHA512_EMAIL": "email_sha512", "GOOGLE_AID": "google_aid"}
"""As the inspection names them."""
LONGEST = {"firstName": 35, "lastName": 35, "title": 50, "company": 50, "country": 2}
_KNOWN_BY = "0123456789abc"
"""First digits of the ids that LinkedIn knows somebody by."""


class Segments:
    """All segments of all ad accounts."""

    def __init__(self, store: Store, delay_s: float) -> None:
        self._store = store
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS segments (number INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL,"
            " name TEXT NOT NULL, type TEXT NOT NULL, source TEXT, created REAL NOT NULL, status TEXT)",
            "CREATE TABLE IF NOT EXISTS ids (n INTEGER PRIMARY KEY AUTOINCREMENT, segment INTEGER NOT NULL,"
            " type TEXT NOT NULL, value TEXT NOT NULL, along TEXT NOT NULL DEFAULT '{}', UNIQUE (segment, type, value))",
        )

    # What is asked for

    def create(self, body: Mapping[str, Any], now: float) -> Answer:
        name, account, kind = body.get("name"), body.get("account"), body.get("type")
        if not isinstance(name, str) or not name.strip():
            raise wrong("/name :: field is required but not found and has no default value")
        if not isinstance(account, str) or re.fullmatch(r"urn:li:sponsoredAccount:\d+", account) is None:
            raise wrong("/account :: is not a valid urn")
        if kind not in ("USER", "COMPANY"):
            raise wrong("/type :: is not an enum symbol")
        if "accessPolicy" in body:
            raise wrong("/accessPolicy :: unrecognized field found but not allowed")
        destinations = body.get("destinations")
        if not isinstance(destinations, list) or {"destination": "LINKEDIN"} not in destinations:
            raise wrong("/destinations :: is not a valid list of destinations")
        with self._store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO segments (account, name, type, source, created) VALUES (?, ?, ?, ?, ?)",
                (account, name, kind, body.get("sourcePlatform"), now),
            )
        made = shown_id(int(cursor.lastrowid or 0))
        return Answer(201, None, {"x-restli-id": made, "x-linkedin-id": made})

    def find(self, query: Mapping[str, str], now: float) -> Answer:
        if query.get("q") != "account" or not query.get("account", "").startswith("urn:li:sponsoredAccount:"):
            raise wrong("Finder q=account wants a parameter account")
        start, count = _whole(query, "start", 0), _whole(query, "count", 10)
        found = [
            int(number)
            for (number,) in self._store.rows(
                "SELECT number FROM segments WHERE account = ?1 AND (?2 IS NULL OR source = ?2) ORDER BY number DESC",
                query["account"],
                query.get("sourcePlatform"),
            )
        ]
        shown = [self._show(number, now) for number in found[start : start + min(count, 100)]]
        paging = {"start": start, "count": count, "links": [], "total": len(found)}
        return Answer(200, {"paging": paging, "elements": shown})

    def get(self, name: str, now: float) -> Answer:
        return Answer(200, self._show(self.known(name), now))

    def stream(
        self, name: str, elements: Sequence[object], rejected: frozenset[int], now: float, *, slow: bool
    ) -> Answer:
        """Adds and removes, in the order of the elements; each is answered by itself."""
        segment = self.known(name)
        created = self._store.row("SELECT created FROM segments WHERE number = ?", segment)
        if slow and created is not None and now < created[0] + SETTLES_S:
            raise Refused(not_found("DMP segment"))
        if len(elements) > MOST_ELEMENTS:
            raise wrong(f"At most {MOST_ELEMENTS} elements are allowed.")
        told: list[Json] = []
        with self._store.transaction() as db:
            for place, element in enumerate(elements):
                reason = "the element could not be processed" if place in rejected else _wrong_with(element)
                if reason:
                    told.append(
                        {"status": 400, "error": problem(400, reason, "VALIDATION_ERROR") | {"batchIndex": place}}
                    )
                    continue
                told.append({"status": 201})
                assert isinstance(element, dict)
                along = orjson.dumps({key: element[key] for key in LONGEST if key in element}).decode()
                for each in element["userIds"]:
                    key = (segment, each["idType"], each["idValue"].lower())
                    if element["action"] == "ADD":
                        db.execute(
                            "INSERT INTO ids (segment, type, value, along) VALUES (?, ?, ?, ?)"
                            " ON CONFLICT (segment, type, value) DO UPDATE SET along = excluded.along",
                            (*key, along),
                        )
                    else:
                        db.execute("DELETE FROM ids WHERE segment = ? AND type = ? AND value = ?", key)
        self._note(segment, now)
        return Answer(200, {"elements": told})

    # Inspection

    def all(self) -> list[dict[str, Json]]:
        rows = self._store.rows("SELECT number, account, name FROM segments ORDER BY number")
        return [
            {"id": shown_id(number), "name": name, "account": account, "size": self.size(number)}
            for number, account, name in rows
        ]

    def number(self, name: str) -> int | None:
        number = int(name) - FIRST_ID if re.fullmatch(r"[0-9]{1,18}", name) else 0
        return number if self._store.row("SELECT 1 FROM segments WHERE number = ?", number) else None

    def known(self, name: str) -> int:
        """The number of a segment that there is."""
        number = self.number(name)
        if number is None:
            raise Refused(not_found("DMP segment"))
        return number

    def size(self, number: int) -> int:
        found = self._store.row("SELECT count(*) FROM ids WHERE segment = ?", number)
        return int(found[0]) if found else 0

    def members(self, number: int, after: int, limit: int) -> list[tuple[int, str]]:
        """The ids, each for itself, with what went along."""
        rows = self._store.rows(
            "SELECT n, type, value, along FROM ids WHERE segment = ? AND n > ? ORDER BY n LIMIT ?", number, after, limit
        )
        return [
            (n, orjson.dumps({FIELDS[kind]: value, **orjson.loads(along)}).decode()) for n, kind, value, along in rows
        ]

    def values(self, number: int, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.members(number, after, CHUNK):
            after = page[-1][0]
            found = [orjson.loads(text).get(wanted) for _, text in page]
            yield [value for value in found if value is not None]

    def put(self, number: int, members: Sequence[Mapping[str, str]], now: float) -> int:
        types = {field: kind for kind, field in FIELDS.items()}
        rows = [(number, types[field], value) for member in members for field, value in member.items()]
        before = self.size(number)
        with self._store.transaction() as db:
            db.executemany("INSERT OR IGNORE INTO ids (segment, type, value) VALUES (?, ?, ?)", rows)
        self._note(number, now)
        return self.size(number) - before

    def forget(self, number: int | None = None) -> None:
        """One segment, or everything."""
        with self._store.transaction() as db:
            if number is not None:
                db.execute("DELETE FROM ids WHERE segment = ?", (number,))
                db.execute("DELETE FROM segments WHERE number = ?", (number,))
                return
            for table in ("segments", "ids", "sizes", "sqlite_sequence"):
                db.execute(f"DELETE FROM {table}")

    def set_status(self, number: int, status: str) -> None:
        with self._store.transaction() as db:
            db.execute("UPDATE segments SET status = ? WHERE number = ?", (status, number))

    def _show(self, number: int, now: float) -> Json:
        found = self._store.row(
            "SELECT account, name, type, source, created, status FROM segments WHERE number = ?", number
        )
        if found is None:
            raise Refused(not_found("DMP segment"))
        account, name, kind, source, created, status = found
        size, matched = self._store.size_seen(number, now, self._delay_s)
        destination: dict[str, Json] = {
            "destination": "LINKEDIN",
            "destinationSegmentId": f"urn:li:adSegment:{number}",
            "created": int(created * 1_000),
            "lastModified": int(now * 1_000),
            "status": status or ("READY" if size else "BUILDING"),
        }
        if size:
            destination |= {"audienceSize": matched if matched >= SMALLEST else 0, "matchedCount": matched}
        return {
            "id": int(shown_id(number)),
            "name": name,
            "account": account,
            "type": kind,
            **({"sourcePlatform": source} if source else {}),
            "created": int(created * 1_000),
            "lastModified": int(now * 1_000),
            "inputCount": size,
            "destinations": [destination],
        }

    def _note(self, number: int, now: float) -> None:
        with self._store.transaction() as db:
            size, matched = db.execute(
                f"SELECT count(*), coalesce(sum(instr('{_KNOWN_BY}', substr(value, 1, 1)) > 0), 0) FROM ids WHERE segment = ?",
                (number,),
            ).fetchone()
            self._store.note_size(db, number, now, int(size), int(matched), self._delay_s)


def shown_id(number: int) -> str:
    return str(FIRST_ID + number)


def _wrong_with(element: object) -> str:
    """Why an element cannot be; empty where it can."""
    if not isinstance(element, dict) or element.get("action") not in ("ADD", "REMOVE"):
        return "/action :: is not an enum symbol"
    ids = element.get("userIds")
    if not isinstance(ids, list):
        return "/userIds :: is not a list"
    if not ids:
        return "either userIds or firstName and lastName are required"
    for each in ids:
        kind, value = (each.get("idType"), each.get("idValue")) if isinstance(each, dict) else (None, None)
        if kind not in ID_TYPES:
            return "/userIds/idType :: is not an enum symbol"
        if not isinstance(value, str) or ID_TYPES[kind](value) is None:
            return f"/userIds/idValue :: '{value}' is not a valid {kind}"
    for key, longest in LONGEST.items():
        if key in element and not (isinstance(element[key], str) and 0 < len(element[key]) <= longest):
            return f"/{key} :: length must be between 1 and {longest}"
    unknown = set(element) - set(LONGEST) - {"action", "userIds"}
    return f"/{min(unknown)} :: unrecognized field found but not allowed" if unknown else ""


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise wrong(f"{name} must be a number")
    return int(text)
