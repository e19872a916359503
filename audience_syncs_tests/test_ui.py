"""What a person sees: the real UI in headless Chromium, and the buttons of it through its own GraphQL."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from audience_syncs.project import configured_defs_dir, load_project
from audience_syncs_tests.local_demo import LocalDemo

SHOTS = os.environ.get("AUDIENCE_SYNCS_SHOTS")
"""A folder to keep the screenshots in, to be looked at."""


@pytest.fixture(scope="module")
def demo() -> Iterator[LocalDemo]:
    folder = Path(tempfile.mkdtemp(prefix="as_ui_"))
    demo = LocalDemo(folder / "state")
    # The project's own definitions, with one schedule that a test can wait for.
    shutil.copytree(configured_defs_dir({}), folder / "defs")
    often = folder / "defs" / "audiences" / "cart_abandoners" / "defs.yaml"
    often.write_text(often.read_text().replace("every: 15 minutes", "every: 1 minute"))
    demo.environment["AUDIENCE_SYNCS_DEFS"] = str(folder / "defs")
    demo.start("--port", "0", "--users", "5000")
    yield demo
    demo.stop()
    for process in demo.processes:
        process.kill()
    shutil.rmtree(folder, ignore_errors=True)


def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    return found


def look_at(url: str, folder: Path, name: str, *, until: str) -> str:
    """The page's DOM once it holds ``until``, with a screenshot beside it. Dagster's UI fills in as answers arrive."""
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--window-size=1500,2400",
        "--virtual-time-budget=30000",
    ]
    dom = ""
    for _ in range(4):
        profile = tempfile.mkdtemp(prefix="as_chromium_")
        command = [chromium(), *flags, f"--user-data-dir={profile}", f"--screenshot={folder / name}", "--dump-dom", url]
        dom = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False).stdout
        shutil.rmtree(profile, ignore_errors=True)
        if until in dom:
            break
    if SHOTS:
        shutil.copy(folder / name, Path(SHOTS) / name)
    return dom


def text_of(dom: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", dom))


def held(demo: LocalDemo, platform: str, name: str, field: str) -> set[str]:
    lists = requests.get(f"{demo.simulators}/_simulator/{platform}/lists", timeout=10).json()
    [found] = [entry for entry in lists if entry["name"] == name]
    members = requests.get(
        f"{demo.simulators}/_simulator/{platform}/lists/{found['id']}/members", params={"field": field}, timeout=30
    ).json()
    return {value for value in members if value}


@pytest.mark.ui
def test_the_page_of_a_sync_shows_its_numbers(demo: LocalDemo, tmp_path: Path) -> None:
    [status] = [row for row in demo.answer("status") if row["sync"] == "lapsed_customers/meta_ads"]
    page = look_at(f"{demo.ui}/assets/syncs/lapsed_customers/meta_ads", tmp_path, "sync.png", until="in_audience")
    text = text_of(page)
    for number in ("in_audience", "delivered", "accepted"):
        assert re.search(rf"{number} .{{0,40}}? {status['in_audience']}\b", text), (number, text[-3000:])
    assert "Every day" in text or "every 1 day" in text
    assert "Shop: lapsed customers" in text
    assert "Facebook" in text
    assert (tmp_path / "sync.png").stat().st_size > 50_000
    assert "@example" not in page


@pytest.mark.ui
def test_the_page_of_an_audience_shows_who_and_how_many_without_showing_anybody(
    demo: LocalDemo, tmp_path: Path
) -> None:
    page = look_at(f"{demo.ui}/assets/audiences/lapsed_customers", tmp_path, "audience.png", until="entered")
    text = text_of(page)
    [status] = [row for row in demo.answer("status") if row["sync"] == "lapsed_customers/meta_ads"]
    assert re.search(rf"members .{{0,40}}? {status['in_audience']}\b", text), text[-3000:]
    assert "pii: true" in text
    assert "SELECT" in text
    assert "@example" not in page


def test_the_checks_of_an_audience_show_its_syncs_table(demo: LocalDemo, tmp_path: Path) -> None:
    address = f"{demo.ui}/assets/audiences/lapsed_customers?view=checks&checkDetail=syncs"
    page = look_at(address, tmp_path, "syncs.png", until="matched users")
    text = text_of(page)
    for words in (
        "lapsed_customers/meta_ads",
        "lapsed_customers/hubspot_crm",
        "every 1 day",
        "last updated",
        "frequency",
    ):
        assert words in text, text[-3000:]
    assert "@example" not in page


def test_materialize_after_time_has_passed_sends_only_the_changes(demo: LocalDemo) -> None:
    demo.run("demo", "tick", "--hours", "24")
    requests.delete(f"{demo.simulators}/_simulator/meta/requests", timeout=10).raise_for_status()
    status = demo.materialise("sync__lapsed_customers__meta_ads", ["syncs", "lapsed_customers", "meta_ads"])
    assert status == "SUCCESS"
    journal = requests.get(f"{demo.simulators}/_simulator/meta/requests", timeout=10).json()
    entries = journal["requests"] if isinstance(journal, dict) else journal
    sent = {entry["operation"]: entry["rows"] for entry in entries if entry["operation"].startswith("users.")}
    [row] = [row for row in demo.answer("status") if row["sync"] == "lapsed_customers/meta_ads"]
    assert sent
    assert 0 < sum(sent.values()) < row["in_audience"] / 4, sent
    plan = demo.answer("plan", "lapsed_customers/meta_ads")
    assert plan["counts"]["added"] == plan["counts"]["updated"] == plan["counts"]["removed"] == 0
    # Worked out here, from the shop itself.
    assert held(demo, "meta", "Shop: lapsed customers", "EMAIL") == expected_hashes(demo, "lapsed_customers")


def expected_hashes(demo: LocalDemo, audience_name: str) -> set[str]:
    audience = load_project(configured_defs_dir({}), {}).audiences[audience_name]
    variables = dict(line.split("=", 1) for line in (demo.home / "local.env").read_text().splitlines())
    engine = sa.create_engine(variables["AUDIENCE_SYNCS_SHOP_URL"])
    with engine.connect() as connection:
        emails = connection.execute(sa.text(f"SELECT email FROM ({audience.sql}) q")).scalars().all()
    engine.dispose()
    clean = {(email or "").strip().lower() for email in emails}
    return {
        hashlib.sha256(email.encode()).hexdigest()
        for email in clean
        if re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email)
    }


def test_a_schedules_switch_in_the_ui_pauses_the_sync(demo: LocalDemo) -> None:
    selector = {
        "repositoryName": "__repository__",
        "repositoryLocationName": "audience_syncs",
        "scheduleName": "schedule__lapsed_customers__meta_ads",
    }
    found = demo.graphql(
        """query($s: ScheduleSelector!) { scheduleOrError(scheduleSelector: $s) {
             ... on Schedule { scheduleState { id selectorId status } } } }""",
        s=selector,
    )["scheduleOrError"]["scheduleState"]
    assert found["status"] == "RUNNING"
    demo.graphql("mutation($id: String) { stopRunningSchedule(id: $id) { __typename } }", id=found["id"])
    assert {row["sync"]: row["status"] for row in demo.answer("status")}["lapsed_customers/meta_ads"] == "paused"
    demo.graphql("mutation($s: ScheduleSelector!) { startSchedule(scheduleSelector: $s) { __typename } }", s=selector)
    assert {row["sync"]: row["status"] for row in demo.answer("status")}["lapsed_customers/meta_ads"] == "active"


def test_a_schedule_ticks_by_itself_and_sends_what_has_changed(demo: LocalDemo) -> None:
    demo.run("demo", "tick", "--hours", "24")
    before = demo.answer("plan", "cart_abandoners/meta_ads")["snapshot_id"]
    deadline = time.monotonic() + 150
    runs: list[dict[str, str]] = []
    # The first tick may have come while time was passing; the one after it has seen everything.
    while time.monotonic() < deadline and len(runs) < 2:
        found = demo.graphql(
            """query($f: RunsFilter!) { runsOrError(filter: $f) { ... on Runs { results { runId status } } } }""",
            f={
                "tags": [{"key": "dagster/schedule_name", "value": "schedule__cart_abandoners__meta_ads"}],
                "statuses": ["SUCCESS"],
            },
        )
        runs = found["runsOrError"]["results"]
        time.sleep(1)
    assert len(runs) >= 2, "the schedule started no run"
    after = demo.answer("plan", "cart_abandoners/meta_ads")
    assert after["snapshot_id"] > before
    assert after["counts"]["added"] == after["counts"]["removed"] == 0
    assert held(demo, "meta", "Shop: cart abandoners, headphones", "EMAIL") == expected_hashes(demo, "cart_abandoners")
