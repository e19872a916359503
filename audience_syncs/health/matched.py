"""Matched users, asked for again at each platform's pace: sizes come hours after the members."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from audience_syncs.destinations.contract import TellsMatchedUsers
from audience_syncs.destinations.registry import open_destination, spec_for
from audience_syncs.model.config import sync_id
from audience_syncs.model.errors import AudienceSyncsError
from audience_syncs.model.values import MatchedUsers
from audience_syncs.project import Project
from audience_syncs.warehouse import Warehouse
from audience_syncs.warehouse.matched import keep_matched


@dataclass(frozen=True, slots=True)
class MatchedReading:
    """One answer of a platform. ``accepted``: members it had accepted at that time."""

    sync: str
    accepted: int
    matched: MatchedUsers | None
    error: str = ""

    @property
    def rate_percent(self) -> float | None:
        """Matched of accepted, by the platform's lower bound; None while either is not known."""
        if self.matched is None or self.matched.lower is None or not self.accepted:
            return None
        return 100 * min(self.matched.lower, self.accepted) / self.accepted


def refresh_matched(
    project: Project,
    source: str,
    warehouse: Warehouse,
    environ: Mapping[str, str],
    *,
    now: datetime,
    stop_after_s: float,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[MatchedReading]:
    """Asks the platforms for the sizes of this source's lists that are due, the longest waiting first.

    Ends when it has taken ``stop_after_s``: what is left is asked for next time.
    """
    began = clock()
    names = {
        sync_id(audience, sync): sync
        for audience in project.audiences.values()
        if audience.source == source
        for sync in audience.syncs
        if sync.mode.family.has_list
    }
    for name, list_id, accepted, asked_at in _lists(warehouse):
        sync = names.get(name)
        if sync is None:
            continue
        account = project.destinations[sync.destination]
        if asked_at is not None and now - asked_at < spec_for(account).sizes_every:
            continue
        if clock() - began > stop_after_s:
            return
        try:
            destination = open_destination(account, environ)
            if not isinstance(destination, TellsMatchedUsers):
                continue
            matched = destination.matched_users(list_id)
        except AudienceSyncsError as error:
            yield MatchedReading(name, accepted, None, str(error))
            continue
        with warehouse.connect() as connection:
            keep_matched(connection, warehouse, name, matched, accepted)
        yield MatchedReading(name, accepted, matched)


def _lists(warehouse: Warehouse) -> list[tuple[str, str, int, datetime | None]]:
    """sync, list, members accepted, when its size was last asked for; the longest waiting first.

    Accepted as of the last run that had any: counting the ledgers of all syncs would read them whole.
    """
    tables = warehouse.tables
    lists, matched, runs = tables.lists, tables.matched_users, tables.sync_runs
    # For each list one look into an index: a GROUP BY would read all that ever ran.
    asked = sa.select(sa.func.max(matched.c.as_of)).where(matched.c.sync == lists.c.sync).scalar_subquery()
    accepted = (
        sa.select(runs.c.accepted)
        .where(runs.c.sync == lists.c.sync, runs.c.accepted > 0)
        .order_by(runs.c.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = sa.select(lists.c.sync, lists.c.list_id, sa.func.coalesce(accepted, 0), asked.label("asked_at")).order_by(
        sa.literal_column("asked_at").nulls_first()
    )
    with warehouse.connect() as connection:
        return [(str(row[0]), str(row[1]), int(row[2]), row[3]) for row in connection.execute(query)]
