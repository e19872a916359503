"""Customer.io's segments: manual ones, which the Track API fills, and those of conditions, which it does not.

Published: made with a name, told all at once; at most 1,000 ids a call, all of one kind, others are ignored; a call is answered with
an empty object, whoever was in it. Members come 1,000 a page unless asked otherwise, 30,000 at most, with a token for the next. A
name that is taken is not refused: nothing published says that names are unique.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from audience_syncs.simulators.customerio import errors
from audience_syncs.simulators.customerio.errors import Refused
from audience_syncs.simulators.customerio.people import COLUMNS, KINDS, People, person_of
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MAX_CHANGES = 1_000
MAX_PAGE = 30_000
CHUNK = 20_000


class Segments:
    """All segments of the workspace."""

    def __init__(self, store: Store, people: People, delay_s: float) -> None:
        self._store = store
        self._people = people
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS segments (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
            " description TEXT NOT NULL, type TEXT NOT NULL, created REAL NOT NULL)",
            "CREATE TABLE IF NOT EXISTS memberships (segment INTEGER, person INTEGER, PRIMARY KEY (segment, person))"
            " WITHOUT ROWID",
            "CREATE INDEX IF NOT EXISTS memberships_of ON memberships (person)",
        )

    def create(self, body: object, now: float) -> Answer:
        given = body.get("segment") if isinstance(body, dict) else None
        name = given.get("name") if isinstance(given, dict) else None
        if not isinstance(given, dict) or not isinstance(name, str) or not name.strip():
            raise Refused(errors.app(400, "segment.name is required"))
        # Segments of conditions are made in the pages: a test makes one by this.
        kind = "dynamic" if name.startswith("[dynamic]") else "manual"
        with self._store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO segments (name, description, type, created) VALUES (?, ?, ?, ?)",
                (name, str(given.get("description") or ""), kind, now),
            )
        return Answer(200, {"segment": self._show(int(cursor.lastrowid or 0))})

    def find(self) -> Answer:
        return Answer(200, {"segments": [self._show(number) for number, _ in self.all()]})

    def get(self, name: str) -> Answer:
        return Answer(200, {"segment": self._show(self.number(name))})

    def count(self, name: str, now: float) -> Answer:
        number = self.number(name)
        size, _ = self._store.size_seen(number, now, self._delay_s)
        return Answer(200, {"segment_id": number, "count": size})

    def check(self, name: str, body: object, query: Mapping[str, str]) -> dict[str, Any]:
        """What is to be done; raises Refused."""
        ids, kind = body.get("ids") if isinstance(body, dict) else None, query.get("id_type", "id")
        if kind not in KINDS:
            raise Refused(errors.first("id_type must be one of id, email, cio_id"))
        if not isinstance(ids, list) or not ids or len(ids) > MAX_CHANGES:
            raise Refused(errors.first(f"ids must have 1 to {MAX_CHANGES} items"))
        if not all(isinstance(each, str) for each in ids):
            raise Refused(errors.first("ids must be strings"))
        number = self.number(name, track=True)
        (type_,) = self._store.row("SELECT type FROM segments WHERE number = ?", number) or ("",)
        if type_ != "manual":
            raise Refused(errors.first("segment is not a manual segment"))
        return {"segment": number, "kind": kind, "ids": ids}

    def change(self, told: Mapping[str, Any], now: float, *, add: bool) -> None:
        """Whoever is not a person is ignored; and a segment that is gone takes nobody."""
        if self._store.row("SELECT 1 FROM segments WHERE number = ?", told["segment"]) is None:
            return
        numbers = [each.number for each in self._people.find(told["kind"], told["ids"])]
        if add:
            self.put(told["segment"], numbers, now)
        else:
            with self._store.transaction() as db:
                db.executemany(
                    "DELETE FROM memberships WHERE segment = ? AND person = ?",
                    [(told["segment"], each) for each in numbers],
                )
                self._note(db, told["segment"], now)

    def page(self, name: str, query: Mapping[str, str]) -> Answer:
        number = self.number(name)
        limit, start = query.get("limit", "1000"), query.get("start", "0")
        if not limit.isdigit() or not 1 <= int(limit) <= MAX_PAGE or not start.isdigit():
            raise Refused(errors.app(400, f"limit must be 1 to {MAX_PAGE}"))
        found = [person_of(row) for row in self._rows(number, int(start), int(limit) + 1)]
        shown = found[: int(limit)]
        return Answer(
            200,
            {
                "segment_id": number,
                "ids": [each.id or "" for each in shown],
                "identifiers": [each.identifiers for each in shown],
                "next": str(shown[-1].number) if len(found) > int(limit) else "",
            },
        )

    def of_person(self, name: str, query: Mapping[str, str]) -> Answer:
        kind = query.get("id_type", "id")
        if kind not in KINDS:
            raise Refused(errors.app(400, "id_type is not one of id, email, cio_id"))
        found = self._people.find(kind, [name])
        if not found:
            raise Refused(errors.app(404, "not found"))
        numbers = self._store.rows("SELECT segment FROM memberships WHERE person = ? ORDER BY 1", found[0].number)
        shown = [self._show(number) for (number,) in numbers]
        return Answer(200, {"segments": [{key: each[key] for key in ("id", "name", "description")} for each in shown]})

    # Inside

    def number(self, name: str, *, track: bool = False) -> int:
        """Raises Refused where there is no such segment."""
        wanted = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else 0
        if self._store.row("SELECT 1 FROM segments WHERE number = ?", wanted) is None:
            raise Refused(errors.first("segment not found", status=404) if track else errors.app(404, "not found"))
        return wanted

    def all(self) -> list[tuple[int, str]]:
        return [
            (number, name) for number, name in self._store.rows("SELECT number, name FROM segments ORDER BY number")
        ]

    def put(self, number: int, people: Iterable[int], now: float) -> int:
        with self._store.transaction() as db:
            before = db.total_changes
            db.executemany("INSERT OR IGNORE INTO memberships VALUES (?, ?)", [(number, each) for each in people])
            added = db.total_changes - before
            self._note(db, number, now)
            return added

    def delete(self, number: int) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM segments WHERE number = ?", (number,))
            db.execute("DELETE FROM memberships WHERE segment = ?", (number,))
            db.execute("DELETE FROM sizes WHERE list = ?", (number,))

    def _note(self, db: Any, number: int, now: float) -> None:
        (size,) = db.execute("SELECT count(*) FROM memberships WHERE segment = ?", (number,)).fetchone()
        self._store.note_size(db, number, now, size, size, self._delay_s)

    def size(self, number: int) -> int:
        (found,) = self._store.row("SELECT count(*) FROM memberships WHERE segment = ?", number) or (0,)
        return int(found)

    def members(self, number: int, after: int, limit: int) -> list[tuple[int, str]]:
        found = [person_of(row) for row in self._rows(number, after, limit)]
        return [(each.number, orjson.dumps(each.flat()).decode()) for each in found]

    def values(self, number: int, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.members(number, after, CHUNK):
            after = page[-1][0]
            yield [str(value) for _, text in page if (value := orjson.loads(text).get(wanted))]

    def _rows(self, number: int, after: int, limit: int) -> list[tuple[Any, ...]]:
        columns = ", ".join(f"p.{name}" for name in COLUMNS.split(", "))
        return self._store.rows(
            f"SELECT {columns} FROM memberships m JOIN people p ON p.number = m.person "
            "WHERE m.segment = ? AND m.person > ? ORDER BY m.person LIMIT ?",
            number,
            after,
            limit,
        )

    def _show(self, number: int) -> dict[str, Any]:
        found = self._store.row("SELECT name, description, type, created FROM segments WHERE number = ?", number)
        name, description, kind, created = found or ("", "", "", 0)
        return {
            "id": number,
            "deduplicate_id": f"{number}:{int(created)}",
            "name": name,
            "description": description,
            "state": "finished",
            "progress": None,
            "type": kind,
            "tags": None,
            "created_at": int(created),
            "updated_at": int(created),
        }
