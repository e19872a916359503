"""The pools of destinations' accounts, sized as their definitions say; what a person set in Dagster goes before it."""

from __future__ import annotations

from collections.abc import MutableMapping

import dagster as dg

from audience_syncs.components.names import pool_name
from audience_syncs.project import Project


def size_pools(instance: dg.DagsterInstance, project: Project, ours: MutableMapping[str, str]) -> None:
    """Sets the limit of each pool. ``ours``: the limits as we set them last; one that is another now was set by a person."""
    storage = instance.event_log_storage
    if not storage.supports_global_concurrency_limits:
        return
    limits = {pool.name: pool for pool in storage.get_pool_limits()}
    for destination in project.destinations.values():
        pool, wanted = pool_name(destination.name), destination.concurrent_syncs
        remembered = f"pool {pool}"
        limit = limits.get(pool)
        if limit is None or limit.from_default or str(limit.limit) == ours.get(remembered):
            if limit is None or limit.from_default or limit.limit != wanted:
                storage.set_concurrency_slots(pool, wanted)
            ours[remembered] = str(wanted)
