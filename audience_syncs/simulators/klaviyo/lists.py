"""Klaviyo's lists and who is in them.

Published: at most 1,000 profiles in one call that adds or removes, 204 with nothing in it; lists come ten a page, filtered by
name or id; the number of profiles only on demand. Names are not unique: nothing published says that they are. The answer for
a profile that does not exist is ours: the whole call is refused.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators.klaviyo.errors import Refused, errors, invalid, not_found, problem
from audience_syncs.simulators.klaviyo.profiles import (
    Profiles,
    iso,
    page_size,
    profile_id,
    profile_number,
    read_filter,
)
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MAX_CHANGES = 1_000
MAX_LISTS = 10
CHUNK = 20_000


class Lists:
    """All lists of the account."""

    def __init__(self, store: Store, profiles: Profiles, delay_s: float) -> None:
        self._store = store
        self._profiles = profiles
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS lists (number INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL,"
            " opt_in TEXT NOT NULL, created REAL NOT NULL, updated REAL NOT NULL)",
            "CREATE TABLE IF NOT EXISTS memberships (list INTEGER, profile INTEGER, at REAL,"
            " PRIMARY KEY (list, profile)) WITHOUT ROWID",
        )

    def create(self, body: object, now: float) -> Answer:
        data = body.get("data") if isinstance(body, dict) else None
        given = data.get("attributes") if isinstance(data, dict) and data.get("type") == "list" else None
        name = given.get("name") if isinstance(given, dict) else None
        if not isinstance(given, dict) or not isinstance(name, str) or not name.strip():
            raise Refused(errors(invalid("name is a required field.", "/data/attributes/name")))
        opt_in = given.get("opt_in_process") or "double_opt_in"
        if opt_in not in ("double_opt_in", "single_opt_in"):
            raise Refused(errors(invalid("Invalid opt_in_process", "/data/attributes/opt_in_process")))
        with self._store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO lists (name, opt_in, created, updated) VALUES (?, ?, ?, ?)", (name, opt_in, now, now)
            )
        return Answer(201, {"data": self._show(int(cursor.lastrowid or 0))})

    def find(self, query: Mapping[str, str]) -> Answer:
        most = page_size(query, default=MAX_LISTS, most=MAX_LISTS)
        column, wanted = "'x'", ["x"]
        if "filter" in query:
            column, wanted = read_filter(query["filter"], ("name", "id"))
        numbers: list[Any] = [list_number(each) for each in wanted] if column == "id" else wanted
        after = int(decoded(query.get("page[cursor]", "")) or 0)
        found = self._store.rows(
            f"SELECT number FROM lists WHERE {'number' if column == 'id' else column} IN "
            "(SELECT value FROM json_each(?)) AND number > ? ORDER BY number LIMIT ?",
            orjson.dumps(numbers).decode(),
            after,
            most + 1,
        )
        shown = [self._show(number) for (number,) in found[:most]]
        following = str(found[most - 1][0]) if len(found) > most else None
        return Answer(200, {"data": shown, "links": links("lists", following)})

    def get(self, name: str, query: Mapping[str, str], now: float) -> Answer:
        shown = self._show(self.number(name))
        if query.get("additional-fields[list]") == "profile_count":
            size, _ = self._store.size_seen(list_number(name), now, self._delay_s)
            shown["attributes"]["profile_count"] = size
        return Answer(200, {"data": shown})

    def number(self, name: str) -> int:
        """Raises Refused where there is no such list."""
        found = self._store.row("SELECT number FROM lists WHERE number = ?", list_number(name))
        if found is None:
            raise Refused(not_found("list", name))
        return int(found[0])

    def all(self) -> list[tuple[int, str]]:
        return [(number, name) for number, name in self._store.rows("SELECT number, name FROM lists ORDER BY number")]

    def delete(self, number: int) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM lists WHERE number = ?", (number,))
            db.execute("DELETE FROM memberships WHERE list = ?", (number,))
            db.execute("DELETE FROM sizes WHERE list = ?", (number,))

    # Who is in them

    def change(self, name: str, body: object, now: float, *, add: bool) -> Answer:
        number = self.number(name)
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, list) or not all(isinstance(each, dict) for each in data):
            raise Refused(errors(invalid("data must be a list of profiles", "/data")))
        if len(data) > MAX_CHANGES:
            raise Refused(errors(invalid(f"At most {MAX_CHANGES} profiles are allowed.", "/data")))
        ids = [str(each.get("id")) for each in data]
        there = {profile.id for profile in self._profiles.find("id", ids)}
        unknown = [place for place, each in enumerate(ids) if each not in there]
        if unknown:
            text = f"A profile with id {ids[unknown[0]]} does not exist."
            raise Refused(errors(problem(404, "not_found", "Not found.", text, f"/data/{unknown[0]}/id")))
        numbers = [profile_number(each) for each in ids]
        self.put(number, numbers, now) if add else self._take_out(number, numbers, now)
        return Answer(204)

    def put(self, number: int, profiles: Iterable[int], now: float) -> int:
        """Puts profiles into a list; how many came in. A list that is gone takes nobody."""
        with self._store.transaction() as db:
            if db.execute("SELECT 1 FROM lists WHERE number = ?", (number,)).fetchone() is None:
                return 0
            before = db.total_changes
            db.executemany(
                "INSERT OR IGNORE INTO memberships VALUES (?, ?, ?)", [(number, each, now) for each in profiles]
            )
            added = db.total_changes - before
            self._note(db, number, now)
            return added

    def _take_out(self, number: int, profiles: Sequence[int], now: float) -> None:
        with self._store.transaction() as db:
            db.executemany(
                "DELETE FROM memberships WHERE list = ? AND profile = ?", [(number, each) for each in profiles]
            )
            self._note(db, number, now)

    def _note(self, db: Any, number: int, now: float) -> None:
        (size,) = db.execute("SELECT count(*) FROM memberships WHERE list = ?", (number,)).fetchone()
        self._store.note_size(db, number, now, size, size, self._delay_s)

    def page(self, name: str, query: Mapping[str, str]) -> Answer:
        """The profiles of a list in the order in which they joined."""
        number, most = self.number(name), page_size(query)
        at, after = orjson.loads(decoded(query.get("page[cursor]", "")) or "[0, 0]")
        found = self._store.rows(
            "SELECT profile, at FROM memberships WHERE list = ?1 AND (at, profile) > (?2, ?3) "
            "ORDER BY at, profile LIMIT ?4",
            number,
            at,
            after,
            most + 1,
        )
        shown = found[:most]
        profiles = {profile.number: profile for profile in self._profiles.find("id", [profile_id(p) for p, _ in shown])}
        data = [profiles[each].as_json(joined_group_at=iso(joined)) for each, joined in shown]
        following = orjson.dumps([shown[-1][1], shown[-1][0]]).decode() if len(found) > most else None
        return Answer(200, {"data": data, "links": links(f"lists/{name}/profiles", following)})

    def size(self, number: int) -> int:
        found = self._store.row("SELECT count(*) FROM memberships WHERE list = ?", number)
        return int(found[0]) if found else 0

    def members(self, number: int, after: int, limit: int) -> list[tuple[int, str]]:
        found = self._store.rows(
            "SELECT p.number, p.attributes FROM memberships m JOIN profiles p ON p.number = m.profile "
            "WHERE m.list = ? AND p.number > ? ORDER BY p.number LIMIT ?",
            number,
            after,
            limit,
        )
        return [(each, orjson.dumps(flat(each, orjson.loads(text))).decode()) for each, text in found]

    def values(self, number: int, wanted: str) -> Iterator[list[str]]:
        after = 0
        while page := self.members(number, after, CHUNK):
            after = page[-1][0]
            yield [value for _, text in page if (value := orjson.loads(text).get(wanted))]

    def _show(self, number: int) -> dict[str, Any]:
        found = self._store.row("SELECT name, opt_in, created, updated FROM lists WHERE number = ?", number)
        name, opt_in, created, updated = found or ("", "", 0, 0)
        return {
            "type": "list",
            "id": list_id(number),
            "attributes": {"name": name, "created": iso(created), "updated": iso(updated), "opt_in_process": opt_in},
            "links": {"self": f"https://a.klaviyo.com/api/lists/{list_id(number)}/"},
        }


def flat(number: int, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """A member as the inspection shows it: attributes and properties side by side."""
    nested = {**attributes.get("location", {}), **attributes.get("properties", {})}
    plain = {name: value for name, value in attributes.items() if name not in ("location", "properties")}
    return {"id": profile_id(number), **nested, **plain}


def links(path: str, following: str | None) -> dict[str, Any]:
    """JSON:API's links of a page; the next one carries a cursor that means nothing to others."""
    here = f"https://a.klaviyo.com/api/{path}"
    cursor = None if following is None else urlsafe_b64encode(f"next::{following}".encode()).decode().rstrip("=")
    return {
        "self": here,
        "next": None if cursor is None else f"{here}?page%5Bcursor%5D={cursor}",
        "prev": None,
        "first": None,
        "last": None,
    }


def decoded(cursor: str) -> str:
    cursor = cursor.lstrip("=")  # Klaviyo's own client cuts it out of a link with the sign before it
    if not cursor:
        return ""
    try:
        return urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().removeprefix("next::")
    except ValueError:
        raise Refused(errors(invalid("Invalid page cursor", "page[cursor]"))) from None


def list_id(number: int) -> str:
    return f"L{number:05d}"


def list_number(name: str) -> int:
    """0 for what is no id of ours."""
    digits = name.removeprefix("L")
    return int(digits) if len(digits) >= 5 and digits.isascii() and digits.isdigit() and len(digits) < 19 else 0
