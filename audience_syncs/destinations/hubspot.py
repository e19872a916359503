"""HubSpot: contacts by batch upsert, and a static list of them.

Facts: HubSpot's published OpenAPI of contacts and lists, versions 2026-09, and its usage guidelines (read 2026-08, 2026-09).

A member is added in two steps: the contact is made or updated (100 a call), then its record joins the list (up to 100,000 a
call). One batch is ten calls of the first kind and one of the second. Leaving the list never touches the contact, unless
the sync's removal asks for that; and the modes without a list touch contacts alone (``hubspot_records``).

Who is in a list is read in the order in which they joined, whose ``after`` is a cursor: who joins meanwhile comes last. The
default of 100 a page is in the OpenAPI of 2026-09; that up to 250 may be asked for, only in that of v3.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from audience_syncs.destinations import hubspot_records
from audience_syncs.destinations.contract import (
    Account,
    DestinationSpec,
    Empties,
    FieldSpec,
    ListMember,
    ListRequest,
    Tells,
)
from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.hubspot_contacts import (
    NO_ADDRESS,
    NOT_LOOKED_UP,
    By,
    Contacts,
    Found,
    Writes,
    addresses_of,
    by_address,
    entries,
)
from audience_syncs.destinations.hubspot_errors import keep_to_limit, list_is_missing, raise_refusal, reading
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.verdicts import unsure, worst
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import (
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, Outgoing, RemoteList, Verdict, VerdictKind

_LISTS = "/crm/lists/2026-09"
_CONTACT_TYPE = "0-1"
_STATIC = ("MANUAL", "SNAPSHOT")
NOT_REMOVED = Verdict(VerdictKind.RETRYABLE, "NOT_REMOVED", "HubSpot calls the contact missing, and has it")
_PAGE = 200
"""Members per page: two calls for their contacts."""

REQUESTS_PER_S = 9
"""The smallest plan allows 100 requests in 10 seconds; what a larger one allows, its answers say."""

SPEC = DestinationSpec(
    platform="hubspot",
    title="HubSpot",
    kind="hubspot",
    fields=(
        FieldSpec("email", "hubspot.email", identifier=True, description="Email address; contacts are found by it."),
        FieldSpec("firstname", "hubspot.text", description="First name."),
        FieldSpec("lastname", "hubspot.text", description="Last name."),
        FieldSpec("phone", "hubspot.phone", description="Phone number, sent in E.164."),
        FieldSpec("country", "hubspot.text", description="Country."),
        FieldSpec("city", "hubspot.text", description="City."),
        FieldSpec("zip", "hubspot.text", description="Postal code."),
    ),
    open_fields=FieldSpec("", "hubspot.text", description="A contact property of yours, by its internal name."),
    credentials=("access_token",),
    settings={
        "portal_id": "The account's id, for links.",
        "requests_per_s": "Requests a second, until HubSpot's answers tell the account's limit; default 9.",
        "timeout_s": "Seconds to wait for an answer. Default: 60.",
        "attempts": "How often one request is tried. Default: 5.",
        "base_url": "Another address of the API.",
        "base_url_env": "Environment variable that holds another address of the API, when it is set.",
    },
    required_settings=frozenset(),
    required_fields=frozenset({"email"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.UPSERT, Mode.UPDATE, Mode.INSERT, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.CLEAR_FIELDS, Removal.DELETE_RECORD, Removal.KEEP}),
    batch_size=1_000,
    concurrency=3,
    requests_per_s=REQUESTS_PER_S,
    reads_members=True,
    tells_matched_users=Tells.YES,
    docs="docs/destinations/hubspot.md",
    empties=Empties.ASKED,
    never_emptied=hubspot_records.NEVER_EMPTIED,
)


class HubSpot:
    """One HubSpot account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        settings = account.settings
        self._portal = str(settings.get("portal_id") or "")
        override = environ.get(str(settings.get("base_url_env") or ""), "").strip()
        token = account.credentials["access_token"]
        self._http = HttpClient(
            str(settings.get("base_url") or override or "https://api.hubapi.com"),
            platform="hubspot",
            # HubSpot's limits are per app and account, which is what a token stands for.
            account=hashlib.sha256(token.encode()).hexdigest(),
            headers={"Authorization": f"Bearer {token}"},
            pace=Pace(_number(account, "requests_per_s", REQUESTS_PER_S, 0.1, 1_000), burst=10),
            read_timeout_s=_number(account, "timeout_s", 60, 0.1, 600),
            max_attempts=int(_number(account, "attempts", 5, 1, 20)),
            read=reading,
            request_id_header="x-hubspot-correlation-id",
        )

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        if wanted.id is not None:
            return self._remote(self._get_list(wanted.id))
        found = self._by_name(wanted.name)
        if found is not None:
            return found
        try:
            answer = self._http.request(
                "POST",
                _LISTS,
                operation="lists.create",
                json={"name": wanted.name, "objectTypeId": _CONTACT_TYPE, "processingType": "MANUAL"},
                idempotent=False,
            )
        except NoAnswer:
            found = self._by_name(wanted.name)
            if found is not None:
                return found
            raise
        if answer.status >= 400:
            # Somebody may have made it in the meantime; names are unique.
            found = self._by_name(wanted.name)
            if found is not None:
                return found
            raise_refusal(answer, "create the list")
        return self._remote(_list_of(answer), created=True)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        contacts = Contacts(batch)
        writes = Writes(self._http, contacts.properties, By.EMAIL)
        writes.send_all()
        joined = self._join(list_id, writes.record_ids)
        written = {email: writes.outcome(email) for email in contacts.properties}
        return [
            NO_ADDRESS if email is None else joined.get(written[email].remote_id or "", written[email])
            for email in contacts.by_position
        ]

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """By the record that is known, and by every address where it may not stand for all of them."""
        looked_up = [place for place, member in enumerate(batch.members) if by_address(member)]
        found = Found(
            self._http, [email for place in looked_up for email in addresses_of(batch.members[place])], By.EMAIL
        )
        known = {member.remote_id for member in batch.members if member.remote_id}
        out = known | set(found.records.values())
        missing = self._leave(list_id, out)
        verdicts = [ACCEPTED] * len(batch)
        for place in looked_up:
            addresses = addresses_of(batch.members[place])
            if found.unanswered.intersection(addresses):
                verdicts[place] = NOT_LOOKED_UP
            elif missing & {found.records.get(email, "") for email in addresses}:
                verdicts[place] = NOT_REMOVED  # HubSpot had just told of this record, and calls it missing now
        # A contact that was merged into another is missing, and its place in the list has gone over to that one.
        merged = [
            place
            for place, member in enumerate(batch.members)
            if member.remote_id in missing and verdicts[place] is ACCEPTED
        ]
        for place, verdict in zip(merged, self._remove_merged(list_id, batch, merged, out), strict=True):
            verdicts[place] = verdict
        return verdicts

    def _remove_merged(self, list_id: str, batch: Batch, merged: Sequence[int], left: set[str]) -> list[Verdict]:
        """Those are found by address. The others have left, so that this is about nobody else and raises nothing."""
        members = [batch.members[place] for place in merged]
        try:
            found = Found(self._http, [email for member in members for email in addresses_of(member)], By.EMAIL)
            self._leave(list_id, set(found.records.values()) - left)
        except (NotApplied, NoAnswer) as error:
            return [unsure(error)] * len(members)
        return [self._left(member, found) for member in members]

    def _left(self, member: Outgoing, found: Found) -> Verdict:
        if found.unanswered.intersection(addresses_of(member)):
            return NOT_LOOKED_UP
        # There it is, under the very id that was called missing.
        there = any(found.records.get(email) == member.remote_id for email in addresses_of(member))
        return NOT_REMOVED if there else ACCEPTED

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        """Everybody in the list with all their addresses; who has none only with the id of their record.

        Contacts that are archived while the list is read are not in it any more, and passed over.
        """
        path, after, seen = f"{_LISTS}/{list_id}/memberships/join-order", "", 0
        cursors = {after}
        while True:
            asked: dict[str, str | int] = {"limit": _PAGE, **({"after": after} if after else {})}
            try:
                answer = self._http.request("GET", path, operation="memberships.join_order", params=asked)
            except NoAnswer as error:
                raise NotApplied(error.message) from error  # reading changes nothing
            keep_to_limit(self._http.pace, answer)
            if answer.status >= 400:
                if list_is_missing(answer):
                    raise _missing(list_id)
                raise_refusal(answer, "read the list's members")
            records = _records_on(answer)
            seen += len(records)
            if records:
                yield hubspot_records.members(self._http, records)
            following = _cursor_after(answer)
            if following is None:
                break
            if following in cursors:
                raise NotApplied("hubspot memberships: the pages go round in circles")
            cursors.add(following)
            after = following
        if not seen and answer.body.get("total"):
            raise NotApplied("hubspot memberships: the list has members, and HubSpot shows none")

    # Contacts outside of the list

    def records(self) -> RemoteList:
        url = f"https://app.hubspot.com/contacts/{self._portal}/objects/{_CONTACT_TYPE}" if self._portal else None
        return RemoteList(_CONTACT_TYPE, "all contacts", url)

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        return hubspot_records.write(self._http, batch, mode)

    def clear_fields(self, list_id: str, batch: Batch, fields: Sequence[str]) -> Sequence[Verdict]:
        """Accepted where both happened; rejected where they are out of the list and HubSpot refuses to empty a property."""
        return self._remove_and(list_id, batch, lambda records: hubspot_records.clear(self._http, records, fields))

    def delete_records(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """Archives the contacts: they can be restored at HubSpot for 90 days. A merged contact is the one it went into."""
        return self._remove_and(list_id, batch, lambda records: hubspot_records.archive(self._http, records))

    def _remove_and(
        self, list_id: str, batch: Batch, act: Callable[[Collection[str]], Mapping[str, Verdict]]
    ) -> list[Verdict]:
        """Takes the members out of the list, and does something to the contacts of those who are out.

        They are looked up first of all: while nothing has happened, no answer means that nothing has.
        """
        contacts = hubspot_records.contacts_of(self._http, batch)
        found = [place for place, records in enumerate(contacts) if records is not None]
        out = self.remove(list_id, replace(batch, members=[batch.members[place] for place in found]))
        verdicts = [NOT_LOOKED_UP] * len(batch)
        records_of_those_out: dict[int, frozenset[str]] = {}
        for place, verdict in zip(found, out, strict=True):
            verdicts[place] = verdict
            if verdict.kind is VerdictKind.ACCEPTED:
                records_of_those_out[place] = contacts[place] or frozenset()
        done = act({record for records in records_of_those_out.values() for record in records})
        for place, records in records_of_those_out.items():
            verdicts[place] = worst([done[record] for record in records])
        return verdicts

    def matched_users(self, list_id: str) -> MatchedUsers:
        """The size HubSpot shows for the list; its index lags behind by seconds to minutes."""
        size = self._get_list(list_id).get("size")
        count = int(size) if isinstance(size, (int, str)) and str(size).isdigit() else None
        return MatchedUsers(lower=count, upper=count, as_of=datetime.now(UTC), note="the list's size at HubSpot")

    def _get_list(self, list_id: str) -> dict[str, Any]:
        answer = self._http.request("GET", f"{_LISTS}/{list_id}", operation="lists.get")
        if answer.status >= 400:
            if list_is_missing(answer):
                raise _missing(list_id)
            raise_refusal(answer, "read the list")
        return _list_of(answer)

    def _by_name(self, name: str) -> RemoteList | None:
        path = f"{_LISTS}/object-type-id/{_CONTACT_TYPE}/name/{quote(name, safe='')}"
        answer = self._http.request("GET", path, operation="lists.find")
        if list_is_missing(answer):
            return None
        if answer.status >= 400:
            raise_refusal(answer, "find the list")
        return self._remote(_list_of(answer))

    def _remote(self, found: Mapping[str, Any], *, created: bool = False) -> RemoteList:
        list_id, kind = str(found["listId"]), found.get("processingType", "MANUAL")
        if kind not in _STATIC:
            raise DestinationError(
                f"the HubSpot list {found.get('name')!r} ({list_id}) is {kind}: HubSpot alone decides who is in it",
                code="LIST_NOT_STATIC",
                remedy="give the sync's `list` another name, or the id of a static list",
            )
        url = f"https://app.hubspot.com/contacts/{self._portal}/objectLists/{list_id}" if self._portal else None
        return RemoteList(list_id, str(found.get("name", list_id)), url, created)

    def _join(self, list_id: str, records: Sequence[str]) -> dict[str, Verdict]:
        """Puts the records into the list: record id -> verdict."""
        if not records:
            return {}
        try:
            answer = self._change_members(list_id, "add", records)
        except (NotApplied, NoAnswer) as error:
            return dict.fromkeys(records, unsure(error))
        missing = _missing_records(answer)
        gone = Verdict(VerdictKind.RETRYABLE, "CONTACT_GONE", "the contact was deleted at HubSpot meanwhile")
        return {
            record: gone if record in missing else Verdict(VerdictKind.ACCEPTED, remote_id=record) for record in records
        }

    def _leave(self, list_id: str, records: Collection[str]) -> set[str]:
        """Takes the records out of the list; those that HubSpot does not know. Who was not in the list is passed over."""
        return _missing_records(self._change_members(list_id, "remove", sorted(records))) if records else set()

    def _change_members(self, list_id: str, what: str, records: Sequence[str]) -> Answer:
        answer = self._http.request(
            "PUT", f"{_LISTS}/{list_id}/memberships/{what}", operation=f"memberships.{what}", json=list(records)
        )
        keep_to_limit(self._http.pace, answer)
        if answer.status >= 400:
            if list_is_missing(answer):
                raise _missing(list_id)
            raise_refusal(answer, f"{what} list members")
        if not isinstance(answer.body, dict):
            raise NoAnswer(f"hubspot memberships.{what}: the answer is empty")
        return answer


def _number(account: Account, name: str, default: float, least: float, most: float) -> float:
    value = account.settings.get(name)
    found = default if value is None else value
    if isinstance(found, bool | str) or not least <= found <= most:
        raise DefinitionError(
            f"the setting `{name}` cannot be read",
            where=f"destination {account.name}",
            remedy=f"write a number from {least:g} to {most:g}",
        )
    return found


def _list_of(answer: Answer) -> dict[str, Any]:
    found = answer.body.get("list", answer.body) if isinstance(answer.body, dict) else None
    if not isinstance(found, dict) or not found.get("listId"):
        raise NoAnswer("hubspot lists: the answer has no list")
    return found


def _missing_records(answer: Answer) -> set[str]:
    found = answer.body.get("recordIdsMissing") if isinstance(answer.body, dict) else None
    return {str(record) for record in found} if isinstance(found, list) else set()


def _records_on(answer: Answer) -> list[str]:
    """The records on a page of memberships. Raises NotApplied: what cannot be read is not nobody."""
    found = answer.body.get("results") if isinstance(answer.body, dict) else None
    records = [str(entry.get("recordId") or "") for entry in entries(answer, "results")]
    if not isinstance(found, list) or len(records) < len(found) or not all(records):
        raise NotApplied("hubspot memberships: the answer cannot be read")
    return records


def _cursor_after(answer: Answer) -> str | None:
    """Where the next page begins; None on the last one. Raises NotApplied where it does not say."""
    paging = answer.body.get("paging")
    following = paging.get("next") if isinstance(paging, dict) else paging
    if following is None:
        return None
    after = following.get("after") if isinstance(following, dict) else None
    if not isinstance(after, str) or not after:
        raise NotApplied("hubspot memberships: the answer does not say where the next page begins")
    return after


def _missing(list_id: str) -> ListMissing:
    return ListMissing(
        f"the HubSpot list {list_id} no longer exists",
        remedy="restore it in HubSpot (deleted lists can be restored for 90 days), or give the sync another `name` to "
        "fill a new list",
    )
