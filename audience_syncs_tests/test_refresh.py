"""Platforms that forget members after a while are told of them again in time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from audience_syncs.audiences import evaluate_audience
from audience_syncs.engine import run_sync
from audience_syncs.model.config import Mode
from audience_syncs.model.values import SyncReport
from audience_syncs_tests.sync_bench import Bench, sync_config

BEGIN = datetime(2026, 1, 31, 3, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def forgetful(bench: Bench) -> Bench:
    bench.list.spec = replace(bench.list.spec, refresh_after=30 * DAY)
    return bench


def run(bench: Bench, at: datetime) -> SyncReport:
    bench.runs += 1
    evaluate_audience(bench.audience, bench.warehouse, run_id=f"run-{bench.runs}")
    return run_sync(
        bench.audience, bench.sync, bench.list, bench.warehouse, run_id=f"run-{bench.runs}", clock=lambda: at
    )


def test_members_are_sent_again_before_they_are_forgotten_and_then_not_for_as_long(forgetful: Bench) -> None:
    forgetful.people(("1", "a@example.com"), ("2", "b@example.com"))
    run(forgetful, BEGIN)
    assert run(forgetful, BEGIN + 30 * DAY).planned.sent == 0
    again = run(forgetful, BEGIN + 30 * DAY + timedelta(minutes=1))
    assert (again.resent, again.added, again.updated, again.removed) == (2, 0, 0, 0)
    assert forgetful.list.emails() == forgetful.expected()
    assert run(forgetful, BEGIN + 31 * DAY).planned.sent == 0
    assert run(forgetful, BEGIN + 61 * DAY).resent == 2


def test_only_those_are_sent_again_whose_time_is_over(forgetful: Bench) -> None:
    forgetful.people(("1", "a@example.com"))
    run(forgetful, BEGIN)
    forgetful.people(("1", "a@example.com"), ("2", "b@example.com"))
    run(forgetful, BEGIN + 20 * DAY)
    assert run(forgetful, BEGIN + 31 * DAY).resent == 1


def test_who_left_meanwhile_is_not_brought_back(forgetful: Bench) -> None:
    forgetful.people(("1", "a@example.com"), ("2", "b@example.com"))
    run(forgetful, BEGIN)
    forgetful.people(("1", "a@example.com"))
    report = run(forgetful, BEGIN + 40 * DAY)
    assert (report.removed, report.resent) == (1, 1)
    assert forgetful.list.emails() == forgetful.expected()


def test_a_member_whose_refresh_fails_is_tried_again(forgetful: Bench) -> None:
    forgetful.people(("1", "a@example.com"))
    run(forgetful, BEGIN)
    forgetful.list.script = lambda operation, batch: "not_applied"
    assert run(forgetful, BEGIN + 31 * DAY).retryable == 1
    forgetful.list.script = lambda operation, batch: "ok"
    assert run(forgetful, BEGIN + 31 * DAY).resent == 1


def test_others_are_never_sent_again_and_nobody_where_there_is_no_list(bench: Bench) -> None:
    bench.people(("1", "a@example.com"))
    run(bench, BEGIN)
    assert run(bench, BEGIN + 3_650 * DAY).planned.sent == 0
    bench.list.spec = replace(bench.list.spec, refresh_after=DAY)
    bench.sync = sync_config(name="writes", mode=Mode.UPSERT)
    run(bench, BEGIN)
    assert run(bench, BEGIN + 100 * DAY).planned.sent == 0
