"""Klaviyo profiles: what a member is as one, and profiles that are found by email or by id.

Facts: Klaviyo's OpenAPI description (revision 2026-07-15): the attributes of a profile, ``any`` and ``equals`` on ``email`` and
``id``, 100 profiles a page. [unsure]: whether the filter finds an email that Klaviyo keeps with capital letters; how many
values ``any`` takes, and how long an address may be: 100 values in 6,000 characters are asked for at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.destinations.contract import ListMember
from audience_syncs.destinations.klaviyo.calls import Calls, attributes_of, cursor_after, raise_refusal, resources
from audience_syncs.identifiers import UnusableIdentifier, normalise
from audience_syncs.model.errors import NotApplied
from audience_syncs.model.values import Batch, FieldValue, Outgoing

PROFILES = "/api/profiles"
PAGE = 100
"""Profiles per page, and addresses per look-up."""
_LONGEST_FILTER = 6_000
ATTRIBUTES = ("phone_number", "external_id", "first_name", "last_name", "organization", "title", "locale", "image")
"""What stands beside the email. Phone number and external id belong to one profile only."""
IN_LOCATION = ("address1", "address2", "city", "region", "country", "zip", "timezone")
NEVER_CLEARED = frozenset({"email", "phone_number", "external_id"})
"""What a profile is found by, by us or by others."""


def email_of(member: Outgoing) -> str | None:
    value = member.fields.get("email", "")
    return next((text for text in ([value] if isinstance(value, str) else value) if text), None)


def emails_of(member: Outgoing) -> list[str]:
    value = member.fields.get("email", "")
    return [text for text in ([value] if isinstance(value, str) else value) if text]


def profiles_of(batch: Batch) -> dict[str, dict[str, Any]]:
    """The members as profiles, by email: those who share one are one profile, with the last one's fields."""
    found: dict[str, dict[str, Any]] = {}
    for member in batch.members:
        email = email_of(member)
        if email is None:
            continue
        profile = found.setdefault(email, {"email": email})
        for name, value in member.fields.items():
            if name == "email":
                continue
            if name in ATTRIBUTES:
                profile[name] = value if isinstance(value, str) else value[0]
            elif name in IN_LOCATION:
                profile.setdefault("location", {})[name] = value if isinstance(value, str) else value[0]
            else:
                profile.setdefault("properties", {})[name] = value
    return found


def clears_of(batch: Batch) -> dict[str, list[str]]:
    """The fields to empty, by email: of those who share one, the last one's word on a field counts."""
    found: dict[str, dict[str, None]] = {}
    for member in batch.members:
        email = email_of(member)
        if email is not None:
            fields = found.setdefault(email, {})
            for name in member.fields:
                fields.pop(name, None)
            fields |= dict.fromkeys(member.clears)
    return {email: list(fields) for email, fields in found.items()}


def cleared(fields: Iterable[str]) -> tuple[dict[str, Any], list[str]]:
    """Attributes that empty these fields of a profile, and the properties to drop from it."""
    attributes: dict[str, Any] = {}
    properties: list[str] = []
    for name in fields:
        if name in NEVER_CLEARED:
            continue
        if name in ATTRIBUTES:
            attributes[name] = None
        elif name in IN_LOCATION:
            attributes.setdefault("location", {})[name] = None
        else:
            properties.append(name)
    return attributes, properties


def ids_by_email(calls: Calls, emails: Iterable[str]) -> dict[str, str]:
    """email -> profile id of those there are. Raises NotApplied where there is no answer."""
    found: dict[str, str] = {}
    for profile in _found(calls, "email", emails):
        found[str(attributes_of(profile).get("email") or "").lower()] = str(profile["id"])
    return found


def existing(calls: Calls, ids: Iterable[str]) -> set[str]:
    """Which of these ids are profiles. Raises NotApplied where there is no answer."""
    return {str(profile["id"]) for profile in _found(calls, "id", ids)}


def as_member(profile: Mapping[str, Any]) -> ListMember:
    email = attributes_of(profile).get("email")
    fields: dict[str, FieldValue] = {"email": _as_sent(email)} if isinstance(email, str) and email else {}
    return ListMember(fields, str(profile["id"]))


def pages(calls: Calls, path: str, params: Mapping[str, str | int], *, operation: str, doing: str) -> Iterator[Any]:
    """The answers of all pages. Raises NotApplied where the pages go round in circles."""
    cursor: str | None = ""
    seen = {cursor}
    while cursor is not None:
        asked = {**params, **({"page[cursor]": cursor} if cursor else {})}
        answer = calls.get(path, asked, operation=operation)
        if answer.status >= 400:
            raise_refusal(answer, doing)
        yield answer
        cursor = cursor_after(answer)
        if cursor in seen:
            raise NotApplied(f"klaviyo {operation}: the pages go round in circles")
        seen.add(cursor)


def _found(calls: Calls, name: str, values: Iterable[str]) -> Iterator[Mapping[str, Any]]:
    for wanted in _groups(list(dict.fromkeys(values))):
        params: dict[str, str | int] = {
            "filter": f"any({name},{orjson.dumps(wanted).decode()})",
            "fields[profile]": "email",
            "page[size]": PAGE,
        }
        for answer in pages(calls, PROFILES, params, operation="profiles.find", doing="look profiles up"):
            yield from resources(answer)


def _groups(values: Sequence[str]) -> Iterator[list[str]]:
    group: list[str] = []
    length = 0
    for value in values:
        if group and (len(group) == PAGE or length + len(value) > _LONGEST_FILTER):
            yield group
            group, length = [], 0
        group.append(value)
        length += len(value) + 3
    if group:
        yield group


def _as_sent(email: str) -> str:
    """An address in the form in which it would be sent; Klaviyo has some that we would not send."""
    try:
        return normalise("klaviyo", "email", email)
    except UnusableIdentifier:
        return email.strip().lower()
