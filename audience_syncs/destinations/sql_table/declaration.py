"""What a SQL table can do, and its settings. Loads without SQLAlchemy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator

from audience_syncs.destinations import keyed, settings
from audience_syncs.destinations.contract import Account, Destination, DestinationSpec, Empties, Tells
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.strict import Config

SYNCED_AT = "_synced_at"
"""Column: when the sync last wrote the row. Null where the row is not in the list."""
ORIGIN = "_synced_row"
"""Column: ``made`` by the sync, or ``joined``: the row was there before. Null where the row is not in the list."""


class ColumnType(StrEnum):
    """Types of columns, as people write them."""

    TEXT = "text"
    INTEGER = "integer"
    NUMERIC = "numeric"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    JSON = "json"


class SqlTableSettings(Config):
    """Settings of a SQL table."""

    key: str = Field(default=keyed.KEY, min_length=1, max_length=60, description=keyed.KEY_DESCRIPTION)
    table_schema: str | None = Field(
        default=None,
        min_length=1,
        max_length=60,
        description="Schema of the tables; it must exist. Default: the connection's own.",
    )
    records_table: str | None = Field(
        default=None,
        min_length=1,
        max_length=60,
        description="For the modes `upsert`, `update` and `insert`: the table that is written to; it must exist.",
    )
    columns: dict[str, ColumnType] = Field(
        default_factory=dict,
        description="Types of columns that are made: `{orders: integer, last_order_at: timestamp}`; one of "
        f"{', '.join(ColumnType)}. Default: text. Columns that are there keep theirs.",
    )

    timeout_s: float = Field(
        default=60, ge=0.1, le=3_600, description="PostgreSQL: seconds a statement may take; default 60."
    )

    @model_validator(mode="after")
    def _free_names(self) -> SqlTableSettings:
        ours = {SYNCED_AT, ORIGIN} & {self.key, *self.columns}
        if ours:
            raise ValueError(f"the column {min(ours)} is ours; choose another name")
        return self


SPEC = DestinationSpec(
    platform="sql_table",
    title="SQL table",
    kind="postgres",
    fields=keyed.fields(keyed.KEY),
    open_fields=keyed.OTHERS,
    credentials=("url",),
    settings=settings.descriptions(SqlTableSettings),
    required_settings=frozenset(),
    required_fields=frozenset({keyed.KEY}),
    modes=frozenset(Mode),
    removals=frozenset(Removal),
    batch_size=5_000,
    concurrency=4,
    reads_members=True,
    tells_matched_users=Tells.YES,
    docs="docs/destinations/sql-table.md",
    empties=Empties.ALWAYS,
    settings_model=SqlTableSettings,
)


def declare(given: Mapping[str, Any]) -> DestinationSpec:
    """With the key's own field, and without the modes that need a table of records where none is named."""
    read = SqlTableSettings.model_validate(given)
    modes = SPEC.modes if read.records_table else SPEC.modes - {Mode.UPSERT, Mode.UPDATE, Mode.INSERT}
    return replace(SPEC, fields=keyed.fields(read.key), required_fields=frozenset({read.key}), modes=modes)


def open_account(account: Account, environ: Mapping[str, str]) -> Destination:
    """The database. Connects when first used."""
    from audience_syncs.destinations.sql_table.account import SqlTable

    where = f"destination {account.name}"
    read = settings.read(SqlTableSettings, account.settings, where)
    return SqlTable(declare(account.settings), account.credentials["url"], read, where)
