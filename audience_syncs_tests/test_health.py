"""What people see of a sync's health: its status in one word with a note, and the sensor that keeps it true."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
import sqlalchemy as sa

from audience_syncs.components.figures import syncs_table
from audience_syncs.components.health_sensor import OVERVIEW
from audience_syncs.components.loading import load_definitions
from audience_syncs.health.status import SyncState, sync_statuses
from audience_syncs.health.switches import Switch, switches
from audience_syncs.model.config import AudienceConfig, SyncConfig
from audience_syncs.model.values import RunStatus, SyncRun
from audience_syncs.project import Project
from audience_syncs.simulators import SimulatorServer
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs_tests.test_project import AUDIENCE, destination_yaml, sound

NOW = datetime(2026, 11, 24, 12, 30, tzinfo=UTC)


def project(schedule: object, **sync: object) -> Project:
    config = SyncConfig.model_validate(
        {"destination": "ads", "mapping": {"EMAIL": "email"}, "schedule": schedule} | sync
    )
    audience = AudienceConfig(name="people", source="shop", sql="SELECT 1", primary_key="id", syncs=[config])
    return Project(audiences={"people": audience})


def run(status: RunStatus = RunStatus.SUCCEEDED, started: datetime = NOW, **values: Any) -> SyncRun:
    known: dict[str, Any] = {
        "sync": "people/ads",
        "run_id": "r",
        "status": status,
        "started_at": started,
        "finished_at": started,
        **dict.fromkeys(("in_audience", "delivered", "accepted", "added", "updated", "removed", "rejected"), 0),
        **dict.fromkeys(("matched_lower", "matched_upper", "list_id", "list_name", "list_url", "plan_digest")),
        "error": "",
    }
    return SyncRun(**(known | values))


HOURLY = {"every": "1 hour"}
LONG_AGO = NOW - timedelta(hours=3)
YESTERDAY = LONG_AGO - timedelta(1)


@pytest.mark.parametrize(
    ("schedule", "last", "switch", "status", "note"),
    [
        (HOURLY, None, None, "pending", "never ran"),
        ("manual", None, None, "pending", "never ran"),
        (HOURLY, run(), None, "active", ""),
        (HOURLY, run(), Switch(False), "paused", ""),
        (HOURLY, run(started=LONG_AGO), Switch(False), "paused", ""),
        ("manual", run(started=LONG_AGO), Switch(False), "active", ""),
        (HOURLY, run(started=LONG_AGO), None, "warning", "overdue since 2026-11-24 12:00 UTC"),
        # Ten minutes are no delay.
        ({"cron": "25 12 * * *"}, run(started=NOW - timedelta(hours=24)), None, "active", ""),
        # Switched on a moment ago: what was due before did not count.
        (HOURLY, run(started=LONG_AGO), Switch(True, NOW - timedelta(minutes=20)), "active", ""),
        ({"times": ["09:00"], "days": ["tue"]}, run(started=YESTERDAY), None, "warning", "overdue since 2026-11-24 09:00 UTC"),
        ({"times": ["09:00"], "days": ["mon"]}, run(started=LONG_AGO), None, "active", ""),
        ({"after": "audience"}, run(started=LONG_AGO), None, "active", ""),
        (HOURLY, run(RunStatus.RUNNING, LONG_AGO), None, "active", "running since 2026-11-24 09:30 UTC"),
        (HOURLY, run(RunStatus.WARNING, rejected=1204), None, "warning", "1,204 rejected"),
        (HOURLY, run(RunStatus.BLOCKED, error="[GUARD_BLOCKED] too many\nmore"), None, "blocked", "[GUARD_BLOCKED] too many"),
        (HOURLY, run(RunStatus.FAILED, error="[ACCESS_REFUSED] revoked"), None, "failed", "[ACCESS_REFUSED] revoked"),
        (HOURLY, run(RunStatus.INTERRUPTED), None, "failed", "the last run's process died; the next run goes on"),
        (HOURLY, run(RunStatus.CANCELLED), None, "warning", "the last run was cancelled"),
    ],
)  # fmt: skip
def test_a_status_is_one_word_and_a_note(
    schedule: object, last: SyncRun | None, switch: Switch | None, status: str, note: str
) -> None:
    found = sync_statuses(
        project(schedule), {"people/ads": last} if last else {}, {"people/ads": switch} if switch else {}, now=NOW
    )
    assert [(row.status.value, row.note) for row in found] == [(status, note)]


def test_a_failed_run_does_not_hide_when_the_list_was_last_right() -> None:
    (row,) = sync_statuses(project(HOURLY), {"people/ads": run(RunStatus.FAILED, last_good_at=LONG_AGO)}, now=NOW)
    assert (row.status, row.last_updated) == (SyncState.FAILED, LONG_AGO)


def test_a_sync_that_is_paused_by_definition_is_so_until_somebody_switches_it_on() -> None:
    with dg.instance_for_test() as instance:
        found = switches(instance, project(HOURLY, paused=True))
    assert found == {"people/ads": Switch(False)}
    (row,) = sync_statuses(project(HOURLY, paused=True), {}, now=NOW)
    assert row.status is SyncState.PAUSED


def test_a_table_of_very_many_syncs_is_bounded_with_the_problems_first_and_says_what_it_leaves_out() -> None:
    many = AudienceConfig(
        name="people",
        source="shop",
        sql="SELECT 1",
        primary_key="id",
        syncs=[
            SyncConfig.model_validate({"destination": "ads", "name": f"ads_{number}", "mapping": {"EMAIL": "email"}})
            for number in range(1000)
        ],
    )
    runs = {f"people/ads_{number}": run(list_url=f"https://example.com/{number}") for number in range(1000)}
    runs["people/ads_500"] = run(RunStatus.WARNING, rejected=3)
    runs["people/ads_900"] = run(RunStatus.FAILED, error="[ACCESS_REFUSED] revoked")
    statuses = sync_statuses(Project(audiences={"people": many}), runs, now=NOW)
    table = syncs_table(statuses)
    rows = [record.data["sync"] for record in table["syncs"].value.records]
    assert rows[:4] == ["people/ads_900", "people/ads_500", "people/ads_0", "people/ads_1"]
    assert table["syncs_in_words"].value == "998 active, 1 failed, 1 warning"
    assert table["not_in_the_table"].value == "900 active: see `audience-syncs status`"
    # What Dagster keeps of every change, and loads with every page that shows the asset's events.
    assert len(dg.serialize_value(table)) < 50_000
    few = syncs_table(statuses[:100])
    assert [record.data["sync"] for record in few["syncs"].value.records] == [row.sync for row in statuses[:100]]
    assert "not_in_the_table" not in few


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def definitions(
    tmp_path: Path, fresh_postgres_url: str, simulators: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> dg.Definitions:
    engine = sa.create_engine(fresh_postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE customers (customer_id int, email text)")
        connection.exec_driver_sql("INSERT INTO customers VALUES (1, 'ann@example.com'), (2, 'bo@example.com')")
    engine.dispose()
    requests.post(f"{simulators.url}/_simulator/reset", timeout=20)
    meta = destination_yaml().replace("settings:\n", "settings:\n    base_url_env: META_BASE_URL\n")
    monkeypatch.setenv("META_BASE_URL", f"{simulators.url}/meta")
    monkeypatch.setenv("META_ADS_ACCESS_TOKEN", "a-token")
    monkeypatch.setenv("SHOP_URL", fresh_postgres_url)
    return load_definitions(sound(tmp_path, carts=AUDIENCE, meta_ads=meta))


def tick(definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None) -> dg.SensorResult:
    sensor = next(sensor for sensor in definitions.sensors or () if sensor.name == "sync_health")
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def observed(result: dg.SensorResult) -> dict[str, dict[str, Any]]:
    """Asset -> what was observed of it, or what its check ``syncs`` said."""
    return {
        event.asset_key.to_user_string(): {name: value.value for name, value in event.metadata.items()}
        for event in result.asset_events
        if isinstance(event, dg.AssetObservation)
        or (isinstance(event, dg.AssetCheckEvaluation) and event.check_name == "syncs")
    }


def test_the_sensor_shows_every_sync_on_its_audience_and_in_the_overview_and_only_news(
    definitions: dg.Definitions,
) -> None:
    with dg.instance_for_test() as instance:
        first = tick(definitions, instance, None)
        shown = observed(first)
        assert shown.keys() == {"audiences/carts", OVERVIEW.to_user_string()}
        (row,) = shown["audiences/carts"]["syncs"].records
        assert (row.data["status"], row.data["last run"], row.data["matched users"]) == (
            "pending",
            "never",
            "not known yet",
        )
        again = tick(definitions, instance, first.cursor)
        assert not again.asset_events
        assert definitions.resolve_job_def("sync__carts__meta_ads").execute_in_process(instance=instance).success
        after = tick(definitions, instance, again.cursor)
        (row,) = observed(after)["syncs_overview"]["syncs"].records
        assert (row.data["status"], row.data["accepted"], row.data["frequency"]) == ("active", "2", "every 1 hour")
        assert after.skip_reason is not None
        assert after.skip_reason.skip_message == "1 syncs: 1 active"
        assert "ann@example" not in str(after)


def test_matched_users_are_asked_for_at_the_platforms_pace_and_kept_as_a_series(
    definitions: dg.Definitions, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with dg.instance_for_test() as instance:
        definitions.resolve_job_def("sync__carts__meta_ads").execute_in_process(instance=instance)
        first = tick(definitions, instance, None)
        assert "syncs/carts/meta_ads" not in observed(first), "the run has just asked"
        engine = sa.create_engine(fresh_postgres_url)
        with engine.begin() as connection:
            connection.exec_driver_sql("UPDATE audience_syncs.matched_users SET as_of = as_of - interval '7 hours'")
        second = tick(definitions, instance, first.cursor)
        reading = observed(second)["syncs/carts/meta_ads"]
        assert reading["accepted"] == 2
        assert "approximate" in str(reading["matched"])
        with engine.begin() as connection:
            assert connection.scalar(sa.text("SELECT count(*) FROM audience_syncs.matched_users")) == 2
        engine.dispose()


def test_a_source_that_is_down_or_a_token_that_is_refused_does_not_stop_the_watch(
    definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHOP_URL", "postgresql://nobody:secret-word@127.0.0.1:1/none")
    with dg.instance_for_test() as instance:
        shown = observed(tick(definitions, instance, None))
    assert shown["syncs_overview"]["syncs_in_words"] == "1 pending"
    assert "secret-word" not in caplog.text


def test_the_audit_is_a_check_of_the_syncs_asset_and_no_part_of_its_own_run(
    definitions: dg.Definitions, simulators: SimulatorServer
) -> None:
    key = dg.AssetKey(["syncs", "carts", "meta_ads"])
    job = definitions.resolve_job_def("sync__carts__meta_ads")
    audit = dg.AssetCheckKey(key, "destination_audit")
    assert audit not in job.asset_layer.asset_graph.asset_check_keys
    with dg.instance_for_test() as instance:
        ran = job.execute_in_process(instance=instance)
        assert "destination_audit" not in {check.check_name for check in ran.get_asset_check_evaluations()}
        everything = definitions.resolve_implicit_global_asset_job_def()
        result = everything.execute_in_process(instance=instance, asset_selection=[key])
        (evaluation,) = [
            check for check in result.get_asset_check_evaluations() if check.check_name == "destination_audit"
        ]
    assert (evaluation.check_name, evaluation.passed, evaluation.severity) == (
        "destination_audit",
        True,
        dg.AssetCheckSeverity.WARN,
    )
    shown = {name: value.value for name, value in evaluation.metadata.items()}
    assert (shown["accepted"], shown["exact"]) == (2, False)


def test_the_check_of_an_audience_is_as_bad_as_its_worst_sync(
    definitions: dg.Definitions, simulators: SimulatorServer
) -> None:
    key = dg.AssetKey(["audiences", "carts"])
    fault = {"platform": "meta", "kind": "forbidden", "operation": "users.add"}
    with dg.instance_for_test() as instance:
        everything = definitions.resolve_implicit_global_asset_job_def()

        def look() -> dg.AssetCheckEvaluation:
            """As pressing Execute on the check does, and as materialising the audience does."""
            ran = everything.execute_in_process(instance=instance, asset_selection=[key])
            (found,) = [check for check in ran.get_asset_check_evaluations() if check.check_name == "syncs"]
            return found

        assert look().passed, "a sync that never ran is no fault"
        requests.post(f"{simulators.url}/_simulator/faults", json=fault, timeout=20)
        job = definitions.resolve_job_def("sync__carts__meta_ads")
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
        failed = look()
        assert (failed.passed, failed.severity) == (False, dg.AssetCheckSeverity.ERROR)
        assert failed.description == "carts/meta_ads failed"
        requests.delete(f"{simulators.url}/_simulator/faults", timeout=20)
        assert job.execute_in_process(instance=instance).success
        assert look().passed
        (row,) = look().metadata["syncs"].value.records
        assert row.data["status"] == "active"
        assert "ann@example" not in str(look())


def test_a_run_whose_process_is_gone_is_ended_and_one_that_lives_is_not(
    definitions: dg.Definitions, fresh_postgres_url: str
) -> None:
    job = definitions.resolve_job_def("sync__carts__meta_ads")
    with dg.instance_for_test() as instance, open_warehouse_at(fresh_postgres_url) as warehouse:
        assert job.execute_in_process(instance=instance).success
        dead = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED).run_id
        with warehouse.engine.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO audience_syncs.sync_runs (sync, run_id, status, started_at) "
                f"VALUES ('carts/meta_ads', '{dead}', 'running', now() - interval '5 minutes')"
            )
        lock = warehouse.lock_of("carts/meta_ads")
        with warehouse.connect() as run:
            assert warehouse.dialect.try_lock(run, lock)
            cursor = tick(definitions, instance, None).cursor
            assert instance.get_run_by_id(dead).status is dg.DagsterRunStatus.STARTED, "it holds the lock: it lives"
        tick(definitions, instance, cursor)
        assert instance.get_run_by_id(dead).status is dg.DagsterRunStatus.FAILURE
        assert job.execute_in_process(instance=instance).success
        with warehouse.engine.connect() as connection:
            found = (
                connection.execute(sa.text("SELECT status FROM audience_syncs.sync_runs ORDER BY id")).scalars().all()
            )
        assert found == ["succeeded", "interrupted", "succeeded"]
