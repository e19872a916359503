"""What Braze can do, and its settings. What users are known by is one thing for the whole account.

Each object of a request names one user by exactly one identifier, and Braze prefers them in an order of its own (an email beside
an external id is only an attribute). Were two of them identifiers to us, nobody could say by which of them a person had been
put into the audience, and has to be taken out. So ``identify_by`` chooses one; the others go along as attributes.

An attribute is emptied by null, and may be an object of several values (Braze's pages on the user attributes object, and on nested
custom attributes: 100 KB each; an object is replaced as a whole).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, model_validator

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import Account, Destination, DestinationSpec, Empties, FieldSpec, Tells
from audience_syncs.destinations.problems import Problem
from audience_syncs.model.config import Mode, Removal

INSTANCES: Mapping[str, str] = {
    **{f"US-{number:02}": f"https://rest.iad-{number:02}.braze.com" for number in range(1, 9)},
    "US-10": "https://rest.us-10.braze.com",
    "EU-01": "https://rest.fra-01.braze.eu",
    "EU-02": "https://rest.fra-02.braze.eu",
    "AU-01": "https://rest.au-01.braze.com",
    "ID-01": "https://rest.id-01.braze.com",
    "JP-01": "https://rest.jp-01.braze.com",
}
KNOWN_BY: Mapping[str, str] = {
    "external_id": "external_id",
    "email": "email",
    "phone": "phone",
    "user_alias": "alias_name",
}
"""The setting's words, and the field that identifies."""
CONSENT = frozenset({"email_subscribe", "push_subscribe", "subscription_groups", "email_open_tracking_disabled"})
CONSENT |= frozenset({"email_click_tracking_disabled", "marked_email_as_spam_at"})
NOT_OURS = frozenset({"user_alias", "braze_id", "push_tokens", "push_token_import", "date_of_first_session"})
NOT_OURS |= frozenset({"date_of_last_session", "current_location", "facebook", "twitter", "app_id"})
PROFILE_FIELDS = frozenset(
    {"first_name", "last_name", "gender", "dob", "country", "language", "home_city", "time_zone"}
)
RESERVED = CONSENT | NOT_OURS | PROFILE_FIELDS | frozenset({*KNOWN_BY.values(), "image_url", "bio"})
"""Names that mean something to Braze: no audience may be called so."""
MOST_IN_NAME = 255
NEVER_CLEARED = frozenset({"external_id", "alias_name", "email", "phone"})
"""What a user is found or reached by."""


class BrazeSettings(settings.ApiSettings):
    """Settings of a Braze account."""

    instance: str | None = Field(
        default=None, description="Your instance, as the dashboard's address tells it: `US-03`, `EU-01`, `AU-01`."
    )
    identify_by: Literal["external_id", "email", "phone", "user_alias"] = Field(
        default="external_id",
        description="What users are known by: `external_id` (default), `email`, `phone` or `user_alias`.",
    )
    alias_label: str | None = Field(
        default=None, min_length=1, max_length=255, description="With `identify_by: user_alias`: the alias's label."
    )
    update_existing_only: bool = Field(
        default=False, description="`true`: nobody is made a user of Braze; who is none is rejected with `NOT_FOUND`."
    )
    objects_per_request: int = Field(
        default=75, ge=1, le=75, description="Users per request: 75, by some contracts (MAU CY 24-25) 50. Default: 75."
    )
    settle_s: float = Field(
        default=5,
        ge=0,
        le=600,
        description="Seconds between taking a user out and putting the same user in again: Braze does not promise to keep "
        "the order of requests. Default: 5.",
    )
    requests_per_s: float = Field(default=40, ge=0.1, le=1_000, description="Requests a second. Default: 40.")

    @model_validator(mode="after")
    def _complete(self) -> BrazeSettings:
        if self.instance is not None and self.instance.upper() not in INSTANCES:
            raise ValueError(f"there is no such `instance`; it is one of {', '.join(INSTANCES)}, or write `base_url`")
        if not (self.instance or self.base_url or self.base_url_env):
            raise ValueError("it is not said where the account is; write `instance`, e.g. `US-03` or `EU-01`")
        if (self.identify_by == "user_alias") != (self.alias_label is not None):
            raise ValueError("`alias_label` goes with `identify_by: user_alias`; write both or neither")
        return self

    def where(self, environ: Mapping[str, str]) -> str:
        """The address of the API; empty where nothing says it."""
        return self.address(environ, INSTANCES.get((self.instance or "").upper(), ""))

    @property
    def field(self) -> str:
        """The field that identifies."""
        return KNOWN_BY[self.identify_by]


_IDENTIFIERS: Mapping[str, FieldSpec] = {
    "external_id": FieldSpec("external_id", "braze.external_id", identifier=True, description="Your id of the user."),
    "email": FieldSpec("email", "braze.email", identifier=True, description="Email address."),
    "phone": FieldSpec("phone", "braze.phone", identifier=True, description="Phone number in E.164."),
    "alias_name": FieldSpec(
        "alias_name", "braze.external_id", identifier=True, description="Name of the user's alias, of `alias_label`."
    ),
}
_OTHERS = (
    FieldSpec("email", "braze.email", description="Email address; an attribute, unless users are known by it."),
    FieldSpec("phone", "braze.phone", description="Phone number in E.164; an attribute, unless users are known by it."),
    FieldSpec("first_name", "braze.text", description="First name."),
    FieldSpec("last_name", "braze.text", description="Last name."),
    FieldSpec("gender", "braze.gender", description="`M` or `F`."),
    FieldSpec("dob", "braze.birth_date", description="Date of birth, `YYYY-MM-DD`."),
    FieldSpec("country", "braze.country", description="Country, ISO 3166 alpha-2."),
    FieldSpec("language", "braze.text", description="Language, ISO 639-1, like `de`."),
    FieldSpec("home_city", "braze.text", description="City."),
    FieldSpec("time_zone", "braze.text", description="Time zone, like `Europe/Berlin`."),
)
_FOR_GOOD = frozenset({"external_id", "user_alias"})
"""What names one user for certain, so that a user can be deleted by it."""


def _fields(identify_by: str) -> tuple[FieldSpec, ...]:
    known_by = KNOWN_BY[identify_by]
    # An email beside a phone number would be the identifier to Braze.
    dropped = {known_by} | ({"email"} if identify_by == "phone" else set())
    return (_IDENTIFIERS[known_by], *(field for field in _OTHERS if field.name not in dropped))


SPEC = DestinationSpec(
    platform="braze",
    title="Braze",
    kind="braze",
    fields=_fields("external_id"),
    open_fields=FieldSpec("", "braze.text", multiple=True, nested=True, description="A custom attribute of the user."),
    credentials=("api_key",),
    settings=settings.descriptions(BrazeSettings),
    settings_model=BrazeSettings,
    required_settings=frozenset(),
    required_fields=frozenset({"external_id"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.UPSERT, Mode.UPDATE, Mode.INSERT, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.CLEAR_FIELDS, Removal.DELETE_RECORD, Removal.KEEP}),
    batch_size=75,
    concurrency=4,
    tells_matched_users=Tells.YES,
    docs="docs/destinations/braze.md",
    empties=Empties.ASKED,
    never_emptied=NEVER_CLEARED,
)


def declare(given: Mapping[str, Any]) -> DestinationSpec:
    """What an account with these settings can do."""
    read = BrazeSettings.model_validate(given)
    return replace(
        SPEC,
        fields=_fields(read.identify_by),
        required_fields=frozenset({read.field}),
        removals=SPEC.removals if read.identify_by in _FOR_GOOD else SPEC.removals - {Removal.DELETE_RECORD},
        batch_size=read.objects_per_request,
    )


def check_mapping(given: Mapping[str, Any], mapped: Collection[str]) -> Iterator[Problem]:
    """Consent is not an audience's to give or take; two identifiers in one object are one too many."""
    for name in mapped:
        if name in CONSENT:
            yield Problem(
                ("mapping", name),
                f"`{name}` gives or takes consent at Braze, which no audience may do",
                "remove it; consent is changed where the person gives it",
            )
        elif name in NOT_OURS or name.startswith(("_", "$")):
            yield Problem(("mapping", name), f"`{name}` is a word of Braze's own, not an attribute", "remove it")
        elif name in KNOWN_BY.values() and name not in {field.name for field in declare(given).fields}:
            yield Problem(
                ("mapping", name),
                f"users are known by `{BrazeSettings.model_validate(given).field}` here; beside it Braze takes no `{name}`",
                "remove it, or set `identify_by`",
            )


def open_account(account: Account, environ: Mapping[str, str]) -> Destination:
    """The account."""
    from audience_syncs.destinations.braze.account import Braze, BrazeForGood

    given = settings.read(BrazeSettings, account.settings, f"destination {account.name}")
    kind = BrazeForGood if given.identify_by in _FOR_GOOD else Braze
    return kind(account, given, environ, declare(account.settings))
