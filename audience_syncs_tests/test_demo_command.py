"""What a new user does: `audience-syncs demo`, in one command, for real; and the other commands beside it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from audience_syncs_tests.local_demo import LocalDemo


@pytest.fixture(scope="module")
def demo() -> Iterator[LocalDemo]:
    folder = Path(tempfile.mkdtemp(prefix="as_demo_"))
    demo = LocalDemo(folder / "state")
    yield demo
    demo.stop()
    for process in demo.processes:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def test_demo_once_makes_every_list_equal_to_its_audience(demo: LocalDemo) -> None:
    rows = demo.answer("demo", "--once", "--users", "3000")
    assert [row["sync"] for row in rows] == [
        f"{audience}/{sync}"
        for audience in ("cart_abandoners", "high_value_customers", "lapsed_customers")
        for sync in ("meta_ads", "hubspot_crm")
    ]
    for row in rows:
        assert row["equal"], row
        assert row["expected_emails"] > 10
        assert row["accepted"] + sum(reason["members"] for reason in row["rejected"]) == row["in_audience"]
    assert demo.processes == []


def test_time_passes_and_a_second_demo_sends_the_changes(demo: LocalDemo) -> None:
    happened = demo.answer("demo", "tick", "--hours", "48")
    assert happened["signed_up"] > 0
    assert happened["changed_email"] > 0
    assert happened["deleted"] > 0
    rows = demo.answer("demo", "--once")
    assert all(row["equal"] for row in rows)


def test_list_status_plan_and_run_find_the_local_demo(demo: LocalDemo) -> None:
    assert len(demo.answer("list")) == 6
    statuses = {row["sync"]: row for row in demo.answer("status")}
    meta = statuses["lapsed_customers/meta_ads"]
    assert meta["status"] == "active"
    assert meta["accepted"] == meta["in_audience"] > 0
    assert meta["frequency"] == "every 1 day"
    assert statuses["lapsed_customers/hubspot_crm"]["status"] == "warning"
    plan = demo.answer("plan", "lapsed_customers/meta")
    assert not any(plan["counts"].values())
    table = demo.run("status")
    assert "Frequency" in table.stdout
    assert "using the local demo" in table.stderr


def test_unknown_and_ambiguous_syncs_are_answered_with_names(demo: LocalDemo) -> None:
    unknown = demo.run("plan", "lapsed_custommers/meta_ads", code=1)
    assert "lapsed_customers/meta_ads" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    ambiguous = demo.run("plan", "meta_ads", code=1)
    assert "several syncs have the name" in ambiguous.stderr


def test_a_wrong_definition_is_shown_with_line_and_remedy(demo: LocalDemo, tmp_path: Path) -> None:
    folder = tmp_path / "defs" / "audiences" / "x"
    folder.mkdir(parents=True)
    (folder / "defs.yaml").write_text(
        "type: audience_syncs.components.Audience\nattributes:\n  name: x\n  source: nowhere\n  sqll: SELECT 1\n"
        "  primary_key: id\n"
    )
    found = demo.run("check", str(tmp_path / "defs"), code=1)
    assert "defs.yaml:5" in found.stdout
    assert "did you mean" in found.stdout.lower()
    assert demo.run("check").stdout == "No problems.\n"


def test_a_run_by_hand_without_the_platform_says_so_and_the_next_one_delivers(demo: LocalDemo) -> None:
    demo.run("demo", "tick")
    failed = demo.run("run", "cart_abandoners/meta_ads", code=1)
    assert "Traceback" not in failed.stderr
    rows = demo.answer("demo", "--once")
    assert all(row["equal"] for row in rows)


def test_the_demo_with_its_ui_continues_where_it_was_and_ctrl_c_ends_all_of_it(demo: LocalDemo) -> None:
    demo.start("--port", "0")
    assert requests.get(f"{demo.ui}/server_info", timeout=10).status_code == 200
    listening = [
        c.laddr.ip for p in demo.processes for c in p.net_connections("inet") if c.status == psutil.CONN_LISTEN
    ]
    assert len(listening) >= 2, "the UI and the simulated platforms"
    assert set(listening) == {"127.0.0.1"}, "nothing of the demo can be reached from another machine"
    second = demo.run("demo", "--once", code=1)
    assert "already running" in second.stderr
    demo.stop(signal.SIGINT)
    deadline = time.monotonic() + 30
    while demo.processes and time.monotonic() < deadline:
        time.sleep(0.2)
    assert demo.processes == []


def test_a_demo_that_was_killed_can_be_started_again(demo: LocalDemo) -> None:
    demo.start("--port", "0")
    demo.stop(signal.SIGKILL)
    rows = demo.answer("demo", "--once")
    assert all(row["equal"] for row in rows)


def test_help_tells_every_command() -> None:
    from audience_syncs_tests.local_demo import COMMAND

    shown = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=60, check=True).stdout
    for command in ("check", "list", "status", "plan", "run", "simulators", "demo"):
        assert command in shown
