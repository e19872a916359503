"""What users write in YAML, typed. Pure pydantic, no I/O: Dagster's components, the CLI and the tests share it.

Unknown keys are errors everywhere. Every field has a description: it becomes the JSON schema's, which editors show.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

NAME = re.compile(r"[a-z][a-z0-9_]*")
Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=60,
        description="Lower-case letters, digits and underscores, starting with a letter.",
    ),
]


class Config(BaseModel):
    """Base of everything in YAML: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Secret(Config):
    """A secret, named by the environment variable that holds it. Never written in YAML itself."""

    env: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds the value.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_literals(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("write {env: NAME_OF_VARIABLE}; secrets are never written in YAML")
        return value


class Mode(StrEnum):
    """What a sync does with members who are in the audience, and whether it removes those who leave."""

    MIRROR = "mirror"
    ADD = "add"
    UPSERT = "upsert"
    UPDATE = "update"
    INSERT = "insert"
    REMOVE = "remove"


class Removal(StrEnum):
    """What happens at the destination to a member who leaves the audience."""

    REMOVE = "remove"
    CLEAR_FIELDS = "clear_fields"
    DELETE_RECORD = "delete_record"
    KEEP = "keep"


class SourceConfig(Config):
    """A connection to your warehouse."""

    name: Name
    url: Secret = Field(
        description="SQLAlchemy URL, from the environment: `{env: SHOP_URL}`, e.g. postgresql://user:pw@host/db."
    )
    state_schema: str = Field(
        default="audience_syncs",
        pattern=r"^[a-z_][a-z0-9_]*$",
        max_length=60,
        description="Schema in the warehouse where our state tables are kept; created when missing.",
    )
    description: str = ""


class DestinationConfig(Config):
    """An account on a platform: type, credentials, settings."""

    name: Name
    platform: str = Field(description="Which platform: `meta`, `hubspot`.")
    credentials: dict[str, Secret] = Field(
        default_factory=dict,
        description="Secrets by name, each `{env: VARIABLE}`. Which ones: see the platform's page.",
    )
    settings: dict[str, str | int | float | bool | None] = Field(
        default_factory=dict, description="Settings of the platform, such as the ad account's id."
    )
    description: str = ""


class MappedField(Config):
    """Where a destination field's value comes from: a column, or a constant."""

    column: str | None = Field(default=None, min_length=1, description="Column of the audience.")
    constant: str | int | float | bool | None = Field(default=None, description="The same value for every member.")
    region: str | None = Field(
        default=None,
        description="Phones only: column with the ISO 3166 country of the member, for numbers without a country code.",
    )
    default_region: str | None = Field(
        default=None,
        pattern=r"^[A-Z]{2}$",
        description="Phones only: ISO 3166 country for numbers without a country code, where `region` gives none.",
    )

    @model_validator(mode="before")
    @classmethod
    def _column_by_name(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_origin(self) -> MappedField:
        if (self.column is None) == (self.constant is None):
            raise ValueError("give exactly one of `column` and `constant`")
        return self


class ListConfig(Config):
    """The list, segment or audience at the platform."""

    name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Its name at the platform, created on first use. Default: the audience's title.",
    )
    id: str | None = Field(default=None, min_length=1, description="Id of an existing list, instead of a name.")
    description: str = ""


class Interval(Config):
    """Every so often: `every: 15 minutes`, `every: 6 hours`, `every: 1 day`."""

    every: str = Field(
        pattern=r"^\s*\d+\s*(minute|hour|day|week)s?\s*$",
        description="`15 minutes`, `1 hour`, `6 hours`, `1 day`.",
    )

    @field_validator("every")
    @classmethod
    def _expressible(cls, value: str) -> str:
        interval_to_cron(value)
        return value


class Cron(Config):
    """At times given by a cron expression of five fields."""

    cron: str = Field(description="Five fields: minute, hour, day of month, month, day of week.")
    timezone: str = Field(default="UTC", description="IANA name, e.g. Europe/Berlin.")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo

        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError(f"no such time zone: {value!r}; use an IANA name such as Europe/Berlin") from error
        return value

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        if len(value.split()) != 5:
            raise ValueError("a cron expression has five fields: minute, hour, day of month, month, day of week")
        return value


Schedule = Interval | Cron | Literal["manual"]


def interval_to_cron(every: str) -> str:
    """The cron expression of an interval; Dagster's schedules are cron.

    Intervals must divide the hour, the day or the week evenly, because cron cannot express others: raises ValueError
    naming the nearest that do.
    """
    count_text, unit = every.strip().rstrip("s").split() if " " in every.strip() else _split_glued(every)
    count = int(count_text)
    if unit == "minute" and count in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30):
        return f"*/{count} * * * *" if count > 1 else "* * * * *"
    if unit == "hour" and count in (1, 2, 3, 4, 6, 8, 12):
        return f"0 */{count} * * *" if count > 1 else "0 * * * *"
    if (unit == "hour" and count == 24) or (unit == "day" and count == 1):
        return "0 0 * * *"
    if unit == "minute" and count == 60:
        return "0 * * * *"
    if unit == "week" and count == 1:
        return "0 0 * * 0"
    raise ValueError(
        f"`every: {every}` is not an even part of an hour or a day; use 1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30 minutes, "
        "1, 2, 3, 4, 6, 8, 12 hours, 1 day, 1 week, or a `cron`"
    )


def _split_glued(every: str) -> tuple[str, str]:
    match = re.fullmatch(r"\s*(\d+)\s*([a-z]+?)s?\s*", every)
    if match is None:
        raise ValueError(f"cannot read `every: {every}`; write e.g. `15 minutes`")
    return match.group(1), match.group(2)


class GuardConfig(Config):
    """Limits beyond which a plan is not sent. On by default."""

    allow_empty: bool = Field(default=False, description="Let an audience of zero members empty the list.")
    max_drop_percent: float = Field(
        default=30,
        ge=0,
        le=100,
        description="Blocked when more than this share of the list would be removed, and ...",
    )
    min_drop: int = Field(default=100, ge=0, description="... more than this many people.")
    max_removals: int | None = Field(default=None, ge=0, description="Blocked when more people would be removed.")
    max_unusable_percent: float = Field(
        default=50,
        ge=0,
        le=100,
        description="Blocked when more than this share (and `min_drop`) of the audience has no usable identifier.",
    )


class SyncConfig(Config):
    """One audience into one list of one destination."""

    destination: Name = Field(description="Name of a destination.")
    name: Name | None = Field(
        default=None, description="Name of the sync within its audience. Default: the destination's name."
    )
    list: ListConfig = Field(default_factory=ListConfig)
    mode: Mode = Mode.MIRROR
    removal: Removal = Removal.REMOVE
    adopt: bool = Field(
        default=False,
        description="Take over an existing list: members of the audience who are in it already are booked, not sent again.",
    )
    mapping: dict[str, MappedField] = Field(
        min_length=1, description="Destination field -> column, `{column: ...}` or `{constant: ...}`."
    )
    schedule: Schedule = Field(
        default="manual",
        description="`{every: 1 hour}`, `{cron: '0 6 * * *', timezone: Europe/Berlin}` or `manual`.",
    )
    guard: GuardConfig = Field(default_factory=GuardConfig)
    description: str = ""

    @property
    def key(self) -> str:
        """Its name within the audience."""
        return self.name or self.destination

    @property
    def frequency(self) -> str:
        """The schedule in words."""
        if isinstance(self.schedule, Interval):
            return "every " + " ".join(self.schedule.every.split())
        if isinstance(self.schedule, Cron):
            return f"cron {self.schedule.cron} ({self.schedule.timezone})"
        return "manual"


class AudienceConfig(Config):
    """A saved set of people: a query over a source, one row per member, with its syncs."""

    name: Name
    title: str | None = Field(
        default=None, min_length=1, max_length=120, description="Shown to marketers. Default: the name."
    )
    description: str = ""
    source: Name = Field(description="Name of a source.")
    sql: str = Field(min_length=1, description="One SELECT; one row per member.")
    primary_key: str = Field(min_length=1, description="Column that identifies a member; unique and never null.")
    personal: list[str] = Field(
        default_factory=list,
        description="Columns with personal data beside those mapped to identifiers; tagged PII and masked in previews.",
    )
    owners: list[str] = Field(default_factory=list, description="Email addresses, or `team:name`.")
    tags: dict[str, str] = Field(default_factory=dict)
    keep_snapshots: int = Field(default=3, ge=2, description="How many evaluations to keep in the warehouse.")
    syncs: list[SyncConfig] = Field(default_factory=list)

    @field_validator("sql")
    @classmethod
    def _one_statement(cls, value: str) -> str:
        text = value.strip().rstrip(";").strip()
        if not text:
            raise ValueError("`sql` is empty")
        return text

    @model_validator(mode="after")
    def _distinct_syncs(self) -> AudienceConfig:
        keys = [sync.key for sync in self.syncs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"two syncs are called {', '.join(twice)}; give each its own `name`")
        return self

    @property
    def label(self) -> str:
        return self.title or self.name

    def sync(self, key: str) -> SyncConfig:
        """The sync of that name; KeyError if there is none."""
        for sync in self.syncs:
            if sync.key == key:
                return sync
        raise KeyError(key)


def sync_id(audience: AudienceConfig | str, sync: SyncConfig | str) -> str:
    """A sync's name everywhere (state tables, CLI, Dagster): ``audience/sync``."""
    audience_name = audience if isinstance(audience, str) else audience.name
    return f"{audience_name}/{sync if isinstance(sync, str) else sync.key}"
