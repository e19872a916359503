"""The sensor that watches all syncs: it writes the Syncs tables, asks for matched users, raises and clears alerts.

Everything fits a tick: one query per source for the statuses, and a few seconds for the platforms; what does not fit comes
next time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg

from audience_syncs.components.figures import Metadata, matched_metadata, syncs_table
from audience_syncs.components.names import audience_key, sync_key
from audience_syncs.project import Project

if TYPE_CHECKING:
    from audience_syncs.health.matched import MatchedReading
    from audience_syncs.health.status import SyncStatus
    from audience_syncs.model.values import SyncRun

OVERVIEW = dg.AssetKey(["syncs_overview"])
SECONDS_BETWEEN_TICKS = 60
SECONDS_FOR_PLATFORMS = 3.0
"""Some ten sizes in each tick, and so 600 an hour; more would keep the daemon from its other sensors."""


def build_overview(project: Project) -> dg.Definitions:
    """The asset ``syncs_overview``, which shows every sync, and the sensor ``sync_health``, which keeps it true."""
    if not any(audience.syncs for audience in project.audiences.values()):
        return dg.Definitions()
    overview = dg.AssetSpec(
        OVERVIEW,
        description="Every sync: its status, last run, frequency, matched users. Kept up to date by the sensor `sync_health`.",
        group_name="overview",
        kinds={"table"},
        deps=[sync_key(audience.name, sync.key) for audience in project.audiences.values() for sync in audience.syncs],
    )

    @dg.sensor(
        name="sync_health",
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Watches all syncs: writes the Syncs tables, asks the platforms for matched users, raises and clears alerts.",
    )
    def sync_health(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        watch = _Watch(project, context)
        return watch.tick()

    return dg.Definitions(assets=[overview], sensors=[sync_health])


class _Watch:
    """One tick."""

    def __init__(self, project: Project, context: dg.SensorEvaluationContext) -> None:
        self._project = project
        self._context = context
        self._shown: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        self._now = datetime.now(UTC)

    def tick(self) -> dg.SensorResult:
        from audience_syncs.health.status import sync_statuses
        from audience_syncs.health.switches import switches
        from audience_syncs.model.errors import AudienceSyncsError
        from audience_syncs.warehouse import open_warehouse
        from audience_syncs.warehouse.state import State

        readings: list[MatchedReading] = []
        runs: dict[str, SyncRun] = {}
        with ExitStack() as opened:
            for source in self._project.sources.values():
                try:
                    warehouse = opened.enter_context(open_warehouse(source, os.environ))
                    state = State(warehouse)
                    if not state.exists():
                        continue
                    state.prepare()
                    readings += self._refresh(source.name, warehouse)
                    runs |= state.last_runs(self._project.sync_ids(source.name))
                except AudienceSyncsError as error:
                    # One source that is down must not hide the others.
                    self._context.log.warning(str(error))
        statuses = sync_statuses(self._project, runs, switches(self._context.instance, self._project), now=self._now)
        events = [*self._readings(readings), *self._tables(statuses)]
        return dg.SensorResult(asset_events=events, cursor=json.dumps(self._shown))

    def _refresh(self, source: str, warehouse) -> list[MatchedReading]:  # type: ignore[no-untyped-def]
        from audience_syncs.health.matched import refresh_matched

        found = refresh_matched(
            self._project, source, warehouse, os.environ, now=self._now, stop_after_s=SECONDS_FOR_PLATFORMS
        )
        return list(found)

    def _readings(self, readings: Sequence[MatchedReading]) -> list[dg.AssetObservation]:
        events = []
        for reading in readings:
            if reading.error:
                self._context.log.warning(f"{reading.sync}: matched users are not known: {reading.error}")
                continue
            audience, _, sync = reading.sync.partition("/")
            events.append(dg.AssetObservation(sync_key(audience, sync), metadata=matched_metadata(reading)))
        return events

    def _tables(self, statuses: Sequence[SyncStatus]) -> list[dg.AssetObservation]:
        """The Syncs table of each audience, and of all; only those that say something new."""
        by_audience: dict[str, list[SyncStatus]] = {}
        for status in statuses:
            by_audience.setdefault(status.audience, []).append(status)
        tables = {audience_key(name): syncs_table(rows) for name, rows in by_audience.items()}
        tables[OVERVIEW] = syncs_table(statuses)
        before, self._shown = self._shown, {key.to_user_string(): _digest(table) for key, table in tables.items()}
        return [
            dg.AssetObservation(key, metadata=table)
            for key, table in tables.items()
            if self._shown[key.to_user_string()] != before.get(key.to_user_string())
        ]


def _digest(table: Metadata) -> str:
    return hashlib.sha256(repr(table).encode()).hexdigest()[:16]
