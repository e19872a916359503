"""Mailchimp contacts: what a member is as one; brought into the audience, written, looked up, archived.

Consent is never touched. New contacts are made in batches with ``update_existing`` off, so that a contact who is there already
is told as such and left as it is: the batch's ``status`` would otherwise replace theirs, and subscribe who unsubscribed. What else
is to be written goes to each of them in a request of its own that names no status (PATCH).

Facts: Mailchimp's own client, 3.0.80, and slices of its OpenAPI description: 500 members a batch, ``errors`` by address, status
words, a contact is addressed by the MD5 of the lower-cased address, or by its ``contact_id``; DELETE archives, which can be
undone, while the permanent deletion forbids to import the person ever again, and is never asked for. Published by others from
real accounts: codes and words of errors, an address in them may stand in quotes; 405 where a contact is archived already.
[unsure], and what is done about it: whether an archived contact is made anew by a batch or called existing (one that turns out to
be archived is put back with the status of new contacts); whether a batch names everybody (who is not named is looked up); whether
``contact_id`` outlives a changed address (it is used beside the addresses, never instead).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audience_syncs.destinations.mailchimp.calls import EXISTS, Calls, items, refusal_of
from audience_syncs.destinations.verdicts import unsure
from audience_syncs.model.errors import DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, Outgoing, Verdict, VerdictKind

_WITHOUT_REQUIRED = {"skip_merge_validation": "true"}
"""Contacts are taken though a merge field that a form would ask for is empty."""
NOT_TRIED = Verdict(VerdictKind.RETRYABLE, "NOT_TRIED", "a request before this one had no answer, so it was not sent")
NO_CONTACT = Verdict(
    VerdictKind.REJECTED, "NOT_FOUND", "the audience has no contact of this address, and an update makes none"
)
NOT_MADE = Verdict(VerdictKind.REJECTED, "NOT_MADE", "Mailchimp took the contact into the audience, and has none")


@dataclass(frozen=True, slots=True)
class Contact:
    """A contact of the audience. ``new``: made just now. ``tags``: ids of tags that they have, maybe not all."""

    id: str | None
    status: str = ""
    new: bool = False
    tags: frozenset[str] = frozenset()


class Contacts:
    """The contacts of one audience. Thread-safe."""

    def __init__(self, calls: Calls, new_status: str, *, writes_existing: bool, where: str) -> None:
        self._calls = calls
        self._new_status = new_status
        self._writes_existing = writes_existing
        self._where = where
        self._fields: frozenset[str] = frozenset()

    def bring(
        self, people: Mapping[str, Mapping[str, Any]], *, write: bool = True
    ) -> tuple[dict[str, Contact], dict[str, Verdict]]:
        """Makes those who are not there, and writes the fields of those who are: who is a contact now, and who is not.

        ``write``: whether existing contacts are written at all. Raises BatchRefused, NotApplied, NoAnswer.
        """
        self.check_fields(people)
        there, refused = self._made(people)
        existing = [email for email in there if not there[email].new]
        if write and self._writes_existing:
            refused |= self.write({email: people[email] for email in existing})
        return {email: found for email, found in there.items() if email not in refused}, refused

    def write(self, people: Mapping[str, Mapping[str, Any]]) -> dict[str, Verdict]:
        """Writes the fields of existing contacts, one by one; the verdicts of those who were not written."""
        self.check_fields(people)
        refused: dict[str, Verdict] = {}
        silent = False
        for email, fields in people.items():
            if not fields:
                continue
            if silent:
                refused[email] = NOT_TRIED
                continue
            try:
                verdict = self.patch(key_of(email), fields)
            except (NotApplied, NoAnswer) as error:
                silent, verdict = True, unsure(error)
            if verdict is not ACCEPTED:
                refused[email] = verdict
        return refused

    def patch(self, key: str, fields: Mapping[str, Any]) -> Verdict:
        """Writes fields of one contact, and nothing else of them."""
        answer = self._calls.change(
            "PATCH",
            f"/members/{key}",
            {"merge_fields": fields},
            operation="contacts.update",
            params=_WITHOUT_REQUIRED,
        )
        if answer.status == 404:
            return NO_CONTACT
        if answer.status in (400, 422):
            return refusal_of(answer.body if isinstance(answer.body, dict) else {})
        if answer.status >= 400:
            self._calls.raise_refusal(answer, "update contacts")
        return ACCEPTED

    def find(self, key: str) -> Contact | None:
        """By the address's key or the contact's id. Raises NotApplied."""
        answer = self._calls.get(f"/members/{key}", {"fields": "contact_id,status,tags"}, operation="contacts.get")
        if answer.status == 404:
            return None
        if answer.status >= 400:
            self._calls.raise_refusal(answer, "look a contact up")
        told = answer.body.get("tags")
        tags = frozenset(str(tag.get("id")) for tag in told if isinstance(tag, dict)) if isinstance(told, list) else ()
        return Contact(id_of(answer.body), str(answer.body.get("status", "")), tags=frozenset(tags))

    def put_back(self, email: str, fields: Mapping[str, Any]) -> Verdict:
        """An archived contact, as a new one."""
        body = {"email_address": email, "status": self._new_status, "status_if_new": self._new_status}
        answer = self._calls.change(
            "PUT",
            f"/members/{key_of(email)}",
            {**body, **({"merge_fields": fields} if fields else {})},
            operation="contacts.put",
            params=_WITHOUT_REQUIRED,
        )
        if answer.status in (400, 404, 422):
            return refusal_of(answer.body if isinstance(answer.body, dict) else {})
        if answer.status >= 400:
            self._calls.raise_refusal(answer, "put an archived contact back")
        return ACCEPTED

    def archive(self, key: str) -> Verdict:
        """Archived, or not there. Raises NotApplied, NoAnswer."""
        answer = self._calls.change("DELETE", f"/members/{key}", operation="contacts.archive")
        if answer.status in (204, 404):
            return ACCEPTED
        if answer.status == 405:
            found = self.find(key)
            if found is None or found.status == "archived":
                return ACCEPTED
            return Verdict(VerdictKind.REJECTED, "NOT_ARCHIVED", "Mailchimp does not let this contact be archived")
        if answer.status not in (400, 422):
            self._calls.raise_refusal(answer, "archive contacts")
        return refusal_of(answer.body if isinstance(answer.body, dict) else {})

    def check_fields(self, people: Mapping[str, Mapping[str, Any]]) -> None:
        """Mailchimp says nothing of fields that it does not know. Raises DestinationError."""
        wanted = {name for fields in people.values() for name in fields}
        if wanted <= self._fields:
            return
        params = {"fields": "merge_fields.tag,total_items"}
        pages = self._calls.pages(
            "/merge-fields", "merge_fields", params, operation="merge_fields.find", doing="read the merge fields"
        )
        self._fields = frozenset(str(each.get("tag")) for page in pages for each in page)
        missing = sorted(wanted - self._fields)
        if missing:
            raise DestinationError(
                f"the audience has no merge field {', '.join(f'`{name}`' for name in missing)}",
                where=self._where,
                code="MERGE_FIELD_MISSING",
                remedy="make it (Audience, Settings, Audience fields), or map the tag as Mailchimp writes it: "
                + ", ".join(sorted(self._fields)),
            )

    def _made(self, people: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Contact], dict[str, Verdict]]:
        members = [
            {"email_address": email, "status": self._new_status, **({"merge_fields": fields} if fields else {})}
            for email, fields in people.items()
        ]
        answer = self._calls.change(
            "POST",
            "",
            {"members": members, "update_existing": False, "sync_tags": False},
            operation="contacts.subscribe",
            params={**_WITHOUT_REQUIRED, "skip_duplicate_check": "true"},
        )
        if answer.status == 404:
            self._calls.check_audience()
        if answer.status >= 400:
            self._calls.raise_refusal(answer, "take contacts into the audience", per_batch=True)
        try:
            made = items(answer, "new_members")
            errors = {address_of(each): each for each in items(answer, "errors")}
        except NotApplied as error:
            raise NoAnswer(error.message) from error
        there = {address_of(each): Contact(id_of(each), new=True) for each in made}
        refused: dict[str, Verdict] = {}
        silent = False
        for email in people:
            told = errors.get(email, {})
            if email in there:
                continue
            if told.get("error_code") == EXISTS:
                there[email] = Contact(None)
            elif silent:
                refused[email] = NOT_TRIED
            else:
                # Refused, or not named: whoever is a contact all the same can bear the tag.
                try:
                    found = self.find(key_of(email))
                except NotApplied as failed:
                    silent, refused[email] = True, unsure(failed)
                    continue
                if found is None or found.status == "archived":
                    refused[email] = refusal_of(told) if told else NOT_MADE
                else:
                    there[email] = found
        return {email: there[email] for email in people if email in there}, refused


def people_of(batch: Batch) -> dict[str, dict[str, Any]]:
    """The merge fields of the members, by address: those who share one are one contact, with the last one's fields.

    A name with a dot is a part of an address field: ``ADDRESS.city``.
    """
    found: dict[str, dict[str, Any]] = {}
    for member in batch.members:
        email = next(iter(emails_of(member)), None)
        if email is None:
            continue
        fields = found.setdefault(email, {})
        # Empty text empties a merge field, as for ``cleared``.
        for name, value in [*member.fields.items(), *((name, "") for name in member.clears)]:
            if name == "email":
                continue
            text = value if isinstance(value, str) else value[0]
            tag, _, part = name.partition(".")
            if part:
                held = fields.get(tag)
                fields[tag] = {**(held if isinstance(held, dict) else {}), part: text}
            else:
                fields[tag] = text
    return found


def emails_of(member: Outgoing) -> list[str]:
    value = member.fields.get("email", "")
    return [text for text in ([value] if isinstance(value, str) else value) if text]


def cleared(fields: Iterable[str]) -> dict[str, str]:
    """Merge fields, emptied. An address's parts are emptied with it."""
    return {name.partition(".")[0]: "" for name in fields if name != "email"}


def key_of(email: str) -> str:
    """By which a contact is addressed: the MD5 of the lower-cased address."""
    return hashlib.md5(email.lower().encode(), usedforsecurity=False).hexdigest()


def keys_of(member: Outgoing) -> Sequence[str]:
    """Of all addresses, and of the known contact."""
    return [*(key_of(email) for email in emails_of(member)), *([member.remote_id] if member.remote_id else [])]


def address_of(told: Mapping[str, Any]) -> str:
    """The address in an answer, as it was sent: Mailchimp keeps capital letters, and puts some into quotes."""
    found = told.get("email_address")
    return found.strip('"').lower() if isinstance(found, str) else ""


def id_of(told: Mapping[str, Any]) -> str | None:
    found = told.get("contact_id")
    return found if isinstance(found, str) and found else None
