"""One ``dagster.yaml`` serves everywhere: the database's address comes from the environment, whole or in parts."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
import yaml
from dagster._core.instance.config import PoolGranularity
from dagster._core.instance.ref import InstanceRef
from dagster._core.run_coordinator import QueuedRunCoordinator

from audience_syncs.components.storage import EnvironmentPostgresStorage
from audience_syncs.components.storage import postgres_url as address
from audience_syncs.model.errors import MissingSecret

ROOT = Path(__file__).absolute().parent.parent
PARTS = {
    "AUDIENCE_SYNCS_PG_HOST": "db.internal",
    "AUDIENCE_SYNCS_PG_USER": "dagster",
    "AUDIENCE_SYNCS_PG_PASSWORD": "p@ss:/w%?ö #1",
    "AUDIENCE_SYNCS_PG_DB": "dagster",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAGSTER_HOME that is just a folder with a link to the file."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "dagster.yaml").symlink_to(ROOT / "dagster.yaml")
    return folder


@pytest.fixture(scope="module")
def instance(home: Path, postgres_url: str) -> Iterator[dg.DagsterInstance]:
    """A real instance on a real PostgreSQL, found through the environment."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AUDIENCE_SYNCS_PG_URL", postgres_url)
        with dg.DagsterInstance.from_config(str(home)) as opened:
            yield opened


def test_runs_events_and_schedules_are_kept_in_that_database(instance: dg.DagsterInstance, postgres_url: str) -> None:
    @dg.asset
    def one() -> int:
        return 1

    result = dg.materialize([one], instance=instance, resources={"io_manager": dg.mem_io_manager})
    assert result.success
    engine = sa.create_engine(postgres_url)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM runs").scalar_one() == 1
        assert connection.exec_driver_sql("SELECT count(*) FROM event_logs").scalar_one() > 3
        assert "instigators" in sa.inspect(connection).get_table_names()
    engine.dispose()
    assert instance.get_latest_materialization_event(dg.AssetKey("one")) is not None


def test_run_workers_get_the_instance_without_the_password(
    home: Path, instance: dg.DagsterInstance, postgres_url: str
) -> None:
    handed_on = dg.serialize_value(instance.get_ref())
    url = sa.make_url(postgres_url)
    assert postgres_url not in handed_on
    assert "postgres_url" not in handed_on
    assert url.database is not None
    assert url.database not in handed_on
    with dg.DagsterInstance.from_ref(dg.deserialize_value(handed_on, InstanceRef)) as again:
        assert isinstance(again.get_ref().storage, EnvironmentPostgresStorage)
        assert again.get_runs_count() == instance.get_runs_count()


def test_a_sync_has_one_run_at_a_time_and_the_queue_keeps_the_others(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, QueuedRunCoordinator)
    pools = instance.get_concurrency_config().pool_config
    assert pools.default_pool_limit == 4
    assert pools.pool_granularity is PoolGranularity.RUN
    one_each = {"key": "audience_syncs/sync", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}
    assert instance.get_concurrency_config().run_queue_config.tag_concurrency_limits == [one_each]


def test_dead_runs_are_noticed_and_a_blocked_plan_is_not_tried_again(instance: dg.DagsterInstance) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_retries_max_retries == 1
    assert instance.run_retries_retry_on_asset_or_op_failure is False
    assert not instance.telemetry_enabled


def test_logs_of_runs_are_kept_below_the_dagster_home(instance: dg.DagsterInstance, home: Path) -> None:
    assert Path(instance.root_directory) == home
    assert Path(instance.storage_directory()).is_relative_to(home)


def test_a_copy_of_the_file_serves_as_well_as_a_link(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as other:
        assert other.get_runs_count() == instance.get_runs_count()


def test_an_address_in_parts_keeps_every_character_of_the_password() -> None:
    url = sa.make_url(address(PARTS))
    assert url.drivername == "postgresql+psycopg2"
    assert (url.username, url.password, url.host, url.port, url.database) == (
        "dagster",
        "p@ss:/w%?ö #1",
        "db.internal",
        5432,
        "dagster",
    )
    assert sa.make_url(address({**PARTS, "AUDIENCE_SYNCS_PG_PORT": "6000"})).port == 6000
    assert sa.make_url(address({**PARTS, "AUDIENCE_SYNCS_PG_HOST": "::1"})).host == "::1"
    socket = sa.make_url(address({**PARTS, "AUDIENCE_SYNCS_PG_HOST": "/run/pg dir"}))
    assert (socket.host, socket.query["host"]) == (None, "/run/pg dir")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+psycopg"])
def test_any_spelling_of_the_url_is_read_with_the_driver_we_have(scheme: str) -> None:
    url = sa.make_url(address({"AUDIENCE_SYNCS_PG_URL": f" {scheme}://u:p%40@h:5/d?sslmode=require\n"}))
    assert url.drivername == "postgresql+psycopg2"
    assert (url.password, url.port, url.query["sslmode"]) == ("p@", 5, "require")


def test_the_url_counts_before_the_parts() -> None:
    assert address({**PARTS, "AUDIENCE_SYNCS_PG_URL": "postgresql://u@other/d"}).endswith("u@other/d")


def test_without_any_address_the_error_says_what_to_set() -> None:
    with pytest.raises(MissingSecret) as raised:
        address({})
    assert "AUDIENCE_SYNCS_PG_URL" in str(raised.value)
    assert "audience-syncs demo" in str(raised.value)


def test_with_some_parts_the_error_names_those_that_are_missing() -> None:
    with pytest.raises(MissingSecret, match="missing: AUDIENCE_SYNCS_PG_USER, AUDIENCE_SYNCS_PG_DB"):
        address({"AUDIENCE_SYNCS_PG_HOST": "h", "AUDIENCE_SYNCS_PG_USER": ""})


@pytest.mark.parametrize("wrong", ["sqlite:///x.db", "localhost/db", "mysql://u:geheim@h/d"])
def test_an_address_of_something_else_is_refused_without_repeating_it(wrong: str) -> None:
    with pytest.raises(MissingSecret) as raised:
        address({"AUDIENCE_SYNCS_PG_URL": wrong})
    assert "geheim" not in str(raised.value)
    with pytest.raises(MissingSecret, match="not a number"):
        address({**PARTS, "AUDIENCE_SYNCS_PG_PORT": "five"})


def test_the_workspace_loads_our_definitions() -> None:
    workspace = yaml.safe_load((ROOT / "workspace.yaml").read_text(encoding="utf-8"))
    assert workspace == {
        "load_from": [
            {"python_module": {"module_name": "audience_syncs.definitions", "location_name": "audience_syncs"}}
        ]
    }
