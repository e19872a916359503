"""The checks on the pages of audiences and syncs: passed, warning or error, with figures, and blocking where they must be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
import sqlalchemy as sa
from pydantic import ValidationError

from audience_syncs.components.loading import load_definitions
from audience_syncs.health.match_rate import match_rate
from audience_syncs.model.limits import Limit, Severity
from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.test_health import tick
from audience_syncs_tests.test_project import AUDIENCE, destination_yaml, sound

AUDIENCE_KEY, SYNC_KEY = dg.AssetKey(["audiences", "carts"]), dg.AssetKey(["syncs", "carts", "meta_ads"])
ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


class Shop:
    """A table of customers, an audience over it, a sync to a simulated platform, a Dagster instance."""

    def __init__(self, folder: Path, url: str, simulators: SimulatorServer, instance: dg.DagsterInstance) -> None:
        self.folder, self.url, self.simulators, self.instance = folder, url, simulators, instance
        self.yaml = AUDIENCE
        self.execute("CREATE TABLE customers (customer_id int, email text)")
        requests.post(f"{simulators.url}/_simulator/reset", timeout=20)

    def execute(self, statement: str) -> None:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def customers(self, count: int, *, first: int = 1, email: str = "'p' || n || '@example.com'") -> None:
        self.execute(f"INSERT INTO customers SELECT n, {email} FROM generate_series({first}, {first + count - 1}) AS n")

    @property
    def definitions(self) -> dg.Definitions:
        meta = destination_yaml().replace("settings:\n", "settings:\n    base_url_env: META_BASE_URL\n")
        return load_definitions(sound(self.folder, carts=self.yaml, meta_ads=meta))

    def run(self, **config: Any) -> dg.ExecuteInProcessResult:
        """The sync's own job."""
        return self.definitions.resolve_job_def("sync__carts__meta_ads").execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            run_config={"ops": {"syncs__carts__meta_ads": {"config": config}}},
        )

    def materialize(self, *keys: dg.AssetKey) -> dg.ExecuteInProcessResult:
        """As the button does."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(instance=self.instance, raise_on_error=False, asset_selection=[*keys])

    def checks(self, key: dg.AssetKey = SYNC_KEY) -> dict[str, dg.AssetCheckEvaluation]:
        """The latest answer of each check, as the page of the asset shows them."""
        keys = [check for check in self.definitions.resolve_asset_graph().asset_check_keys if check.asset_key == key]
        found = self.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
        answers = {}
        for check, record in found.items():
            if record.event is not None and record.event.dagster_event is not None:
                answer = record.event.dagster_event.event_specific_data
                if isinstance(answer, dg.AssetCheckEvaluation):
                    answers[check.name] = answer
        return answers


@pytest.fixture
def shop(
    tmp_path: Path, fresh_postgres_url: str, simulators: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Shop]:
    monkeypatch.setenv("META_BASE_URL", f"{simulators.url}/meta")
    monkeypatch.setenv("META_ADS_ACCESS_TOKEN", "a-token")
    monkeypatch.setenv("SHOP_URL", fresh_postgres_url)
    with dg.instance_for_test() as instance:
        yield Shop(tmp_path, fresh_postgres_url, simulators, instance)


def test_a_good_run_answers_every_check_with_its_figures(shop: Shop) -> None:
    shop.customers(30)
    assert shop.run().success
    checks = shop.checks()
    assert {name for name, check in checks.items() if check.passed} == {
        "removal_guard",
        "rejection_rate",
        "freshness",
        "match_rate",
        "identifiers",
    }
    assert checks["identifiers"].metadata["unreachable"].value == 0
    row = checks["identifiers"].metadata["identifiers"].records[0]
    assert (row.data["usable"], row.data["missing"], row.data["refused"]) == (30, 0, 0)
    assert checks["rejection_rate"].metadata["rejected_percent"].value == 0
    # The run evaluated the audience by the way, and that is on the audience's page.
    of_audience = shop.checks(AUDIENCE_KEY)
    assert {name: check.passed for name, check in of_audience.items()} == {
        "unique_key": True,
        "usable_identifiers": True,
    }
    assert of_audience["unique_key"].metadata["members"].value == 30


@pytest.mark.parametrize("through", ["sync", "audience"])
@pytest.mark.parametrize("broken", ["VALUES (1, 'again@example.com')", "VALUES (NULL, 'nobody@example.com')"])
def test_a_key_that_is_not_unique_or_null_fails_its_check_and_nothing_is_sent(
    shop: Shop, through: str, broken: str
) -> None:
    shop.customers(3)
    shop.execute(f"INSERT INTO customers {broken}")
    result = shop.run() if through == "sync" else shop.materialize(AUDIENCE_KEY, SYNC_KEY)
    assert not result.success
    check = shop.checks(AUDIENCE_KEY)["unique_key"]
    assert (check.passed, check.severity) == (False, ERROR)
    assert "customer_id" in str(check.description) or "more than one" in str(check.description)
    assert "@example.com" not in str(check)
    assert not shop.checks(SYNC_KEY)


def test_an_audience_without_identifiers_blocks_what_comes_after_it(shop: Shop) -> None:
    shop.customers(80)
    shop.customers(60, first=1000, email="NULL")
    shop.customers(60, first=2000, email="'  '")
    assert shop.materialize(AUDIENCE_KEY, SYNC_KEY).success is False
    check = shop.checks(AUDIENCE_KEY)["usable_identifiers"]
    assert (check.passed, check.severity, check.metadata["without_identifier_meta_ads"].value) == (False, ERROR, 120)
    assert "120 of 200 members have no identifier, 60.0 %" in str(check.description)
    assert not shop.checks(SYNC_KEY)
    # The sync by itself is stopped by its guard, for the same reason.
    assert not shop.run().success
    assert not shop.checks()["removal_guard"].passed


def test_a_blocked_plan_fails_the_check_with_its_figures_and_the_digest(shop: Shop) -> None:
    shop.customers(300)
    assert shop.run().success
    shop.execute("DELETE FROM customers WHERE customer_id > 10")
    assert not shop.run().success
    check = shop.checks()["removal_guard"]
    assert (check.passed, check.severity) == (False, ERROR)
    assert "290 of 300 members would be removed" in str(check.description)
    digest = str(check.metadata["plan_digest"].value)
    assert shop.run(approve=digest).success
    assert shop.checks()["removal_guard"].passed


@pytest.mark.parametrize(
    ("limits", "passed", "severity"),
    [
        ("{warning: 1, critical: 50}", False, WARN),
        ("{warning: 1, critical: 10}", False, ERROR),
        ("{warning: 40}", True, None),
        ("{}", True, None),
    ],
)
def test_the_rejection_rate_is_as_bad_as_the_limits_say(
    shop: Shop, limits: str, passed: bool, severity: dg.AssetCheckSeverity | None
) -> None:
    shop.yaml = AUDIENCE.replace("      mapping:", f"      limits: {{rejected_percent: {limits}}}\n      mapping:")
    shop.customers(8)
    shop.execute("INSERT INTO customers VALUES (98, 'not an address'), (99, NULL)")
    assert shop.run().success
    check = shop.checks()["rejection_rate"]
    assert check.passed is passed
    assert severity in (None, check.severity)
    assert check.metadata["rejected_percent"].value == 20
    # They are not tried again, and are rejected all the same.
    assert shop.run().success
    assert shop.checks()["rejection_rate"].metadata["rejected"].value == 2


def test_a_dry_run_is_no_materialisation_and_answers_no_check(shop: Shop) -> None:
    shop.customers(5)
    assert shop.run(dry_run=True).success
    assert not shop.checks()
    assert shop.instance.get_latest_materialization_event(SYNC_KEY) is None
    records = shop.instance.fetch_observations(SYNC_KEY, limit=1).records
    shown = records[0].asset_observation
    assert shown is not None
    assert shown.metadata["would_add"].value == 5


def test_a_drop_of_the_match_rate_is_seen_when_the_platform_tells_it(shop: Shop) -> None:
    shop.customers(1_000)
    assert shop.run().success
    # Of four times as many the platform matches as many as it does now; on earlier days it matched everybody.
    shop.execute("UPDATE audience_syncs.sync_runs SET accepted = 4000")
    shop.execute("DELETE FROM audience_syncs.matched_users")
    shop.execute(
        "INSERT INTO audience_syncs.matched_users (sync, as_of, lower, upper, exact, accepted, note) "
        "SELECT 'carts/meta_ads', now() - n * interval '1 day', 10000, 11000, false, 1000, '' FROM generate_series(1, 5) n"
    )
    result = tick(shop.definitions, shop.instance, None)
    checks = [event for event in result.asset_events if isinstance(event, dg.AssetCheckEvaluation)]
    (check,) = [check for check in checks if check.check_name == "match_rate"]
    assert check.metadata["usual_percent"].value == 100
    assert check.metadata["match_rate_percent"].value == 25
    assert (check.passed, check.severity) == (False, ERROR)


def test_a_run_that_is_late_fails_the_check_once_and_passes_again_when_it_has_run(shop: Shop) -> None:
    shop.customers(3)
    assert shop.run().success
    first = tick(shop.definitions, shop.instance, None)
    shop.execute("UPDATE audience_syncs.sync_runs SET started_at = started_at - interval '3 hours'")
    late = tick(shop.definitions, shop.instance, first.cursor)

    def freshness(result: dg.SensorResult) -> list[bool]:
        return [
            event.passed
            for event in result.asset_events
            if isinstance(event, dg.AssetCheckEvaluation) and event.check_name == "freshness"
        ]

    assert (freshness(first), freshness(late)) == ([], [False])
    again = tick(shop.definitions, shop.instance, late.cursor)
    assert freshness(again) == []
    assert shop.run().success
    assert freshness(tick(shop.definitions, shop.instance, again.cursor)) == [True]


@pytest.mark.parametrize(
    ("rates", "usual", "drop"),
    [([50.0], None, 0), ([80, 80, 40], None, 0), ([80, 90, 70, 40], 80, 50), ([0, 0, 0, 5], 0, 0), ([50] * 4, 50, 0)],
)
def test_usual_is_the_median_of_what_was_before(rates: list[float], usual: float | None, drop: float) -> None:
    found = match_rate(rates)
    assert found is not None
    assert (found.usual, found.drop_percent) == (usual, drop)


def test_limits_are_of_a_severity_and_in_order() -> None:
    limit = Limit(warning=1, critical=10)
    assert [limit.severity(figure) for figure in (1, 1.5, 10, 11)] == [
        Severity.OK,
        Severity.WARNING,
        Severity.WARNING,
        Severity.CRITICAL,
    ]
    assert Limit().severity(1e9) is Severity.OK
    with pytest.raises(ValidationError, match="comes after"):
        Limit(warning=10, critical=1)
