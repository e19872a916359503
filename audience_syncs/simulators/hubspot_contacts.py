"""HubSpot's contacts: upserted in batches by email or by a custom unique property, updated, read, archived, erased.

Documented or published: at most 100 inputs; a batch that names one contact twice fails as a whole; with an
``objectWriteTraceId`` on every input the valid rows are written and the others come back in ``errors`` of a 207,
without it one bad row fails the batch; email is compared and kept in lowercase; an erased address is blocked; an empty
text empties a property; a read-only property, or one that does not exist, is an error; archiving answers 204, whatever
the state of the contact. An update makes nobody, and takes no email as ``idProperty`` (reported of HubSpot's clients).
A contact has further addresses in ``hs_additional_emails``, is found by each of them, and keeps its first one then. An
archived contact is found by nothing; its address makes a new contact.

Kept simple: any property other than ``email`` that is named as ``idProperty`` counts as a unique one; every property
exists except those whose name starts with ``missing``; the text for a blocked address is ours; archived contacts are
not restored.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.simulators.hubspot_errors import Refused, error, invalid, not_json, not_valid, row_error
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MAX_INPUTS = 100
READ_ONLY = {"createdate", "lastmodifieddate", "hs_object_id"}
IS_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"\\]+@[^\s@.<>()\[\],;:\"\\]+(\.[^\s@.<>()\[\],;:\"\\]+)+").fullmatch


@dataclass(frozen=True)
class Contact:
    id: int
    properties: dict[str, str]
    created: float
    updated: float

    def as_json(self, *, only: Sequence[str] = ()) -> dict[str, Any]:
        """The contact as the API shows it; ``only`` are the properties asked for (the defaults when none are)."""
        shown = only or ("createdate", "email", "firstname", "lastmodifieddate", "lastname")
        system = {
            "createdate": iso(self.created),
            "lastmodifieddate": iso(self.updated),
            "hs_object_id": str(self.id),
        }
        held = {**self.properties, **system}
        return {
            "id": str(self.id),
            "properties": {name: held[name] for name in (*shown, "hs_object_id") if name in held},
            "createdAt": iso(self.created),
            "updatedAt": iso(self.updated),
            "archived": False,
        }


class RowRefused(Exception):
    """One input HubSpot does not take."""

    def __init__(self, category: str, message: str) -> None:
        self.category, self.message = category, message
        super().__init__(message)


class Contacts:
    """All contacts of the one HubSpot account there is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS contacts (id INTEGER PRIMARY KEY AUTOINCREMENT, properties TEXT NOT NULL,"
            " created REAL NOT NULL, updated REAL NOT NULL)",
            "CREATE TABLE IF NOT EXISTS unique_values (property TEXT, value TEXT, contact INTEGER NOT NULL,"
            " PRIMARY KEY (property, value)) WITHOUT ROWID",
            "CREATE INDEX IF NOT EXISTS unique_values_of ON unique_values (contact)",
            "CREATE TABLE IF NOT EXISTS erased (email TEXT PRIMARY KEY)",
        )

    # What the API offers

    def upsert(self, body: object, rejected: frozenset[int], now: float) -> Answer:
        return self._write(body, rejected, now, make=True)

    def update(self, body: object, rejected: frozenset[int], now: float) -> Answer:
        return self._write(body, rejected, now, make=False)

    def _write(self, body: object, rejected: frozenset[int], now: float, *, make: bool) -> Answer:
        inputs = read_inputs(body)
        id_properties = {each.get("idProperty") for each in inputs}
        if not make and "email" in id_properties:
            raise Refused(invalid("Unable to perform update/upsert by non-unique 0-1 property"))
        keys = [(each.get("idProperty") or "hs_object_id", _key(each)) for each in inputs]
        twice = sorted({value for name, value in keys if keys.count((name, value)) > 1})
        if twice:
            raise Refused(
                invalid(
                    f"Duplicate IDs found in batch input: [{', '.join(twice)}]. IDs must be unique",
                    context={"ids": twice},
                )
            )
        if len(id_properties) > 1:
            raise Refused(invalid("All inputs must use the same idProperty"))
        traces = [each.get("objectWriteTraceId") for each in inputs]
        traced = None not in traces and len(set(traces)) == len(traces)
        results, errors = [], []
        with self._store.transaction() as db:
            for position, each in enumerate(inputs):
                try:
                    if position in rejected:
                        raise RowRefused(
                            "VALIDATION_ERROR",
                            not_valid("lifecyclestage", "INVALID_OPTION", "Value was not a valid option"),
                        )
                    contact, is_new = self._upsert_one(db, each, now, only_existing=not make)
                except RowRefused as refused:
                    if not traced:
                        raise Refused(_whole_batch(refused)) from refused
                    trace = {"objectWriteTraceId": [str(each["objectWriteTraceId"])]}
                    errors.append(row_error(refused.category, refused.message, trace))
                    continue
                shown = contact.as_json(only=[*each.get("properties", {})])
                if make:
                    shown["new"] = is_new
                if traced:
                    shown["objectWriteTraceId"] = str(each["objectWriteTraceId"])
                results.append(shown)
        return batch_answer(results, errors, now)

    def batch_read(self, body: object, now: float) -> Answer:
        inputs = read_inputs(body)
        asked = body if isinstance(body, dict) else {}
        name = asked.get("idProperty") or "hs_object_id"
        wanted = [_key({**each, "idProperty": name}) for each in inputs]
        found = [self.find(name, value) for value in wanted]
        missing = [value for value, contact in zip(wanted, found, strict=True) if contact is None]
        results = [contact.as_json(only=asked.get("properties") or ()) for contact in found if contact is not None]
        errors = []
        if missing:
            text = "Could not get some CONTACT objects, they may be deleted or not exist. Check that ids are valid."
            errors.append(row_error("OBJECT_NOT_FOUND", text, {"ids": missing}))
        return batch_answer(results, errors, now)

    def archive(self, body: object) -> list[int]:
        """Archive contacts by id; those that were there. Unknown ids are passed over."""
        ids = [int(str(each.get("id"))) for each in read_inputs(body) if str(each.get("id")).isdigit()]
        with self._store.transaction() as db:
            there = [contact for contact in ids if self._load(db, contact) is not None]
            self._drop(db, there)
        return there

    def erase(self, body: object) -> list[int]:
        """GDPR delete: the contact goes and its address may not come back."""
        if not isinstance(body, dict) or not isinstance(body.get("objectId"), str):
            raise Refused(not_json("objectId is required"))
        name = body.get("idProperty") or "hs_object_id"
        value = body["objectId"].strip().lower() if name == "email" else body["objectId"]
        contact = self.find(name, value)
        with self._store.transaction() as db:
            email = value if name == "email" else (contact.properties.get("email") if contact else None)
            if email:
                db.execute("INSERT OR IGNORE INTO erased VALUES (?)", (email,))
            self._drop(db, [contact.id] if contact else [])
        return [contact.id] if contact else []

    def find(self, name: str, value: str) -> Contact | None:
        """The contact with this record id, or this value of a unique property."""
        with self._store.transaction() as db:
            if name == "hs_object_id":
                return self._load(db, int(value)) if value.isascii() and value.isdigit() else None
            found = db.execute(
                "SELECT contact FROM unique_values WHERE property = ? AND value = ?", (name, value)
            ).fetchone()
            return None if found is None else self._load(db, found[0])

    def existing(self, ids: Iterable[int]) -> set[int]:
        """Which of these record ids are contacts."""
        found = self._store.rows(
            "SELECT id FROM contacts WHERE id IN (SELECT value FROM json_each(?))", orjson.dumps(list(ids)).decode()
        )
        return {int(contact) for (contact,) in found}

    def put(self, properties: Mapping[str, str], now: float) -> int:
        """Create or update a contact as somebody else would, by email where there is one; its id."""
        email = properties.get("email")
        with self._store.transaction() as db:
            each = {"id": email or "", "properties": dict(properties), **({"idProperty": "email"} if email else {})}
            return self._upsert_one(db, each, now, create=not email)[0].id

    # One contact

    def _upsert_one(
        self,
        db: sqlite3.Connection,
        each: Mapping[str, Any],
        now: float,
        *,
        create: bool = False,
        only_existing: bool = False,
    ) -> tuple[Contact, bool]:
        name, value = each.get("idProperty") or "hs_object_id", _key(each)
        properties = _read_properties(each.get("properties", {}))
        email = properties.get("email")
        for address in {value if name == "email" else None, email} - {None, ""}:
            _check_email(str(address))
            if db.execute("SELECT 1 FROM erased WHERE email = ?", (address,)).fetchone():
                raise RowRefused("VALIDATION_ERROR", not_valid("email", "INVALID_EMAIL", "Email address is blocked"))
        found: int | None = None
        if name == "hs_object_id" and not create:
            found = int(value) if value.isascii() and value.isdigit() and self._load(db, int(value)) else None
            if found is None:
                raise RowRefused("OBJECT_NOT_FOUND", "No contact has this ID; upsert needs an idProperty")
        elif not create:
            found = self._owner(db, name, value)
        if found is None and only_existing:
            raise RowRefused("OBJECT_NOT_FOUND", f"No contact has this value of {name}")
        if found is None and name != "hs_object_id":
            properties.setdefault(name, value)
        if email and (owner := self._owner(db, "email", email)) is not None and owner != found:
            raise RowRefused("CONFLICT", f"Contact already exists. Existing ID: {owner}")
        if found is None:
            cursor = db.execute("INSERT INTO contacts (properties, created, updated) VALUES ('{}', ?, ?)", (now, now))
            contact, is_new = Contact(int(cursor.lastrowid or 0), {}, now, now), True
        else:
            contact, is_new = self._load(db, found) or Contact(found, {}, now, now), False
        held = {**contact.properties, **properties}
        held = {key: text for key, text in held.items() if text != ""}
        db.execute(
            "UPDATE contacts SET properties = ?, updated = ? WHERE id = ?",
            (orjson.dumps(held).decode(), now, contact.id),
        )
        for unique in {"email", name} - {"hs_object_id"}:
            db.execute("DELETE FROM unique_values WHERE property = ? AND contact = ?", (unique, contact.id))
            further = held.get("hs_additional_emails", "").lower().split(";") if unique == "email" else []
            for text in {held.get(unique, ""), *further} - {""}:
                db.execute("INSERT OR REPLACE INTO unique_values VALUES (?, ?, ?)", (unique, text.strip(), contact.id))
        return Contact(contact.id, held, contact.created, now), is_new

    def _owner(self, db: sqlite3.Connection, name: str, value: str) -> int | None:
        found = db.execute(
            "SELECT contact FROM unique_values WHERE property = ? AND value = ?", (name, value)
        ).fetchone()
        return None if found is None else int(found[0])

    def _load(self, db: sqlite3.Connection, contact: int) -> Contact | None:
        if contact >= 2**63:
            return None
        found = db.execute("SELECT properties, created, updated FROM contacts WHERE id = ?", (contact,)).fetchone()
        return None if found is None else Contact(contact, orjson.loads(found[0]), found[1], found[2])

    def _drop(self, db: sqlite3.Connection, contacts: Iterable[int]) -> None:
        for contact in contacts:
            db.execute("DELETE FROM contacts WHERE id = ?", (contact,))
            db.execute("DELETE FROM unique_values WHERE contact = ?", (contact,))


def read_inputs(body: object) -> list[dict[str, Any]]:
    """The ``inputs`` of a batch; raises ``Refused``."""
    inputs = body.get("inputs") if isinstance(body, dict) else None
    if not isinstance(inputs, list) or not all(isinstance(each, dict) for each in inputs):
        raise Refused(not_json("inputs must be a list of objects"))
    if not inputs:
        raise Refused(invalid("Batch input must not be empty"))
    if len(inputs) > MAX_INPUTS:
        raise Refused(invalid(f"Batch input of {len(inputs)} exceeds the limit of {MAX_INPUTS}"))
    if not all(isinstance(each.get("id"), str) and each["id"].strip() for each in inputs):
        raise Refused(not_json("every input needs an id, a string"))
    return inputs


def batch_answer(results: list[dict[str, Any]], errors: list[dict[str, Any]], now: float) -> Answer:
    body: dict[str, Any] = {"status": "COMPLETE", "results": results, "startedAt": iso(now), "completedAt": iso(now)}
    if errors:
        body |= {"numErrors": len(errors), "errors": errors}
    return Answer(207 if errors else 200, body)


def iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _key(each: Mapping[str, Any]) -> str:
    value = str(each["id"])
    return value.strip().lower() if each.get("idProperty") == "email" else value


def _read_properties(asked: object) -> dict[str, str]:
    if not isinstance(asked, dict):
        raise RowRefused("VALIDATION_ERROR", "Invalid input JSON: properties must be an object")
    properties = {}
    for name, value in asked.items():
        if name.startswith("missing"):
            text = f'Property "{name}" does not exist'
            raise RowRefused("VALIDATION_ERROR", not_valid(name, "PROPERTY_DOESNT_EXIST", text))
        if name in READ_ONLY:
            text = f'"{name}" is a read only property; its value cannot be set.'
            raise RowRefused("VALIDATION_ERROR", not_valid(name, "READ_ONLY_VALUE", text))
        if value is not None and not isinstance(value, str | int | float | bool):
            raise RowRefused("VALIDATION_ERROR", f"Invalid input JSON: {name} must be a string")
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        properties[name] = text.strip().lower() if name == "email" else text
    return properties


def _check_email(address: str) -> None:
    if not IS_EMAIL(address) or len(address) > 254:
        text = f"Email address {address} is invalid"
        raise RowRefused("VALIDATION_ERROR", not_valid("email", "INVALID_EMAIL", text))


def _whole_batch(refused: RowRefused) -> Answer:
    status = {"CONFLICT": 409, "OBJECT_NOT_FOUND": 404}.get(refused.category, 400)
    return error(status, refused.category, refused.message)
