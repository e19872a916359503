"""Audiences by day: every day evaluated as of its end, in any order and again, always with the same history."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from audience_syncs.audiences import evaluate_audience
from audience_syncs.audiences.as_of import with_as_of
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig, SyncConfig
from audience_syncs.model.errors import AudienceError
from audience_syncs.model.values import RunOptions, Snapshot
from audience_syncs_tests.sync_bench import Bench, email_hash, sync_config

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SQL = "SELECT DISTINCT id, email FROM visits WHERE at >= :as_of - interval '2 days' AND at < :as_of"


class Days:
    """An audience of who visited in the two days before."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        bench.execute("CREATE TABLE visits (id text, email text, at timestamptz)")

    def audience(self, **sync: object) -> AudienceConfig:
        values = {"mapping": {"EMAIL": "email"}} | sync
        return AudienceConfig.model_validate(
            {
                "name": "people",
                "source": "shop",
                "primary_key": "id",
                "sql": SQL,
                "partitions": {"start": "2026-03-01"},
                "syncs": [sync_config(**values).model_dump(exclude_unset=True)],
            }
        )

    def visit(self, who: str, at: str) -> None:
        self.bench.execute(f"INSERT INTO visits VALUES ('{who}', '{who}@example.com', '{at}')")

    def evaluate(self, day: str | None = None, now: datetime = NOW) -> Snapshot:
        return evaluate_audience(self.audience(), self.bench.warehouse, run_id="run", day=day, clock=lambda: now)

    def history(self) -> list[tuple[object, ...]]:
        return self.bench.rows(
            "SELECT s.partition_key, m.event, m.member_key, m.at FROM audience_syncs.membership m "
            "JOIN audience_syncs.snapshots s ON s.id = m.snapshot_id ORDER BY 1, 2, 3"
        )

    def sizes(self) -> list[tuple[object, ...]]:
        return self.bench.rows(
            "SELECT partition_key, members, entered, exited FROM audience_syncs.snapshots WHERE table_name IS NOT NULL ORDER BY 1"
        )


@pytest.fixture
def days(bench: Bench) -> Days:
    return Days(bench)


def test_a_day_is_evaluated_as_of_its_end_whatever_the_time_is_now(days: Days) -> None:
    days.visit("a", "2026-03-04T23:59:59Z")
    days.visit("b", "2026-03-05T00:00:00Z")
    assert days.evaluate("2026-03-04").members == 1
    assert days.evaluate("2026-03-05").members == 2
    assert days.evaluate("2026-03-06").members == 1
    assert days.evaluate().partition == "2026-03-09"


@pytest.mark.parametrize("day", ["2026-03-10", "2026-02-28", "yesterday", "2026-13-01"])
def test_a_day_that_is_not_over_or_never_was_is_refused_in_words(days: Days, day: str) -> None:
    with pytest.raises(AudienceError) as refused:
        days.evaluate(day)
    assert day in str(refused.value)
    assert "What to do" in str(refused.value)
    assert not days.bench.rows("SELECT 1 FROM audience_syncs.snapshots")


def test_days_in_any_order_and_again_come_to_the_same_history(days: Days) -> None:
    chance = random.Random(7)
    for _ in range(60):
        at = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(9 * 24 * 60))
        days.visit(f"p{chance.randrange(12)}", at.isoformat())
    everyday = [f"2026-03-0{day}" for day in range(1, 10)]
    for day in everyday:
        days.evaluate(day)
    history, sizes = days.history(), days.sizes()
    assert {event for _, event, _, _ in history} == {"enter", "exit"}
    for seed in range(4):
        days.bench.execute("DROP SCHEMA audience_syncs CASCADE")
        shuffled = random.Random(seed)
        order = everyday + shuffled.sample(everyday, 5)
        shuffled.shuffle(order)
        for day in order:
            days.evaluate(day)
        assert days.history() == history, order
        assert days.sizes() == sizes, order


def test_history_that_arrives_late_changes_its_day_and_the_next_only(days: Days) -> None:
    days.visit("a", "2026-03-03T12:00Z")
    for day in ("2026-03-02", "2026-03-03", "2026-03-04", "2026-03-05"):
        days.evaluate(day)
    days.visit("late", "2026-03-03T13:00Z")
    days.evaluate("2026-03-03")
    assert days.sizes() == [
        ("2026-03-02", 0, 0, 0),
        ("2026-03-03", 2, 2, 0),
        ("2026-03-04", 1, 0, 1),
        ("2026-03-05", 0, 0, 1),
    ]


def test_a_sync_follows_the_latest_day_and_can_be_sent_as_it_was(days: Days) -> None:
    days.visit("a", "2026-03-04T12:00Z")
    days.visit("b", "2026-03-08T12:00Z")
    days.evaluate("2026-03-08")
    days.evaluate("2026-03-04")  # a backfill afterwards: the latest day is still the 8th
    audience = days.audience(guard={"min_drop": 1000, "allow_empty": True})

    def send(day: str | None) -> set[str]:
        run_sync(
            audience,
            audience.syncs[0],
            days.bench.list,
            days.bench.warehouse,
            run_id="run",
            options=RunOptions(day=day),
        )
        return days.bench.list.emails()

    assert send(None) == {email_hash("b@example.com")}
    assert send("2026-03-04") == {email_hash("a@example.com")}
    assert send(None) == {email_hash("b@example.com")}
    with pytest.raises(AudienceError) as refused:
        send("2026-03-07")
    assert "2026-03-07 is not kept" in str(refused.value)


def test_an_audience_without_days_can_be_sent_as_it_was_while_it_is_kept(bench: Bench) -> None:
    bench.people(("1", "a@example.com"))
    evaluate_audience(bench.audience, bench.warehouse, run_id="run", clock=lambda: NOW)
    bench.people(("1", "b@example.com"))
    bench.run()
    assert bench.list.emails() == {email_hash("b@example.com")}
    bench.run_only(day="2026-03-10")
    assert bench.list.emails() == {email_hash("a@example.com")}
    with pytest.raises(AudienceError) as refused:
        bench.run_only(day="2026-03-09")
    assert "keep_snapshots" in str(refused.value)


def test_evaluations_that_are_due_together_are_made_once(bench: Bench) -> None:
    bench.people(("1", "a@example.com"))
    due = datetime.now(UTC)
    first = evaluate_audience(bench.audience, bench.warehouse, run_id="one", unless_since=due)
    second = evaluate_audience(bench.audience, bench.warehouse, run_id="two", unless_since=due)
    assert (first.reused, second.reused, second.id) == (False, True, first.id)
    later = evaluate_audience(bench.audience, bench.warehouse, run_id="three", unless_since=datetime.now(UTC))
    assert not later.reused


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT :as_of", "SELECT TIMESTAMPTZ '2026-03-10T12:00:00+00:00'"),
        (
            "SELECT x::as_of, ':as_offer', :as_of::date",
            "SELECT x::as_of, ':as_offer', TIMESTAMPTZ '2026-03-10T12:00:00+00:00'::date",
        ),
        ("SELECT '10%', 'a:b'", "SELECT '10%', 'a:b'"),
    ],
)
def test_only_the_word_as_of_is_replaced(sql: str, wanted: str) -> None:
    assert with_as_of(sql, NOW) == wanted


def test_a_partitioned_sync_that_would_mirror_is_refused() -> None:
    sync = SyncConfig.model_validate({"destination": "meta", "mapping": {"EMAIL": "email"}, "partitioned": True})
    with pytest.raises(ValueError, match="mode: add"):
        AudienceConfig(name="a", source="s", sql="SELECT 1", primary_key="id", partitions="daily", syncs=[sync])
