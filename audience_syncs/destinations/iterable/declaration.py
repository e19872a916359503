"""What Iterable can do, and its settings. What users are known by is one thing for the whole account.

An Iterable project is email-based, userID-based or hybrid; it stays what it is, and no call tells which. Each user in a request
is named by an email address or a userId, not by both (Iterable's documentation, 2026-11); the other one goes along as a
field of the profile, which is how a hybrid project learns it.

A field may be an object (Iterable's help on updating user profiles); it is replaced as a whole, as ``mergeNestedObjects`` is not asked
for. Nothing says how a field is emptied, so nulls are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import Account, Destination, DestinationSpec, FieldSpec, Tells
from audience_syncs.destinations.problems import Problem
from audience_syncs.model.config import Mode, Removal

ADDRESSES: Mapping[str, str] = {"US": "https://api.iterable.com", "EU": "https://api.eu.iterable.com"}
CONSENT = frozenset({"subscribedMessageTypeIds", "unsubscribedChannelIds", "unsubscribedMessageTypeIds"})
LISTS = frozenset({"emailListIds", "userListIds"})
MANAGED = frozenset(
    {"itblInternal", "itblDS", "itblUserId", "profileUpdatedAt", "signupDate", "signupSource", "devices"}
)
"""Fields of a profile that Iterable keeps by itself."""


class IterableSettings(settings.ApiSettings):
    """Settings of an Iterable project."""

    region: Literal["US", "EU"] = Field(default="US", description="Where the project is: `US` (default) or `EU`.")
    identify_by: Literal["email", "userId"] = Field(
        default="email",
        description="What users are known by: `email` (default; email-based and hybrid projects) or `userId` (userID-based and "
        "hybrid projects).",
    )
    update_existing_only: bool = Field(
        default=False,
        description="`true`: nobody is made a user of Iterable; who is none is rejected with `NOT_FOUND`. Not in email-based "
        "projects, which do not heed it.",
    )
    settle_s: float = Field(
        default=5,
        ge=0,
        le=600,
        description="Seconds between taking a user out and putting the same user in again, because Iterable applies changes a "
        "little later. Default: 5.",
    )
    requests_per_s: float = Field(default=5, ge=0.1, le=1_000, description="Requests a second. Default: 5.")

    def where(self, environ: Mapping[str, str]) -> str:
        return self.address(environ, ADDRESSES[self.region])


_IDENTIFIERS: Mapping[str, FieldSpec] = {
    "email": FieldSpec("email", "iterable.email", identifier=True, description="Email address."),
    "userId": FieldSpec("userId", "iterable.external_id", identifier=True, description="Your id of the user."),
}
_ALONG: Mapping[str, FieldSpec] = {
    "email": FieldSpec("userId", "iterable.external_id", description="Your id of the user; goes along to the profile."),
    "userId": FieldSpec("email", "iterable.email", description="Email address; goes along to the profile."),
}
_OTHERS = (
    FieldSpec("phoneNumber", "iterable.phone", description="Phone number in E.164."),
    FieldSpec("firstName", "iterable.text", description="First name."),
    FieldSpec("lastName", "iterable.text", description="Last name."),
)


def _fields(known_by: str) -> tuple[FieldSpec, ...]:
    return (_IDENTIFIERS[known_by], _ALONG[known_by], *_OTHERS)


SPEC = DestinationSpec(
    platform="iterable",
    title="Iterable",
    kind="iterable",
    fields=_fields("email"),
    open_fields=FieldSpec(
        "", "iterable.text", multiple=True, nested=True, description="A field of the user's profile."
    ),
    credentials=("api_key",),
    settings=settings.descriptions(IterableSettings),
    settings_model=IterableSettings,
    required_settings=frozenset(),
    required_fields=frozenset({"email"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.UPSERT, Mode.UPDATE, Mode.INSERT, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.DELETE_RECORD, Removal.KEEP}),
    batch_size=1_000,
    concurrency=4,
    reads_members=True,
    tells_matched_users=Tells.YES,
    docs="docs/destinations/iterable.md",
)


def declare(given: Mapping[str, Any]) -> DestinationSpec:
    """What an account with these settings can do."""
    known_by = IterableSettings.model_validate(given).identify_by
    return replace(SPEC, fields=_fields(known_by), required_fields=frozenset({known_by}))


def check_mapping(given: Mapping[str, Any], mapped: Collection[str]) -> Iterator[Problem]:
    """Consent is not an audience's to give or take, and lists are kept by syncs, not by fields."""
    for name in mapped:
        if name in CONSENT:
            yield Problem(
                ("mapping", name),
                f"`{name}` gives or takes consent at Iterable, which no audience may do",
                "remove it; consent is changed where the person gives it",
            )
        elif name in LISTS or name in MANAGED:
            yield Problem(("mapping", name), f"`{name}` is kept by Iterable itself", "remove it")


def open_account(account: Account, environ: Mapping[str, str]) -> Destination:
    """The project."""
    from audience_syncs.destinations.iterable.account import Iterable

    given = settings.read(IterableSettings, account.settings, f"destination {account.name}")
    return Iterable(account, given, environ, declare(account.settings))
