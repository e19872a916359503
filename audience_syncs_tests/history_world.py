"""A small world with a history: people who change, a sync that runs under faults, a platform over real HTTP.

Used by ``test_random_histories``. Everything is real: PostgreSQL, the engine, the HTTP client, the simulators. Only the
client's patience is shortened, and batches are made small enough that a handful of people fill several.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import sqlalchemy as sa

from audience_syncs import identifiers
from audience_syncs.audiences import evaluate_audience
from audience_syncs.destinations.contract import Destination
from audience_syncs.engine import run_sync
from audience_syncs.identifiers import rules
from audience_syncs.model.config import AudienceConfig, SyncConfig
from audience_syncs.model.errors import AudienceSyncsError, SyncLocked
from audience_syncs.model.values import RunOptions, SyncReport
from audience_syncs.warehouse import Warehouse
from audience_syncs_tests.history_places import REFUSED, place_of
from audience_syncs_tests.platforms import HARNESSES
from audience_syncs_tests.platforms.harness import Harness

TOKENS = itertools.count(810_001)


class Killed(BaseException):
    """The process is no more: nothing can be booked after this."""


@dataclass(frozen=True)
class Person:
    emails: tuple[str, ...]
    phone: str | None


@dataclass(frozen=True)
class Change:
    """Something that happens to the audience: to the person ``who``, or to the definition."""

    what: str
    who: int = 0
    value: int = 0


@dataclass(frozen=True)
class Run:
    """A run on a bad day. ``cut_at``: the statement at which the process dies; ``dies_at``: the request at which it dies,
    even: before it was sent, odd: before its answer was read; ``overlap``: a second start meanwhile."""

    faults: tuple[tuple[tuple[str, Any], ...], ...] = ()
    cut_at: int | None = None
    dies_at: int | None = None
    overlap: bool = False


@dataclass(frozen=True)
class History:
    """Rounds of changes and a run each; then more changes, one good run, and the truth."""

    platform: str
    batch_size: int
    concurrency: int
    rounds: tuple[tuple[tuple[Change, ...], Run], ...]
    last: tuple[Change, ...] = ()
    rejected_at_last: int | None = None
    """Somebody enters at last whom the platform refuses even in the good run; odd: somebody else changes to that email."""


def email(number: int) -> str:
    """Sixteen addresses, in pairs that are one under the second version of the rule."""
    return f"e{number % 8}{'+shop' if number % 16 >= 8 else ''}@example.com"


def phone(number: int) -> str | None:
    return None if number % 5 == 4 else f"+4915112345{60 + number % 5}"


@dataclass
class World:
    """One history's world, on the warehouse and the simulators that all of them share."""

    warehouse: Warehouse
    simulators: str
    history: History
    people: dict[int, Person] = field(default_factory=dict)
    mapping: int = 0
    rule_version: int = 1
    statements: int = 0
    cuts: int = 0

    def __post_init__(self) -> None:
        self.platform = self.history.platform
        self.harness: Harness = HARNESSES[self.platform]
        self.token = f"token-{next(TOKENS)}"
        self.account = str(next(TOKENS))
        with self.warehouse.engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS people")
            connection.exec_driver_sql(
                "CREATE TABLE people (id text, emails text[], email text, phone text, first_name text)"
            )
            if sa.inspect(connection).has_table("state_version", schema="audience_syncs"):
                tables = self.warehouse.tables.metadata.tables.values()
                names = ", ".join(f"{table.schema}.{table.name}" for table in tables if table.name != "state_version")
                connection.exec_driver_sql(f"TRUNCATE {names} RESTART IDENTITY")
                for (left,) in connection.exec_driver_sql(
                    "SELECT tablename FROM pg_tables WHERE schemaname = 'audience_syncs' AND tablename ~ '^snapshot_[0-9]'"
                ).all():
                    connection.exec_driver_sql(f"DROP TABLE audience_syncs.{left}")
        self.place = place_of(self)
        self.place.prepare()

    # People and definitions

    def change(self, change: Change) -> None:
        who, value = change.who, change.value
        person = self.people.get(who)
        if change.what == "enter" or person is None:
            self.people.setdefault(who, Person((email(value),), phone(value // 3)))
        elif change.what == "leave":
            del self.people[who]
        elif change.what == "email":
            self.people[who] = dataclasses.replace(person, emails=(email(value),))
        elif change.what == "emails":
            several = tuple(dict.fromkeys((email(value), email(value // 3), email(value // 7))))
            self.people[who] = dataclasses.replace(person, emails=several)
        elif change.what == "phone":
            self.people[who] = dataclasses.replace(person, phone=phone(value))
        elif change.what == "lose":
            self.people[who] = Person((), None)
        elif change.what == "swap":
            other = sorted(self.people)[value % len(self.people)]
            self.people[who], self.people[other] = self.people[other], person
        elif change.what == "share":
            other = sorted(self.people)[value % len(self.people)]
            self.people[who] = dataclasses.replace(person, emails=self.people[other].emails)
        elif change.what == "mapping":
            self.mapping = value % len(self.harness.mappings)
        elif change.what == "rules":
            self.rule_version = 1 + value % 2

    @property
    def mapped(self) -> dict[str, Any]:
        return self.harness.mappings[self.mapping]

    def normalised(self, address: str) -> str:
        """As the rule in force makes it, worked out independently."""
        return address.replace("+shop@", "@") if self.rule_version == 2 else address

    def emails_of(self, person: Person) -> set[str]:
        sent = person.emails if self.harness.several else person.emails[:1]
        return {self.normalised(address) for address in sent}

    def reaches(self, person: Person) -> bool:
        """Whether the mapping finds anything of the person to reach them by."""
        by_phone = self.harness.phone in self.mapped and person.phone is not None
        return bool(person.emails) or by_phone or self.harness.external_id in self.mapped

    def identifiers_of(self, who: int, person: Person) -> set[str]:
        """As the ledger must have them, by the mapping in force."""
        harness = self.harness
        found = {f"{harness.email}:{harness.on_wire(address)}" for address in self.emails_of(person)}
        if harness.phone in self.mapped and person.phone:
            found.add(f"{harness.phone}:{harness.phone_on_wire(person.phone)}")
        if harness.external_id in self.mapped:
            found.add(f"{harness.external_id}:{who}")
        return found

    # Running

    def destination(self, dies_at: int | None = None) -> Destination:
        opened: Any = self.place.open()
        if dies_at is not None:
            self.place.die_at(opened, dies_at)
        spec = opened.spec
        opened.spec = dataclasses.replace(
            spec, batch_size=self.history.batch_size, concurrency=self.history.concurrency
        )
        return opened  # type: ignore[no-any-return]

    def definitions(self) -> tuple[AudienceConfig, SyncConfig]:
        sync = SyncConfig.model_validate(
            {
                "destination": "ads",
                "list": {"name": "People"},
                "mapping": self.mapped,
                "guard": {"allow_empty": True, "max_unusable_percent": 100, "min_drop": 1000},
            }
        )
        columns = "id, emails, email, phone, first_name"
        audience = AudienceConfig(
            name="people",
            source="shop",
            primary_key="id",
            sql=f"SELECT {columns} FROM people",
            keep_snapshots=2,
            syncs=[sync],
        )
        return audience, sync

    def store_people(self) -> None:
        with self.warehouse.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM people")
            rows = [
                {"id": str(who), "emails": list(p.emails), "email": next(iter(p.emails), None), "phone": p.phone}
                for who, p in self.people.items()
            ]
            if rows:
                connection.execute(sa.text("INSERT INTO people VALUES (:id, :emails, :email, :phone, 'Zoë')"), rows)

    def run(self, run: Run | None = None) -> SyncReport | None:
        """A run on a bad day, which may come to nothing; without ``run``, a good one, which must do."""
        self.store_people()
        audience, sync = self.definitions()
        with ruled(self.rule_version, self.harness):
            evaluate_audience(audience, self.warehouse, run_id="run")
            if run is None:
                options = RunOptions(retry_rejected=True)
                return run_sync(audience, sync, self.destination(), self.warehouse, run_id="run", options=options)
            self.post_faults(run)
            try:
                with self.dying_at(run.cut_at):
                    if run.overlap:
                        self.overlapping(audience, sync)
                    else:
                        run_sync(audience, sync, self.destination(run.dies_at), self.warehouse, run_id="run")
            except (AudienceSyncsError, Killed, sa.exc.SQLAlchemyError):
                pass
            finally:
                self.heal()
        return None

    def run_again(self) -> None:
        """As the schedule would: nothing has changed since."""
        audience, sync = self.definitions()
        with ruled(self.rule_version, self.harness):
            evaluate_audience(audience, self.warehouse, run_id="again")
            run_sync(audience, sync, self.destination(), self.warehouse, run_id="again")

    def post_faults(self, run: Run) -> None:
        for fault in run.faults:
            asked = dict(fault)
            if "email" in asked:
                asked["address"] = self.normalised(email(asked.pop("email")))
            self.place.ask_for(asked)

    def refuse(self, number: int) -> None:
        """Two who will not get in: one new, and one who was perhaps in under another email."""
        self.people[99] = Person((REFUSED,), None)
        if number % 2 and self.people.get(number // 2 % 9):
            self.people[number // 2 % 9] = Person((REFUSED,), None)
        self.place.ask_for({"kind": "partial", "address": REFUSED})

    def heal(self) -> None:
        self.place.heal()

    def dying(self, once: Any, number: int) -> Any:
        """The process dies with its n-th request or call on the way; the others of the same moment get out, or do not."""
        left = itertools.count(number // 2, -1)
        dead = threading.Event()

        def request(*arguments: Any) -> Any:
            if dead.is_set():
                raise Killed
            if next(left) != 0:
                return once(*arguments)
            if number % 2:
                once(*arguments)
            dead.set()
            self.cuts += 1
            cut_connections(self.warehouse)
            raise Killed

        return request

    @contextmanager
    def dying_at(self, number: int | None) -> Iterator[None]:
        """At the n-th statement or commit the database ends every connection of ours, and the run unwinds: whatever it
        tries to write after that is lost, as after kill -9."""
        if number is None:
            yield
            return
        left = itertools.count(number, -1)
        lock = threading.Lock()

        def before(*_: object) -> None:
            with lock:
                if next(left) != 0:
                    return
            self.cuts += 1
            cut_connections(self.warehouse)
            raise Killed

        engine = self.warehouse.engine
        sa.event.listen(engine, "before_cursor_execute", before)
        sa.event.listen(engine, "commit", before)
        try:
            yield
        finally:
            sa.event.remove(engine, "before_cursor_execute", before)
            sa.event.remove(engine, "commit", before)

    def overlapping(self, audience: AudienceConfig, sync: SyncConfig) -> None:
        """A second start while the first is under way must be refused, and change nothing."""
        self.place.ask_for({"kind": "slow", "delay_s": 0.1, "count": 2})
        ended: list[BaseException | SyncReport] = []

        def first() -> None:
            try:
                ended.append(run_sync(audience, sync, self.destination(), self.warehouse, run_id="first"))
            except BaseException as error:  # noqa: BLE001
                ended.append(error)

        thread = threading.Thread(target=first)
        thread.start()
        while not ended and not self.is_locked():
            time.sleep(0.002)
        if self.is_locked() and not ended:
            try:
                run_sync(audience, sync, self.destination(), self.warehouse, run_id="second")
                refused = False
            except SyncLocked:
                refused = True
            except (AudienceSyncsError, Killed, sa.exc.SQLAlchemyError):
                refused = True
            assert refused or ended, "two runs of one sync were under way"
        thread.join()
        if isinstance(ended[0], Killed):
            raise ended[0]

    def is_locked(self) -> bool:
        try:
            with psycopg(self.warehouse) as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database "
                    "WHERE locktype = 'advisory' AND d.datname = current_database()"
                )
                (found,) = cursor.fetchone()
        except psycopg2.OperationalError:
            return False  # the first run was killed meanwhile, and with it every connection
        return bool(found)


@contextmanager
def psycopg(warehouse: Warehouse) -> Iterator[Any]:
    """A connection that the engine's events do not see."""
    url = warehouse.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    connection = psycopg2.connect(url)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def cut_connections(warehouse: Warehouse) -> None:
    with psycopg(warehouse) as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


@contextmanager
def ruled(version: int, harness: Harness) -> Iterator[None]:
    """The email rule in another version, which knows no plus tags."""
    name = harness.email_rule or f"{harness.platform}.email"
    before = identifiers.RULES[name]
    if version == 2:
        changed = dataclasses.replace(
            before,
            version=before.version + 1,
            apply=lambda v, region: before.apply(v, region).replace("+shop@", "@"),
            clean=None,
        )
        rules.RULES[name] = changed  # type: ignore[index]
    try:
        yield
    finally:
        rules.RULES[name] = before  # type: ignore[index]
