"""Klaviyo's profiles: one person each, found by email, phone number or external id, each of which belongs to one profile.

Published: which attributes a profile has; null clears one, absence keeps it; at most 100 KB for one profile; a filter takes
``equals`` and ``any``; pages have 20 profiles unless asked otherwise, 100 at most. Observed by others in 2026: a malformed email
fails the whole import at once, naming its place; a phone number that is too short is dropped without a word.

Kept simple, and ours: emails are kept in lower case; a profile that is found by its phone number or external id, but has
another email than the one given, is a conflict, as are several profiles found at once.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.simulators.klaviyo.errors import Refused, errors, invalid
from audience_syncs.simulators.store import Store

IDENTIFIERS = ("email", "phone_number", "external_id")
TEXTS = {*IDENTIFIERS, "first_name", "last_name", "organization", "title", "image", "locale"}
ATTRIBUTES = {*TEXTS, "location", "properties"}
IN_LOCATION = {"address1", "address2", "city", "country", "latitude", "longitude", "region", "zip", "timezone", "ip"}
MAX_BYTES = 100_000
MAX_PAGE = 100
IS_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"\\]+@[^\s@.<>()\[\],;:\"\\]+(\.[^\s@.<>()\[\],;:\"\\]+)+").fullmatch
IS_PHONE = re.compile(r"\+\d{1,15}").fullmatch
SHORTEST_PHONE = 9
FILTER = re.compile(r"(equals|any)\((\w+),(.*)\)", re.DOTALL)


@dataclass(frozen=True)
class Profile:
    number: int
    attributes: dict[str, Any]
    created: float
    updated: float

    @property
    def id(self) -> str:
        return profile_id(self.number)

    def as_json(self, **more: Any) -> dict[str, Any]:
        """The profile as a JSON:API resource."""
        shown: dict[str, Any] = dict.fromkeys(sorted(TEXTS))
        shown |= {"location": {}, "properties": {}} | self.attributes
        shown |= {"created": iso(self.created), "updated": iso(self.updated)} | more
        link = {"self": f"https://a.klaviyo.com/api/profiles/{self.id}/"}
        return {"type": "profile", "id": self.id, "attributes": shown, "links": link}


class Conflict(Exception):
    """The identifiers of one row belong to several profiles."""


class Profiles:
    """All profiles of the one account there is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS profiles (number INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT UNIQUE,"
            " phone_number TEXT UNIQUE, external_id TEXT UNIQUE, attributes TEXT NOT NULL,"
            " created REAL NOT NULL, updated REAL NOT NULL)",
        )

    def find(self, name: str, values: Sequence[str]) -> list[Profile]:
        """Profiles with one of these values of ``id`` or of an identifier, by number."""
        column = "number" if name == "id" else name
        wanted: list[Any] = [profile_number(each) for each in values] if name == "id" else [*map(_folded(name), values)]
        found = self._store.rows(
            f"SELECT number, attributes, created, updated FROM profiles "
            f"WHERE {column} IN (SELECT value FROM json_each(?)) ORDER BY number",
            orjson.dumps(wanted).decode(),
        )
        return [Profile(number, orjson.loads(text), created, updated) for number, text, created, updated in found]

    def write(
        self, db: sqlite3.Connection, given: Mapping[str, Any], now: float, unset: Sequence[str] = (), number: int = 0
    ) -> int:
        """Makes or updates the profile that the identifiers, or the ``number``, name; raises Conflict."""
        given = {**given, **({"email": given["email"].lower()} if given.get("email") else {})}
        owners = {
            owner
            for name in IDENTIFIERS
            if given.get(name)
            for (owner,) in db.execute(f"SELECT number FROM profiles WHERE {name} = ?", (given[name],))
        }
        if len(owners | ({number} if number else set())) > 1:
            raise Conflict
        found = number or next(iter(owners), 0)
        held: dict[str, Any] = {}
        if found:
            (text,) = db.execute("SELECT attributes FROM profiles WHERE number = ?", (found,)).fetchone()
            held = orjson.loads(text)
            if not number and given.get("email") and held.get("email") not in (None, given["email"]):
                raise Conflict
        merged = {**held, **given}
        for nested in ("location", "properties"):
            merged[nested] = {**held.get(nested, {}), **(given.get(nested) or {})}
        merged["properties"] = {name: value for name, value in merged["properties"].items() if name not in unset}
        merged["location"] = {name: value for name, value in merged["location"].items() if value is not None}
        merged = {name: value for name, value in merged.items() if value is not None}
        if len(merged.get("phone_number", "")) < SHORTEST_PHONE:
            merged.pop("phone_number", None)
        if not found:
            cursor = db.execute("INSERT INTO profiles (attributes, created, updated) VALUES ('{}', ?, ?)", (now, now))
            found = int(cursor.lastrowid or 0)
        db.execute(
            "UPDATE profiles SET email = ?, phone_number = ?, external_id = ?, attributes = ?, updated = ? "
            "WHERE number = ?",
            (*(merged.get(name) for name in IDENTIFIERS), orjson.dumps(merged).decode(), now, found),
        )
        return found

    def put(self, given: Mapping[str, Any], now: float) -> int:
        with self._store.transaction() as db:
            return self.write(db, given, now)

    def patch(self, name: str, body: object, now: float) -> Profile:
        """PATCH of one profile; ``meta.patch_properties.unset`` names properties to drop."""
        data = body.get("data") if isinstance(body, dict) else None
        if not isinstance(data, dict) or data.get("type") != "profile" or data.get("id") != name:
            raise Refused(errors(invalid("type and id must be those of the profile")))
        given = data.get("attributes") or {}
        problems = check(given, "/data/attributes", needs_identifier=False)
        if problems:
            raise Refused(errors(*problems))
        patched = (data.get("meta") or {}).get("patch_properties") or {}
        unset = patched.get("unset") or []
        with self._store.transaction() as db:
            try:
                self.write(db, given, now, [unset] if isinstance(unset, str) else unset, profile_number(name))
            except Conflict:
                taken = "A profile already exists with one of these identifiers."
                raise Refused(errors(invalid(taken))) from None
        return self.find("id", [name])[0]


def check(given: object, pointer: str, *, needs_identifier: bool = True) -> list[dict[str, Any]]:
    """What Klaviyo refuses at once about one profile's attributes."""
    if not isinstance(given, dict):
        return [invalid("attributes is required", pointer)]
    found = [
        invalid(f"'{name}' is not a valid field for the resource 'profile'.", f"{pointer}/{name}")
        for name in given
        if name not in ATTRIBUTES
    ]
    found += [
        invalid(f"'{given[name]}' is not a string.", f"{pointer}/{name}")
        for name in TEXTS & given.keys()
        if given[name] is not None and not isinstance(given[name], str)
    ]
    found += [
        invalid(f"'{name}' is not a valid field for the resource 'location'.", f"{pointer}/location/{name}")
        for name in given.get("location") or {}
        if name not in IN_LOCATION
    ]
    if found:
        return found
    email, phone = given.get("email"), given.get("phone_number")
    if needs_identifier and not any(given.get(name) for name in IDENTIFIERS):
        found.append(invalid("One of the following is required: email, phone_number, external_id", f"{pointer}/"))
    if email is not None and (not IS_EMAIL(email) or len(email) > 254):
        found.append(invalid(f"{email} is not a valid email address.", f"{pointer}/email"))
    if phone is not None and not IS_PHONE(phone):
        text = "Invalid phone number format (Example of a valid format: +12345678901)"
        found.append(invalid(text, f"{pointer}/phone_number"))
    if len(orjson.dumps(given)) > MAX_BYTES:
        found.append(invalid("The profile is larger than 100KB.", pointer))
    return found


def read_filter(text: str, allowed: Sequence[str]) -> tuple[str, list[str]]:
    """The field and the values of a filter such as ``any(email,["a@b.co"])``; raises Refused."""
    found = FILTER.fullmatch(text)
    if found is None or found[2] not in allowed:
        raise Refused(errors(invalid(f"Invalid filter provided: {text[:40]}", "/filter")))
    try:
        value = orjson.loads(found[3])
    except orjson.JSONDecodeError:
        raise Refused(errors(invalid("Invalid filter provided", "/filter"))) from None
    values = value if found[1] == "any" else [value]
    if not isinstance(values, list) or not values or not all(isinstance(each, str) for each in values):
        raise Refused(errors(invalid("Invalid filter provided", "/filter")))
    return found[2], values


def page_size(query: Mapping[str, str], *, default: int = 20, most: int = MAX_PAGE) -> int:
    text = query.get("page[size]", str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= most:
        raise Refused(errors(invalid(f"Page size must be an integer between 1 and {most}", "page[size]")))
    return int(text)


def profile_id(number: int) -> str:
    return f"01KLAVIYO{number:017d}"


def profile_number(name: str) -> int:
    """0 for what is no id of ours."""
    digits = name.removeprefix("01KLAVIYO")
    return int(digits) if len(digits) == 17 and digits.isascii() and digits.isdigit() else 0


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _folded(name: str) -> Any:
    return str.lower if name == "email" else str
