"""HubSpot contacts for their own sake: written without a list, emptied, archived, read for a list's members.

Facts (HubSpot's OpenAPI of contacts 2026-09, read 2026-11):

- ``batch/update`` overwrites what is given, makes nobody, and empties a property that is given as an empty text; a
  read-only property, or one that does not exist, is an error. Contacts are named by record id: for email as
  ``idProperty`` of an *update*, HubSpot's own client libraries report a refusal.
- ``batch/archive`` takes record ids, answers 204 with nothing in it, and what it archived can be restored for 90 days.
- A record id whose contact was merged leads to the contact that came of it (changelog on merges).

[unsure], and what is done about it: that archiving takes a contact out of its lists for good, also when it is restored
(knowledge base: it leaves its lists), so it is taken out first; that an archive of a merged contact's old id archives the
contact it went into, so the ids are looked up first; that 204 comes for ids that are gone already (older API: whatever
their state), so those are not sent.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from audience_syncs.destinations.contract import ListMember
from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.hubspot_contacts import (
    CALL_SIZE,
    CONTACTS,
    NO_ADDRESS,
    NOT_LOOKED_UP,
    NOT_MENTIONED,
    By,
    Contacts,
    Found,
    Writes,
    addresses_of,
    by_address,
)
from audience_syncs.destinations.hubspot_errors import NOT_THERE, keep_to_limit, raise_refusal
from audience_syncs.destinations.verdicts import unsure
from audience_syncs.identifiers import UnusableIdentifier, normalise
from audience_syncs.model.config import Mode
from audience_syncs.model.errors import BatchRefused, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, FieldValue, Verdict, VerdictKind

NO_CONTACT = Verdict(
    VerdictKind.REJECTED, "NOT_FOUND", "HubSpot has no contact of this address, and an update makes none"
)
NEVER_EMPTIED = frozenset({"email", "hs_additional_emails", "hs_object_id"})
"""What a contact is found by."""


def members(http: HttpClient, records: Sequence[str]) -> list[ListMember]:
    """The contacts behind a list's records. Raises NotApplied where HubSpot leaves one out without saying that it is gone."""
    found = Found(http, records, By.RECORD)
    if any(record not in found.records and record not in found.missing for record in records):
        raise NotApplied("hubspot contacts.read: the answer leaves contacts out")
    return [_as_member(record, found.addresses[record]) for record in dict.fromkeys(found.records.values())]


def write(http: HttpClient, batch: Batch, mode: Mode) -> list[Verdict]:
    """Upserts, updates or inserts the members' contacts. Raises BatchRefused as ``Writes.send_all`` does."""
    contacts = Contacts(batch)
    if mode is Mode.UPSERT:
        outcomes = _upsert(http, contacts.properties)
    elif mode is Mode.UPDATE:
        outcomes = _update(http, contacts.properties)
    elif mode is Mode.INSERT:
        outcomes = _insert(http, contacts.properties)
    else:
        raise ValueError(f"mode {mode} writes no records")
    return [NO_ADDRESS if email is None else outcomes[email] for email in contacts.by_position]


def _upsert(http: HttpClient, properties: Mapping[str, Mapping[str, str]]) -> dict[str, Verdict]:
    writes = Writes(http, properties, By.EMAIL)
    writes.send_all()
    return {email: writes.outcome(email) for email in properties}


def _update(http: HttpClient, properties: Mapping[str, Mapping[str, str]]) -> dict[str, Verdict]:
    """By record id, so that a contact which is deleted between the look-up and the update does not come back."""
    found = Found(http, properties, By.EMAIL)
    of_record: dict[str, dict[str, str]] = {}
    for email, given in properties.items():
        if email in found.records:
            # Two addresses may be one contact's; written, an address would become its first one.
            of_record.setdefault(found.records[email], {}).update(_without_identity(given))
    writes = Writes(http, {record: given for record, given in of_record.items() if given}, By.RECORD)
    writes.send_all()
    outcomes: dict[str, Verdict] = {}
    for email in properties:
        record = found.records.get(email)
        if record is None:
            outcomes[email] = NOT_LOOKED_UP if email in found.unanswered else NO_CONTACT
        elif not of_record[record]:
            outcomes[email] = Verdict(VerdictKind.ACCEPTED, remote_id=record)  # nothing but its address is mapped
        else:
            verdict = writes.outcome(record)
            outcomes[email] = NO_CONTACT if verdict.reason_code == NOT_THERE else verdict
    return outcomes


def _insert(http: HttpClient, properties: Mapping[str, Mapping[str, str]]) -> dict[str, Verdict]:
    """A contact that somebody else makes between the look-up and the upsert is updated."""
    found = Found(http, properties, By.EMAIL)
    made = _upsert(
        http,
        {
            email: given
            for email, given in properties.items()
            if email not in found.records and email not in found.unanswered
        },
    )
    there = {email: Verdict(VerdictKind.ACCEPTED, remote_id=record) for email, record in found.records.items()}
    return {email: made.get(email) or there.get(email) or NOT_LOOKED_UP for email in properties}


def contacts_of(http: HttpClient, batch: Batch) -> list[frozenset[str] | None]:
    """The contacts of each member, as they are now; None where HubSpot gave no answer about one.

    Whose record is known, and who has one address, is found by the record alone: when it is gone, another contact of the
    same address is somebody else's.
    """
    by_record = Found(http, [member.remote_id for member in batch.members if member.remote_id], By.RECORD)
    looked_up = [member for member in batch.members if by_address(member)]
    by_email = Found(http, [email for member in looked_up for email in addresses_of(member)], By.EMAIL)
    found: list[frozenset[str] | None] = []
    for member in batch.members:
        asked = [(by_record, member.remote_id)] if member.remote_id else []
        if by_address(member):
            asked += [(by_email, email) for email in addresses_of(member)]
        unanswered = any(key in place.unanswered for place, key in asked)
        records = frozenset(place.records[key] for place, key in asked if key in place.records)
        found.append(None if unanswered else records)
    return found


def clear(http: HttpClient, records: Collection[str], fields: Sequence[str]) -> dict[str, Verdict]:
    """Empties properties of contacts that are out of the list already: of each, by its record, what became of it."""
    empty = _without_identity(dict.fromkeys(fields, ""))
    if not empty:
        return dict.fromkeys(records, ACCEPTED)
    writes = Writes(http, dict.fromkeys(sorted(records), empty), By.RECORD)
    with suppress(BatchRefused):  # each of them has its verdict
        writes.send_all()
    return {record: _half_done(writes.outcome(record), "not all of its properties are empty") for record in records}


def archive(http: HttpClient, records: Collection[str]) -> dict[str, Verdict]:
    """Archives contacts that are out of the list already: of each, by its record, what became of it."""
    verdicts: dict[str, Verdict] = {}
    wanted = sorted(records)
    for start in range(0, len(wanted), CALL_SIZE):
        _archive(http, wanted[start : start + CALL_SIZE], verdicts)
    return {record: _half_done(verdict, "still a contact") for record, verdict in verdicts.items()}


def _archive(http: HttpClient, records: Sequence[str], verdicts: dict[str, Verdict]) -> None:
    """One call; where HubSpot refuses it as a whole for one contact, halves of it, until the contact is alone."""
    inputs = [{"id": record} for record in records]
    try:
        answer = http.request(
            "POST", f"{CONTACTS}/batch/archive", operation="contacts.archive", json={"inputs": inputs}
        )
        keep_to_limit(http.pace, answer)
        if answer.status >= 400:
            raise_refusal(answer, "delete contacts", per_batch=True)
        verdicts.update(dict.fromkeys(records, ACCEPTED if answer.status == 204 else NOT_MENTIONED))
    except (NotApplied, NoAnswer) as error:
        verdicts.update(dict.fromkeys(records, unsure(error)))
    except BatchRefused as refused:
        if len(records) == 1:
            verdicts[records[0]] = Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason)
            return
        middle = len(records) // 2
        _archive(http, records[:middle], verdicts)
        _archive(http, records[middle:], verdicts)


def _half_done(verdict: Verdict, what: str) -> Verdict:
    """The verdict on a member who has left the list, and to whose contact something was to be done as well.

    Retryable would say that nothing has happened, and so that they are still in the list.
    """
    if verdict.kind is VerdictKind.ACCEPTED or verdict.reason_code == NOT_THERE:
        return ACCEPTED
    if verdict.kind is VerdictKind.RETRYABLE:
        verdict = replace(verdict, kind=VerdictKind.UNKNOWN)
    return replace(verdict, reason=f"out of the list, but {what}: {verdict.reason}")


def _without_identity(properties: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in properties.items() if name not in NEVER_EMPTIED}


def _as_member(record: str, addresses: Sequence[str]) -> ListMember:
    emails = list(dict.fromkeys(_as_sent(address) for address in addresses))
    if not emails:
        return ListMember({}, record)
    value: FieldValue = emails[0] if len(emails) == 1 else emails
    return ListMember({"email": value}, record)


def _as_sent(address: str) -> str:
    """An address in the form in which it would be sent; HubSpot has some that we would not send."""
    try:
        return normalise("hubspot", "email", address)
    except UnusableIdentifier:
        return address.strip().lower()
