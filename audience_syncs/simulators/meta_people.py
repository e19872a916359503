"""Who is in which Meta audience. Meta's lists hold *people*, not rows, and this is the part of it that matters to us.

A row is resolved to a person by the identifier of highest precedence it carries: EMAIL, then PHONE, MADID, EXTERN_ID.
Each identifier of an added row becomes known, in its ad account, as the person's, and belongs to whoever brought it
last; so a later row with only a phone or only an EXTERN_ID finds the person it was last seen with. Adding somebody
who is in the list merges; removing resolves the same way, and nobody found is no error.

Where the row's best identifier is new, the row may still be a person known by less: a person first seen by phone
alone, and now seen with an email too, is one person. That holds only if the identifier in question is the best one
this person ever had; two rows that share a phone but not an email are two people.

EXTERN_ID (documented): lower precedence than personal data, forgotten 90 days after it was last seen, worth nothing
in another ad account. A row with only an EXTERN_ID never seen before is kept here, but never counts as matched.

The identifiers are looked up in memory (some 500 bytes for a person with three of them) because that is what takes a
million members in seconds; the truth is in SQLite, only ever appended to in bulk, and read back at the start.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from audience_syncs.simulators.store import Store

PRECEDENCE = ("EMAIL", "PHONE", "MADID", "EXTERN_ID")
EXTERN_ID = PRECEDENCE.index("EXTERN_ID")
BY_OTHER_KEYS = len(PRECEDENCE)
"""Rank of a person known only by name, birth date, place: all their values together are the identifier."""

EXTERN_ID_DAYS = 90
MATCH_PERCENT = 80
CHUNK = 20_000

Row = dict[str, Any]
Identifier = tuple[int, int]
"""Rank of the kind, and the value folded to 63 bits together with its kind and account."""


@dataclass(frozen=True)
class Change:
    """What a request did to a list: people who came or left, and how many of the rows Meta recognised."""

    size: int = 0
    matched: int = 0
    rows_matched: int = 0


class People:
    """Everybody Meta knows of, and the members of each list. Callers serialise access."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS members"
            " (n INTEGER PRIMARY KEY, list INTEGER NOT NULL, person INTEGER NOT NULL, held TEXT NOT NULL)",
            "CREATE TABLE IF NOT EXISTS seen"
            " (n INTEGER PRIMARY KEY, rank INTEGER NOT NULL, key INTEGER NOT NULL, entry INTEGER NOT NULL)",
        )
        self.load()

    def load(self) -> None:
        """Read what SQLite holds into memory."""
        self._known: dict[int, int] = {}
        self._best = bytearray()
        self._members: dict[int, dict[int, int]] = {}
        self._last_n = 0
        with self._store.transaction() as db:
            for rank, key, entry in db.execute("SELECT rank, key, entry FROM seen ORDER BY n"):
                self._known[key] = entry
                self._note_rank(entry >> 16, rank)
            for n, list_id, person in db.execute("SELECT n, list, person FROM members ORDER BY n"):
                self._members.setdefault(list_id, {})[person] = n
                self._last_n = n

    # Changing a list

    def add(self, db: sqlite3.Connection, account: str, list_id: int, rows: Iterable[Row], day: int) -> Change:
        """Put the people of the rows into the list; rows that are one person are merged, the later value of a key wins."""
        salts = _salts(account)
        news: dict[int, int] = {}
        seen: list[tuple[int, int, int]] = []
        held: dict[int, Row] = {}
        for row in rows:
            identifiers = _identifiers(row, salts)
            person = self._resolve(identifiers, news, day)
            if person is None:
                person = len(self._best)
                self._best.append(identifiers[0][0])
            entry = person << 16 | day
            for rank, key in identifiers:
                known = news.get(key) or self._known.get(key)
                if known is None or known >> 16 != person or (rank == EXTERN_ID and known != entry):
                    news[key] = entry
                    seen.append((rank, key, entry))
                self._note_rank(person, rank)
            held[person] = {**held.get(person, {}), **row}
        members = self._members.setdefault(list_id, {})
        arrived = [person for person in held if person not in members]
        numbers = dict(zip(arrived, range(self._last_n + 1, self._last_n + 1 + len(arrived)), strict=True))
        db.executemany("INSERT INTO seen (rank, key, entry) VALUES (?, ?, ?)", seen)
        db.executemany(
            "INSERT INTO members VALUES (?, ?, ?, ?)",
            [(n, list_id, person, orjson.dumps(held[person]).decode()) for person, n in numbers.items()],
        )
        db.executemany(
            "UPDATE members SET held = json_patch(held, ?) WHERE n = ?",
            [(orjson.dumps(row).decode(), members[who]) for who, row in held.items() if who not in numbers],
        )
        self._known.update(news)
        members.update(numbers)
        self._last_n += len(numbers)
        return Change(len(arrived), self._count_matched(arrived), self._count_matched(held))

    def remove(
        self, db: sqlite3.Connection, account: str, list_ids: Iterable[int], rows: Iterable[Row], day: int
    ) -> dict[int, Change]:
        """Take the people of the rows out of the lists. Who is not in a list is passed over."""
        salts = _salts(account)
        found = {self._resolve(_identifiers(row, salts), {}, day) for row in rows} - {None}
        changes = {}
        for list_id in list_ids:
            members = self._members.get(list_id, {})
            leaving = [person for person in found if person is not None and person in members]
            db.executemany("DELETE FROM members WHERE n = ?", [(members.pop(person),) for person in leaving])
            matched = self._count_matched(leaving)
            changes[list_id] = Change(-len(leaving), -matched, matched)
        return changes

    def replace(self, db: sqlite3.Connection, list_id: int, staged: int) -> None:
        """Make the members of ``staged`` those of the list, in place of the ones it has."""
        self.clear(db, list_id)
        db.execute("UPDATE members SET list = ? WHERE list = ?", (list_id, staged))
        self._members[list_id] = self._members.pop(staged, {})

    def clear(self, db: sqlite3.Connection, list_id: int) -> None:
        db.execute("DELETE FROM members WHERE list = ?", (list_id,))
        self._members.pop(list_id, None)

    # Reading a list

    def size(self, list_id: int) -> int:
        return len(self._members.get(list_id, ()))

    def matched(self, list_id: int) -> int:
        """How many of the list Meta has an account for."""
        return self._count_matched(self._members.get(list_id, ()))

    def page(self, list_id: int, after: int, limit: int) -> list[tuple[int, str]]:
        """Members as held, as JSON text, in the order they came in."""
        return self._store.rows(
            "SELECT n, held FROM members WHERE list = ? AND n > ? ORDER BY n LIMIT ?", list_id, after, limit
        )

    def values(self, list_id: int, key: str) -> Iterator[list[str]]:
        after = 0
        while page := self.page(list_id, after, CHUNK):
            after = page[-1][0]
            yield [str(row[key]) for row in (orjson.loads(held) for _, held in page) if key in row]

    # Who is who

    def _resolve(self, identifiers: Sequence[Identifier], news: dict[int, int], day: int) -> int | None:
        for position, (rank, key) in enumerate(identifiers):
            entry = news.get(key) or self._known.get(key)
            if entry is None or (rank == EXTERN_ID and day - (entry & 0xFFFF) > EXTERN_ID_DAYS):
                continue
            person = entry >> 16
            if position == 0 or self._best[person] == rank:
                return person
        return None

    def _note_rank(self, person: int, rank: int) -> None:
        if person >= len(self._best):
            self._best.extend(b"\xff" * (person + 1 - len(self._best)))
        if rank < self._best[person]:
            self._best[person] = rank

    def _count_matched(self, people: Iterable[int]) -> int:
        best = self._best
        return sum(1 for person in people if best[person] != EXTERN_ID and person * 37 % 100 < MATCH_PERCENT)


def _salts(account: str) -> list[int]:
    """One number per kind of identifier, so that equal values of different kinds or accounts differ when folded."""
    kinds = (*PRECEDENCE, "OTHER")
    return [int.from_bytes(blake2b(f"{account}:{kind}".encode(), digest_size=8).digest()) >> 1 for kind in kinds]


def _identifiers(row: Row, salts: Sequence[int]) -> list[Identifier]:
    """The row's identifiers, best first. SHA-256 values are folded by their first 63 bits, others by hashing."""
    found = []
    for rank, kind in enumerate(PRECEDENCE):
        value = row.get(kind)
        if value is None:
            continue
        folded = int(value[:16], 16) >> 1 if rank < 2 else _fold(str(value))
        found.append((rank, folded ^ salts[rank]))
    return found or [(BY_OTHER_KEYS, _fold(repr(sorted(row.items()))) ^ salts[BY_OTHER_KEYS])]


def _fold(value: str) -> int:
    return int.from_bytes(blake2b(value.encode(), digest_size=8).digest()) >> 1
