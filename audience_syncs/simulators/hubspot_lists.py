"""HubSpot's contact lists and who is in them.

Published: only MANUAL and SNAPSHOT lists take membership changes; records that do not exist come back in
``recordIdsMissing``, records that are already there (or already gone) are passed over; names are unique. The answer
says ``recordsIdsAdded``, with the extra "s", as HubSpot does. Memberships are read by record id or in the order of
joining, 100 a page unless asked otherwise, 250 at most (the limit stands in v3's description only).
"""

from __future__ import annotations

import sqlite3
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from audience_syncs.simulators.hubspot_contacts import Contacts, iso
from audience_syncs.simulators.hubspot_errors import Refused, invalid, no_such_list, not_json
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MAX_RECORD_IDS = 100_000
MAX_PAGE = 250
TAKES_CHANGES = {"MANUAL", "SNAPSHOT"}
CONTACTS_TYPE = "0-1"
CHUNK = 20_000


class Lists:
    """All lists of the account."""

    def __init__(self, store: Store, contacts: Contacts, delay_s: float) -> None:
        self._store = store
        self._contacts = contacts
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS lists (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE,"
            " kind TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL)",
            "CREATE TABLE IF NOT EXISTS memberships (list INTEGER, contact INTEGER, at REAL,"
            " PRIMARY KEY (list, contact)) WITHOUT ROWID",
            "CREATE INDEX IF NOT EXISTS memberships_of ON memberships (contact)",
        )

    # Lists

    def create(self, body: object, now: float) -> Answer:
        asked = body if isinstance(body, dict) else {}
        for name in ("name", "objectTypeId", "processingType"):
            if not isinstance(asked.get(name), str) or not asked[name].strip():
                raise Refused(not_json(f'Some required fields were not set: ["{name}"]'))
        if asked["processingType"] not in {*TAKES_CHANGES, "DYNAMIC"}:
            raise Refused(invalid("processingType must be one of MANUAL, SNAPSHOT, DYNAMIC"))
        if asked["objectTypeId"] != CONTACTS_TYPE:
            raise Refused(invalid("The simulator has lists of contacts only, objectTypeId 0-1"))
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM lists WHERE name = ?", (asked["name"],)).fetchone():
                text = "A list with this name already exists."
                raise Refused(invalid(text, sub_category="ILS.DUPLICATE_LIST_NAMES", context={"name": [asked["name"]]}))
            cursor = db.execute(
                "INSERT INTO lists (name, kind, created, updated) VALUES (?, ?, ?, ?)",
                (asked["name"], asked["processingType"], now, now),
            )
        return Answer(200, {"list": self.show(int(cursor.lastrowid or 0), now)})

    def find(self, name: str) -> int | None:
        found = self._store.row("SELECT id FROM lists WHERE name = ?", name)
        return None if found is None else int(found[0])

    def kind(self, list_id: str) -> str:
        """The processing type of a list; raises ``Refused`` when there is no such list."""
        known = list_id.isascii() and list_id.isdigit() and int(list_id) < 2**63
        found = self._store.row("SELECT kind FROM lists WHERE id = ?", int(list_id)) if known else None
        if found is None:
            raise Refused(no_such_list(list_id))
        return str(found[0])

    def show(self, list_id: int, now: float) -> dict[str, Any]:
        """A list as the API shows it, its size a little late."""
        found = self._store.row("SELECT name, kind, created, updated FROM lists WHERE id = ?", list_id)
        if found is None:
            raise Refused(no_such_list(str(list_id)))
        name, kind, created, updated = found
        size, _ = self._store.size_seen(list_id, now, self._delay_s)
        return {
            "listId": str(list_id),
            "listVersion": 1,
            "name": name,
            "objectTypeId": CONTACTS_TYPE,
            "processingType": kind,
            "processingStatus": "COMPLETE",
            "createdAt": iso(created),
            "updatedAt": iso(updated),
            "filtersUpdatedAt": iso(created),
            "createdById": "1",
            "updatedById": "1",
            "size": size,
        }

    def search(self, body: object, now: float) -> Answer:
        asked = body if isinstance(body, dict) else {}
        offset, count = asked.get("offset") or 0, asked.get("count") or 20
        if not isinstance(offset, int) or not isinstance(count, int) or offset < 0 or not 1 <= count <= 500:
            raise Refused(not_json("offset and count must be numbers, count at most 500"))
        wanted = f"%{asked.get('query') or ''}%"
        found = self._store.rows("SELECT id FROM lists WHERE name LIKE ? ORDER BY id", wanted)
        page = []
        for (list_id,) in found[offset : offset + count]:
            shown = self.show(list_id, now)
            page.append({**shown, "additionalProperties": {"hs_list_size": str(shown.pop("size"))}})
        more = offset + len(page) < len(found)
        return Answer(200, {"lists": page, "offset": offset + len(page), "hasMore": more, "total": len(found)})

    def delete(self, list_id: int) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM lists WHERE id = ?", (list_id,))
            db.execute("DELETE FROM memberships WHERE list = ?", (list_id,))
            db.execute("DELETE FROM sizes WHERE list = ?", (list_id,))

    # Memberships

    def change(self, list_id: str, add: list[str], remove: list[str], rejected: frozenset[int], now: float) -> Answer:
        """Add and remove records. ``rejected`` positions (in ``add``, then ``remove``) are treated as missing."""
        if self.kind(list_id) not in TAKES_CHANGES:
            text = f"List {list_id} is DYNAMIC; memberships can be changed in MANUAL and SNAPSHOT lists only."
            raise Refused(invalid(text, sub_category="ILS.INVALID_LIST_PROCESSING_TYPE"))
        if len(add) + len(remove) > MAX_RECORD_IDS:
            raise Refused(invalid(f"At most {MAX_RECORD_IDS} records can be changed at once"))
        asked = [*add, *remove]
        refused = {asked[position] for position in rejected if position < len(asked)}
        known = self._contacts.existing(
            int(each) for each in asked if each.isascii() and each.isdigit() and len(each) < 19
        )
        there = {str(contact) for contact in known} - refused
        with self._store.transaction() as db:
            before = {str(contact) for contact in self._members_among(db, int(list_id), asked)}
            added = [each for each in dict.fromkeys(add) if each in there and each not in before]
            removed = [each for each in dict.fromkeys(remove) if each in there and each in before]
            db.executemany(
                "INSERT INTO memberships VALUES (?, ?, ?)", [(int(list_id), int(each), now) for each in added]
            )
            db.executemany(
                "DELETE FROM memberships WHERE list = ? AND contact = ?",
                [(int(list_id), int(each)) for each in removed],
            )
            self.note_size(db, int(list_id), len(added) - len(removed), now)
        missing = [each for each in dict.fromkeys(asked) if each not in there]
        return Answer(200, {"recordsIdsAdded": added, "recordIdsRemoved": removed, "recordIdsMissing": missing})

    def clear(self, list_id: str, now: float) -> None:
        self.kind(list_id)
        with self._store.transaction() as db:
            cursor = db.execute("DELETE FROM memberships WHERE list = ?", (int(list_id),))
            self.note_size(db, int(list_id), -cursor.rowcount, now)

    def forget(self, contacts: Iterable[int], now: float) -> None:
        """Contacts that are gone leave every list."""
        with self._store.transaction() as db:
            for contact in contacts:
                for (list_id,) in db.execute("SELECT list FROM memberships WHERE contact = ?", (contact,)).fetchall():
                    self.note_size(db, list_id, -1, now)
                db.execute("DELETE FROM memberships WHERE contact = ?", (contact,))

    def page(self, list_id: str, after: str, limit: str) -> Answer:
        """``GET /memberships``: record ids in order, ``after`` being the last one read."""
        self.kind(list_id)
        if not _is_limit(limit) or not (after or "0").isdigit():
            raise Refused(invalid(f"limit must be from 1 to {MAX_PAGE}, and after a cursor"))
        found = self._store.rows(
            "SELECT contact, at FROM memberships WHERE list = ? AND contact > ? ORDER BY contact LIMIT ?",
            int(list_id),
            int(after or 0),
            int(limit) + 1,
        )
        shown = found[: int(limit)]
        results = [{"recordId": str(contact), "membershipTimestamp": iso(at)} for contact, at in shown]
        body: dict[str, Any] = {"results": results, "total": self.size(int(list_id))}
        if len(found) > len(shown):
            body["paging"] = {"next": {"after": str(shown[-1][0])}}
        return Answer(200, body)

    def page_in_join_order(self, list_id: str, after: str, limit: str) -> Answer:
        """``GET /memberships/join-order``: who came first comes first; ``after`` is a cursor that means nothing to others."""
        self.kind(list_id)
        place = _place(after)
        if not _is_limit(limit) or place is None:
            raise Refused(invalid(f"limit must be from 1 to {MAX_PAGE}, and after a cursor"))
        found = self._store.rows(
            "SELECT contact, at FROM memberships WHERE list = ? AND (at, contact) > (?, ?)"
            " ORDER BY at, contact LIMIT ?",
            int(list_id),
            *place,
            int(limit) + 1,
        )
        shown = found[: int(limit)]
        results = [{"recordId": str(contact), "membershipTimestamp": iso(at)} for contact, at in shown]
        body: dict[str, Any] = {"results": results, "total": self.size(int(list_id))}
        if len(found) > len(shown):
            contact, at = shown[-1]
            body["paging"] = {"next": {"after": urlsafe_b64encode(orjson.dumps([at, contact])).decode()}}
        return Answer(200, body)

    # For the inspection

    def all(self) -> list[tuple[int, str]]:
        return [(int(i), str(n)) for i, n in self._store.rows("SELECT id, name FROM lists ORDER BY id")]

    def size(self, list_id: int) -> int:
        found = self._store.row("SELECT count(*) FROM memberships WHERE list = ?", list_id)
        return 0 if found is None else int(found[0])

    def members(self, list_id: int, after: int, limit: int) -> list[tuple[int, str]]:
        found = self._store.rows(
            "SELECT c.id, c.properties FROM memberships m JOIN contacts c ON c.id = m.contact"
            " WHERE m.list = ? AND m.contact > ? ORDER BY m.contact LIMIT ?",
            list_id,
            after,
            limit,
        )
        return [(i, orjson.dumps({"id": str(i), **orjson.loads(held)}).decode()) for i, held in found]

    def values(self, list_id: int, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.members(list_id, after, CHUNK):
            after = page[-1][0]
            yield [str(row[wanted]) for row in (orjson.loads(text) for _, text in page) if wanted in row]

    def put(self, list_id: int, contacts: Iterable[int], now: float) -> int:
        known = self._contacts.existing(contacts)
        with self._store.transaction() as db:
            rows = [(list_id, contact, now) for contact in sorted(known)]
            count = db.executemany("INSERT OR IGNORE INTO memberships VALUES (?, ?, ?)", rows).rowcount
            self.note_size(db, list_id, max(0, count), now)
        return max(0, count)

    def note_size(self, db: sqlite3.Connection, list_id: int, change: int, now: float) -> None:
        found = db.execute(
            "SELECT size FROM sizes WHERE list = ? ORDER BY at DESC, rowid DESC LIMIT 1", (list_id,)
        ).fetchone()
        size = (found[0] if found else 0) + change
        self._store.note_size(db, list_id, now, size, size, self._delay_s)

    def _members_among(self, db: sqlite3.Connection, list_id: int, asked: Iterable[str]) -> list[int]:
        wanted = [int(each) for each in asked if each.isascii() and each.isdigit() and len(each) < 19]
        found = db.execute(
            "SELECT contact FROM memberships WHERE list = ? AND contact IN (SELECT value FROM json_each(?))",
            (list_id, orjson.dumps(wanted).decode()),
        )
        return [contact for (contact,) in found]


def _is_limit(text: str) -> bool:
    return text.isascii() and text.isdigit() and 1 <= int(text) <= MAX_PAGE


def _place(cursor: str) -> tuple[float, int] | None:
    """Where a page begins: after that time and contact. ``None``: not a cursor."""
    if not cursor:
        return 0.0, 0
    try:
        at, contact = orjson.loads(urlsafe_b64decode(cursor))
        return float(at), int(contact)
    except (ValueError, TypeError):
        return None


def read_record_ids(body: object) -> list[str]:
    """A JSON array of record ids, which are strings; raises ``Refused``."""
    if not isinstance(body, list) or not all(
        isinstance(each, str | int) and not isinstance(each, bool) for each in body
    ):
        raise Refused(not_json("the body must be an array of record ids"))
    return [str(each) for each in body]
