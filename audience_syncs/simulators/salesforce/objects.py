"""The objects of the simulated org, their fields, and what Salesforce refuses of a value.

Read from the Object Reference: which fields there are, their lengths, which are needed and which are set once. Custom fields: any
name that ends in ``__c`` is a text of 255 characters; one that ends in ``Id__c`` is a unique external id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from audience_syncs.simulators.salesforce.errors import BadRecord, Refused, no_such_field, no_such_object

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CUSTOM = re.compile(r"[A-Za-z]\w*__c", re.ASCII)
IS_EMAIL = re.compile(r"[^\s@<>()\[\],;:\"\\]+@[^\s@.<>()\[\],;:\"\\]+(\.[^\s@.<>()\[\],;:\"\\]+)+").fullmatch
READ_ONLY = {"Id", "CreatedDate", "IsDeleted", "Name", "IsConverted", "ConvertedContactId"}


@dataclass(frozen=True)
class Object:
    """One object: its name, the prefix of its ids, the lengths of its texts, what it needs and what is never changed."""

    name: str
    prefix: str
    lengths: Mapping[str, int]
    needs: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    parents: Mapping[str, str] = field(default_factory=dict)
    """Relationship -> field that holds the other record's id."""
    named: bool = False
    """Whether ``Name`` can be written."""

    def column(self, name: str) -> str | None:
        """The field as it is written in the org; names are not case-sensitive."""
        if CUSTOM.fullmatch(name):
            return name
        known = {each.lower(): each for each in (*self.lengths, *READ_ONLY)}
        return known.get(name.lower())


_PERSON = {
    "Email": 80,
    "FirstName": 40,
    "LastName": 80,
    "Title": 128,
    "Phone": 40,
    "MobilePhone": 40,
    "Description": 32_000,
    "LeadSource": 255,
    "OwnerId": 18,
    "RecordTypeId": 18,
    "HasOptedOutOfEmail": 5,
}
_MAILING = {"MailingStreet": 255, "MailingCity": 40, "MailingState": 80, "MailingPostalCode": 20, "MailingCountry": 80}
_ADDRESS = {"Street": 255, "City": 40, "State": 80, "PostalCode": 20, "Country": 80}
OBJECTS = {
    each.name: each
    for each in (
        Object("Contact", "003", {**_PERSON, **_MAILING, "Birthdate": 10, "AccountId": 18}, ("LastName",)),
        Object("Lead", "00Q", {**_PERSON, **_ADDRESS, "Company": 255, "Status": 40}, ("LastName", "Company")),
        Object(
            "Campaign", "701", {"Name": 80, "IsActive": 5, "Description": 32_000, "Type": 40}, ("Name",), named=True
        ),
        Object(
            "CampaignMember",
            "00v",
            {"CampaignId": 18, "ContactId": 18, "LeadId": 18, "Status": 40},
            fixed=("CampaignId", "ContactId", "LeadId"),
            parents={"Contact": "ContactId", "Lead": "LeadId", "Campaign": "CampaignId"},
        ),
        Object(
            "CampaignMemberStatus",
            "01Y",
            {"CampaignId": 18, "Label": 765, "HasResponded": 5, "IsDefault": 5},
            ("CampaignId", "Label"),
            parents={"Campaign": "CampaignId"},
        ),
    )
}


def object_named(name: str) -> Object:
    """Raises Refused."""
    found = {each.lower(): each for each in OBJECTS}.get(name.lower())
    if found is None:
        raise Refused(no_such_object(name))
    return OBJECTS[found]


def written(kind: Object, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields by the names that the org has. Raises Refused for one that it does not have: for the whole request."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name == "attributes" or name.lower() == "id":
            continue
        column = kind.column(name)
        if column is None or (column in READ_ONLY and not (column == "Name" and kind.named)):
            raise Refused(no_such_field(name, kind.name))
        found[column] = value if value != "" else None
    return found


def check(kind: Object, fields: Mapping[str, Any], *, makes: bool) -> None:
    """What is refused of one record. Raises BadRecord."""
    missing = [name for name in kind.needs if (makes or name in fields) and fields.get(name) in (None, "")]
    if missing:
        raise BadRecord("REQUIRED_FIELD_MISSING", f"Required fields are missing: [{', '.join(missing)}]", *missing)
    for name, value in fields.items():
        if value is None:
            continue
        if not makes and name in kind.fixed:
            text = f"Unable to create/update fields: {name}."
            raise BadRecord("INVALID_FIELD_FOR_INSERT_UPDATE", text, name)
        most = kind.lengths.get(name, 255)
        if isinstance(value, str) and len(value) > most:
            text = f"{name}: data value too large: {value} (max length={most})"
            raise BadRecord("STRING_TOO_LONG", text, name)
        if name == "Email" and not IS_EMAIL(str(value)):
            raise BadRecord("INVALID_EMAIL_ADDRESS", f"Email: invalid email address: {value}", name)
        if name == "Birthdate":
            try:
                date.fromisoformat(str(value))
            except ValueError:
                raise BadRecord(
                    "INVALID_TYPE_ON_FIELD_IN_RECORD", f"Birthdate: value not of required type: {value}", name
                ) from None


def is_external_id(name: str) -> bool:
    return name.lower().endswith("id__c")


def record_id(prefix: str, number: int) -> str:
    """18 characters: 15 that are case-sensitive, and three that say which of them are capital letters."""
    digits = ""
    while number:
        number, rest = divmod(number, 62)
        digits = DIGITS[rest] + digits
    short = prefix + "Sim" + digits.rjust(9, "0")
    return long_id(short)


def long_id(name: str) -> str:
    """The 18 characters of an id of 15; anything else as it is."""
    if len(name) != 15 or not name.isascii():
        return name
    blocks = (name[start : start + 5] for start in (0, 5, 10))
    return name + "".join(
        ALPHABET[sum(1 << place for place, letter in enumerate(block) if letter.isupper())] for block in blocks
    )
