"""Braze's users: one person each, named by an external id, an alias, a Braze id, or found by email address or phone number.

Documented: an email address or phone number that several have means the user who was updated last, one with an external id before
others; null takes an attribute away; an attribute comes into being with its first value; a blocklisted one takes none, without a
word. Kept simple, and ours: an external id, once given, stays.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators.store import Store

CONTROL = {"external_id", "user_alias", "braze_id", "_update_existing_only", "push_token_import"}
TEXTS = {"first_name", "last_name", "gender", "dob", "country", "language", "home_city", "time_zone", "image_url"}
CONSENT = {"email_subscribe", "push_subscribe"}
FIELDS = {*TEXTS, *CONSENT, "email", "phone"}
CHUNK = 20_000
ACTIVE, BLOCKLISTED = "Active", "Blocklisted"


class Users:
    """All users of the one workspace there is, and the custom attributes they have."""

    def __init__(self, store: Store, delay_s: float) -> None:
        self._store = store
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS users (number INTEGER PRIMARY KEY AUTOINCREMENT, external_id TEXT UNIQUE,"
            " email TEXT, phone TEXT, held TEXT NOT NULL, updated REAL NOT NULL)",
            "CREATE INDEX IF NOT EXISTS users_by_email ON users (email)",
            "CREATE INDEX IF NOT EXISTS users_by_phone ON users (phone)",
            "CREATE TABLE IF NOT EXISTS aliases (name TEXT, label TEXT, user INTEGER, PRIMARY KEY (name, label)) WITHOUT ROWID",
            "CREATE TABLE IF NOT EXISTS attributes (number INTEGER PRIMARY KEY, name TEXT UNIQUE, type TEXT, status TEXT)",
            "CREATE TABLE IF NOT EXISTS flags (attribute INTEGER, user INTEGER, PRIMARY KEY (attribute, user)) WITHOUT ROWID",
        )

    def find(self, db: sqlite3.Connection, named: Mapping[str, Any]) -> list[int]:
        """The users so named, the one that Braze would take first."""
        if named.get("external_id") is not None:
            rows = db.execute("SELECT number FROM users WHERE external_id = ?", (named["external_id"],))
        elif named.get("user_alias") is not None:
            alias = named["user_alias"]
            rows = db.execute(
                "SELECT user FROM aliases WHERE name = ? AND label = ?", (alias["alias_name"], alias["alias_label"])
            )
        elif named.get("braze_id") is not None:
            rows = db.execute("SELECT number FROM users WHERE number = ?", (number_of(named["braze_id"]),))
        else:
            column = "email" if named.get("email") is not None else "phone"
            value = named.get(column)
            rows = db.execute(
                f"SELECT number FROM users WHERE {column} = ? ORDER BY external_id IS NULL, updated DESC, number DESC",
                (value.lower() if column == "email" and isinstance(value, str) else value,),
            )
        return [number for (number,) in rows.fetchall()]

    def write(self, db: sqlite3.Connection, given: Mapping[str, Any], now: float) -> None:
        """Makes or updates a user, as an object of /users/track says."""
        found = self.find(db, given)
        only_existing = given.get("_update_existing_only", given.get("user_alias") is not None)
        if not found and (only_existing or given.get("braze_id") is not None):
            return
        number = found[0] if found else self._made(db, given, now)
        (text,) = db.execute("SELECT held FROM users WHERE number = ?", (number,)).fetchone()
        held = orjson.loads(text)
        for name, value in given.items():
            if name in CONTROL:
                continue
            if name in FIELDS:
                held[name] = value.lower() if name == "email" and isinstance(value, str) else value
            else:
                self._set(db, number, held, name, value)
        held = {name: value for name, value in held.items() if value is not None}
        db.execute(
            "UPDATE users SET email = ?, phone = ?, held = ?, updated = ? WHERE number = ?",
            (held.get("email"), held.get("phone"), orjson.dumps(held).decode(), now, number),
        )

    def _made(self, db: sqlite3.Connection, given: Mapping[str, Any], now: float) -> int:
        cursor = db.execute(
            "INSERT INTO users (external_id, held, updated) VALUES (?, '{}', ?)", (given.get("external_id"), now)
        )
        number = int(cursor.lastrowid or 0)
        alias = given.get("user_alias")
        if alias is not None:
            db.execute("INSERT INTO aliases VALUES (?, ?, ?)", (alias["alias_name"], alias["alias_label"], number))
        return number

    def _set(self, db: sqlite3.Connection, number: int, held: dict[str, Any], name: str, value: Any) -> None:
        attribute, status = self.attribute(db, name, value)
        if status != ACTIVE:
            return
        held[name] = value
        if value is True:
            db.execute("INSERT OR IGNORE INTO flags VALUES (?, ?)", (attribute, number))
        else:
            db.execute("DELETE FROM flags WHERE attribute = ? AND user = ?", (attribute, number))

    def attribute(self, db: sqlite3.Connection, name: str, value: Any, status: str = ACTIVE) -> tuple[int, str]:
        """The attribute's number and status; made where there is none."""
        found = db.execute("SELECT number, status FROM attributes WHERE name = ?", (name,)).fetchone()
        if found is None:
            kind = next(word for kind, word in _TYPES if isinstance(value, kind))
            cursor = db.execute("INSERT INTO attributes (name, type, status) VALUES (?, ?, ?)", (name, kind, status))
            return int(cursor.lastrowid or 0), status
        return int(found[0]), str(found[1])

    def note_sizes(self, db: sqlite3.Connection, now: float) -> None:
        """Segments are counted late."""
        for number, size in db.execute(
            "SELECT a.number, count(f.user) FROM attributes a LEFT JOIN flags f ON f.attribute = a.number GROUP BY 1"
        ).fetchall():
            self._store.note_size(db, number, now, size, size, self._delay_s)

    def delete(self, db: sqlite3.Connection, named: Mapping[str, Any]) -> int:
        found = self.find(db, named)
        for number in found:
            for table, column in (("users", "number"), ("aliases", "user"), ("flags", "user")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))
        return len(found)

    def exported(self, number: int, wanted: Sequence[str]) -> dict[str, Any]:
        """What an export tells of a user: as little as there is."""
        found = self._store.row("SELECT external_id, held FROM users WHERE number = ?", number)
        external_id, held = (found[0], orjson.loads(found[1])) if found else (None, {})
        aliases = self._store.rows("SELECT name, label FROM aliases WHERE user = ?", number)
        told: dict[str, Any] = {name: value for name, value in held.items() if name in FIELDS}
        told |= {"braze_id": braze_id(number), "external_id": external_id}
        told["user_aliases"] = [{"alias_name": name, "alias_label": label} for name, label in aliases]
        told["custom_attributes"] = {name: value for name, value in held.items() if name not in FIELDS}
        return {name: value for name, value in told.items() if name in wanted and value not in (None, [], {})}

    # Attributes and who has them

    def attributes(self) -> list[dict[str, Any]]:
        found = self._store.rows("SELECT name, type, status FROM attributes ORDER BY name")
        return [
            {
                "name": name,
                "description": None,
                "data_type": kind,
                "array_length": 500 if kind == "Array" else None,
                "status": status,
                "tag_names": [],
            }
            for name, kind, status in found
        ]

    def flags(self) -> list[tuple[int, str]]:
        """Attributes that are audiences to marketers: each has a segment of its name."""
        return self._store.rows("SELECT number, name FROM attributes WHERE type = 'Boolean' AND status = ?", ACTIVE)

    def number(self, name: str) -> int:
        found = self._store.row("SELECT number FROM attributes WHERE name = ?", name)
        return int(found[0]) if found else 0

    def is_blocked(self, name: str) -> bool:
        return self._store.row("SELECT 1 FROM attributes WHERE name = ? AND status <> ?", name, ACTIVE) is not None

    def block(self, name: str) -> None:
        with self._store.transaction() as db:
            self.attribute(db, name, True, BLOCKLISTED)
            db.execute("UPDATE attributes SET status = ? WHERE name = ?", (BLOCKLISTED, name))

    def size(self, attribute: int) -> int:
        found = self._store.row("SELECT count(*) FROM flags WHERE attribute = ?", attribute)
        return int(found[0]) if found else 0

    def members(self, name: str, after: int, limit: int) -> list[tuple[int, str]]:
        found = self._store.rows(
            "SELECT u.number, u.external_id, u.held FROM flags f JOIN users u ON u.number = f.user "
            "WHERE f.attribute = ? AND f.user > ? ORDER BY f.user LIMIT ?",
            self.number(name),
            after,
            limit,
        )
        return [
            (number, orjson.dumps({"braze_id": braze_id(number), "external_id": own, **orjson.loads(held)}).decode())
            for number, own, held in found
        ]

    def values(self, name: str, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.members(name, after, CHUNK):
            after = page[-1][0]
            yield [value for _, text in page if (value := orjson.loads(text).get(wanted))]


def braze_id(number: int) -> str:
    return f"{number:024x}"


def number_of(name: object) -> int:
    """0 for what is no id of ours."""
    try:
        return int(name, 16) if isinstance(name, str) and len(name) == 24 else 0
    except ValueError:
        return 0


_TYPES: Sequence[tuple[type, str]] = [
    (bool, "Boolean"),
    (str, "String"),
    (int, "Number"),
    (float, "Number"),
    (list, "Array"),
    (object, "Object"),
]
