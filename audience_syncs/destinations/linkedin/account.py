"""One LinkedIn ad account: its DMP segments of people, who is in them, and how large LinkedIn finds them.

Facts (read 2026-11): LinkedIn's pages on DMP segments and segment users (versions up to 2026-08) and on refresh tokens; its
Postman collection for the shapes of answers; Segment's adapter, in production: a new segment may be answered 404 for a minute
or two. LinkedIn asks for five seconds between making a segment and filling it. ``accessPolicy`` is gone since 202406, so it
is not sent. LinkedIn tells nobody who is in a segment.

Streamed people are matched within a day or two, later changes soon; there is no job to wait for.

[unsure], and what is done about it: whether LinkedIn carries out requests in the order in which it took them (assumed); whether
``sourcePlatform`` may be left out (left to the user); whether names are unique (of several the oldest is taken); the address
of the page in Campaign Manager (from memory).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import Account, DestinationSpec, FieldSpec, ListRequest, Tells
from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.linkedin.calls import PROTOCOL, Calls, Read
from audience_syncs.destinations.linkedin.members import Element, deliver, refused_alike
from audience_syncs.destinations.linkedin.segments import SEGMENTS, Segments, in_linkedin
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.sign_in import Fixed, SignIn, Tokens, oauth_error
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import (
    BatchRefused,
    DefinitionError,
    NotApplied,
)
from audience_syncs.model.values import Batch, MatchedUsers, RemoteList, Verdict

BASE_URL = "https://api.linkedin.com"
SIGN_IN_URL = "https://www.linkedin.com"
API_VERSION = "202608"
SMALLEST = 300
"""LinkedIn tells no size below this."""
_TO_REFRESH = ("client_id", "client_secret", "refresh_token")


def _digits(value: object) -> object:
    """YAML reads numbers as such; people copy the whole URN."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return text.removeprefix("urn:li:sponsoredAccount:") if isinstance(text, str) else text


class LinkedInSettings(settings.ApiSettings):
    """Settings of a LinkedIn ad account."""

    requests_per_s: float = Field(default=8, ge=0.1, le=1_000, description="Requests a second. Default: 8.")
    ad_account_id: Annotated[str, BeforeValidator(_digits)] = Field(
        pattern=r"^[0-9]{1,20}$", description="The ad account's number, as in the address of Campaign Manager."
    )
    source_platform: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_-]{1,60}$",
        description="The name that LinkedIn gave your app as a source of segments, when it approved it.",
    )
    api_version: Annotated[str, BeforeValidator(_digits)] = Field(
        default=API_VERSION,
        pattern=r"^20[0-9]{2}(0[1-9]|1[0-2])$",
        description=f"Version of LinkedIn's API, year and month; each ends after about a year. Default: {API_VERSION}.",
    )
    segment_wait_s: float = Field(
        default=180, ge=0, le=3_600, description="Seconds to wait until a new segment takes people. Default: 180."
    )


SPEC = DestinationSpec(
    platform="linkedin",
    title="LinkedIn Matched Audiences",
    kind="linkedin",
    fields=(
        FieldSpec("email", "linkedin.email", identifier=True, multiple=True, description="Email address; hashed."),
        FieldSpec(
            "google_aid",
            "linkedin.mobile_id",
            identifier=True,
            multiple=True,
            description="Android's advertising id, as it is.",
        ),
        FieldSpec("first_name", "linkedin.first_name", description="First name, as it is; helps to match."),
        FieldSpec("last_name", "linkedin.last_name", description="Last name, as it is; helps to match."),
        FieldSpec("title", "generic.text", description="Job title, as it is; helps to match."),
        FieldSpec("company", "generic.text", personal=False, description="Company's name; helps to match."),
        FieldSpec("country", "linkedin.country", personal=False, description="ISO 3166 country code of two letters."),
    ),
    credentials=(),
    optional_credentials=("access_token", *_TO_REFRESH),
    settings=settings.descriptions(LinkedInSettings),
    settings_model=LinkedInSettings,
    required_settings=settings.required(LinkedInSettings),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=5_000,
    concurrency=4,
    sizes_every=timedelta(hours=6),
    tells_matched_users=Tells.YES,
    docs="docs/destinations/linkedin.md",
)


class LinkedIn:
    """One ad account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        where = f"destination {account.name}"
        given = settings.read(LinkedInSettings, account.settings, where)
        self._account = given.ad_account_id
        self._source = given.source_platform
        self._longest_wait_s = given.segment_wait_s
        address = given.address(environ, BASE_URL)
        self._sign_in = _sign_in(account, SIGN_IN_URL if address == BASE_URL else address, where)
        self._read = Read()
        self._http = HttpClient(
            address,
            platform="linkedin",
            account=hashlib.sha256(repr(sorted(account.credentials.items())).encode()).hexdigest(),
            headers={"LinkedIn-Version": given.api_version, "X-Restli-Protocol-Version": PROTOCOL},
            sign_in=self._sign_in,
            pace=Pace(given.requests_per_s, burst=10),
            read=self._read,
            request_id_header="x-li-uuid",
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
        )
        self._calls = Calls(self._http, given.api_version, where)
        self._segments = Segments(self._calls, f"urn:li:sponsoredAccount:{given.ad_account_id}")

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """The segment of that id, else the oldest of that name, else a new one; in each case one that takes people."""
        if wanted.id is not None:
            shown = self._segments.usable(wanted.id)
        else:
            found = self._segments.oldest_named(wanted.name)
            if found is None:
                made, created = self._segments.make(wanted.name, wanted.description, self._source)
                return replace(self._remote(made), created=created)
            shown = found
        self._segments.let_settle(shown)
        return self._remote(shown)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._stream(list_id, batch, adding=True)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._stream(list_id, batch, adding=False)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """How many members LinkedIn finds for ads; below 300 it only says so. No number while it matches the first ones."""
        shown = in_linkedin(self._segments.get(list_id))
        size, status = shown.get("audienceSize"), str(shown.get("status") or "")
        now = datetime.now(UTC)
        said = f"LinkedIn's status of the segment is {status}" if status.isalpha() else ""
        if isinstance(size, int) and not isinstance(size, bool) and size > 0:
            return MatchedUsers(size, size, now, note=said if status != "READY" else "")
        if size is None or status == "BUILDING":
            return MatchedUsers(None, None, now, note=said)
        small = f"LinkedIn tells no size below {SMALLEST}"
        return MatchedUsers(0, SMALLEST - 1, now, note="; ".join(filter(None, (small, said))))

    # Members

    def _stream(self, list_id: str, batch: Batch, *, adding: bool) -> list[Verdict]:
        self._segments.check_id(list_id)
        doing = "put people into the segment" if adding else "take people out of the segment"
        operation = "users.add" if adding else "users.remove"

        def send(elements: Sequence[Element]) -> Answer:
            deadline = time.monotonic() + self._longest_wait_s
            while True:
                told = self._calls.batch(f"{SEGMENTS}/{list_id}/users", elements, operation=operation)
                answer = refused_alike(told, len(elements))
                if answer is not told and answer.status == 404:
                    self._segments.get(list_id)  # raises ListMissing
                    return told
                if answer.status < 400:
                    return answer
                if answer.status == 404:
                    self._segments.get(list_id)  # raises ListMissing
                    if time.monotonic() < deadline and rest(self._segments.settles_s):
                        continue
                    raise NotApplied("linkedin: the segment is new, and takes nobody yet")
                try:
                    self._calls.refuse(answer, doing, of_people=True)
                except BatchRefused:
                    self._segments.get(list_id)
                    raise

        return deliver(batch.members, send, adding=adding)

    def _remote(self, shown: Mapping[str, Any]) -> RemoteList:
        url = f"https://www.linkedin.com/campaignmanager/accounts/{self._account}/audiences"
        return RemoteList(str(shown["id"]), str(shown.get("name") or shown["id"]), url)


class NewTokens(Tokens):
    """Access tokens that LinkedIn does not know everywhere at once: right after one was given it may be answered 401 as expired
    or revoked (65602, 65601), as Segment's adapter has found. One that replaces a refused one is used a moment later."""

    settles_s = 2.0

    def renew(self, refused: Mapping[str, str]) -> bool:
        renewed = super().renew(refused)
        self.headers()
        rest(self.settles_s)
        return renewed


def _sign_in(account: Account, origin: str, where: str) -> SignIn:
    """By a refresh token where there is one, else by the access token."""
    given = account.credentials
    if all(name in given for name in _TO_REFRESH):
        return NewTokens(
            origin,
            "/oauth/v2/accessToken",
            lambda: {"grant_type": "refresh_token", **{name: given[name] for name in _TO_REFRESH}},
            platform="linkedin",
            account=given["client_id"] + given["refresh_token"],
            where=where,
            remedy="refresh tokens end a year after the member authorized the app, and when they withdraw it: authorize it again, "
            "and put the new `refresh_token` into its variable; check `client_id` and `client_secret`",
            explain=oauth_error,
        )
    if "access_token" in given:
        return Fixed({"Authorization": f"Bearer {given['access_token']}"}, where)
    raise DefinitionError(
        "LinkedIn needs either the secret `access_token`, or `client_id`, `client_secret` and `refresh_token` together",
        where=where,
        remedy="add them under `credentials`, like `access_token: {env: LINKEDIN_TOKEN}`",
    )
