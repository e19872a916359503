"""What is to be said is written down first, with the change it tells of, and sent then: nothing is lost, however it ends.

A message that could not be sent is tried again after 1, 2, 4, ... minutes, an hour at most, for three days. After a crash
between sending and writing that down, one message comes twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from audience_syncs.health.alert_text import message_text
from audience_syncs.health.alerts import Alert, Facts, Reason, Rule, is_watched, next_alert, reasons_of
from audience_syncs.health.channels import send
from audience_syncs.health.match_rate import MatchRate
from audience_syncs.health.status import SyncStatus
from audience_syncs.model.config import SyncConfig
from audience_syncs.model.limits import Severity
from audience_syncs.model.values import SyncRun
from audience_syncs.project import Project
from audience_syncs.warehouse import Warehouse
from audience_syncs.warehouse import alerts as table

FIRST_PAUSE, LONGEST_PAUSE, GIVE_UP_AFTER = timedelta(minutes=1), timedelta(hours=1), timedelta(days=3)


def now() -> datetime:
    return datetime.now(UTC)


def watch_alerts(
    project: Project,
    warehouse: Warehouse,
    statuses: Sequence[SyncStatus],
    runs: Mapping[str, SyncRun],
    rates: Mapping[str, MatchRate | None],
    environ: Mapping[str, str] = os.environ,
    *,
    at: datetime,
) -> list[Alert]:
    """Brings the alerts of these syncs up to date and writes down what is to be said; answers those that are not OK.

    ``statuses``: of the syncs whose state is in this warehouse. Set-wise: three queries, however many syncs.
    """
    with table.alerts_locked(warehouse) as connection:
        known = {row["sync"]: alert_from_row(row) for row in table.read_alerts(connection, warehouse)}
        sizes = table.sizes_before(connection, warehouse, [status.sync for status in statuses])
        changed, messages, bad = [], [], []
        for status in statuses:
            audience = project.audiences[status.audience]
            sync = audience.sync(status.sync.partition("/")[2])
            before = known.get(status.sync, Alert(status.sync))
            after, told = before, None
            if is_watched(status):
                facts = Facts(status, runs.get(status.sync), sizes.get(status.sync), rates.get(status.sync))
                reasons = reasons_of(sync.limits, facts, before.reasons, at)
                after, told = next_alert(before, reasons, at, sync.notify.remind_every)
            if after.severity is not Severity.OK:
                bad.append(after)
            if told is not None:
                worst = max(before.told, after.severity, key=lambda severity: severity.rank)
                title, body = message_text(told, before, after, audience, sync, status, environ, at)
                messages += [
                    table.Message(status.sync, name, told.value, after.severity.value, title, body)
                    for name in channels_of(project, sync)
                    if worst.rank >= project.alerts.channels[name].minimum.rank
                ]
            if after != before:
                changed.append(row_of(after))
        table.keep_alerts(connection, warehouse, changed)
        table.queue_messages(connection, warehouse, messages, at)
    return bad


def mute(warehouse: Warehouse, sync: str, until: datetime | None, by: str, *, at: datetime) -> Alert:
    """Nobody is told of the sync until then; None: from now on again. When it ends while the sync is in trouble, that is
    said."""
    with table.alerts_locked(warehouse) as connection:
        rows = (row for row in table.read_alerts(connection, warehouse) if row["sync"] == sync)
        before = next((alert_from_row(row) for row in rows), Alert(sync))
        ends = until or (at if before.muted_until else None)
        after = replace(before, muted_until=ends, muted_by=by if until else before.muted_by)
        table.keep_alerts(connection, warehouse, [row_of(after)])
    return after


def channels_of(project: Project, sync: SyncConfig) -> list[str]:
    """The channels through which people are told of a sync."""
    known = project.alerts.channels
    return [name for name in known if sync.notify.channels is None or name in sync.notify.channels]


def send_messages(
    project: Project,
    warehouse: Warehouse,
    environ: Mapping[str, str] = os.environ,
    *,
    clock: Callable[[], datetime] = now,
    stop_after_s: float = 15.0,
) -> list[str]:
    """Sends what is due; answers what could not be sent, in words. Ends after that time, the rest is for the next time."""
    until = time.monotonic() + stop_after_s
    failures = []
    while time.monotonic() < until:
        with table.next_message(warehouse, clock()) as taken:
            if taken is None:
                break
            connection, waiting = taken
            message = waiting.message
            channel = project.alerts.channels.get(message.channel)
            if channel is None:
                error, again = f"there is no channel {message.channel} any more", None
            else:
                error = send(channel, message.title, message.body, environ)
                again = clock() + min(FIRST_PAUSE * 2 ** min(waiting.attempts, 10), LONGEST_PAUSE)
                if clock() - waiting.created_at >= GIVE_UP_AFTER:
                    again, error = None, error and f"given up: {error}"
            table.book_attempt(
                connection,
                warehouse,
                waiting.id,
                sent_at=None if error else clock(),
                next_attempt_at=again if error else None,
                error=error,
            )
            if error:
                failures.append(f"a message about {message.sync} could not be sent to {message.channel}: {error}")
    return failures


def alert_from_row(row: Mapping[str, Any]) -> Alert:
    """A row of ``alerts``; rules that this version does not know are left out."""
    known = {rule.value for rule in Rule}
    return Alert(
        sync=str(row["sync"]),
        reasons=tuple(
            Reason(Rule(reason["rule"]), Severity(reason["severity"]), reason["text"])
            for reason in row["reasons"]
            if reason["rule"] in known
        ),
        since=row["since"],
        told=Severity(row["told"]),
        told_rules=frozenset(row["told_rules"]),
        told_at=row["told_at"],
        muted_until=row["muted_until"],
        muted_by=str(row["muted_by"]),
    )


def row_of(alert: Alert) -> dict[str, object]:
    return {
        "sync": alert.sync,
        "severity": alert.severity.value,
        "since": alert.since,
        "reasons": [
            {"rule": reason.rule.value, "severity": reason.severity.value, "text": reason.text}
            for reason in alert.reasons
        ],
        "told": alert.told.value,
        "told_rules": sorted(alert.told_rules),
        "told_at": alert.told_at,
        "muted_until": alert.muted_until,
        "muted_by": alert.muted_by,
    }
