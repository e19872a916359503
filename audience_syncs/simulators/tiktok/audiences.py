"""TikTok's audiences of the type Partner, and the identifiers that are mapped to them.

Read from TikTok's reference as a Go client quotes it: an audience has a name that need not be unique and is cut beyond 70
characters; a mapping is of one identifier, whoever's it is; kinds come in any order, in capitals or not, and never twice;
an audience must belong to one of the advertisers that are named. From Segment's adapter: an empty object where a row has
nothing of a kind. Ours: an identifier that is no hash, or a row without any, refuses the whole request.

Matched people come late, as everybody says; here some four in five are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.simulators.platform import Json
from audience_syncs.simulators.store import Store
from audience_syncs.simulators.tiktok.answers import Refused, refusal, wrong

FIRST_ID = 7_400_000_000_000_000_000
MOST_AUDIENCES = 400
LONGEST_NAME = 70
MOST_ROWS = 10_000
CHUNK = 20_000
LASTS_S = 365 * 86_400.0
KINDS = {"EMAIL_SHA256": 64, "PHONE_SHA256": 64, "IDFA_SHA256": 64, "AAID_SHA256": 64, "IDFA_MD5": 32, "AAID_MD5": 32}
"""Kind of identifier -> length of its hash."""
FIELDS = {kind: kind.partition("_")[0].lower() for kind in KINDS}
"""As the inspection names them: email, phone, idfa, aaid."""
_KNOWN_BY = "0123456789abc"
"""First digits of the hashes that TikTok knows somebody by."""

Mapping_ = tuple[int, str, str]
"""Audience, kind, hash."""


class Audiences:
    """All audiences of all advertisers."""

    def __init__(self, store: Store, delay_s: float) -> None:
        self._store = store
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS audiences (number INTEGER PRIMARY KEY AUTOINCREMENT, advertiser TEXT NOT NULL,"
            " name TEXT NOT NULL, created REAL NOT NULL)",
            "CREATE TABLE IF NOT EXISTS mappings (n INTEGER PRIMARY KEY AUTOINCREMENT, audience INTEGER NOT NULL,"
            " kind TEXT NOT NULL, hash TEXT NOT NULL, UNIQUE (audience, kind, hash))",
        )

    # What is asked for

    def create(self, advertiser: str, name: object, now: float) -> Json:
        if not isinstance(name, str) or not name.strip():
            raise wrong("custom_audience_name: Missing data for required field.")
        if len(self._of(advertiser)) >= MOST_AUDIENCES:
            raise wrong(f"The number of audiences has reached the limit of {MOST_AUDIENCES}.")
        kept = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
        with self._store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO audiences (advertiser, name, created) VALUES (?, ?, ?)", (advertiser, kept, now)
            )
        return {"audience_id": shown_id(int(cursor.lastrowid or 0))}

    def delete(self, advertiser: str, wanted: object) -> Json:
        number = self.number(str(wanted))
        if number is None or number not in self._of(advertiser):
            raise wrong("delete_audience_id: the audience does not exist.")
        self.forget(number)
        return {"audience_id": str(wanted)}

    def page(self, advertiser: str, query: Mapping[str, str], now: float) -> Json:
        page, size = _whole(query, "page", 1, 1_000_000), _whole(query, "page_size", 10, 100)
        found = self._of(advertiser)
        if "custom_audience_ids" in query:
            wanted = {self.number(each) for each in _ids(query["custom_audience_ids"])}
            found = [number for number in found if number in wanted]
        shown = [self._show(number, now) for number in found[(page - 1) * size : page * size]]
        total = {"page": page, "page_size": size, "total_number": len(found), "total_page": -(-len(found) // size)}
        return {"list": shown, "page_info": total}

    def details(self, advertiser: str, query: Mapping[str, str], now: float) -> Json:
        wanted = [self.number(each) for each in _ids(query.get("custom_audience_ids", "[]"))]
        own = self._of(advertiser)
        if not all(number in own for number in wanted):
            raise wrong("custom_audience_ids: some of the audiences do not exist.")
        shown = [self._show(number, now) for number in wanted if number is not None]
        return {"list": [{"audience_details": each, "audience_history": []} for each in shown]}

    def change(self, body: Mapping[str, Any], rejected: frozenset[int], now: float) -> None:
        """Maps or unmaps: all of it, or nothing."""
        action = body.get("action", "add")
        if action not in ("add", "delete"):
            raise wrong("action: Must be one of: add, delete.")
        mappings = self._read(body, rejected)
        with self._store.transaction() as db:
            if action == "add":
                db.executemany("INSERT OR IGNORE INTO mappings (audience, kind, hash) VALUES (?, ?, ?)", mappings)
            else:
                db.executemany("DELETE FROM mappings WHERE audience = ? AND kind = ? AND hash = ?", mappings)
        for audience in {audience for audience, _, _ in mappings}:
            self._note(audience, now)

    def _read(self, body: Mapping[str, Any], rejected: frozenset[int]) -> list[Mapping_]:
        advertisers, kinds, rows = body.get("advertiser_ids"), body.get("id_schema"), body.get("batch_data")
        if not isinstance(advertisers, list) or not advertisers:
            raise wrong("advertiser_ids: Missing data for required field.")
        own = {number for each in advertisers for number in self._of(str(each))}
        if not isinstance(kinds, list) or not kinds or not all(isinstance(kind, str) for kind in kinds):
            raise wrong("id_schema: Missing data for required field.")
        schema = [kind.upper() for kind in kinds]
        if len(set(schema)) < len(schema) or not set(schema) <= set(KINDS):
            raise wrong("id_schema: contains invalid or repeated id types.")
        if not isinstance(rows, list) or not 0 < len(rows) <= MOST_ROWS:
            raise wrong(f"batch_data: Length must be between 1 and {MOST_ROWS}.", 40061)
        found: list[Mapping_] = []
        for place, row in enumerate(rows):
            if place in rejected:
                raise wrong(f"batch_data.{place}.0.id: invalid id.")
            found += self._of_row(place, row, schema, own)
        return found

    def _of_row(self, place: int, row: object, schema: Sequence[str], own: Sequence[int] | set[int]) -> list[Mapping_]:
        if not isinstance(row, list) or len(row) != len(schema):
            raise wrong(f"batch_data.{place}: must have as many ids as id_schema.")
        found = []
        for column, (kind, entry) in enumerate(zip(schema, row, strict=True)):
            if entry == {}:
                continue
            given, audiences = (entry.get("id"), entry.get("audience_ids")) if isinstance(entry, dict) else (None, None)
            if not isinstance(given, str) or re.fullmatch(f"[0-9a-f]{{{KINDS[kind]}}}", given) is None:
                raise wrong(f"batch_data.{place}.{column}.id: '{given}' is not a valid {kind}.", 40062)
            if not isinstance(audiences, list) or not audiences:
                raise wrong(f"batch_data.{place}.{column}.audience_ids: Missing data for required field.")
            for audience in audiences:
                number = self.number(audience) if isinstance(audience, str) else None
                if number is None or number not in own:
                    raise wrong("Parameter error: invalid audience ID")
                found.append((number, kind, given))
        if not found:
            raise wrong(f"batch_data.{place}: at least one id is required.")
        return found

    # Inspection

    def all(self) -> list[dict[str, Json]]:
        rows = self._store.rows("SELECT number, advertiser, name FROM audiences ORDER BY number")
        return [
            {"id": shown_id(number), "name": name, "account": advertiser, "size": self.size(number)}
            for number, advertiser, name in rows
        ]

    def number(self, name: str) -> int | None:
        """The number of an audience that there is."""
        number = int(name) - FIRST_ID if re.fullmatch(r"[0-9]{1,20}", name) else 0
        return number if self._store.row("SELECT 1 FROM audiences WHERE number = ?", number) else None

    def size(self, number: int) -> int:
        found = self._store.row("SELECT count(*) FROM mappings WHERE audience = ?", number)
        return int(found[0]) if found else 0

    def members(self, number: int, after: int, limit: int) -> list[tuple[int, str]]:
        """The mappings, each for itself: TikTok is not told who has several identifiers."""
        rows = self._store.rows(
            "SELECT n, kind, hash FROM mappings WHERE audience = ? AND n > ? ORDER BY n LIMIT ?", number, after, limit
        )
        return [(n, orjson.dumps({FIELDS[kind]: held}).decode()) for n, kind, held in rows]

    def values(self, number: int, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.members(number, after, CHUNK):
            after = page[-1][0]
            found = [orjson.loads(text).get(wanted) for _, text in page]
            yield [value for value in found if value is not None]

    def put(self, number: int, members: Sequence[Mapping[str, str]], now: float) -> int:
        kinds = {field: kind for kind, field in FIELDS.items() if kind.endswith("SHA256")}
        rows = [(number, kinds[field], value) for member in members for field, value in member.items()]
        before = self.size(number)
        with self._store.transaction() as db:
            db.executemany("INSERT OR IGNORE INTO mappings (audience, kind, hash) VALUES (?, ?, ?)", rows)
        self._note(number, now)
        return self.size(number) - before

    def forget(self, number: int | None = None) -> None:
        """One audience, or everything."""
        with self._store.transaction() as db:
            if number is not None:
                db.execute("DELETE FROM mappings WHERE audience = ?", (number,))
                db.execute("DELETE FROM audiences WHERE number = ?", (number,))
                return
            for table in ("audiences", "mappings", "sizes", "sqlite_sequence"):
                db.execute(f"DELETE FROM {table}")

    def _of(self, advertiser: str) -> list[int]:
        rows = self._store.rows("SELECT number FROM audiences WHERE advertiser = ? ORDER BY number DESC", advertiser)
        return [int(number) for (number,) in rows]

    def _show(self, number: int, now: float) -> Json:
        found = self._store.row("SELECT name, created, advertiser FROM audiences WHERE number = ?", number)
        if found is None:
            raise Refused(refusal(40007, "The audience does not exist."))
        name, created, advertiser = found
        _, matched = self._store.size_seen(number, now, self._delay_s)
        return {
            "audience_id": shown_id(number),
            "name": name,
            "audience_type": "Partner Audience",
            "calculate_type": None,
            "cover_num": matched,
            "shared": False,
            "is_creator": True,
            "owner_id": advertiser,
            "is_valid": matched > 0,
            "is_expiring": False,
            "create_time": _moment(created),
            "expired_time": _moment(now + LASTS_S),
            "error_msg": "",
        }

    def _note(self, number: int, now: float) -> None:
        with self._store.transaction() as db:
            size, matched = db.execute(
                f"SELECT count(*), coalesce(sum(instr('{_KNOWN_BY}', substr(hash, 1, 1)) > 0), 0) FROM mappings"
                " WHERE audience = ?",
                (number,),
            ).fetchone()
            self._store.note_size(db, number, now, int(size), int(matched), self._delay_s)


def shown_id(number: int) -> str:
    return str(FIRST_ID + number)


def _ids(text: str) -> list[str]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, list) or not 0 < len(found) <= 100 or not all(isinstance(each, str) for each in found):
        raise wrong("custom_audience_ids: Length must be between 1 and 100.")
    return found


def _whole(query: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = query.get(name, str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise wrong(f"{name}: Must be between 1 and {most}.")
    return int(text)


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")
