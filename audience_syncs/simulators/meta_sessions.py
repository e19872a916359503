"""Upload sessions of ``/users`` and ``/usersreplace``.

Documented: ``session_id`` is a positive int64, chosen by the caller, unique in the ad account; ``batch_seq`` counts
from 1; a session closes 90 minutes after its first batch, or with ``last_batch_flag``; the schema must not change
inside it; ``num_received`` is that of the whole session. For a replacement batch 1 must come first and only once.

Not documented, and our reading: on ``/users`` the batches may arrive in any order, since callers send them in
parallel; after the last batch only that same ``batch_seq`` is taken again, which is a caller who got no answer; one
session serves one audience.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

from audience_syncs.simulators.meta_errors import Refused, error, invalid_parameter, replacing
from audience_syncs.simulators.meta_people import Change
from audience_syncs.simulators.meta_rows import ReadRows
from audience_syncs.simulators.store import Store

WINDOW_S = 90 * 60
MAX_SESSION_ID = 2**63 - 1

USERS = "users"
REPLACE = "usersreplace"


@dataclass(frozen=True)
class Batch:
    """The ``session`` parameter of one request."""

    session_id: int
    sequence: int
    is_last: bool


def read_batch(session: object) -> Batch:
    """Read the ``session`` parameter; raises ``Refused``."""
    if not isinstance(session, dict):
        raise Refused(invalid_parameter("session must be an object"))
    session_id, sequence = _integer(session.get("session_id")), _integer(session.get("batch_seq"))
    last = session.get("last_batch_flag", False)
    if session_id is None or not 0 < session_id <= MAX_SESSION_ID:
        raise Refused(invalid_parameter("session_id must be a positive 64-bit integer"))
    if sequence is None or sequence < 1:
        raise Refused(invalid_parameter("batch_seq must be a positive integer, starting from 1"))
    return Batch(session_id, sequence, last is True or str(last).lower() in {"true", "1"})


class Sessions:
    """The sessions of all ad accounts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS sessions (account TEXT, session_id INTEGER, audience INTEGER, purpose TEXT,"
            " columns TEXT, started REAL, ended REAL, last_batch INTEGER, received INTEGER DEFAULT 0,"
            " invalid INTEGER DEFAULT 0, matched INTEGER DEFAULT 0, PRIMARY KEY (account, session_id))"
        )

    def admit(
        self, db: sqlite3.Connection, account: str, audience: int, batch: Batch, purpose: str, schema: str, now: float
    ) -> None:
        """Open or continue the session this batch is of; raises ``Refused`` when it cannot take the batch."""
        found = db.execute(
            "SELECT audience, purpose, columns, started, ended, last_batch FROM sessions"
            " WHERE account = ? AND session_id = ?",
            (account, batch.session_id),
        ).fetchone()
        if found is None:
            if purpose == REPLACE and batch.sequence != 1:
                raise Refused(replacing(1870147, "The first batch of the session, batch_seq 1, is missing."))
            db.execute(
                "INSERT INTO sessions (account, session_id, audience, purpose, columns, started)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (account, batch.session_id, audience, purpose, schema, now),
            )
            return
        of_audience, of_purpose, of_schema, started, ended, last_batch = found
        if of_audience != audience or of_purpose != purpose:
            raise Refused(invalid_parameter("session_id is in use for another upload of this ad account"))
        if of_schema != schema:
            raise Refused(invalid_parameter("schema must not change within a session"))
        if ended is not None and last_batch != batch.sequence:
            raise Refused(replacing(1870159, "The session has finished; start a new one."))
        if now - started > WINDOW_S:
            raise Refused(replacing(1870158, "The session timed out 90 minutes after its first batch."))
        if purpose == REPLACE and batch.sequence == 1 and ended is None:
            raise Refused(replacing(1870145, "An update of this audience is in progress.", transient=True))

    def book(
        self, db: sqlite3.Connection, account: str, batch: Batch, rows: ReadRows, change: Change, now: float
    ) -> tuple[int, int]:
        """Add a batch to its session; the session's rows received and invalid so far."""
        db.execute(
            "UPDATE sessions SET received = received + ?, invalid = invalid + ?, matched = matched + ?"
            " WHERE account = ? AND session_id = ?",
            (rows.received, rows.invalid, change.rows_matched, account, batch.session_id),
        )
        if batch.is_last:
            db.execute(
                "UPDATE sessions SET ended = ?, last_batch = ? WHERE account = ? AND session_id = ?",
                (now, batch.sequence, account, batch.session_id),
            )
        received, invalid = db.execute(
            "SELECT received, invalid FROM sessions WHERE account = ? AND session_id = ?", (account, batch.session_id)
        ).fetchone()
        return received, invalid

    def open_replacement(self, audience: int) -> tuple[int, float] | None:
        """Session id and start of the replacement under way, if there is one."""
        found = self._store.row(
            "SELECT session_id, started FROM sessions WHERE audience = ? AND purpose = ? AND ended IS NULL"
            " ORDER BY started DESC LIMIT 1",
            audience,
            REPLACE,
        )
        return None if found is None else (int(found[0]), float(found[1]))

    def end(self, db: sqlite3.Connection, audience: int, session_id: int, now: float) -> None:
        db.execute(
            "UPDATE sessions SET ended = ?, last_batch = -1 WHERE audience = ? AND session_id = ?",
            (now, audience, session_id),
        )

    def read(self, audience: int, session_id: str | None, now: float) -> list[dict[str, str]]:
        """The sessions of an audience as ``GET /{audience}/sessions`` shows them: every value a string."""
        found = self._store.rows(
            "SELECT session_id, started, ended, received, matched, invalid FROM sessions WHERE audience = ?1"
            " AND (?2 IS NULL OR session_id = CAST(?2 AS INTEGER)) ORDER BY started DESC",
            audience,
            session_id,
        )
        return [
            {
                "session_id": str(number),
                "stage": "uploading" if ended is None and now - started <= WINDOW_S else "finished",
                "progress": "100" if ended is not None else "50",
                "num_received": str(received),
                "num_matched": str(matched),
                "num_invalid_entries": str(invalid),
                "start_time": str(int(started)),
                "end_time": str(int(ended if ended is not None else started + WINDOW_S)),
            }
            for number, started, ended, received, matched, invalid in found
        ]


def not_now() -> Refused:
    """What ``/users`` answers while a replacement runs."""
    return Refused(replacing(1870145, "An update of this audience is in progress.", transient=True))


def missing(name: str) -> Refused:
    return Refused(error(194, f"(#194) Param {name} is required"))


def _integer(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
