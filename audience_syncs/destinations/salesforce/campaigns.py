"""Campaigns, and who is a member of them.

Facts (Object Reference, Campaign and CampaignMember; read 2026-11): a member has a ``ContactId`` or a ``LeadId``; both and
``CampaignId`` are set when it is made, and never changed; creating one that exists is an error and changes nothing
("if the record exists, an error is returned"); only users with the marketing feature see campaigns. Names of campaigns
are not unique, and have 80 characters. A status that a campaign does not have is replaced by its default, people report,
so that a status that is asked for is made first.

[unsure], and what is done about it: the code of that error (``DUPLICATE_VALUE``, people report): after it, it is looked up
whether they are members; which code a deleted campaign gives: after any that may mean it, the campaign is looked up.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from audience_syncs.destinations.contract import ListMember
from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.salesforce.calls import PERMISSIONS, Calls, error_code, raise_refusal
from audience_syncs.destinations.salesforce.declaration import Kind
from audience_syncs.destinations.salesforce.people import People, is_contact
from audience_syncs.destinations.salesforce.rows import ALREADY_THERE, GONE, Change, Verb
from audience_syncs.destinations.salesforce.soql import Queries, Record, among, quoted
from audience_syncs.destinations.salesforce.writes import Writes
from audience_syncs.model.errors import AccessRefused, DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, FieldValue, MatchedUsers, RemoteList, Verdict, VerdictKind

MEMBER = "CampaignMember"
LONGEST_NAME = 80
_ID = re.compile(r"701[0-9A-Za-z]{12}(?:[0-9A-Za-z]{3})?", re.ASCII)
_MAY_BE_GONE = GONE | {"INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY", "FIELD_INTEGRITY_EXCEPTION", "MALFORMED_ID"}


class Campaigns:
    """Campaigns of one org."""

    def __init__(self, calls: Calls, queries: Queries, writes: Writes, people: People, status: str | None) -> None:
        self._calls = calls
        self._queries = queries
        self._writes = writes
        self._people = people
        self._status = status

    # Campaigns

    def by_id(self, name: str, operation: str = "query") -> Record:
        """Raises ListMissing."""
        found: Sequence[Record] = ()
        if _ID.fullmatch(name) is not None:
            found = self._queries.rows(
                f"SELECT Id, Name FROM Campaign WHERE Id = '{name}'", "read the campaign", operation
            )
        if not found:
            raise ListMissing(
                "the Salesforce campaign of this sync no longer exists, or its user may not see it",
                where=self._calls.where,
                remedy="deleted campaigns can be restored from the recycle bin for 15 days; or give the sync another "
                "`name` to fill a new one. An `id` begins with 701 and has 15 or 18 characters",
            )
        return found[0]

    def oldest_named(self, name: str) -> Record | None:
        query = f"SELECT Id, Name FROM Campaign WHERE Name = {quoted(name)} ORDER BY CreatedDate, Id"
        found = self._queries.rows(query, "find the campaign")
        return next((each for each in found if each.get("Name") == name), None)

    def made(self, name: str, description: str) -> RemoteList:
        """Raises DestinationError where it cannot have that name."""
        if not name or len(name) > LONGEST_NAME:
            raise DestinationError(
                f"a campaign's name has 1 to {LONGEST_NAME} characters, and this one {len(name)}",
                where=self._calls.where,
                remedy="give the sync's `list` a shorter `name`",
            )
        body = {"Name": name, "IsActive": True, **({"Description": description} if description else {})}
        try:
            answer = self._calls.change(
                "POST", "/sobjects/Campaign", operation="Campaign.insert", json=body, idempotent=False
            )
        except NoAnswer:
            found = self.oldest_named(name)
            if found is not None:
                return remote(found)
            raise
        if answer.status >= 400:
            if error_code(answer) in ("NOT_FOUND", "INVALID_TYPE") or answer.status == 404:
                raise AccessRefused("Salesforce shows this user no campaigns", remedy=PERMISSIONS)
            raise_refusal(answer, "create the campaign")
        made = answer.body.get("id") if isinstance(answer.body, dict) else None
        if not isinstance(made, str) or not made:
            raise NoAnswer("salesforce Campaign.insert: the answer has no campaign")
        # Another sync may have made one at the same moment: both take the older one.
        oldest = self.oldest_named(name) or {"Id": made, "Name": name}
        return RemoteList(str(oldest["Id"]), name, created=oldest["Id"] == made)

    def has_status(self, campaign: str) -> None:
        """Sees to it that members of the campaign can have the status that is asked for."""
        if self._status is None:
            return
        query = f"SELECT Id, Label FROM CampaignMemberStatus WHERE CampaignId = '{campaign}'"
        found = self._queries.rows(query, "read the campaign's member statuses")
        if any(each.get("Label") == self._status for each in found):
            return
        body = {"CampaignId": campaign, "Label": self._status, "HasResponded": False}
        answer = self._calls.change(
            "POST", "/sobjects/CampaignMemberStatus", operation="CampaignMemberStatus.insert", json=body
        )
        # Repeated, or made by another sync meanwhile, it is there already.
        if answer.status >= 400 and error_code(answer) not in ("DUPLICATE_VALUE", "DUPLICATE_LABEL"):
            raise_refusal(answer, "add a member status to the campaign")

    def size(self, campaign: str) -> MatchedUsers:
        count = self._queries.count(
            f"SELECT COUNT() FROM {MEMBER} WHERE CampaignId = '{campaign}'", "count the campaign's members"
        )
        if not count:
            self.by_id(campaign, "size")
        return MatchedUsers(
            lower=count, upper=count, as_of=datetime.now(UTC), exact=True, note="members of the campaign at Salesforce"
        )

    # Members

    def members(self, campaign: str) -> Iterator[Sequence[ListMember]]:
        self.by_id(campaign)
        kinds = [Kind.CONTACT] if self._people.kind is Kind.CONTACT else [Kind.LEAD, Kind.CONTACT]
        keys = ", ".join(f"{kind}.{self._people.key_field}" for kind in kinds)
        query = f"SELECT Id, ContactId, LeadId, {keys} FROM {MEMBER} WHERE CampaignId = '{campaign}' ORDER BY Id"
        for page in self._queries.pages(query, "read the campaign's members", "members.read"):
            found = [self._as_member(record, kinds) for record in page]
            if found:
                yield found

    def _as_member(self, record: Record, kinds: Sequence[Kind]) -> ListMember:
        for kind in kinds:
            person = record.get(str(kind))
            key = self._people.key_at(person) if isinstance(person, dict) else ""
            if key:
                fields: dict[str, FieldValue] = {self._people.key_field: key}
                return ListMember(fields, record.get(f"{kind}Id"))
        return ListMember({}, record.get("ContactId") or record.get("LeadId"))

    def memberships(self, campaign: str, people: Collection[str]) -> dict[str, str]:
        """Person's id -> id of their membership, of those who are members. Raises NotApplied."""
        found: dict[str, str] = {}
        for field, mine in _sides(people):
            for record in self._queries.all(self._of(campaign, field, mine), "look members up"):
                found[str(record.get(field))] = str(record.get("Id"))
        return found

    def memberships_by_key(self, campaign: str, keys: Collection[str]) -> dict[str, set[str]]:
        """Key -> ids of the memberships of all who have it, be they several records. Raises NotApplied."""
        found: dict[str, set[str]] = {}
        # A lead that was converted meanwhile is found by its contact.
        kinds = [Kind.CONTACT] if self._people.kind is Kind.CONTACT else [Kind.LEAD, Kind.CONTACT]
        for kind in kinds:
            field = f"{kind}.{self._people.key_field}"
            for record in self._queries.all(self._of(campaign, field, keys), "look members up"):
                person = record.get(str(kind))
                if isinstance(person, dict):
                    found.setdefault(self._people.key_at(person), set()).add(str(record.get("Id")))
        return found

    def _of(self, campaign: str, field: str, values: Iterable[str]) -> list[str]:
        return [
            f"SELECT Id, {field} FROM {MEMBER} WHERE CampaignId = '{campaign}' AND {condition}"
            for condition in among(field, values)
        ]

    def joined(self, campaign: str, people: Collection[str], batch: Batch) -> dict[str, Verdict]:
        """Makes people members: person's id -> verdict. Raises DestinationError, ListMissing above all; never NotApplied:
        some of them may have joined."""
        verdicts: dict[str, Verdict] = {}
        status = {} if self._status is None else {"Status": self._status}
        try:
            for field, mine in _sides(people):
                rows = [{"CampaignId": campaign, field: each, **status} for each in mine]
                verdicts |= self._writes.carry_out(Change(Verb.INSERT, MEMBER, field), rows, batch)
            verdicts |= self._explained(campaign, verdicts)
        except DestinationError:
            may_have_been_applied()
            raise
        return {each: _of_person(verdict, each) for each, verdict in verdicts.items()}

    def _explained(self, campaign: str, told: Mapping[str, Verdict]) -> dict[str, Verdict]:
        """What some refusals mean: that they are members already, that the campaign is gone, or their record."""
        found: dict[str, Verdict] = {}
        already = [each for each, verdict in told.items() if verdict.reason_code == ALREADY_THERE]
        try:
            found |= dict.fromkeys(self.memberships(campaign, already), ACCEPTED)
        except NotApplied as error:
            found |= dict.fromkeys(already, Verdict(VerdictKind.UNKNOWN, ALREADY_THERE, error.message))
        if not any(verdict.reason_code in _MAY_BE_GONE for verdict in told.values()):
            return found
        with suppress(NotApplied):  # else the refusals stand, and the next run meets the campaign first of all
            self.by_id(campaign)
        # The campaign is there, so it is the person who is not any more: the next run looks them up anew.
        gone = Verdict(VerdictKind.RETRYABLE, "GONE", "the person's record is gone")
        return found | {each: gone for each, verdict in told.items() if verdict.reason_code in GONE}

    def left(self, memberships: Collection[str], batch: Batch) -> dict[str, Verdict]:
        """Deletes memberships; the people stay. One that is gone already is accepted."""
        rows = [{"Id": each} for each in sorted(memberships)]
        told = self._writes.carry_out(Change(Verb.DELETE, MEMBER, "Id"), rows, batch)
        return {
            each: ACCEPTED if verdict.kind is VerdictKind.ACCEPTED or verdict.reason_code in GONE else verdict
            for each, verdict in told.items()
        }


def remote(found: Record) -> RemoteList:
    return RemoteList(str(found["Id"]), str(found.get("Name") or found["Id"]))


def _sides(people: Collection[str]) -> Iterator[tuple[str, list[str]]]:
    """Contacts and leads apart, each with the field of a membership that names them."""
    contacts, leads = [each for each in people if is_contact(each)], [each for each in people if not is_contact(each)]
    yield from ((field, mine) for field, mine in (("ContactId", contacts), ("LeadId", leads)) if mine)


def _of_person(verdict: Verdict, person: str) -> Verdict:
    """An acceptance carries the person's id, not the membership's."""
    return Verdict(VerdictKind.ACCEPTED, remote_id=person) if verdict.kind is VerdictKind.ACCEPTED else verdict
