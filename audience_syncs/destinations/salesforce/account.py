"""One Salesforce org: what becomes of members who are added, written, removed or deleted.

A sync's list is a campaign; its members are contacts or leads, joined to it by campaign members. Nothing here gives or takes
consent (``HasOptedOutOfEmail`` is left alone, unless it is mapped); leaving an audience deletes the campaign member, and
nobody's record unless ``delete_record`` asks for it.

Where each fact is from stands in the module that relies on it. The page ``docs/destinations/salesforce.md`` says how sure it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from audience_syncs.destinations.contract import DestinationSpec, ListMember, ListRequest
from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.salesforce.bulk import Jobs
from audience_syncs.destinations.salesforce.calls import Calls, reading
from audience_syncs.destinations.salesforce.campaigns import Campaigns, remote
from audience_syncs.destinations.salesforce.collections import Collections
from audience_syncs.destinations.salesforce.declaration import Kind, SalesforceSettings
from audience_syncs.destinations.salesforce.people import CONVERTED, People, ids_of, is_contact
from audience_syncs.destinations.salesforce.rows import is_gone
from audience_syncs.destinations.salesforce.signing_in import client, fingerprint, signed_in
from audience_syncs.destinations.salesforce.soql import Queries
from audience_syncs.destinations.salesforce.writes import Writes
from audience_syncs.destinations.verdicts import worst
from audience_syncs.model.config import Mode
from audience_syncs.model.errors import DestinationError
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, Outgoing, RemoteList, Verdict, VerdictKind


class Salesforce:
    """One org."""

    def __init__(
        self,
        spec: DestinationSpec,
        secrets: Mapping[str, str],
        given: SalesforceSettings,
        environ: Mapping[str, str],
        where: str,
    ) -> None:
        self.spec = spec
        self._sign_in = signed_in(secrets, given, environ, where)
        self._http = client(
            self._sign_in.at,
            self._sign_in,
            account=fingerprint(secrets, given),
            pace=Pace(given.requests_per_s, burst=10),
            read=reading,
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
        )
        calls = Calls(self._http, given.api_version, given.daily_calls_percent, where)
        queries = Queries(calls)
        self._jobs = Jobs(calls, given.job_wait_s)
        self._writes = Writes(Collections(calls), self._jobs, given.bulk_above)
        self._people = People(queries, self._writes, given.object, given.key_field, given.defaults)
        self._campaigns = Campaigns(calls, queries, self._writes, self._people, given.member_status)

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    # The list

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        name = wanted.name.strip()
        found = self._campaigns.by_id(wanted.id) if wanted.id is not None else self._campaigns.oldest_named(name)
        named = remote(found) if found is not None else self._campaigns.made(name, wanted.description)
        self._campaigns.has_status(named.id)
        return replace(named, url=f"{self._sign_in.at}/lightning/r/Campaign/{named.id}/view")

    def resume(self, list_id: str, job_ids: Sequence[str]) -> None:
        self._jobs.wait_for(job_ids)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """How many members the campaign has."""
        return self._campaigns.size(list_id)

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        """Everybody in the campaign; who has no email (or external id) only with the id of their record."""
        return self._campaigns.members(list_id)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        keys = [self._people.key_of(member) for member in batch.members]
        with self._people.claims.of({key for key in keys if key is not None}):
            told = self._people.write(batch, Mode.UPSERT)
            # The contact that a converted lead has become joins.
            people = {
                key: verdict.remote_id
                for key, verdict in told.items()
                if verdict.remote_id and (verdict.kind is VerdictKind.ACCEPTED or verdict.reason_code == "CONVERTED")
            }
            joined = self._joined(list_id, people, batch)
        outcomes = {key: joined.get(people.get(key, ""), verdict) for key, verdict in told.items()}
        return [self._nobody() if key is None else outcomes[key] for key in keys]

    def _joined(self, list_id: str, people: Mapping[str, str], batch: Batch) -> dict[str, Verdict]:
        """Person's id -> verdict. Who was added before is probably a member, and looked up rather than sent."""
        keys = [self._people.key_of(member) for member in batch.members if not member.new]
        known = dict.fromkeys(people[key] for key in keys if key is not None and key in people)
        there = self._campaigns.memberships(list_id, known)
        others = [each for each in dict.fromkeys(people.values()) if each not in there]
        verdicts = {each: Verdict(VerdictKind.ACCEPTED, remote_id=each) for each in there}
        return verdicts | self._campaigns.joined(list_id, others, batch)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """By every address, and by the record that is known: of a member whose email was changed in a run that was cut off,
        the ledger has both addresses, and one record."""
        keys = list(dict.fromkeys(key for member in batch.members for key in self._people.keys_of(member)))
        by_key = self._campaigns.memberships_by_key(list_id, keys)
        by_person = self._campaigns.memberships(list_id, ids_of(batch.members))
        mine = [self._memberships(member, by_key, by_person) for member in batch.members]
        everything = set().union(*mine)
        if not everything:
            self._campaigns.by_id(list_id)
        told = self._campaigns.left(everything, batch)
        return [worst([told[each] for each in sorted(some)]) for some in mine]

    def _memberships(self, member: Outgoing, by_key: Mapping[str, set[str]], by_person: Mapping[str, str]) -> set[str]:
        found = {each for key in self._people.keys_of(member) for each in by_key.get(key, ())}
        known = by_person.get(member.remote_id or "")
        return found | ({known} if known is not None else set())

    # Records

    def records(self) -> RemoteList:
        kind = self._people.kind
        return RemoteList(f"all {kind.lower()}s", f"all {kind.lower()}s", f"{self._sign_in.at}/lightning/o/{kind}/list")

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        if mode not in (Mode.UPSERT, Mode.UPDATE, Mode.INSERT):
            raise ValueError(f"mode {mode} writes no records")
        keys = [self._people.key_of(member) for member in batch.members]
        with self._people.claims.of({key for key in keys if key is not None}):
            told = self._people.write(batch, mode)
        return [self._nobody() if key is None else told[key] for key in keys]

    def clear_fields(self, list_id: str, batch: Batch, fields: Sequence[str]) -> Sequence[Verdict]:
        """Rejected where they are out of the campaign and Salesforce refuses to empty a field."""
        mine, verdicts = self._records_of(batch), list(self.remove(list_id, batch))
        ids = _of_those_out(mine, verdicts)
        with _after_they_left():
            told = self._people.emptied(self._of_kind(ids), fields, batch)
        return self._then(mine, verdicts, told, "NOT_CLEARED", "not all of its fields are empty")

    def delete_records(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """Rejected where they are out of the campaign and Salesforce refuses to delete the record."""
        mine, verdicts = self._records_of(batch), list(self.remove(list_id, batch))
        ids = _of_those_out(mine, verdicts)
        with _after_they_left():
            told = self._people.deleted(self._of_kind(ids), batch)
        return self._then(mine, verdicts, told, "NOT_DELETED", "the record is still there")

    def _records_of(self, batch: Batch) -> list[set[str]]:
        """The records of each member: the one that is known, and the one that each of their addresses finds."""
        by_key = self._people.find(key for member in batch.members for key in self._people.keys_of(member))
        return [
            {by_key[key].id for key in self._people.keys_of(member) if key in by_key}
            | ({member.remote_id} if member.remote_id else set())
            for member in batch.members
        ]

    def _of_kind(self, ids: Collection[str]) -> list[str]:
        """Without the contacts that leads have become: those are not this sync's to change."""
        return sorted(each for each in ids if is_contact(each) is (self._people.kind is Kind.CONTACT))

    def _then(
        self,
        mine: Sequence[set[str]],
        out: Sequence[Verdict],
        told: Mapping[str, Verdict],
        code: str,
        words: str,
    ) -> list[Verdict]:
        """What came of the records of those who are out of the campaign."""
        found = []
        for some, verdict in zip(mine, out, strict=True):
            if verdict.kind is VerdictKind.ACCEPTED:
                then = [told.get(each, CONVERTED) for each in sorted(some)]
                verdict = worst([_out_but(each, code, words) for each in then])
            found.append(verdict)
        return found

    def _nobody(self) -> Verdict:
        return Verdict(
            VerdictKind.REJECTED, "NO_IDENTIFIER", f"has no `{self._people.key_field}`, by which members are found"
        )


@contextmanager
def _after_they_left() -> Iterator[None]:
    """What stops the run now comes after people have left the campaign: nobody may be told that nothing has happened."""
    try:
        yield
    except DestinationError:
        may_have_been_applied()
        raise


def _of_those_out(records: Sequence[set[str]], out: Sequence[Verdict]) -> set[str]:
    """The records of those who are out of the campaign."""
    ids = set[str]()
    for some, verdict in zip(records, out, strict=True):
        if verdict.kind is VerdictKind.ACCEPTED:
            ids |= some
    return ids


def _out_but(verdict: Verdict, code: str, words: str) -> Verdict:
    """They are out of the campaign: retryable would say that nothing has happened."""
    if verdict.kind is VerdictKind.ACCEPTED or is_gone(verdict):
        return ACCEPTED
    kind = VerdictKind.UNKNOWN if verdict.kind is VerdictKind.RETRYABLE else verdict.kind
    return Verdict(kind, code, f"out of the campaign, but {words}: {verdict.reason}")
