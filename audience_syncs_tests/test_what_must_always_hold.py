"""DESIGN.md, section 4: the thirteen statements, each a named test, on PostgreSQL and over real HTTP to the platforms.

Other tests go wider (random histories, the kill test, the engine's promises); these say what is promised. The thirteenth,
privacy, has its own file, ``test_privacy``.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from audience_syncs.audiences import evaluate_audience
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError, AudienceSyncsError, GuardBlocked, SyncLocked
from audience_syncs.model.values import RunOptions, SyncReport
from audience_syncs.simulators import SimulatorServer
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs.warehouse.state import State
from audience_syncs_tests.history_places import STRANGER
from audience_syncs_tests.history_world import History, Person, World, cut_connections, ruled
from audience_syncs_tests.platforms.harness import sha


@pytest.fixture(scope="module")
def simulators() -> Iterator[str]:
    with SimulatorServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def warehouse(postgres_url: str) -> Iterator[Warehouse]:
    with open_warehouse_at(postgres_url) as warehouse:
        yield warehouse


class Story(World):
    """A world that is told step by step."""

    def now(self, **people: str | None) -> None:
        """Who is in the audience now: ``ann="a@example.com"``."""
        self.names = sorted({*getattr(self, "names", []), *people})
        self.people = {
            self.names.index(name): Person((address,) if address else (), None) for name, address in people.items()
        }

    def sync(self, **options: Any) -> SyncReport:
        self.store_people()
        audience, sync = self.definitions()
        sync = sync.model_copy(update={"guard": sync.guard.model_copy(update=self.guard)})
        with ruled(self.rule_version, self.harness):
            evaluate_audience(audience, self.warehouse, run_id="run")
            self.runs += 1
            return run_sync(
                audience,
                sync,
                self.destination(),
                self.warehouse,
                run_id=f"run-{self.runs}",
                options=RunOptions(**options),
            )

    runs: int = 0
    guard: Mapping[str, Any] = MappingProxyType({})

    @property
    def list_id(self) -> str:
        return self.place.list_id

    def inspect(self, path: str) -> str:
        return f"{self.simulators}/_simulator/{self.platform}/{path}"

    def fault(self, kind: str, **more: Any) -> None:
        asked = {"platform": self.platform, "kind": kind, "retry_after_s": 0, "delay_s": 0.3} | more
        assert requests.post(f"{self.simulators}/_simulator/faults", json=asked, timeout=30).ok

    def fault_of(self, kind: str, address: str, **more: Any) -> None:
        self.fault(kind, contains=sha(address) if self.platform == "meta" else f'"{address}"', **more)

    @property
    def adding(self) -> str:
        return "users.add" if self.platform == "meta" else "memberships.add"

    @property
    def removing(self) -> str:
        return "users.remove" if self.platform == "meta" else "memberships.remove"

    def listed(self) -> set[str]:
        """Emails in the list, as those of this story; somebody unknown shows as what is held."""
        members = requests.get(self.inspect(f"lists/{self.list_id}/members"), timeout=30).json()["members"]
        held = [member.get("EMAIL") or member.get("email") for member in members]
        names = {sha(address): address for address in ADDRESSES} if self.platform == "meta" else {}
        return {names.get(value, value) for value in held} - {STRANGER}

    def others(self) -> bool:
        members = requests.get(self.inspect(f"lists/{self.list_id}/members"), timeout=30).json()["members"]
        return any(sha(STRANGER) in member.values() or STRANGER in member.values() for member in members)

    def received(self) -> list[str]:
        """The operations that change something, since the last look."""
        found = requests.get(self.inspect("requests"), timeout=30).json()
        requests.delete(self.inspect("requests"), timeout=30)
        entries = found["requests"] if isinstance(found, dict) else found
        return [
            e["operation"] for e in entries if e["operation"].startswith(("users.", "contacts.upsert", "memberships."))
        ]

    def ledger(self) -> dict[str, str]:
        with self.warehouse.engine.connect() as connection:
            found = connection.execute(sa.text("SELECT member_key, state FROM audience_syncs.ledger")).all()
        return {self.names[int(key)]: state for key, state in found}

    def wait_until_delivering(self) -> None:
        State(self.warehouse).prepare()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with self.warehouse.engine.connect() as connection:
                if connection.scalar(sa.text("SELECT count(*) FROM audience_syncs.plans WHERE status = 'sealed'")):
                    return
        raise TimeoutError("no plan was sealed")

    def rejections(self) -> list[tuple[str, str]]:
        with self.warehouse.engine.connect() as connection:
            found = connection.execute(
                sa.text("SELECT member_key, reason FROM audience_syncs.rejections ORDER BY 1")
            ).all()
        return [(self.names[int(key)], reason) for key, reason in found]


A, B, C, D = ADDRESSES4 = ("a@example.com", "b@example.com", "c@example.com", "d@example.com")
PLUS = "a+shop@example.com"
ADDRESSES = [*ADDRESSES4, PLUS, STRANGER]
Tell = Callable[..., Story]


@pytest.fixture(params=["meta", "hubspot"])
def story(request: pytest.FixtureRequest, warehouse: Warehouse, simulators: str) -> Story:
    told = Story(warehouse, simulators, History(request.param, batch_size=2, concurrency=1, rounds=()))
    told.mapping = 1 if request.param == "meta" else 0  # the email alone
    return told


FAULTS = [
    "rate_limit",
    "server_error",
    "server_error_after",
    "timeout_before",
    "timeout_after",
    "reset_before",
    "reset_after",
]


@pytest.mark.parametrize("kind", [*FAULTS, "malformed", "partial", "reject_batch", "forbidden"])
def test_01_after_any_fault_one_clean_run_makes_the_list_the_audience(story: Story, kind: str) -> None:
    story.now(ann=A, bob=B, cem=C)
    story.sync()
    story.now(bob=D, cem=C, dan=A)
    story.fault(kind, operation=story.adding, count=4)
    story.fault(kind, operation=story.removing, count=2)
    with contextlib.suppress(AudienceSyncsError):
        story.sync()
    story.heal()
    story.sync(retry_rejected=True)
    assert story.listed() == {A, C, D}
    assert set(story.ledger()) == {"bob", "cem", "dan"}


@pytest.mark.parametrize("kind", ["timeout_before", "timeout_after"])
def test_02_somebody_who_may_have_been_added_and_has_left_is_removed(story: Story, kind: str) -> None:
    story.now(ann=A, bob=B)
    story.fault(kind, operation=story.adding)
    assert story.sync().unknown == 2
    assert story.ledger() == {"ann": "unknown", "bob": "unknown"}, "unknown is neither accepted nor forgotten"
    story.heal()
    story.now(bob=B)
    story.sync()
    assert story.listed() == {B}
    assert story.ledger() == {"bob": "accepted"}


@pytest.mark.parametrize("second", ["reject_batch", "rate_limit", "forbidden"])
def test_02_the_last_word_of_the_platform_does_not_hide_an_attempt_without_an_answer(story: Story, second: str) -> None:
    story.now(ann=A, bob=B)
    story.fault("server_error_after", operation=story.adding, count=1)  # they are in; nobody knows
    story.fault(second, operation=story.adding)
    with contextlib.suppress(AudienceSyncsError):
        story.sync()
    assert story.listed() == {A, B}
    assert story.ledger() == {"ann": "unknown", "bob": "unknown"}
    story.heal()
    story.now(bob=B)
    story.sync()
    assert story.listed() == {B}
    assert story.ledger() == {"bob": "accepted"}


def test_03_only_people_this_sync_put_there_are_removed(story: Story) -> None:
    story.now(ann=A, bob=B)
    story.sync()
    story.now(bob=B)
    story.sync()
    story.now(bob=B, cem=C)
    story.sync(full_resync=True)
    assert story.listed() == {B, C}
    assert story.others()


def test_04_removal_works_when_the_row_is_gone_from_the_source(story: Story) -> None:
    story.now(ann=A, bob=B)
    story.sync()
    story.mapping = 2  # the row is gone, and what was mapped then is not what is mapped now
    story.now(bob=B)
    assert story.sync().removed == 1
    assert story.listed() == {B}


def test_05_a_changed_email_removes_the_old_and_adds_the_new(story: Story) -> None:
    story.now(ann=A, bob=B)
    story.sync()
    story.now(ann=B, bob=A)
    story.sync()
    assert story.listed() == {A, B}, "swapped emails lose nobody"
    story.now(ann=C, bob=A)
    story.sync()
    assert story.listed() == {A, C}


def test_06_a_shared_email_leaves_with_the_last_member_who_has_it(story: Story) -> None:
    story.now(ann=A, bob=A, cem=C)
    story.sync()
    story.now(bob=A, cem=C)
    story.sync()
    assert story.listed() == {A, C}
    story.now(cem=C)
    story.sync()
    assert story.listed() == {C}


def test_07_a_rejected_member_stops_nobody_is_named_and_tried_again_when_the_row_changes(story: Story) -> None:
    story.fault_of("partial", B)
    story.now(ann=A, bob=B, cem=C)
    report = story.sync()
    assert (story.listed(), report.accepted) == ({A, C}, 2)
    ((name, reason),) = story.rejections()
    assert name == "bob"
    assert reason
    assert B not in reason
    story.received()
    story.sync()
    assert story.received() == [], "not tried again while nothing changed"
    story.now(ann=A, bob=D, cem=C)
    story.sync()
    assert (story.listed(), story.rejections()) == ({A, C, D}, [])


def test_07_a_batch_refused_for_one_row_delivers_the_rest_and_retryable_members_come_back(story: Story) -> None:
    story.fault_of("reject_batch", B)
    story.now(ann=A, bob=B, cem=C)
    story.sync()
    assert (story.listed(), [name for name, _ in story.rejections()]) == ({A, C}, ["bob"])
    story.heal()
    story.now(ann=A, bob=B, cem=C, dan=D)
    story.fault("rate_limit", operation=story.adding)
    assert story.sync().retryable == 1
    story.heal()
    assert story.sync().added == 1
    assert story.listed() == {A, C, D}
    story.sync(retry_rejected=True)
    assert story.listed() == {A, B, C, D}


def test_08_a_new_rule_version_sends_exactly_those_whose_payload_changes(story: Story) -> None:
    story.now(ann=PLUS, bob=B, cem=C)
    story.sync()
    assert story.listed() == {PLUS, B, C}
    story.rule_version = 2
    report = story.sync()
    assert (report.updated, report.added, report.removed) == (1, 0, 0)
    assert story.listed() == {A, B, C}, "the old form was removed as it was sent"


def test_08_a_changed_mapping_sends_again_those_whose_payload_changes(story: Story) -> None:
    story.now(ann=A, bob=B)
    story.sync()
    story.mapping = {"meta": 2, "hubspot": 1}[story.platform]  # a first name as well
    assert story.sync().updated == 2
    assert story.listed() == {A, B}


def test_09_a_full_resync_sends_everyone_removes_leavers_and_never_empties_the_list(story: Story) -> None:
    story.now(ann=A, bob=B)
    story.sync()
    story.now(cem=C, dan=D)
    seen: list[set[str]] = []
    done = threading.Event()
    story.fault("slow", delay_s=0.05)

    def look() -> None:
        while not done.is_set():
            seen.append(story.listed())

    watcher = threading.Thread(target=look)
    watcher.start()
    story.guard = {"min_drop": 1000}
    report = story.sync(full_resync=True)
    done.set()
    watcher.join()
    assert story.listed() == {C, D}
    assert (report.added, report.removed) == (2, 2)
    assert len(seen) > 3
    assert all(seen), "the list was empty for a moment"


def test_10_two_runs_of_one_sync_never_overlap(story: Story) -> None:
    story.now(ann=A, bob=B, cem=C)
    story.fault("slow", delay_s=0.1)
    reports: list[SyncReport] = []
    first = threading.Thread(target=lambda: reports.append(story.sync()))
    first.start()
    story.wait_until_delivering()
    audience, sync = story.definitions()
    with pytest.raises(SyncLocked) as refused:
        run_sync(audience, sync, story.destination(), story.warehouse, run_id="second")
    assert "another run of this sync is under way" in str(refused.value)
    assert "What to do" in str(refused.value)
    first.join()
    assert (reports[0].added, story.listed()) == (3, {A, B, C})


def test_10_a_dead_process_does_not_keep_the_lock(story: Story) -> None:
    story.now(ann=A)
    story.fault("slow", delay_s=0.1)

    def die() -> None:
        with pytest.raises(AudienceSyncsError):
            story.sync()

    dying = threading.Thread(target=die)
    dying.start()
    story.wait_until_delivering()
    cut_connections(story.warehouse)
    dying.join()
    story.heal()
    story.sync()
    assert story.listed() == {A}


def test_11_the_same_input_twice_sends_nothing_the_second_time(story: Story) -> None:
    story.now(ann=A, bob=B, cem=None)
    story.sync()
    story.received()
    report = story.sync()
    assert story.received() == []
    assert (report.added, report.updated, report.removed, report.accepted) == (0, 0, 0, 2)


BAD_QUERIES = {
    "duplicate keys": (
        "SELECT '7' AS id, emails, email, phone, first_name FROM people",
        "[AUDIENCE_DUPLICATE_KEY] audience people: 1 keys are used by more than one of the 3 rows, e.g. 7 (3 rows)",
        "return one row per id: group by it, or use DISTINCT ON",
    ),
    "null keys": (
        "SELECT nullif(id, '0') AS id, emails, email, phone, first_name FROM people",
        "[AUDIENCE_NULL_KEY] audience people: 1 of 3 rows have no 'id' (null or empty)",
        "add WHERE id IS NOT NULL, or choose another primary_key",
    ),
    "empty keys": (
        "SELECT replace(id, '0', '') AS id, emails, email, phone, first_name FROM people",
        "[AUDIENCE_NULL_KEY] audience people: 1 of 3 rows have no 'id' (null or empty)",
        "add WHERE id IS NOT NULL, or choose another primary_key",
    ),
    "no primary key": (
        "SELECT emails, email, phone, first_name FROM people",
        "[AUDIENCE] audience people: the query has no column 'id', which `primary_key` names",
        "it has: emails, email, phone, first_name",
    ),
    "a column twice": (
        "SELECT id, emails, email, phone, first_name, email FROM people",
        "[AUDIENCE] audience people: the query names a column twice: email",
        "give each column a name of its own with AS",
    ),
    "no columns": (
        "SELECT FROM people",
        "[AUDIENCE] audience people: the query returns no columns",
        "select the primary key and the columns to be mapped",
    ),
    "a broken query": (
        "SELECT id FROM peeple",
        '[AUDIENCE] audience people: the warehouse refused the query: relation "peeple" does not exist',
        "run the audience's SQL in your warehouse to see where it stops",
    ),
    "a renamed column": (
        "SELECT id, emails AS mails, email AS mail, phone, first_name FROM people",
        "[AUDIENCE_MISSING_COLUMN] sync people/ads: the audience has no column",
        "select the column in the SQL, or correct the mapping",
    ),
}


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_12_a_bad_query_is_refused_with_figures_nothing_sent_ledger_untouched(story: Story, query: str) -> None:
    sql, message, remedy = BAD_QUERIES[query]
    story.now(ann=A, bob=B, cem=C)
    story.sync()
    story.received()
    ledger = story.ledger()
    audience, sync = story.definitions()
    broken = AudienceConfig.model_validate(
        audience.model_dump() | {"sql": sql, "syncs": [sync.model_dump(exclude_unset=True)]}
    )

    def run_broken() -> None:
        evaluate_audience(broken, story.warehouse, run_id="broken")
        run_sync(broken, sync, story.destination(), story.warehouse, run_id="broken")

    with pytest.raises(AudienceError) as refused:
        run_broken()
    assert message in str(refused.value)
    assert "What to do: " in str(refused.value)
    assert remedy in str(refused.value)
    assert (story.received(), story.ledger(), story.listed()) == ([], ledger, {A, B, C})
    story.sync()
    assert story.received() == []


GUARDS: dict[str, tuple[dict[str, Any], dict[str, str | None], str]] = {
    "zero rows": (
        {"allow_empty": False},
        {},
        "the audience has 0 members; the list holds 3, all of whom would be removed",
    ),
    "a large drop": (
        {"min_drop": 0, "max_drop_percent": 30},
        {"ann": A, "bob": B},
        "1 of 3 members would be removed, 33.3 %; the limit is 30 % (guard.max_drop_percent)",
    ),
    "too many removals": (
        {"max_removals": 1},
        {"ann": A},
        "2 members would be removed; the limit is 1 (guard.max_removals)",
    ),
    "too many without an identifier": (
        {"min_drop": 0, "max_unusable_percent": 20, "max_drop_percent": 100},
        {"ann": A, "bob": "nobody", "cem": C},
        "1 of 3 members have no usable identifier, 33.3 %; the limit is 20 % (guard.max_unusable_percent)",
    ),
}


@pytest.mark.parametrize("limit", GUARDS)
def test_12_a_plan_beyond_the_guard_is_not_sent_until_exactly_it_is_approved(story: Story, limit: str) -> None:
    guard, people, message = GUARDS[limit]
    story.now(ann=A, bob=B, cem=C)
    story.sync()
    story.received()
    ledger = story.ledger()
    story.now(**people)
    story.guard = guard
    with pytest.raises(GuardBlocked) as blocked:
        story.sync()
    shown = str(blocked.value)
    assert message in shown
    assert f"audience-syncs approve people/ads {blocked.value.digest}" in shown
    assert (story.received(), story.ledger(), story.listed()) == ([], ledger, {A, B, C})
    story.sync(approve=blocked.value.digest)
    assert story.listed() == {address for address in people.values() if address != "nobody"}


def test_12_a_sync_whose_audience_was_never_evaluated_says_so(story: Story) -> None:
    audience, sync = story.definitions()
    with pytest.raises(AudienceError) as refused:
        run_sync(audience, sync, story.destination(), story.warehouse, run_id="first")
    assert "audience 'people' has not been evaluated yet" in str(refused.value)
    assert "materialise the asset audiences/people first" in str(refused.value)


# What a platform may do to a list or an account: each with its message, and without losing state


def test_a_list_that_was_deleted_is_named_with_a_way_out(story: Story) -> None:
    story.now(ann=A, bob=B)
    story.sync()
    assert requests.post(story.inspect(f"lists/{story.list_id}/delete"), timeout=30).ok
    ledger = story.ledger()
    for people in ({"ann": A, "bob": B}, {"ann": A, "bob": B, "cem": C}):
        story.now(**people)
        with pytest.raises(AudienceSyncsError) as stopped:
            story.sync()
        assert stopped.value.code == "LIST_MISSING"
        assert "audience-syncs resync people/ads --new-list" in str(stopped.value)
        assert story.ledger() == ledger
    report = story.sync(new_list=True)
    assert report.list is not None
    story.place.list_id = report.list.id
    assert (report.added, story.listed()) == (3, {A, B, C})


def test_a_revoked_token_is_named_and_the_next_run_goes_on_where_it_ended(story: Story) -> None:
    story.now(ann=A, bob=B)
    story.sync()
    requests.post(story.inspect("tokens/revoke"), json={"token": story.token}, timeout=30)
    story.now(ann=A, bob=B, cem=C)
    ledger = story.ledger()
    with pytest.raises(AudienceSyncsError) as stopped:
        story.sync()
    assert stopped.value.code == "ACCESS_REFUSED"
    assert "What to do" in str(stopped.value)
    assert story.token not in str(stopped.value)
    assert story.ledger() == ledger
    requests.post(story.inspect("tokens/restore"), json={"token": story.token}, timeout=30)
    assert story.sync().added == 1
    assert story.listed() == {A, B, C}
