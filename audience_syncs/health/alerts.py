"""Whether a sync is in trouble, since when, and whether anybody must be told. Pure: figures in, states out.

A sync is OK, WARNING or CRITICAL, by the worst of its reasons. People are told when that changes, when something new joins
in, and when it is over: not once for each run. What they were told is remembered, so that nothing is said twice, and
nothing that happened while the sync was muted is lost when the muting ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from audience_syncs.health.match_rate import MatchRate
from audience_syncs.health.status import SyncState, SyncStatus
from audience_syncs.model.limits import Limit, LimitsConfig, Severity
from audience_syncs.model.reach import Reach
from audience_syncs.model.schedules import duration
from audience_syncs.model.values import RunStatus, SyncRun

LEAST_CHANGE = 100
"""Members by which an audience must change before its change in percent says anything."""


class Rule(StrEnum):
    """What an alert can be about; named as its limit is."""

    FAILED = "failed"
    BLOCKED = "blocked"
    REJECTED = "rejected"
    REJECTED_PERCENT = "rejected_percent"
    UNREACHABLE_PERCENT = "unreachable_percent"
    REFUSED_PERCENT = "refused_percent"
    MATCH_RATE_DROP_PERCENT = "match_rate_drop_percent"
    AUDIENCE_CHANGE_PERCENT = "audience_change_percent"
    REMOVALS = "removals"
    DURATION_MINUTES = "duration_minutes"
    LATE_MINUTES = "late_minutes"


@dataclass(frozen=True, slots=True)
class Reason:
    """One rule that is broken, with its figures in words. No personal data."""

    rule: Rule
    severity: Severity
    text: str


class Told(StrEnum):
    """Why a message is sent."""

    RAISED = "raised"
    EASED = "eased"
    """From critical to warning."""
    ALSO = "also"
    """Something new, no worse than what was known."""
    RECOVERED = "recovered"
    REMINDER = "reminder"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Alert:
    """How a sync is, and what people know of it."""

    sync: str
    reasons: tuple[Reason, ...] = ()
    since: datetime | None = None
    """When it was last all right; None while it is."""
    told: Severity = Severity.OK
    """What people were last told, and by which rules."""
    told_rules: frozenset[str] = frozenset()
    told_at: datetime | None = None
    muted_until: datetime | None = None
    muted_by: str = ""

    @property
    def severity(self) -> Severity:
        return max((reason.severity for reason in self.reasons), key=lambda s: s.rank, default=Severity.OK)

    def is_muted(self, now: datetime) -> bool:
        return self.muted_until is not None and now < self.muted_until


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a sync in one tick."""

    status: SyncStatus
    run: SyncRun | None
    """Its latest run, under way or ended."""
    size_before: int | None
    """The audience's size in the run before the latest one."""
    rate: MatchRate | None
    """Where the platform told a new size since the last tick."""


def reasons_of(limits: LimitsConfig, facts: Facts, before: Sequence[Reason], now: datetime) -> tuple[Reason, ...]:
    """All that is wrong with a sync now.

    ``before``: what was wrong in the last tick. What only the end of a run can tell stays as it was while one is under way
    or was cancelled; what only the platform can tell stays until it tells something else.
    """
    run = facts.run
    of_run = (
        Rule.FAILED,
        Rule.BLOCKED,
        Rule.REJECTED,
        Rule.REJECTED_PERCENT,
        Rule.UNREACHABLE_PERCENT,
        Rule.REFUSED_PERCENT,
        Rule.AUDIENCE_CHANGE_PERCENT,
        Rule.REMOVALS,
    )
    of_list = (Rule.REJECTED, Rule.REJECTED_PERCENT, Rule.UNREACHABLE_PERCENT, Rule.REFUSED_PERCENT)
    found: list[Reason | None] = []
    if run is None or run.status in (RunStatus.RUNNING, RunStatus.CANCELLED):
        found += [reason for reason in before if reason.rule in of_run]
    elif run.status in (RunStatus.FAILED, RunStatus.INTERRUPTED):
        error = run.error or "the run's process died; the next run goes on from there"
        found.append(_reason(Rule.FAILED, limits.failed, f"the last run failed: {error}"))
        # The list is as the runs before left it.
        found += [reason for reason in before if reason.rule in of_list]
    elif run.status is RunStatus.BLOCKED:
        found.append(
            _reason(Rule.BLOCKED, limits.blocked, f"the guard stopped the plan, nothing was sent: {run.error}")
        )
    else:
        found += _of_ended_run(limits, run, facts.size_before)
    if facts.rate is None:
        found += [reason for reason in before if reason.rule is Rule.MATCH_RATE_DROP_PERCENT]
    else:
        found.append(_of_match_rate(limits, facts.rate))
    found += [_of_duration(limits, run, now), _of_lateness(limits, facts.status, now)]
    return tuple(reason for reason in found if reason is not None and reason.severity is not Severity.OK)


def _reason(rule: Rule, severity: Severity, text: str) -> Reason:
    return Reason(rule, severity, text)


def _measured(rule: Rule, limit: Limit, figure: float, text: str, unit: str = "") -> Reason | None:
    passed = limit.passed(figure)
    if passed is None:
        return None
    return Reason(rule, limit.severity(figure), f"{text} (limit {passed:,.10g}{unit})")


def _of_ended_run(limits: LimitsConfig, run: SyncRun, size_before: int | None) -> list[Reason | None]:
    members, rejected = run.in_audience, run.rejected
    share = 100 * rejected / members if members else 0.0
    of_all = f"{rejected:,} of {members:,} members are rejected"
    found = [
        _measured(Rule.REJECTED, limits.rejected, rejected, of_all),
        _measured(Rule.REJECTED_PERCENT, limits.rejected_percent, share, f"{of_all}: {share:.1f} %", " %"),
        _measured(Rule.REMOVALS, limits.removals, run.removed, f"{run.removed:,} members were removed in one run"),
    ]
    if run.reach is not None:
        found += _of_reach(limits, run.reach)
    if size_before and abs(members - size_before) >= LEAST_CHANGE:
        change = 100 * (members - size_before) / size_before
        text = f"the audience went from {size_before:,} to {members:,} members: {change:+.1f} %"
        found.append(_measured(Rule.AUDIENCE_CHANGE_PERCENT, limits.audience_change_percent, abs(change), text, " %"))
    return found


def _of_reach(limits: LimitsConfig, reach: Reach) -> list[Reason | None]:
    share = reach.unreachable_percent
    text = f"{reach.unreachable:,} of {reach.members:,} members have no usable identifier: {share:.1f} %"
    found = [_measured(Rule.UNREACHABLE_PERCENT, limits.unreachable_percent, share, text, " %")]
    worst = max((each for each in reach.fields if each.identifier), key=reach.refused_percent, default=None)
    if worst is not None:
        refused = reach.refused_percent(worst)
        text = f"{refused:.1f} % of the values of {worst.field} are refused"
        found.append(_measured(Rule.REFUSED_PERCENT, limits.refused_percent, refused, text, " %"))
    return found


def _of_match_rate(limits: LimitsConfig, rate: MatchRate) -> Reason | None:
    text = f"the match rate is {rate.now:.0f} %, usual is {rate.usual or 0:.0f} %: {rate.drop_percent:.0f} % lower"
    return _measured(Rule.MATCH_RATE_DROP_PERCENT, limits.match_rate_drop_percent, rate.drop_percent, text, " %")


def _of_duration(limits: LimitsConfig, run: SyncRun | None, now: datetime) -> Reason | None:
    if run is None:
        return None
    running = run.status is RunStatus.RUNNING
    minutes = ((now if running or run.finished_at is None else run.finished_at) - run.started_at) / timedelta(minutes=1)
    text = (
        f"the run has been going on for {minutes:,.0f} minutes" if running else f"the run took {minutes:,.0f} minutes"
    )
    return _measured(Rule.DURATION_MINUTES, limits.duration_minutes, minutes, text, " minutes")


def _of_lateness(limits: LimitsConfig, status: SyncStatus, now: datetime) -> Reason | None:
    if status.overdue_since is None:
        return None
    minutes = (now - status.overdue_since) / timedelta(minutes=1)
    # Without the minutes, which change with every tick.
    text = f"a run was due at {status.overdue_since:%Y-%m-%d %H:%M} UTC and has not begun"
    return _measured(Rule.LATE_MINUTES, limits.late_minutes, minutes, text, " minutes")


def next_alert(
    before: Alert, reasons: Sequence[Reason], now: datetime, remind_every: str | None = None
) -> tuple[Alert, Told | None]:
    """What the alert becomes, and why people are told of it, if they are."""
    alert = replace(before, reasons=tuple(reasons))
    severity = alert.severity
    alert = replace(alert, since=None if severity is Severity.OK else (before.since or now))
    if alert.is_muted(now):
        return alert, None
    unmuted = alert.muted_until is not None
    alert = replace(alert, muted_until=None, muted_by="")
    told = _why(alert, severity, now, unmuted=unmuted, remind_every=remind_every)
    rules = frozenset(reason.rule.value for reason in alert.reasons)
    if told is None:
        return alert, None
    return replace(alert, told=severity, told_rules=rules, told_at=now), told


def _why(alert: Alert, severity: Severity, now: datetime, *, unmuted: bool, remind_every: str | None) -> Told | None:
    if severity.rank > alert.told.rank:
        return Told.RAISED
    if severity.rank < alert.told.rank:
        return Told.RECOVERED if severity is Severity.OK else Told.EASED
    if severity is Severity.OK:
        return None
    if any(reason.rule.value not in alert.told_rules for reason in alert.reasons):
        return Told.ALSO
    due = remind_every is not None and alert.told_at is not None and now - alert.told_at >= duration(remind_every)
    return Told.REMINDER if due or unmuted else None


def is_watched(status: SyncStatus) -> bool:
    """A paused sync is left as it is: neither alarmed nor called well."""
    return status.status is not SyncState.PAUSED
