"""Meta Custom Audiences: customer lists by hashed identifiers.

Facts: Marketing API, Custom Audiences guide and the reference of ``custom-audience/users`` (Graph API v26.0, read 2026-09).
What Meta does with a row becomes visible within about a day; an accepted row is one Meta has received as valid.

Each request is an upload session of its own (``batch_seq`` 1, last batch): a session's schema may not change, its batches
must be numbered, and it closes after 90 minutes, none of which goes together with batches that are sent in parallel, split
after a refusal, or repeated by a later run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from audience_syncs.destinations.contract import Account, DestinationSpec, FieldSpec, ListRequest
from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.meta_errors import list_is_missing, raise_refusal, reading, usage_percent
from audience_syncs.destinations.pacing import Pace
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import DestinationError, ListMissing, NoAnswer
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, Outgoing, RemoteList, Verdict, VerdictKind

MAX_ROWS = 10_000
"""Rows per request (guide)."""

_NORMAL = 200
_PAGE = 500

_IDENTIFIERS = (
    FieldSpec("EXTERN_ID", "meta.extern_id", identifier=True, personal=False, description="Your own id, not hashed."),
    FieldSpec("EMAIL", "meta.email", identifier=True, multiple=True, description="Email address."),
    FieldSpec("PHONE", "meta.phone", identifier=True, multiple=True, description="Phone number with country code."),
    FieldSpec("MADID", "meta.madid", identifier=True, multiple=True, description="Mobile advertiser id, not hashed."),
)
_COMPANIONS = (
    FieldSpec("FN", "meta.first_name", description="First name."),
    FieldSpec("LN", "meta.last_name", description="Last name."),
    FieldSpec("CT", "meta.city", description="City."),
    FieldSpec("ST", "meta.state", description="State; in the US its two letters."),
    FieldSpec("ZIP", "meta.zip", description="Postal code."),
    FieldSpec("COUNTRY", "meta.country", description="ISO 3166 code of two letters."),
    FieldSpec("GEN", "meta.gender", description="m or f."),
    FieldSpec("DOBY", "meta.birth_year", description="Year of birth."),
    FieldSpec("DOBM", "meta.birth_month", description="Month of birth."),
    FieldSpec("DOBD", "meta.birth_day", description="Day of birth."),
)

SPEC = DestinationSpec(
    platform="meta",
    title="Meta Custom Audiences",
    kind="facebook",
    fields=_IDENTIFIERS + _COMPANIONS,
    credentials=("access_token",),
    settings={
        "ad_account_id": "The ad account, with or without `act_`.",
        "customer_file_source": "Where the data comes from; default USER_PROVIDED_ONLY.",
        "api_version": "Version of the Graph API; default v26.0.",
        "base_url": "Another address of the API.",
        "base_url_env": "Environment variable that holds another address of the API, when it is set.",
    },
    required_settings=frozenset({"ad_account_id"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=MAX_ROWS,
    concurrency=4,
    docs="developers.facebook.com, Marketing API, Custom Audiences",
)

# Column order of a request; EXTERN_ID and hashed keys go together.
_ORDER = tuple(field.name for field in SPEC.fields)


class Meta:
    """One ad account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        settings = account.settings
        self._account_id = str(settings["ad_account_id"]).removeprefix("act_")
        self._file_source = str(settings.get("customer_file_source") or "USER_PROVIDED_ONLY")
        self._version = str(settings.get("api_version") or "v26.0")
        override = environ.get(str(settings.get("base_url_env") or ""), "")
        self._http = HttpClient(
            str(settings.get("base_url") or override or "https://graph.facebook.com"),
            platform="meta",
            account=self._account_id,
            headers={"Authorization": f"Bearer {account.credentials['access_token']}"},
            # Score limits are per account and hour; 10 a second is far below them at 10,000 rows a request.
            pace=Pace(requests_per_s=10, burst=10),
            read=reading,
            request_id_header="x-fb-trace-id",
        )

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        if wanted.id is not None:
            return self._by_id(wanted.id)
        found = self._by_name(wanted.name)
        if found is not None:
            return found
        try:
            answer = self._http.request(
                "POST",
                f"/{self._version}/act_{self._account_id}/customaudiences",
                operation="audiences.create",
                json={
                    "name": wanted.name,
                    "subtype": "CUSTOM",
                    "description": wanted.description,
                    "customer_file_source": self._file_source,
                },
                idempotent=False,
            )
        except NoAnswer:
            # It may be there all the same, and must not be made twice.
            found = self._by_name(wanted.name)
            if found is not None:
                return found
            raise
        if answer.status >= 400:
            raise_refusal(answer, "create the audience")
        return self._remote(str(answer.body["id"]), wanted.name, created=True)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._upload(list_id, batch, "add")

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._upload(list_id, batch, "remove")

    def matched_users(self, list_id: str) -> MatchedUsers:
        """The bounds Meta shows: rounded, with a floor for small lists, hours late."""
        answer = self._get_audience(
            list_id, "approximate_count_lower_bound,approximate_count_upper_bound,operation_status"
        )
        status = answer.body.get("operation_status") or {}
        note = "" if status.get("code") in (None, _NORMAL) else str(status.get("description", ""))
        return MatchedUsers(
            lower=_bound(answer.body.get("approximate_count_lower_bound")),
            upper=_bound(answer.body.get("approximate_count_upper_bound")),
            as_of=datetime.now(UTC),
            note=note,
        )

    def _by_id(self, list_id: str) -> RemoteList:
        answer = self._get_audience(list_id, "name")
        return self._remote(list_id, str(answer.body.get("name", list_id)))

    def _get_audience(self, list_id: str, fields: str) -> Answer:
        answer = self._http.request(
            "GET", f"/{self._version}/{list_id}", operation="audiences.read", params={"fields": fields}
        )
        if answer.status >= 400:
            if list_is_missing(answer):
                raise _missing(list_id)
            raise_refusal(answer, "read the audience")
        return answer

    def _by_name(self, name: str) -> RemoteList | None:
        """The one customer list of that name; DestinationError where there are several."""
        found: list[str] = []
        after: str | None = None
        while True:
            params: dict[str, str | int] = {"fields": "name,subtype", "limit": _PAGE}
            answer = self._http.request(
                "GET",
                f"/{self._version}/act_{self._account_id}/customaudiences",
                operation="audiences.list",
                params=params | ({"after": after} if after else {}),
            )
            if answer.status >= 400:
                raise_refusal(answer, "list the audiences")
            found += [
                str(entry["id"])
                for entry in answer.body.get("data", [])
                if entry.get("name") == name and entry.get("subtype", "CUSTOM") == "CUSTOM"
            ]
            paging = answer.body.get("paging") or {}
            after = (paging.get("cursors") or {}).get("after") if paging.get("next") else None
            if after is None:
                break
        if len(found) > 1:
            raise DestinationError(
                f"the ad account has {len(found)} customer lists of the name {name!r}: {', '.join(found)}",
                code="LIST_AMBIGUOUS",
                remedy=f'say which: `list: {{id: "{found[0]}"}}`',
            )
        return self._remote(found[0], name) if found else None

    def _remote(self, list_id: str, name: str, *, created: bool = False) -> RemoteList:
        # The address of the audience in Ads Manager: seen in use, not documented.
        url = f"https://adsmanager.facebook.com/adsmanager/audiences?act={self._account_id}&selected_audience_ids={list_id}"
        return RemoteList(list_id, name, url, created)

    def _upload(self, list_id: str, batch: Batch, operation: str) -> list[Verdict]:
        """Sends the members as rows; a member with several emails is several rows, and as good as the worst of them."""
        rows: list[list[str]] = []
        owners: list[int] = []
        columns = [name for name in _ORDER if any(name in member.fields for member in batch.members)]
        for position, member in enumerate(batch.members):
            for row in _rows(member, columns):
                rows.append(row)
                owners.append(position)
        verdicts: list[Verdict] = [ACCEPTED] * len(batch.members)
        for start in range(0, len(rows), MAX_ROWS):
            part = rows[start : start + MAX_ROWS]
            for index, reason in self._invalid_rows(list_id, operation, columns, part, batch).items():
                verdicts[owners[start + index]] = Verdict(VerdictKind.REJECTED, "INVALID_ENTRY", reason)
        return verdicts

    def _invalid_rows(
        self, list_id: str, operation: str, columns: list[str], rows: list[list[str]], batch: Batch
    ) -> dict[int, str]:
        """Sends the rows; returns those Meta calls invalid, with its reason.

        Meta counts all but names at most a hundred, so where it names too few, halves are sent again (which changes
        nothing for the valid ones) until every one is found.
        """
        body = self._request(list_id, operation, columns, rows, batch)
        count = int(body.get("num_invalid_entries") or 0)
        if not count:
            return {}
        named = _named(body.get("invalid_entry_samples"), rows)
        if len(named) >= count:
            return named
        if len(rows) == 1:
            return {0: "Meta counts the entry as invalid"}
        middle = len(rows) // 2
        first = self._invalid_rows(list_id, operation, columns, rows[:middle], batch)
        second = self._invalid_rows(list_id, operation, columns, rows[middle:], batch)
        return first | {middle + index: reason for index, reason in second.items()}

    def _request(
        self, list_id: str, operation: str, columns: list[str], rows: list[list[str]], batch: Batch
    ) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "session": {
                "session_id": _session_id(list_id, operation, columns, rows, batch),
                "batch_seq": 1,
                "last_batch_flag": True,
                "estimated_num_total": len(rows),
            },
            "payload": {"schema": columns, "data": rows},
        }
        if operation == "remove":
            # POST with method=DELETE: some proxies drop the body of a DELETE.
            payload["method"] = "DELETE"
        answer = self._http.request(
            "POST", f"/{self._version}/{list_id}/users", operation=f"users.{operation}", json=payload
        )
        self._http.pace.slow_down(_share_of_pace(usage_percent(answer)))
        if answer.status >= 400:
            if list_is_missing(answer):
                raise _missing(list_id)
            raise_refusal(answer, f"{operation} people", per_batch=True)
        received = answer.body.get("num_received") if isinstance(answer.body, dict) else None
        if not isinstance(received, int) or received < len(rows):
            # Not what was sent: how much of it was applied is not known.
            raise NoAnswer("meta users: the answer does not confirm every row")
        return dict(answer.body)


def _rows(member: Outgoing, columns: list[str]) -> list[list[str]]:
    """The member's rows: as many as their longest list of values; unknown values are empty."""
    values = [member.fields.get(name, "") for name in columns]
    height = max([len(value) for value in values if isinstance(value, list)], default=1)
    return [
        [value if isinstance(value, str) else (value[n] if n < len(value) else "") for value in values]
        for n in range(height)
    ]


def _named(samples: Any, rows: list[list[str]]) -> dict[int, str]:
    """The rows that hold a value Meta names as invalid. Samples come as a map or as a list of maps; reasons are Meta's."""
    reasons: dict[str, str] = {}
    for sample in samples if isinstance(samples, list) else [samples]:
        if isinstance(sample, dict):
            reasons |= {str(value): str(reason) for value, reason in sample.items()}
        elif sample is not None:
            reasons[str(sample)] = "invalid"
    found: dict[int, str] = {}
    for index, row in enumerate(rows):
        bad = next((cell for cell in row if cell and cell in reasons), None)
        if bad is not None:
            found[index] = reasons[bad].replace(bad, "...")[:200]
    return found


def _session_id(list_id: str, operation: str, columns: list[str], rows: list[list[str]], batch: Batch) -> int:
    """A positive 63-bit number for exactly this content: a repetition is the same session, anything else another."""
    text = f"{batch.session}\n{batch.number}\n{list_id}\n{operation}\n{columns}\n{len(rows)}\n{rows[0]}\n{rows[-1]}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1 or 1


def _share_of_pace(percent: float) -> float:
    """Full pace up to three quarters of the account's hourly budget, then ever slower."""
    return 1.0 if percent <= 75 else max(0.05, (100 - percent) / 25)


def _bound(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, str)) and str(value).lstrip("-").isdigit() and int(value) > 0 else None


def _missing(list_id: str) -> ListMissing:
    return ListMissing(
        f"the custom audience {list_id} no longer exists at Meta, or this token may not see it",
        remedy="was it deleted in Ads Manager? Restore access, or give the sync another `name` to fill a new audience",
    )
