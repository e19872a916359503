"""A sync's `schedule`, as ours."""

from __future__ import annotations

from typing import Any

from audience_syncs.imports.hightouch.export import Resource
from audience_syncs.model.schedules import interval_to_cron
from audience_syncs.project.cron import objection

_MINUTES = {"minute": 1, "hour": 60, "day": 24 * 60, "week": 7 * 24 * 60}
_LENGTHS = (
    *(f"{count} minute{'s' if count > 1 else ''}" for count in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30)),
    *(f"{count} hour{'s' if count > 1 else ''}" for count in (1, 2, 3, 4, 6, 8, 12)),
    "1 day",
    "1 week",
)
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def schedule_of(sync: Resource) -> Any:
    """Ours; `manual` where theirs cannot be said here, which is noted."""
    written = sync.get("schedule")
    if written is None:
        return "manual"
    if not isinstance(written, dict):
        sync.note("not a schedule; written as `manual`", "schedule")
        return "manual"
    kind = str(written.get("type") or "").lower().replace("-", "_")
    inner = ("schedule", "schedule") if isinstance(written.get("schedule"), dict) else ("schedule",)
    if kind in ("manual", ""):
        sync.take("schedule", "type")
        return "manual"
    if kind == "interval":
        return _interval(sync, inner)
    if kind == "cron":
        return _cron(sync, inner)
    if kind in ("visual_cron", "visual", "custom", "custom_recurrence"):
        return _calendar(sync, inner)
    if kind.startswith("dbt"):
        sync.note(
            "runs after a dbt job: write `{after: dbt/MODEL}`, the asset it makes; written as `manual`", "schedule"
        )
        return "manual"
    sync.note(f"a schedule of type `{kind}` is not known here; written as `manual`", "schedule")
    return "manual"


def _interval(sync: Resource, inner: tuple[str, ...]) -> Any:
    at = (*inner, "interval") if isinstance(sync.get(*inner, "interval"), dict) else inner
    unit = str(sync.get(*at, "unit") or "").lower().rstrip("s")
    quantity = sync.get(*at, "quantity") or sync.get(*at, "amount")
    try:
        count = float(str(quantity))
    except ValueError:
        count = 0
    if unit not in _MINUTES or not 0 < count < 10_000 or count != int(count):
        sync.note("this interval cannot be read; written as `manual`", "schedule")
        return "manual"
    sync.take("schedule", "type")
    for key in ("unit", "quantity", "amount"):
        sync.take(*at, key)
    every = f"{int(count)} {unit}{'s' if count > 1 else ''}"
    try:
        interval_to_cron(every)
    except ValueError:
        wanted = count * _MINUTES[unit]
        shorter = [text for text in _LENGTHS if _minutes(text) <= wanted][-1]
        sync.note(f"every {every} is no even part of an hour or a day; written as {shorter}", *at)
        every = shorter
    return {"every": every}


def _minutes(text: str) -> int:
    count, unit = text.rstrip("s").split()
    return int(count) * _MINUTES[unit]


def _cron(sync: Resource, inner: tuple[str, ...]) -> Any:
    expression = sync.text((*inner, "expression"), (*inner, "cron"), ("schedule", "expression"), ("schedule", "cron"))
    wrong = "there is no expression" if expression is None else objection(expression)
    if wrong is not None:
        sync.note(f"{wrong}; written as `manual`", "schedule")
        return "manual"
    sync.take("schedule", "type")
    return {"cron": " ".join(str(expression).split()), "timezone": "UTC"}


def _calendar(sync: Resource, inner: tuple[str, ...]) -> Any:
    """Times of day on days of the week: ours has the same times on all its days."""
    expressions = sync.get(*inner, "expressions")
    at = (*inner, "expressions")
    found: set[tuple[tuple[str, ...], str]] = set()
    for entry in expressions if isinstance(expressions, list) else ():
        days = entry.get("days") if isinstance(entry, dict) else None
        time = str(entry.get("time") or "") if isinstance(entry, dict) else ""
        chosen = tuple(day[:3] for day in _DAYS if isinstance(days, dict) and days.get(day))
        hour, _, minute = time.partition(":")
        if not chosen or not (hour.isdecimal() and minute.isdecimal() and int(hour) < 24 and int(minute) < 60):
            sync.note("this recurrence cannot be read; written as `manual`", "schedule")
            return "manual"
        found.add((chosen, f"{int(hour):02}:{int(minute):02}"))
    if len({days for days, _ in found}) != 1:
        sync.note("different times on different days are not one schedule here; written as `manual`", "schedule")
        return "manual"
    sync.take("schedule", "type")
    sync.note("in the time zone of who wrote it at Hightouch, which is not exported; written as UTC", *at)
    days = next(iter(found))[0]
    return {"days": list(days), "times": sorted(time for _, time in found), "timezone": "UTC"}
