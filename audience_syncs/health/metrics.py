"""What a monitoring system is told of every sync: figures, times, states, as metrics for Prometheus. No personal data.

Read, never computed again: the status is that of ``health.status``, the severity that of the table ``alerts``. Whatever
is down becomes a metric (``source_up``, ``dagster_up``) and leaves out what it would have told; the rest is told all the
same. One look takes a handful of queries per source, each with one look into an index per sync.

All are gauges. There are no counters: the tables keep the state and the latest runs, and a counter that is read from them
would fall whenever old rows go.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from audience_syncs.health.alerts import Alert
from audience_syncs.health.outbox import alert_from_row
from audience_syncs.health.status import SyncState, SyncStatus, sync_statuses
from audience_syncs.health.switches import Switch, switches
from audience_syncs.model.config import SourceConfig, sync_id
from audience_syncs.model.errors import AudienceSyncsError
from audience_syncs.model.values import RunStatus, SyncRun
from audience_syncs.project import Project
from audience_syncs.warehouse import open_warehouse
from audience_syncs.warehouse.alerts import read_alerts, unsent_messages
from audience_syncs.warehouse.connection import in_words
from audience_syncs.warehouse.state import State

if TYPE_CHECKING:
    from dagster import DagsterInstance

PREFIX = "audience_syncs_"
LABELS = ("audience", "destination", "sync")
UNSENT_SINCE = timedelta(days=7)
MOST_SOURCES_AT_ONCE = 8


class DagsterDown(AudienceSyncsError):
    """Dagster's own database does not answer, so nobody knows which syncs are paused."""

    code = "DAGSTER_DOWN"


@dataclass(frozen=True, slots=True)
class SourceReading:
    """What one source's state tables say. ``error``: why they could not be read, or empty."""

    source: str
    error: str = ""
    last: Mapping[str, SyncRun] = field(default_factory=dict)
    """The latest run of each sync, under way or ended."""
    good: Mapping[str, SyncRun] = field(default_factory=dict)
    """The latest run of each sync that changed or confirmed its list: its figures are those of the list as it is."""
    alerts: Mapping[str, Alert] = field(default_factory=dict)
    unsent: int = 0


@dataclass(frozen=True, slots=True)
class SyncReading:
    """One sync. ``status`` is None while Dagster does not say whether it is switched on."""

    audience: str
    destination: str
    sync: str
    status: SyncStatus | None
    last: SyncRun | None
    good: SyncRun | None
    alert: Alert | None
    at: datetime

    @property
    def labels(self) -> tuple[str, str, str]:
        return (self.audience, self.destination, self.sync)


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at everything."""

    sources: tuple[SourceReading, ...]
    syncs: tuple[SyncReading, ...]
    """Those whose source answered."""
    dagster_error: str
    seconds: float

    @property
    def errors(self) -> tuple[str, ...]:
        """Why something is missing, in words, without addresses."""
        found = (self.dagster_error, *(source.error for source in self.sources))
        return tuple(error for error in found if error)


def read(
    project: Project,
    environ: Mapping[str, str],
    read_switches: Callable[[], Mapping[str, Switch]],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Reading:
    """Looks at all sources and at Dagster. Never fails: what is down is said in the answer."""
    at = now()
    with ThreadPoolExecutor(MOST_SOURCES_AT_ONCE) as pool:
        # One that takes long to say nothing does not hold up the others.
        readings = tuple(pool.map(lambda source: _read_source(project, source, environ, at), project.sources.values()))
    try:
        switched, dagster_error = read_switches(), ""
    except DagsterDown as error:
        switched, dagster_error = {}, str(error)
    by_source = {reading.source: reading for reading in readings}
    last = {name: run for reading in readings for name, run in reading.last.items()}
    statuses = {} if dagster_error else {row.sync: row for row in sync_statuses(project, last, switched, now=at)}
    syncs = tuple(
        SyncReading(
            audience.name,
            sync.destination,
            name,
            statuses.get(name),
            last.get(name),
            source.good.get(name),
            source.alerts.get(name),
            at,
        )
        for audience in project.audiences.values()
        for source in (by_source[audience.source],)
        if not source.error
        for sync in audience.syncs
        for name in (sync_id(audience, sync),)
    )
    return Reading(readings, syncs, dagster_error, (now() - at).total_seconds())


def _read_source(project: Project, source: SourceConfig, environ: Mapping[str, str], at: datetime) -> SourceReading:
    names = project.sync_ids(source.name)
    try:
        with open_warehouse(source, environ) as warehouse, in_words(f"source {source.name}"):
            state = State(warehouse)
            if not state.exists():
                return SourceReading(source.name)
            with warehouse.connect() as connection:
                alerts = [alert_from_row(row) for row in read_alerts(connection, warehouse)]
                unsent = len(unsent_messages(connection, warehouse, since=at - UNSENT_SINCE))
            return SourceReading(
                source.name,
                last=state.last_runs(names),
                good=state.last_good_runs(names),
                alerts={alert.sync: alert for alert in alerts},
                unsent=unsent,
            )
    except AudienceSyncsError as error:
        return SourceReading(source.name, error=str(error))


class DagsterSwitches:
    """Which syncs are switched on, by Dagster's own database; keeps it open from one look to the next.

    Dagster itself tries for some ten seconds, longer than a scrape may take. So it is asked aside, and not again before
    it has answered.
    """

    def __init__(self, project: Project, dagster_home: Path | None, patience_s: float = 4.0) -> None:
        self._project = project
        self._home = dagster_home
        self._patience_s = patience_s
        self._instance: DagsterInstance | None = None
        self._lock = threading.Lock()
        self._asked: Future[Mapping[str, Switch]] | None = None

    def __call__(self) -> Mapping[str, Switch]:
        """Raises DagsterDown."""
        if self._home is None:
            raise DagsterDown("DAGSTER_HOME is not set: whether a sync is paused is not known")
        with self._lock:
            if self._asked is None or self._asked.done():
                self._asked = Future()
                threading.Thread(target=self._ask, args=(self._home, self._asked), daemon=True).start()
            asked = self._asked
        try:
            return asked.result(self._patience_s)
        except TimeoutError:
            raise DagsterDown(f"Dagster's database has not answered for {self._patience_s:g} seconds") from None

    def _ask(self, home: Path, answer: Future[Mapping[str, Switch]]) -> None:
        from dagster import DagsterInstance
        from dagster_postgres.utils import DagsterPostgresException

        try:
            if self._instance is None:
                self._instance = DagsterInstance.from_config(str(home))
            answer.set_result(switches(self._instance, self._project))
        except (sa.exc.SQLAlchemyError, DagsterPostgresException, AudienceSyncsError) as error:
            self.close()
            # The driver's own words may hold the address.
            answer.set_exception(DagsterDown(f"Dagster's database does not answer: {type(error).__name__}"))
        except BaseException as error:
            answer.set_exception(error)
            raise

    def close(self) -> None:
        instance, self._instance = self._instance, None
        if instance is not None:
            instance.dispose()


Figure = Callable[[SyncReading], float | None]
"""None: not known, and so not told. Never 0 instead."""


def _good(figure: Callable[[SyncRun], int]) -> Figure:
    """Of the last good run."""
    return lambda row: None if row.good is None else figure(row.good)


def _last(figure: Callable[[SyncRun], int | datetime | None]) -> Figure:
    """Of the last run; moments as seconds since 1970."""

    def told(row: SyncReading) -> float | None:
        value = None if row.last is None else figure(row.last)
        return value.timestamp() if isinstance(value, datetime) else value

    return told


def _took(row: SyncReading) -> float | None:
    if row.last is None:
        return None
    end = row.at if row.last.status is RunStatus.RUNNING else row.last.finished_at
    return None if end is None else (end - row.last.started_at).total_seconds()


def _overdue(row: SyncReading) -> float | None:
    if row.status is None:
        return None
    since = row.status.overdue_since
    return 0.0 if since is None else (row.at - since).total_seconds()


OF_SYNCS: Mapping[str, tuple[str, Figure]] = {
    "sync_in_audience": (
        "Members of the audience who are sent, at the last good run.",
        _good(lambda run: run.in_audience),
    ),
    "sync_kept_out": (
        "Members of the audience who were not sent by exclusion, priority or split, at the last good run.",
        _good(lambda run: sum(run.withheld.values())),
    ),
    "sync_delivered": (
        "Members handed over to the destination, whatever its answer, at the last good run.",
        _good(lambda run: run.delivered),
    ),
    "sync_accepted": ("Members the destination accepted, at the last good run.", _good(lambda run: run.accepted)),
    "sync_rejected": ("Members the destination rejects, at the last good run.", _good(lambda run: run.rejected)),
    "sync_retryable": (
        "Members who were certainly not delivered and are sent again, at the last good run.",
        _good(lambda run: run.retryable),
    ),
    "sync_unknown": (
        "Members sent without an answer, who may be at the destination or not, at the last good run.",
        _good(lambda run: run.unknown),
    ),
    "sync_added": ("Members added by the last good run.", _good(lambda run: run.added)),
    "sync_updated": ("Members updated by the last good run.", _good(lambda run: run.updated)),
    "sync_removed": ("Members removed by the last good run.", _good(lambda run: run.removed)),
    "sync_requests": ("Requests to the destination in the last good run.", _good(lambda run: run.requests)),
    "sync_matched_lower": (
        "People the platform says it recognised, approximate: at least so many.",
        _last(lambda run: run.matched_lower),
    ),
    "sync_matched_upper": (
        "People the platform says it recognised, approximate: at most so many.",
        _last(lambda run: run.matched_upper),
    ),
    "sync_matched_timestamp_seconds": ("When the platform said so.", _last(lambda run: run.matched_as_of)),
    "sync_last_run_start_timestamp_seconds": (
        "When the last run started, under way or ended.",
        _last(lambda run: run.started_at),
    ),
    "sync_last_run_end_timestamp_seconds": (
        "When the last run ended; missing while it is under way.",
        _last(lambda run: run.finished_at),
    ),
    "sync_last_run_duration_seconds": ("How long the last run took, or has been going on.", _took),
    "sync_running": ("1 while a run is under way.", _last(lambda run: run.status is RunStatus.RUNNING)),
    "sync_last_good_timestamp_seconds": (
        "When a run last ended that changed or confirmed the list.",
        _last(lambda run: run.last_good_at),
    ),
    "sync_overdue_seconds": ("Since when a run is due that has not begun; 0 while none is.", _overdue),
    "sync_alert_severity": (
        "0 all is well, 1 warning, 2 critical, as of the last tick of the sensor sync_health.",
        lambda row: row.alert.severity.rank if row.alert else 0,
    ),
    "sync_alert_muted": (
        "1 while nobody is told of this sync.",
        lambda row: row.alert is not None and row.alert.is_muted(row.at),
    ),
}
"""Metric, without the prefix -> its meaning, and its value for one sync."""


def families(reading: Reading) -> Iterator[GaugeMetricFamily]:
    """The metrics of one look."""
    yield _family(
        "dagster_up",
        "1 while Dagster's database answers; without it no status and no lateness is known.",
        (),
        [((), float(not reading.dagster_error))],
    )
    yield _family(
        "source_up",
        "1 while the state tables of the source can be read; without it nothing is told of its syncs.",
        ("source",),
        [((source.source,), float(not source.error)) for source in reading.sources],
    )
    yield _family(
        "messages_not_sent",
        "Messages of alerts that could not be sent yet, or were given up in the last 7 days.",
        ("source",),
        [((source.source,), float(source.unsent)) for source in reading.sources if not source.error],
    )
    yield _family(
        "sync_status",
        "1 for the status that the sync has, 0 for the others.",
        (*LABELS, "status"),
        [
            ((*row.labels, state.value), float(row.status.status is state))
            for row in reading.syncs
            if row.status is not None
            for state in SyncState
        ],
    )
    for name, (meaning, figure) in OF_SYNCS.items():
        told = ((row.labels, figure(row)) for row in reading.syncs)
        yield _family(name, meaning, LABELS, [(labels, float(value)) for labels, value in told if value is not None])
    yield _family("read_seconds", "How long it took to read all this.", (), [((), reading.seconds)])


def _family(
    name: str, meaning: str, labels: Iterable[str], values: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"{PREFIX}{name}", meaning, labels=list(labels))
    for of, value in values:
        family.add_metric(list(of), value)
    return family


class SyncCollector(Collector):
    """Reads everything anew for each scrape; ``tell`` is called with what is wrong when that changes."""

    def __init__(self, read_all: Callable[[], Reading], tell: Callable[[str], None]) -> None:
        self._read_all = read_all
        self._tell = tell
        self._told: tuple[str, ...] = ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        reading = self._read_all()
        for error in reading.errors:
            if error not in self._told:
                self._tell(error)
        self._told = reading.errors
        yield from families(reading)
