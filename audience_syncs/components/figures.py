"""Snapshots, reports and errors as Dagster shows them: numbers as numbers, so that it plots them over time.

Nothing here may carry personal data: previews come masked, reasons come without identifiers, and the words of a
database driver, which may quote a row, are left out.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from audience_syncs.model.errors import (
    AudienceSyncsError,
    DestinationError,
    GuardBlocked,
    NoAnswer,
    NotApplied,
    SourceError,
    SyncLocked,
)
from audience_syncs.model.reach import Reach
from audience_syncs.model.values import MatchedUsers, Progress, RejectionCount, Snapshot, SplitSizes, SyncReport

if TYPE_CHECKING:
    from audience_syncs.engine import PlanPreview
    from audience_syncs.engine.audit import AuditReport
    from audience_syncs.health.matched import MatchedReading
    from audience_syncs.health.status import SyncStatus
    from audience_syncs.model.config import SyncConfig

Metadata = dict[str, dg.MetadataValue]

_SECONDS_BETWEEN_LINES = 10.0

# Those that may pass by themselves. Another try of what needs a person would only repeat the message.
_PASSING = (SourceError, NotApplied, NoAnswer, SyncLocked)


class ProgressLog:
    """Writes progress as log lines: each step once, and a long one every ten seconds."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write = write
        self._clock = clock
        self._step = ""
        self._written_at = 0.0

    def __call__(self, progress: Progress) -> None:
        now = self._clock()
        if progress.step == self._step and now - self._written_at < _SECONDS_BETWEEN_LINES:
            return
        self._step, self._written_at = progress.step, now
        if progress.total is not None:
            self._write(f"{progress.step}: {progress.done:,} of {progress.total:,}")
        elif progress.done:
            self._write(f"{progress.step}: {progress.done:,}")
        else:
            self._write(progress.step)


def snapshot_metadata(snapshot: Snapshot) -> Metadata:
    """What an evaluation shows on the audience's asset."""
    metadata: Metadata = {
        "dagster/row_count": dg.MetadataValue.int(snapshot.members),
        "members": dg.MetadataValue.int(snapshot.members),
        "entered": dg.MetadataValue.int(snapshot.entered),
        "exited": dg.MetadataValue.int(snapshot.exited),
        "snapshot": dg.MetadataValue.int(snapshot.id),
        "evaluated_at": dg.MetadataValue.timestamp(snapshot.evaluated_at),
        "duration_s": dg.MetadataValue.float(round(snapshot.duration_s, 3)),
        "dagster/column_schema": dg.MetadataValue.table_schema(
            dg.TableSchema(
                columns=[
                    dg.TableColumn(
                        column.name,
                        column.type,
                        description="The primary key." if column.name == snapshot.primary_key else None,
                        tags={"pii": "true"} if column.personal else {},
                    )
                    for column in snapshot.columns
                ]
            )
        ),
        "sql": dg.MetadataValue.md(f"```sql\n{snapshot.sql.strip()}\n```"),
    }
    if snapshot.funnel:
        metadata["people"] = dg.MetadataValue.int(snapshot.people)
        metadata["funnel"] = _table(
            ["condition", "meet_it", "left_so_far"], [[s.condition, s.alone, s.left] for s in snapshot.funnel]
        )
    metadata |= split_metadata(snapshot.split)
    if snapshot.overlaps:
        rows: list[Sequence[str | int]] = [
            [o.audience, o.members, o.both, _percent(o.both, snapshot.members)] for o in snapshot.overlaps
        ]
        metadata["overlaps"] = _table(["audience", "members", "in_both", "of_this"], rows)
    if snapshot.preview:
        names = [column.name for column in snapshot.columns]
        metadata["preview_masked"] = _table(
            names, [[str(row.get(name, "")) for name in names] for row in snapshot.preview]
        )
    return metadata


def sync_metadata(report: SyncReport, sync: SyncConfig) -> Metadata:
    """What a run shows on the sync's asset: the four numbers, what changed, and what was refused."""
    metadata: Metadata = {
        "status": dg.MetadataValue.text(report.status.value),
        "in_audience": dg.MetadataValue.int(report.in_audience),
        "delivered": dg.MetadataValue.int(report.delivered),
        "accepted": dg.MetadataValue.int(report.accepted),
        "matched": dg.MetadataValue.text(matched_text(report.matched)),
        "added": dg.MetadataValue.int(report.added),
        "updated": dg.MetadataValue.int(report.updated),
        "removed": dg.MetadataValue.int(report.removed),
        "resent": dg.MetadataValue.int(report.resent),
        "rejected": dg.MetadataValue.int(report.rejected),
        "retryable": dg.MetadataValue.int(report.retryable),
        "unknown": dg.MetadataValue.int(report.unknown),
        "recovered": dg.MetadataValue.int(report.recovered),
        "requests": dg.MetadataValue.int(report.requests),
        "duration_s": dg.MetadataValue.float(round(report.duration_s, 3)),
        "frequency": dg.MetadataValue.text(sync.frequency),
        "snapshot": dg.MetadataValue.int(report.snapshot_id),
        "plan_digest": dg.MetadataValue.text(report.plan_digest),
    }
    if report.matched is not None:
        for name, bound in (("matched_lower", report.matched.lower), ("matched_upper", report.matched.upper)):
            if bound is not None:
                metadata[name] = dg.MetadataValue.int(bound)
    if report.list is not None:
        metadata["list"] = dg.MetadataValue.text(report.list.name)
        metadata["list_id"] = dg.MetadataValue.text(report.list.id)
        if report.list.url:
            metadata["list_link"] = dg.MetadataValue.url(report.list.url)
    if report.rejections:
        metadata["rejections_by_reason"] = _reasons(report.rejections)
    if report.dropped_values:
        metadata["dropped_values"] = _reasons(report.dropped_values)
    metadata |= withheld_metadata(report.withheld)
    if report.reach is not None:
        metadata["identifiers"] = reach_table(report.reach)
        metadata["unreachable"] = dg.MetadataValue.int(report.reach.unreachable)
    return metadata


def withheld_metadata(withheld: Mapping[str, int]) -> Metadata:
    """Members of the audience who are not sent, in all and by reason; nothing where everybody is sent."""
    if not withheld:
        return {}
    return {
        "kept_out": dg.MetadataValue.int(sum(withheld.values())),
        "kept_out_by_reason": _table(["reason", "members"], list(withheld.items())),
    }


def split_metadata(split: SplitSizes | None) -> Metadata:
    """The groups of a split, with their sizes."""
    if split is None:
        return {}
    members = sum(split.groups.values())
    rows: list[Sequence[str | int]] = [[name, count, _percent(count, members)] for name, count in split.groups.items()]
    return {"groups": _table(["group", "members", "share"], rows)}


def reach_table(reach: Reach) -> dg.TableMetadataValue:
    """A row for each mapped field: how many of the audience have a usable value, and why the others have none."""
    records = [
        dg.TableRecord(
            {
                "field": field.field,
                "identifier": field.identifier,
                "usable": reach.usable(field),
                "usable_percent": round(reach.usable_percent(field), 1),
                "missing": field.missing,
                "refused": sum(field.refused.values()),
                "reasons": ", ".join(f"{code}: {count:,}" for code, count in field.refused.items()),
            }
        )
        for field in reach.fields
    ]
    columns = [
        dg.TableColumn("field", "string"),
        dg.TableColumn("identifier", "bool", "Whether members are found by it."),
        dg.TableColumn("usable", "int"),
        dg.TableColumn("usable_percent", "float"),
        dg.TableColumn("missing", "int", "Null; told for identifiers only."),
        dg.TableColumn("refused", "int"),
        dg.TableColumn("reasons", "string"),
    ]
    return dg.MetadataValue.table(records, dg.TableSchema(columns))


MOST_ROWS = 100
MOST_LINKS = 20

_PROBLEMS = ("failed", "blocked", "warning")


def syncs_table(statuses: Sequence[SyncStatus]) -> Metadata:
    """The Syncs table: one row for each sync, in words; beside it what can be clicked.

    Of more syncs than fit, those with problems come first: a page shows many such tables, one for each change, and
    Dagster keeps them all.
    """
    # The first of them are all that a narrow page shows: is the audience at the platform?
    names = ["status", "sync", "accepted", "matched users", "last updated", "last run", "frequency", "in audience"]
    names += ["destination", "note"]
    ordered = statuses if len(statuses) <= MOST_ROWS else sorted(statuses, key=_rank)
    shown, left = ordered[:MOST_ROWS], ordered[MOST_ROWS:]
    rows = [
        [
            status.status.value,
            status.sync,
            _count(status.accepted),
            status.matched or "not known yet",
            _moment(status.last_updated),
            _moment(status.last_run),
            status.frequency,
            _count(status.in_audience),
            status.destination,
            status.note,
        ]
        for status in shown
    ]
    metadata: Metadata = {"syncs_in_words": dg.MetadataValue.text(counted(statuses))}
    metadata["syncs"] = _table(names, rows)
    if left:
        metadata["not_in_the_table"] = dg.MetadataValue.text(f"{counted(left)}: see `audience-syncs status`")
    for status in shown[:MOST_LINKS]:
        if status.list_url:
            metadata[f"list of {status.sync}"] = dg.MetadataValue.url(status.list_url)
    return metadata


def _rank(status: SyncStatus) -> int:
    """The place of a status in a table that is too long: the worst first, then as they are defined."""
    state = status.status.value
    return _PROBLEMS.index(state) if state in _PROBLEMS else len(_PROBLEMS)


def counted(statuses: Sequence[SyncStatus]) -> str:
    """``3 active, 1 blocked``."""
    counts = Counter(status.status.value for status in statuses)
    return ", ".join(f"{count:,} {state}" for state, count in sorted(counts.items()))


def _moment(at: datetime | None) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC" if at is not None else "never"


def _count(members: int | None) -> str:
    return "" if members is None else f"{members:,}"


def matched_metadata(reading: MatchedReading) -> Metadata:
    """Matched users as numbers, for the plots, with the platform's bounds and date in words."""
    metadata: Metadata = {"matched": dg.MetadataValue.text(matched_text(reading.matched))}
    metadata["accepted"] = dg.MetadataValue.int(reading.accepted)
    if reading.matched is not None:
        for name, bound in (("matched_lower", reading.matched.lower), ("matched_upper", reading.matched.upper)):
            if bound is not None:
                metadata[name] = dg.MetadataValue.int(bound)
        metadata["matched_as_of"] = dg.MetadataValue.timestamp(reading.matched.as_of)
    if reading.rate_percent is not None:
        metadata["match_rate_percent"] = dg.MetadataValue.float(round(reading.rate_percent, 1))
    return metadata


def plan_metadata(preview: PlanPreview) -> Metadata:
    """What a dry run shows: what would change. Nothing was sent."""
    counts = preview.counts
    metadata: Metadata = {
        "status": dg.MetadataValue.text("dry run: nothing was sent"),
        "in_audience": dg.MetadataValue.int(preview.in_audience),
        "held_at_destination": dg.MetadataValue.int(preview.holding),
        "would_add": dg.MetadataValue.int(counts.added),
        "would_update": dg.MetadataValue.int(counts.updated),
        "would_remove": dg.MetadataValue.int(counts.removed),
        "would_send_again": dg.MetadataValue.int(counts.resent),
        "without_identifier": dg.MetadataValue.int(counts.unusable),
        "batches": dg.MetadataValue.int(preview.requests),
        "snapshot": dg.MetadataValue.int(preview.snapshot_id),
        "plan_digest": dg.MetadataValue.text(preview.digest),
    }
    if preview.blocked:
        metadata["guard"] = dg.MetadataValue.text(f"would block it: {preview.blocked}")
    if preview.dropped_values:
        metadata["dropped_values"] = _reasons(preview.dropped_values)
    metadata |= withheld_metadata(preview.withheld)
    if preview.reach is not None:
        metadata["identifiers"] = reach_table(preview.reach)
    return metadata


def audit_metadata(report: AuditReport) -> Metadata:
    """What an audit shows: counts, where the platform tells them."""
    counts = {
        "accepted": report.accepted,
        "in_list": report.listed,
        "missing": report.missing,
        "others": report.others,
    }
    metadata: Metadata = {name: dg.MetadataValue.int(count) for name, count in counts.items() if count is not None}
    metadata["exact"] = dg.MetadataValue.bool(report.exact)
    if report.matched is not None:
        metadata["matched"] = dg.MetadataValue.text(matched_text(report.matched))
    if report.missing_keys:
        metadata["missing_examples"] = dg.MetadataValue.text(", ".join(report.missing_keys))
    return metadata


def matched_text(matched: MatchedUsers | None) -> str:
    """Matched users in words: ``1,000-1,100 (approximate, as of 2026-11-24 03:11 UTC)``."""
    if matched is None or (matched.lower is None and matched.upper is None):
        return "not known yet"
    lower, upper = matched.lower, matched.upper
    if lower is not None and upper is not None:
        number = f"{lower:,}" if lower == upper else f"{lower:,}-{upper:,}"
    else:
        number = f"at least {lower:,}" if lower is not None else f"at most {upper:,}"
    certainty = "" if matched.exact else "approximate, "
    note = f"; {matched.note}" if matched.note else ""
    return f"{number} ({certainty}as of {matched.as_of:%Y-%m-%d %H:%M} {matched.as_of.tzname() or 'UTC'}{note})"


@contextmanager
def reported_to_dagster(sync: SyncConfig | None = None) -> Iterator[None]:
    """Turns our errors into Dagster's failures, with the figures of the run where it came so far."""
    try:
        yield
    except AudienceSyncsError as error:
        raise failure_of(error, sync) from None
    except Exception as error:
        words = _database_words(error)
        if words is None:
            raise
        raise dg.Failure(description=words, allow_retries=True) from None


def failure_of(error: AudienceSyncsError, sync: SyncConfig | None = None) -> dg.Failure:
    """Dagster's failure for one of our errors. Retries only where trying again may help."""
    metadata: Metadata = {"error_code": dg.MetadataValue.text(error.code)}
    report = getattr(error, "report", None)
    if isinstance(report, SyncReport) and sync is not None:
        metadata |= sync_metadata(report, sync)
        planned = report.planned
        metadata |= {
            "planned_added": dg.MetadataValue.int(planned.added),
            "planned_updated": dg.MetadataValue.int(planned.updated),
            "planned_removed": dg.MetadataValue.int(planned.removed),
        }
    if isinstance(error, GuardBlocked):
        metadata["plan_digest"] = dg.MetadataValue.text(error.digest)
    passing = isinstance(error, _PASSING) or type(error) is DestinationError
    return dg.Failure(description=str(error), metadata=metadata, allow_retries=passing)


def _database_words(error: Exception) -> str | None:
    """A database driver's error without its words, which may quote a row; None for any other error."""
    import sqlalchemy as sa

    if not isinstance(error, sa.exc.SQLAlchemyError):
        return None
    original = getattr(error, "orig", None)
    state = getattr(original, "pgcode", None)
    kind = type(original if original is not None else error).__name__
    code = f", SQLSTATE {state}" if state else ""
    return (
        f"[DATABASE] the warehouse refused a statement ({kind}{code}); its message is left out because it may quote "
        "a row\n  What to do: look into the warehouse's own log at this time; if it was restarted, run again"
    )


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _reasons(counts: Sequence[RejectionCount]) -> dg.MetadataValue:
    return _table(["reason_code", "reason", "members"], [[c.reason_code, c.reason, c.members] for c in counts])


def _table(names: Sequence[str], rows: Sequence[Sequence[str | int]]) -> dg.MetadataValue:
    kinds = ["int" if rows and isinstance(rows[0][i], int) else "string" for i in range(len(names))]
    return dg.MetadataValue.table(
        records=[dg.TableRecord(dict(zip(names, row, strict=True))) for row in rows],
        schema=dg.TableSchema(columns=[dg.TableColumn(n, k) for n, k in zip(names, kinds, strict=True)]),
    )
