"""One account: its lists, and how many people Google counts in them.

Facts: ``UserListService`` (filters, names that are used once, headers ``login-account`` and ``linked-account``), ``UserList`` (sizes,
``membership_duration`` in whole days, ``CLOSED`` takes no new members), ``Destination``. The ingestion calls name the accounts in
their bodies.

Members cannot be read back, and drop out by themselves when the list's membership duration has passed since they were last sent; the
engine sends those who stay again in time (``refresh_after``), so a list whose duration is shorter than we believe is refused.
``audienceMembers:removeAll`` is not used: it would take out those whom others put into the list.

[unsure], and what is done about it: whether a missing list is NOT_FOUND or PERMISSION_DENIED, which the reference gives as "no
permission, or not found" (the account's lists are then searched for its id); the address of the page with the lists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.google.access import project_of, tokens
from audience_syncs.destinations.google.answers import reading, refusal_of, stopping_error
from audience_syncs.destinations.google.declaration import BASE_URL, GoogleSettings, OtherAccount, declare
from audience_syncs.destinations.google.delivery import Delivery
from audience_syncs.destinations.google.uploads import Uploads
from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.model.errors import DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import Batch, MatchedUsers, RemoteList, Verdict

PAGE = 1_000
_MISSING = ("NOT_FOUND", "INVALID_USER_LIST_ID", "INVALID_RESOURCE_NAME")
_TAKEN = ("ALREADY_EXISTS", "DISPLAY_NAME_ALREADY_USED")
_NETWORKS = {
    "searchNetworkMembersCount": "Search",
    "displayNetworkMembersCount": "Display",
    "youtubeMembersCount": "YouTube",
    "gmailMembersCount": "Gmail",
}
_PAGE_OF_LISTS = "https://ads.google.com/aw/audiences/management"


class Google:
    """An account with Customer Match lists."""

    _vague_pause_s = 2.0

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        self.spec = declare(account.settings)
        self._where = f"destination {account.name}"
        self._given = given = settings.read(GoogleSettings, account.settings, self._where)
        address = given.address(environ, BASE_URL)
        project = project_of(given, account.credentials, self._where)
        headers = {"x-goog-user-project": given.quota_project} if given.quota_project else {}
        self._http = HttpClient(
            address,
            platform="google",
            account=hashlib.sha256(f"{address} {project}".encode()).hexdigest(),
            headers=headers,
            sign_in=tokens(given, account.credentials, self._where),
            read=reading,
            pace=Pace(given.requests_per_s, burst=10),
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
        )
        self._lists = f"/v1/accountTypes/{given.account_type}/accounts/{given.customer_id}/userLists"
        self._uploads = Uploads(
            self._http,
            self._destination,
            {
                "consent": {
                    name: "CONSENT_GRANTED"
                    for name, said in (
                        ("adUserData", given.consent.ad_user_data),
                        ("adPersonalization", given.consent.ad_personalization),
                    )
                    if said == "granted"
                },
                "termsOfService": {"customerMatchTermsOfServiceStatus": "ACCEPTED"},
            },
            given.validate_only,
            given.job_wait_s,
            given.unanswered_wait_s,
            self._where,
        )

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    # Members

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._delivered(list_id, batch, adding=True)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._delivered(list_id, batch, adding=False)

    def resume(self, list_id: str, job_ids: Sequence[str]) -> None:
        """Waits for uploads that earlier runs left under way, and for those whose answer was lost."""
        self._uploads.resume(job_ids)

    def _delivered(self, list_id: str, batch: Batch, *, adding: bool) -> list[Verdict]:
        if not _is_id(list_id):
            raise self._missing(list_id)
        delivery = Delivery(self._uploads, list_id, batch.jobs, self._get, self._where, adding=adding)
        delivery.vague_pause_s = self._vague_pause_s
        return delivery.of(batch)

    def _destination(self, list_id: str) -> dict[str, Any]:
        given = self._given
        found: dict[str, Any] = {
            "operatingAccount": {"accountType": given.account_type, "accountId": given.customer_id},
            "productDestinationId": list_id,
        }
        for name, other in (("loginAccount", given.login_account), ("linkedAccount", given.linked_account)):
            if other is not None:
                found[name] = {"accountType": other.type, "accountId": other.id}
        return found

    # Lists

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """The list of that id, else the one of exactly that name, else a new one."""
        if wanted.id is not None:
            return self._usable(self._get(wanted.id))
        found = self._named(wanted.name)
        return self._made(wanted) if found is None else self._usable(found)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """The most people that Google counts in the list on one of its networks; none while it counts nobody anywhere."""
        shown = self._get(list_id)
        sizes = shown.get("sizeInfo")
        sizes = sizes if isinstance(sizes, dict) else {}
        counts = {network: _number(sizes.get(key)) for key, network in _NETWORKS.items()}
        most = max(counts.values())
        notes = [f"{network} {count:,}" for network, count in counts.items() if count]
        info = shown.get("ingestedUserListInfo")
        contact = info.get("contactIdInfo") if isinstance(info, dict) else None
        rate = _number(contact.get("matchRatePercentage")) if isinstance(contact, dict) else 0
        notes += [f"match rate {rate} %"] if rate else []
        size = most or None
        return MatchedUsers(size, size, datetime.now(UTC), note="; ".join(notes))

    def _made(self, wanted: ListRequest) -> RemoteList:
        body = {
            "displayName": wanted.name,
            "description": wanted.description,
            "membershipStatus": "OPEN",
            "membershipDuration": f"{self._given.membership_days * 86_400}s",
            "ingestedUserListInfo": {
                "uploadKeyTypes": ["CONTACT_ID"],
                "contactIdInfo": {"dataSourceType": "DATA_SOURCE_TYPE_FIRST_PARTY"},
            },
        }
        try:
            answer = self._request("POST", self._lists, operation="lists.create", json=body, idempotent=False)
        except NoAnswer:
            found = self._named(wanted.name)
            if found is None:
                raise
            return replace(self._usable(found), created=True)
        if answer.status >= 400:
            refusal = refusal_of(answer)
            # Another sync may have made one at the same moment.
            found = self._named(wanted.name) if refusal.has(*_TAKEN) else None
            if found is not None:
                return self._usable(found)
            raise stopping_error(refusal, "make the list", self._where)
        if not _is_id(str(answer.body.get("id", ""))):
            raise NoAnswer("google lists.create: the answer has no list")
        return replace(_remote(answer.body), created=True)

    def _named(self, name: str) -> Mapping[str, Any] | None:
        """Raises DestinationError where several have the name: names are used once, but others may share theirs."""
        found = [each for each in self._all(f"display_name = {_quoted(name)}") if each.get("displayName") == name]
        if len(found) > 1:
            ids = sorted(str(each["id"]) for each in found)
            raise DestinationError(
                f"the account has {len(found)} lists of the name {name!r}: {', '.join(ids)}",
                where=self._where,
                code="LIST_AMBIGUOUS",
                remedy=f"say which one in the sync, e.g. `list: {{id: '{ids[0]}'}}`, or rename the others",
            )
        return found[0] if found else None

    def _all(self, condition: str) -> Iterator[Mapping[str, Any]]:
        params: dict[str, str | int] = {"filter": condition, "pageSize": PAGE}
        seen: set[str] = set()
        while True:
            answer = self._read(self._lists, operation="lists.find", params=params)
            if answer.status >= 400:
                raise stopping_error(refusal_of(answer), "find the list", self._where)
            # Google leaves empty lists out of its answers.
            found = answer.body.get("userLists", [])
            if not isinstance(found, list):
                raise NotApplied("google lists.find: the answer has no lists")
            yield from (each for each in found if isinstance(each, dict) and _is_id(str(each.get("id", ""))))
            after = answer.body.get("nextPageToken")
            if not isinstance(after, str) or not after:
                return
            if after in seen:
                raise NotApplied("google lists.find: the pages go round in circles")
            seen.add(after)
            params = {**params, "pageToken": after}

    def _get(self, list_id: str, /) -> Mapping[str, Any]:
        """Raises ListMissing."""
        if not _is_id(list_id):
            raise self._missing(list_id)
        answer = self._read(f"{self._lists}/{list_id}", operation="lists.get")
        if answer.status >= 400:
            refusal = refusal_of(answer)
            if refusal.has(*_MISSING) or (
                # An account whose lists we may read, and none of that id.
                refusal.http == 403 and refusal.has("PERMISSION_DENIED") and not self._has(list_id)
            ):
                raise self._missing(list_id)
            raise stopping_error(refusal, "read the list", self._where)
        if str(answer.body.get("id", "")) != list_id:
            raise NotApplied("google lists.get: the answer has no list")
        found: Mapping[str, Any] = answer.body
        return found

    def _has(self, list_id: str) -> bool:
        return any(str(each.get("id")) == list_id for each in self._all(f"id = {list_id}"))

    def _usable(self, found: Mapping[str, Any]) -> RemoteList:
        """Raises DestinationError where nobody can be put into it."""
        list_id, info = str(found["id"]), found.get("ingestedUserListInfo")
        kinds = info.get("uploadKeyTypes") if isinstance(info, dict) else None
        if not isinstance(kinds, list) or "CONTACT_ID" not in kinds:
            raise DestinationError(
                f"the list {list_id} is not one of contact data, and takes no emails, phone numbers and addresses",
                where=self._where,
                code="LIST_OF_ANOTHER_KIND",
                remedy="name a Customer Match list of contact data, or another `name` to have one made",
            )
        if found.get("readOnly") is True or found.get("membershipStatus") == "CLOSED":
            unused = " by Google, for it has not been used for long" if found.get("closingReason") == "UNUSED" else ""
            is_closed = found.get("membershipStatus") == "CLOSED"
            raise DestinationError(
                f"the list {list_id} is {f'closed{unused}' if is_closed else 'read only here'}, and takes no new members",
                where=self._where,
                code="LIST_CLOSED",
                remedy="open it in Google Ads (Audience manager), or give the sync another `name` to fill a new list",
            )
        days = _days(found.get("membershipDuration"))
        if days is not None and days < self._given.membership_days:
            raise DestinationError(
                f"members of the list {list_id} expire after {days:g} days, and the destination's `membership_days` says "
                f"{self._given.membership_days}: who stays would not be sent again in time",
                where=self._where,
                code="MEMBERSHIP_TOO_SHORT",
                remedy=f"set the list's membership duration to {self._given.membership_days} days in Google Ads, or "
                f"`membership_days: {max(1, int(days))}` in the destination's settings",
            )
        return _remote(found)

    def _missing(self, list_id: str) -> ListMissing:
        shown = f" {list_id}" if _is_id(list_id) else ""
        return ListMissing(
            f"there is no list{shown} in account {self._given.customer_id} at Google",
            where=self._where,
            remedy="check `customer_id` and the list's id; if it was deleted, give the sync another `name`: it then fills a new "
            "list",
        )

    # Requests

    def _read(self, path: str, *, operation: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """Raises NotApplied where there is no answer: reading changes nothing."""
        try:
            return self._request("GET", path, operation=operation, params=params)
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def _request(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        idempotent: bool = True,
    ) -> Answer:
        others = {
            name: f"accountTypes/{other.type}/accounts/{other.id}"
            for name, other in (
                ("login-account", self._given.login_account),
                ("linked-account", self._given.linked_account),
            )
            if isinstance(other, OtherAccount)
        }
        return self._http.request(
            method,
            path,
            operation=operation,
            params=params,
            json=json,
            headers=lambda body: others,
            idempotent=idempotent,
        )


def _remote(found: Mapping[str, Any]) -> RemoteList:
    return RemoteList(str(found["id"]), str(found.get("displayName") or found["id"]), _PAGE_OF_LISTS)


def _quoted(text: str) -> str:
    """A text of AIP-160: in double quotes, which are escaped like the backslash."""
    return orjson.dumps(text).decode()


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20


def _days(duration: object) -> float | None:
    """A duration as JSON has it: seconds, with an ``s``."""
    text = duration.removesuffix("s") if isinstance(duration, str) else ""
    return int(text) / 86_400 if text.isascii() and text.isdigit() and len(text) < 15 else None


def _number(value: object) -> int:
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return int(text) if text.isascii() and text.isdigit() else 0
