"""What a run reads and writes about itself: its record, the list it keeps, the four numbers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from audience_syncs.audiences.admission import Admitted
from audience_syncs.model.values import (
    RejectionCount,
    RemoteList,
    RunStatus,
    Snapshot,
    SyncReport,
)
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.state import rejections_by_reason
from audience_syncs.warehouse.tables import snapshot_table


@dataclass(frozen=True, slots=True)
class KnownList:
    """The list a sync keeps. ``wanted``: the id or name that the definitions gave when it was first used."""

    list: RemoteList
    wanted: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a sync after a run, of members in the audience."""

    delivered: int
    accepted: int
    rejections: tuple[RejectionCount, ...]


def open_run(connection: sa.Connection, warehouse: Warehouse, sync: str, run_id: str, started_at: datetime) -> int:
    """Records that a run has begun."""
    runs = warehouse.tables.sync_runs
    row = sa.insert(runs).values(sync=sync, run_id=run_id, status=RunStatus.RUNNING.value, started_at=started_at)
    record_id = int(connection.execute(row.returning(runs.c.id)).scalar_one())
    connection.commit()
    return record_id


def close_run(connection: sa.Connection, warehouse: Warehouse, record_id: int, report: SyncReport) -> None:
    """Records how the run ended."""
    runs = warehouse.tables.sync_runs
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == record_id)
        .values(
            status=report.status.value,
            finished_at=report.finished_at,
            snapshot_id=report.snapshot_id,
            plan_digest=report.plan_digest,
            in_audience=report.in_audience,
            delivered=report.delivered,
            accepted=report.accepted,
            added=report.added,
            updated=report.updated,
            removed=report.removed,
            rejected=sum(count.members for count in report.rejections),
            retryable=report.retryable,
            unknown=report.unknown,
            recovered=report.recovered,
            requests=report.requests,
            list_id=report.list.id if report.list else None,
            list_name=report.list.name if report.list else None,
            list_url=report.list.url if report.list else None,
            error=report.error,
            reach=report.reach.to_json() if report.reach is not None else sa.null(),
            withheld=dict(report.withheld) if report.withheld else sa.null(),
        )
    )
    connection.commit()


def close_failed_run(
    connection: sa.Connection, warehouse: Warehouse, record_id: int, error: str, finished_at: datetime
) -> None:
    """Records a run that failed before there was anything to report."""
    runs = warehouse.tables.sync_runs
    connection.execute(
        sa.update(runs)
        .where(runs.c.id == record_id)
        .values(status=RunStatus.FAILED.value, finished_at=finished_at, error=error)
    )
    connection.commit()


def mark_interrupted(connection: sa.Connection, warehouse: Warehouse, sync: str, record_id: int, now: datetime) -> None:
    """Earlier runs of this sync that never recorded their end: we hold the lock, so their processes are dead."""
    runs = warehouse.tables.sync_runs
    connection.execute(
        sa.update(runs)
        .where(runs.c.sync == sync, runs.c.id < record_id, runs.c.status == RunStatus.RUNNING.value)
        .values(
            status=RunStatus.INTERRUPTED.value,
            finished_at=now,
            error="the run's process ended without a word; what it left open was settled by the next run",
        )
    )
    connection.commit()


def unsettled_plans(connection: sa.Connection, warehouse: Warehouse, sync: str) -> list[int]:
    """Sealed plans of earlier runs, oldest first."""
    plans = warehouse.tables.plans
    query = sa.select(plans.c.id).where(plans.c.sync == sync, plans.c.status == "sealed").order_by(plans.c.id)
    found = [int(plan_id) for plan_id in connection.scalars(query)]
    connection.rollback()
    return found


def known_list(connection: sa.Connection, warehouse: Warehouse, sync: str) -> KnownList | None:
    """The list the sync has kept so far."""
    lists = warehouse.tables.lists
    row = connection.execute(sa.select(lists).where(lists.c.sync == sync)).mappings().one_or_none()
    if row is None:
        return None
    return KnownList(RemoteList(row["list_id"], row["name"], row["url"]), row["wanted"])


def keep_list(
    connection: sa.Connection, warehouse: Warehouse, sync: str, wanted: str, found: RemoteList, now: datetime
) -> None:
    """Remembers the list, by its id, so that renaming it at the platform changes nothing."""
    lists = warehouse.tables.lists
    values = {"list_id": found.id, "wanted": wanted, "name": found.name, "url": found.url}
    updated = connection.execute(sa.update(lists).where(lists.c.sync == sync).values(values))
    if updated.rowcount == 0:
        connection.execute(sa.insert(lists).values(sync=sync, created_by_us=found.created, first_used_at=now, **values))
    connection.commit()


def numbers(
    connection: sa.Connection, warehouse: Warehouse, sync: str, snapshot: Snapshot, admitted: Admitted
) -> Numbers:
    """Delivered and accepted, of the members of the snapshot whom the sync sends; rejections by reason."""
    ledger = warehouse.tables.ledger
    members = snapshot_table(warehouse.schema, snapshot.table, ())
    in_audience: sa.ColumnElement[bool] = sa.exists().where(members.c["_member_key"] == ledger.c.member_key)
    kept_out = admitted.kept_out(ledger.c.member_key)
    if kept_out is not None:
        in_audience = sa.and_(in_audience, ~kept_out)
    delivered, accepted = connection.execute(
        sa.select(
            sa.func.count().filter(ledger.c.delivered_at.is_not(None)),
            sa.func.count().filter(ledger.c.state == "accepted"),
        )
        .select_from(ledger)
        .where(ledger.c.sync == sync, in_audience)
    ).one()
    return Numbers(int(delivered), int(accepted), rejections_by_reason(connection, warehouse.tables, sync))
