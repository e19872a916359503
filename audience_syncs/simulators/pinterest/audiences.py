"""Pinterest's audiences, as far as they are made of customer lists (OpenAPI description 5.28.0: AdAccountsAudience)."""

from __future__ import annotations

from typing import Any

from audience_syncs.simulators.pinterest.errors import Refused, invalid
from audience_syncs.simulators.pinterest.lists import SMALL, Lists, list_id
from audience_syncs.simulators.store import Store

FIRST_ID = 2_542_000_000_000


class Audiences:
    """All audiences. Callers serialise access."""

    def __init__(self, store: Store, lists: Lists) -> None:
        self._store = store
        self._lists = lists
        store.create(
            "CREATE TABLE IF NOT EXISTS audiences (number INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT NOT NULL,"
            " name TEXT NOT NULL, description TEXT, list INTEGER NOT NULL, created INTEGER NOT NULL)",
        )

    def create(self, account: str, body: object, now: float) -> dict[str, Any]:
        asked = body if isinstance(body, dict) else {}
        name, rule = asked.get("name"), asked.get("rule")
        if not isinstance(name, str) or not name:
            raise Refused(invalid("name is required"))
        if asked.get("audience_type") != "CUSTOMER_LIST" or not isinstance(rule, dict):
            raise Refused(invalid("audience_type must be CUSTOMER_LIST, with a rule"))
        number = self._lists.number(str(rule.get("customer_list_id")), account)
        with self._store.transaction() as db:
            made = db.execute(
                "INSERT INTO audiences (account, name, description, list, created) VALUES (?, ?, ?, ?, ?)",
                (account, name, asked.get("description"), number, int(now)),
            ).lastrowid
        return self._show(made or 0, now)

    def page(self, account: str, after: int, most: int, now: float) -> tuple[list[dict[str, Any]], int | None]:
        found = self._store.rows(
            "SELECT number FROM audiences WHERE account = ? AND number > ? ORDER BY number LIMIT ?",
            account,
            after,
            most + 1,
        )
        numbers = [number for (number,) in found]
        shown = [self._show(number, now) for number in numbers[:most]]
        return shown, (numbers[most - 1] if len(numbers) > most else None)

    def _show(self, number: int, now: float) -> dict[str, Any]:
        account, name, description, of_list, created = self._store.rows(
            "SELECT account, name, description, list, created FROM audiences WHERE number = ?", number
        )[0]
        size = self._lists.matched(of_list, now)
        status = "READY" if size >= SMALL else "TOO_SMALL" if size else "INITIALIZING"
        return {
            "ad_account_id": account,
            "audience_type": "CUSTOMER_LIST",
            "created_timestamp": created,
            "description": description or "",
            "id": str(FIRST_ID + number),
            "name": name,
            "rule": {"customer_list_id": list_id(of_list)},
            "size": size,
            "status": status,
            "type": "audience",
            "updated_timestamp": created,
        }
