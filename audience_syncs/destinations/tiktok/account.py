"""One TikTok advertiser: audiences that identifiers are mapped to (segments), and how many people TikTok recognises.

Facts (read 2026-11): a Go client of TikTok's API that quotes TikTok's reference of ``/segment/audience/``, ``/segment/mapping/``
and ``/dmp/custom_audience/``; TikTok's own OpenAPI files for the latter; Segment's and RudderStack's adapters, in production,
for the shape of requests. Names of audiences are not unique, and one longer than 70 characters is cut by TikTok. Such an
audience is of the type *Partner*; only these take mappings. TikTok tells nobody who is in an audience.

A request is answered as a whole and carried out later; the size follows in a day or two. There is no job to wait for.

[unsure], and what is done about it: how many rows a request may have (10,000 it is said; 1,000 are sent, which other vendors
do, and one that is too large is halved); whether a mapping to a deleted audience is refused (after any refusal, and before each
run, the audience is looked for); whether TikTok carries requests out in the order in which it took them (assumed); the
address of an audience's page (from memory); when a new audience is shown in the account's list.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
from pydantic import BeforeValidator, Field

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import Account, DestinationSpec, FieldSpec, ListRequest, Tells
from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.plain_words import plain_words
from audience_syncs.destinations.tiktok.calls import PARAMETERS, Calls, reading, refusal_of
from audience_syncs.destinations.tiktok.mappings import deliver
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import BatchRefused, DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import Batch, MatchedUsers, RemoteList, Verdict

BASE_URL = "https://business-api.tiktok.com"
LONGEST_NAME = 70
PAGE = 100
_MOST_PAGES = 100
"""An advertiser has at most 400 audiences; this ends a walk that would never."""
TAKES_NO_MAPPINGS = frozenset(
    {
        *("customer file", "engagement", "app activity", "website", "lookalike", "lead generation"),
        *("rule business account", "rule ad shop", "challenge", "preferred population"),
    }
)
"""Types of audiences that are filled otherwise, without the word *audience* that may follow."""


def _digits(value: object) -> object:
    """YAML reads an account's number as one."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


class TikTokSettings(settings.ApiSettings):
    """Settings of a TikTok advertiser."""

    advertiser_id: Annotated[str, BeforeValidator(_digits)] = Field(
        pattern=r"^[0-9]{1,20}$", description="The ad account's number: `aadvid` in the address of Ads Manager."
    )


SPEC = DestinationSpec(
    platform="tiktok",
    title="TikTok",
    kind="tiktok",
    fields=(
        FieldSpec("email", "tiktok.email", identifier=True, multiple=True, description="Email address; hashed."),
        FieldSpec("phone", "tiktok.phone", identifier=True, multiple=True, description="Phone number; hashed."),
        FieldSpec(
            "idfa", "tiktok.mobile_id", identifier=True, multiple=True, description="Apple's advertising id; hashed."
        ),
        FieldSpec(
            "aaid",
            "tiktok.mobile_id",
            identifier=True,
            multiple=True,
            description="Android's advertising id (GAID); hashed.",
        ),
    ),
    credentials=("access_token",),
    settings=settings.descriptions(TikTokSettings),
    settings_model=TikTokSettings,
    required_settings=settings.required(TikTokSettings),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=1_000,
    concurrency=4,
    sizes_every=timedelta(hours=6),
    tells_matched_users=Tells.YES,
    docs="docs/destinations/tiktok.md",
)


class TikTok:
    """One advertiser."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        where = f"destination {account.name}"
        given = settings.read(TikTokSettings, account.settings, where)
        self._advertiser = given.advertiser_id
        self._where = where
        token = account.credentials["access_token"]
        self._http = HttpClient(
            given.address(environ, BASE_URL),
            platform="tiktok",
            account=hashlib.sha256(token.encode()).hexdigest(),
            headers={"Access-Token": token},
            pace=Pace(given.requests_per_s, burst=10),
            read=reading,
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
        )
        self._calls = Calls(self._http, where)

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """The audience of that id, else the oldest of that name that takes mappings, else a new one."""
        if wanted.id is not None:
            return self._remote(self._taking_mappings(self._audience(wanted.id)))
        name = wanted.name.strip()
        if len(name) > LONGEST_NAME:
            raise DestinationError(
                f"the list's name is longer than {LONGEST_NAME} characters: TikTok would cut it, and two such lists would be one",
                where=self._where,
                remedy="give the sync a shorter `list: {name: ...}`",
            )
        found = self._oldest_named(name)
        return self._remote(found) if found is not None else self._made(name)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._map(list_id, batch, adding=True)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._map(list_id, batch, adding=False)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """How many people TikTok recognises; no number while it still computes the first one."""
        shown = self._audience(list_id)
        size = shown.get("cover_num")
        count = size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
        usable = shown.get("is_valid") is not False
        notes = []
        if not usable:
            notes.append("TikTok calls the audience not usable: it is computed, too small, or has expired")
            count = count or None
        if shown.get("is_expiring") is True:
            notes.append("TikTok lets the audience expire soon, for it is not used")
        told = plain_words(shown.get("error_msg"))
        if told:
            notes.append(f"TikTok says: {told}")
        return MatchedUsers(lower=count, upper=count, as_of=datetime.now(UTC), note="; ".join(notes))

    # Members

    def _map(self, list_id: str, batch: Batch, *, adding: bool) -> list[Verdict]:
        self._check_id(list_id)
        operation = "mappings.add" if adding else "mappings.delete"
        doing = "put people into the audience" if adding else "take people out of the audience"

        def send(kinds: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
            body = {
                "advertiser_ids": [self._advertiser],
                "action": "add" if adding else "delete",
                "id_schema": kinds,
                "batch_data": rows,
            }
            answer = self._calls.change("/segment/mapping/", body, operation=operation)
            try:
                self._calls.check(answer, doing, of_people=True)
            except BatchRefused:
                self._audience(list_id)  # which may be what is wrong: this raises ListMissing
                raise

        return deliver(batch.members, list_id, send, adding=adding)

    # Audiences

    def _audience(self, list_id: str) -> Mapping[str, Any]:
        """What TikTok tells of an audience. Raises ListMissing."""
        self._check_id(list_id)
        params = {"advertiser_id": self._advertiser, "custom_audience_ids": orjson.dumps([list_id]).decode()}
        answer = self._calls.get("/dmp/custom_audience/get/", params, operation="audiences.get")
        refusal = refusal_of(answer)
        if refusal is not None and refusal.code in PARAMETERS and not refusal.is_of_permissions:
            # Nobody has published what is said of one that is gone: it is there if it is among all of them.
            shown = next((each for each in self._audiences() if str(each.get("audience_id")) == list_id), None)
        else:
            data = self._calls.data_of(answer, "read the audience")
            found = [each.get("audience_details") for each in _listed(data) if isinstance(each, dict)]
            shown = next((each for each in found if _is_of(each, list_id)), None)
        if shown is None:
            raise self._missing(list_id)
        return shown

    def _audiences(self) -> Iterator[Mapping[str, Any]]:
        """All audiences of the advertiser, page by page."""
        for page in range(1, _MOST_PAGES + 1):
            params: dict[str, str | int] = {"advertiser_id": self._advertiser, "page": page, "page_size": PAGE}
            answer = self._calls.get("/dmp/custom_audience/list/", params, operation="audiences.list")
            data = self._calls.data_of(answer, "list the audiences")
            found = _listed(data)
            yield from (each for each in found if isinstance(each, dict) and each.get("audience_id"))
            told = data.get("page_info")
            pages = told.get("total_page") if isinstance(told, dict) else None
            if not isinstance(pages, int):
                raise NotApplied("tiktok audiences.list: the answer does not say how many pages there are")
            if page >= pages:
                return
        raise NotApplied("tiktok audiences.list: there is no end of pages")

    def _oldest_named(self, name: str) -> Mapping[str, Any] | None:
        found = [
            each
            for each in self._audiences()
            if str(each.get("name", "")).strip() == name
            and each.get("is_creator") is not False
            and _takes_mappings(each)
            and not _has_expired(each)
        ]
        return min(found, key=lambda each: (str(each.get("create_time")), str(each["audience_id"])), default=None)

    def _made(self, name: str) -> RemoteList:
        body = {"advertiser_id": self._advertiser, "action": "create", "custom_audience_name": name}
        try:
            answer = self._calls.change("/segment/audience/", body, operation="audiences.create", idempotent=False)
        except NoAnswer:
            found = self._oldest_named(name)
            if found is None:
                raise
            return replace(self._remote(found), created=True)
        self._calls.check(answer, "make an audience")
        data = answer.body.get("data")
        made = str(data.get("audience_id", "")) if isinstance(data, dict) else ""
        if not _is_id(made):
            raise NoAnswer("tiktok audiences.create: the answer has no audience")
        # Another sync may have made one at the same moment: both take the older one.
        oldest = self._oldest_named(name) or {"audience_id": made, "name": name}
        return replace(self._remote(oldest), created=str(oldest["audience_id"]) == made)

    def _taking_mappings(self, shown: Mapping[str, Any]) -> Mapping[str, Any]:
        if not _takes_mappings(shown):
            raise DestinationError(
                f"the audience {shown.get('audience_id')} is of the type {plain_words(shown.get('audience_type'))}, which takes no "
                "mappings",
                where=self._where,
                remedy="leave `id` out to have an audience made that does, or name one made through TikTok's segments",
            )
        if _has_expired(shown):
            raise ListMissing(
                f"the audience {shown['audience_id']} has expired at TikTok: no ad can use it any more",
                where=self._where,
                remedy="audiences expire that no ad uses; give the sync another `name`, or run it once with a new list",
            )
        return shown

    def _remote(self, shown: Mapping[str, Any]) -> RemoteList:
        list_id = str(shown["audience_id"])
        url = f"https://ads.tiktok.com/i18n/audience/detail/{list_id}?aadvid={self._advertiser}"
        return RemoteList(list_id, str(shown.get("name") or list_id), url)

    def _check_id(self, list_id: str) -> None:
        if not _is_id(list_id):
            raise self._missing(list_id[:30])

    def _missing(self, shown: str) -> ListMissing:
        return ListMissing(
            f"there is no audience {shown} at TikTok any more, or this token may not see it",
            where=self._where,
            remedy="restore the token's access to it; if it was deleted or has expired, give the sync another `name`: it then "
            "fills a new audience",
        )


def _listed(data: Mapping[str, Any]) -> list[Any]:
    """The entries of a list. Raises NotApplied where there is no list: that is not the same as none in it."""
    found = data.get("list")
    if not isinstance(found, list):
        raise NotApplied("tiktok: the answer has no list of audiences")
    return found


def _is_of(shown: object, list_id: str) -> bool:
    return isinstance(shown, dict) and str(shown.get("audience_id")) == list_id


def _takes_mappings(shown: Mapping[str, Any]) -> bool:
    kind = str(shown.get("audience_type") or "").lower().replace("_", " ").removesuffix(" audience").strip()
    return kind not in TAKES_NO_MAPPINGS


def _has_expired(shown: Mapping[str, Any]) -> bool:
    """Not usable, and beyond its time, which TikTok gives in GMT. One that is not usable may also be computed just now."""
    try:
        until = datetime.strptime(str(shown.get("expired_time")), "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return False
    return shown.get("is_valid") is False and until < datetime.now(UTC)


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,30}", text) is not None
