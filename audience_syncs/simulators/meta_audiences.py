"""Meta's custom audiences as objects: created, listed, read with ``fields``, deleted.

Sizes are shown the way Meta shows them: late, as a rounded range, and never below a floor of 1,000, so that nobody can
tell whether one person is in a list. Codes of ``operation_status`` and ``delivery_status``: Custom Audience reference.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from audience_syncs.simulators.meta_errors import Refused, error, invalid_parameter
from audience_syncs.simulators.meta_people import Change
from audience_syncs.simulators.store import Store

FIRST_ID = 120_200_000_000_010_001
SOURCES = {"USER_PROVIDED_ONLY", "PARTNER_PROVIDED_ONLY", "BOTH_USER_AND_PARTNER_PROVIDED"}
MAX_AUDIENCES = 500
SIZE_FLOOR = 1_000
SMALL_AUDIENCE = 100
KEPT = [
    "description",
    "customer_file_source",
    "audience_labels",
    "retention_days",
    "is_value_based",
    "usage_restriction",
    "allowed_domains",
    "rule",
]
FIELDS = {
    *KEPT,
    *[
        "id",
        "account_id",
        "name",
        "subtype",
        "time_created",
        "time_updated",
        "time_content_updated",
        "operation_status",
        "delivery_status",
        "approximate_count_lower_bound",
        "approximate_count_upper_bound",
        "fields_violating_integrity_policy",
        "permission_for_actions",
        "data_source",
    ],
}
STATUSES = {
    200: "Normal",
    410: "No data has been uploaded",
    412: "Many of the uploaded entries are invalid",
    414: "A replacement is in progress",
    415: "The replacement did not finish",
}


class Audiences:
    """The custom audiences of all ad accounts."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS audiences (id INTEGER PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL,"
            " subtype TEXT NOT NULL, kept TEXT NOT NULL, created REAL, updated REAL, content_updated REAL,"
            " status INTEGER NOT NULL DEFAULT 410)"
        )

    def create(self, account: str, asked: Mapping[str, Any], now: float) -> int:
        """Create an audience; its id. Raises ``Refused``."""
        name, source = asked.get("name"), asked.get("customer_file_source")
        subtype = asked.get("subtype")
        if not isinstance(name, str) or not name.strip():
            raise Refused(error(100, "(#100) The parameter name is required"))
        if subtype != "CUSTOM":
            raise Refused(invalid_parameter("subtype must be CUSTOM for a customer file audience"))
        if source not in SOURCES:
            raise Refused(invalid_parameter(f"customer_file_source must be one of {', '.join(sorted(SOURCES))}"))
        retention = asked.get("retention_days")
        if retention is not None and not (str(retention).isdigit() and 1 <= int(retention) <= 180):
            raise Refused(invalid_parameter("retention_days must be from 1 to 180"))
        kept = {key: asked[key] for key in KEPT if key in asked}
        with self._store.transaction() as db:
            (count,) = db.execute("SELECT count(*) FROM audiences WHERE account = ?", (account,)).fetchone()
            if count >= MAX_AUDIENCES:
                raise Refused(invalid_parameter(f"An ad account has at most {MAX_AUDIENCES} customer file audiences"))
            (last,) = db.execute("SELECT max(id) FROM audiences").fetchone()
            last = max(last or 0, self._setting(db))
            audience = FIRST_ID if last == 0 else last + 10
            db.execute("INSERT OR REPLACE INTO settings VALUES ('last_audience', ?)", (str(audience),))
            db.execute(
                "INSERT INTO audiences (id, account, name, subtype, kept, created, updated) VALUES (?,?,?,?,?,?,?)",
                (audience, account, name, subtype, orjson.dumps(kept).decode(), now, now),
            )
        return audience

    def account_of(self, audience: str) -> str | None:
        """The ad account of an audience; ``None`` when there is no such audience."""
        if not (audience.isascii() and audience.isdigit()) or int(audience) >= 2**63:
            return None
        found = self._store.row("SELECT account FROM audiences WHERE id = ?", int(audience))
        return None if found is None else str(found[0])

    def of_account(self, account: str, after: int, limit: int) -> list[int]:
        found = self._store.rows(
            "SELECT id FROM audiences WHERE account = ? AND id > ? ORDER BY id LIMIT ?", account, after, limit
        )
        return [int(audience) for (audience,) in found]

    def all(self) -> list[tuple[int, str, str]]:
        """Id, name and account of every audience."""
        return [
            (int(i), str(n), str(a))
            for i, n, a in self._store.rows("SELECT id, name, account FROM audiences ORDER BY id")
        ]

    def delete(self, db: sqlite3.Connection, audience: int) -> None:
        db.execute("DELETE FROM audiences WHERE id = ?", (audience,))
        db.execute("DELETE FROM sizes WHERE list = ?", (audience,))

    def note_change(
        self, db: sqlite3.Connection, audience: int, change: Change, now: float, delay_s: float, status: int | None
    ) -> None:
        """Remember that the members changed, for the sizes and times Meta will show."""
        found = db.execute(
            "SELECT size, matched FROM sizes WHERE list = ? ORDER BY at DESC, rowid DESC LIMIT 1", (audience,)
        ).fetchone()
        size, matched = found or (0, 0)
        self._store.note_size(db, audience, now, size + change.size, matched + change.matched, delay_s)
        db.execute(
            "UPDATE audiences SET content_updated = ?, status = coalesce(?, status) WHERE id = ?",
            (now, status, audience),
        )

    def set_status(self, db: sqlite3.Connection, audience: int, status: int) -> None:
        db.execute("UPDATE audiences SET status = ? WHERE id = ?", (status, audience))

    def show(self, audience: int, fields: Iterable[str], now: float, delay_s: float) -> dict[str, Any]:
        """An audience with the fields asked for, and always its id. Raises ``Refused`` for an unknown field."""
        found = self._store.row(
            "SELECT account, name, subtype, kept, created, updated, content_updated, status"
            " FROM audiences WHERE id = ?",
            audience,
        )
        if found is None:
            return {}
        account, name, subtype, kept, created, updated, content_updated, status = found
        _, matched = self._store.size_seen(audience, now, delay_s)
        lower, upper = shown_range(matched)
        ready = {"code": 200, "description": "This audience is ready for use."}
        small = {"code": 300, "description": "This audience is too small to be used."}
        full = {
            **orjson.loads(kept),
            "id": str(audience),
            "account_id": account,
            "name": name,
            "subtype": subtype,
            "time_created": int(created),
            "time_updated": int(updated),
            "time_content_updated": int(content_updated or created),
            "operation_status": {"code": status, "description": STATUSES[status]},
            "delivery_status": ready if matched >= SMALL_AUDIENCE else small,
            "approximate_count_lower_bound": lower,
            "approximate_count_upper_bound": upper,
            "data_source": {"type": "FILE_IMPORTED", "sub_type": "ANYTHING"},
        }
        wanted = [name for name in fields if name]
        for name in wanted:
            if name not in FIELDS:
                raise Refused(
                    error(100, f"(#100) Tried accessing nonexisting field ({name}) on node type (CustomAudience)")
                )
        return {name: full[name] for name in dict.fromkeys([*wanted, "id"]) if name in full}

    def _setting(self, db: sqlite3.Connection) -> int:
        found = db.execute("SELECT value FROM settings WHERE name = 'last_audience'").fetchone()
        return 0 if found is None else int(found[0])


def shown_range(matched: int) -> tuple[int, int]:
    """The bounds Meta shows for a number of matched people: two digits of it, and a sixth more; a floor below."""
    if matched < SIZE_FLOOR:
        return SIZE_FLOOR, SIZE_FLOOR
    unit = 10 ** (len(str(matched)) - 2)
    lower = matched // unit * unit
    return lower, (lower * 7 // 6) // unit * unit
