"""Mailchimp's static segments, and who is in them. Its pages show them as tags, and a contact's tags are these.

Published: at most 500 addresses each way in one call; addresses that are not in the audience are ignored; ``member_count`` counts
subscribed contacts, and others only when they are asked for; the tags of one contact are set by name, which makes a tag that
there is not. Observed by others: the names of tags are unique in an audience.

A key named ``strict...`` has an account in which the call for many takes subscribed contacts only, and names the others among
its errors: the call for a single one is said to do so, and nobody has published what this one does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators.mailchimp import errors
from audience_syncs.simulators.mailchimp.contacts import Contact, Contacts, contact_of, iso, says
from audience_syncs.simulators.mailchimp.errors import Refused
from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.store import Store

MAX_CHANGES = 500
MAX_PAGE = 1_000
CHUNK = 20_000


class Segments:
    """The static segments of all audiences."""

    def __init__(self, store: Store, contacts: Contacts, delay_s: float) -> None:
        self._store = store
        self._contacts = contacts
        self._delay_s = delay_s
        store.create(
            "CREATE TABLE IF NOT EXISTS segments (number INTEGER PRIMARY KEY AUTOINCREMENT, audience TEXT NOT NULL,"
            " name TEXT NOT NULL, type TEXT NOT NULL, created REAL NOT NULL)",
            "CREATE TABLE IF NOT EXISTS memberships (segment INTEGER, contact INTEGER, PRIMARY KEY (segment, contact))"
            " WITHOUT ROWID",
        )

    def create(self, audience: str, body: object, now: float) -> Answer:
        given = body if isinstance(body, dict) else {}
        name, static = given.get("name"), given.get("static_segment")
        if not isinstance(name, str) or not name.strip():
            raise Refused(errors.schema("name", "This value should not be blank."))
        if static is None and not isinstance(given.get("options"), dict):
            raise Refused(errors.schema("", 'Must provide either an "options" field or a "static_segment" field'))
        if self._named(audience, name):
            raise Refused(errors.problem(400, "Bad Request", "Sorry, that tag already exists."))
        number = self._make(audience, name, "saved" if static is None else "static", now)
        self.put(number, [each.number for each in self._contacts.all_of(audience, static or [])], now)
        return Answer(200, self._show(number, {}, now))

    def _make(self, audience: str, name: str, kind: str, now: float) -> int:
        with self._store.transaction() as db:
            cursor = db.execute(
                "INSERT INTO segments (audience, name, type, created) VALUES (?, ?, ?, ?)", (audience, name, kind, now)
            )
        return int(cursor.lastrowid or 0)

    def find(self, audience: str, query: Mapping[str, str], now: float) -> Answer:
        found = self._store.rows(
            "SELECT number FROM segments WHERE audience = ?1 AND (?2 = '' OR type = ?2) ORDER BY number",
            audience,
            query.get("type", ""),
        )
        shown = [self._show(number, query, now) for (number,) in page_of(found, query)]
        return Answer(200, {"segments": shown, "list_id": audience, "total_items": len(found), "_links": []})

    def get(self, audience: str, name: str, query: Mapping[str, str], now: float) -> Answer:
        return Answer(200, self._show(self.number(audience, name), query, now))

    def change(
        self, audience: str, name: str, body: object, rejected: frozenset[int], now: float, *, strict: bool
    ) -> Answer:
        number = self.number(audience, name)
        (kind,) = self._store.row("SELECT type FROM segments WHERE number = ?", number) or ("",)
        if kind != "static":
            text = f"A Static Segment with an id of {name} does not exist for this list."
            raise Refused(errors.problem(404, "Resource Not Found", text))
        given = body if isinstance(body, dict) else {}
        wanted: list[list[str]] = [given.get(way) or [] for way in ("members_to_add", "members_to_remove")]
        for way, emails in zip(("members_to_add", "members_to_remove"), wanted, strict=True):
            if not isinstance(emails, list) or not all(isinstance(each, str) for each in emails):
                raise Refused(errors.schema(way, "Schema describes array"))
            if len(emails) > MAX_CHANGES:
                raise Refused(errors.schema(way, f"This collection should contain {MAX_CHANGES} elements or less."))
        to_add, to_remove = wanted
        refused = [each for place, each in enumerate([*to_add, *to_remove]) if place in rejected]
        added = self._contacts.all_of(audience, [each for each in to_add if each not in refused])
        others = [each.email for each in added if each.status != "subscribed"] if strict else []
        added = [each for each in added if each.email not in others]
        removed = self._contacts.all_of(audience, [each for each in to_remove if each not in refused])
        asked = orjson.dumps([each.number for each in [*added, *removed]]).decode()
        held = {
            each
            for (each,) in self._store.rows(
                "SELECT contact FROM memberships WHERE segment = ? AND contact IN (SELECT value FROM json_each(?))",
                number,
                asked,
            )
        }
        added = [each for each in added if each.number not in held]
        removed = [each for each in removed if each.number in held]
        self.put(number, [each.number for each in added], now)
        self.take_out(number, [each.number for each in removed], now)
        known = {each.email.lower() for each in self._contacts.all_of(audience, [*to_add, *to_remove])}
        missing = [each for each in [*to_add, *to_remove] if each.lower() not in known and each not in refused]
        failed = [
            {"email_addresses": emails, "error": text}
            for emails, text in (
                (missing, "Email addresses do not exist in this list"),
                (others, "Email is not subscribed to the list"),
                (refused, "Email addresses could not be changed"),
            )
            if emails
        ]
        return Answer(
            200,
            {
                "members_added": [each.as_json() for each in added],
                "members_removed": [each.as_json() for each in removed],
                "errors": failed,
                "total_added": len(added),
                "total_removed": len(removed),
                "error_count": len(failed),
                "_links": [],
            },
        )

    def page(self, audience: str, name: str, query: Mapping[str, str]) -> Answer:
        number = self.number(audience, name)
        found = self._store.rows(
            "SELECT c.number, c.audience, c.email, c.status, c.fields FROM memberships m "
            "JOIN contacts c ON c.number = m.contact WHERE m.segment = ? ORDER BY c.number",
            number,
        )
        shown = [contact_of(row) for row in found]
        told = [each for each in shown if each.status in statuses(query)]
        return Answer(
            200,
            {"members": [each.as_json() for each in page_of(told, query)], "total_items": len(told), "_links": []},
        )

    # The tags of one contact

    def tags(self, contact: Contact) -> list[dict[str, Any]]:
        found = self._store.rows(
            "SELECT s.number, s.name FROM memberships m JOIN segments s ON s.number = m.segment "
            "WHERE m.contact = ? ORDER BY s.number",
            contact.number,
        )
        return [{"id": number, "name": name} for number, name in found]

    def tag(self, contact: Contact, body: object, now: float) -> Answer:
        tags = body.get("tags") if isinstance(body, dict) else None
        if not isinstance(tags, list) or not all(isinstance(each, dict) for each in tags):
            raise Refused(errors.schema("tags", "This value should not be blank."))
        for each in tags:
            name, status = each.get("name"), each.get("status")
            if not isinstance(name, str) or status not in ("active", "inactive"):
                raise Refused(errors.schema("tags.item:0.status", "Value must be one of active, inactive"))
            found = self._named(audience=contact.audience, name=name)
            if status == "active":
                number = found or self._make(contact.audience, name, "static", now)
                self.put(number, [contact.number], now)
            elif found:
                self.take_out(found, [contact.number], now)
        return Answer(204)

    # Inside

    def number(self, audience: str, name: str) -> int:
        """Raises Refused where there is no such segment."""
        found = self._store.row(
            "SELECT number FROM segments WHERE number = ? AND audience = ?", as_number(name), audience
        )
        if found is None:
            raise Refused(errors.not_found())
        return int(found[0])

    def _named(self, audience: str, name: str) -> int:
        """The segment of that name, without regard to capital letters; 0 where there is none."""
        found = self._store.rows("SELECT number, name FROM segments WHERE audience = ?", audience)
        return next((int(number) for number, each in found if each.casefold() == name.casefold()), 0)

    def all(self) -> list[tuple[int, str, str]]:
        return [(*row,) for row in self._store.rows("SELECT number, name, audience FROM segments ORDER BY number")]

    def audience_of(self, number: int) -> str:
        (found,) = self._store.row("SELECT audience FROM segments WHERE number = ?", number) or ("",)
        return str(found)

    def put(self, number: int, contacts: Iterable[int], now: float) -> int:
        with self._store.transaction() as db:
            before = db.total_changes
            db.executemany("INSERT OR IGNORE INTO memberships VALUES (?, ?)", [(number, each) for each in contacts])
            added = db.total_changes - before
            self._note(db, number, now)
            return added

    def take_out(self, number: int, contacts: Sequence[int], now: float) -> None:
        with self._store.transaction() as db:
            db.executemany(
                "DELETE FROM memberships WHERE segment = ? AND contact = ?", [(number, each) for each in contacts]
            )
            self._note(db, number, now)

    def count_again(self, contact: int, now: float) -> None:
        """Somebody was archived or deleted: the sizes of what they are in change, now or never."""
        found = self._store.rows("SELECT segment FROM memberships WHERE contact = ?", contact)
        with self._store.transaction() as db:
            db.execute("DELETE FROM memberships WHERE contact NOT IN (SELECT number FROM contacts)")
            for (number,) in found:
                self._note(db, number, now)

    def delete(self, number: int) -> None:
        with self._store.transaction() as db:
            db.execute("DELETE FROM segments WHERE number = ?", (number,))
            db.execute("DELETE FROM memberships WHERE segment = ?", (number,))
            db.execute("DELETE FROM sizes WHERE list = ?", (number,))

    def _note(self, db: Any, number: int, now: float) -> None:
        everybody, subscribed = db.execute(
            "SELECT count(*), coalesce(sum(c.status = 'subscribed'), 0) FROM memberships m "
            "JOIN contacts c ON c.number = m.contact WHERE m.segment = ? AND c.status <> 'archived'",
            (number,),
        ).fetchone()
        self._store.note_size(db, number, now, everybody, subscribed, self._delay_s)

    def size(self, number: int) -> int:
        return sum(1 for _ in self._listed(number))

    def _listed(self, number: int) -> Iterator[tuple[int, dict[str, Any]]]:
        after = 0
        while page := self.members(number, after, CHUNK):
            after = page[-1][0]
            yield from ((each, orjson.loads(text)) for each, text in page)

    def members(self, number: int, after: int, limit: int) -> list[tuple[int, str]]:
        found = self._store.rows(
            "SELECT c.number, c.audience, c.email, c.status, c.fields FROM memberships m "
            "JOIN contacts c ON c.number = m.contact "
            "WHERE m.segment = ? AND c.status <> 'archived' AND c.number > ? ORDER BY c.number LIMIT ?",
            number,
            after,
            limit,
        )
        return [(each.number, orjson.dumps(flat(each)).decode()) for each in map(contact_of, found)]

    def values(self, number: int, wanted: str) -> Iterator[list[str]]:
        yield [str(told[wanted]) for _, told in self._listed(number) if told.get(wanted)]

    def _show(self, number: int, query: Mapping[str, str], now: float) -> dict[str, Any]:
        found = self._store.row("SELECT name, audience, type, created FROM segments WHERE number = ?", number)
        name, audience, kind, created = found or ("", "", "", 0)
        everybody, subscribed = self._store.size_seen(number, now, self._delay_s)
        all_statuses = len(statuses(query)) > 2
        return {
            "id": number,
            "name": name,
            "member_count": everybody if all_statuses else subscribed,
            "type": kind,
            "created_at": iso(created),
            "updated_at": iso(created),
            "list_id": audience,
            "_links": [],
        }


def statuses(query: Mapping[str, str]) -> set[str]:
    """Which contacts are told of."""
    also = {each for each in ("cleaned", "transactional", "unsubscribed") if says(query, f"include_{each}")}
    return {"subscribed", *also, *({"pending"} if also else set())}


def flat(contact: Contact) -> dict[str, Any]:
    """A member as the inspection shows it."""
    return {
        "id": contact.contact_id,
        "email_address": contact.email.lower(),
        "status": contact.status,
        **contact.fields,
    }


def page_of(found: Sequence[Any], query: Mapping[str, str]) -> Sequence[Any]:
    count, offset = query.get("count", "10"), query.get("offset", "0")
    if not (count.isdigit() and offset.isdigit()) or int(count) > MAX_PAGE:
        raise Refused(errors.schema("count", f"Value must be between 0 and {MAX_PAGE}"))
    return found[int(offset) : int(offset) + int(count)]


def as_number(name: str) -> int:
    """0 for what is no id of ours."""
    return int(name) if name.isascii() and name.isdigit() and len(name) < 19 else 0
