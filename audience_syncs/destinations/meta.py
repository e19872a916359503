"""Meta Custom Audiences (Facebook, Instagram): people in and out of a customer file audience.

Sources: Customer File Custom Audiences guide, Custom Audience and Custom Audience Users references, Marketing API rate
limiting (documentation of v25.0, read 2026-09; the endpoints are the same in v26.0). [mem]: from memory of the
platform, not from its documentation.

Every upload is a session of its own: one request, ``batch_seq`` 1, ``last_batch_flag`` true, under a random id. A
session over a whole phase would have to keep its schema, end within 90 minutes of its first batch and count its batches
in sequence, while batches here go in parallel, are halved when refused, and are sent again in a later run. Uploads do
not depend on each other, so nothing is lost; and the counts of a session are then those of one request.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from audience_syncs.destinations import meta_answers
from audience_syncs.destinations.contract import Account, DestinationSpec, FieldSpec, ListRequest, Tells
from audience_syncs.destinations.http import Answer, HttpClient, Reading
from audience_syncs.destinations.meta_upload import Receipt, Upload, receipt_of
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import (
    AccessRefused,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, MatchedUsers, RemoteList, Verdict

BASE_URL = "https://graph.facebook.com"
API_VERSION = "v26.0"
CUSTOMER_FILE_SOURCES = ("USER_PROVIDED_ONLY", "PARTNER_PROVIDED_ONLY", "BOTH_USER_AND_PARTNER_PROVIDED")
PACE = Pace(10, burst=20)
"""Below the 52 requests a second of full access; the limited tier has 1.4, which its usage headers enforce."""
PAGE = 200
SIZE_FLOOR = 1_000
"""Meta shows this for smaller audiences too [mem]."""
NORMAL = 200
LIMITED_DATA_USE = ("DATA_PROCESSING_OPTIONS", "DATA_PROCESSING_OPTIONS_COUNTRY", "DATA_PROCESSING_OPTIONS_STATE")
"""Columns of the upload; country and state 0 let Meta find out where somebody is. Per audience: sent with every row."""
SESSION_ATTEMPTS = 3

SPEC = DestinationSpec(
    platform="meta",
    title="Meta Custom Audiences",
    kind="facebook",
    fields=(
        FieldSpec("EMAIL", "meta.email", identifier=True, multiple=True, description="Email address; hashed."),
        FieldSpec("PHONE", "meta.phone", identifier=True, multiple=True, description="Phone number; hashed."),
        FieldSpec(
            "MADID", "meta.mobile_id", identifier=True, multiple=True, description="Mobile advertiser id, as it is."
        ),
        FieldSpec(
            "EXTERN_ID",
            "meta.external_id",
            identifier=True,
            personal=False,
            description="Your own id of the person, as it is. Meta forgets it after 90 days: map another one as well.",
        ),
        FieldSpec("FN", "meta.first_name", description="First name; hashed."),
        FieldSpec("LN", "meta.last_name", description="Last name; hashed."),
        FieldSpec("CT", "meta.city", description="City; hashed."),
        FieldSpec("ST", "meta.state", description="State or province; of the US its two letters; hashed."),
        FieldSpec("ZIP", "meta.zip", description="Postal code; hashed."),
        FieldSpec("COUNTRY", "meta.country", description="ISO 3166 country code of two letters; hashed."),
        FieldSpec("GEN", "meta.gender", description="Gender, m or f; hashed."),
        FieldSpec("DOBY", "meta.birth_year", description="Year of birth, or the whole date; hashed."),
        FieldSpec("DOBM", "meta.birth_month", description="Month of birth, or the whole date; hashed."),
        FieldSpec("DOBD", "meta.birth_day", description="Day of birth, or the whole date; hashed."),
    ),
    credentials=("access_token",),
    settings={
        "ad_account_id": "The ad account's number, with or without `act_`.",
        "customer_file_source": f"Where the people's data comes from: {', '.join(CUSTOMER_FILE_SOURCES)}. "
        f"Default: {CUSTOMER_FILE_SOURCES[0]}.",
        "limited_data_use": "true: everybody is sent with Meta's Limited Data Use, and Meta finds out to whom it applies (some "
        "US states). Default: false.",
        "api_version": f"Version of the Graph API. Default: {API_VERSION}.",
        "base_url": f"Address of the Graph API, for proxies and simulators. Default: {BASE_URL}.",
        "base_url_env": "Name of an environment variable that holds the address instead, where it is set.",
        "timeout_s": "Seconds to wait for an answer. Default: 60.",
        "attempts": "How often one request is tried. Default: 5.",
    },
    required_settings=frozenset({"ad_account_id"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=10_000,
    concurrency=4,
    requests_per_s=PACE.requests_per_s,
    sizes_every=timedelta(hours=6),
    tells_matched_users=Tells.YES,
    docs="docs/destinations/meta.md",
)
_FIELDS = tuple(field.name for field in SPEC.fields)


class Meta:
    """An ad account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        settings = _Settings(account, environ)
        self._where = f"destination {account.name}"
        self._account_id = settings.ad_account_id
        self._source = settings.customer_file_source
        self._limited_data_use = settings.limited_data_use
        self._http = HttpClient(
            f"{settings.base_url}/{settings.api_version}",
            platform="meta",
            account=f"{settings.base_url} {settings.ad_account_id}",
            headers={"Authorization": f"Bearer {account.credentials['access_token']}"},
            read=self._read,
            pace=PACE,
            request_id_header="x-fb-trace-id",
            read_timeout_s=settings.timeout_s,
            max_attempts=settings.attempts,
        )

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """The audience of that id, else the one of exactly that name, else a new one.

        Raises ListMissing where an id is gone, and DestinationError where two audiences have the name.
        """
        if wanted.id is not None:
            return self._list_of_id(wanted.id)
        name = wanted.name.strip()
        found = self._list_of_name(name)
        if found is not None:
            return found
        try:
            return self._create(name, wanted.description)
        except NoAnswer:
            found = self._list_of_name(name)
            if found is None:
                raise
            return RemoteList(found.id, found.name, found.url, created=True)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._upload(list_id, batch, adding=True)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._upload(list_id, batch, adding=False)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """Meta's rounded range; without bounds while it is not computed. Changes show within some 24 hours."""
        shown = self._object(
            list_id, "approximate_count_lower_bound,approximate_count_upper_bound,operation_status", "read the size"
        )
        lower, upper = (_bound(shown.get(f"approximate_count_{side}_bound")) for side in ("lower", "upper"))
        notes = []
        status = shown.get("operation_status")
        code = meta_answers.number(status.get("code")) if isinstance(status, dict) else None
        if isinstance(status, dict) and code is not None and code != NORMAL:
            words = meta_answers.without_identifiers(str(status.get("description") or ""))
            notes.append(f"Meta's status of the audience is {code}" + (f": {words}" if words else ""))
        if upper is not None and upper <= SIZE_FLOOR:
            notes.append(f"Meta shows {SIZE_FLOOR:,} for smaller audiences, too")
        received, matched = self._recognised(list_id)
        if received:
            notes.append(f"of {received:,} rows of the latest uploads Meta has recognised {matched:,}")
        return MatchedUsers(lower, upper, datetime.now(UTC), note="; ".join(notes))

    def _recognised(self, list_id: str) -> tuple[int, int]:
        """Rows of the latest upload sessions, and how many of them Meta has matched so far: the only count of matches it gives for
        an upload. Nothing where it is not told: the size is, all the same."""
        try:
            answer = self._http.request(
                "GET",
                f"/{list_id}/sessions",
                operation="read upload sessions",
                params={"fields": "num_received,num_matched", "limit": PAGE},
            )
        except (NotApplied, NoAnswer):
            return 0, 0
        told = answer.body.get("data") if answer.status < 400 and isinstance(answer.body, dict) else None
        sessions = [each for each in (told if isinstance(told, list) else []) if isinstance(each, dict)]
        counts = [
            (meta_answers.number(each.get("num_received")), meta_answers.number(each.get("num_matched")))
            for each in sessions
        ]
        told_of = [(received, matched) for received, matched in counts if received and matched is not None]
        return sum(received for received, _ in told_of), sum(matched for _, matched in told_of)

    # Lists

    def _list_of_id(self, list_id: str) -> RemoteList:
        shown = self._object(list_id, "id,name,subtype,account_id", "find audience")
        subtype = shown.get("subtype", "CUSTOM")
        if subtype != "CUSTOM":
            raise DestinationError(
                f"the audience {list_id} is of subtype {subtype}, which takes no uploads",
                where=self._where,
                remedy="name an audience made from a customer list, or leave `id` out to have one created",
            )
        return self._remote(list_id, str(shown.get("name", "")))

    def _list_of_name(self, name: str) -> RemoteList | None:
        ids = [
            str(shown["id"])
            for shown in self._audiences()
            if str(shown.get("name", "")).strip() == name and shown.get("subtype", "CUSTOM") == "CUSTOM"
        ]
        if len(ids) > 1:
            raise DestinationError(
                f"the ad account has {len(ids)} customer lists of the name {name!r}: {', '.join(sorted(ids))}",
                where=self._where,
                code="LIST_AMBIGUOUS",
                remedy=f"say which one in the sync, e.g. `list: {{id: '{min(ids)}'}}`, or rename the others",
            )
        return self._remote(ids[0], name) if ids else None

    def _audiences(self) -> Iterator[Mapping[str, Any]]:
        """All audiences of the account, page by page."""
        params: dict[str, str | int] = {"fields": "id,name,subtype", "limit": PAGE}
        seen: set[str] = set()
        while True:
            body = self._of_account("GET", "list audiences", params=params)
            data = body.get("data")
            if not isinstance(data, list):
                raise NoAnswer("meta list audiences: the answer has no list of audiences")
            yield from (shown for shown in data if isinstance(shown, dict) and "id" in shown)
            paging = body.get("paging")
            cursors = paging.get("cursors") if isinstance(paging, dict) and "next" in paging else None
            after = str(cursors.get("after", "")) if isinstance(cursors, dict) else ""
            if not after or after in seen:
                return
            seen.add(after)
            params = {**params, "after": after}

    def _create(self, name: str, description: str) -> RemoteList:
        asked = {"name": name, "subtype": "CUSTOM", "customer_file_source": self._source, "description": description}
        body = self._of_account("POST", "create audience", json=asked, idempotent=False)
        created = str(body.get("id", ""))
        if not _is_id(created):
            raise NoAnswer("meta create audience: the answer has no id")
        return self._remote(created, name, created=True)

    def _remote(self, list_id: str, name: str, *, created: bool = False) -> RemoteList:
        """With its address in Ads Manager [mem]; where the last part is not understood, all audiences are shown."""
        shown_in = f"https://adsmanager.facebook.com/adsmanager/audiences?act={self._account_id}"
        url = f"{shown_in}&selected_audience_ids={list_id}"
        return RemoteList(list_id, name, url, created)

    # Members

    def _upload(self, list_id: str, batch: Batch, *, adding: bool) -> list[Verdict]:
        if not _is_id(list_id):
            raise self._missing(list_id)

        def send(schema: Sequence[str], rows: Sequence[Sequence[str]]) -> Receipt:
            return self._send(list_id, schema, rows, adding=adding)

        return Upload(_FIELDS, send, adding=adding).of(batch.members)

    def _send(self, list_id: str, schema: Sequence[str], rows: Sequence[Sequence[str]], *, adding: bool) -> Receipt:
        operation = "add members" if adding else "remove members"
        payload: dict[str, Any] = {"schema": schema, "data": rows}
        if adding and self._limited_data_use:
            payload = {"schema": [*schema, *LIMITED_DATA_USE], "data": [[*row, ["LDU"], 0, 0] for row in rows]}
        asked: dict[str, Any] = {"payload": payload}
        params = None
        if not adding:
            # A POST, because some proxies drop the body of a DELETE. In the query as well: if the override were
            # overlooked, people who have left would be added.
            asked["method"] = "DELETE"
            params = {"method": "DELETE"}
        for _ in range(SESSION_ATTEMPTS):
            session = {
                "session_id": secrets.randbelow(2**63 - 1) + 1,
                "batch_seq": 1,
                "last_batch_flag": True,
                "estimated_num_total": len(rows),
            }
            answer = self._http.request(
                "POST", f"/{list_id}/users", operation=operation, params=params, json={**asked, "session": session}
            )
            refusal = meta_answers.refusal_of(answer)
            if refusal is None and answer.status < 400:
                return receipt_of(answer.body, len(rows))
            if refusal is None and answer.status == 413:
                raise BatchRefused("the request was too large", reason_code="HTTP 413")
            if refusal is None:
                raise self._not_from_meta(answer)
            if (refusal.code, refusal.subcode) in meta_answers.SESSION_OVER:
                continue  # the answer to its first sending was lost; a new session takes the same rows
            if refusal.is_of_missing_object:
                raise self._missing(list_id)
            stop = meta_answers.stopping_error(refusal, self._where)
            raise stop or BatchRefused(refusal.reason, reason_code=refusal.reason_code)
        raise NoAnswer(f"meta {operation}: {SESSION_ATTEMPTS} upload sessions in a row were over before they began")

    # Requests

    def _read(self, answer: Answer) -> Reading:
        self._http.pace.slow_down(meta_answers.share_of_pace(answer, self._account_id))
        return meta_answers.reading(answer)

    def _object(self, list_id: str, fields: str, operation: str) -> Mapping[str, Any]:
        if not _is_id(list_id):
            raise self._missing(list_id)
        answer = self._http.request("GET", f"/{list_id}", operation=operation, params={"fields": fields})
        refusal = meta_answers.refusal_of(answer)
        if refusal is not None and refusal.is_of_missing_object:
            raise self._missing(list_id)
        return self._body(answer, refusal)

    def _of_account(
        self,
        method: str,
        operation: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        idempotent: bool = True,
    ) -> Mapping[str, Any]:
        path = f"/act_{self._account_id}/customaudiences"
        answer = self._http.request(method, path, operation=operation, params=params, json=json, idempotent=idempotent)
        refusal = meta_answers.refusal_of(answer)
        if refusal is not None and refusal.is_of_missing_object:
            raise AccessRefused(
                f"there is no ad account act_{self._account_id}, or the access token may not see it",
                where=self._where,
                remedy="check `ad_account_id`, and that the token's user has been given this ad account",
            )
        return self._body(answer, refusal)

    def _body(self, answer: Answer, refusal: meta_answers.Refusal | None) -> Mapping[str, Any]:
        if refusal is not None:
            raise meta_answers.stopping_error(refusal, self._where) or meta_answers.request_refused(
                refusal, self._where
            )
        if answer.status >= 400:
            raise self._not_from_meta(answer)
        found: Mapping[str, Any] = answer.body
        return found

    def _not_from_meta(self, answer: Answer) -> DestinationError:
        """A refusal without Meta's envelope says nothing about anybody: it comes from something in between."""
        return DestinationError(
            f"the request was refused with HTTP {answer.status}, not in Meta's form",
            where=self._where,
            remedy="check `base_url`, and any proxy or firewall on the way to Meta",
        )

    def _missing(self, list_id: str) -> ListMissing:
        shown = list_id if _is_id(list_id) else meta_answers.without_identifiers(list_id)
        return ListMissing(
            f"there is no audience {shown} at Meta any more, or the access token may not see it",
            where=self._where,
            remedy="restore the token's access to it; if it was deleted, give the sync another `name`: it then fills a new "
            "list",
        )


class _Settings:
    """The settings of an account, read and checked. Raises DefinitionError."""

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        self._account = account
        self.ad_account_id = self._matching("ad_account_id", "", r"(?:act_)?([0-9]{1,20})", "digits, e.g. 1234567890")
        self.api_version = "v" + self._matching("api_version", API_VERSION, r"v?([0-9]{1,3}\.[0-9])", "e.g. v26.0")
        self.customer_file_source = self._matching(
            "customer_file_source",
            CUSTOMER_FILE_SOURCES[0],
            f"({'|'.join(CUSTOMER_FILE_SOURCES)})",
            f"one of {', '.join(CUSTOMER_FILE_SOURCES)}",
        )
        from_environment = environ.get(self._text("base_url_env", ""), "").strip()
        address = self._matching("base_url", from_environment or BASE_URL, r"(https?://\S+)", "an http(s) address")
        self.base_url = address.rstrip("/")
        self.limited_data_use = self._text("limited_data_use", "false").lower() == "true"
        if self._text("limited_data_use", "false").lower() not in ("true", "false"):
            raise self._wrong("limited_data_use", "true or false")
        self.timeout_s = self._number("timeout_s", 60, least=0.1, most=600)
        self.attempts = int(self._number("attempts", 5, least=1, most=20))

    def _text(self, name: str, default: str) -> str:
        value = self._account.settings.get(name)
        return default if value is None else str(value).strip() or default

    def _matching(self, name: str, default: str, pattern: str, wanted: str) -> str:
        match = re.fullmatch(pattern, self._text(name, default), re.ASCII)
        if match is None:
            raise self._wrong(name, wanted)
        return match[1]

    def _number(self, name: str, default: float, *, least: float, most: float) -> float:
        value = self._account.settings.get(name)
        found = default if value is None else value
        if isinstance(found, bool | str) or not least <= found <= most:
            raise self._wrong(name, f"a number from {least:g} to {most:g}")
        return found

    def _wrong(self, name: str, wanted: str) -> DefinitionError:
        return DefinitionError(
            f"the setting `{name}` cannot be read",
            where=f"destination {self._account.name}",
            remedy=f"write {wanted}",
        )


def _is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,30}", text) is not None


def _bound(value: Any) -> int | None:
    """A bound that is 0, or -1, has not been computed."""
    found = meta_answers.number(value)
    return found if found is not None and found > 0 else None
