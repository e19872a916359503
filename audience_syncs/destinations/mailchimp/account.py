"""One Mailchimp account: an audience, its tags, who has them, and what happens to who leaves.

A Mailchimp account has one audience, rarely more, and bills every contact in it. Its id is a setting; the list of a sync is a tag
of it, which Mailchimp's API calls a static segment. To be tagged, people must be contacts of the audience: who is not becomes one,
by default as ``transactional``, which Mailchimp's pages call *non-subscribed*: no marketing email goes to them. Nobody's status
is ever changed, and who leaves loses the tag and nothing else.

``delete_record`` archives the contact: it is no longer billed, keeps its data, and can come back. The permanent deletion, which
forbids to import the person ever again, is never done.

Facts and what is not sure of them: ``contacts`` and ``segments``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import (
    Account,
    DestinationSpec,
    Empties,
    FieldSpec,
    ListMember,
    ListRequest,
    Tells,
)
from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.mailchimp.calls import Calls, reading, refusal_of
from audience_syncs.destinations.mailchimp.contacts import (
    NO_CONTACT,
    NOT_TRIED,
    Contact,
    Contacts,
    cleared,
    emails_of,
    key_of,
    keys_of,
    people_of,
)
from audience_syncs.destinations.mailchimp.segments import ADD, REMOVE, Segments
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.sign_in import basic_header
from audience_syncs.destinations.verdicts import unsure
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import AccessRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, RemoteList, Verdict, VerdictKind

_DATA_CENTER = re.compile(r"[a-z]{2}\d{1,3}")
NO_ADDRESS = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no email address, by which Mailchimp finds contacts")
NOT_REMOVED = Verdict(VerdictKind.UNKNOWN, "NOT_REMOVED", "Mailchimp refuses to take the tag off this contact")


class MailchimpSettings(settings.ApiSettings):
    """Settings of a Mailchimp account."""

    timeout_s: float = Field(
        default=130,
        ge=0.1,
        le=600,
        description="Seconds to wait for an answer. Default: 130, as Mailchimp gives up after 120.",
    )
    audience_id: str = Field(
        pattern=r"^[0-9A-Za-z]{1,40}$",
        description="The audience's id: Audience, Settings, *Audience name and defaults*.",
    )
    data_center: str | None = Field(
        default=None,
        pattern=rf"^{_DATA_CENTER.pattern}$",
        description="The account's data centre, like `us21`, where the key does not end in it (OAuth tokens).",
    )
    new_contacts: Literal["transactional", "subscribed", "pending", "unsubscribed"] = Field(
        default="transactional",
        description="What people become who are not in the audience yet: `transactional` (non-subscribed, no marketing), "
        "`subscribed` (only with their consent), `pending` (Mailchimp asks them by email), `unsubscribed`. Default: "
        "`transactional`.",
    )
    write_existing: bool = Field(
        default=True,
        description="Whether merge fields of contacts who are in the audience already are written, a request each. "
        "Default: true.",
    )


SPEC = DestinationSpec(
    platform="mailchimp",
    title="Mailchimp",
    kind="mailchimp",
    fields=(
        FieldSpec("email", "mailchimp.email", identifier=True, description="Email address; contacts are found by it."),
        FieldSpec("FNAME", "mailchimp.text", description="First name: the merge field that audiences begin with."),
        FieldSpec("LNAME", "mailchimp.text", description="Last name, likewise."),
        FieldSpec("PHONE", "mailchimp.phone", description="Phone number in E.164, likewise."),
        FieldSpec("BIRTHDAY", "mailchimp.birth_date", description="Birthday, sent as `MM/DD`, likewise."),
    ),
    open_fields=FieldSpec(
        "",
        "mailchimp.text",
        description="A merge field by its tag, like `MMERGE7`; a part of an address: `ADDRESS.addr1`, `.city`, `.state`, `.zip`.",
    ),
    credentials=("api_key",),
    settings=settings.descriptions(MailchimpSettings),
    settings_model=MailchimpSettings,
    required_settings=settings.required(MailchimpSettings),
    required_fields=frozenset({"email"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.UPSERT, Mode.UPDATE, Mode.INSERT, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.CLEAR_FIELDS, Removal.DELETE_RECORD, Removal.KEEP}),
    batch_size=500,
    concurrency=4,
    reads_members=True,
    tells_matched_users=Tells.YES,
    docs="docs/destinations/mailchimp.md",
    empties=Empties.ASKED,
)


class Mailchimp:
    """One audience of a Mailchimp account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        where = f"destination {account.name}"
        given = settings.read(MailchimpSettings, account.settings, where)
        key = account.credentials["api_key"]
        _, _, told = key.rpartition("-")
        in_key = told if "-" in key and _DATA_CENTER.fullmatch(told) else None
        center = given.data_center or in_key
        address = given.address(environ, f"https://{center}.api.mailchimp.com/3.0" if center else "")
        if not address:
            raise AccessRefused(
                "the API key does not say which data centre it is of",
                where=where,
                remedy="copy the key whole: it ends like `-us21`; for an OAuth token, set `data_center`",
            )
        self._http = HttpClient(
            address,
            platform="mailchimp",
            # The limit on connections is the user's, whichever key of theirs is used; the key is all we know of them.
            account=hashlib.sha256(key.encode()).hexdigest(),
            headers={"Authorization": basic_header("audience-syncs", key) if in_key else f"Bearer {key}"},
            pace=Pace(given.requests_per_s, burst=10),
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
            read=reading,
        )
        self._where = where
        self._audience = given.audience_id
        self._calls = Calls(self._http, given.audience_id, where)
        self._contacts = Contacts(self._calls, given.new_contacts, writes_existing=given.write_existing, where=where)
        self._segments = Segments(self._calls, where)

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        if wanted.id is not None:
            found, created = self._segments.get(wanted.id), False
        else:
            known = self._segments.named(wanted.name)
            found, created = (known, False) if known is not None else self._segments.make(wanted.name)
        return RemoteList(str(found["id"]), str(found.get("name") or wanted.name), created=created)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """First everybody becomes a contact, which puts nobody into the list; then they are tagged."""
        people = people_of(batch)
        try:
            there, verdicts = self._contacts.bring(people) if people else ({}, {})
            if there:
                tagged = self._segments.change(list_id, ADD, list(there))
                for email, contact in there.items():
                    if email in tagged:
                        verdicts[email] = Verdict(VerdictKind.ACCEPTED, remote_id=tagged[email] or contact.id)
                left = {email: contact for email, contact in there.items() if email not in tagged}
                if left:
                    verdicts |= self._tag_each(list_id, left, people)
        except DestinationError:
            # Whichever call was refused: those before it were not.
            may_have_been_applied()
            raise
        return [verdicts[emails[0]] if (emails := emails_of(member)) else NO_ADDRESS for member in batch.members]

    def _tag_each(
        self, list_id: str, left: Mapping[str, Contact], people: Mapping[str, Mapping[str, object]]
    ) -> dict[str, Verdict]:
        """Those whom the call for many did not name: in already, refused for their status, or archived."""
        verdicts: dict[str, Verdict] = {}
        silent: Verdict | None = None
        name = ""
        for email, contact in left.items():
            if silent is None:
                try:
                    name = name or str(self._segments.get(list_id)["name"])
                    verdicts[email] = self._tag_one(list_id, name, email, contact, people[email])
                    continue
                except (NotApplied, NoAnswer) as error:
                    silent = Verdict(VerdictKind.UNKNOWN, error.code, error.message)
            # The call for many was answered, but not about them.
            verdicts[email] = silent
        return verdicts

    def _tag_one(self, list_id: str, name: str, email: str, contact: Contact, fields: Mapping[str, object]) -> Verdict:
        found = contact if contact.new else self._contacts.find(key_of(email))
        if found is None:
            return NO_CONTACT
        if list_id in found.tags:
            return Verdict(VerdictKind.ACCEPTED, remote_id=found.id)
        if found.status == "archived":
            back = self._contacts.put_back(email, fields)
            if back is not ACCEPTED:
                return back
        answer = self._segments.tag(key_of(email), name, on=True)
        if answer.status >= 400:
            return refusal_of(answer.body if isinstance(answer.body, dict) else {})
        return Verdict(VerdictKind.ACCEPTED, remote_id=found.id)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """By all their addresses; and by the known contact, who may have another address at Mailchimp by now."""
        emails = list(dict.fromkeys(email for member in batch.members for email in emails_of(member)))
        removed: dict[str, str | None] = {}
        try:
            for start in range(0, len(emails), SPEC.batch_size):
                removed |= self._segments.change(list_id, REMOVE, emails[start : start + SPEC.batch_size])
            return self._make_sure(list_id, batch, removed)
        except DestinationError:
            may_have_been_applied()
            raise

    def _make_sure(self, list_id: str, batch: Batch, removed: Mapping[str, str | None]) -> list[Verdict]:
        """Who was not named as removed was not there, or is there still."""
        gone = {contact for contact in removed.values() if contact is not None}
        known: dict[str, Verdict] = {}
        silent: Verdict | None = None
        verdicts = []
        for member in batch.members:
            addresses = emails_of(member)
            doubtful = [key_of(email) for email in addresses if email not in removed]
            by_address = any(email in removed and removed[email] in (None, member.remote_id) for email in addresses)
            if member.remote_id and member.remote_id not in gone and not by_address:
                doubtful.append(member.remote_id)
            verdict = ACCEPTED
            for key in doubtful:
                if key not in known:
                    if silent is not None:
                        known[key] = silent
                    else:
                        try:
                            known[key] = self._untag(key, list_id)
                        except (NotApplied, NoAnswer) as error:
                            silent = known[key] = Verdict(VerdictKind.UNKNOWN, error.code, error.message)
                if known[key] is not ACCEPTED:
                    verdict = known[key]
            verdicts.append(verdict)
        return verdicts

    def _untag(self, key: str, list_id: str) -> Verdict:
        name = self._segments.tag_of(key, list_id)
        if name is None or self._segments.tag(key, name, on=False).status in (204, 404):
            return ACCEPTED
        return NOT_REMOVED

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        """Everybody with the tag, whatever their status."""
        return self._segments.members(list_id)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """How many contacts have the tag; how many of them may be written to is told beside it."""
        everybody = self._segments.get(list_id, everybody=True).get("member_count")
        subscribed = self._segments.get(list_id).get("member_count")
        count = everybody if isinstance(everybody, int) else None
        told = f", {subscribed:,} of them subscribed" if isinstance(subscribed, int) else ""
        return MatchedUsers(
            lower=count, upper=count, as_of=datetime.now(UTC), note=f"contacts with the tag at Mailchimp{told}"
        )

    # Contacts, whatever their tags

    def records(self) -> RemoteList:
        found = self._calls.check_audience()
        return RemoteList(self._audience, str(found.get("name") or self._audience))

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        """An upsert makes and writes contacts, an update only writes, an insert only makes."""
        if mode not in (Mode.UPSERT, Mode.UPDATE, Mode.INSERT):
            raise ValueError(f"mode {mode} writes no records")
        people = people_of(batch)
        try:
            if mode is Mode.UPDATE:
                verdicts = self._updated(people)
            else:
                there, verdicts = self._contacts.bring(people, write=mode is Mode.UPSERT) if people else ({}, {})
                for email, contact in there.items():
                    verdicts[email] = Verdict(VerdictKind.ACCEPTED, remote_id=contact.id)
        except DestinationError:
            may_have_been_applied()
            raise
        return [verdicts[emails[0]] if (emails := emails_of(member)) else NO_ADDRESS for member in batch.members]

    def _updated(self, people: Mapping[str, Mapping[str, object]]) -> dict[str, Verdict]:
        refused = self._contacts.write(people)
        verdicts = {email: refused.get(email, ACCEPTED) for email in people}
        for email, fields in people.items():
            if fields:
                continue
            try:
                verdicts[email] = ACCEPTED if self._contacts.find(key_of(email)) is not None else NO_CONTACT
            except NotApplied as error:
                verdicts[email] = unsure(error)
        return verdicts

    def clear_fields(self, list_id: str, batch: Batch, fields: Sequence[str]) -> Sequence[Verdict]:
        """Accepted where both happened; rejected where the tag is off and Mailchimp refuses to empty a field."""
        emptied = cleared(fields)
        verdicts = list(self.remove(list_id, batch))
        return self._each(batch, verdicts, lambda key: self._emptied(key, emptied), "not all of their fields are empty")

    def delete_records(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """Archives, after the tag is off: who comes back from the archive comes back without it."""
        verdicts = list(self.remove(list_id, batch))
        return self._each(batch, verdicts, self._contacts.archive, "not archived")

    def _emptied(self, key: str, fields: Mapping[str, str]) -> Verdict:
        verdict = self._contacts.patch(key, fields) if fields else ACCEPTED
        return ACCEPTED if verdict is NO_CONTACT else verdict

    def _each(self, batch: Batch, verdicts: list[Verdict], act: Callable[[str], Verdict], but: str) -> list[Verdict]:
        """Does something to every contact of those who lost the tag; tells where that was not the whole of it."""
        known: dict[str, Verdict] = {}
        silent = False
        for place, member in enumerate(batch.members):
            if verdicts[place] is not ACCEPTED:
                continue
            for key in keys_of(member):
                if key not in known:
                    try:
                        known[key] = NOT_TRIED if silent else act(key)
                    except (NotApplied, NoAnswer) as error:
                        silent, known[key] = True, unsure(error)
                    except DestinationError:
                        may_have_been_applied()
                        raise
                found = known[key]
                if found is not ACCEPTED:
                    # Retryable would say that nothing has happened, and so that they still have the tag.
                    rejected = found.kind is VerdictKind.REJECTED
                    kind = VerdictKind.REJECTED if rejected else VerdictKind.UNKNOWN
                    verdicts[place] = Verdict(kind, found.reason_code, f"the tag is off, but {but}: {found.reason}")
        return verdicts
