"""Sequences: syncs one after the other, stopped where one fails, with a schedule of their own."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import requests
import sqlalchemy as sa

from audience_syncs.components.loading import load_definitions
from audience_syncs.health.status import SyncState, sync_statuses
from audience_syncs.health.switches import Switch
from audience_syncs.model.config import AudienceConfig, SyncConfig
from audience_syncs.model.sequences import SequenceConfig, StopConfig
from audience_syncs.model.values import RunStatus
from audience_syncs.project import Project, check_project, format_problems
from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.test_health import run
from audience_syncs_tests.test_project import AUDIENCE, destination_yaml, sound

SEQUENCE = """\
type: audience_syncs.components.Sequence
attributes:
  name: morning
  title: Every morning ☀️
  schedule: {cron: '0 6 * * *', timezone: Europe/Berlin}
  steps: [carts/first, carts/second, carts/third]
"""

THREE_SYNCS = AUDIENCE[: AUDIENCE.index("    - destination")] + "".join(
    f"    - {{name: {name}, destination: meta_ads, list: {{name: {name}}}, mapping: {{EMAIL: email}}}}\n"
    for name in ("first", "second", "third")
)


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def folder(
    tmp_path: Path, fresh_postgres_url: str, simulators: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> Path:
    engine = sa.create_engine(fresh_postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE customers (customer_id int, email text)")
        connection.exec_driver_sql("INSERT INTO customers VALUES (1, 'ann@example.com'), (2, 'bo@example.com')")
    engine.dispose()
    requests.post(f"{simulators.url}/_simulator/reset", timeout=20)
    monkeypatch.setenv("META_BASE_URL", f"{simulators.url}/meta")
    monkeypatch.setenv("META_ADS_ACCESS_TOKEN", "a-token")
    monkeypatch.setenv("SHOP_URL", fresh_postgres_url)
    meta = destination_yaml().replace("settings:\n", "settings:\n    base_url_env: META_BASE_URL\n")
    return sound(tmp_path, carts=THREE_SYNCS, meta_ads=meta)


def execute(folder: Path, instance: dg.DagsterInstance, more: str = "") -> dg.ExecuteInProcessResult:
    sound(folder, carts=THREE_SYNCS, morning=SEQUENCE + more, meta_ads=(folder / "meta_ads/defs.yaml").read_text())
    job = load_definitions(folder).resolve_job_def("sequence__morning")
    return job.execute_in_process(instance=instance, raise_on_error=False)


def delivered(instance: dg.DagsterInstance) -> list[str]:
    """The syncs that were materialised, in the order in which that was."""
    found = {}
    for name in ("first", "second", "third"):
        event = instance.get_latest_materialization_event(dg.AssetKey(["syncs", "carts", name]))
        if event is not None:
            found[name] = event.timestamp
    return sorted(found, key=found.__getitem__)


def fault(simulators: SimulatorServer, kind: str, **more: object) -> None:
    asked = {"platform": "meta", "kind": kind, "operation": "users.add"} | more
    assert requests.post(f"{simulators.url}/_simulator/faults", json=asked, timeout=20).ok


def test_the_syncs_run_in_their_order_and_the_audience_is_evaluated_once(folder: Path, fresh_postgres_url: str) -> None:
    with dg.instance_for_test() as instance:
        assert execute(folder, instance).success
        assert delivered(instance) == ["first", "second", "third"]
        event = instance.get_latest_materialization_event(dg.AssetKey(["syncs", "carts", "third"]))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["accepted"].value == 2
    engine = sa.create_engine(fresh_postgres_url)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM audience_syncs.snapshots")) == 1
        assert connection.scalar(sa.text("SELECT count(*) FROM audience_syncs.ledger WHERE state = 'accepted'")) == 6
    engine.dispose()


def test_a_sync_that_fails_stops_the_sequence(folder: Path, simulators: SimulatorServer) -> None:
    fault(simulators, "forbidden", skip=1, count=1)
    with dg.instance_for_test() as instance:
        result = execute(folder, instance)
        assert not result.success
        assert delivered(instance) == ["first"]
        (failed,) = [event for event in result.all_events if event.is_step_failure]
        assert failed.step_key == "carts__second"
        # Started again, all three are there.
        assert execute(folder, instance).success
        assert delivered(instance) == ["first", "second", "third"]


def test_a_sequence_may_go_on_after_a_failure_and_says_so_at_its_end(folder: Path, simulators: SimulatorServer) -> None:
    fault(simulators, "forbidden", skip=1, count=1)
    with dg.instance_for_test() as instance:
        result = execute(folder, instance, "  stop: {failed: false}\n")
        assert not result.success
        assert delivered(instance) == ["first", "third"]
        (failed,) = [event for event in result.all_events if event.is_step_failure]
        assert failed.step_key == "verdict"
        said = str(failed.step_failure_data.user_failure_data)
        assert "carts/second" in said
        assert "carts/third" not in said
        assert execute(folder, instance, "  stop: {failed: false}\n").success


def test_a_sync_with_too_many_rejected_stops_the_sequence_and_stays_delivered(
    folder: Path, simulators: SimulatorServer
) -> None:
    fault(simulators, "partial", rate=1.0, count=1)
    with dg.instance_for_test() as instance:
        result = execute(folder, instance, "  stop: {rejected_percent: 10}\n")
        assert not result.success
        assert delivered(instance) == ["first"]
        (failed,) = [event for event in result.all_events if event.is_step_failure]
        said = str(failed.step_failure_data.user_failure_data)
        assert "the sequence morning stops after carts/first" in said
        assert "allows 10 %" in said
        assert "@example.com" not in said


@pytest.mark.parametrize(
    ("stop", "rejected", "in_audience", "stops"),
    [
        (StopConfig(), 100, 100, False),
        (StopConfig(rejected=5), 5, 100, False),
        (StopConfig(rejected=5), 6, 1_000_000, True),
        (StopConfig(rejected_percent=1), 1, 100, False),
        (StopConfig(rejected_percent=1), 2, 100, True),
        (StopConfig(rejected_percent=0), 0, 0, False),
    ],
)
def test_how_many_rejected_are_too_many(stop: StopConfig, rejected: int, in_audience: int, stops: bool) -> None:
    assert (stop.objection(rejected, in_audience) is not None) is stops


NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("switch", "started", "status", "note"),
    [
        (None, NOW - timedelta(minutes=20), SyncState.ACTIVE, ""),
        (None, NOW - timedelta(hours=9), SyncState.WARNING, "overdue since 2026-11-24 12:00 UTC"),
        (Switch(False), NOW - timedelta(hours=9), SyncState.PAUSED, ""),
        (Switch(True, NOW - timedelta(minutes=5)), NOW - timedelta(hours=9), SyncState.ACTIVE, ""),
    ],
)
def test_a_manual_sync_in_a_sequence_is_as_late_or_paused_as_the_sequence(
    switch: Switch | None, started: datetime, status: SyncState, note: str
) -> None:
    sync = SyncConfig.model_validate({"destination": "ads", "mapping": {"EMAIL": "email"}})
    audience = AudienceConfig(name="people", source="shop", sql="SELECT 1", primary_key="id", syncs=[sync])
    hourly = SequenceConfig.model_validate({"name": "push", "steps": ["people/ads"], "schedule": {"every": "1 hour"}})
    project = Project(audiences={"people": audience}, sequences={"push": hourly})
    (shown,) = sync_statuses(
        project, {"people/ads": run(RunStatus.SUCCEEDED, started)}, {"push": switch} if switch else {}, now=NOW
    )
    assert (shown.status, shown.note, shown.frequency) == (status, note, "every 1 hour, in push")


@pytest.mark.parametrize(
    ("old", "new", "message", "remedy"),
    [
        ("carts/second", "carts/secnd", "no sync `carts/secnd`", "carts/second"),
        ("carts/second", "cart/second", "no sync `cart/second`", "carts/second"),
        ("carts/second", "carts", "not written as it must be", "audience/sync"),
        ("carts/second", "carts/first", "there twice", ""),
        ("[carts/first, carts/second, carts/third]", "[]", "must not be empty", ""),
        ("'0 6 * * *'", "'0 25 * * *'", "hour 25", ""),
        ("{cron: '0 6 * * *', timezone: Europe/Berlin}", "{after: audience}", "no audience of its own", "audiences/"),
        ("name: morning", "name: my__morning", "two underscores", ""),
        ("name: morning", "name: morning\n  stop: {on_failure: true}", "unknown key `on_failure`", ""),
    ],
)
def test_a_mistake_in_a_sequence_is_shown_where_it_stands(
    tmp_path: Path, old: str, new: str, message: str, remedy: str
) -> None:
    assert old in SEQUENCE
    problems = check_project(sound(tmp_path, carts=THREE_SYNCS, morning=SEQUENCE.replace(old, new)), environ={})
    shown = format_problems(problems)
    (problem,) = problems
    assert message in problem.message, shown
    assert remedy in problem.remedy, shown
    assert problem.file == tmp_path / "morning" / "defs.yaml"
    assert problem.line > 1


def test_a_partitioned_sync_is_no_step(tmp_path: Path) -> None:
    daily = THREE_SYNCS.replace("  source: shop\n", "  source: shop\n  partitions: daily\n").replace(
        "{name: second,", "{name: second, partitioned: true, mode: add,"
    )
    (problem,) = check_project(sound(tmp_path, carts=daily, morning=SEQUENCE), environ={})
    assert "carts/second is partitioned" in problem.message
