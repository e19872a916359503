"""One ad account of Microsoft Advertising: who signs in, and what is done with a customer list.

Facts: Microsoft's documentation of ``ApplyCustomerListUserData``, ``CustomerListUserData`` and OAuth for its advertising API
(MicrosoftDocs/Advertising, read 2026-11), and the models of Microsoft's own client, msads 13.0.30.1. Members cannot be read
back. Signing in gives an access token for about an hour; the refresh token it also gives is not kept (secrets come from the
environment alone), and the old one stays good, as documented, until it ends by itself or somebody withdraws it.

The Customer Match terms are accepted by a person: either on Microsoft's pages, or by a setting that somebody writes.

[unsure]: an upload is answered at once and takes effect within 48 hours; that Microsoft keeps the order of uploads to a list
until then is assumed, for there is nothing to ask.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.microsoft.calls import (
    NO_SUCH_LIST,
    THROTTLED,
    Calls,
    Problem,
    Read,
    faults_of,
    partial_errors,
    why_no_token,
)
from audience_syncs.destinations.microsoft.declaration import SPEC, MicrosoftSettings
from audience_syncs.destinations.microsoft.lists import Lists, days_of, is_id, size_of
from audience_syncs.destinations.microsoft.members import Kind, Upload
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.sign_in import Tokens
from audience_syncs.model.errors import BatchRefused
from audience_syncs.model.values import Batch, MatchedUsers, RemoteList, Verdict

_APPLY = "/CampaignManagement/v13/CustomerListUserData/Apply"
_API = {
    "production": "https://campaign.api.bingads.microsoft.com",
    "sandbox": "https://campaign.api.sandbox.bingads.microsoft.com",
}
_SIGN_IN = {"production": "https://login.microsoftonline.com", "sandbox": "https://login.windows-ppe.net"}
_SCOPE = {
    "production": "https://ads.microsoft.com/msads.manage offline_access",
    "sandbox": "https://api.ads.microsoft.com/msads.manage offline_access",
}
_SANDBOX_TENANT = "consumers"
_SMALLEST = 300


class Microsoft:
    """An ad account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        given = settings.read(MicrosoftSettings, account.settings, f"destination {account.name}")
        where = f"destination {account.name}"
        address = given.address(environ, _API[given.environment])
        self._secrets = account.credentials
        self._tokens = self._signing_in(given, address, where)
        read = Read()
        self._read = read
        self._http = HttpClient(
            address,
            platform="microsoft",
            # Calls are counted by user and customer, a minute at a time.
            account=hashlib.sha256(f"{address} {given.customer_id}".encode()).hexdigest(),
            headers={
                "DeveloperToken": account.credentials["developer_token"],
                "CustomerId": given.customer_id,
                "CustomerAccountId": given.account_id,
            },
            sign_in=self._tokens,
            pace=Pace(given.requests_per_s, burst=5),
            read=read,
            request_id_header="TrackingId",
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
        )
        self._accepts_terms = given.accept_customer_match_terms
        self._calls = Calls(self._http, self._tokens, where)
        self._lists = Lists(self._calls, given)

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        return self._lists.ensure(wanted)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._upload(list_id, batch, adding=True)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._upload(list_id, batch, adding=False)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """The larger of the list's two sizes: the networks overlap, and how much Microsoft does not say."""
        shown = self._lists.get(list_id)
        sizes = {
            "search": size_of(shown, "SearchSize"),
            "audience": size_of(shown, "AudienceNetworkSize"),
        }
        known = [size for size in sizes.values() if size is not None]
        notes = [f"{size:,} in the {network} network" for network, size in sizes.items() if size is not None]
        if known and max(known) < _SMALLEST:
            notes.append(f"used for ads from {_SMALLEST} on")
        days = days_of(shown)
        if days is not None:
            notes.append(f"members leave by themselves after {days} days")
        most = max(known, default=None)
        return MatchedUsers(most, most, datetime.now(UTC), note="; ".join(notes))

    def _upload(self, list_id: str, batch: Batch, *, adding: bool) -> list[Verdict]:
        if not is_id(list_id):
            raise self._lists.missing(list_id)

        def send(kind: Kind, items: Sequence[str]) -> Sequence[Problem]:
            return self._apply(list_id, kind, items, adding=adding)

        return Upload(send, adding=adding).of(batch.members)

    def _apply(self, list_id: str, kind: Kind, items: Sequence[str], *, adding: bool) -> Sequence[Problem]:
        """The errors about single items. Raises BatchRefused where the call was refused for what is in it."""
        asked: dict[str, Any] = {
            "AudienceId": list_id,
            "ActionType": "Add" if adding else "Remove",
            "CustomerListItemSubType": kind.value,
            "CustomerListItems": list(items),
        }
        if self._accepts_terms:
            asked["AcceptCustomerMatchTerm"] = True
        doing = "add members" if adding else "remove members"
        operation = "members.add" if adding else "members.remove"
        answer = self._calls.change(_APPLY, {"CustomerListUserData": asked}, operation=operation)
        faults = list(faults_of(answer))
        errors = partial_errors(answer, operation) if answer.status < 400 and not faults else []
        for problem in (*faults, *errors):
            if problem.code in NO_SUCH_LIST:
                raise self._lists.missing(list_id)
            stopping = self._calls.stopping_error(problem, answer, doing)
            if stopping is not None and problem.code not in THROTTLED:
                raise stopping
        for fault in faults:
            raise BatchRefused(fault.reason, reason_code=fault.reason_code, position=fault.index)
        if answer.status == 413:
            raise BatchRefused("the request was too large", reason_code="HTTP_413")
        if answer.status >= 400:
            raise self._calls.not_from_microsoft(answer)
        return errors

    def _signing_in(self, given: MicrosoftSettings, address: str, where: str) -> Tokens:
        is_elsewhere = address != _API[given.environment]
        origin = given.sign_in_url or (address if is_elsewhere else _SIGN_IN[given.environment])
        tenant = _SANDBOX_TENANT if given.environment == "sandbox" and given.tenant == "common" else given.tenant

        def form() -> Mapping[str, str]:
            secret = self._secrets.get("client_secret")
            return {
                "grant_type": "refresh_token",
                "client_id": self._secrets["client_id"],
                "refresh_token": self._secrets["refresh_token"],
                "scope": _SCOPE[given.environment],
                **({"client_secret": secret} if secret else {}),
            }

        return Tokens(
            origin.rstrip("/"),
            f"/{tenant}/oauth2/v2.0/token",
            form,
            platform="microsoft",
            account=f"{self._secrets['client_id']} {self._secrets['refresh_token']}",
            where=where,
            remedy="sign in again as the user of this account (scope msads.manage offline_access), and set the new refresh token; "
            "an app for the web also needs `client_secret`. Refresh tokens end, often after 90 days, and when the user "
            "changes the password",
            explain=why_no_token,
        )
