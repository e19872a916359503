"""What can be set for an account of Microsoft Advertising, and which fields a member has there."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, field_validator

from audience_syncs.destinations import settings
from audience_syncs.destinations.contract import DestinationSpec, FieldSpec, Tells
from audience_syncs.model.config import Mode, Removal

FOR_EVER = -1
MOST_ITEMS = 1_000
"""Items of one call; also the members of a batch."""


def _as_text(value: object) -> object:
    """YAML reads an id without quotes as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Id = Annotated[str, BeforeValidator(_as_text), StringConstraints(pattern=r"^[0-9]{1,19}$")]


class MicrosoftSettings(settings.ApiSettings):
    """Settings of an ad account."""

    account_id: Id = Field(
        description="The ad account's id: the number behind `aid=` in the address of Microsoft Advertising's pages."
    )
    customer_id: Id = Field(
        description="The id of the manager account (customer) it belongs to: the number behind `cid=` there."
    )
    accept_customer_match_terms: bool = Field(
        default=False,
        description="Whether each upload accepts the Customer Match terms on your behalf. Default: false, they are "
        "accepted once on Microsoft's pages.",
    )
    scope: Literal["Account", "Customer"] = Field(
        default="Account",
        description="Who may use lists that are made: this `Account`, or all accounts of the `Customer`. "
        "Default: Account.",
    )
    membership_days: int = Field(
        default=FOR_EVER,
        ge=FOR_EVER,
        le=390,
        description="After how many days Microsoft drops members of a list by itself, 1 to 390; -1 is never. "
        "Default: -1.",
    )
    environment: Literal["production", "sandbox"] = Field(
        default="production", description="`production`, or Microsoft's `sandbox`. Default: production."
    )
    tenant: str = Field(
        default="common",
        pattern=r"^[A-Za-z0-9.-]{1,100}$",
        description="Whose users may sign in, where the app is for one organisation. Default: common.",
    )
    requests_per_s: float = Field(default=5, ge=0.1, le=1_000, description="Requests a second. Default: 5.")
    sign_in_url: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="Another address for signing in; where the API has another one, that is used for both.",
    )

    @field_validator("membership_days")
    @classmethod
    def _some_days(cls, value: int) -> int:
        if value == 0:
            raise ValueError("`membership_days` is 0; write 1 to 390, or -1 for never")
        return value


SPEC = DestinationSpec(
    platform="microsoft",
    title="Microsoft Advertising",
    kind="microsoft",
    fields=(
        FieldSpec("email", "microsoft.email", identifier=True, multiple=True, description="Email address; hashed."),
        FieldSpec(
            "crm_id",
            "microsoft.external_id",
            identifier=True,
            multiple=True,
            personal=False,
            description="Your own id of the person, as it is; at most 100 characters. Not open to every account.",
        ),
    ),
    credentials=("developer_token", "client_id", "refresh_token"),
    optional_credentials=("client_secret",),
    settings=settings.descriptions(MicrosoftSettings),
    settings_model=MicrosoftSettings,
    required_settings=settings.required(MicrosoftSettings),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=MOST_ITEMS,
    concurrency=4,
    sizes_every=timedelta(hours=6),
    tells_matched_users=Tells.YES,
    docs="docs/destinations/microsoft.md",
)
