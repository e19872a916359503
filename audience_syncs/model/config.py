"""What users write in YAML, typed. Pure pydantic, no I/O: Dagster's components, the CLI and the tests share it.

Unknown keys are errors everywhere. Every field has a description: it becomes the JSON schema's, which editors show.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field, PrivateAttr, field_validator, model_validator
from pydantic_core import PydanticCustomError

from audience_syncs.model.admission import Admission, Exclusion
from audience_syncs.model.alerts import NotifyConfig
from audience_syncs.model.filters import Condition
from audience_syncs.model.limits import LimitsConfig
from audience_syncs.model.mapping import MappedField
from audience_syncs.model.names import Name, Secret
from audience_syncs.model.schedules import DURATION, Daily, Schedule, TimeZone
from audience_syncs.model.schema import Schema
from audience_syncs.model.splits import Split
from audience_syncs.model.strict import Config


class Mode(StrEnum):
    """What a sync does with members who are in the audience, and whether it removes those who leave."""

    MIRROR = "mirror"
    ADD = "add"
    UPSERT = "upsert"
    UPDATE = "update"
    INSERT = "insert"
    REMOVE = "remove"

    @property
    def family(self) -> ModeFamily:
        """What a member is sent to: a list, records outside of any list, or out of a list."""
        if self in (Mode.MIRROR, Mode.ADD):
            return ModeFamily.LIST
        return ModeFamily.OUT_OF_LIST if self is Mode.REMOVE else ModeFamily.RECORDS


class ModeFamily(StrEnum):
    """Modes of one family send the same thing; changing to another family sends every member again."""

    LIST = "list"
    RECORDS = "records"
    OUT_OF_LIST = "out_of_list"

    @property
    def has_list(self) -> bool:
        return self is not ModeFamily.RECORDS


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
    platform: str = Field(description="Which platform; `audience-syncs destinations` lists them all.")
    credentials: dict[str, Secret] = Field(
        default_factory=dict,
        description="Secrets by name, each `{env: VARIABLE}`. Which ones: see the platform's page.",
    )
    settings: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the platform, such as the ad account's id. Which ones: see the platform's page, or "
        "`audience-syncs destinations PLATFORM`.",
    )
    concurrent_syncs: int = Field(
        default=4,
        ge=1,
        le=100,
        description="How many syncs to this account run at the same time; together they keep its pace.",
    )
    exclude: list[Exclusion] = Field(
        default_factory=list,
        description="People whom no sync to this destination sends: suppression lists, missing consent, countries.",
    )
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="For all syncs to this destination.")
    notify: NotifyConfig = Field(default_factory=NotifyConfig, description="For all syncs to this destination.")
    description: str = ""


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
    max_source_age: str | None = Field(
        default=None,
        pattern=DURATION.pattern,
        description="Blocked when the audience's data is older: `6 hours`, `2 days`. Its age is that of the audience's "
        "`freshness_sql`, or else of its last evaluation.",
    )


# Within SyncConfig, `list` is a field.
_Names = list[Name]


class SyncConfig(Config):
    """One audience into one list of one destination."""

    templates: _Names = Field(
        default_factory=list,
        description="Sync templates it starts from. A later one goes before an earlier one, and what stands here before both.",
    )
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
        min_length=1,
        description="Destination field -> column, `{column: ...}`, `{constant: ...}`, `{template: ...}` or `{object: ...}`.",
    )
    schedule: Schedule = Field(
        default="manual",
        description="`{every: 1 hour}`, `{cron: '0 6 * * *', timezone: Europe/Berlin}`, `{days: [mon, fri], times: ['06:30']}`, "
        "`{after: audience}`, `{after: dbt/customers}` (an asset of Dagster) or `manual`.",
    )
    paused: bool = Field(
        default=False,
        description="Whether its schedule starts switched off. Afterwards, the switch in Dagster decides.",
    )
    partitioned: bool = Field(
        default=False,
        description="Deliver each day of a partitioned audience, once; otherwise the sync follows the latest day.",
    )
    max_age: str | None = Field(
        default=None,
        pattern=DURATION.pattern,
        description="A run evaluates the audience first, unless its snapshot is younger than this: `30 minutes`. Default: "
        "always, except where another sync of the audience was due at the same time and did it.",
    )
    priority: int = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Of runs that wait for a place, those with the higher number go first.",
    )
    retries: int = Field(
        default=1,
        ge=0,
        le=10,
        description="How often a run whose process died (out of memory, a restart) is started again.",
    )
    guard: GuardConfig = Field(default_factory=GuardConfig)
    limits: LimitsConfig = Field(default_factory=LimitsConfig)
    notify: NotifyConfig = Field(default_factory=NotifyConfig)
    description: str = ""

    _admission: Admission = PrivateAttr(default_factory=Admission)

    @property
    def admission(self) -> Admission:
        """Whom it does not send, by its destination, priority list and split; known once definitions are loaded."""
        return self._admission

    def admitting(self, admission: Admission) -> SyncConfig:
        """The sync with this."""
        copy = self.model_copy()
        copy._admission = admission
        return copy

    @property
    def key(self) -> str:
        """Its name within the audience."""
        return self.name or self.destination

    @property
    def frequency(self) -> str:
        """The schedule in words."""
        return self.schedule if isinstance(self.schedule, str) else self.schedule.in_words()


class AudienceConfig(Config):
    """A saved set of people, one row per member, with its syncs: a query over a source, or a filter on a model.

    Of an audience with a model, ``source``, ``primary_key`` and the model's part of ``personal`` are filled in when
    definitions are loaded.
    """

    name: Name
    title: str | None = Field(
        default=None, min_length=1, max_length=120, description="Shown to marketers. Default: the name."
    )
    description: str = ""
    source: str = Field(default="", description="Name of a source; with `model`, the model's.")
    sql: str | None = Field(default=None, min_length=1, description="One SELECT; one row per member.")
    primary_key: str = Field(
        default="",
        description="Column that identifies a member; unique and never null. With `model`, the model's.",
    )
    model: Name | None = Field(default=None, description="Name of a model to choose people from, instead of `sql`.")
    filter: Condition | None = Field(
        default=None, description="Who of the model is in it; docs/audiences.md. Default: everybody."
    )
    columns: list[str] | None = Field(
        default=None,
        min_length=1,
        description="With `model`: its columns and traits that members have. Default: all columns.",
    )
    timezone: TimeZone | None = Field(
        default=None, description="With `model`: where days of the filter begin. Default: the model's time zone."
    )
    split: Split | None = Field(default=None, description="Members divided into groups with syncs of their own.")
    personal: list[str] = Field(
        default_factory=list,
        description="Columns with personal data beside those mapped to identifiers; tagged PII and masked in previews.",
    )
    owners: list[str] = Field(default_factory=list, description="Email addresses, or `team:name`.")
    tags: dict[str, str] = Field(default_factory=dict)
    partitions: Daily | None = Field(
        default=None,
        description="`daily`, or `{start: 2026-01-01, timezone: Europe/Berlin}`: one evaluation for each day. The SQL's "
        "`:as_of` is the end of the day; without partitions it is the moment of the evaluation.",
    )
    keep_snapshots: int = Field(
        default=3,
        ge=2,
        description="How many evaluations to keep in the warehouse; of a partitioned audience, 400 days.",
    )
    freshness_sql: str | None = Field(
        default=None,
        min_length=1,
        description="One SELECT of one value: the time of the newest data behind the audience, e.g. `SELECT "
        "max(loaded_at) FROM shop.events`. For the guard's `max_source_age`.",
    )
    limits: LimitsConfig = Field(default_factory=LimitsConfig, description="For all syncs of this audience.")
    notify: NotifyConfig = Field(default_factory=NotifyConfig, description="For all syncs of this audience.")
    syncs: list[SyncConfig] = Field(default_factory=list)

    _refers_to: Schema = PrivateAttr(default_factory=Schema)

    @property
    def refers_to(self) -> Schema:
        """What the filter refers to; known once definitions are loaded."""
        return self._refers_to

    def resolved(self, schema: Schema, **values: Any) -> AudienceConfig:
        """The audience with what its filter refers to, and what it takes from its model."""
        copy = self.model_copy(update=values)
        copy._refers_to = schema
        return copy

    @field_validator("sql")
    @classmethod
    def _one_statement(cls, value: str | None) -> str | None:
        if value is None:
            return None
        text = value.strip().rstrip(";").strip()
        if not text:
            raise ValueError("`sql` is empty; write one SELECT")
        return text

    @model_validator(mode="after")
    def _sql_or_model(self) -> AudienceConfig:
        if (self.sql is None) == (self.model is None):
            raise ValueError("give exactly one of `sql` and `model`")
        if self.model is None:
            for name in ("source", "primary_key"):
                if not getattr(self, name):
                    raise PydanticCustomError("key_missing", "the key `{key}` is missing", {"key": name})
            for name in ("filter", "columns", "timezone"):
                if getattr(self, name) is not None:
                    raise ValueError(f"`{name}` is for audiences with a `model`; remove it, or write it into the SQL")
        else:
            for name in ("source", "primary_key"):
                if name in self.model_fields_set:
                    raise ValueError(f"`{name}` is the model's; remove it")
        return self

    @model_validator(mode="after")
    def _distinct_syncs(self) -> AudienceConfig:
        keys = [sync.key for sync in self.syncs]
        twice = sorted({key for key in keys if keys.count(key) > 1})
        if twice:
            raise ValueError(f"two syncs are called {', '.join(twice)}; give each its own `name`")
        for sync in self.syncs:
            if sync.partitioned and self.partitions is None:
                raise ValueError(
                    f"the sync {sync.key} is partitioned and its audience is not; give the audience `partitions: daily`"
                )
            if sync.partitioned and sync.mode is Mode.MIRROR:
                raise ValueError(
                    f"the sync {sync.key} is partitioned and mirrors: its list would be that of the day delivered last; "
                    "use `mode: add`, or leave `partitioned` out to follow the latest day"
                )
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
