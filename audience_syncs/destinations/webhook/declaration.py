"""What a webhook can do, and its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field

from audience_syncs.destinations import keyed, settings
from audience_syncs.destinations.contract import Account, Destination, DestinationSpec, Empties
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.strict import Config


class WebhookSettings(Config):
    """Settings of a webhook."""

    key: str = Field(default=keyed.KEY, min_length=1, max_length=200, description=keyed.KEY_DESCRIPTION)
    events: Literal["batch", "single"] = Field(
        default="batch", description="`batch` (default): many members in a request; `single`: one request for each."
    )
    members_per_request: int = Field(default=100, ge=1, le=10_000, description="In a batch; default 100.")
    requests_per_s: float = Field(default=10, gt=0, le=1_000, description="Requests a second at most; default 10.")
    concurrency: int = Field(default=4, ge=1, le=32, description="Requests under way at the same time; default 4.")
    timeout_s: float = Field(default=30, ge=0.1, le=600, description="Seconds to wait for an answer; default 30.")
    attempts: int = Field(default=5, ge=1, le=20, description="How often one request is tried; default 5.")
    plain_http: bool = Field(default=False, description="Allow http:// beyond this machine.")


SPEC = DestinationSpec(
    platform="webhook",
    title="Webhook",
    kind="webhook",
    fields=keyed.fields(keyed.KEY),
    open_fields=keyed.OTHERS,
    credentials=("url", "secret"),
    optional_credentials=("previous_secret",),
    settings=settings.descriptions(WebhookSettings),
    required_settings=frozenset(),
    required_fields=frozenset({keyed.KEY}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=100,
    concurrency=4,
    docs="docs/destinations/webhook.md",
    empties=Empties.ALWAYS,
    settings_model=WebhookSettings,
)


def declare(given: Mapping[str, Any]) -> DestinationSpec:
    """With the key's own field, and batches as large as the receiver wants them."""
    read = WebhookSettings.model_validate(given)
    return replace(
        SPEC,
        fields=keyed.fields(read.key),
        required_fields=frozenset({read.key}),
        batch_size=read.members_per_request,
        concurrency=read.concurrency,
    )


def open_account(account: Account, environ: Mapping[str, str]) -> Destination:
    """The endpoint. Sends nothing yet."""
    from audience_syncs.destinations.webhook.account import Webhook

    where = f"destination {account.name}"
    return Webhook(
        declare(account.settings),
        settings.read(WebhookSettings, account.settings, where),
        account.credentials,
        where,
    )
