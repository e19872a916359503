"""Checks of audiences and syncs, as Dagster shows them.

Those that a run answers by the way belong to the asset itself (``audience_checks``, ``sync_checks``): they cost no step of their
own. Reading a list back does, so ``destination_audit`` is a step that is run by itself.
"""

# Without postponed annotations: Dagster reads those of check functions.

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from audience_syncs.components.figures import (
    Metadata,
    audit_metadata,
    counted,
    reach_table,
    reported_to_dagster,
    syncs_table,
)
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SourceConfig, SyncConfig
from audience_syncs.model.errors import AudienceError, GuardBlocked
from audience_syncs.model.limits import Severity
from audience_syncs.model.reach import Reach
from audience_syncs.model.values import Snapshot, SyncReport

if TYPE_CHECKING:
    from audience_syncs.health.match_rate import MatchRate
    from audience_syncs.health.status import SyncStatus
    from audience_syncs.warehouse import Warehouse

UNIQUE_KEY, USABLE_IDENTIFIERS = "unique_key", "usable_identifiers"
REMOVAL_GUARD, REJECTION_RATE, MATCH_RATE, FRESHNESS = "removal_guard", "rejection_rate", "match_rate", "freshness"
IDENTIFIERS = "identifiers"
AUDIT, SYNCS = "destination_audit", "syncs"

_KEY_ERRORS = ("AUDIENCE_NULL_KEY", "AUDIENCE_DUPLICATE_KEY")


def audience_checks(key: dg.AssetKey, audience: AudienceConfig) -> list[dg.AssetCheckSpec]:
    """Both are blocking: a run that also runs the syncs ends there."""
    identifiers = (
        "Every sync finds an identifier in enough of the rows; how many is its guard's `max_unusable_percent`."
    )
    return [
        dg.AssetCheckSpec(
            UNIQUE_KEY, asset=key, description=f"One row per `{audience.primary_key}`, none without.", blocking=True
        ),
        dg.AssetCheckSpec(USABLE_IDENTIFIERS, asset=key, description=identifiers, blocking=True),
    ]


def sync_checks(key: dg.AssetKey, sync: SyncConfig) -> list[dg.AssetCheckSpec]:
    """What each run answers, and the sensor ``sync_health`` keeps true in between."""
    rejected, drop = sync.limits.rejected_percent, sync.limits.match_rate_drop_percent
    checks = [
        dg.AssetCheckSpec(REMOVAL_GUARD, asset=key, description="The guard lets the run's changes through."),
        dg.AssetCheckSpec(
            REJECTION_RATE, asset=key, description=f"Share of the audience that is rejected: {rejected.in_words(' %')}."
        ),
        dg.AssetCheckSpec(
            IDENTIFIERS,
            asset=key,
            description=f"Members without any usable identifier: {sync.limits.unreachable_percent.in_words(' %')}. Of one "
            f"identifier's values, refused: {sync.limits.refused_percent.in_words(' %')}.",
        ),
        dg.AssetCheckSpec(FRESHNESS, asset=key, description=f"A run began when it was due ({sync.frequency})."),
    ]
    if sync.mode.family.has_list:
        says = f"The match rate is about the usual one; lower by: {drop.in_words(' %')}."
        checks.append(dg.AssetCheckSpec(MATCH_RATE, asset=key, description=says))
    return checks


def identifier_columns(audience: AudienceConfig, destinations: Mapping[str, DestinationConfig]) -> dict[str, list[str]]:
    """Sync -> the columns it finds people by."""
    from audience_syncs.destinations.registry import spec_for

    found = {}
    for sync in audience.syncs:
        by_name = {field.name: field for field in spec_for(destinations[sync.destination]).fields}
        found[sync.key] = [
            column
            for name, mapped in sync.mapping.items()
            if name in by_name and by_name[name].identifier
            for column in mapped.columns
            if column != mapped.region
        ]
    return found


def checks_of(
    key: dg.AssetKey,
    audience: AudienceConfig,
    snapshot: Snapshot,
    warehouse: "Warehouse",
    identifiers: Mapping[str, Sequence[str]],
) -> list[dg.AssetCheckResult]:
    """What an evaluation answers. ``identifiers``: as of ``identifier_columns``."""
    from audience_syncs.audiences import without_identifier

    without = without_identifier(warehouse, snapshot, identifiers)
    return [unique_key(key, snapshot), usable_identifiers(key, audience, snapshot, without)]


def unique_key(key: dg.AssetKey, snapshot: Snapshot) -> dg.AssetCheckResult:
    return _result(key, UNIQUE_KEY, Severity.OK, f"{snapshot.members:,} members", members=snapshot.members)


def broken_key(key: dg.AssetKey, error: AudienceError) -> dg.AssetCheckResult | None:
    """The check's answer where it is what the evaluation failed for."""
    return _result(key, UNIQUE_KEY, Severity.CRITICAL, error.message) if error.code in _KEY_ERRORS else None


def usable_identifiers(
    key: dg.AssetKey, audience: AudienceConfig, snapshot: Snapshot, without: Mapping[str, int]
) -> dg.AssetCheckResult:
    """``without``: members without any identifier, for each sync."""
    worst = Severity.OK
    words = []
    for name, count in without.items():
        guard = audience.sync(name).guard
        share = 100 * count / snapshot.members if snapshot.members else 0.0
        if count > guard.min_drop and share > guard.max_unusable_percent:
            worst = Severity.CRITICAL
            words.append(
                f"{name}: {count:,} of {snapshot.members:,} members have no identifier, {share:.1f} %; the limit is "
                f"{guard.max_unusable_percent:g} % (guard.max_unusable_percent)"
            )
    figures = {f"without_identifier_{name}": count for name, count in without.items()}
    return _result(key, USABLE_IDENTIFIERS, worst, "; ".join(words), members=snapshot.members, **figures)


def guard_passed(key: dg.AssetKey, report: SyncReport) -> dg.AssetCheckResult:
    planned = report.planned
    return _result(key, REMOVAL_GUARD, Severity.OK, planned.in_words(), planned_removed=planned.removed)


def guard_blocked(key: dg.AssetKey, error: GuardBlocked) -> dg.AssetCheckResult:
    return _result(key, REMOVAL_GUARD, Severity.CRITICAL, f"{error.message}\n{error.remedy}", plan_digest=error.digest)


def rejection_rate(key: dg.AssetKey, sync: SyncConfig, report: SyncReport) -> dg.AssetCheckResult:
    rejected = report.rejected_now
    share = 100 * rejected / report.in_audience if report.in_audience else 0.0
    severity = sync.limits.rejected_percent.severity(share)
    words = f"{rejected:,} of {report.in_audience:,} members are rejected, {share:.1f} %"
    if report.rejections:
        words += f"; most of them: {report.rejections[0].reason}"
    return _result(key, REJECTION_RATE, severity, words, rejected=rejected, rejected_percent=round(share, 2))


def identifiers_check(key: dg.AssetKey, sync: SyncConfig, reach: Reach | None) -> dg.AssetCheckResult:
    """How much of the audience the platform can find, by field and reason; as bad as the worst of it."""
    if reach is None:
        return _result(key, IDENTIFIERS, Severity.OK, "nothing was planned from the audience")
    worst = sync.limits.unreachable_percent.severity(reach.unreachable_percent)
    words = [f"{reach.unreachable:,} of {reach.members:,} members have no usable identifier"]
    for field in reach.fields:
        severity = sync.limits.refused_percent.severity(reach.refused_percent(field))
        if field.identifier and severity is not Severity.OK:
            worst = max(worst, severity, key=lambda each: each.rank)
            often = ", ".join(f"{code.lower().replace('_', ' ')} {count:,}" for code, count in field.refused.items())
            words.append(f"{reach.refused_percent(field):.1f} % of the values of {field.field} are refused: {often}")
    return _result(
        key,
        IDENTIFIERS,
        worst,
        "; ".join(words),
        members=reach.members,
        unreachable=reach.unreachable,
        unreachable_percent=round(reach.unreachable_percent, 2),
        identifiers=reach_table(reach),
    )


def match_rate_check(key: dg.AssetKey, sync: SyncConfig, rate: "MatchRate | None") -> dg.AssetCheckResult:
    if rate is None:
        return _result(key, MATCH_RATE, Severity.OK, "the platform has not told a size yet")
    figures = {"match_rate_percent": round(rate.now, 1)}
    if rate.usual is None:
        words = f"{rate.now:.1f} % of the accepted members are matched; too early to say what is usual"
        return _result(key, MATCH_RATE, Severity.OK, words, **figures)
    severity = sync.limits.match_rate_drop_percent.severity(rate.drop_percent)
    words = f"{rate.now:.1f} % of the accepted members are matched; usual are {rate.usual:.1f} %"
    return _result(key, MATCH_RATE, severity, words, usual_percent=round(rate.usual, 1), **figures)


def fresh(key: dg.AssetKey) -> dg.AssetCheckResult:
    return _result(key, FRESHNESS, Severity.OK, "in time")


def freshness(key: dg.AssetKey, status: "SyncStatus") -> dg.AssetCheckResult:
    """Of a sync that is paused, or run by hand, nothing is late."""
    late = status.overdue_since
    if late is None:
        return fresh(key)
    return _result(key, FRESHNESS, Severity.WARNING, f"a run was due at {late:%Y-%m-%d %H:%M} UTC and has not begun")


def syncs_check(key: dg.AssetKey, statuses: Sequence["SyncStatus"]) -> dg.AssetCheckResult:
    """The Syncs table of one audience; as bad as its worst sync. A paused sync, or one that never ran, is no fault."""
    states = {status.status.value for status in statuses}
    words = [f"{status.sync} {status.status.value}" for status in statuses if status.status.value in (*_BAD, "warning")]
    return dg.AssetCheckResult(
        passed=not words,
        asset_key=key,
        check_name=SYNCS,
        severity=dg.AssetCheckSeverity.ERROR if states & {*_BAD} else dg.AssetCheckSeverity.WARN,
        description=", ".join(words) or counted(statuses),
        metadata=syncs_table(statuses),
    )


_BAD = ("failed", "blocked")


def evaluation_of(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """The event of a result, for those that are not answers of the step they come from."""
    assert result.asset_key is not None
    assert result.check_name is not None
    return dg.AssetCheckEvaluation(
        asset_key=result.asset_key,
        check_name=result.check_name,
        passed=bool(result.passed),
        severity=result.severity,
        description=result.description,
        metadata=dict(result.metadata),
    )


def log_check(context: dg.OpExecutionContext | dg.AssetExecutionContext, result: dg.AssetCheckResult) -> None:
    """Puts a result on its asset's page, from the step of something else."""
    # Taken since Dagster 1.5; the annotation does not say so.
    context.log_event(evaluation_of(result))  # type: ignore[arg-type]


def _result(
    key: dg.AssetKey,
    name: str,
    severity: Severity,
    description: str,
    **figures: int | float | str | dg.MetadataValue[Any],
) -> dg.AssetCheckResult:
    metadata: Metadata = {}
    for label, value in figures.items():
        if isinstance(value, dg.MetadataValue):
            metadata[label] = value
        elif isinstance(value, str):
            metadata[label] = dg.MetadataValue.text(value)
        else:
            metadata[label] = dg.MetadataValue.float(value) if isinstance(value, float) else dg.MetadataValue.int(value)
    return dg.AssetCheckResult(
        passed=severity is Severity.OK,
        asset_key=key,
        check_name=name,
        severity=dg.AssetCheckSeverity.WARN if severity is Severity.WARNING else dg.AssetCheckSeverity.ERROR,
        description=description,
        metadata=metadata,
    )


def build_audit(
    key: dg.AssetKey, audience: AudienceConfig, sync: SyncConfig, source: SourceConfig, destination: DestinationConfig
) -> dg.AssetChecksDefinition:
    """The check ``destination_audit``: the list as the platform tells it, against the ledger.

    A warning, never an error: the list may have been changed by somebody who was free to do so, and a platform may take
    a while to tell of what it accepted. Reading a long list takes long, so the sync's own job leaves it out.
    """

    @dg.asset_check(
        asset=key,
        name=AUDIT,
        description="Reads the list back from the platform and compares it with what it has accepted.",
    )
    def audit() -> dg.AssetCheckResult:
        from audience_syncs.destinations.registry import open_destination
        from audience_syncs.engine.audit import audit_sync
        from audience_syncs.warehouse import open_warehouse

        with reported_to_dagster(sync), open_warehouse(source, os.environ) as warehouse:
            report = audit_sync(audience, sync, open_destination(destination, os.environ), warehouse)
        return dg.AssetCheckResult(
            passed=report.passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=report.difference or "The list is what the platform accepted.",
            metadata=audit_metadata(report),
        )

    return audit
