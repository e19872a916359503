"""User lists: made, found with a filter, read, changed, deleted.

Published: ``UserListService`` (paths, filters of AIP-160 with the fields it names, at most 1,000 a page), ``UserList`` (what must be
given, whole days of membership; names are used once in an account). Sizes are shown late, and as text, as all numbers of 64 bits.
Only the filters ``=`` and ``!=``, joined by ``AND``, are understood; others are refused.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import orjson

from audience_syncs.simulators.google.errors import Refused, error, invalid, no_list, unreadable, violation
from audience_syncs.simulators.google.people import MATCH_PERCENT, People
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

FIRST_ID = 8_123_450_001
LONGEST_DAYS = 540
DEFAULT_PAGE, LARGEST_PAGE = 50, 1_000
GIVEN = {
    "name",
    "displayName",
    "description",
    "membershipStatus",
    "integrationCode",
    "membershipDuration",
    "accountAccessStatus",
    "targetNetworkInfo",
    "ingestedUserListInfo",
}
KEY_TYPES = {"CONTACT_ID", "MOBILE_ID", "USER_ID", "PAIR_ID", "PSEUDONYMOUS_ID"}
SOURCES = {"DATA_SOURCE_TYPE_FIRST_PARTY"} | {
    f"DATA_SOURCE_TYPE_THIRD_PARTY_{kind}" for kind in ("CREDIT_BUREAU", "VOTER_FILE", "PARTNER_DATA")
}
_CONDITION = re.compile(
    r'(id|display_?[nN]ame|integration_?[cC]ode|membership_?[sS]tatus)\s*(!?=)\s*("(?:[^"\\]|\\.)*"|\w+)'
)
_DAYS = re.compile(r"(\d{1,9})s")


class Lists:
    """The lists of all accounts, by ``TYPE/ID``."""

    def __init__(self, store: Store, people: People, delay_s: float) -> None:
        self._store = store
        self._people = people
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS lists (number INTEGER PRIMARY KEY, account TEXT NOT NULL, name TEXT NOT NULL,"
            " shown TEXT NOT NULL, seconds INTEGER NOT NULL)",
        )

    def create(self, account: str, body: object, query: Mapping[str, str]) -> Answer:
        given = _checked(body)
        problems = []
        name = given.get("displayName")
        if not isinstance(name, str) or not name.strip():
            problems.append(violation("user_list.display_name", "REQUIRED_FIELD_MISSING", "Required field is missing."))
        info = given.get("ingestedUserListInfo")
        kinds = info.get("uploadKeyTypes") if isinstance(info, dict) else None
        if not isinstance(kinds, list) or not kinds or not set(kinds) <= KEY_TYPES:
            field = "user_list.ingested_user_list_info.upload_key_types"
            problems.append(violation(field, "REQUIRED_FIELD_MISSING", "Required field is missing."))
        elif (
            isinstance(info, dict) and info.get("contactIdInfo", {}).get("dataSourceType", min(SOURCES)) not in SOURCES
        ):
            raise Refused(unreadable("Invalid value for dataSourceType", "ingested_user_list_info.contact_id_info"))
        seconds = _seconds(given.get("membershipDuration", f"{30 * 86_400}s"))
        if problems:
            raise Refused(invalid(*problems))
        if self._store.row("SELECT 1 FROM lists WHERE account = ? AND name = ?", account, name):
            text = "The display name is already being used for another user list for the account."
            problem = violation("user_list.display_name", "DISPLAY_NAME_ALREADY_USED", text)
            raise Refused(error(400, "DISPLAY_NAME_ALREADY_USED", text, problem))
        if query.get("validateOnly") == "true":
            return Answer(200, {})
        shown = {"membershipStatus": "OPEN", **given, "readOnly": False, "accessReason": "OWNED"}
        with self._store.transaction() as db:
            (last,) = db.execute("SELECT coalesce(max(number), ?) FROM lists", (FIRST_ID - 1,)).fetchone()
            kept = int(self._kept_number(db, last)) + 1
            db.execute(
                "INSERT INTO lists VALUES (?, ?, ?, ?, ?)",
                (kept, account, name, orjson.dumps(shown).decode(), seconds),
            )
            db.execute("INSERT OR REPLACE INTO settings VALUES ('last_list', ?)", (str(kept),))
        return Answer(200, self._show(kept, 0.0))

    @staticmethod
    def _kept_number(db: Any, last: int) -> int:
        """Numbers of deleted lists are not used again."""
        found = db.execute("SELECT value FROM settings WHERE name = 'last_list'").fetchone()
        return max(last, int(found[0]) if found else 0)

    def find(self, account: str, query: Mapping[str, str], now: float) -> Answer:
        size = query.get("pageSize", "0")
        if not size.isdigit():
            raise Refused(invalid(violation("page_size", "INVALID_NUMBER_FORMAT")))
        most = min(int(size) or DEFAULT_PAGE, LARGEST_PAGE)
        try:
            after = int(urlsafe_b64decode(query.get("pageToken", "")) or b"0")
        except ValueError:
            raise Refused(invalid(violation("page_token", "INVALID_PAGE_TOKEN"))) from None
        conditions = _conditions(query.get("filter", ""))
        numbers = self._store.rows(
            "SELECT number FROM lists WHERE account = ? AND number > ? ORDER BY number", account, after
        )
        found = [shown for (number,) in numbers if _fits(shown := self._show(number, now), conditions)]
        body: dict[str, Any] = {}
        if found:
            body["userLists"] = found[:most]
        if len(found) > most:
            body["nextPageToken"] = urlsafe_b64encode(found[most - 1]["id"].encode()).decode()
        return Answer(200, body)

    def get(self, account: str, name: str, now: float) -> Answer:
        return Answer(200, self._show(self.number(account, name), now))

    def patch(self, account: str, name: str, body: object, now: float) -> Answer:
        number, given = self.number(account, name), _checked(body)
        with self._store.transaction() as db:
            db.execute(
                "UPDATE lists SET shown = json_patch(shown, ?) WHERE number = ?", (orjson.dumps(given).decode(), number)
            )
        return Answer(200, self._show(number, now))

    def number(self, account: str, name: str) -> int:
        """Raises Refused where the account has no such list."""
        if name.isascii() and name.isdigit() and len(name) < 19:
            found = self._store.row("SELECT number FROM lists WHERE number = ? AND account = ?", int(name), account)
            if found is not None:
                return int(found[0])
        raise Refused(no_list(name))

    def kinds(self, number: int) -> list[str]:
        found = self._store.row("SELECT shown FROM lists WHERE number = ?", number)
        return list(orjson.loads(found[0])["ingestedUserListInfo"]["uploadKeyTypes"]) if found else []

    def is_open(self, number: int) -> bool:
        found = self._store.row("SELECT shown FROM lists WHERE number = ?", number)
        return found is not None and orjson.loads(found[0])["membershipStatus"] == "OPEN"

    def all(self) -> list[tuple[int, str, str, int]]:
        """Number, account, name, seconds of membership."""
        found = self._store.rows("SELECT number, account, name, seconds FROM lists ORDER BY number")
        return [(int(number), str(account), str(name), int(seconds)) for number, account, name, seconds in found]

    def note_size(self, db: Any, number: int, now: float) -> None:
        (size,) = db.execute("SELECT count(*) FROM members WHERE list = ?", (number,)).fetchone()
        self._store.note_size(db, number, now, size, size * MATCH_PERCENT // 100, self._delay_s)

    def delete(self, number: int) -> None:
        with self._store.transaction() as db:
            for table, column in (("lists", "number"), ("members", "list"), ("sizes", "list")):
                db.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))

    def _show(self, number: int, now: float) -> dict[str, Any]:
        found = self._store.row("SELECT account, shown, seconds FROM lists WHERE number = ?", number)
        assert found is not None
        account, text, seconds = found
        shown: dict[str, Any] = orjson.loads(text)
        size, matched = self._store.size_seen(number, now, self._delay_s)
        kind, _, account_id = str(account).partition("/")
        shown |= {
            "name": f"accountTypes/{kind}/accounts/{account_id}/userLists/{number}",
            "id": str(number),
            "membershipDuration": f"{seconds}s",
            "sizeInfo": {
                "displayNetworkMembersCount": str(matched * 3 // 4),
                "searchNetworkMembersCount": str(matched),
                "youtubeMembersCount": str(matched * 9 // 10),
                "gmailMembersCount": str(matched // 2),
            },
        }
        if size:
            shown["ingestedUserListInfo"].setdefault("contactIdInfo", {})["matchRatePercentage"] = matched * 100 // size
        return shown


def _checked(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(unreadable("Root element must be a message."))
    for key in body:
        if key not in GIVEN:
            raise Refused(unreadable(f'Unknown name "{key}": Cannot find field.'))
    return body


def _seconds(duration: object) -> int:
    found = _DAYS.fullmatch(str(duration))
    seconds = int(found[1]) if found else -1
    if seconds <= 0 or seconds % 86_400:
        raise Refused(invalid(violation("user_list.membership_duration", "INVALID_ARGUMENT")))
    if seconds > LONGEST_DAYS * 86_400:
        text = "The user list membership duration is too long."
        raise Refused(invalid(violation("user_list.membership_duration", "MEMBERSHIP_DURATION_TOO_LONG", text)))
    return seconds


def _conditions(text: str) -> list[tuple[str, bool, str]]:
    conditions, rest = [], text.strip()
    while rest:
        found = _CONDITION.match(rest)
        if found is None:
            raise Refused(invalid(violation("filter", "INVALID_FILTER", "The query filter is invalid.")))
        field, operator, value = found.groups()
        name = {
            "displayname": "displayName",
            "integrationcode": "integrationCode",
            "membershipstatus": "membershipStatus",
        }
        plain = re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
        conditions.append((name.get(field.replace("_", "").lower(), "id"), operator == "=", plain))
        rest = rest[found.end() :].strip()
        if rest and not rest.startswith("AND "):
            raise Refused(invalid(violation("filter", "INVALID_FILTER", "The query filter is invalid.")))
        rest = rest.removeprefix("AND ").strip()
    return conditions


def _fits(shown: Mapping[str, Any], conditions: list[tuple[str, bool, str]]) -> bool:
    return all((str(shown.get(field, "")) == value) is wanted for field, wanted, value in conditions)
