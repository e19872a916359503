"""What people read when they are told of a sync. Pure; no personal data."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from audience_syncs.health.alerts import Alert, Reason, Rule, Told
from audience_syncs.health.status import SyncStatus
from audience_syncs.model.config import AudienceConfig, SyncConfig

DAGSTER_URL = "AUDIENCE_SYNCS_DAGSTER_URL"
"""Environment variable with the address of Dagster's UI, for the links in messages."""


def message_text(
    told: Told,
    before: Alert,
    after: Alert,
    audience: AudienceConfig,
    sync: SyncConfig,
    status: SyncStatus,
    environ: Mapping[str, str],
    at: datetime,
) -> tuple[str, str]:
    """Title and body, for people: what, how much, why, since when, where to look. No personal data."""
    what = f"{audience.label} to {sync.destination}"
    if told is Told.RECOVERED:
        lasted = f" after {in_words(at - before.since)}" if before.since else ""
        headline, title = f"{what} is all right again{lasted}.", f"OK: {what}"
    else:
        again = {Told.REMINDER: "still ", Told.EASED: "now only "}.get(told, "")
        headline = f"{what}: {again}{after.severity.value}."
        title = f"{after.severity.value.upper()}: {what}: {', '.join(topic(reason) for reason in after.reasons)}"
    lines = [headline]
    reasons = sorted(after.reasons, key=lambda reason: -reason.severity.rank)
    lines += [f"- {reason.severity.value}: {reason.text}" for reason in reasons]
    if after.since is not None:
        lines.append(f"Since {after.since.astimezone(UTC):%Y-%m-%d %H:%M} UTC.")
    figures = (("in audience", status.in_audience), ("accepted", status.accepted), ("rejected", status.rejected))
    lines.append(", ".join(f"{name} {figure:,}" for name, figure in figures if figure is not None) or "It never ran.")
    lines.append(f"Sync: {status.sync}")
    dagster = environ.get(DAGSTER_URL, "").rstrip("/")
    if dagster:
        lines.append(f"In Dagster: {dagster}/assets/syncs/{status.sync}")
    if status.run_id:
        lines.append(f"Run: {dagster}/runs/{status.run_id}" if dagster else f"Run: {status.run_id}")
    if status.list_url:
        lines.append(f"List: {status.list_url}")
    return title, "\n".join(lines)


TOPICS = {
    Rule.FAILED: "failed",
    Rule.BLOCKED: "blocked",
    Rule.REJECTED: "rejected members",
    Rule.REJECTED_PERCENT: "rejected members",
    Rule.UNREACHABLE_PERCENT: "members without identifier",
    Rule.REFUSED_PERCENT: "refused values",
    Rule.MATCH_RATE_DROP_PERCENT: "match rate dropped",
    Rule.AUDIENCE_CHANGE_PERCENT: "audience changed a lot",
    Rule.REMOVALS: "many removals",
    Rule.DURATION_MINUTES: "takes long",
    Rule.LATE_MINUTES: "late",
}


def topic(reason: Reason) -> str:
    return TOPICS[reason.rule]


def in_words(length: timedelta) -> str:
    """``3 days``, ``2 hours``, ``5 minutes``."""
    minutes = max(1, round(length / timedelta(minutes=1)))
    for size, unit in ((1440, "day"), (60, "hour"), (1, "minute")):
        if minutes >= size:
            count = minutes // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    raise AssertionError
