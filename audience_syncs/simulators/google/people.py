"""Whom identifiers find, and who is in which list. Google keeps accounts in a list, not what was uploaded.

Published: people are matched by any of their identifiers, an address by all of its parts at once. Not published, and ours: an email
is an account of its own; a phone number or an address is that of the account it was last uploaded with, or an account of its own
until it comes with an email; a record without an email finds the account of its first phone number or address. A removal takes out
the accounts of all identifiers in the record. A membership ends when the list's duration has passed since it was last uploaded.

What a list shows of a member is what was uploaded for them since they came in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson

from audience_syncs.simulators.store import Store

CHUNK = 20_000
MATCH_PERCENT = 80
EMAIL, PHONE, ADDRESS = "email", "phone", "address"
Identifiers = Sequence[tuple[str, str]]
"""Kind and value."""


class People:
    """Everybody, and the members of all lists. Callers serialise access."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS identifiers (kind TEXT, value TEXT, person INTEGER, PRIMARY KEY (kind, value))"
            " WITHOUT ROWID",
            "CREATE INDEX IF NOT EXISTS identifiers_by_person ON identifiers (person)",
            "CREATE TABLE IF NOT EXISTS members (n INTEGER PRIMARY KEY AUTOINCREMENT, list INTEGER NOT NULL,"
            " person INTEGER NOT NULL, held TEXT NOT NULL, at REAL NOT NULL, UNIQUE (list, person))",
            "CREATE INDEX IF NOT EXISTS members_by_person ON members (person)",
        )

    # Changing lists

    def add(self, db: sqlite3.Connection, number: int, rows: Iterable[Identifiers], now: float) -> None:
        for row in rows:
            emails = [value for kind, value in row if kind == EMAIL]
            others = [(kind, value) for kind, value in row if kind != EMAIL]
            person = self._first(db, emails, others)
            for kind, value in others:
                self._bind(db, kind, value, person)
            held = dict(reversed(others))
            if emails:
                held[EMAIL] = emails[0]
            self._join(db, number, person, held, now)
            for email in emails[1:]:
                another = self._known(db, EMAIL, email)
                if another is None:
                    another = self._next(db)
                    self._bind(db, EMAIL, email, another)
                if another != person:
                    self._join(db, number, another, {EMAIL: email}, now)

    def remove(self, db: sqlite3.Connection, number: int, rows: Iterable[Identifiers]) -> None:
        for row in rows:
            for kind, value in row:
                person = self._known(db, kind, value)
                if person is not None:
                    db.execute("DELETE FROM members WHERE list = ? AND person = ?", (number, person))

    def clear(self, db: sqlite3.Connection, number: int, before: float | None = None) -> None:
        """Takes everybody out, or those last uploaded before a moment."""
        db.execute("DELETE FROM members WHERE list = ? AND (?2 IS NULL OR at < ?2)", (number, before))

    def _first(self, db: sqlite3.Connection, emails: Sequence[str], others: Identifiers) -> int:
        """The account of a record."""
        if not emails:
            found = self._known(db, *others[0])
            return self._next(db) if found is None else found
        person = self._known(db, EMAIL, emails[0])
        if person is None:
            without_email = [
                found for each in others if (found := self._known(db, *each)) and not self._has_email(db, found)
            ]
            person = without_email[0] if without_email else self._next(db)
            self._bind(db, EMAIL, emails[0], person)
        return person

    def _bind(self, db: sqlite3.Connection, kind: str, value: str, person: int) -> None:
        before = self._known(db, kind, value)
        if before is not None and before != person and not self._has_email(db, before):
            # It was an account known by less: the same one, as shows now.
            db.execute("UPDATE OR IGNORE members SET person = ? WHERE person = ?", (person, before))
            db.execute("DELETE FROM members WHERE person = ?", (before,))
            db.execute("UPDATE identifiers SET person = ? WHERE person = ?", (person, before))
        db.execute("INSERT OR REPLACE INTO identifiers VALUES (?, ?, ?)", (kind, value, person))

    def _join(self, db: sqlite3.Connection, number: int, person: int, held: Mapping[str, str], now: float) -> None:
        shown = orjson.dumps(held).decode()
        db.execute(
            "INSERT INTO members (list, person, held, at) VALUES (?, ?, ?, ?) ON CONFLICT (list, person)"
            " DO UPDATE SET held = json_patch(held, excluded.held), at = excluded.at",
            (number, person, shown, now),
        )

    def _known(self, db: sqlite3.Connection, kind: str, value: str) -> int | None:
        found = db.execute("SELECT person FROM identifiers WHERE kind = ? AND value = ?", (kind, value)).fetchone()
        return None if found is None else int(found[0])

    def _has_email(self, db: sqlite3.Connection, person: int) -> bool:
        return (
            db.execute("SELECT 1 FROM identifiers WHERE person = ? AND kind = ?", (person, EMAIL)).fetchone()
            is not None
        )

    def _next(self, db: sqlite3.Connection) -> int:
        (last,) = db.execute("SELECT coalesce(max(person), 0) FROM identifiers").fetchone()
        (last_member,) = db.execute("SELECT coalesce(max(person), 0) FROM members").fetchone()
        return max(int(last), int(last_member)) + 1

    # Reading a list

    def size(self, number: int) -> int:
        found = self._store.row("SELECT count(*) FROM members WHERE list = ?", number)
        return int(found[0]) if found else 0

    def page(self, number: int, after: int, limit: int) -> list[tuple[int, str]]:
        return [
            (int(n), str(held))
            for n, held in self._store.rows(
                "SELECT n, held FROM members WHERE list = ? AND n > ? ORDER BY n LIMIT ?", number, after, limit
            )
        ]

    def values(self, number: int, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.page(number, after, CHUNK):
            after = page[-1][0]
            yield [str(found[wanted]) for found in (orjson.loads(held) for _, held in page) if wanted in found]
