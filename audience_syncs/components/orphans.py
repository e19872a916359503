"""Runs whose process died together with the code location that had started it.

Where runs are children of the code location (Dagster's default launcher, as in Docker Compose), Dagster learns of a run that
died from that code location. When its whole container or machine goes, nobody tells: the run stays `started` for ever, and
the sync's next run waits behind it. So whoever starts the code location, says so first. On Kubernetes a run is a job of its
own, and run monitoring sees to it.
"""

from __future__ import annotations

from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

WORDS = "The run's process died together with its code location. The next run of the sync settles what it left."


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
