"""Static segments of a Mailchimp audience, which its pages show as tags.

Facts: Mailchimp's own client, 3.0.80: 500 addresses a call, ``members_added``, ``members_removed`` and ``errors`` with the
addresses and a text; contacts of every status are told when they are asked for by name (``include_transactional`` ...). Others have
published that the single call for a segment refuses who is not subscribed.
[unsure], and what is done about it: whether the call for many does so too, and whether it names those who are in the segment
already. So only those it names are believed. Everybody else is asked for, and gets, or loses, the tag by the call that is made for
tags, which knows every status; whose parameter is the tag's name, read just before. Whether names are unique, and in which case:
of several the oldest is taken; a name that is refused is looked for without regard to capital letters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audience_syncs.destinations.contract import ListMember
from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.mailchimp.calls import Calls, items
from audience_syncs.destinations.mailchimp.contacts import address_of, id_of
from audience_syncs.identifiers import UnusableIdentifier, normalise
from audience_syncs.model.errors import DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import FieldValue

ADD, REMOVE = "members_to_add", "members_to_remove"
_EVERYBODY: Mapping[str, str | int] = {
    "include_cleaned": "true",
    "include_transactional": "true",
    "include_unsubscribed": "true",
}


class Segments:
    """The static segments of one audience. Thread-safe."""

    def __init__(self, calls: Calls, where: str) -> None:
        self._calls = calls
        self._where = where

    def get(self, segment: str, *, everybody: bool = False) -> Mapping[str, Any]:
        """Raises ListMissing."""
        answer = self._calls.get(f"/segments/{segment}", _EVERYBODY if everybody else None, operation="segments.get")
        if answer.status in (400, 404):
            self._calls.check_audience()
            raise self._missing(segment)
        if answer.status >= 400:
            self._calls.raise_refusal(answer, "read the tag")
        if not answer.body.get("id") or not isinstance(answer.body.get("name"), str):
            raise NotApplied("mailchimp segments.get: the answer has no tag")
        if answer.body.get("type", "static") != "static":
            raise DestinationError(
                f"the segment {segment} is not a tag: Mailchimp fills it by conditions",
                where=self._where,
                code="NOT_A_TAG",
                remedy="give the sync the id of a tag, or a `name` of its own",
            )
        found: Mapping[str, Any] = answer.body
        return found

    def named(self, name: str, *, folded: bool = False) -> Mapping[str, Any] | None:
        """The oldest of that name; ``folded``: without regard to capital letters."""
        try:
            pages = self._calls.pages(
                "/segments",
                "segments",
                {"type": "static", "fields": "segments.id,segments.name,segments.created_at,total_items"},
                operation="segments.find",
                doing="find the tag",
            )
            found = [
                each
                for page in pages
                for each in page
                if each.get("id")
                and (each.get("name") == name or (folded and _folded(each.get("name")) == _folded(name)))
            ]
        except DestinationError:
            self._calls.check_audience()  # the better words, where the audience is what is missing
            raise
        return min(found, key=lambda each: (str(each.get("created_at")), str(each["id"]).zfill(20)), default=None)

    def make(self, name: str) -> tuple[Mapping[str, Any], bool]:
        """The tag, and whether this made it."""
        try:
            answer = self._calls.change(
                "POST",
                "/segments",
                {"name": name, "static_segment": []},
                operation="segments.create",
                idempotent=False,
            )
        except NoAnswer:
            found = self.named(name)
            if found is not None:
                return found, False
            raise
        if answer.status == 400:
            found = self.named(name, folded=True)
            if found is not None:
                return found, False
        if answer.status >= 400:
            self._calls.raise_refusal(answer, "make the tag")
        if not answer.body.get("id"):
            raise NoAnswer("mailchimp segments.create: the answer has no tag")
        # Another sync may have made one at the same moment: both take the older one.
        oldest = self.named(name) or answer.body
        return oldest, oldest["id"] == answer.body["id"]

    def change(self, segment: str, way: str, emails: Sequence[str]) -> dict[str, str | None]:
        """Those who were added, or removed, as Mailchimp tells: address -> contact's id, where it tells that.

        Raises BatchRefused, ListMissing, NotApplied, NoAnswer.
        """
        answer = self._calls.change("POST", f"/segments/{segment}", {way: list(emails)}, operation="segments.change")
        if answer.status in (400, 404):
            self.get(segment)
        if answer.status >= 400:
            self._calls.raise_refusal(answer, "change who has the tag", per_batch=True)
        try:
            found = items(answer, "members_added" if way == ADD else "members_removed")
        except NotApplied as error:
            raise NoAnswer(error.message) from error
        return {address_of(each): id_of(each) for each in found}

    def tag_of(self, key: str, segment: str) -> str | None:
        """The tag's name, where the contact has it; None where they have not, or are none. Raises NotApplied."""
        answer = self._calls.get(f"/members/{key}/tags", {"count": 1_000}, operation="tags.get")
        if answer.status == 404:
            return None
        if answer.status >= 400:
            self._calls.raise_refusal(answer, "read a contact's tags")
        return next((str(tag.get("name")) for tag in items(answer, "tags") if str(tag.get("id")) == segment), None)

    def tag(self, key: str, name: str, *, on: bool) -> Answer:
        """204, or why not."""
        body = {"tags": [{"name": name, "status": "active" if on else "inactive"}]}
        answer = self._calls.change("POST", f"/members/{key}/tags", body, operation="tags.change")
        if answer.status in (401, 403):
            self._calls.raise_refusal(answer, "tag contacts")
        return answer

    def members(self, segment: str) -> Iterator[Sequence[ListMember]]:
        self.get(segment)
        pages = self._calls.pages(
            f"/segments/{segment}/members",
            "members",
            {"fields": "members.email_address,members.contact_id,total_items", **_EVERYBODY},
            operation="members.read",
            doing="read who has the tag",
        )
        for page in pages:
            yield [as_member(each) for each in page]

    def _missing(self, segment: str) -> ListMissing:
        return ListMissing(
            f"the Mailchimp tag {segment} no longer exists",
            where=self._where,
            remedy="deleted tags cannot be restored: give the sync another `name` to fill a new one",
        )


def as_member(told: Mapping[str, Any]) -> ListMember:
    email = told.get("email_address")
    fields: dict[str, FieldValue] = {"email": _as_sent(email)} if isinstance(email, str) and email else {}
    return ListMember(fields, id_of(told))


def _as_sent(email: str) -> str:
    """An address in the form in which it would be sent; Mailchimp has some that we would not send."""
    try:
        return normalise("mailchimp", "email", email)
    except UnusableIdentifier:
        return email.strip().lower()


def _folded(name: object) -> str:
    return str(name).strip().casefold()
