"""Runs to one account are processes of their own, and together keep the account's pace."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.engine.shared_pace import pace_shared
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs.warehouse.state import State


@pytest.fixture
def warehouse(fresh_postgres_url: str) -> Iterator[Warehouse]:
    with open_warehouse_at(fresh_postgres_url) as warehouse:
        State(warehouse).prepare()
        yield warehouse


class Account:
    """As much of a destination as keeps a pace; each stands for a process of its own."""

    def __init__(self, pace: Pace, name: str = "ads 1") -> None:
        self.pace = Pacer(pace, name)


def draw_all(warehouse: Warehouse, accounts: list[Account], requests: int) -> list[float]:
    """Each account's process sends so many requests; when they went."""
    times: list[float] = []

    def send(account: Account) -> None:
        with pace_shared(account, warehouse):  # type: ignore[arg-type]
            for _ in range(requests):
                assert account.pace.wait()
                times.append(time.monotonic())

    threads = [threading.Thread(target=send, args=(account,)) for account in accounts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(times)


def test_several_processes_together_never_pass_the_accounts_rate(warehouse: Warehouse) -> None:
    pace = Pace(50, burst=5)
    times = draw_all(warehouse, [Account(pace) for _ in range(4)], 20)
    assert len(times) == 80
    # In no window of time more than the burst and what the rate allows; a little for the clocks of threads.
    for first in range(len(times)):
        for last in range(first, len(times)):
            allowed = pace.burst + pace.requests_per_s * (times[last] - times[first] + 0.05)
            assert last - first + 1 <= allowed + 1, (first, last)
    assert times[-1] - times[0] >= (80 - 5) / 50 * 0.9
    # And the budget is used: nothing of it is left lying about.
    assert times[-1] - times[0] <= (80 / 50) * 1.6


def test_accounts_do_not_share_what_is_not_theirs(warehouse: Warehouse) -> None:
    started = time.monotonic()
    draw_all(warehouse, [Account(Pace(20, burst=1), f"ads {number}") for number in range(4)], 5)
    assert time.monotonic() - started < 4 * 5 / 20


def test_what_the_platform_told_one_process_holds_for_all(warehouse: Warehouse) -> None:
    first, second = Account(Pace(1000, burst=1)), Account(Pace(1000, burst=1))
    with pace_shared(first, warehouse), pace_shared(second, warehouse):  # type: ignore[arg-type]
        assert first.pace.wait()
        assert second.pace.wait()
        first.pace.hold_off(0.4)
        started = time.monotonic()
        assert second.pace.wait()
        assert time.monotonic() - started >= 0.35
        first.pace.hold_off(60)
        assert not second.pace.wait(longest_hold_off_s=1.0)


def test_a_pace_is_kept_alone_when_the_warehouse_cannot_be_reached(warehouse: Warehouse) -> None:
    account = Account(Pace(100, burst=2))
    with warehouse.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE audience_syncs.paces")
    started = time.monotonic()
    with pace_shared(account, warehouse):  # type: ignore[arg-type]
        assert all(account.pace.wait() for _ in range(12))
    assert 0.09 <= time.monotonic() - started < 2


def test_real_processes_share_it_too(warehouse: Warehouse, fresh_postgres_url: str) -> None:
    program = """
import sys, time
from audience_syncs.engine.shared_pace import pace_shared
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs_tests.test_shared_pace import Account, Pace
account = Account(Pace(20, burst=1))
with open_warehouse_at(sys.argv[1]) as warehouse, pace_shared(account, warehouse):
    while time.time() < float(sys.argv[2]):
        time.sleep(0.01)
    for _ in range(15):
        account.pace.wait()
        print(time.time())
"""
    start_at = str(time.time() + 5)
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", program, fresh_postgres_url, start_at], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    times = sorted(float(line) for worker in workers for line in worker.communicate(timeout=60)[0].splitlines())
    assert len(times) == 30
    assert times[-1] - times[0] >= 29 / 20 * 0.9
    with warehouse.engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM audience_syncs.paces")) == 1
