"""Reading the state tables, and making them: one place for what others ask about snapshots and runs."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.model.errors import SourceError
from audience_syncs.model.reach import Reach
from audience_syncs.model.values import Column, MatchedUsers, RejectionCount, RunStatus, Snapshot, SplitSizes, SyncRun
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.migrations import migrate
from audience_syncs.warehouse.tables import STATE_VERSION, StateTables


class State:
    """What we remember in one warehouse."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse
        self._tables = warehouse.tables

    def exists(self) -> bool:
        """Whether the state tables are there."""
        with self._warehouse.connect() as connection:
            return sa.inspect(connection).has_table("state_version", schema=self._tables.schema)

    def prepare(self) -> None:
        """Makes the schema and the tables where they are missing, and brings old ones up to date.

        Safe to repeat and to do at the same time twice.

        Raises SourceError when the tables were made by a newer version of this software, or when we may not write.
        """
        warehouse = self._warehouse
        with warehouse.connect() as connection:
            if self._version(connection) == STATE_VERSION:
                return
            try:
                warehouse.dialect.lock_for_transaction(connection, f"{self._tables.schema} prepare")
                if not sa.inspect(connection).has_schema(self._tables.schema):
                    # Only then: IF NOT EXISTS asks for the right to make schemas even where there is nothing to make.
                    connection.execute(sa.schema.CreateSchema(self._tables.schema, if_not_exists=True))
                found = self._version(connection)  # again: another process may have been here while we waited
                self._tables.metadata.create_all(connection)
                if found is None:
                    connection.execute(sa.insert(self._tables.state_version).values(version=STATE_VERSION))
                elif found < STATE_VERSION:
                    migrate(connection, self._tables.schema, found, STATE_VERSION)
                    connection.execute(sa.update(self._tables.state_version).values(version=STATE_VERSION))
                connection.commit()
            except sa.exc.ProgrammingError as error:
                raise SourceError(
                    f"cannot make the state tables in schema {self._tables.schema!r}: {type(error.orig).__name__}",
                    remedy=f"let the source's user create that schema, or make it: CREATE SCHEMA {self._tables.schema} "
                    "AUTHORIZATION <user>",
                ) from None

    def prepare_within(self, connection: sa.Connection) -> None:
        """Makes the tables where there are none, in a transaction that the caller rolls back.

        Raises SourceError for tables of another version: bringing them up to date would keep everybody else waiting.
        """
        found = self._version(connection)
        if found is None:
            if not sa.inspect(connection).has_schema(self._tables.schema):
                connection.execute(sa.schema.CreateSchema(self._tables.schema, if_not_exists=True))
            self._tables.metadata.create_all(connection)
        elif found < STATE_VERSION:
            raise SourceError(
                f"the state tables are of version {found}, and this software keeps version {STATE_VERSION}",
                remedy="the first run of any sync with this version brings them up to date; plan after it",
            )

    def _version(self, connection: sa.Connection) -> int | None:
        if not sa.inspect(connection).has_table("state_version", schema=self._tables.schema):
            return None
        found = connection.scalar(sa.select(sa.func.max(self._tables.state_version.c.version)))
        if found is not None and found > STATE_VERSION:
            raise SourceError(
                f"the state tables are of version {found}, this software knows version {STATE_VERSION}",
                remedy="upgrade audience-syncs",
            )
        return None if found is None else int(found)

    def latest_snapshot(
        self, audience: str, *, partitioned: bool = False, day: str | None = None, before: datetime | None = None
    ) -> Snapshot | None:
        """The newest evaluation of the audience whose rows are kept, or None.

        Of a partitioned audience, that of the latest day, or of the ``day`` given. ``before``: evaluated before that.
        """
        with self._warehouse.connect() as connection:
            return latest_snapshot(connection, self._tables, audience, partitioned=partitioned, day=day, before=before)

    def last_runs(self, syncs: Collection[str]) -> dict[str, SyncRun]:
        """The latest run of each of these syncs that ever ran, by sync."""
        runs = self._tables.sync_runs
        latest = newest_of(syncs, lambda sync: sa.select(sa.func.max(runs.c.id)).where(runs.c.sync == sync))
        return {run.sync: run for run in self._runs(sa.select(runs).where(runs.c.id.in_(sa.select(latest.c.newest))))}

    def last_good_runs(self, syncs: Collection[str]) -> dict[str, SyncRun]:
        """The latest run of each of these syncs that changed or confirmed its list, by sync.

        The row of a run under way, or of one that failed early, has no figures yet.
        """
        runs = self._tables.sync_runs
        latest = newest_of(syncs, lambda sync: _newest_good(runs, runs.c.id, sync))
        return {run.sync: run for run in self._runs(sa.select(runs).where(runs.c.id.in_(sa.select(latest.c.newest))))}

    def runs(self, sync: str, limit: int = 20) -> list[SyncRun]:
        """The latest runs of a sync, newest first."""
        runs = self._tables.sync_runs
        return self._runs(sa.select(runs).where(runs.c.sync == sync).order_by(runs.c.id.desc()).limit(limit))

    def rejections(self, sync: str) -> tuple[RejectionCount, ...]:
        """Members now rejected, by reason, most frequent first."""
        with self._warehouse.connect() as connection:
            return rejections_by_reason(connection, self._tables, sync)

    def _runs(self, query: sa.Select[tuple[object, ...]]) -> list[SyncRun]:
        with self._warehouse.connect() as connection:
            rows = connection.execute(query).mappings().all()
            syncs = {row["sync"] for row in rows}
            matched = self._latest_matched(connection, syncs)
            good = self._last_good(connection, syncs)
        return [sync_run_from_row(row, matched.get(row["sync"]), good.get(row["sync"])) for row in rows]

    def _last_good(self, connection: sa.Connection, syncs: Collection[str]) -> dict[str, datetime]:
        runs = self._tables.sync_runs
        good = newest_of(syncs, lambda sync: _newest_good(runs, runs.c.finished_at, sync))
        return {row[0]: row[1] for row in connection.execute(sa.select(good).where(good.c.newest.is_not(None)))}

    def _latest_matched(self, connection: sa.Connection, syncs: Collection[str]) -> dict[str, MatchedUsers]:
        matched = self._tables.matched_users
        newest = newest_of(syncs, lambda sync: sa.select(sa.func.max(matched.c.as_of)).where(matched.c.sync == sync))
        query = sa.select(matched).join(
            newest, sa.and_(matched.c.sync == newest.c.sync, matched.c.as_of == newest.c.newest)
        )
        return {
            row["sync"]: MatchedUsers(row["lower"], row["upper"], row["as_of"], row["exact"], row["note"])
            for row in connection.execute(query).mappings()
        }


def _newest_good(runs: sa.Table, value: sa.ColumnElement[Any], sync: sa.ColumnElement[str]) -> sa.Select[Any]:
    good = runs.c.status.in_([RunStatus.SUCCEEDED, RunStatus.WARNING])
    return sa.select(value).where(runs.c.sync == sync, good).order_by(runs.c.id.desc()).limit(1)


def newest_of(syncs: Collection[str], newest: Callable[[sa.ColumnElement[str]], sa.Select[Any]]) -> sa.Subquery:
    """``sync`` and ``newest``: for each sync the one value that the query made for it finds, or null.

    One look into an index for each sync. A GROUP BY would read the whole history, which grows with every run.
    """
    named = sa.values(sa.column("sync", sa.Text), name="named").data([(sync,) for sync in syncs] or [(None,)])
    return sa.select(named.c.sync, newest(named.c.sync).scalar_subquery().label("newest")).subquery()


def latest_snapshot(
    connection: sa.Connection,
    tables: StateTables,
    audience: str,
    *,
    partitioned: bool = False,
    day: str | None = None,
    before: datetime | None = None,
) -> Snapshot | None:
    """As ``State.latest_snapshot``, in the connection's transaction."""
    snapshots = tables.snapshots
    query = sa.select(snapshots).where(
        snapshots.c.audience == audience,
        snapshots.c.table_name.is_not(None),
        snapshots.c.partition_key.is_not(None) if partitioned else snapshots.c.partition_key.is_(None),
    )
    if partitioned and day is not None:
        query = query.where(snapshots.c.partition_key == day)
    if before is not None:
        query = query.where(snapshots.c.evaluated_at < before)
    newest = query.order_by(snapshots.c.partition_key.desc(), snapshots.c.id.desc()).limit(1)
    row = connection.execute(newest).mappings().one_or_none()
    return None if row is None else snapshot_from_row(row)


def latest_snapshots(
    connection: sa.Connection, tables: StateTables, audiences: Collection[str], *, partitioned: bool = False
) -> list[Snapshot]:
    """As ``latest_snapshot``, for many audiences at once; those that were never evaluated are not in it."""
    snapshots = tables.snapshots
    of_kind = snapshots.c.partition_key.is_not(None) if partitioned else snapshots.c.partition_key.is_(None)
    latest = newest_of(
        audiences,
        lambda audience: (
            sa.select(snapshots.c.id)
            .where(snapshots.c.audience == audience, snapshots.c.table_name.is_not(None), of_kind)
            .order_by(snapshots.c.partition_key.desc(), snapshots.c.id.desc())
            .limit(1)
        ),
    )
    query = sa.select(snapshots).where(snapshots.c.id.in_(sa.select(latest.c.newest))).order_by(snapshots.c.audience)
    return [snapshot_from_row(row) for row in connection.execute(query).mappings()]


def snapshot_from_row(row: sa.RowMapping) -> Snapshot:
    """A row of ``snapshots`` as a value."""
    return Snapshot(
        id=row["id"],
        audience=row["audience"],
        evaluated_at=row["evaluated_at"],
        members=row["members"],
        entered=row["entered"],
        exited=row["exited"],
        columns=tuple(Column(**column) for column in row["columns"]),
        primary_key=row["primary_key"],
        sql=row["sql"],
        table=row["table_name"],
        partition=row["partition_key"],
        source_as_of=row["source_as_of"],
        duration_s=row["duration_s"],
        split=SplitSizes.from_json(row["split"]) if row["split"] else None,
    )


def sync_run_from_row(row: sa.RowMapping, matched: MatchedUsers | None, last_good_at: datetime | None) -> SyncRun:
    """A row of ``sync_runs`` as a value."""
    return SyncRun(
        sync=row["sync"],
        run_id=row["run_id"],
        status=RunStatus(row["status"]),
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        in_audience=row["in_audience"],
        delivered=row["delivered"],
        accepted=row["accepted"],
        added=row["added"],
        updated=row["updated"],
        removed=row["removed"],
        rejected=row["rejected"],
        matched_lower=matched.lower if matched else None,
        matched_upper=matched.upper if matched else None,
        matched_as_of=matched.as_of if matched else None,
        last_good_at=last_good_at,
        list_id=row["list_id"],
        list_name=row["list_name"],
        list_url=row["list_url"],
        plan_digest=row["plan_digest"],
        error=row["error"],
        retryable=row["retryable"],
        unknown=row["unknown"],
        requests=row["requests"],
        reach=Reach.from_json(row["reach"]) if row["reach"] else None,
        withheld=row["withheld"] or {},
    )


MOST_REASONS = 20


def rejections_by_reason(connection: sa.Connection, tables: StateTables, sync: str) -> tuple[RejectionCount, ...]:
    """Members now rejected, by reason, most frequent first; the ``MOST_REASONS`` most frequent reasons."""
    rejections = tables.rejections
    members = sa.func.count().label("members")
    query = (
        sa.select(rejections.c.reason_code, rejections.c.reason, members)
        .where(rejections.c.sync == sync)
        .group_by(rejections.c.reason_code, rejections.c.reason)
        .order_by(members.desc(), rejections.c.reason_code, rejections.c.reason)
        .limit(MOST_REASONS)
    )
    return tuple(RejectionCount(code, reason, int(count)) for code, reason, count in connection.execute(query))
