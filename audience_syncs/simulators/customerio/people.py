"""Customer.io's people: one for each ``id``, each with a ``cio_id`` of Customer.io's own, and perhaps an email.

Published: operations of a batch name one identifier; identify makes or updates a person, with ``_update`` only updates one; an
empty value removes an attribute; delete deletes, suppress keeps out for good; an invalid operation is named by its place while the
others are accepted. A person who is suppressed is not made, without a word.

Kept simple, and ours: email identifies beside ``id``; an email that is somebody else's is dropped without a word; somebody known
by email alone gets the id; at most 300 attributes; ids of at most 150 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from audience_syncs.simulators.customerio import errors
from audience_syncs.simulators.customerio.errors import Refused
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MAX_BYTES = 500_000
MAX_BYTES_EACH = 32_768
MAX_ATTRIBUTES = 300
LONGEST_ID = 150
MAX_LOOK_UP = 100
KINDS = ("id", "email", "cio_id")
ACTIONS = ("identify", "delete", "suppress", "unsuppress")
IS_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+").fullmatch
COLUMNS = "number, id, email, attributes"


@dataclass(frozen=True)
class Person:
    number: int
    id: str | None
    email: str | None
    attributes: dict[str, Any]

    @property
    def cio_id(self) -> str:
        return f"a3{self.number:08x}"

    @property
    def identifiers(self) -> dict[str, Any]:
        return {"cio_id": self.cio_id, "email": self.email, "id": self.id}

    def flat(self) -> dict[str, Any]:
        """As the inspection shows it."""
        held = {**self.attributes, "cio_id": self.cio_id, "id": self.id, "email": self.email}
        return {name: value for name, value in held.items() if value is not None}


class People:
    """All people of the workspace."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS people (number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT UNIQUE,"
            " email TEXT UNIQUE, attributes TEXT NOT NULL)",
            "CREATE TABLE IF NOT EXISTS suppressed (kind TEXT, value TEXT, PRIMARY KEY (kind, value))",
        )

    def check(self, body: object, rejected: frozenset[int]) -> tuple[Answer, list[Any]]:
        """The answer to a batch, and the operations that were taken; raises Refused."""
        batch = body.get("batch") if isinstance(body, dict) else None
        if not isinstance(batch, list) or not batch:
            raise Refused(errors.second(errors.of_operation("required", "batch", "batch is required")))
        if len(orjson.dumps(body)) > MAX_BYTES:
            raise Refused(errors.second(errors.of_operation("too large", "batch", "the batch is too large")))
        failed, taken = [], []
        for place, each in enumerate(batch):
            wrong = errors.of_operation("invalid", "attributes", "could not be taken") if place in rejected else None
            wrong = wrong or problem_of(each)
            if wrong is None:
                taken.append(each)
            else:
                failed.append({"batch_index": place, **wrong})
        return (Answer(207, {"errors": failed}) if failed else Answer(200, {})), taken

    def do(self, operation: Mapping[str, Any]) -> None:
        ((kind, value),) = operation["identifiers"].items()
        found = self.find(kind, [value])
        action = operation["action"]
        with self._store.transaction() as db:
            if action == "suppress":
                db.execute("INSERT OR IGNORE INTO suppressed VALUES (?, ?)", (kind, value))
            elif action == "unsuppress":
                db.execute("DELETE FROM suppressed WHERE kind = ? AND value = ?", (kind, value))
        if action == "identify":
            self._identify(kind, value, dict(operation.get("attributes") or {}), found)
        elif action in ("delete", "suppress") and found:
            with self._store.transaction() as db:
                db.execute("DELETE FROM people WHERE number = ?", (found[0].number,))
                db.execute("DELETE FROM memberships WHERE person = ?", (found[0].number,))

    def _identify(self, kind: str, value: str, attributes: dict[str, Any], found: Sequence[Person]) -> None:
        only_update = attributes.pop("_update", False) in (True, "true")
        if self._store.row("SELECT 1 FROM suppressed WHERE kind = ? AND value = ?", kind, value):
            return
        email = attributes.pop("email", None) or (value if kind == "email" else None)
        email = email.lower() if isinstance(email, str) else None
        owner = self.find("email", [email])[0] if email and self.find("email", [email]) else None
        person = found[0] if found else None
        if person is None and owner is not None and owner.id is None and kind == "id":
            person = owner
        if person is None and (only_update or kind == "cio_id"):
            return
        if owner is not None and (person is None or owner.number != person.number):
            email = None  # somebody else's
        held = {**(person.attributes if person else {}), **attributes}
        held = {name: each for name, each in held.items() if each not in (None, "")}
        own = value if kind == "id" else (person.id if person else attributes.get("id"))
        address = email or (person.email if person else None)
        with self._store.transaction() as db:
            if person is None:
                db.execute(
                    "INSERT INTO people (id, email, attributes) VALUES (?, ?, ?)",
                    (own, address, orjson.dumps(held).decode()),
                )
            else:
                db.execute(
                    "UPDATE people SET id = ?, email = ?, attributes = ? WHERE number = ?",
                    (own, address, orjson.dumps(held).decode(), person.number),
                )

    def find(self, kind: str, values: Sequence[str]) -> list[Person]:
        column = "number" if kind == "cio_id" else kind
        wanted: list[Any] = [*values]
        if kind == "cio_id":
            wanted = [number_of(each) for each in values]
        elif kind == "email":
            wanted = [each.lower() for each in values]
        found = self._store.rows(
            f"SELECT {COLUMNS} FROM people WHERE {column} IN (SELECT value FROM json_each(?)) ORDER BY number",
            orjson.dumps(wanted).decode(),
        )
        return [person_of(row) for row in found]

    def look_up(self, body: object, query: Mapping[str, str]) -> Answer:
        ids, kind = body.get("ids") if isinstance(body, dict) else None, query.get("id_type", "id")
        if kind not in KINDS:
            raise Refused(errors.app(400, "id_type is not one of id, email, cio_id"))
        if not isinstance(ids, list) or not 1 <= len(ids) <= MAX_LOOK_UP or not all(isinstance(i, str) for i in ids):
            raise Refused(errors.app(400, f"ids must be 1 to {MAX_LOOK_UP} identifiers"))
        told: list[dict[str, Any]] = [
            {
                "customer": {
                    "id": person.id,
                    "identifiers": person.identifiers,
                    "attributes": {name: str(value) for name, value in person.flat().items()},
                    "timestamps": {"cio_id": 1_600_000_000},
                    "unsubscribed": False,
                    "devices": [],
                }
            }
            for person in self.find(kind, ids)
        ]
        return Answer(200, {"customers": told})

    def put_other(self, given: Mapping[str, str]) -> int:
        """Somebody whom others brought; their number."""
        self._identify("id", given["id"], {k: v for k, v in given.items() if k != "id"}, self.find("id", [given["id"]]))
        return self.find("id", [given["id"]])[0].number


def problem_of(operation: object) -> dict[str, str] | None:
    """What the Track API refuses at once about one operation."""
    if not isinstance(operation, dict) or operation.get("type") != "person":
        return errors.of_operation("invalid", "type", "type must be person")
    if operation.get("action") not in ACTIONS:
        return errors.of_operation("invalid", "action", "unknown action")
    identifiers = operation.get("identifiers")
    if not isinstance(identifiers, dict) or len(identifiers) != 1 or next(iter(identifiers)) not in KINDS:
        return errors.of_operation("invalid", "identifiers", "exactly one of id, email, cio_id is required")
    ((kind, value),) = identifiers.items()
    if not isinstance(value, str) or not value.strip() or len(value.encode()) > LONGEST_ID:
        return errors.of_operation("invalid", f"identifiers.{kind}", f"{value} is not an identifier")
    attributes = operation.get("attributes", {})
    if not isinstance(attributes, dict) or len(attributes) > MAX_ATTRIBUTES:
        return errors.of_operation("invalid", "attributes", "attributes must be an object")
    email = attributes.get("email")
    if email not in (None, "") and (not isinstance(email, str) or not IS_EMAIL(email)):
        return errors.of_operation("invalid", "attributes.email", f"{email} is not an email address")
    if len(orjson.dumps(operation)) > MAX_BYTES_EACH:
        return errors.of_operation("too large", "attributes", "the operation is larger than 32 KB")
    return None


def person_of(row: tuple[Any, ...]) -> Person:
    number, own, email, attributes = row
    return Person(number, own, email, orjson.loads(attributes))


def number_of(cio_id: str) -> int:
    """0 for what is no id of ours."""
    try:
        return int(cio_id.removeprefix("a3"), 16) if cio_id.startswith("a3") and len(cio_id) == 10 else 0
    except ValueError:
        return 0
