"""Runs whose process died together with the code location that had started it.

Where runs are children of the code location (Dagster's default launcher, as in Docker Compose), Dagster learns of a run that
died from that code location. When its whole container or machine goes, nobody tells: the run stays `started` for ever, and
the sync's next run waits behind it. So whoever starts the code location, says so first; and the sensor `sync_health` ends runs
that were delivering, wherever they ran: their lock in the warehouse died with them. On Kubernetes a run is a job of its own, and
run monitoring sees to it as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

from audience_syncs.model.values import RunStatus, SyncRun
from audience_syncs.warehouse import Warehouse
from audience_syncs.warehouse.state import State

WORDS = "The run's process died. The next run of the sync settles what it left."
PATIENCE = timedelta(minutes=2)
"""A run whose connection broke ends by itself in that time."""


def end_orphaned_runs(instance: DagsterInstance, location: str) -> list[str]:
    """Marks the runs of that code location that count as started as failed; answers their ids.

    Only to be called while no server of that code location runs. Dagster then retries them as ``run_retries`` says.
    """
    orphans = [
        run
        for run in instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED]))
        if run.remote_job_origin is not None
        and run.remote_job_origin.repository_origin.code_location_origin.location_name == location
    ]
    for run in orphans:
        instance.report_run_failed(run, WORDS)
    return [run.run_id for run in orphans]


def end_dead_runs(
    instance: DagsterInstance, warehouse: Warehouse, runs: Iterable[SyncRun], *, now: datetime
) -> list[str]:
    """Marks runs as failed that count as delivering, and of which nothing holds the sync's lock; answers their ids.

    Dagster then retries them as ``run_retries`` says.
    """
    ended = []
    for run in runs:
        if run.status is not RunStatus.RUNNING or now - run.started_at < PATIENCE:
            continue
        with warehouse.connect() as connection:
            if warehouse.dialect.is_locked(connection, warehouse.lock_of(run.sync)):
                continue
        # A run writes how it ended before it lets go of the lock.
        latest = State(warehouse).last_runs([run.sync]).get(run.sync)
        dagster_run = instance.get_run_by_id(run.run_id)
        if latest is None or (latest.run_id, latest.status) != (run.run_id, run.status) or dagster_run is None:
            continue
        if dagster_run.status is DagsterRunStatus.STARTED:
            instance.report_run_failed(dagster_run, WORDS)
        elif dagster_run.status is DagsterRunStatus.CANCELING:
            instance.report_run_canceled(dagster_run, WORDS)
        else:
            continue
        ended.append(run.run_id)
    return ended
