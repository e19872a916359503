"""Customer lists and their items.

Documented: a list has a scope with its parent, a name of at most 128 characters, a description of 1,024, a duration of 1 to 390
days (30 unless it is said); one call takes 1,000 items of one kind, email addresses as lower-case hashes; sizes are null until
they are computed. Found by others at real accounts: a duration of -1 is for ever, an empty array of ids is refused.

Ours: names are unique under one parent, whatever their case; an item that is added again stays as long as a new one; four of
five addresses are recognised, and half of those in the audience network.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators.microsoft.errors import Refused, batch_error, fault
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

FIRST_ID = 800_100_001
KIND = "CustomerList"
OTHER_KINDS = {"RemarketingList", "Custom", "InMarket", "Product", "SimilarRemarketingList", "CombinedList", "None"}
MOST_ITEMS = 1_000
MOST_IDS = 100
NAMES = {"Email": "email", "CRM": "crm_id"}
CHUNK = 20_000
HASH = re.compile(r"[0-9a-f]{64}").fullmatch
DAY_S = 86_400


class Lists:
    """The customer lists of all accounts."""

    def __init__(self, store: Store, delay_s: float) -> None:
        self._store = store
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS lists (id INTEGER PRIMARY KEY, account TEXT NOT NULL, parent TEXT NOT NULL,"
            " scope TEXT NOT NULL, name TEXT NOT NULL, description TEXT, days INTEGER NOT NULL)",
            "CREATE TABLE IF NOT EXISTS items (number INTEGER PRIMARY KEY AUTOINCREMENT, list INTEGER NOT NULL,"
            " kind TEXT NOT NULL, value TEXT NOT NULL, until REAL, UNIQUE (list, kind, value))",
        )

    # Lists

    def create(self, audiences: object, account: str, customer: str, *, terms: bool) -> Answer:
        if not isinstance(audiences, list) or not audiences:
            raise Refused(fault(203, details="Audiences"))
        if len(audiences) > MOST_IDS:
            raise Refused(fault(4850))
        ids: list[str | None] = []
        problems = []
        for index, asked in enumerate(audiences):
            code, field = self._wrong(asked, account, customer) if terms else (8003, None)
            ids.append(None if code else str(self._insert(asked, account)))
            if code:
                problems.append(batch_error(code, index, field))
        return Answer(200, {"AudienceIds": ids, "PartialErrors": problems})

    def _wrong(self, asked: Any, account: str, customer: str) -> tuple[int, str | None]:
        """The code of what is wrong with a list that is to be made, and the field; 0 where nothing is."""
        if not isinstance(asked, dict) or asked.get("Type") != KIND:
            return 4859, "Type"
        name, days, scope = asked.get("Name"), asked.get("MembershipDuration", 30), asked.get("Scope")
        parents = {"Account": account, "Customer": customer}
        checks = (
            (4847, "Id", asked.get("Id") is None),
            (4838, "Name", isinstance(name, str) and 0 < len(name.strip()) <= 128),
            (4841, "Description", len(asked.get("Description") or "") <= 1_024),
            (4842, "MembershipDuration", isinstance(days, int) and (days == -1 or 1 <= days <= 390)),
            (4849, "Scope", scope in parents),
            (4848, "ParentId", str(asked.get("ParentId") or "").isdigit()),
            (4843, "ParentId", parents.get(str(scope)) == str(asked.get("ParentId"))),
        )
        for code, field, is_right in checks:
            if not is_right:
                return code, field
        taken = self._store.row(
            "SELECT 1 FROM lists WHERE parent = ? AND lower(name) = lower(?)", parents[str(scope)], str(name).strip()
        )
        return (4853, "Name") if taken else (0, None)

    def _insert(self, asked: Mapping[str, Any], account: str) -> int:
        last = self._store.setting("last_list", FIRST_ID)
        self._store.save_setting("last_list", last + 1)
        with self._store.transaction() as db:
            db.execute(
                "INSERT INTO lists VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    last,
                    account,
                    str(asked["ParentId"]),
                    asked["Scope"],
                    asked["Name"].strip(),
                    asked.get("Description"),
                    asked.get("MembershipDuration", 30),
                ),
            )
        return int(last)

    def query(self, body: Mapping[str, Any], account: str, customer: str, now: float) -> Answer:
        kinds = set(str(body.get("Type") or "").replace(",", " ").split())
        if not kinds or kinds - OTHER_KINDS - {KIND, "ImpressionBasedRemarketingList", "CustomSegment"}:
            raise Refused(fault(4859))
        wanted = body.get("AudienceIds")
        if wanted is None:
            found = self._visible(account, customer) if KIND in kinds else []
            return Answer(200, {"Audiences": [self._show(each, now) for each in found], "PartialErrors": []})
        if not isinstance(wanted, list) or not wanted:
            raise Refused(fault(4851))
        if len(wanted) > MOST_IDS:
            raise Refused(fault(4852))
        there = set(self._visible(account, customer))
        audiences: list[Any] = []
        problems = []
        for index, each in enumerate(wanted):
            known = number(str(each)) in there
            audiences.append(self._show(number(str(each)), now) if known and KIND in kinds else None)
            if audiences[-1] is None:
                problems.append(batch_error(4861 if known else 4835, index, "AudienceIds"))
        return Answer(200, {"Audiences": audiences, "PartialErrors": problems})

    def delete_asked(self, body: Mapping[str, Any], account: str, customer: str) -> Answer:
        wanted = body.get("AudienceIds")
        if not isinstance(wanted, list) or not wanted:
            raise Refused(fault(4851))
        there = set(self._visible(account, customer))
        problems = [
            batch_error(4835, at, "AudienceIds") for at, each in enumerate(wanted) if number(str(each)) not in there
        ]
        for each in wanted:
            if number(str(each)) in there:
                self.delete(number(str(each)))
        return Answer(200, {"PartialErrors": problems})

    def _visible(self, account: str, customer: str) -> list[int]:
        found = self._store.rows(
            "SELECT id FROM lists WHERE (scope = 'Account' AND parent = ?) OR (scope = 'Customer' AND parent = ?) ORDER BY id",
            account,
            customer,
        )
        return [int(each) for (each,) in found]

    def _show(self, list_id: int, now: float) -> dict[str, Any]:
        parent, scope, name, description, days = self._store.row(
            "SELECT parent, scope, name, description, days FROM lists WHERE id = ?", list_id
        ) or ("", "", "", None, -1)
        _, matched = self._store.size_seen(list_id, now, self._delay_s)
        is_computed = self._store.row("SELECT 1 FROM sizes WHERE list = ? AND at <= ?", list_id, now - self._delay_s)
        return {
            "AudienceNetworkSize": str(matched // 2) if is_computed else None,
            "CustomerShare": None,
            "Description": description,
            "ForwardCompatibilityMap": [],
            "Id": str(list_id),
            "MembershipDuration": days,
            "Name": name,
            "ParentId": parent,
            "Scope": scope,
            "SearchSize": str(matched) if is_computed else None,
            "SupportedCampaignTypes": ["Audience", "Search"],
            "Type": KIND,
        }

    def exists(self, list_id: int) -> bool:
        return self._store.row("SELECT 1 FROM lists WHERE id = ?", list_id) is not None

    def all(self) -> list[tuple[int, str, str]]:
        return [
            (int(i), str(n), str(a)) for i, n, a in self._store.rows("SELECT id, name, account FROM lists ORDER BY id")
        ]

    def delete(self, list_id: int) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM lists WHERE id = ?", (list_id,))
            db.execute("DELETE FROM items WHERE list = ?", (list_id,))
            db.execute("DELETE FROM sizes WHERE list = ?", (list_id,))

    # Items

    def apply(
        self, asked: object, account: str, customer: str, rejected: frozenset[int], now: float, *, terms: bool
    ) -> Answer:
        if not isinstance(asked, dict):
            raise Refused(fault(203, details="CustomerListUserData"))
        action, kind, items = (
            asked.get(name) for name in ("ActionType", "CustomerListItemSubType", "CustomerListItems")
        )
        if action not in ("Add", "Remove", "Replace"):
            raise Refused(fault(8001))
        if kind not in NAMES:
            raise Refused(fault(8002))
        accepts = asked.get("AcceptCustomerMatchTerm")
        if accepts is False or (accepts is None and not terms):
            raise Refused(fault(8003))
        if not isinstance(items, list) or not items or not all(isinstance(each, str) for each in items):
            raise Refused(fault(203, details="CustomerListItems"))
        if len(items) > MOST_ITEMS:
            raise Refused(fault(6999))
        list_id = number(str(asked.get("AudienceId")))
        if list_id not in set(self._visible(account, customer)):
            raise Refused(fault(8000, batch=[batch_error(8000, 0, "AudienceId")]))
        wrong = {at: code for at, each in enumerate(items) if (code := _wrong_item(kind, each))}
        wrong |= dict.fromkeys(rejected, 8004 if kind == "Email" else 201)
        good = [each for at, each in enumerate(items) if at not in wrong]
        with self._store.transaction() as db:
            size, matched = self._counted(db, list_id)
            if action == "Replace":
                db.execute("DELETE FROM items WHERE list = ?", (list_id,))
                size, matched = 0, 0
            there = self._there(db, list_id, kind, good)
            if action == "Remove":
                db.executemany(
                    "DELETE FROM items WHERE list = ? AND kind = ? AND value = ?", [(list_id, kind, v) for v in good]
                )
                size, matched = size - len(there), matched - recognised(kind, there)
            else:
                self._put(db, list_id, [(kind, each) for each in good], now)
                came = set(good) - there
                size, matched = size + len(came), matched + recognised(kind, came)
            self._store.note_size(db, list_id, now, size, matched, self._delay_s)
        problems = [batch_error(code, at, "CustomerListItems") for at, code in sorted(wrong.items())]
        return Answer(200, {"PartialErrors": problems})

    def put(self, list_id: int, items: Sequence[tuple[str, str]], now: float) -> int:
        """How many came in."""
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM lists WHERE id = ?", (list_id,)).fetchone() is None:
                return 0
            before, _ = self._counted(db, list_id)
            self._put(db, list_id, items, now)
            return self._count_again(db, list_id, now) - before

    def drop_overdue(self, now: float) -> None:
        """Members whose time in a list is over."""
        overdue = self._store.rows("SELECT DISTINCT list FROM items WHERE until <= ?", now)
        for (list_id,) in overdue:
            with self._store.transaction() as db:
                db.execute("DELETE FROM items WHERE list = ? AND until <= ?", (list_id, now))
                self._count_again(db, list_id, now)

    def size(self, list_id: int) -> int:
        found = self._store.row("SELECT count(*) FROM items WHERE list = ?", list_id)
        return int(found[0]) if found else 0

    def members(self, list_id: int, after: int, limit: int) -> list[tuple[int, str]]:
        found = self._store.rows(
            "SELECT number, kind, value FROM items WHERE list = ? AND number > ? ORDER BY number LIMIT ?",
            list_id,
            after,
            limit,
        )
        return [(each, orjson.dumps({NAMES[kind]: value}).decode()) for each, kind, value in found]

    def values(self, list_id: int, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.members(list_id, after, CHUNK):
            after = page[-1][0]
            yield [value for _, text in page if (value := orjson.loads(text).get(wanted))]

    def _put(self, db: sqlite3.Connection, list_id: int, items: Sequence[tuple[str, str]], now: float) -> None:
        (days,) = db.execute("SELECT days FROM lists WHERE id = ?", (list_id,)).fetchone()
        until = None if days < 0 else now + days * DAY_S
        db.executemany(
            "INSERT INTO items (list, kind, value, until) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (list, kind, value) DO UPDATE SET until = excluded.until",
            [(list_id, kind, value, until) for kind, value in items],
        )

    def _there(self, db: sqlite3.Connection, list_id: int, kind: str, values: Sequence[str]) -> set[str]:
        found = db.execute(
            "SELECT value FROM items WHERE list = ? AND kind = ? AND value IN (SELECT value FROM json_each(?))",
            (list_id, kind, orjson.dumps(values).decode()),
        )
        return {str(value) for (value,) in found}

    def _counted(self, db: sqlite3.Connection, list_id: int) -> tuple[int, int]:
        """Size and recognised people, as of the last change."""
        found = db.execute(
            "SELECT size, matched FROM sizes WHERE list = ? ORDER BY at DESC, rowid DESC LIMIT 1", (list_id,)
        ).fetchone()
        return (0, 0) if found is None else (int(found[0]), int(found[1]))

    def _count_again(self, db: sqlite3.Connection, list_id: int, now: float) -> int:
        found = db.execute("SELECT kind, value FROM items WHERE list = ?", (list_id,)).fetchall()
        matched = sum(recognised(kind, [value]) for kind, value in found)
        self._store.note_size(db, list_id, now, len(found), matched, self._delay_s)
        return len(found)


def recognised(kind: str, values: Iterable[str]) -> int:
    """How many of these Microsoft knows: four of five addresses, and no ids."""
    return sum(kind == "Email" and int(value[:4], 16) % 5 > 0 for value in values)


def _wrong_item(kind: str, value: str) -> int:
    if kind == "Email":
        return 0 if HASH(value) else 8004
    return 0 if 0 < len(value) <= 100 else 8005


def number(text: str) -> int:
    """0 for what is no id."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
