"""Lists of members by a key of their own, for the platforms that are nobody's: the webhook's receiver, the JSON API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators.platform import Json
from audience_syncs.simulators.store import Store


class KeyedLists:
    """Lists, each with an account and a name; members are JSON objects by key."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS lists (id INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT, name TEXT, "
            "UNIQUE (account, name))",
            "CREATE TABLE IF NOT EXISTS members (n INTEGER PRIMARY KEY AUTOINCREMENT, list INTEGER, key TEXT, data TEXT, "
            "UNIQUE (list, key))",
        )

    def make(self, account: str, name: str) -> int:
        """The list of that name, made if there is none."""
        with self._store.transaction() as db:
            db.execute("INSERT OR IGNORE INTO lists (account, name) VALUES (?, ?)", (account, name))
            found = db.execute("SELECT id FROM lists WHERE account = ? AND name = ?", (account, name)).fetchone()
            return int(found[0])

    def find(self, account: str, name: str) -> int | None:
        found = self._store.row("SELECT id FROM lists WHERE account = ? AND name = ?", account, name)
        return None if found is None else int(found[0])

    def of(self, account: str) -> list[dict[str, Json]]:
        """The account's lists."""
        found = self._store.rows("SELECT id, name FROM lists WHERE account = ? ORDER BY id", account)
        return [{"id": str(number), "name": name} for number, name in found]

    def has(self, list_id: str, account: str | None = None) -> bool:
        if not (list_id.isascii() and list_id.isdigit() and len(list_id) < 18):
            return False
        found = self._store.row("SELECT account FROM lists WHERE id = ?", int(list_id))
        return found is not None and account in (None, found[0])

    def put(self, list_id: str, members: Mapping[str, Mapping[str, Json]]) -> None:
        rows = [(int(list_id), key, orjson.dumps(data).decode()) for key, data in members.items()]
        with self._store.transaction() as db:
            db.executemany(
                "INSERT INTO members (list, key, data) VALUES (?, ?, ?) "
                "ON CONFLICT (list, key) DO UPDATE SET data = excluded.data",
                rows,
            )

    def remove(self, list_id: str, keys: Sequence[str]) -> None:
        with self._store.transaction() as db:
            db.executemany("DELETE FROM members WHERE list = ? AND key = ?", [(int(list_id), key) for key in keys])

    def is_member(self, list_id: str, key: str) -> bool:
        return self._store.row("SELECT 1 FROM members WHERE list = ? AND key = ?", int(list_id), key) is not None

    def size(self, list_id: str) -> int:
        found = self._store.row("SELECT count(*) FROM members WHERE list = ?", int(list_id))
        return int(found[0]) if found else 0

    # Inspection

    def all(self) -> list[dict[str, Json]]:
        rows = self._store.rows(
            "SELECT id, name, account, (SELECT count(*) FROM members WHERE list = lists.id) FROM lists ORDER BY id"
        )
        return [{"id": str(row[0]), "name": row[1], "account": row[2], "size": row[3]} for row in rows]

    def page(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return [
            (int(row[0]), str(row[1]))
            for row in self._store.rows(
                "SELECT n, data FROM members WHERE list = ? AND n > ? ORDER BY n LIMIT ?", int(list_id), after, limit
            )
        ]

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.page(list_id, after, 20_000):
            after = page[-1][0]
            found: list[Any] = [orjson.loads(text).get(wanted) for _, text in page]
            yield [str(value) for value in found if value is not None]

    def delete(self, list_id: str) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM members WHERE list = ?", (int(list_id),))
            db.execute("DELETE FROM lists WHERE id = ?", (int(list_id),))

    def forget(self) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM members")
            db.execute("DELETE FROM lists")
