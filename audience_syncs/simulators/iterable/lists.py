"""Iterable's lists and who is in them.

Documented: names need not be unique; all lists come at once, times in milliseconds; members come as text, a line each; the size
as well. A list that is dynamic is filled by Iterable itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from audience_syncs.simulators.iterable.answers import Refused, no_list
from audience_syncs.simulators.store import Store

CHUNK = 20_000


class Lists:
    """All lists of the project."""

    def __init__(self, store: Store, delay_s: float) -> None:
        self._store = store
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS lists (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, description TEXT,"
            " type TEXT, created REAL)",
            "CREATE TABLE IF NOT EXISTS memberships (list INTEGER, user INTEGER, PRIMARY KEY (list, user)) WITHOUT ROWID",
        )

    def make(self, name: object, description: object, now: float, kind: str = "Standard") -> int:
        if not isinstance(name, str) or not name:
            raise Refused(400, "BadParams", "name is required")
        with self._store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO lists (name, description, type, created) VALUES (?, ?, ?, ?)",
                (name, description if isinstance(description, str) else "", kind, now),
            )
            return int(cursor.lastrowid or 0)

    def all(self) -> list[dict[str, Any]]:
        return [
            {"id": number, "name": name, "description": description, "listType": kind, "createdAt": int(created * 1000)}
            for number, name, description, kind, created in self._store.rows(
                "SELECT number, name, description, type, created FROM lists ORDER BY number"
            )
        ]

    def number(self, told: object) -> int:
        """Raises Refused where there is no such list."""
        number = int(told) if isinstance(told, int | str) and str(told).isascii() and str(told).isdigit() else 0
        if number >= 2**63 or self._store.row("SELECT 1 FROM lists WHERE number = ?", number) is None:
            raise no_list(told)
        return number

    def static(self, told: object) -> int:
        number = self.number(told)
        if self._store.row("SELECT 1 FROM lists WHERE number = ? AND type = 'Dynamic'", number):
            raise Refused(400, "BadParams", "a dynamic list takes no subscribers")
        return number

    def delete(self, number: int) -> None:
        with self._store.transaction() as db:
            for table, column in (("lists", "number"), ("memberships", "list"), ("sizes", "list")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))

    def put(self, db: sqlite3.Connection, number: int, users: Iterable[int], now: float) -> None:
        db.executemany("INSERT OR IGNORE INTO memberships VALUES (?, ?)", [(number, user) for user in users])
        self._note(db, number, now)

    def take_out(self, db: sqlite3.Connection, number: int, users: Iterable[int], now: float) -> None:
        db.executemany("DELETE FROM memberships WHERE list = ? AND user = ?", [(number, user) for user in users])
        self._note(db, number, now)

    def _note(self, db: sqlite3.Connection, number: int, now: float) -> None:
        (size,) = db.execute("SELECT count(*) FROM memberships WHERE list = ?", (number,)).fetchone()
        self._store.note_size(db, number, now, size, size, self._delay_s)

    def size(self, number: int) -> int:
        found = self._store.row("SELECT count(*) FROM memberships WHERE list = ?", number)
        return int(found[0]) if found else 0

    def lines(self, number: int, *, prefer_user_id: bool) -> str:
        first, second = ("user_id", "email") if prefer_user_id else ("email", "user_id")
        found = self._store.rows(
            f"SELECT coalesce(u.{first}, u.{second}) FROM memberships m JOIN users u ON u.number = m.user "
            "WHERE m.list = ? ORDER BY u.number",
            number,
        )
        return "".join(f"{name}\n" for (name,) in found)

    def members(self, number: int, after: int, limit: int) -> list[tuple[int, str]]:
        found = self._store.rows(
            "SELECT u.number, u.email, u.user_id, u.fields FROM memberships m JOIN users u ON u.number = m.user "
            "WHERE m.list = ? AND m.user > ? ORDER BY m.user LIMIT ?",
            number,
            after,
            limit,
        )
        return [
            (user, orjson.dumps({**orjson.loads(fields), "email": email, "userId": user_id}).decode())
            for user, email, user_id, fields in found
        ]

    def values(self, number: int, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.members(number, after, CHUNK):
            after = page[-1][0]
            yield [value for _, text in page if (value := orjson.loads(text).get(wanted))]
