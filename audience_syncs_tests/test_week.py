"""A week of the shop, lived through Dagster: its daemon, its queue, its UI's own GraphQL; alerts come to a real webhook.

Time passes in the shop, not here. After each day the statuses, the messages, the tables and the platforms' lists are what a
person would expect.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

from audience_syncs.demo.shop import DEFAULT_NOW
from audience_syncs.project import configured_defs_dir
from audience_syncs_tests.local_demo import LocalDemo
from audience_syncs_tests.test_ui import look_at, text_of
from audience_syncs_tests.webhook import Webhook

DAYS = [str(DEFAULT_NOW.date() - timedelta(days=back)) for back in range(4, 0, -1)]
"""The last of them before the shop's own time begins."""
BUYERS = f"""\
type: audience_syncs.components.Audience
attributes:
  name: recent_buyers
  title: Bought in the last three days
  source: shop
  primary_key: user_id
  partitions: {{start: "{DAYS[0]}"}}
  sql: |
    SELECT DISTINCT u.user_id, u.email
    FROM shop.orders o JOIN shop.users u USING (user_id)
    WHERE o.ordered_at >= :as_of - interval '3 days' AND o.ordered_at < :as_of
  syncs:
    - destination: meta_ads
      partitioned: true
      mode: add
      list: {{name: "Shop: recent buyers"}}
      mapping: {{EMAIL: email}}
"""
ALERTS = """\
type: audience_syncs.components.Alerts
attributes:
  channels:
    team: {url: {env: TEAM_URL}}
  limits: {audience_change_percent: {}}
"""
HIGH, LAPSED_META, LAPSED_CRM = (
    "high_value_customers/meta_ads",
    "lapsed_customers/meta_ads",
    "lapsed_customers/hubspot_crm",
)
LISTS = {
    HIGH: "Shop: high-value customers",
    LAPSED_META: "Shop: lapsed customers",
    LAPSED_CRM: "Shop: lapsed customers",
}


SOUND = r"[^@\s]+@[^@\s]+\.[^@\s]+"


class Week:
    """The shop, Dagster, the platforms and the team's chat."""

    def __init__(self, demo: LocalDemo, chat: Webhook) -> None:
        self.demo = demo
        self.chat = chat
        variables = dict(line.split("=", 1) for line in (demo.home / "local.env").read_text().splitlines())
        self.warehouse = sa.create_engine(variables["AUDIENCE_SYNCS_SHOP_URL"])
        self.paused_with: set[str] = set()

    # what happens

    def a_day_passes(self) -> None:
        self.demo.run("demo", "tick", "--hours", "24")

    def sql(self, statement: str) -> list[Any]:
        with self.warehouse.begin() as connection:
            result = connection.exec_driver_sql(statement)
            return [tuple(row) for row in result] if result.returns_rows else []

    def fault(self, **rule: Any) -> None:
        requests.post(f"{self.demo.simulators}/_simulator/faults", json=rule, timeout=20).raise_for_status()

    def no_faults(self) -> None:
        requests.delete(f"{self.demo.simulators}/_simulator/faults", timeout=20).raise_for_status()

    def launch(self, sync: str, **config: Any) -> str:
        """What a schedule's tick or the launchpad does; answers the run's id."""
        audience, _, name = sync.partition("/")
        op = f"syncs__{audience}__{name}"
        launched = self.demo.graphql(
            """mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
                 __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            p={
                "selector": {
                    "repositoryName": "__repository__",
                    "repositoryLocationName": "audience_syncs",
                    "jobName": f"sync__{audience}__{name}",
                    "assetSelection": [{"path": ["syncs", audience, name]}],
                },
                "runConfigData": {"ops": {op: {"config": config}}} if config else {},
                "mode": "default",
            },
        )["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def run(self, sync: str, **config: Any) -> tuple[str, str]:
        """A run to its end: its id and its status."""
        run_id = self.launch(sync, **config)
        return run_id, self.ended(run_id)

    def run_all(self, *syncs: str) -> list[str]:
        """Runs of several syncs at once, to their ends; their statuses."""
        return [self.ended(run_id) for run_id in [self.launch(sync) for sync in syncs]]

    def ended(self, run_id: str) -> str:
        return self.wait_for(lambda: self._ended(run_id), f"run {run_id} to end")

    def _ended(self, run_id: str) -> str | None:
        found = self.demo.graphql("query($r: ID!) { runOrError(runId: $r) { ... on Run { status } } }", r=run_id)
        status: str = found["runOrError"]["status"]
        return status if status in ("SUCCESS", "FAILURE", "CANCELED") else None

    def wait_for(self, look: Callable[[], Any], what: str, timeout_s: float = 120) -> Any:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            found = look()
            if found:
                return found
            time.sleep(0.3)
        raise AssertionError(f"waited {timeout_s} s for {what}")

    # what a person sees

    def status(self) -> dict[str, str]:
        return {row["sync"]: row["status"] for row in self.demo.answer("status")}

    def note(self, sync: str) -> str:
        return next(row["note"] for row in self.demo.answer("status") if row["sync"] == sync)

    def messages(self, expected: int) -> list[str]:
        """The titles of what came to the chat: as many as expected, and after two more looks of the sensor still no more."""
        if expected:
            self.wait_for(lambda: len(self.chat.received) >= expected, f"{expected} messages")
        now = time.time()
        self.wait_for(lambda: self.looks_since(now) >= 2, "the sensor to look")
        return sorted(message.title for message in self.chat.take())

    def looks_since(self, moment: float) -> int:
        """How often the sensor has looked since then, from beginning to end."""
        found = self.demo.graphql(
            """query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { sensorState {
                 ticks(limit: 5, statuses: [SKIPPED, SUCCESS]) { timestamp } } } } }""",
            s={
                "repositoryName": "__repository__",
                "repositoryLocationName": "audience_syncs",
                "sensorName": "sync_health",
            },
        )
        return sum(tick["timestamp"] > moment for tick in found["sensorOrError"]["sensorState"]["ticks"])

    def held(self, sync: str) -> set[str]:
        """Who is in the list, by what the platform knows them by."""
        platform, field = ("meta", "EMAIL") if sync.endswith("meta_ads") else ("hubspot", "email")
        lists = requests.get(f"{self.demo.simulators}/_simulator/{platform}/lists", timeout=10).json()
        [found] = [one for one in lists if one["name"] == LISTS.get(sync, "Shop: recent buyers")]
        url = f"{self.demo.simulators}/_simulator/{platform}/lists/{found['id']}/members"
        return {value for value in requests.get(url, params={"field": field}, timeout=30).json() if value}

    def wanted(self, sync: str) -> set[str]:
        """Worked out here, from the rows the audience had when it was last evaluated."""
        audience = sync.partition("/")[0]
        [(table,)] = self.sql(
            f"SELECT table_name FROM audience_syncs.snapshots WHERE audience = '{audience}' AND table_name IS NOT NULL "
            "ORDER BY id DESC LIMIT 1"
        )
        emails = {(email or "").strip().lower() for (email,) in self.sql(f"SELECT email FROM audience_syncs.{table}")}
        sound = {email for email in emails if re.fullmatch(SOUND, email)}
        return {hashlib.sha256(email.encode()).hexdigest() for email in sound} if sync.endswith("meta_ads") else sound

    def wanted_on(self, day: str) -> set[str]:
        [(table,)] = self.sql(
            "SELECT table_name FROM audience_syncs.snapshots WHERE audience = 'recent_buyers' AND table_name IS NOT NULL "
            f"AND partition_key = '{day}' ORDER BY id DESC LIMIT 1"
        )
        emails = {(email or "").strip().lower() for (email,) in self.sql(f"SELECT email FROM audience_syncs.{table}")}
        return {hashlib.sha256(email.encode()).hexdigest() for email in emails if re.fullmatch(SOUND, email)}

    def sizes(self) -> list[tuple[str, int]]:
        return self.sql(
            "SELECT DISTINCT ON (partition_key) partition_key, members FROM audience_syncs.snapshots "
            "WHERE audience = 'recent_buyers' ORDER BY partition_key, id DESC"
        )

    def history(self) -> list[Any]:
        return self.sql(
            "SELECT s.partition_key, m.event, m.member_key FROM audience_syncs.membership m "
            "JOIN audience_syncs.snapshots s ON s.id = m.snapshot_id WHERE m.audience = 'recent_buyers' ORDER BY 1, 2, 3"
        )

    def children(self, run_id: str) -> list[str]:
        """Runs that Dagster started because this one died."""
        found = self.demo.graphql(
            "query($f: RunsFilter!) { runsOrError(filter: $f) { ... on Runs { results { runId } } } }",
            f={"tags": [{"key": "dagster/parent_run_id", "value": run_id}]},
        )
        return [run["runId"] for run in found["runsOrError"]["results"]]

    def faults_fired(self) -> int:
        rules = requests.get(f"{self.demo.simulators}/_simulator/faults", timeout=20).json()
        return sum(rule["fired"] for rule in rules)

    def kill(self, run_id: str) -> None:
        """kill -9 of the run's own process."""
        logs = self.demo.graphql(
            "query($r: ID!) { logsForRun(runId: $r) { ... on EventConnection { events { ... on MessageEvent { message } } } } }",
            r=run_id,
        )["logsForRun"]["events"]
        [pid] = {int(found[1]) for event in logs if (found := re.search(r"\(pid: (\d+)\)", event.get("message", "")))}
        os.kill(pid, signal.SIGKILL)

    def backfill(self, asset: list[str], days: list[str]) -> str:
        """What the UI's backfill of these partitions does; answers its id."""
        launched = self.demo.graphql(
            """mutation($p: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $p) {
                 __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }""",
            p={"assetSelection": [{"path": asset}], "partitionNames": days, "fromFailure": False},
        )["launchPartitionBackfill"]
        assert launched["__typename"] == "LaunchBackfillSuccess", launched
        return str(launched["backfillId"])

    def backfilled(self, backfill: str) -> None:
        query = (
            "query($b: String!) { partitionBackfillOrError(backfillId: $b) { ... on PartitionBackfill { status } } }"
        )

        def ended() -> str | None:
            status: str = self.demo.graphql(query, b=backfill)["partitionBackfillOrError"]["status"]
            return status if status not in ("REQUESTED", "CANCELING") else None

        assert self.wait_for(ended, "the backfill to end", 180) == "COMPLETED_SUCCESS"

    def runs(self, sync: str) -> list[str]:
        rows = self.sql(f"SELECT status FROM audience_syncs.sync_runs WHERE sync = '{sync}' ORDER BY id")
        return [status for (status,) in rows]


@pytest.fixture(scope="module")
def week() -> Iterator[Week]:
    folder = Path(tempfile.mkdtemp(prefix="as_week_"))
    demo = LocalDemo(folder / "state")
    shutil.copytree(configured_defs_dir({}), folder / "defs")
    shutil.rmtree(folder / "defs" / "audiences" / "cart_abandoners")
    shop = folder / "defs" / "audiences" / "high_value_customers" / "defs.yaml"
    shop.write_text(shop.read_text()[: shop.read_text().index("    - destination: hubspot_crm")])
    (folder / "defs" / "alerts" / "defs.yaml").write_text(ALERTS)
    (folder / "defs" / "audiences" / "recent_buyers").mkdir()
    with Webhook() as chat:
        demo.environment |= {
            "AUDIENCE_SYNCS_DEFS": str(folder / "defs"),
            "AUDIENCE_SYNCS_WATCH_EVERY_S": "1",
            "TEAM_URL": chat.url,
        }
        (folder / "defs" / "audiences" / "recent_buyers" / "defs.yaml").write_text(BUYERS)
        demo.start("--port", "0", "--users", "4000")
        yield Week(demo, chat)
        demo.stop()
        for process in demo.processes:
            process.kill()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
def test_a_week_of_the_shop(week: Week, tmp_path: Path) -> None:
    monday_all_is_well(week)
    tuesday_somebody_pauses_a_sync(week)
    wednesday_a_token_is_revoked(week)
    blocked = thursday_an_audience_collapses(week)
    friday_everything_recovers(week)
    saturday_runs_are_cancelled_and_killed(week)
    backfill = sunday_days_are_backfilled(week)
    what_a_person_sees(week, tmp_path, blocked, backfill)


def monday_all_is_well(week: Week) -> None:
    assert week.status() == {
        HIGH: "active",
        LAPSED_META: "active",
        LAPSED_CRM: "warning",
        "recent_buyers/meta_ads": "pending",
    }
    # Customers without an email are of no use to a CRM: known from the first run on.
    assert week.messages(1) == ["WARNING: Lapsed customers to hubspot_crm: rejected members"]
    assert re.fullmatch(r"\d+ rejected", week.note(LAPSED_CRM))
    week.a_day_passes()
    before = {sync: week.held(sync) for sync in LISTS}
    assert week.run_all(*LISTS) == ["SUCCESS"] * 3
    for sync in LISTS:
        assert week.held(sync) == week.wanted(sync) != before[sync]
    pools = week.demo.graphql("{ instance { concurrencyLimits { concurrencyKey slotCount } } }")["instance"]
    limits = {pool["concurrencyKey"]: pool["slotCount"] for pool in pools["concurrencyLimits"]}
    assert limits == {"destination__meta_ads": 4, "destination__hubspot_crm": 4}


def tuesday_somebody_pauses_a_sync(week: Week) -> None:
    week.demo.run("pause", LAPSED_CRM)
    week.paused_with = week.held(LAPSED_CRM)
    week.a_day_passes()
    assert week.run_all(HIGH, LAPSED_META) == ["SUCCESS"] * 2
    for sync in (HIGH, LAPSED_META):
        assert week.held(sync) == week.wanted(sync)
    assert week.status()[LAPSED_CRM] == "paused"
    assert week.held(LAPSED_CRM) == week.paused_with != week.wanted(LAPSED_CRM)
    assert week.messages(0) == [], "a paused sync is no reason for an alarm"


def wednesday_a_token_is_revoked(week: Week) -> None:
    week.a_day_passes()
    week.fault(platform="meta", kind="forbidden", operation="users.add")
    week.fault(platform="meta", kind="forbidden", operation="users.remove")
    before = week.held(LAPSED_META)
    failed, status = week.run(LAPSED_META)
    assert status == "FAILURE"
    assert week.messages(1) == ["CRITICAL: Lapsed customers to meta_ads: failed"]
    assert week.status() | {"recent_buyers/meta_ads": ""} == {
        HIGH: "active",
        LAPSED_META: "failed",
        LAPSED_CRM: "paused",
        "recent_buyers/meta_ads": "",
    }
    assert "ACCESS_REFUSED" in week.note(LAPSED_META)
    assert week.held(LAPSED_META) == before
    assert week.sql("SELECT sync, severity, told FROM audience_syncs.alerts WHERE severity = 'critical'") == [
        (LAPSED_META, "critical", "critical")
    ]
    # It goes on failing, and nobody is told twice. What failed for a reason is not tried again by itself.
    again, status = week.run(LAPSED_META)
    assert status == "FAILURE"
    assert week.messages(0) == []
    assert week.runs(LAPSED_META)[-2:] == ["failed", "failed"]
    assert week.children(failed) == week.children(again) == []


def thursday_an_audience_collapses(week: Week) -> str:
    week.no_faults()
    week.a_day_passes()
    week.sql("CREATE TABLE public.orders_away AS SELECT * FROM shop.orders WHERE total >= 100")
    week.sql("DELETE FROM shop.orders WHERE total >= 100")
    before = week.held(HIGH)
    blocked, status = week.run(HIGH)
    assert status == "FAILURE"
    assert week.messages(1) == ["CRITICAL: High-value customers to meta_ads: blocked"]
    assert week.status()[HIGH] == "blocked"
    assert week.held(HIGH) == before, "nothing was sent"
    assert week.runs(HIGH)[-1] == "blocked"
    assert week.children(blocked) == []
    return blocked


def friday_everything_recovers(week: Week) -> None:
    week.sql("INSERT INTO shop.orders SELECT * FROM public.orders_away")
    week.sql("DROP TABLE public.orders_away")
    week.a_day_passes()
    assert week.run_all(HIGH, LAPSED_META) == ["SUCCESS"] * 2
    for sync in (HIGH, LAPSED_META):
        assert week.held(sync) == week.wanted(sync)
    assert week.messages(2) == ["OK: High-value customers to meta_ads", "OK: Lapsed customers to meta_ads"]
    resumed = week.demo.run("resume", LAPSED_CRM).stdout
    assert re.search(r"[1-9][\d,]* to add", resumed), resumed
    assert week.held(LAPSED_CRM) == week.paused_with, "resuming is not yet running"
    assert week.run(LAPSED_CRM)[1] == "SUCCESS"
    assert week.held(LAPSED_CRM) == week.wanted(LAPSED_CRM)
    assert {sync: week.status()[sync] for sync in LISTS} == {
        HIGH: "active",
        LAPSED_META: "active",
        LAPSED_CRM: "warning",
    }
    assert week.sql("SELECT sync, severity FROM audience_syncs.alerts WHERE severity <> 'ok'") == [
        (LAPSED_CRM, "warning")
    ]
    sent = week.sql(f"SELECT sync, kind FROM audience_syncs.alert_messages WHERE sync <> '{LAPSED_CRM}'")
    assert sorted(sent) == [(HIGH, "raised"), (HIGH, "recovered"), (LAPSED_META, "raised"), (LAPSED_META, "recovered")]
    assert week.messages(0) == []


def saturday_runs_are_cancelled_and_killed(week: Week) -> None:
    week.a_day_passes()
    # Somebody cancels a run in the UI while it waits for a platform that answers slowly.
    week.fault(platform="hubspot", kind="rate_limit", operation="memberships.add", retry_after_s=120)
    run_id = week.launch(LAPSED_CRM, full_resync=True)
    week.wait_for(lambda: week.faults_fired(), "the platform to be asked")
    asked = time.monotonic()
    week.demo.graphql("mutation($r: String!) { terminateRun(runId: $r) { __typename } }", r=run_id)
    assert week.ended(run_id) == "CANCELED"
    assert time.monotonic() - asked < 60, "it waited for the platform"
    assert week.runs(LAPSED_CRM)[-1] == "cancelled"
    assert "the last run was cancelled" in week.note(LAPSED_CRM)
    week.no_faults()
    assert week.run(LAPSED_CRM)[1] == "SUCCESS"
    assert week.held(LAPSED_CRM) == week.wanted(LAPSED_CRM)
    # A run's process is killed; that is noticed, and the run is started again by itself.
    week.fault(platform="meta", kind="slow", delay_s=20)
    run_id = week.launch(HIGH, full_resync=True)
    week.wait_for(lambda: week.faults_fired(), "the platform to be asked")
    week.kill(run_id)
    week.no_faults()
    assert week.ended(run_id) == "FAILURE"
    [again] = week.wait_for(lambda: week.children(run_id), "the run to be started again")
    assert week.ended(again) == "SUCCESS"
    assert week.held(HIGH) == week.wanted(HIGH)
    assert week.runs(HIGH)[-2:] == ["interrupted", "succeeded"]
    assert week.status()[HIGH] == "active"


def sunday_days_are_backfilled(week: Week) -> str:
    audience, sync = ["audiences", "recent_buyers"], ["syncs", "recent_buyers", "meta_ads"]
    backfill = week.backfill(audience, DAYS[2:] + DAYS[:2])
    week.backfilled(backfill)
    sizes = week.sizes()
    assert [day for day, _ in sizes] == DAYS
    for day, members in sizes:
        [(expected,)] = week.sql(
            "SELECT count(DISTINCT user_id) FROM shop.orders JOIN shop.users USING (user_id) WHERE ordered_at >= "
            f"timestamptz '{day} 00:00Z' - interval '2 days' AND ordered_at < timestamptz '{day} 00:00Z' + interval '1 day'"
        )
        assert members == expected > 0
    history = week.history()
    # Days again, and the sync's days meanwhile, from what there is of them.
    both = week.backfill(audience, DAYS[1:3]), week.backfill(sync, DAYS)
    for one in both:
        week.backfilled(one)
    assert (week.sizes(), week.history()) == (sizes, history), "again changes nothing"
    everybody = set().union(*(week.wanted_on(day) for day in DAYS))
    assert week.held("recent_buyers/meta_ads") == everybody > week.wanted_on(DAYS[0])
    # An old day, again: exactly that one.
    requests.delete(f"{week.demo.simulators}/_simulator/meta/requests", timeout=20).raise_for_status()
    week.backfilled(week.backfill(sync, DAYS[:1]))
    journal = requests.get(f"{week.demo.simulators}/_simulator/meta/requests", timeout=20).json()
    entries = journal["requests"] if isinstance(journal, dict) else journal
    sent = sum(entry["rows"] for entry in entries if entry["operation"] == "users.add")
    assert sent == len(week.wanted_on(DAYS[0]))
    assert week.held("recent_buyers/meta_ads") == everybody
    assert week.messages(1) == ["WARNING: Bought in the last three days to meta_ads: rejected members"]
    return backfill


def what_a_person_sees(week: Week, folder: Path, blocked: str, backfill: str) -> None:
    """In the UI; skipped where no Chromium is installed."""
    page = look_at(f"{week.demo.ui}/runs/{blocked}", folder, "blocked.png", until="GUARD_BLOCKED")
    assert "GUARD_BLOCKED" in page
    assert "What to do" in page
    assert "@example" not in page
    overview = text_of(look_at(f"{week.demo.ui}/assets/syncs_overview", folder, "overview.png", until="syncs_in_words"))
    assert "2 active, 2 warning" in overview, overview[-3000:]
    for sync in LISTS:
        assert sync in overview
    shown = text_of(look_at(f"{week.demo.ui}/runs/b/{backfill}", folder, "backfill.png", until="100% completed"))
    assert "100% completed" in shown
    assert "Succeeded" in shown
