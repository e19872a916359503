"""What things are called in Dagster. People see these names, and the switches and pools hang on them."""

from __future__ import annotations

import dagster as dg
from dagster._core.storage.tags import MAX_RETRIES_TAG, PRIORITY_TAG


def audience_key(audience: str) -> dg.AssetKey:
    """The audience's asset."""
    return dg.AssetKey(["audiences", audience])


def sync_key(audience: str, sync: str) -> dg.AssetKey:
    """The sync's asset."""
    return dg.AssetKey(["syncs", audience, sync])


def job_name(audience: str, sync: str) -> str:
    """The job that refreshes the audience and runs the sync."""
    return f"sync__{audience}__{sync}"


def trigger_name(audience: str, sync: str) -> str:
    """The sync's schedule or sensor; its switch pauses and resumes the sync."""
    return f"schedule__{audience}__{sync}"


def pool_name(destination: str) -> str:
    """The pool of a destination's account: how many of its syncs run at once (``dagster.yaml``)."""
    return f"destination__{destination}"


def queue_tags(priority: int, retries: int) -> dict[str, str]:
    """Dagster's tags for a run's place in the queue, and for how often it is started again when its process died."""
    return {PRIORITY_TAG: str(priority), MAX_RETRIES_TAG: str(retries)}


def sequence_job_name(sequence: str) -> str:
    """The job that runs a sequence's syncs one after the other."""
    return f"sequence__{sequence}"


def sequence_trigger_name(sequence: str) -> str:
    """The sequence's schedule or sensor; its switch pauses the sequence."""
    return f"sequence_schedule__{sequence}"
