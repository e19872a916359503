"""What Prometheus is told of every sync: the figures that people see, nothing personal, quickly, and also when something is down."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import requests
import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from audience_syncs.components.loading import load_definitions
from audience_syncs.health.metrics import DagsterDown, DagsterSwitches, Reading, SyncCollector, read
from audience_syncs.health.switches import Switch
from audience_syncs.model.config import AudienceConfig, SourceConfig, SyncConfig
from audience_syncs.project import Project, load_project
from audience_syncs.simulators import SimulatorServer
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs.warehouse.state import State
from audience_syncs_tests.test_health import tick
from audience_syncs_tests.test_project import AUDIENCE, destination_yaml, sound

ROOT = Path(__file__).absolute().parent.parent
COMMAND = [sys.executable, "-m", "audience_syncs", "metrics"]
Samples = dict[tuple[str, ...], float]


def exposed(text: str) -> Samples:
    """(name, label values in the order of their names) -> value, as a strict parser of OpenMetrics reads it."""
    return {
        (sample.name.removeprefix("audience_syncs_"), *(value for _, value in sorted(sample.labels.items()))): float(
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scrape(read_all: Any) -> tuple[Samples, str, list[str]]:
    """What one scrape gives: parsed, as text, and what was said beside it."""
    said: list[str] = []
    registry = CollectorRegistry()
    registry.register(SyncCollector(read_all, said.append))
    text = generate_latest(registry).decode()
    return exposed(text), text, said


def of_sync(samples: Samples, sync: str) -> dict[str, float]:
    """Metric -> value, of one sync; a status stands by its word."""
    return {
        name if len(labels) == 3 else f"{name} {labels[2]}": value
        for (name, *labels), value in samples.items()
        if sync in labels
    }


def no_switches() -> Mapping[str, Switch]:
    return {}


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


class World:
    """One sync to Meta, simulated, whose runs are Dagster's."""

    def __init__(self, folder: Path, url: str) -> None:
        self.defs = folder
        self.url = url
        self.definitions = load_definitions(folder)
        self.project = load_project(folder)

    def execute(self, statement: str) -> None:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def run(self, instance: dg.DagsterInstance) -> bool:
        job = self.definitions.resolve_job_def("sync__carts__meta_ads")
        return job.execute_in_process(instance=instance, raise_on_error=False).success

    def read(self) -> Reading:
        return read(self.project, os.environ, no_switches)


@pytest.fixture
def world(
    tmp_path: Path, fresh_postgres_url: str, simulators: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=20)
    meta = destination_yaml().replace("settings:\n", "settings:\n    base_url_env: META_BASE_URL\n")
    monkeypatch.setenv("META_BASE_URL", f"{simulators.url}/meta")
    monkeypatch.setenv("META_ADS_ACCESS_TOKEN", "a-token")
    monkeypatch.setenv("SHOP_URL", fresh_postgres_url)
    world = World(sound(tmp_path, carts=AUDIENCE, meta_ads=meta), fresh_postgres_url)
    world.execute("CREATE TABLE customers (customer_id int, email text)")
    world.execute("INSERT INTO customers VALUES (1, 'ann@example.com'), (2, 'bo@example.com'), (3, 'not an email')")
    return world


def test_before_the_first_run_a_sync_is_pending_and_nothing_is_made_up(world: World) -> None:
    samples, _, said = scrape(world.read)
    assert samples[("source_up", "shop")] == 1
    sync = of_sync(samples, "carts/meta_ads")
    assert {name for name, value in sync.items() if name.startswith("sync_status") and value} == {"sync_status pending"}
    assert not any("accepted" in name or "timestamp" in name for name in sync)
    assert (sync["sync_overdue_seconds"], sync["sync_alert_severity"], said) == (0, 0, [])


def test_the_figures_are_those_of_the_table_and_hold_nothing_personal(world: World) -> None:
    began = time.time()
    with dg.instance_for_test() as instance:
        world.run(instance)
    samples, text, _ = scrape(world.read)
    sync = of_sync(samples, "carts/meta_ads")
    counts = {name: sync[f"sync_{name}"] for name in ("in_audience", "delivered", "accepted", "rejected", "added")}
    assert counts == {"in_audience": 3, "delivered": 2, "accepted": 2, "rejected": 1, "added": 2}
    assert sync["sync_requests"] > 0
    assert began <= sync["sync_last_run_start_timestamp_seconds"] <= sync["sync_last_run_end_timestamp_seconds"]
    took = sync["sync_last_run_end_timestamp_seconds"] - sync["sync_last_run_start_timestamp_seconds"]
    assert sync["sync_last_run_duration_seconds"] == pytest.approx(took)
    assert sync["sync_last_good_timestamp_seconds"] == sync["sync_last_run_end_timestamp_seconds"]
    assert sync["sync_matched_lower"] <= sync["sync_matched_upper"]
    statuses = {name: value for name, value in sync.items() if name.startswith("sync_status")}
    assert len(statuses) == 6
    assert {name for name, value in statuses.items() if value} == {"sync_status warning"}
    assert "example.com" not in text
    assert "a-token" not in text


def test_a_run_under_way_or_one_that_failed_at_once_does_not_make_the_figures_fall_to_zero(world: World) -> None:
    with dg.instance_for_test() as instance:
        world.run(instance)
        world.execute("ALTER TABLE customers RENAME COLUMN email TO gone")
        assert not world.run(instance)
    world.execute(
        "INSERT INTO audience_syncs.sync_runs (sync, run_id, status, started_at) "
        "VALUES ('carts/meta_ads', 'r', 'failed', now()), "
        "('carts/meta_ads', 'r', 'running', now() - interval '5 minutes')"
    )
    samples, _, _ = scrape(world.read)
    sync = of_sync(samples, "carts/meta_ads")
    assert (sync["sync_in_audience"], sync["sync_accepted"], sync["sync_running"]) == (3, 2, 1)
    assert 300 <= sync["sync_last_run_duration_seconds"] < 360
    assert "sync_last_run_end_timestamp_seconds" not in sync
    assert sync["sync_last_good_timestamp_seconds"] < sync["sync_last_run_start_timestamp_seconds"] + 300


def test_trouble_is_told_with_its_severity_lateness_and_muting(world: World, simulators: SimulatorServer) -> None:
    fault = {"platform": "meta", "kind": "forbidden", "operation": "users.add"}
    requests.post(f"{simulators.url}/_simulator/faults", json=fault, timeout=20)
    with dg.instance_for_test() as instance:
        assert not world.run(instance)
        tick(world.definitions, instance, None)
    requests.delete(f"{simulators.url}/_simulator/faults", timeout=20)
    world.execute("UPDATE audience_syncs.sync_runs SET started_at = started_at - interval '3 hours'")
    world.execute("UPDATE audience_syncs.alerts SET muted_until = now() + interval '1 hour'")
    sync = of_sync(scrape(world.read)[0], "carts/meta_ads")
    assert (sync["sync_status failed"], sync["sync_alert_severity"], sync["sync_alert_muted"]) == (1, 2, 1)
    assert 0 < sync["sync_overdue_seconds"] < 3 * 3600
    paused = {"carts/meta_ads": Switch(False)}
    sync = of_sync(scrape(lambda: read(world.project, os.environ, lambda: paused))[0], "carts/meta_ads")
    assert (sync["sync_status paused"], sync["sync_status failed"], sync["sync_overdue_seconds"]) == (1, 0, 0)


def test_a_source_that_is_down_is_a_metric_and_the_others_are_told_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.instance_for_test() as instance:
        world.run(instance)
    down = SourceConfig.model_validate({"name": "lake", "url": {"env": "LAKE_URL"}})
    unset = SourceConfig.model_validate({"name": "unset", "url": {"env": "UNSET_URL"}})
    other = AudienceConfig(
        name="far",
        source="lake",
        sql="SELECT 1",
        primary_key="id",
        syncs=[SyncConfig.model_validate({"destination": "meta_ads", "mapping": {"EMAIL": "email"}})],
    )
    project = Project(
        sources={**world.project.sources, "lake": down, "unset": unset},
        destinations=world.project.destinations,
        audiences={**world.project.audiences, "far": other},
    )
    monkeypatch.setenv("LAKE_URL", "postgresql://nobody:secret-word@127.0.0.1:1/none")
    samples, text, said = scrape(lambda: read(project, os.environ, no_switches))
    up = {name: samples[("source_up", name)] for name in ("shop", "lake", "unset")}
    assert up == {"shop": 1, "lake": 0, "unset": 0}
    assert of_sync(samples, "carts/meta_ads")["sync_accepted"] == 2
    assert of_sync(samples, "far/meta_ads") == {}, "what is not known is not told, least of all as pending"
    assert "secret-word" not in text + "".join(said)
    assert len(said) == 2
    assert "UNSET_URL" in said[1]


def test_tables_of_another_version_are_a_source_that_is_down_and_are_left_as_they_are(world: World) -> None:
    with dg.instance_for_test() as instance:
        world.run(instance)
    world.execute("DROP TABLE audience_syncs.alerts")
    samples, _, said = scrape(world.read)
    assert samples[("source_up", "shop")] == 0
    assert "shop" in said[0]
    world.execute("CREATE TABLE audience_syncs.alerts ()")


def test_without_dagsters_database_figures_are_told_and_no_status_is_guessed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.instance_for_test() as instance:
        world.run(instance)
    monkeypatch.setenv("AUDIENCE_SYNCS_PG_URL", "postgresql://nobody:secret-word@127.0.0.1:1/none")
    for switches in (DagsterSwitches(world.project, ROOT, 0.5), DagsterSwitches(world.project, None)):
        samples, text, said = scrape(lambda switches=switches: read(world.project, os.environ, switches))
        assert samples[("dagster_up",)] == 0
        sync = of_sync(samples, "carts/meta_ads")
        assert sync["sync_accepted"] == 2
        assert not any(name.startswith(("sync_status", "sync_overdue")) for name in sync)
        assert "secret-word" not in text + "".join(said)
        assert len(said) == 1


def test_dagster_that_comes_back_is_asked_again(
    world: World, tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    switches = DagsterSwitches(world.project, home, patience_s=0.5)
    monkeypatch.setenv("AUDIENCE_SYNCS_PG_URL", "postgresql://nobody@127.0.0.1:1/none")
    began = time.monotonic()
    with pytest.raises(DagsterDown, match="has not answered"):
        switches()
    assert time.monotonic() - began < 3, "a scrape has ten seconds, Dagster's own patience is longer"
    monkeypatch.setenv("AUDIENCE_SYNCS_PG_URL", postgres_url)
    found = None
    while found is None and time.monotonic() - began < 60:
        try:
            found = switches()
        except DagsterDown:
            continue
    assert found == {"carts/meta_ads": Switch(True)}
    switches.close()


def test_what_is_wrong_is_said_once_and_not_with_every_scrape(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    collector = SyncCollector(world.read, said.append)
    monkeypatch.setenv("SHOP_URL", "postgresql://127.0.0.1:1/none")
    for _ in range(3):
        list(collector.collect())
    assert len(said) == 1
    monkeypatch.setenv("SHOP_URL", world.url)
    list(collector.collect())
    monkeypatch.setenv("SHOP_URL", "postgresql://127.0.0.1:1/none")
    list(collector.collect())
    assert len(said) == 2


def test_a_scrape_over_a_thousand_syncs_asks_few_questions_and_is_over_before_prometheus_gives_up(
    fresh_postgres_url: str,
) -> None:
    syncs = [
        SyncConfig.model_validate(
            {
                "destination": "ads",
                "name": f"ads_{number}",
                "mapping": {"EMAIL": "email"},
                "schedule": {"every": "1 hour"},
            }
        )
        for number in range(1000)
    ]
    people = AudienceConfig(name="people", source="shop", sql="SELECT 1", primary_key="id", syncs=syncs)
    source = SourceConfig.model_validate({"name": "shop", "url": {"env": "SHOP_URL"}})
    project = Project(sources={"shop": source}, audiences={"people": people})
    with open_warehouse_at(fresh_postgres_url) as warehouse:
        State(warehouse).prepare()
        with warehouse.engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO audience_syncs.sync_runs (sync, run_id, status, started_at, finished_at, in_audience) "
                "SELECT 'people/ads_' || n, 'r', CASE WHEN r = 60 THEN 'failed' ELSE 'succeeded' END, "
                "now() - (61 - r) * interval '1 hour', now() - (61 - r) * interval '1 hour', r "
                "FROM generate_series(1, 60) r, generate_series(0, 999) n"
            )
            connection.exec_driver_sql("ANALYZE audience_syncs.sync_runs")
    environ = {"SHOP_URL": fresh_postgres_url}
    registry = CollectorRegistry()
    registry.register(SyncCollector(lambda: read(project, environ, no_switches), print))
    asked: list[str] = []

    def count(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", count)
    began = time.perf_counter()
    try:
        text = generate_latest(registry).decode()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", count)
    seconds = time.perf_counter() - began
    samples = exposed(text)
    assert of_sync(samples, "people/ads_777")["sync_in_audience"] == 59
    assert len(samples) > 15_000
    # None for each sync: 9 when written.
    assert len(asked) < 20, len(asked)
    # 0.4 s to read and 1.2 s in all with both cores busy; Prometheus waits for ten.
    assert seconds < 10, f"{seconds:.2f} s"


@pytest.fixture
def environment(world: World, tmp_path: Path) -> dict[str, str]:
    """Of a command, in a folder where no demo ever ran."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("DAGSTER_")},
        "AUDIENCE_SYNCS_DEFS": str(world.defs),
        "AUDIENCE_SYNCS_HOME": str(tmp_path / "nowhere"),
    }


def test_the_command_prints_openmetrics_and_nothing_else_on_standard_output(environment: dict[str, str]) -> None:
    done = subprocess.run(COMMAND, env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.endswith("# EOF\n")
    assert exposed(done.stdout)[("source_up", "shop")] == 1
    assert "DAGSTER_HOME is not set" in done.stderr


def test_served_on_loopback_only_in_both_formats_until_a_container_is_stopped(environment: dict[str, str]) -> None:
    command = [*COMMAND, "--serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", process.stderr.readline())
        assert found is not None
        url = found[0]
        listening = [c.laddr for c in psutil.Process(process.pid).net_connections() if c.status == psutil.CONN_LISTEN]
        assert [(address.ip, address.port) for address in listening] == [("127.0.0.1", int(found[1]))]
        wanted = {"Accept": "application/openmetrics-text; version=1.0.0"}
        answer = requests.get(url, headers=wanted, timeout=30)
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert exposed(answer.text)[("source_up", "shop")] == 1
        assert "audience_syncs_source_up{" in requests.get(url, timeout=30).text
        taken = [*COMMAND, "--serve", "--port", found[1]]
        refused = subprocess.run(taken, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert refused.returncode == 1
        assert "cannot listen" in refused.stderr
        assert "Traceback" not in refused.stderr
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_every_metric_is_described_in_the_docs_and_every_described_one_exists(world: World) -> None:
    with dg.instance_for_test() as instance:
        world.run(instance)
    _, text, _ = scrape(world.read)
    told = {family.name: family.documentation for family in text_string_to_metric_families(text)}
    rows = re.findall(r"^\| `(audience_syncs_\w+)` \|[^|]*\| (.+) \|$", (ROOT / "docs/metrics.md").read_text(), re.M)
    assert dict(rows) == told
