"""One Pinterest ad account: its customer lists, who is in them, and how many of them Pinterest knows.

Facts: Pinterest's OpenAPI description 5.28.0. A list takes records, a text of emails and mobile ids separated by commas, each of them
hashed (emails need not be); an update adds or removes; its counters count records also when they were there, or were not.
Pinterest looks for accounts with these records, and forgets the rest: a list holds people, not records, and fewer than
100 people cannot be targeted. Pinterest's own tests of its Python client add to a list and remove from it at once after one
another, and see both counted in the answers. From its pages (read 2026-11): rate limits; tokens for the account that owns the app
(client credentials), or for a user by a refresh token that lasts 60 days and is replaced whenever it is used.

[unsure], and what is done about it: whether changes are carried out in the order in which they were sent (they go one at a time;
``processing_wait_s`` sends nothing before earlier ones are done); whether a list may refuse a change meanwhile (if it says so,
the members come again); how many records a request may have (5,000 members; one that is too large is divided); what
``exceptions`` means (members are unknown when a change brings new ones); whether the type of a list matters to records of
another type (it can be set); how a deleted list answers (any refusal makes us look for it).
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import Field

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import Account, DestinationSpec, FieldSpec, ListRequest, Tells
from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.pinterest.answers import Calls, code_of, is_busy, raise_refusal, reading
from audience_syncs.destinations.pinterest.lists import Lists
from audience_syncs.destinations.sign_in import Tokens
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import BatchRefused, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, Outgoing, RemoteList, Verdict, VerdictKind

ADDRESS = "https://api.pinterest.com"
SCOPES = "ads:read,ads:write"
TOO_SMALL = 100
"""A list with fewer Pinterest accounts cannot be targeted."""
_OF_WHAT_WAS_SENT = (400, 413, 422)
NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has nothing that Pinterest could find a person by")
EXCEPTIONS = Verdict(
    VerdictKind.UNKNOWN, "EXCEPTIONS", "Pinterest took the change, and tells of new errors of the list"
)


class PinterestSettings(settings.ApiSettings):
    """Settings of an ad account."""

    requests_per_s: float = Field(default=5, ge=0.1, le=100, description="Requests a second. Default: 5.")
    ad_account_id: str = Field(
        pattern=r"^[0-9]{1,18}$",
        coerce_numbers_to_str=True,
        description="The ad account's number.",
    )
    list_type: Literal["EMAIL", "MAID", "IDFA"] = Field(
        default="EMAIL", description="Type of the lists that are made here: EMAIL, MAID or IDFA. Default: EMAIL."
    )
    make_audience: bool = Field(
        default=True, description="Whether an audience, which can be targeted, is made of the list. Default: true."
    )
    processing_wait_s: float = Field(
        default=0,
        ge=0,
        le=86_400,
        description="Seconds to wait for Pinterest to have processed earlier changes; nothing is sent before. "
        "Default: 0, which does not wait.",
    )


SPEC = DestinationSpec(
    platform="pinterest",
    title="Pinterest Customer Lists",
    kind="pinterest",
    fields=(
        FieldSpec("email", "pinterest.email", identifier=True, multiple=True, description="Email address; hashed."),
        FieldSpec(
            "mobile_ad_id",
            "pinterest.mobile_id",
            identifier=True,
            multiple=True,
            description="Mobile advertising id (IDFA, AAID); hashed.",
        ),
    ),
    credentials=("client_id", "client_secret"),
    optional_credentials=("refresh_token",),
    settings=settings.descriptions(PinterestSettings),
    settings_model=PinterestSettings,
    required_settings=settings.required(PinterestSettings),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=5_000,
    concurrency=1,
    tells_matched_users=Tells.YES,
    sizes_every=timedelta(hours=6),
    docs="docs/destinations/pinterest.md",
)


class Pinterest:
    """One ad account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        self._where = f"destination {account.name}"
        given = settings.read(PinterestSettings, account.settings, self._where)
        secret = account.credentials
        refresh_token = secret.get("refresh_token", "")
        who = hashlib.sha256(f"{secret['client_id']} {refresh_token}".encode()).hexdigest()
        self._make_audience = given.make_audience
        self._processing_wait_s = given.processing_wait_s
        self._tokens = Tokens(
            given.address(environ, ADDRESS),
            "/v5/oauth/token",
            lambda: (
                {"grant_type": "refresh_token", "refresh_token": refresh_token}
                if refresh_token
                else {"grant_type": "client_credentials", "scope": SCOPES}
            ),
            platform="pinterest",
            account=who,
            where=self._where,
            remedy="check `client_id` and `client_secret`; a refresh token lasts 60 days: without one, the token is for the "
            "account that owns the app",
            basic=(secret["client_id"], secret["client_secret"]),
        )
        self._http = HttpClient(
            given.address(environ, ADDRESS),
            platform="pinterest",
            account=who,
            headers={},
            sign_in=self._tokens,
            read=reading,
            pace=Pace(given.requests_per_s, burst=5),
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
        )
        self._lists = Lists(Calls(self._http, self._where), given.ad_account_id, given.list_type)
        self._exceptions: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """The list of that id, else the oldest of exactly that name, else a new one; and an audience of it."""
        name = wanted.name.strip()
        found = self._lists.get(wanted.id) if wanted.id is not None else self._lists.oldest_named(name)
        if found is None:
            remote = self._lists.make(name)
            found = self._lists.get(remote.id)
        else:
            remote = self._lists.remote(found)
            self._lists.tidy(found)
        with self._lock:
            self._exceptions[remote.id] = found.get("exceptions")
        if self._make_audience:
            self._lists.make_audience(found)
        if self._processing_wait_s and not remote.created:
            self._lists.wait(found, self._processing_wait_s)
        return remote

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._change(list_id, "ADD", batch.members)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._change(list_id, "REMOVE", batch.members)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """The size of the audience that is made of the list; 100 is the least that Pinterest tells of."""
        now, found = datetime.now(UTC), self._lists.get(list_id)
        audience = self._lists.audience_of(found)
        state = str(found.get("status", "")).lower().replace("_", " ")
        if audience is None:
            return MatchedUsers(None, None, now, note=f"no audience is made of the list yet; the list is {state}")
        size, status = audience.get("size"), audience.get("status")
        count = size if isinstance(size, int) and not isinstance(size, bool) and size > 0 else None
        if status == "INITIALIZING":
            return MatchedUsers(None, None, now, note="Pinterest is still putting the audience together")
        if status == "TOO_SMALL":
            note = f"too few to be targeted: fewer than {TOO_SMALL}"
            return MatchedUsers(count or 0, count or TOO_SMALL - 1, now, note=note)
        return MatchedUsers(count, count, now, note=f"the list is {state}" if state != "ready" else "")

    # Members

    def _change(self, list_id: str, operation: str, members: Sequence[Outgoing]) -> list[Verdict]:
        """One request: all of it is taken, or none."""
        wanted = [_records_of(member) for member in members]
        records = list(dict.fromkeys(each for of_one in wanted for each in of_one))
        verdict = self._sent(list_id, operation, records) if records else NO_IDENTIFIER
        return [verdict if of_one else NO_IDENTIFIER for of_one in wanted]

    def _sent(self, list_id: str, operation: str, records: list[str]) -> Verdict:
        answer = self._lists.change(list_id, operation, records)
        if answer.status >= 400 and is_busy(answer):
            self._lists.wait(self._lists.get(list_id), self._processing_wait_s)
            answer = self._lists.change(list_id, operation, records)
        if answer.status >= 400:
            self._raise_refusal(answer, list_id, "add members" if operation == "ADD" else "remove members")
        if str(answer.body.get("id")) != list_id:
            raise NoAnswer("pinterest change: the answer does not say that the list was changed")
        told = answer.body.get("exceptions")
        with self._lock:
            is_new = bool(told) and told != self._exceptions.get(list_id)
            self._exceptions[list_id] = told
        return EXCEPTIONS if is_new else ACCEPTED

    def _raise_refusal(self, answer: Answer, list_id: str, doing: str) -> None:
        if answer.status not in (401, 403):
            self._lists.get(list_id)
            code = code_of(answer)
            if is_busy(answer):
                raise NotApplied(f"Pinterest takes no change of this list now ({code})", where=self._where)
            if answer.status in _OF_WHAT_WAS_SENT:
                raise BatchRefused(f"Pinterest refused the records ({code})", reason_code=f"HTTP {code}")
        raise_refusal(answer, doing, self._where)


def _records_of(member: Outgoing) -> list[str]:
    """All of a member's hashes; of a removal in doubt there may be several."""
    found: list[str] = []
    for name in ("email", "mobile_ad_id"):
        value = member.fields.get(name, "")
        found += [each for each in ([value] if isinstance(value, str) else value) if each]
    return found
