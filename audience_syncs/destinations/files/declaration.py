"""What files can do, and their settings. Loads without fsspec and pyarrow."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from audience_syncs.destinations import keyed, settings
from audience_syncs.destinations.contract import Account, Destination, DestinationSpec, Empties, Tells
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.strict import Config

SECRETS = ("key", "secret", "token", "username", "password", "private_key")


class FilesSettings(Config):
    """Settings of a folder of files."""

    url: str = Field(
        min_length=1,
        description="The folder: `s3://bucket/audiences`, `sftp://host:22/drop`, `file:///srv/audiences` or an absolute path.",
    )
    key: str = Field(default=keyed.KEY, min_length=1, max_length=200, description=keyed.KEY_DESCRIPTION)
    format: Literal["csv", "parquet"] = Field(default="csv", description="`csv` (default) or `parquet`.")
    compression: Literal["none", "gzip"] = Field(
        default="none", description="Of CSV files: `none` (default) or `gzip`. Parquet is always compressed."
    )
    members: bool = Field(
        default=True,
        description="Whether each run that changes something also writes all members; otherwise only what changed. "
        "Default: true.",
    )
    rows_per_file: int = Field(
        default=1_000_000, ge=1, le=100_000_000, description="Members in one file; default 1,000,000."
    )
    keep: int = Field(
        default=10, ge=2, le=10_000, description="How many versions stay; older files are deleted. Default: 10."
    )
    host_key: str | None = Field(
        default=None,
        pattern=r"^SHA256:[A-Za-z0-9+/]{43}$",
        description="SFTP: fingerprint of the server's key, as `ssh-keyscan HOST | ssh-keygen -lf -` shows it: `SHA256:...`.",
    )
    storage_options: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict,
        description="Further options of the fsspec file system, such as `{endpoint_url: ...}`. Secrets go under "
        "`credentials`.",
    )

    @field_validator("url")
    @classmethod
    def _no_secrets(cls, value: str) -> str:
        if re.match(r"[a-z0-9+]+://[^/]*@", value, re.IGNORECASE):
            raise ValueError("the URL holds a user or password; put them under `credentials`: `username`, `password`")
        if "://" not in value and not value.startswith("/"):
            raise ValueError("the path is relative, and nobody knows to what; write an absolute one, or a URL")
        return value

    @model_validator(mode="after")
    def _fitting(self) -> FilesSettings:
        secret = sorted(set(self.storage_options) & set(SECRETS))
        if secret:
            raise ValueError(f"`{secret[0]}` is a secret; put it under `credentials`: `{secret[0]}: {{env: ...}}`")
        if self.protocol == "sftp" and self.host_key is None:
            raise ValueError(
                "without the server's key anybody could pretend to be it; add `host_key`: `ssh-keyscan HOST | "
                "ssh-keygen -lf -` shows it"
            )
        if self.format == "parquet" and self.compression == "gzip":
            raise ValueError("Parquet files are compressed inside; remove `compression`")
        return self

    @property
    def protocol(self) -> str:
        """fsspec's name of the file system."""
        found = self.url.partition("://")[0].lower() if "://" in self.url else "file"
        return {"ssh": "sftp", "s3a": "s3", "local": "file"}.get(found, found)


SPEC = DestinationSpec(
    platform="files",
    title="Files",
    kind="csv",
    fields=keyed.fields(keyed.KEY),
    open_fields=keyed.OTHERS,
    credentials=(),
    optional_credentials=SECRETS,
    settings=settings.descriptions(FilesSettings),
    required_settings=settings.required(FilesSettings),
    required_fields=frozenset({keyed.KEY}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=20_000,
    concurrency=1,
    tells_matched_users=Tells.YES,
    docs="docs/destinations/files.md",
    empties=Empties.ALWAYS,
    settings_model=FilesSettings,
)


def declare(given: Mapping[str, Any]) -> DestinationSpec:
    """With the key's own field."""
    key = FilesSettings.model_validate(given).key
    return replace(SPEC, fields=keyed.fields(key), required_fields=frozenset({key}))


def open_account(account: Account, environ: Mapping[str, str]) -> Destination:
    """The folder. Connects when first used."""
    from audience_syncs.destinations.files.account import Files

    where = f"destination {account.name}"
    read = settings.read(FilesSettings, account.settings, where)
    return Files(declare(account.settings), read, account.credentials, where)
