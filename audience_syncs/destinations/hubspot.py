"""HubSpot: contacts by batch upsert, and a static list of them.

Facts: HubSpot's published OpenAPI of contacts and lists, versions 2026-09, and its usage guidelines (read 2026-08, 2026-09).

A member is added in two steps: the contact is made or updated (100 a call), then its record joins the list (up to 100,000 a
call). One batch is ten calls of the first kind and one of the second. Leaving the list never touches the contact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from audience_syncs.destinations.contract import Account, DestinationSpec, FieldSpec, ListRequest
from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.hubspot_errors import (
    keep_to_limit,
    list_is_missing,
    raise_refusal,
    reading,
    row_reason,
)
from audience_syncs.destinations.pacing import Pace
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import (
    AudienceSyncsError,
    BatchRefused,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, MatchedUsers, RemoteList, Verdict, VerdictKind

UPSERT_SIZE = 100
"""Contacts per upsert and per look-up (usage guidelines)."""

_VERSION = "2026-09"
_CONTACTS = f"/crm/objects/{_VERSION}/contacts"
_LISTS = f"/crm/lists/{_VERSION}"
_CONTACT_TYPE = "0-1"
_STATIC = ("MANUAL", "SNAPSHOT")
_HOPELESS = 20
"""Refusals without one acceptance, after which a batch is not searched for its culprit any further."""

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
        "base_url": "Another address of the API.",
        "base_url_env": "Environment variable that holds another address of the API, when it is set.",
    },
    required_settings=frozenset(),
    required_fields=frozenset({"email"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=1_000,
    concurrency=3,
    docs="developers.hubspot.com, CRM API",
)


class HubSpot:
    """One HubSpot account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        settings = account.settings
        self._portal = str(settings.get("portal_id") or "")
        override = environ.get(str(settings.get("base_url_env") or ""), "")
        self._http = HttpClient(
            str(settings.get("base_url") or override or "https://api.hubapi.com"),
            platform="hubspot",
            account=self._portal or account.name,
            headers={"Authorization": f"Bearer {account.credentials['access_token']}"},
            # The smallest plan allows 100 requests in 10 seconds; what a larger one allows, its answers say.
            pace=Pace(requests_per_s=float(settings.get("requests_per_s") or 9), burst=10),
            read=reading,
            request_id_header="x-hubspot-correlation-id",
        )

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

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
        contacts = _Contacts(batch)
        upserted = _Upserts(self._http, contacts)
        for start in range(0, len(contacts.ids), UPSERT_SIZE):
            upserted.send(contacts.ids[start : start + UPSERT_SIZE])
        if upserted.refused_as_a_whole:
            raise BatchRefused(upserted.last_reason, reason_code=upserted.last_code)
        joined = self._join(list_id, upserted.record_ids)
        return [upserted.outcome(email, joined) for email in contacts.id_by_position]

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        looked_up = self._look_up(
            [email for member in batch.members if member.remote_id is None for email in _emails(member.fields)]
        )
        records = [
            [member.remote_id] if member.remote_id else [looked_up[e] for e in _emails(member.fields) if e in looked_up]
            for member in batch.members
        ]
        leaving = sorted({record for found in records for record in found})
        if leaving:
            # Records that do not exist or are not in the list come back as missing: they are out, as wanted.
            self._change_members(list_id, "remove", leaving)
        return [Verdict(VerdictKind.ACCEPTED)] * len(batch.members)

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
        from urllib.parse import quote

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
        except NotApplied as error:
            return dict.fromkeys(records, Verdict(VerdictKind.RETRYABLE, error.code, error.message))
        except NoAnswer as error:
            return dict.fromkeys(records, Verdict(VerdictKind.UNKNOWN, error.code, error.message))
        missing = {str(record) for record in answer.body.get("recordIdsMissing") or []}
        gone = Verdict(VerdictKind.RETRYABLE, "CONTACT_GONE", "the contact was deleted at HubSpot meanwhile")
        return {
            record: gone if record in missing else Verdict(VerdictKind.ACCEPTED, remote_id=record) for record in records
        }

    def _change_members(self, list_id: str, what: str, records: Sequence[str]) -> Answer:
        answer = self._http.request(
            "PUT", f"{_LISTS}/{list_id}/memberships/{what}", operation=f"memberships.{what}", json=list(records)
        )
        keep_to_limit(self._http.pace, answer)
        if answer.status >= 400:
            if list_is_missing(answer):
                raise _missing(list_id)
            raise_refusal(answer, f"{what} list members")
        return answer

    def _look_up(self, emails: Sequence[str]) -> dict[str, str]:
        """Email -> record id, of the contacts that exist."""
        unique = list(dict.fromkeys(emails))
        found: dict[str, str] = {}
        for start in range(0, len(unique), UPSERT_SIZE):
            answer = self._http.request(
                "POST",
                f"{_CONTACTS}/batch/read",
                operation="contacts.read",
                json={
                    "idProperty": "email",
                    "properties": ["email"],
                    "propertiesWithHistory": [],
                    "inputs": [{"id": email} for email in unique[start : start + UPSERT_SIZE]],
                },
            )
            if answer.status >= 400:
                raise_refusal(answer, "look contacts up")
            for contact in answer.body.get("results", []):
                found[str(contact["properties"].get("email", "")).lower()] = str(contact["id"])
        return found


class _Contacts:
    """The members of a batch as contacts: those who share an email are one contact, with the last one's properties."""

    def __init__(self, batch: Batch) -> None:
        self.id_by_position = [_emails(member.fields)[0] for member in batch.members]
        self.properties: dict[str, dict[str, str]] = {}
        for email, member in zip(self.id_by_position, batch.members, strict=True):
            merged = self.properties.setdefault(email, {})
            for name, value in member.fields.items():
                merged[name] = value if isinstance(value, str) else ";".join(value)
        self.ids = list(self.properties)


class _Upserts:
    """Makes or updates contacts; knows afterwards what became of each."""

    def __init__(self, http: HttpClient, contacts: _Contacts) -> None:
        self._http = http
        self._contacts = contacts
        self._records: dict[str, str] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._refusals = 0
        self.last_code, self.last_reason = "REFUSED", "refused"

    @property
    def record_ids(self) -> list[str]:
        return list(dict.fromkeys(self._records.values()))

    @property
    def refused_as_a_whole(self) -> bool:
        """Nothing was accepted, and there is more than one contact to look for the culprit among."""
        return not self._records and self._refusals > _HOPELESS

    def outcome(self, email: str, joined: Mapping[str, Verdict]) -> Verdict:
        record = self._records.get(email)
        return self._verdicts[email] if record is None else joined[record]

    def send(self, emails: Sequence[str]) -> None:
        """One call; where HubSpot refuses it as a whole for one contact, halves of it, until the contact is alone."""
        if not emails:
            return
        inputs = [
            {
                "id": email,
                "idProperty": "email",
                # With an id of its own on every input, HubSpot writes the good ones and names the bad ones.
                "objectWriteTraceId": str(number),
                "properties": self._contacts.properties[email],
            }
            for number, email in enumerate(emails)
        ]
        try:
            answer = self._http.request(
                "POST", f"{_CONTACTS}/batch/upsert", operation="contacts.upsert", json={"inputs": inputs}
            )
            keep_to_limit(self._http.pace, answer)
            if answer.status >= 400:
                raise_refusal(answer, "write contacts", per_batch=True)
        except (NotApplied, NoAnswer) as error:
            self._give(emails, _unsure(error))
        except BatchRefused as refused:
            self._refusals += 1
            self.last_code, self.last_reason = refused.reason_code, refused.reason
            if len(emails) == 1 or (self._refusals > _HOPELESS and not self._records):
                self._give(emails, Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason))
                return
            middle = len(emails) // 2
            self.send(emails[:middle])
            self.send(emails[middle:])
        else:
            self._read(answer, emails)

    def _read(self, answer: Answer, emails: Sequence[str]) -> None:
        """Results and errors name the input they belong to by its trace id."""
        for result in answer.body.get("results") or []:
            self._records[emails[int(result["objectWriteTraceId"])]] = str(result["id"])
        for error in answer.body.get("errors") or []:
            code, reason = row_reason(error)
            for trace in (error.get("context") or {}).get("objectWriteTraceId") or []:
                self._verdicts[emails[int(trace)]] = Verdict(VerdictKind.REJECTED, code, reason)
        silent = Verdict(VerdictKind.UNKNOWN, "NOT_MENTIONED", "HubSpot's answer does not mention this contact")
        for email in emails:
            if email not in self._records:
                self._verdicts.setdefault(email, silent)

    def _give(self, emails: Sequence[str], verdict: Verdict) -> None:
        for email in emails:
            self._verdicts[email] = verdict


def _unsure(error: AudienceSyncsError) -> Verdict:
    kind = VerdictKind.RETRYABLE if isinstance(error, NotApplied) else VerdictKind.UNKNOWN
    return Verdict(kind, error.code, error.message)


def _emails(fields: Mapping[str, Any]) -> list[str]:
    value = fields.get("email")
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _list_of(answer: Answer) -> dict[str, Any]:
    body = answer.body if isinstance(answer.body, dict) else {}
    found = body.get("list", body)
    return dict(found)


def _missing(list_id: str) -> ListMissing:
    return ListMissing(
        f"the HubSpot list {list_id} no longer exists",
        remedy="restore it in HubSpot (deleted lists can be restored for 90 days), or give the sync another `name` to "
        "fill a new list",
    )
