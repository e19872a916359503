"""Plans of many syncs by definitions that are not deployed yet: what a change of YAML would do to each list.

Each audience is evaluated anew, by the definition at hand, and once for all of its syncs; audiences that refer to each other
are evaluated in one transaction, those first that others refer to. The transaction is rolled back: nothing is kept or sent.
No lock is taken that a run could wait for, and no run is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from audience_syncs.audiences import evaluate_audience
from audience_syncs.destinations.contract import DestinationSpec
from audience_syncs.engine.lists import ListKeeper
from audience_syncs.engine.run import PlanPreview, preview_sync
from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.errors import AudienceError, AudienceSyncsError, DefinitionError
from audience_syncs.model.filters import audiences_in
from audience_syncs.model.values import Progress, Snapshot, SyncRun
from audience_syncs.warehouse.connection import Warehouse, in_words, lost
from audience_syncs.warehouse.state import State, latest_snapshot

ANSWER_S = 1.0
"""How long a platform takes to answer, where nothing is known: for an estimate, not more."""
TELLING_REQUESTS = 20
"""From so many requests on, a run tells how fast its destination is."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A sync to be planned."""

    audience: AudienceConfig
    sync: SyncConfig
    spec: DestinationSpec
    requests_per_s: float | None = None
    """How fast its account may be called; None: not known."""

    @property
    def name(self) -> str:
        return sync_id(self.audience, self.sync)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no plan, or why a run would be refused."""

    code: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """What a definition would do to one list."""

    sync: str
    plan: PlanPreview | None = None
    seconds: float | None = None
    """How long delivering takes, about; None where there is nothing to deliver, or no plan."""
    list_name: str | None = None
    """The list that it keeps; None: it has none yet."""
    failure: Failure | None = None

    @property
    def changes(self) -> bool:
        """Whether anything would be sent."""
        if self.plan is None:
            return False
        counts = self.plan.counts
        return bool(counts.added or counts.updated or counts.removed or counts.resent or self.plan.requests)


@dataclass(frozen=True, slots=True)
class KeptList:
    """A list of which we know, whether or not there is a sync for it."""

    name: str
    members: int
    """Whom the ledger holds in it."""


def review_syncs(
    wanted: Sequence[Wanted],
    audiences: Mapping[str, AudienceConfig],
    warehouse: Warehouse,
    *,
    changed: Collection[str] = (),
    progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Review]:
    """The reviews of syncs of one source, in their order. What fails is in them, never raised.

    ``audiences``: all of the project, by name; of those that the syncs' audiences refer to, the ``changed`` are evaluated
    anew as well, and those never evaluated.
    """
    reviewing = _Reviewing(wanted, audiences, warehouse, set(changed), progress or (lambda _: None), clock)
    found: dict[str, Review] = {}
    try:
        reviewing.look_around()
    except AudienceSyncsError as error:
        return [Review(one.name, failure=_failure(error)) for one in wanted]
    for number, group in enumerate(reviewing.groups()):
        reviewing.progress(Progress("evaluate and plan", number))
        for review in reviewing.review_group(group):
            found[review.sync] = review
    return [found[one.name] for one in wanted]


def kept_lists(warehouse: Warehouse) -> dict[str, KeptList]:
    """The lists that syncs of this warehouse have been keeping, by sync."""
    lists, ledger = warehouse.tables.lists, warehouse.tables.ledger
    if not State(warehouse).exists():
        return {}
    held = (
        sa.select(sa.func.count())
        .select_from(ledger)
        .where(ledger.c.sync == lists.c.sync, ledger.c.identifiers != warehouse.dialect.no_identifiers())
        .scalar_subquery()
    )
    with in_words("lists"), warehouse.connect() as connection:
        rows = connection.execute(sa.select(lists.c.sync, lists.c.name, held)).all()
    return {str(sync): KeptList(str(name), int(members)) for sync, name, members in rows}


class _Reviewing:
    """One pass over the syncs of a source."""

    def __init__(
        self,
        wanted: Sequence[Wanted],
        audiences: Mapping[str, AudienceConfig],
        warehouse: Warehouse,
        changed: set[str],
        progress: Callable[[Progress], None],
        clock: Callable[[], datetime],
    ) -> None:
        self.wanted = wanted
        self.audiences = {**audiences, **{one.audience.name: one.audience for one in wanted}}
        self.warehouse = warehouse
        self.changed = changed | {one.audience.name for one in wanted}
        self.progress = progress
        self.clock = clock
        self.has_state = False
        self.runs: Mapping[str, SyncRun] = {}
        self.lists: dict[str, str] = {}
        self.refusals: dict[str, Failure] = {}

    def look_around(self) -> None:
        """What the state knows of the syncs: their lists, how fast they were, and what was never evaluated."""
        state = State(self.warehouse)
        with in_words("state"):
            self.has_state = state.exists()
            if not self.has_state:
                self.changed |= self._referred()  # nothing was ever evaluated
                return
            with self.warehouse.connect() as connection:
                state.prepare_within(connection)
                connection.rollback()
                self.runs = state.last_good_runs([one.name for one in self.wanted])
                for one in self.wanted:
                    self._look_at_list(connection, one)
                for name in self._referred():
                    audience = self.audiences.get(name)
                    partitioned = audience is not None and audience.partitions is not None
                    tables = self.warehouse.tables
                    if latest_snapshot(connection, tables, name, partitioned=partitioned) is None:
                        self.changed.add(name)

    def _look_at_list(self, connection: sa.Connection, one: Wanted) -> None:
        keeper = ListKeeper(connection, self.warehouse, one.audience, one.sync)
        if keeper.known is not None:
            self.lists[one.name] = keeper.known.name
        try:
            keeper.refuse_another()
        except DefinitionError as error:
            self.refusals[one.name] = _failure(error)

    def _referred(self) -> set[str]:
        names = {one.audience.name for one in self.wanted}
        return {other for name in names for other in self._closure(name)} - names

    def groups(self) -> list[list[str]]:
        """Audiences that are evaluated together, each after those it refers to."""
        groups: list[set[str]] = []
        for name in dict.fromkeys(one.audience.name for one in self.wanted):
            group = {other for other in self._closure(name) if other in self.changed}
            apart = [known for known in groups if known.isdisjoint(group)]
            for known in groups:
                if not known.isdisjoint(group):
                    group |= known
            groups = [*apart, group]
        return [list(self._in_order(group)) for group in groups]

    def _closure(self, name: str) -> list[str]:
        """The audience and all it refers to, those first that others refer to."""
        found: dict[str, None] = {}
        under_way: set[str] = set()

        def visit(one: str) -> None:
            if one in found or one in under_way or one not in self.audiences:
                return
            under_way.add(one)
            for other in _refers_to(self.audiences[one]):
                visit(other)
            found[one] = None

        visit(name)
        return list(found)

    def _in_order(self, group: Iterable[str]) -> Iterator[str]:
        known = set(group)
        ordered: dict[str, None] = {}
        for name in sorted(known):
            ordered |= {other: None for other in self._closure(name) if other in known}
        yield from ordered

    def review_group(self, group: Sequence[str]) -> Iterator[Review]:
        """Evaluates these audiences and plans their syncs, in one transaction that is rolled back."""
        open_syncs = [one for one in self.wanted if one.audience.name in group]
        try:
            with in_words("plan for review"), self.warehouse.connect() as connection:
                if not self.has_state:
                    State(self.warehouse).prepare_within(connection)
                apart = self.warehouse.planning_apart(connection)
                found: dict[str, Snapshot | Failure] = {}
                for name in group:
                    snapshot = found[name] = self._resting_on(name, found) or self._evaluated(connection, name)
                    for one in [one for one in open_syncs if one.audience.name == name]:
                        yield self._review(connection, apart, one, snapshot)
                        open_syncs.remove(one)
                connection.rollback()
        except AudienceSyncsError as error:
            for one in open_syncs:
                yield Review(one.name, list_name=self.lists.get(one.name), failure=_failure(error))

    def _resting_on(self, name: str, found: Mapping[str, Snapshot | Failure]) -> Failure | None:
        """Why an audience cannot be told: one that it refers to fails."""
        for other in _refers_to(self.audiences[name]):
            failure = found.get(other)
            if isinstance(failure, Failure):
                return Failure(
                    failure.code, f"the audience {other}, which it refers to: {failure.message}", failure.remedy
                )
        return None

    def _evaluated(self, connection: sa.Connection, name: str) -> Snapshot | Failure:
        attempt = connection.begin_nested()
        try:
            snapshot = evaluate_audience(
                self.audiences[name], self.warehouse, run_id="preview", clock=self.clock, within=connection
            )
        except AudienceSyncsError as error:
            if lost(connection):
                raise
            attempt.rollback()
            return _failure(error)
        attempt.commit()
        return snapshot

    def _review(self, connection: sa.Connection, apart: Warehouse, one: Wanted, snapshot: Snapshot | Failure) -> Review:
        list_name = self.lists.get(one.name)
        if isinstance(snapshot, Failure):
            return Review(one.name, list_name=list_name, failure=snapshot)
        attempt = connection.begin_nested()
        try:
            plan = preview_sync(one.audience, one.sync, one.spec, apart, connection, snapshot, clock=self.clock)
        except AudienceSyncsError as error:
            if lost(connection):
                raise
            return Review(one.name, list_name=list_name, failure=_failure(error))
        finally:
            if not lost(connection):
                attempt.rollback()
        seconds = _seconds(plan.requests, one, self.runs.get(one.name))
        return Review(one.name, plan, seconds, list_name, self.refusals.get(one.name))


def _refers_to(audience: AudienceConfig) -> Iterator[str]:
    """The audiences whose snapshots say who is in this one, or is sent of it."""
    if audience.filter is not None:
        yield from audiences_in(audience.filter)
    for sync in audience.syncs:
        yield from sync.admission.before


def _seconds(requests: int, one: Wanted, run: SyncRun | None) -> float | None:
    """How long so many requests take, about: as fast as the last run was, where it tells; else by the account's pace and how
    many may be under way at once."""
    if not requests:
        return None
    if run is not None and run.requests >= TELLING_REQUESTS and run.finished_at is not None:
        took = (run.finished_at - run.started_at).total_seconds()
        return requests * took / run.requests
    at_once = one.spec.concurrency / ANSWER_S
    return requests / (at_once if one.requests_per_s is None else min(at_once, one.requests_per_s))


def _failure(error: AudienceSyncsError) -> Failure:
    message = error.message
    if isinstance(error, AudienceError):
        # Examples of members' keys are for the person who asks, not for a page that many read.
        message = message.partition(", e.g. ")[0]
    return Failure(error.code, message, error.remedy)
