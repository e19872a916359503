"""The sensor that watches all syncs: it writes the Syncs tables, asks for matched users, raises and clears alerts.

Everything fits a tick: one query per source for the statuses, and a few seconds for the platforms; what does not fit comes
next time.
"""

# Without postponed annotations: Dagster reads those of check functions.

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from audience_syncs.components.figures import counted, matched_metadata, reported_to_dagster, syncs_table
from audience_syncs.components.names import audience_key, sync_key
from audience_syncs.components.pools import size_pools
from audience_syncs.components.sync_checks import SYNCS, evaluation_of, freshness, match_rate_check, syncs_check
from audience_syncs.project import Project

if TYPE_CHECKING:
    from audience_syncs.health.matched import MatchedReading
    from audience_syncs.health.status import SyncStatus
    from audience_syncs.model.values import SyncRun
    from audience_syncs.warehouse import Warehouse

Event = dg.AssetObservation | dg.AssetCheckEvaluation

OVERVIEW = dg.AssetKey(["syncs_overview"])
SECONDS_BETWEEN_TICKS = int(os.environ.get("AUDIENCE_SYNCS_WATCH_EVERY_S", "60"))
SECONDS_FOR_PLATFORMS = 3.0
"""Some ten sizes in each tick, and so 600 an hour; more would keep the daemon from its other sensors."""
SECONDS_FOR_MESSAGES = 10.0
LAST_TICK = "last tick"
SLACK = timedelta(minutes=10)
"""A reading may be written down a while after its time; one that is looked at twice does no harm."""


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

    return dg.Definitions(assets=[overview], sensors=[sync_health], asset_checks=[_build_boards(project)])


def _build_boards(project: Project) -> dg.AssetChecksDefinition:
    """The check ``syncs`` of every audience: its Syncs table, and whether all is well with it.

    A check, because that is what an audience's page shows of what is not its own: whether it passes stands at the page's top,
    and an observation's metadata is hidden there by the materialisation's. One step for all of them, however many.
    """
    specs = [
        dg.AssetCheckSpec(SYNCS, asset=audience_key(audience.name), description="Every sync of this audience is well.")
        for audience in project.audiences.values()
        if audience.syncs
    ]

    @dg.multi_asset_check(name="syncs_of_audiences", specs=specs, can_subset=True)
    def boards(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        selected = {check.asset_key for check in context.selected_asset_check_keys}
        wanted = [audience for audience in project.audiences.values() if audience_key(audience.name) in selected]
        statuses = _statuses(project, context.instance, {audience.source for audience in wanted})
        by_audience = _by_audience(statuses)
        for audience in wanted:
            yield syncs_check(audience_key(audience.name), by_audience[audience.name])

    return boards


def _statuses(project: Project, instance: dg.DagsterInstance, sources: Collection[str]) -> list["SyncStatus"]:
    """As of now. Of the syncs of other sources than these, nothing is known."""
    from audience_syncs.health.status import sync_statuses
    from audience_syncs.health.switches import switches
    from audience_syncs.warehouse import open_warehouse
    from audience_syncs.warehouse.state import State

    runs: dict[str, SyncRun] = {}
    for name in sources:
        with reported_to_dagster(), open_warehouse(project.sources[name], os.environ) as warehouse:
            state = State(warehouse)
            if state.exists():
                state.prepare()
                runs |= state.last_runs(project.sync_ids(name))
    return sync_statuses(project, runs, switches(instance, project))


def _by_audience(statuses: Sequence["SyncStatus"]) -> dict[str, list["SyncStatus"]]:
    found: dict[str, list[SyncStatus]] = {}
    for status in statuses:
        found.setdefault(status.audience, []).append(status)
    return found


class _Watch:
    """One tick."""

    def __init__(self, project: Project, context: dg.SensorEvaluationContext) -> None:
        self._project = project
        self._context = context
        self._shown: dict[str, str] = json.loads(context.cursor) if context.cursor else {}
        self._now = datetime.now(UTC)
        self._rates: dict[str, list[float]] = {}

    def tick(self) -> dg.SensorResult:
        from audience_syncs.health.status import sync_statuses
        from audience_syncs.health.switches import switches
        from audience_syncs.model.errors import AudienceSyncsError
        from audience_syncs.warehouse import open_warehouse
        from audience_syncs.warehouse.state import State

        size_pools(self._context.instance, self._project, self._shown)
        readings: list[MatchedReading] = []
        runs: dict[str, SyncRun] = {}
        warehouses: dict[str, Warehouse] = {}
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
                    warehouses[source.name] = warehouse
                except AudienceSyncsError as error:
                    # One source that is down must not hide the others.
                    self._context.log.warning(str(error))
            switched = switches(self._context.instance, self._project)
            statuses = sync_statuses(self._project, runs, switched, now=self._now)
            alerts = self._alerts(warehouses, statuses, runs)
        events = [*self._readings(readings), *self._lateness(statuses), *self._tables(statuses, alerts)]
        words = f"{len(statuses):,} syncs: {counted(statuses)}"
        return dg.SensorResult(asset_events=events, cursor=json.dumps(self._shown), skip_reason=words)

    def _alerts(
        self, warehouses: Mapping[str, "Warehouse"], statuses: Sequence["SyncStatus"], runs: Mapping[str, "SyncRun"]
    ) -> dict[str, Any]:
        """Raises and clears alerts, sends what is to be said; answers what the overview shows of it."""
        from audience_syncs.health.match_rate import LOOK_BACK, match_rate
        from audience_syncs.health.outbox import send_messages, watch_alerts
        from audience_syncs.model.errors import AudienceSyncsError
        from audience_syncs.warehouse.alerts import unsent_messages
        from audience_syncs.warehouse.matched import match_rates

        last_tick = datetime.fromisoformat(self._shown.get(LAST_TICK, "1970-01-01T00:00:00+00:00"))
        self._shown[LAST_TICK] = self._now.isoformat()
        bad, unsent, failures = Counter[str](), 0, list[str]()
        for source, warehouse in warehouses.items():
            rows = [status for status in statuses if self._project.audiences[status.audience].source == source]
            newly_read = [
                status.sync
                for status in rows
                if (run := runs.get(status.sync)) is not None
                and run.matched_as_of is not None
                and run.matched_as_of > last_tick - SLACK
            ]
            try:
                with warehouse.connect() as connection:
                    self._rates |= match_rates(connection, warehouse, newly_read, since=self._now - LOOK_BACK)
                rates = {sync: match_rate(found) for sync, found in self._rates.items()}
                alerts = watch_alerts(self._project, warehouse, rows, runs, rates, at=self._now)
                failures += send_messages(self._project, warehouse, stop_after_s=SECONDS_FOR_MESSAGES)
                with warehouse.connect() as connection:
                    unsent += len(unsent_messages(connection, warehouse, since=self._now - timedelta(days=7)))
            except AudienceSyncsError as error:
                self._context.log.warning(str(error))
                continue
            bad.update(alert.severity.value for alert in alerts)
        for failure in failures:
            self._context.log.error(failure)
        shown: dict[str, Any] = {
            "alerts": ", ".join(f"{count:,} {name}" for name, count in sorted(bad.items())) or "none"
        }
        if unsent:
            shown["messages_not_sent"] = f"{unsent:,}: see `audience-syncs alerts`"
        return shown

    def _refresh(self, source: str, warehouse) -> list["MatchedReading"]:  # type: ignore[no-untyped-def]
        from audience_syncs.health.match_rate import LOOK_BACK
        from audience_syncs.health.matched import refresh_matched
        from audience_syncs.warehouse.matched import match_rates

        found = list(
            refresh_matched(
                self._project, source, warehouse, os.environ, now=self._now, stop_after_s=SECONDS_FOR_PLATFORMS
            )
        )
        with warehouse.connect() as connection:
            read = [reading.sync for reading in found if not reading.error]
            self._rates |= match_rates(connection, warehouse, read, since=self._now - LOOK_BACK)
        return found

    def _readings(self, readings: Sequence["MatchedReading"]) -> list[Event]:
        """Sizes that were read, and what they say about the match rate."""
        from audience_syncs.health.match_rate import match_rate

        events: list[Event] = []
        for reading in readings:
            if reading.error:
                self._context.log.warning(f"{reading.sync}: matched users are not known: {reading.error}")
                continue
            audience, _, name = reading.sync.partition("/")
            key, sync = sync_key(audience, name), self._project.audiences[audience].sync(name)
            events.append(dg.AssetObservation(key, metadata=matched_metadata(reading)))
            rate = match_rate(self._rates.get(reading.sync, []))
            events.append(evaluation_of(match_rate_check(key, sync, rate)))
        return events

    def _lateness(self, statuses: Sequence["SyncStatus"]) -> list[Event]:
        """The check ``freshness`` of syncs that became late, or are no longer."""
        events: list[Event] = []
        for status in statuses:
            remembered = f"late {status.sync}"
            late = status.overdue_since is not None
            if late == (remembered in self._shown):
                continue
            if late:
                self._shown[remembered] = "late"
            else:
                del self._shown[remembered]
            key = sync_key(*status.sync.split("/"))
            events.append(evaluation_of(freshness(key, status)))
        return events

    def _tables(self, statuses: Sequence["SyncStatus"], alerts: Mapping[str, Any]) -> list[Event]:
        """The Syncs table of each audience, and of all; only those that say something new."""
        events: list[Event] = []
        for name, rows in _by_audience(statuses).items():
            check = syncs_check(audience_key(name), rows)
            if self._is_news(name, check.metadata):
                events.append(evaluation_of(check))
        overview = {**alerts, **syncs_table(statuses)}
        if self._is_news("", overview):
            events.append(dg.AssetObservation(OVERVIEW, metadata=overview))
        return events

    def _is_news(self, name: str, table: Mapping[str, object]) -> bool:
        digest = hashlib.sha256(repr(table).encode()).hexdigest()[:16]
        if self._shown.get(name) == digest:
            return False
        self._shown[name] = digest
        return True
