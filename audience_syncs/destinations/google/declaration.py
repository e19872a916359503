"""What Customer Match lists can do, and an account's settings. Loads without HTTP.

Consent and the Customer Match terms are statements of the advertiser's to Google, so both must be written: nothing here makes them
by default. Facts: ``Consent``, ``TermsOfService``, ``Destination``, ``UserList`` of the API; a membership lasts 540 days at most
(Google Ads developer blog, 2025-02-12).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import DestinationSpec, FieldSpec, Tells
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.strict import Config

AccountType = Literal["GOOGLE_ADS", "DISPLAY_VIDEO_ADVERTISER", "DISPLAY_VIDEO_PARTNER", "DATA_PARTNER"]
BASE_URL = "https://datamanager.googleapis.com"
TOKEN_URL = "https://oauth2.googleapis.com/token"
_ACCOUNT_ID = re.compile(r"[0-9]{1,20}")
_BY_REFRESH_TOKEN = ("client_id", "client_secret", "refresh_token")
_BY_KEY = ("service_account_key",)


def _digits(value: object) -> str:
    text = str(value).strip().replace("-", "")
    if isinstance(value, bool) or _ACCOUNT_ID.fullmatch(text) is None:
        raise ValueError("is not the number of an account; write it like 123-456-7890 or 1234567890")
    return text


class Consent(Config):
    """What the people in the list have agreed to (EU Digital Markets Act)."""

    ad_user_data: Literal["granted", "unspecified"] = Field(
        description="Whether they agree that their data goes to Google for ads: `granted`, or `unspecified` (Google then "
        "takes the account's own setting). Who does not agree has no business in the audience."
    )
    ad_personalization: Literal["granted", "unspecified"] = Field(
        description="Whether they agree to personalised ads: `granted` or `unspecified`, as above."
    )


class OtherAccount(Config):
    """An account through which another is reached."""

    type: AccountType = Field(default="GOOGLE_ADS", description="Kind of the account. Default: GOOGLE_ADS.")
    id: str = Field(description="Its number.")

    _as_digits = field_validator("id", mode="before")(_digits)


class GoogleSettings(settings.ApiSettings):
    """Settings of an account."""

    customer_id: str = Field(description="Number of the account that has the lists, with or without hyphens.")
    account_type: AccountType = Field(
        default="GOOGLE_ADS",
        description="Kind of that account: GOOGLE_ADS (default), DISPLAY_VIDEO_ADVERTISER or DISPLAY_VIDEO_PARTNER.",
    )
    consent: Consent = Field(
        description="What the people in your lists have agreed to, as you tell Google: `ad_user_data` and "
        "`ad_personalization`, each `granted` or `unspecified`."
    )
    accept_customer_match_terms: Literal[True] = Field(
        description="`true`: you accept Google's Customer Match terms and policy, and Google is told so with every upload."
    )
    login_account: OtherAccount | None = Field(
        default=None,
        description="The account that the credentials are a user of, where it is another: a manager account `{id: ...}`, or "
        "`{type: DATA_PARTNER, id: ...}`.",
    )
    linked_account: OtherAccount | None = Field(
        default=None,
        description="For data partners: the account that the login account is linked to, as `{type: ..., id: ...}`.",
    )
    sign_in: Literal["refresh_token", "service_account"] = Field(
        default="refresh_token",
        description="`refresh_token` (default) with `client_id`, `client_secret` and `refresh_token`, or `service_account` "
        "with `service_account_key`.",
    )
    quota_project: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9.:-]{1,100}$",
        description="Google Cloud project whose quota is used (x-goog-user-project). Default: that of the credentials.",
    )
    membership_days: int = Field(
        default=540,
        ge=1,
        le=540,
        description="Days after which Google drops a member who has not been sent again: of a list that is made. A third of it is "
        "how often members who do not change are sent again. Default: 540, the most there is.",
    )
    job_wait_s: float = Field(
        default=86_400,
        ge=0.05,
        le=604_800,
        description="Seconds to wait until Google has worked on an upload. Default: 86400; most take about half an hour.",
    )
    unanswered_wait_s: float = Field(
        default=3_600,
        ge=0,
        le=86_400,
        description="Seconds after an upload whose answer was lost within which Google may still work on it: so long the next "
        "run sends nothing. Default: 3600.",
    )
    validate_only: bool = Field(
        default=False,
        description="Try out: Google checks every upload and carries none out; all members stay to be sent. Default: false.",
    )
    requests_per_s: float = Field(
        default=4,
        ge=0.1,
        le=100,
        description="Requests a second. Default: 4; Google allows a Cloud project 300 a minute.",
    )
    token_url: str | None = Field(default=None, description=f"Where tokens are fetched. Default: {TOKEN_URL}.")

    _as_digits = field_validator("customer_id", mode="before")(_digits)

    @model_validator(mode="after")
    def _linked_through_login(self) -> GoogleSettings:
        if self.linked_account is not None and (
            self.login_account is None or self.login_account.type != "DATA_PARTNER"
        ):
            raise ValueError(
                "`linked_account` is for data partners only; add a `login_account` of the type DATA_PARTNER, or remove it"
            )
        return self


SPEC = DestinationSpec(
    platform="google",
    title="Google Ads (Data Manager API)",
    kind="google",
    fields=(
        FieldSpec("email", "google.email", identifier=True, multiple=True, description="Email address; hashed."),
        FieldSpec(
            "phone", "google.phone", identifier=True, multiple=True, description="Phone number in E.164; hashed."
        ),
        FieldSpec(
            "address",
            "google.address",
            identifier=True,
            multiple=True,
            nested=True,
            description="Name and place: an object, or its JSON text, with `first_name`, `last_name` (both hashed), `country` "
            "and `zip`; all four.",
        ),
    ),
    credentials=_BY_REFRESH_TOKEN,
    optional_credentials=_BY_KEY,
    settings=settings.descriptions(GoogleSettings),
    settings_model=GoogleSettings,
    required_settings=settings.required(GoogleSettings),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    # Google works on an upload for half an hour or longer, and a call waits for it: the more members it has, the better. Five
    # uploads of the 10,000 members that one may have go out in a call, and are waited for together.
    batch_size=50_000,
    concurrency=4,
    sizes_every=timedelta(hours=12),
    tells_matched_users=Tells.YES,
    refresh_after=timedelta(days=540) / 3,
    docs="docs/destinations/google.md",
)


def declare(given: Mapping[str, Any]) -> DestinationSpec:
    """With the secrets that the account's way of signing in needs, and members sent again before they expire."""
    days = given.get("membership_days", 540)
    by_key = given.get("sign_in") == "service_account"
    return replace(
        SPEC,
        credentials=_BY_KEY if by_key else _BY_REFRESH_TOKEN,
        optional_credentials=(),
        refresh_after=timedelta(days=days) / 3,
    )
