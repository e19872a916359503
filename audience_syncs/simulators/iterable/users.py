"""Iterable's users: known by email address, userId, or both, as the kind of project has it.

Documented: emails are unique in email-based and hybrid projects, userIds in userID-based and hybrid ones; a userId has at most 52
printable ASCII characters and no space at its end; the type of a field is that of its first value and never changes; forgotten users
take nothing any more; an email-based project makes a user of a userId only when asked, with a placeholder for the address.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping
from typing import Any

import orjson

from audience_syncs.simulators.iterable.answers import Refused
from audience_syncs.simulators.store import Store

EMAIL_BASED, USER_ID_BASED, HYBRID = "email-based", "userID-based", "hybrid"
IS_EMAIL = re.compile(r"[^\s@]+@[^\s@.]+(\.[^\s@.]+)+").fullmatch
IS_USER_ID = re.compile(r"[ -~]{0,51}[!-~]").fullmatch
PLACEHOLDER = "placeholder.email"


class Failed(Exception):
    """One user of a request who is not updated. ``why`` is the name of the list of failures, without its ending."""

    def __init__(self, why: str, *, email: str = "", user_id: str = "") -> None:
        self.why, self.email, self.user_id = why, email, user_id
        super().__init__(why)


class Users:
    """All users of the one project there is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.create(
            "CREATE TABLE IF NOT EXISTS users (number INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT, user_id TEXT,"
            " fields TEXT NOT NULL, unsubscribed INTEGER NOT NULL DEFAULT 0)",
            "CREATE INDEX IF NOT EXISTS users_by_email ON users (email)",
            "CREATE INDEX IF NOT EXISTS users_by_user_id ON users (user_id)",
            "CREATE TABLE IF NOT EXISTS forgotten (value TEXT PRIMARY KEY)",
            "CREATE TABLE IF NOT EXISTS field_types (name TEXT PRIMARY KEY, type TEXT)",
        )

    def named(self, db: sqlite3.Connection, given: Mapping[str, Any], project: str) -> tuple[str, str, int]:
        """Email, userId and number (0 where there is none) of whom a row is about; raises Failed and Refused."""
        email, user_id = _text(given.get("email")).strip().lower(), _text(given.get("userId"))
        if project == USER_ID_BASED:
            email = ""
        if not email and not user_id:
            raise Refused(400, "BadParams", "Either email or userId must be passed in to identify the user")
        if email and not IS_EMAIL(email):
            raise Failed("invalid", email=_text(given.get("email")))
        if user_id and not IS_USER_ID(user_id):
            raise Failed("invalid", user_id=user_id)
        for value, name in ((email, "email"), (user_id, "user_id")):
            if value and db.execute("SELECT 1 FROM forgotten WHERE value = ?", (value,)).fetchone():
                raise Failed("forgotten", **{name: value})
        by_email = self._number(db, "email", email)
        by_user_id = self._number(db, "user_id", user_id)
        if by_email and by_user_id and by_email != by_user_id and project == HYBRID:
            raise Failed("conflict", user_id=user_id)
        return email, user_id, by_email or (0 if email and project == EMAIL_BASED else by_user_id)

    def write(
        self, db: sqlite3.Connection, given: Mapping[str, Any], project: str, *, existing_only: bool = False
    ) -> int:
        """Makes or updates a user; raises Failed."""
        email, user_id, number = self.named(db, given, project)
        fields = dict(given.get("dataFields") or {})
        self._check_identity(db, fields, number, project)
        if not number:
            if existing_only and project != EMAIL_BASED:
                raise Failed("notFound", email=email, user_id="" if email else user_id)
            if project == EMAIL_BASED and not email:
                if not given.get("preferUserId"):
                    raise Failed("notFound", user_id=user_id)
                email = f"{user_id}@{PLACEHOLDER}".lower()
            cursor = db.execute(
                "INSERT INTO users (email, user_id, fields) VALUES (?, ?, '{}')", (email or None, user_id or None)
            )
            number = int(cursor.lastrowid or 0)
        held_email, held_id, text = db.execute(
            "SELECT email, user_id, fields FROM users WHERE number = ?", (number,)
        ).fetchone()
        held = orjson.loads(text) | fields
        db.execute(
            "UPDATE users SET email = ?, user_id = ?, fields = ? WHERE number = ?",
            (
                held.pop("email", None) or email or held_email,
                held.pop("userId", None) or user_id or held_id,
                orjson.dumps(held).decode(),
                number,
            ),
        )
        return number

    def _check_identity(self, db: sqlite3.Connection, fields: dict[str, Any], number: int, project: str) -> None:
        email, user_id = fields.get("email"), fields.get("userId")
        if email is not None:
            fields["email"] = _text(email).lower()
            if not IS_EMAIL(fields["email"]):
                raise Failed("invalid", email=_text(email))
            if project != USER_ID_BASED and self._number(db, "email", fields["email"]) not in (0, number):
                raise Failed("conflict", email=fields["email"])
        if user_id is not None:
            if not IS_USER_ID(_text(user_id)):
                raise Failed("invalid", user_id=_text(user_id))
            if project != EMAIL_BASED and self._number(db, "user_id", _text(user_id)) not in (0, number):
                raise Failed("conflict", user_id=_text(user_id))

    def check_types(self, db: sqlite3.Connection, fields: Mapping[str, Any]) -> None:
        """Remembers the types of new fields; raises Refused for a value of another type, with the value."""
        for name, value in fields.items():
            kind = _type_of(value)
            if kind is None:
                continue
            found = db.execute("SELECT type FROM field_types WHERE name = ?", (name,)).fetchone()
            if found is None:
                db.execute("INSERT INTO field_types VALUES (?, ?)", (name, kind))
            elif found[0] != kind:
                wrong = {
                    "incomingTypes": [kind],
                    "expectedType": found[0],
                    "category": "user",
                    "offendingValue": value,
                    "_type": "UnexpectedType",
                }
                params = {"validationErrors": {f"project_etl:::{name}": wrong}}
                words = "Project 1: The request does not have the same data types as the project's fields"
                raise Refused(400, "RequestFieldsTypesMismatched", words, params)

    def forget(self, db: sqlite3.Connection, value: str) -> None:
        db.execute("INSERT OR IGNORE INTO forgotten VALUES (?)", (value,))

    def delete(self, db: sqlite3.Connection, name: str, value: str) -> int:
        found = db.execute(f"SELECT number FROM users WHERE {name} = ?", (value,)).fetchall()
        for (number,) in found:
            db.execute("DELETE FROM memberships WHERE user = ?", (number,))
            db.execute("DELETE FROM users WHERE number = ?", (number,))
        return len(found)

    def shown(self, name: str, value: str) -> dict[str, Any] | None:
        found = self._store.row(
            f"SELECT number, email, user_id, fields, unsubscribed FROM users WHERE {name} = ?", value
        )
        if found is None:
            return None
        number, email, user_id, fields, unsubscribed = found
        lists = [list_id for (list_id,) in self._store.rows("SELECT list FROM memberships WHERE user = ?", number)]
        held = {**orjson.loads(fields), "email": email, "userId": user_id, "emailListIds": lists}
        if unsubscribed:
            held["unsubscribedChannelIds"] = [1]
        return {"email": email, "userId": user_id, "dataFields": {k: v for k, v in held.items() if v is not None}}

    def _number(self, db: sqlite3.Connection, name: str, value: str) -> int:
        if not value:
            return 0
        found = db.execute(f"SELECT number FROM users WHERE {name} = ? ORDER BY number", (value,)).fetchone()
        return int(found[0]) if found else 0


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _type_of(value: object) -> str | None:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "boolean"),
        (str, "string"),
        (int, "long"),
        (float, "double"),
        (list, "array"),
        (dict, "object"),
    )
    return next((word for kind, word in kinds if isinstance(value, kind)), None)
