"""A member as Google's identifiers, and what Google would refuse, refused here.

One record that is not in order refuses the whole upload of 10,000, and one that fails later is only counted, not named. So every
value is held against the documented form before it goes out: the hashes of email and phone (SHA-256, as hex), the parts of an
address. At most 10 identifiers go into one record: who has more is several records.

How people are added and removed differs on purpose. Google wants all identifiers of somebody together when they are added, and
looks people up by them; it keeps nothing but the accounts it found. When somebody is removed, each identifier is a record of its
own: whichever account Google once found by any of them is found again. [unsure]: whether one record with several identifiers
takes out all accounts or the likeliest one; removing by each alone is right in both cases.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audience_syncs.model.values import FieldValue, Outgoing

MOST_IDENTIFIERS = 10
"""Identifiers of one record."""
Identifier = Mapping[str, Any]
Record = tuple[tuple[str, str], ...]
"""Identifiers that go together, each as field and value."""
_HASH = re.compile(r"[0-9a-f]{64}")
_ADDRESS = re.compile(r"([0-9a-f]{64}) ([0-9a-f]{64}) ([A-Z]{2}) ([0-9A-Za-z][0-9A-Za-z -]{0,14}[0-9A-Za-z])")
_FIELDS = ("email", "phone", "address")


def records_of(member: Outgoing, *, adding: bool) -> list[Record]:
    """The member's records; none where they have no identifier that Google takes."""
    usable = list(dict.fromkeys(_usable(member.fields)))
    if not adding:
        return [(each,) for each in usable]
    return [tuple(usable[start : start + MOST_IDENTIFIERS]) for start in range(0, len(usable), MOST_IDENTIFIERS)]


def as_sent(record: Record) -> dict[str, Any]:
    """An ``AudienceMember``."""
    return {"userData": {"userIdentifiers": [_identifier(field, value) for field, value in record]}}


def _usable(fields: Mapping[str, FieldValue]) -> Iterator[tuple[str, str]]:
    for field in _FIELDS:
        pattern = _ADDRESS if field == "address" else _HASH
        for value in _values(fields.get(field, "")):
            if pattern.fullmatch(value):
                yield field, value


def _identifier(field: str, value: str) -> Identifier:
    if field == "email":
        return {"emailAddress": value}
    if field == "phone":
        return {"phoneNumber": value}
    found = _ADDRESS.fullmatch(value)
    assert found is not None
    given, family, country, postal_code = found.groups()
    return {"address": {"givenName": given, "familyName": family, "regionCode": country, "postalCode": postal_code}}


def _values(value: FieldValue) -> Sequence[str]:
    return [value] if isinstance(value, str) else value
