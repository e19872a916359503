"""One Klaviyo account: its lists, who is in them, and what happens to who leaves.

Facts: Klaviyo's OpenAPI description, revision 2026-07-15; where its Python client of revision 2026-10-15 says something, it says
the same. Nothing here gives or takes consent: joining a list by an import does not subscribe, leaving it does not unsubscribe.
Profiles are never deleted.

A member is a profile by their email. Phone number and external id go along: each belongs to one profile only, so that a member
whose phone number is somebody else's is rejected by Klaviyo. The id of the profile is kept: who has another email at
Klaviyo by now is still taken out.

[unsure], and what is done about it: what is answered when a profile in a removal is gone or merged (nothing published: a
refusal makes us ask which are still there, and find the others by email); whether list names are unique (of several the
oldest is taken); the address of a list's page (from memory).

An import does not empty fields (Klaviyo's guide to bulk imports, 2026-11: "does not support setting fields to null"), so after it the
fields that `nulls: clear` empties are, with a request for each profile that has any.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson
from pydantic import Field

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import (
    Account,
    DestinationSpec,
    Empties,
    FieldSpec,
    ListMember,
    ListRequest,
    Tells,
)
from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.klaviyo.calls import (
    MEDIA_TYPE,
    REVISION,
    Calls,
    attributes_of,
    raise_refusal,
    reading,
    resources,
)
from audience_syncs.destinations.klaviyo.imports import Imports
from audience_syncs.destinations.klaviyo.profiles import (
    NEVER_CLEARED,
    PAGE,
    PROFILES,
    as_member,
    cleared,
    clears_of,
    email_of,
    emails_of,
    existing,
    ids_by_email,
    pages,
    profiles_of,
)
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, RemoteList, Verdict, VerdictKind

_LISTS = "/api/lists"
_MOST_MEMBERS = 1_000
"""Profiles per call that takes them out of a list."""
_REFUSED = (400, 404, 409, 422)
"""Answers to a removal that may be about a profile that is gone."""
NO_ADDRESS = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no email address, by which Klaviyo finds profiles")
NO_PROFILE = Verdict(
    VerdictKind.REJECTED, "NOT_FOUND", "Klaviyo has no profile of this address, and an update makes none"
)
NOT_REMOVED = Verdict(VerdictKind.RETRYABLE, "NOT_REMOVED", "Klaviyo refuses to take this profile out, and has it")


class KlaviyoSettings(settings.ApiSettings):
    """Settings of a Klaviyo account."""

    import_wait_s: float = Field(
        default=1_800, ge=0.1, le=86_400, description="Seconds to wait for an import to be carried out. Default: 1800."
    )


SPEC = DestinationSpec(
    platform="klaviyo",
    title="Klaviyo",
    kind="klaviyo",
    fields=(
        FieldSpec("email", "klaviyo.email", identifier=True, description="Email address; profiles are found by it."),
        FieldSpec("phone_number", "klaviyo.phone", description="Phone number in E.164; belongs to one profile only."),
        FieldSpec(
            "external_id", "klaviyo.external_id", description="Your id of the person; belongs to one profile only."
        ),
        FieldSpec("first_name", "klaviyo.text", description="First name."),
        FieldSpec("last_name", "klaviyo.text", description="Last name."),
        FieldSpec("organization", "klaviyo.text", description="Company."),
        FieldSpec("title", "klaviyo.text", description="Job title."),
        FieldSpec("locale", "klaviyo.text", description="Language and country, like `en-US`."),
        FieldSpec("image", "klaviyo.text", description="Address of a picture."),
        FieldSpec("address1", "klaviyo.text", description="Street."),
        FieldSpec("address2", "klaviyo.text", description="Second line of the street."),
        FieldSpec("city", "klaviyo.text", description="City."),
        FieldSpec("region", "klaviyo.text", description="State or region."),
        FieldSpec("country", "klaviyo.text", description="Country."),
        FieldSpec("zip", "klaviyo.text", description="Postal code."),
        FieldSpec("timezone", "klaviyo.text", description="Time zone, like `Europe/Berlin`."),
    ),
    open_fields=FieldSpec("", "klaviyo.text", multiple=True, description="A custom property of the profile."),
    credentials=("api_key",),
    settings=settings.descriptions(KlaviyoSettings),
    settings_model=KlaviyoSettings,
    required_settings=frozenset(),
    required_fields=frozenset({"email"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.UPSERT, Mode.UPDATE, Mode.INSERT, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.CLEAR_FIELDS, Removal.KEEP}),
    batch_size=1_000,
    concurrency=4,
    reads_members=True,
    tells_matched_users=Tells.YES,
    docs="docs/destinations/klaviyo.md",
    empties=Empties.ASKED,
    never_emptied=NEVER_CLEARED,
)


class Klaviyo:
    """One Klaviyo account."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        given = settings.read(KlaviyoSettings, account.settings, f"destination {account.name}")
        key = account.credentials["api_key"]
        self._http = HttpClient(
            given.address(environ, "https://a.klaviyo.com"),
            platform="klaviyo",
            account=hashlib.sha256(key.encode()).hexdigest(),
            headers={"Authorization": f"Klaviyo-API-Key {key}", "revision": REVISION},
            media_type=MEDIA_TYPE,
            pace=Pace(given.requests_per_s, burst=10),
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
            read=reading,
        )
        self._calls = Calls(self._http)
        self._imports = Imports(self._calls, given.import_wait_s)

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """Waits for imports into the list that an earlier run left under way, before anything else happens to it."""
        found = self._get_list(wanted.id) if wanted.id is not None else self._oldest_named(wanted.name)
        if found is None:
            return self._made(wanted.name)
        self._imports.wait_for_those_left(str(found["id"]))
        return _remote(found)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._brought(batch, list_id)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        ids = self._profiles_of(batch)
        everybody = list(dict.fromkeys(each for of_one in ids for each in sorted(of_one)))
        for some in _portions(everybody):
            if self._take_out(list_id, some).status in _REFUSED:
                return self._remove_those_there(list_id, batch, everybody)
        return [ACCEPTED] * len(batch)

    def _remove_those_there(self, list_id: str, batch: Batch, ids: Sequence[str]) -> list[Verdict]:
        """Some of the profiles may be gone: merged into others, or deleted. Their addresses were looked up already."""
        self._get_list(list_id)
        for some in _portions(sorted(existing(self._calls, ids))):
            answer = self._take_out(list_id, some)
            if answer.status == 404:
                return [NOT_REMOVED] * len(batch)
            if answer.status in _REFUSED:
                raise_refusal(answer, "take profiles out of the list", per_batch=True)
        return [ACCEPTED] * len(batch)

    def _profiles_of(self, batch: Batch) -> list[set[str]]:
        """The profiles of each member. Raises NotApplied.

        The one that is known, and those of all their addresses: of a member whose email was changed in a run that was cut
        off, the ledger has both addresses, and the id of one profile only.
        """
        by_email = ids_by_email(self._calls, [email for member in batch.members for email in emails_of(member)])
        return [
            {by_email[email] for email in emails_of(member) if email in by_email}
            | ({member.remote_id} if member.remote_id else set())
            for member in batch.members
        ]

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        """Everybody in the list; who has no email only with the id of their profile."""
        self._get_list(list_id)
        params: dict[str, str | int] = {"page[size]": PAGE, "fields[profile]": "email", "sort": "joined_group_at"}
        path = f"{_LISTS}/{list_id}/profiles"
        for answer in pages(self._calls, path, params, operation="members.read", doing="read the list's members"):
            found = resources(answer)
            if found:
                yield [as_member(profile) for profile in found]

    def matched_users(self, list_id: str) -> MatchedUsers:
        """How many profiles Klaviyo counts in the list."""
        size = attributes_of(self._get_list(list_id, counted=True)).get("profile_count")
        count = size if isinstance(size, int) else None
        return MatchedUsers(lower=count, upper=count, as_of=datetime.now(UTC), note="profiles in the list at Klaviyo")

    # Profiles outside of the list

    def records(self) -> RemoteList:
        return RemoteList("profiles", "all profiles", "https://www.klaviyo.com/people")

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        """A profile that comes or goes between the look-up and the import is updated, or made again."""
        if mode not in (Mode.UPSERT, Mode.UPDATE, Mode.INSERT):
            raise ValueError(f"mode {mode} writes no records")
        if mode is Mode.UPSERT:
            return self._brought(batch, None)
        profiles = profiles_of(batch)
        there = ids_by_email(self._calls, profiles)
        wanted = {email: each for email, each in profiles.items() if (email in there) is (mode is Mode.UPDATE)}
        brought = self._emptied(batch, self._imports.bring(wanted, None, _no_list))
        others = {
            email: NO_PROFILE if mode is Mode.UPDATE else Verdict(VerdictKind.ACCEPTED, remote_id=there[email])
            for email in profiles
            if email not in wanted
        }
        emails = [email_of(member) for member in batch.members]
        return [NO_ADDRESS if email is None else (brought | others)[email] for email in emails]

    def clear_fields(self, list_id: str, batch: Batch, fields: Sequence[str]) -> Sequence[Verdict]:
        """Accepted where both happened; rejected where they are out of the list and Klaviyo refuses to empty a field."""
        ids = self._profiles_of(batch)
        verdicts = list(self.remove(list_id, batch))
        attributes, properties = cleared(fields)
        done: dict[str, Verdict] = {}
        for place, profiles in enumerate(ids):
            if verdicts[place].kind is not VerdictKind.ACCEPTED:
                continue
            for profile in sorted(profiles):
                if profile not in done:
                    done[profile] = self._clear(profile, attributes, properties)
                if done[profile].kind is not VerdictKind.ACCEPTED:
                    verdicts[place] = done[profile]
        return verdicts

    def _clear(
        self,
        profile: str,
        attributes: Mapping[str, Any],
        properties: Sequence[str],
        but: str = "out of the list, but not all of its fields are empty",
    ) -> Verdict:
        body: dict[str, Any] = {"data": {"type": "profile", "id": profile, "attributes": attributes}}
        if properties:
            body["data"]["meta"] = {"patch_properties": {"unset": list(properties)}}
        try:
            answer = self._calls.change("PATCH", f"{PROFILES}/{profile}", body, operation="profiles.update")
        except (NotApplied, NoAnswer) as error:
            # Retryable would say that nothing has happened, and so that they are still in the list.
            return Verdict(VerdictKind.UNKNOWN, error.code, f"{but}: {error.message}")
        if answer.status in (401, 403):
            raise_refusal(answer, "update profiles")
        if answer.status >= 400 and answer.status != 404:
            return Verdict(VerdictKind.REJECTED, "NOT_CLEARED", f"{but}: HTTP {answer.status}")
        return ACCEPTED

    def _brought(self, batch: Batch, list_id: str | None) -> list[Verdict]:
        check_list = _no_list if list_id is None else partial(self._get_list, list_id)
        found = self._emptied(batch, self._imports.bring(profiles_of(batch), list_id, check_list))
        emails = [email_of(member) for member in batch.members]
        return [NO_ADDRESS if email is None else found[email] for email in emails]

    def _emptied(self, batch: Batch, brought: Mapping[str, Verdict]) -> dict[str, Verdict]:
        """Empties the fields that members have nothing for. Who was brought and not emptied is in doubt, and comes again."""
        verdicts = dict(brought)
        for email, fields in clears_of(batch).items():
            profile = verdicts[email].remote_id if email in verdicts else None
            if not fields or profile is None or verdicts[email].kind is not VerdictKind.ACCEPTED:
                continue
            try:
                done = self._clear(profile, *cleared(fields), but="brought, but not all of its fields are empty")
            except DestinationError:
                may_have_been_applied()
                raise
            if done.kind is not VerdictKind.ACCEPTED:
                verdicts[email] = Verdict(VerdictKind.UNKNOWN, done.reason_code, done.reason, profile)
        return verdicts

    # Lists

    def _made(self, name: str) -> RemoteList:
        body = {"data": {"type": "list", "attributes": {"name": name}}}
        try:
            answer = self._calls.change("POST", _LISTS, body, operation="lists.create", idempotent=False)
        except NoAnswer:
            found = self._oldest_named(name)
            if found is not None:
                return _remote(found)
            raise
        if answer.status >= 400:
            raise_refusal(answer, "create the list")
        data = answer.body.get("data")
        if not isinstance(data, dict) or not data.get("id"):
            raise NoAnswer("klaviyo lists.create: the answer has no list")
        # Another sync may have made one at the same moment: both take the older one.
        oldest = self._oldest_named(name) or data
        return replace(_remote(oldest), created=oldest["id"] == data["id"])

    def _oldest_named(self, name: str) -> Mapping[str, Any] | None:
        params: dict[str, str | int] = {"filter": f"equals(name,{orjson.dumps(name).decode()})", "page[size]": 10}
        found = [
            each
            for answer in pages(self._calls, _LISTS, params, operation="lists.find", doing="find the list")
            for each in resources(answer)
            if attributes_of(each).get("name") == name
        ]
        return min(found, key=lambda each: (str(attributes_of(each).get("created")), str(each["id"])), default=None)

    def _get_list(self, list_id: str, *, counted: bool = False) -> Mapping[str, Any]:
        """Raises ListMissing."""
        params = {"additional-fields[list]": "profile_count"} if counted else {}
        answer = self._calls.get(f"{_LISTS}/{list_id}", params, operation="lists.get")
        if answer.status == 404:
            raise ListMissing(
                f"the Klaviyo list {list_id} no longer exists",
                remedy="deleted lists cannot be restored: give the sync another `name` to fill a new list",
            )
        if answer.status >= 400:
            raise_refusal(answer, "read the list")
        data = answer.body.get("data")
        if not isinstance(data, dict) or not data.get("id"):
            raise NotApplied("klaviyo lists.get: the answer has no list")
        return data

    def _take_out(self, list_id: str, profiles: Sequence[str]) -> Answer:
        """The answer: 204, or one of ``_REFUSED``, and then none of it was applied."""
        body = {"data": [{"type": "profile", "id": profile} for profile in profiles]}
        answer = self._calls.change(
            "DELETE", f"{_LISTS}/{list_id}/relationships/profiles", body, operation="members.remove"
        )
        if answer.status >= 400 and answer.status not in _REFUSED:
            raise_refusal(answer, "take profiles out of the list", per_batch=True)
        return answer


def _no_list() -> None:
    """Nothing to check."""


def _portions(profiles: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(profiles), _MOST_MEMBERS):
        yield profiles[start : start + _MOST_MEMBERS]


def _remote(found: Mapping[str, Any]) -> RemoteList:
    name = str(attributes_of(found).get("name") or found["id"])
    return RemoteList(str(found["id"]), name, f"https://www.klaviyo.com/list/{found['id']}")
