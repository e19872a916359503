"""What the simulators remember, in SQLite, one file per platform.

State survives a restart and a SIGKILL: a request is answered only after its transaction is committed, and committed
pages are the operating system's even when the process dies. ``synchronous=NORMAL`` keeps the file sound beyond that.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson


class Clock:
    """The simulators' time: the real one plus what a test has added, so that 90-minute windows can be tested."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "clock_offset"
        self._offset = float(self._path.read_text()) if self._path.exists() else 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time() + self._offset

    def advance(self, seconds: float) -> None:
        self.set_offset(self._offset + seconds)

    def set_offset(self, seconds: float) -> None:
        self._offset = seconds
        self._path.write_text(str(seconds))


class Store:
    """One SQLite file with one connection: requests take turns, as SQLite's writers do anyway."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._lock = threading.RLock()
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536", "wal_autocheckpoint=10000"):
            self._connection.execute(f"PRAGMA {pragma}")
        self.create(
            "CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
            "CREATE TABLE IF NOT EXISTS sizes (list INTEGER, at REAL, size INTEGER, matched INTEGER)",
            "CREATE INDEX IF NOT EXISTS sizes_by_list ON sizes (list, at)",
        )

    def create(self, *statements: str) -> None:
        with self._lock:
            for statement in statements:
                self._connection.execute(statement)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything inside is committed together, or not at all."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def rows(self, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

    def row(self, sql: str, *parameters: object) -> tuple[Any, ...] | None:
        with self._lock:
            found: tuple[Any, ...] | None = self._connection.execute(sql, parameters).fetchone()
            return found

    def setting(self, name: str, default: Any) -> Any:
        found = self.row("SELECT value FROM settings WHERE name = ?", name)
        return default if found is None else orjson.loads(found[0])

    def save_setting(self, name: str, value: Any) -> None:
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, orjson.dumps(value).decode()))

    def note_size(
        self, db: sqlite3.Connection, list_id: int, at: float, size: int, matched: int, delay_s: float
    ) -> None:
        """Remember the size of a list from ``at`` on; what is older than anybody may still see is forgotten."""
        db.execute(
            "DELETE FROM sizes WHERE list = ?1 AND at < (SELECT max(at) FROM sizes WHERE list = ?1 AND at <= ?2)",
            (list_id, at - delay_s),
        )
        db.execute("INSERT INTO sizes VALUES (?, ?, ?, ?)", (list_id, at, size, matched))

    def size_seen(self, list_id: int, now: float, delay_s: float) -> tuple[int, int]:
        """Size and matched people as the platform shows them: ``delay_s`` seconds late. (0, 0) before that."""
        found = self.row(
            "SELECT size, matched FROM sizes WHERE list = ? AND at <= ? ORDER BY at DESC, rowid DESC LIMIT 1",
            list_id,
            now - delay_s,
        )
        return (0, 0) if found is None else (int(found[0]), int(found[1]))

    def close(self) -> None:
        with self._lock:
            self._connection.close()
