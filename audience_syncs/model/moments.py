"""Days, moments and lengths of time, as people write them in filters.

A *day* is a calendar day in the filter's time zone: ``2026-11-01``, ``today``, ``yesterday``, ``tomorrow``, ``7 days ago``,
``in 2 weeks``, ``3 months ago``, ``start of month``. An *instant* is a point in time: ``2026-11-01 10:30`` (in the zone),
``2026-11-01T10:30:00Z`` or with an offset, ``now``, ``6 hours ago``, ``in 30 minutes``. A *length* is absolute: a day of it
is 24 hours.
"""

from __future__ import annotations

import re
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

_RELATIVE = re.compile(
    r"(?:(\d+)\s+(minute|hour|day|week|month|year)s?\s+ago|in\s+(\d+)\s+(minute|hour|day|week|month|year)s?)"
)
_START = re.compile(r"start of (?:this )?(day|week|month|quarter|year)")
_LENGTH = re.compile(r"(\d+)\s*(minute|hour|day|week)s?")
_MOST = 100_000

HOW_MOMENTS_ARE_WRITTEN = (
    "write a day (`2026-11-01`, `today`, `7 days ago`, `start of month`) or a moment (`2026-11-01 10:30`, `now`, "
    "`6 hours ago`)"
)


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day."""

    date: date

    def start(self, zone: ZoneInfo) -> datetime:
        """Its first moment; where the clock is put forward over midnight, the first that there is."""
        return datetime.combine(self.date, time(), zone).astimezone(UTC)

    def end(self, zone: ZoneInfo) -> datetime:
        """The first moment after it."""
        return Day(self.date + timedelta(days=1)).start(zone)


def length(text: str) -> timedelta:
    """``30 minutes``, ``6 hours``, ``7 days``, ``2 weeks``: an absolute length. ValueError for anything else."""
    match = _LENGTH.fullmatch(text.strip().lower())
    if match is None or int(match[1]) > _MOST:
        raise ValueError(f"cannot read the length of time {text!r}; write e.g. `30 minutes`, `6 hours`, `7 days`")
    return int(match[1]) * timedelta(**{f"{match[2]}s": 1})


def moment(text: str, now: datetime, zone: ZoneInfo) -> Day | datetime:
    """The day, or the instant (in UTC), that a text means at the moment ``now`` in a time zone. ValueError where it
    means nothing."""
    words = " ".join(text.strip().lower().split())
    try:
        return _named(words, now, zone) or _relative(words, now, zone) or _absolute(text.strip(), zone)
    except (ValueError, OverflowError):
        raise ValueError(f"cannot read the moment {text!r}; {HOW_MOMENTS_ARE_WRITTEN}") from None


def is_day(text: str) -> bool:
    """Whether a text means a whole day rather than an instant. ValueError where it means nothing."""
    return isinstance(moment(text, datetime(2026, 1, 1, tzinfo=UTC), ZoneInfo("UTC")), Day)


def _named(words: str, now: datetime, zone: ZoneInfo) -> Day | datetime | None:
    if words == "now":
        return now.astimezone(UTC)
    today = now.astimezone(zone).date()
    offset = {"yesterday": -1, "today": 0, "tomorrow": 1}.get(words)
    if offset is not None:
        return Day(today + timedelta(days=offset))
    start = _START.fullmatch(words)
    if start is None:
        return None
    unit = start[1]
    if unit == "week":
        return Day(today - timedelta(days=today.weekday()))
    month = {"year": 1, "quarter": 3 * ((today.month - 1) // 3) + 1}.get(unit, today.month)
    return Day(today if unit == "day" else date(today.year, month, 1))


def _relative(words: str, now: datetime, zone: ZoneInfo) -> Day | datetime | None:
    match = _RELATIVE.fullmatch(words)
    if match is None:
        return None
    number = -int(match[1]) if match[1] else int(match[3])
    unit = match[2] or match[4]
    if abs(number) > _MOST:
        raise ValueError
    if unit in ("minute", "hour"):
        return now.astimezone(UTC) + number * timedelta(**{f"{unit}s": 1})
    today = now.astimezone(zone).date()
    if unit in ("day", "week"):
        return Day(today + number * timedelta(**{f"{unit}s": 1}))
    months = today.year * 12 + today.month - 1 + number * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    # The 31st of a month that has 30 days is its last.
    return Day(date(year, month + 1, min(today.day, monthrange(year, month + 1)[1])))


def _absolute(text: str, zone: ZoneInfo) -> Day | datetime:
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return Day(date.fromisoformat(text))
    if not re.match(r"\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}", text):
        raise ValueError
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo is not None else found.replace(tzinfo=zone)).astimezone(UTC)
