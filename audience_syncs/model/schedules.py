"""When a sync runs by itself: the kinds of schedules users write, and the cron expressions behind them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator, model_validator

from audience_syncs.model.strict import Config

DURATION = re.compile(r"^\s*(\d+)\s*(minute|hour|day|week)s?\s*$")


def duration(text: str) -> timedelta:
    """A length of time as people write it: ``15 minutes``, ``6 hours``, ``2 days``. ValueError for anything else."""
    match = DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"cannot read the duration {text!r}; write e.g. `15 minutes`, `6 hours`, `2 days`")
    return int(match[1]) * timedelta(**{f"{match[2]}s": 1})


def _known_zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"no such time zone: {value!r}; use an IANA name such as Europe/Berlin") from error
    return value


TimeZone = Annotated[str, AfterValidator(_known_zone), Field(description="IANA name, e.g. Europe/Berlin.")]


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

    @property
    def crons(self) -> list[str]:
        return [interval_to_cron(self.every)]

    @property
    def zone(self) -> str:
        return "UTC"

    def in_words(self) -> str:
        return "every " + " ".join(self.every.split())


class Cron(Config):
    """At times given by a cron expression of five fields."""

    cron: str = Field(description="Five fields: minute, hour, day of month, month, day of week.")
    timezone: TimeZone = "UTC"

    @field_validator("cron")
    @classmethod
    def _five_fields(cls, value: str) -> str:
        if len(value.split()) != 5:
            raise ValueError("a cron expression has five fields: minute, hour, day of month, month, day of week")
        return value

    @property
    def crons(self) -> list[str]:
        return [self.cron]

    @property
    def zone(self) -> str:
        return self.timezone

    def in_words(self) -> str:
        return f"cron {self.cron} ({self.timezone})"


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Calendar(Config):
    """At times of day, on some days of the week or on every day."""

    times: list[str] = Field(min_length=1, description="Times of day, `06:30`, in quotes.")
    days: list[Day] = Field(default_factory=list, description="`mon` to `sun`; none means every day.")
    timezone: TimeZone = "UTC"

    @field_validator("times")
    @classmethod
    def _times_of_day(cls, value: list[str]) -> list[str]:
        for text in value:
            if re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", text) is None:
                raise ValueError(f"{text!r} is no time of day; write it in quotes, as '06:30' or '18:05'")
        return value

    @property
    def crons(self) -> list[str]:
        days = ",".join(dict.fromkeys(self.days)) or "*"
        parted = (text.split(":") for text in sorted(set(self.times)))
        return [f"{int(minute)} {int(hour)} * * {days}" for hour, minute in parted]

    @property
    def zone(self) -> str:
        return self.timezone

    def in_words(self) -> str:
        days = ", ".join(dict.fromkeys(self.days)) or "every day"
        return f"{days} at {', '.join(sorted(set(self.times)))} ({self.timezone})"


class After(Config):
    """As soon as something else is there: the sync's audience, or any asset of Dagster."""

    after: str = Field(
        pattern=r"^[A-Za-z0-9_.\-]+(/[A-Za-z0-9_.\-]+)*$",
        description="`audience`: as soon as the audience was evaluated. Else an asset's key, as the UI shows it: `dbt/customers`.",
    )

    @property
    def is_audience(self) -> bool:
        return self.after == "audience"

    def in_words(self) -> str:
        return "after its audience" if self.is_audience else f"after {self.after}"


class Daily(Config):
    """Partitions of an audience: one for each day, from a first day on."""

    by: Literal["day"] = "day"
    start: date = Field(default=date(2024, 1, 1), description="The first day, e.g. 2026-01-01.")
    timezone: TimeZone = "UTC"

    @model_validator(mode="before")
    @classmethod
    def _in_a_word(cls, value: object) -> object:
        return {} if value == "daily" else value

    def latest(self, now: datetime) -> str:
        """The last day that is over."""
        return (now.astimezone(ZoneInfo(self.timezone)).date() - timedelta(days=1)).isoformat()

    def end_of(self, day: str) -> datetime:
        """The moment a day is over: what its evaluation is as of. ValueError where it is no day, or before the first."""
        found = date.fromisoformat(day)
        if found < self.start:
            raise ValueError(f"{day} is before the first partition, {self.start.isoformat()}")
        return datetime.combine(found + timedelta(days=1), time(), ZoneInfo(self.timezone)).astimezone(UTC)


Timed = Interval | Cron | Calendar
Schedule = Timed | After | Literal["manual"]


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
