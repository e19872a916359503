"""One Snapchat ad account: its customer lists (segments), who is in them, and how many of them Snapchat recognises.

Facts: Snap's pages on customer lists (attributes of a segment; statuses; retention of 9,999 days means for ever), API patterns
(envelope, pages of 50 to 1,000), authentication (tokens of an hour, refresh tokens) and rate limits (10 requests a second for a
token, 20 for an app; no header tells), read 2026-11. From other vendors that send to Snapchat: at most 100,000 identifiers in a
request, one kind of identifier in a request, no answer about single rows, 1,000 matched users before a segment can be targeted.

[unsure], and what is done about it: what ``number_uploaded_users`` counts (see ``upload``; of a removal it is not looked at,
for somebody who is not there may not be counted); in which order Snapchat carries out what it took (taken to be the order of
sending; ``upload_wait_s`` sends nothing before it is done); whether sending a member again renews their retention (taken for
granted where a retention is set; by default nobody is forgotten); whether names are unique (of several segments the oldest
is taken); how a deleted segment answers (any refusal makes us look for it, and a segment that is not shown, or shown as
deleted, is missing); whether refresh tokens are ever replaced (the given one is used as long as it is accepted); the address
of the page (from memory).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import Field

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import Account, DestinationSpec, FieldSpec, ListRequest, Tells
from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.sign_in import Tokens, oauth_error
from audience_syncs.destinations.snapchat.answers import (
    NO_PERMISSION,
    code_of,
    is_done,
    is_refused,
    parts,
    raise_refusal,
    reading,
)
from audience_syncs.destinations.snapchat.segments import Segments
from audience_syncs.destinations.snapchat.upload import Upload
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import Batch, MatchedUsers, RemoteList, Verdict

ADDRESS = "https://adsapi.snapchat.com"
SIGN_IN_ADDRESS = "https://accounts.snapchat.com"
LIFETIME_DAYS = 9_999
TARGETABLE_FROM = 1_000
_OF_WHAT_WAS_SENT = (200, 400, 409, 413, 422)
"""Answers that refuse a request for what is in it; 200, where it is the part that is refused."""


class SnapchatSettings(settings.ApiSettings):
    """Settings of an ad account."""

    ad_account_id: str = Field(
        pattern=r"^[0-9A-Za-z-]{1,64}$", description="The ad account's id, as Ads Manager shows."
    )
    retention_in_days: int = Field(
        default=LIFETIME_DAYS,
        ge=1,
        le=LIFETIME_DAYS,
        description="After how many days lists forget a member. Members are sent again in time. Default: 9999, never.",
    )
    upload_wait_s: float = Field(
        default=0,
        ge=0,
        le=86_400,
        description="Seconds to wait for Snapchat to have processed earlier uploads; nothing is sent before. "
        "Default: 0, which does not wait.",
    )
    sign_in_url: str | None = Field(
        default=None, description="Another address where tokens are given. Default: `base_url`, if that is set."
    )


SPEC = DestinationSpec(
    platform="snapchat",
    title="Snapchat Customer Lists",
    kind="snapchat",
    fields=(
        FieldSpec("email", "snapchat.email", identifier=True, multiple=True, description="Email address; hashed."),
        FieldSpec("phone", "snapchat.phone", identifier=True, multiple=True, description="Phone number; hashed."),
        FieldSpec(
            "mobile_ad_id",
            "snapchat.mobile_id",
            identifier=True,
            multiple=True,
            description="Mobile advertising id (IDFA, AAID); hashed.",
        ),
    ),
    credentials=("client_id", "client_secret", "refresh_token"),
    settings=settings.descriptions(SnapchatSettings),
    settings_model=SnapchatSettings,
    required_settings=settings.required(SnapchatSettings),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=10_000,
    concurrency=4,
    tells_matched_users=Tells.YES,
    sizes_every=timedelta(hours=6),
    docs="docs/destinations/snapchat.md",
)


class Snapchat:
    """One ad account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        self._where = f"destination {account.name}"
        given = settings.read(SnapchatSettings, account.settings, self._where)
        if given.retention_in_days < LIFETIME_DAYS:
            # A third of the time is left for runs that are late, and for Snapchat to process what it is sent.
            self.spec = replace(SPEC, refresh_after=timedelta(days=given.retention_in_days) * 2 / 3)
        secret = account.credentials
        who = hashlib.sha256(secret["refresh_token"].encode()).hexdigest()
        self._retention_in_days = given.retention_in_days
        self._upload_wait_s = given.upload_wait_s
        self._tokens = Tokens(
            given.sign_in_url or given.address(environ, SIGN_IN_ADDRESS),
            "/login/oauth2/access_token",
            lambda: {"grant_type": "refresh_token", **secret},
            platform="snapchat",
            account=who,
            where=self._where,
            remedy="check `client_id` and `client_secret`; a refresh token ends when its user loses access or takes the app's "
            "away: sign in to the OAuth app again and set the new one",
            explain=oauth_error,
        )
        self._http = HttpClient(
            given.address(environ, ADDRESS),
            platform="snapchat",
            account=who,
            headers={},
            sign_in=self._tokens,
            read=reading,
            pace=Pace(given.requests_per_s, burst=5),
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
        )
        self._segments = Segments(self._http, given.ad_account_id, given.retention_in_days, self._where)

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """The segment of that id, else the oldest of exactly that name, else a new one."""
        name = wanted.name.strip()
        found = self._segments.get(wanted.id) if wanted.id is not None else self._segments.oldest_named(name)
        if found is None:
            return self._segments.make(name, wanted.description)
        if found.get("source_type", "FIRST_PARTY") != "FIRST_PARTY":
            raise DestinationError(
                f"the segment {found['id']} is no customer list, so nobody can be uploaded to it",
                where=self._where,
                remedy="name a customer list, or leave `id` out to have one made",
            )
        days = found.get("retention_in_days")
        if isinstance(days, int) and days < self._retention_in_days:
            raise DestinationError(
                f"the segment {found['id']} forgets its members after {days} days",
                where=self._where,
                remedy=f"write `retention_in_days: {days}` under the destination's `settings`: then members are sent again "
                "in time; or change the segment's retention in Ads Manager",
            )
        self._segments.wait_for_uploads(found, self._upload_wait_s)
        return self._segments.remote(found)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return Upload(lambda schema, hashes: self._put_in(list_id, schema, hashes)).of(batch.members)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return Upload(lambda schema, hashes: self._take_out(list_id, schema, hashes)).of(batch.members)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """As Snapchat shows it: rounded, late, and 0 for lists that are too small to be targeted."""
        segment = self._segments.get(list_id)
        size, status = segment.get("approximate_number_users"), segment.get("targetable_status")
        count = size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
        upper, notes = count, []
        if count == 0 and segment.get("upload_status") == "PROCESSING":
            count, upper = None, None
        elif count == 0 and status == "TOO_FEW_USERS":
            upper = TARGETABLE_FROM - 1
        if segment.get("upload_status") == "PROCESSING":
            notes.append("Snapchat is still processing uploads")
        if status == "TOO_FEW_USERS":
            notes.append("too few to be targeted")
        days = segment.get("retention_in_days")
        if isinstance(days, int) and days < LIFETIME_DAYS:
            notes.append(f"Snapchat forgets members of this list after {days} days")
        return MatchedUsers(count, upper, datetime.now(UTC), note="; ".join(notes))

    # Members

    def _put_in(self, list_id: str, schema: str, hashes: Sequence[str]) -> int:
        user = self._users("POST", list_id, schema, hashes).get("user")
        count = user.get("number_uploaded_users") if isinstance(user, Mapping) else None
        if not isinstance(count, int) or isinstance(count, bool):
            raise NoAnswer("snapchat users.add: the answer does not say how many identifiers were taken")
        return count

    def _take_out(self, list_id: str, schema: str, hashes: Sequence[str]) -> int:
        self._users("DELETE", list_id, schema, hashes)
        return len(hashes)

    def _users(self, method: str, list_id: str, schema: str, hashes: Sequence[str]) -> Mapping[str, Any]:
        """The one part of the answer, which was done."""
        doing = "add members" if method == "POST" else "remove members"
        answer = self._http.request(
            method,
            f"{self._segments.path_of(list_id)}/users",
            operation=doing,
            json={"users": [{"schema": [schema], "data": [[each] for each in hashes]}]},
        )
        if not is_refused(answer):
            try:
                found = parts(answer, "users")
            except NotApplied as error:
                raise NoAnswer(error.message) from error
            if not found:
                raise NoAnswer(f"snapchat {doing}: the answer says nothing about what was sent")
            if is_done(found[0]):
                return found[0]
        if answer.status in (401, 403) or code_of(answer) == NO_PERMISSION:
            raise_refusal(answer, doing, self._where)
        self._segments.get(list_id)
        if answer.status not in _OF_WHAT_WAS_SENT:
            raise_refusal(answer, doing, self._where)
        code = code_of(answer)
        raise BatchRefused(f"Snapchat refused the identifiers ({code})", reason_code=code)
