"""After any history of people and faults, one clean run makes the list the audience: tried with random histories.

Each history changes people at random (enter, leave, change, swap and share emails and phones, lose them), changes the
mapping, gives and takes consents, suppresses emails, moves people into an audience that goes first, and runs the sync while
the platform throttles, loses requests or answers, rejects members, refuses batches, revokes access, or our own process is
stopped between sending and booking. Then everything is healed and one run must do.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from audience_syncs.audiences import evaluate_audience
from audience_syncs.engine import run_sync
from audience_syncs.model.admission import Admission, Exclusion
from audience_syncs.model.config import AudienceConfig, GuardConfig, SyncConfig
from audience_syncs.model.errors import AudienceSyncsError
from audience_syncs.model.values import Batch, RunOptions, SyncReport
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs_tests.person_list import PersonList
from audience_syncs_tests.sync_bench import email_hash

HISTORIES = 20
"""Seeds tried in every run of the suite; ``--histories N`` tries N."""

MAPPINGS = (
    {"EMAIL": "email", "PHONE": "phone"},
    {"EMAIL": "email"},
    {"EMAIL": "email", "PHONE": "phone", "FN": "first_name"},
    {"EMAIL": "email", "EXTERN_ID": "id"},
)

FAULTS = [
    "not_applied",
    "lost_before",
    "lost_after",
    "access",
    "cancel_before",
    "cancel_after",
    # The database ends our connection: from then on nothing can be booked, as after a kill -9.
    "cut_before",
    "cut_after",
]


EXCLUSIONS = (
    Exclusion(name="no_consent", column="consent", unless=[True]),
    Exclusion(name="suppressed", sql="SELECT address FROM suppressed", match="email", ignore_case=True),
)
SPLIT = {"groups": [{"name": "one", "percent": 75, "syncs": ["list"]}, {"name": "held", "percent": 25}]}

ADMISSIONS = (
    Admission(),
    Admission(),
    Admission(EXCLUSIONS),
    Admission(EXCLUSIONS, before=("vip",)),
    Admission(EXCLUSIONS, before=("vip",), groups=("one",)),
)


class Cancelled(BaseException):
    """A person stops the run: it may still book and settle."""


class History:
    """A small world, its random changes, and what must be true at the end."""

    def __init__(self, warehouse: Warehouse, seed: int) -> None:
        self.warehouse = warehouse
        self.random = random.Random(seed)
        self.list = PersonList(batch_size=self.random.choice([1, 2, 3, 7]), concurrency=self.random.choice([1, 1, 3]))
        self.people: dict[str, tuple[str | None, str | None]] = {}
        self.mapping = MAPPINGS[0]
        self.admission = self.random.choice(ADMISSIONS)
        self.mode = self.random.choice(["mirror", "mirror", "add"])
        self.consents: dict[str, bool | None] = {}
        self.suppressed: set[str] = set()
        self.vips: set[str] = set()
        self.strangers = {f"EMAIL:{email_hash('stranger@example.com')}"}
        for stranger in self.strangers:
            self.list.people[stranger] = {"EMAIL": {stranger.removeprefix("EMAIL:")}}
        with warehouse.engine.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA IF EXISTS audience_syncs CASCADE")
            connection.exec_driver_sql("DROP TABLE IF EXISTS people, suppressed, vips")
            connection.exec_driver_sql(
                "CREATE TABLE people (id text, email text, phone text, first_name text, consent boolean)"
            )
            connection.exec_driver_sql("CREATE TABLE suppressed (address text); CREATE TABLE vips (id text)")

    def email(self) -> str:
        return f"e{self.random.randrange(8)}@example.com"

    def phone(self) -> str | None:
        return self.random.choice([None, f"+49151123456{self.random.randrange(10, 14)}"])

    def change_people(self) -> None:
        for _ in range(self.random.randrange(1, 5)):
            key = str(self.random.randrange(9))
            event = self.random.choice(["enter", "leave", "email", "phone", "swap", "lose"])
            if event == "enter" or key not in self.people:
                self.people[key] = (self.email(), self.phone())
            elif event == "leave":
                del self.people[key]
            elif event == "email":
                self.people[key] = (self.email(), self.people[key][1])
            elif event == "phone":
                self.people[key] = (self.people[key][0], self.phone())
            elif event == "lose":
                self.people[key] = (None, None)
            else:
                other = self.random.choice(sorted(self.people))
                self.people[key], self.people[other] = self.people[other], self.people[key]
        if self.random.random() < 0.15:
            self.mapping = self.random.choice(MAPPINGS)
        for _ in range(self.random.randrange(4)):
            key = str(self.random.randrange(9))
            self.consents[key] = self.random.choice([True, True, False, None])
            self.suppressed ^= {self.email()} if self.random.random() < 0.4 else set()
            self.vips ^= {str(self.random.randrange(9))}

    def is_admitted(self, key: str) -> bool:
        """Whom the sync may send now, worked out without SQL."""
        email = self.people[key][0]
        if self.admission.exclusions and (self.consents.get(key, True) is not True or email in self.suppressed):
            return False
        if self.admission.before and key in self.vips:
            return False
        digits = hashlib.md5(f"people:{key}".encode(), usedforsecurity=False).hexdigest()[:13]
        return self.admission.groups is None or int(digits, 16) / 16**13 < 0.75

    @property
    def admitted(self) -> dict[str, tuple[str | None, str | None]]:
        return {key: person for key, person in self.people.items() if self.is_admitted(key)}

    def fault(self, operation: str, batch: Batch) -> str:
        return self.random.choice(["ok"] * 6 + FAULTS)

    def run(self, *, healthy: bool) -> SyncReport | None:
        with self.warehouse.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM people")
            for key, (email, phone) in self.people.items():
                connection.execute(
                    sa.text("INSERT INTO people VALUES (:key, :email, :phone, 'Zoë', :consent)"),
                    {"key": key, "email": email, "phone": phone, "consent": self.consents.get(key, True)},
                )
            connection.exec_driver_sql("DELETE FROM suppressed; DELETE FROM vips")
            for email in self.suppressed:
                connection.execute(sa.text("INSERT INTO suppressed VALUES (:email)"), {"email": f" {email.upper()} "})
            for key in self.vips:
                connection.execute(sa.text("INSERT INTO vips VALUES (:key)"), {"key": key})
        destination = self.list if healthy else _Faulty(self.list, self)
        sync = SyncConfig.model_validate(
            {
                "destination": "list",
                "mapping": self.mapping,
                "mode": self.mode,
                "guard": GuardConfig(allow_empty=True, max_unusable_percent=100).model_dump(),
            }
        ).admitting(self.admission)
        audience = AudienceConfig.model_validate(
            {
                "name": "people",
                "source": "shop",
                "primary_key": "id",
                "sql": "SELECT id, email, phone, first_name, consent FROM people",
                "split": SPLIT if self.admission.groups is not None else None,
            }
        )
        vip = AudienceConfig(name="vip", source="shop", primary_key="id", sql="SELECT id FROM vips")
        evaluate_audience(vip, self.warehouse, run_id="run")
        evaluate_audience(audience, self.warehouse, run_id="run")
        options = RunOptions(retry_rejected=healthy)
        try:
            return run_sync(audience, sync, destination, self.warehouse, run_id="run", options=options)
        except (AudienceSyncsError, Cancelled):
            if healthy:
                raise
            return None


class _Faulty:
    """The list, seen through a bad day."""

    def __init__(self, people: PersonList, history: History) -> None:
        self._people = people
        self._history = history
        self.spec = people.spec
        people.rejects = {email_hash(history.email())} if history.random.random() < 0.3 else set()
        people.refuses = {email_hash(history.email())} if history.random.random() < 0.2 else set()
        people.names_culprit = history.random.random() < 0.5

    @property
    def requests_sent(self) -> int:
        return self._people.requests_sent

    def ensure_list(self, wanted):  # type: ignore[no-untyped-def]
        return self._people.ensure_list(wanted)

    def add(self, list_id: str, batch: Batch):  # type: ignore[no-untyped-def]
        return self._call("add", list_id, batch)

    def remove(self, list_id: str, batch: Batch):  # type: ignore[no-untyped-def]
        return self._call("remove", list_id, batch)

    def _call(self, operation: str, list_id: str, batch: Batch):  # type: ignore[no-untyped-def]
        event = self._history.fault(operation, batch)
        if event in ("cancel_before", "cut_before"):
            self._end(event)
        self._people.script = lambda _operation, _batch: event if event in FAULTS[:4] else "ok"
        try:
            answer = getattr(self._people, operation)(list_id, batch)
        finally:
            self._people.script = lambda _operation, _batch: "ok"
        if event in ("cancel_after", "cut_after"):
            self._end(event)
        return answer

    def _end(self, event: str) -> None:
        if event.startswith("cut"):
            with self._history.warehouse.engine.connect() as connection:
                connection.exec_driver_sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
        raise Cancelled


@pytest.fixture(scope="module")
def warehouse(postgres_url: str) -> Iterator[Warehouse]:
    with open_warehouse_at(postgres_url) as warehouse:
        yield warehouse


def test_after_any_history_one_clean_run_makes_the_list_the_audience(
    warehouse: Warehouse, request: pytest.FixtureRequest
) -> None:
    first, count = request.config.getoption("--first-history"), request.config.getoption("--histories") or HISTORIES
    for seed in range(first, first + count):
        history = History(warehouse, seed)
        for _ in range(history.random.randrange(1, 7)):
            history.change_people()
            history.run(healthy=False)
        history.change_people()
        _heal(history)
        report = history.run(healthy=True)
        assert report is not None
        _check(history, report, warehouse, seed)
        calls = len(history.list.calls)
        history.run(healthy=True)
        usable = [
            key
            for key, (email, phone) in history.admitted.items()
            if email or (phone and "PHONE" in history.mapping) or "EXTERN_ID" in history.mapping
        ]
        assert len(history.list.calls) == calls, f"history {seed}: the second run sent something"
        assert report.accepted == len(usable), f"history {seed}: accepted"


def _heal(history: History) -> None:
    history.list.rejects, history.list.refuses = set(), set()


def _check(history: History, report: SyncReport, warehouse: Warehouse, seed: int) -> None:
    assert report.in_audience == len(history.admitted), f"history {seed}: in audience"
    assert report.in_audience + sum(report.withheld.values()) == len(history.people), f"history {seed}: counts"
    if history.mode == "add":
        _check_added(history, warehouse, seed)
        return
    expected = {email_hash(email) for email, _ in history.admitted.values() if email}
    strangers = {stranger.removeprefix("EMAIL:") for stranger in history.strangers}
    assert history.list.emails() - strangers == expected, f"history {seed}: the list is not the audience"
    assert strangers <= history.list.emails(), f"history {seed}: a stranger was removed"
    with warehouse.engine.connect() as connection:
        ledger = {
            key: {value for value in identifiers if value.startswith("EMAIL:")}
            for key, identifiers in connection.execute(
                sa.text("SELECT member_key, identifiers FROM audience_syncs.ledger")
            )
        }
    wanted = {key: {f"EMAIL:{email_hash(email)}"} if email else set() for key, (email, _) in history.admitted.items()}
    assert ledger == wanted, f"history {seed}: the ledger is not the list"


def _check_added(history: History, warehouse: Warehouse, seed: int) -> None:
    """Where nobody is taken out for leaving: those who are sent are in the list, and of those who are excluded the ledger
    knows nothing, so that their identifiers are there for another member only, or not at all."""
    in_list = history.list.emails()
    assert {email_hash(email) for email, _ in history.admitted.values() if email} <= in_list, f"history {seed}: missing"
    with warehouse.engine.connect() as connection:
        held = {
            key: set(identifiers)
            for key, identifiers in connection.execute(
                sa.text("SELECT member_key, identifiers FROM audience_syncs.ledger")
            )
        }
    only_exclusions = Admission(history.admission.exclusions)
    history.admission, admission = only_exclusions, history.admission
    excluded = set(history.people) - set(history.admitted)
    history.admission = admission
    assert not excluded & set(held), f"history {seed}: an excluded person is held"
    known = {f"EMAIL:{email}" for email in in_list} - history.strangers
    assert known <= set().union(*held.values(), set()), f"history {seed}: somebody is in the list whom nobody knows"
