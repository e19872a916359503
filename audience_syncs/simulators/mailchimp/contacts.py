"""The contacts of Mailchimp's audiences: one for each address, whatever its case.

Published: at most 500 members a batch; errors by address with a code; ``update_existing`` off leaves who is there alone;
``skip_duplicate_check`` keeps the first of two with one address; PUT makes or updates, PATCH updates, DELETE archives (204), the
permanent deletion forbids to come back. Observed by others: *looks fake or invalid*, *compliance state* (who unsubscribed is
not subscribed again), *permanently deleted*, 405 for a contact that is archived already.

Kept simple, and ours: addresses under ``.invalid``, and any that is none, look fake (Mailchimp finds example.com so, too, by
which the tests live); an archived contact is made anew by a batch, as ``total_created`` tells others; values longer than 255
characters are refused; what an audience does not know as a merge field is dropped without a word.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.simulators.mailchimp import errors
from audience_syncs.simulators.mailchimp.errors import Refused
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MAX_BATCH = 500
LONGEST = 255
STATUSES = ("subscribed", "unsubscribed", "cleaned", "pending", "transactional")
IS_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"\\]+@[^\s@.<>()\[\],;:\"\\]+(\.[^\s@.<>()\[\],;:\"\\]+)+").fullmatch
FIELDS = (("FNAME", "text"), ("LNAME", "text"), ("ADDRESS", "address"), ("PHONE", "phone"), ("BIRTHDAY", "birthday"))
IN_ADDRESS = ("addr1", "city", "state", "zip")


@dataclass(frozen=True)
class Contact:
    number: int
    audience: str
    email: str
    status: str
    fields: dict[str, Any]

    @property
    def contact_id(self) -> str:
        return f"{self.number:032x}"

    def as_json(self, **more: Any) -> dict[str, Any]:
        return {
            "id": hashed(self.email),
            "email_address": self.email,
            "unique_email_id": f"{self.number:010x}",
            "contact_id": self.contact_id,
            "full_name": " ".join(str(self.fields[name]) for name in ("FNAME", "LNAME") if self.fields.get(name)),
            "email_type": "html",
            "status": self.status,
            "merge_fields": {tag: self.fields.get(tag, "") for tag, _ in FIELDS} | self.fields,
            "list_id": self.audience,
            "_links": [],
            **more,
        }


class Bad(Exception):
    """Why one contact is not taken: an entry of a batch's ``errors``."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.error = error
        super().__init__(error["error"])


class Contacts:
    """The contacts of all audiences."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS contacts (number INTEGER PRIMARY KEY AUTOINCREMENT, audience TEXT NOT NULL,"
            " email TEXT NOT NULL, key TEXT NOT NULL, status TEXT NOT NULL, before TEXT NOT NULL DEFAULT '',"
            " fields TEXT NOT NULL, UNIQUE (audience, key))",
            "CREATE TABLE IF NOT EXISTS forgotten (audience TEXT, key TEXT, PRIMARY KEY (audience, key))",
            "CREATE TABLE IF NOT EXISTS merge_fields (audience TEXT, tag TEXT, type TEXT, required INTEGER,"
            " PRIMARY KEY (audience, tag))",
        )

    # Batches

    def subscribe(
        self, audience: str, body: object, query: Mapping[str, str], rejected: frozenset[int], now: float
    ) -> Answer:
        members = body.get("members") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(members, list):
            raise Refused(errors.schema("members", "This value should not be blank."))
        if len(members) > MAX_BATCH:
            raise Refused(errors.schema("members", f"This collection should contain {MAX_BATCH} elements or less."))
        made: list[str] = []
        updated: list[str] = []
        failed: list[dict[str, Any]] = []
        seen: set[str] = set()
        with self._store.transaction() as db:
            for place, member in enumerate(members):
                email = member.get("email_address") if isinstance(member, dict) else None
                if not isinstance(email, str):
                    raise Refused(errors.schema(f"members.item:{place}.email_address", "Schema describes string"))
                if hashed(email) in seen:
                    if not says(query, "skip_duplicate_check"):
                        failed.append(errors.of_member(email, "Duplicate address in this request"))
                    continue
                seen.add(hashed(email))
                try:
                    if place in rejected:
                        raise Bad(errors.of_member(email, "This contact could not be added."))
                    new = self._write(db, audience, member, query, update=bool(body.get("update_existing")))
                except Bad as bad:
                    failed.append(bad.error)
                    continue
                (made if new else updated).append(email)
        shown = {each.email.lower(): each.as_json() for each in self.all_of(audience, [*made, *updated])}
        return Answer(
            200,
            {
                "new_members": [shown[email.lower()] for email in made],
                "updated_members": [shown[email.lower()] for email in updated],
                "errors": failed,
                "total_created": len(made),
                "total_updated": len(updated),
                "error_count": len(failed),
                "_links": [],
            },
        )

    def _write(
        self,
        db: sqlite3.Connection,
        audience: str,
        given: Mapping[str, Any],
        query: Mapping[str, str],
        *,
        update: bool,
        key: str = "",
    ) -> bool:
        """Makes or updates one contact; whether it was made. Raises Bad."""
        email = str(given.get("email_address", ""))
        found = self._row(audience, key or hashed(email))
        is_there = found is not None and found.status != "archived"
        if found is None or "email_address" in given:
            _check_address(email)
        if self._store.row("SELECT 1 FROM forgotten WHERE audience = ? AND key = ?", audience, hashed(email)):
            text = f"{email} was permanently deleted and cannot be re-imported. The contact must re-subscribe to get back on the list."
            raise Bad(errors.of_member(email, text))
        if is_there and not update:
            text = f"{email} is already a list member, do you want to update? please provide update_existing:true in the request body"
            raise Bad(errors.of_member(email, text, "ERROR_CONTACT_EXISTS"))
        status = given.get("status") or (None if is_there else given.get("status_if_new"))
        if status is not None and status not in STATUSES:
            raise Bad(errors.of_member(email, "The value you selected is not a valid choice.", field="status"))
        if status is None and not is_there:
            raise Bad(errors.of_member(email, "A status is needed for new contacts.", field="status"))
        held = found.status if found is not None else ""
        (before,) = (
            db.execute("SELECT before FROM contacts WHERE number = ?", (found.number,)).fetchone() if found else ("",)
        )
        if status == "subscribed" and (held in ("unsubscribed", "cleaned") or before in ("unsubscribed", "cleaned")):
            text = f"{email} is in a compliance state due to unsubscribe, bounce, or compliance review and cannot be subscribed."
            raise Bad(errors.of_member(email, text))
        fields = self._fields(audience, email, given.get("merge_fields") or {}, query, found)
        if found is None:
            db.execute(
                "INSERT INTO contacts (audience, email, key, status, fields) VALUES (?, ?, ?, ?, ?)",
                (audience, email, hashed(email), status, orjson.dumps(fields).decode()),
            )
        else:
            address = email or found.email
            db.execute(
                "UPDATE contacts SET email = ?, key = ?, status = ?, before = '', fields = ? WHERE number = ?",
                (address, hashed(address), status or held, orjson.dumps(fields).decode(), found.number),
            )
        return not is_there

    def _fields(
        self, audience: str, email: str, given: object, query: Mapping[str, str], found: Contact | None
    ) -> dict[str, Any]:
        known = {each["tag"]: each for each in self.merge_fields(audience)}
        if not isinstance(given, dict):
            raise Bad(errors.of_member(email, "Your merge fields were invalid.", field="merge_fields"))
        held = dict(found.fields) if found is not None else {}
        for tag, value in given.items():
            if tag not in known:
                continue
            kind = known[tag]["type"]
            bad = ""
            if kind == "address" and value not in ("", None):
                if not isinstance(value, dict) or not all(value.get(part) for part in IN_ADDRESS):
                    bad = "Please enter a complete address"
            elif not isinstance(value, str | int | float):
                bad = "Data did not match any of the schemas described in anyOf."
            elif kind == "birthday" and value != "" and not re.fullmatch(r"\d\d/\d\d", str(value)):
                bad = "Please enter a month (01-12) and a day (01-31)"
            elif len(str(value)) > LONGEST:
                bad = f"Please enter less than {LONGEST} characters"
            if bad:
                raise Bad(errors.of_member(email, "Your merge fields were invalid.", field=tag, message=bad))
            held[tag] = value
        if not says(query, "skip_merge_validation"):
            for tag, each in known.items():
                if each["required"] and not held.get(tag):
                    text = "Please enter a value"
                    raise Bad(errors.of_member(email, "Your merge fields were invalid.", field=tag, message=text))
        return {tag: value for tag, value in held.items() if value not in ("", None)}

    # One contact

    def get(self, audience: str, key: str) -> Contact:
        """By hash, address or contact id. Raises Refused."""
        found = self._row(audience, key)
        if found is None:
            raise Refused(errors.not_found())
        return found

    def put(self, audience: str, key: str, body: object, query: Mapping[str, str], *, makes: bool) -> Answer:
        given = body if isinstance(body, dict) else {}
        held = self._row(audience, key)
        if not makes and held is None:
            raise Refused(errors.not_found())
        with self._store.transaction() as db:
            try:
                self._write(db, audience, given, query, update=True, key=key)
            except Bad as bad:
                detail = bad.error["error"]
                if bad.error["field"]:
                    raise Refused(errors.invalid(detail, (bad.error["field"], bad.error["field_message"]))) from None
                title = "Member In Compliance State" if "compliance" in detail else "Invalid Resource"
                title = "Forgotten Email Not Subscribed" if "permanently" in detail else title
                raise Refused(errors.problem(400, title, detail)) from None
        # Its address may be another one now.
        found = self.get(audience, held.contact_id if held is not None else hashed(given["email_address"]))
        return Answer(200, found.as_json())

    def archive(self, audience: str, key: str) -> int:
        """The contact's number. Who is archived already cannot be."""
        found = self.get(audience, key)
        if found.status == "archived":
            text = "This list member cannot be removed. Please contact support."
            raise Refused(errors.problem(405, "Method Not Allowed", text))
        with self._store.transaction() as db:
            db.execute("UPDATE contacts SET before = status, status = 'archived' WHERE number = ?", (found.number,))
        return found.number

    def forget(self, audience: str, key: str) -> int:
        found = self.get(audience, key)
        with self._store.transaction() as db:
            db.execute("DELETE FROM contacts WHERE number = ?", (found.number,))
            db.execute("INSERT OR IGNORE INTO forgotten VALUES (?, ?)", (audience, hashed(found.email)))
        return found.number

    def put_other(self, audience: str, given: Mapping[str, str]) -> Contact:
        """Somebody whom others put there, subscribed unless they say otherwise."""
        email = given["email_address"]
        fields = {tag: value for tag, value in given.items() if tag not in ("email_address", "status")}
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO contacts (audience, email, key, status, fields) VALUES (?, ?, ?, ?, ?)",
                (audience, email, hashed(email), given.get("status", "subscribed"), orjson.dumps(fields).decode()),
            )
        return self.get(audience, hashed(email))

    def all_of(self, audience: str, emails: Sequence[str]) -> list[Contact]:
        """Those of these addresses that there are, archived ones not."""
        found = self._store.rows(
            "SELECT number, audience, email, status, fields FROM contacts WHERE audience = ? AND status <> 'archived' "
            "AND key IN (SELECT value FROM json_each(?)) ORDER BY number",
            audience,
            orjson.dumps([hashed(email) for email in emails]).decode(),
        )
        return [contact_of(row) for row in found]

    # Merge fields

    def merge_fields(self, audience: str) -> list[dict[str, Any]]:
        own = self._store.rows("SELECT tag, type, required FROM merge_fields WHERE audience = ?", audience)
        named = {tag for tag, _, _ in own}
        known = [(tag, kind, 0) for tag, kind in FIELDS if tag not in named] + own
        return [
            {"merge_id": number, "tag": tag, "name": tag, "type": kind, "required": bool(required), "list_id": audience}
            for number, (tag, kind, required) in enumerate(known, 1)
        ]

    def make_field(self, audience: str, body: object) -> Answer:
        given = body if isinstance(body, dict) else {}
        tag, kind = given.get("tag"), given.get("type")
        if not isinstance(tag, str) or not isinstance(kind, str):
            raise Refused(errors.schema("type", "This value should not be blank."))
        with self._store.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO merge_fields VALUES (?, ?, ?, ?)",
                (audience, tag, kind, int(bool(given.get("required")))),
            )
        return Answer(200, next(each for each in self.merge_fields(audience) if each["tag"] == tag))

    def _row(self, audience: str, key: str) -> Contact | None:
        number = int(key, 16) if len(key) == 32 and key.startswith("0" * 16) else 0
        columns = "SELECT number, audience, email, status, fields FROM contacts WHERE audience = ?"
        found = (
            self._store.row(f"{columns} AND number = ?", audience, number)
            if number
            else self._store.row(f"{columns} AND key IN (?, ?)", audience, key, hashed(key))
        )
        return contact_of(found) if found else None


def contact_of(row: tuple[Any, ...]) -> Contact:
    number, audience, email, status, fields = row
    return Contact(number, audience, email, status, orjson.loads(fields))


def says(query: Mapping[str, str], name: str) -> bool:
    """Mailchimp's own client for Python writes ``True``."""
    return query.get(name, "").lower() == "true"


def hashed(email: str) -> str:
    return hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _check_address(email: str) -> None:
    if not IS_EMAIL(email) or len(email) > 254 or email.endswith(".invalid"):
        text = f"{email} looks fake or invalid, please enter a real email address."
        raise Bad(errors.of_member(email, text))
