"""The YAML as Dagster definitions: assets, jobs, schedules, metadata and failures, and nothing heavy at load."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
import sqlalchemy as sa
from dagster._core.definitions.metadata.source_code import LocalFileCodeReference

from audience_syncs.components import Audience, Destination, Source
from audience_syncs.components.figures import (
    ProgressLog,
    failure_of,
    matched_text,
    reported_to_dagster,
    snapshot_metadata,
    sync_metadata,
)
from audience_syncs.components.loading import component_tree, load_definitions
from audience_syncs.model.config import AudienceConfig, SyncConfig
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    DefinitionError,
    DestinationError,
    GuardBlocked,
    SourceError,
)
from audience_syncs.model.values import (
    Column,
    MatchedUsers,
    PlanCounts,
    Progress,
    RejectionCount,
    RemoteList,
    RunStatus,
    Snapshot,
    SyncReport,
)
from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.test_project import AUDIENCE, SOURCE, destination_yaml, sound

SECOND = """\
    - destination: hubspot_crm
      schedule: {cron: '30 6 * * mon-fri', timezone: Europe/Berlin}
      mapping: {email: email}
    - destination: hubspot_crm
      name: by_hand
      list: {name: By hand}
      mapping: {email: email}
"""
AT = datetime(2026, 11, 24, 3, 30, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return sound(tmp_path, carts=AUDIENCE + SECOND, hubspot_crm=destination_yaml("hubspot_crm", "hubspot"))


@pytest.fixture
def definitions(folder: Path) -> dg.Definitions:
    return load_definitions(folder)


def test_an_audience_becomes_an_asset_and_each_sync_one_downstream_of_it(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    assert {key.to_user_string() for key in graph.get_all_asset_keys()} == {
        "audiences/carts",
        "syncs/carts/meta_ads",
        "syncs/carts/hubspot_crm",
        "syncs/carts/by_hand",
        "syncs_overview",
    }
    for key in graph.get_all_asset_keys() - {dg.AssetKey("syncs_overview")}:
        node = graph.get(key)
        assert node.group_name == "carts"
        assert set(node.owners) == {"team:marketing", "maria@example.com"}
        assert {k.to_user_string() for k in node.parent_keys} == (
            set() if key.path[0] == "audiences" else {"audiences/carts"}
        )
    assert graph.get(dg.AssetKey(["audiences", "carts"])).kinds == {"postgres", "sql"}
    assert graph.get(dg.AssetKey(["syncs", "carts", "meta_ads"])).kinds == {"facebook"}
    assert graph.get(dg.AssetKey(["syncs", "carts", "hubspot_crm"])).kinds == {"hubspot"}


def test_the_descriptions_say_who_and_where_in_words(definitions: dg.Definitions) -> None:
    graph = definitions.resolve_asset_graph()
    audience = graph.get(dg.AssetKey(["audiences", "carts"])).description or ""
    assert "Verlassene Körbe 🛒" in audience
    assert "```sql\nSELECT customer_id, email FROM customers\n```" in audience
    sync = graph.get(dg.AssetKey(["syncs", "carts", "by_hand"])).description or ""
    assert "**By hand**" in sync
    assert "manual" in sync
    assert "`email` from `email`" in sync


def test_the_assets_lead_to_their_yaml(definitions: dg.Definitions, folder: Path) -> None:
    metadata = definitions.resolve_asset_graph().get(dg.AssetKey(["syncs", "carts", "meta_ads"])).metadata
    (reference,) = metadata["dagster/code_references"].code_references
    assert isinstance(reference, LocalFileCodeReference)
    assert Path(reference.file_path) == folder / "carts" / "defs.yaml"


def test_the_syncs_of_an_account_share_its_pool(definitions: dg.Definitions) -> None:
    pools = {
        next(iter(asset.keys)).to_user_string(): asset.op.pool
        for asset in definitions.assets or ()
        if isinstance(asset, dg.AssetsDefinition)
    }
    assert pools["audiences/carts"] is None
    assert pools["syncs/carts/meta_ads"] == "destination__meta_ads"
    assert len({pool for pool in pools.values() if pool}) == 2


def test_a_run_has_its_place_in_the_queue_and_its_retries_from_the_sync(tmp_path: Path) -> None:
    urgent = AUDIENCE + "      priority: 7\n      retries: 3\n"
    job = load_definitions(sound(tmp_path, carts=urgent)).resolve_job_def("sync__carts__meta_ads")
    assert {name: job.tags[f"dagster/{name}"] for name in ("priority", "max_retries")} == {
        "priority": "7",
        "max_retries": "3",
    }


def test_a_syncs_job_is_one_step_in_one_process(definitions: dg.Definitions) -> None:
    job = definitions.resolve_job_def("sync__carts__meta_ads")
    keys = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    assert keys == {"syncs/carts/meta_ads"}
    assert job.executor_def.name == "in_process"
    alone = definitions.resolve_job_def("audience__carts")
    assert {key.to_user_string() for key in alone.asset_layer.executable_asset_keys} == {"audiences/carts"}


def test_a_job_has_the_checks_that_its_run_answers_and_no_others(definitions: dg.Definitions) -> None:
    """Not the audit, which asks the platform, nor the Syncs table, which the watch fills."""
    every = {(key.asset_key.path[0], key.name) for key in definitions.resolve_asset_graph().asset_check_keys}
    assert {("syncs", "destination_audit"), ("audiences", "syncs")} < every
    for name, room, other in (
        ("sync__carts__meta_ads", "syncs", "destination_audit"),
        ("audience__carts", "audiences", "syncs"),
    ):
        checks = definitions.resolve_job_def(name).asset_layer.asset_graph.asset_check_keys
        assert {key.name for key in checks} == {check for kind, check in every if kind == room} - {other}
        assert len({key.asset_key for key in checks}) == 1


def test_each_scheduled_sync_has_a_schedule_that_runs_and_a_manual_one_has_none(definitions: dg.Definitions) -> None:
    schedules = {schedule.name: schedule for schedule in definitions.schedules or ()}
    assert set(schedules) == {"schedule__carts__meta_ads", "schedule__carts__hubspot_crm"}
    hourly, mornings = schedules["schedule__carts__meta_ads"], schedules["schedule__carts__hubspot_crm"]
    assert isinstance(hourly, dg.ScheduleDefinition)
    assert isinstance(mornings, dg.ScheduleDefinition)
    assert (hourly.cron_schedule, hourly.execution_timezone) == ("0 * * * *", "UTC")
    assert (mornings.cron_schedule, mornings.execution_timezone) == ("30 6 * * mon-fri", "Europe/Berlin")
    assert hourly.default_status is dg.DefaultScheduleStatus.RUNNING
    assert hourly.job_name == "sync__carts__meta_ads"


def test_the_launchpad_explains_what_may_be_asked_of_a_run(definitions: dg.Definitions) -> None:
    asset = next(
        asset
        for asset in definitions.assets or ()
        if isinstance(asset, dg.AssetsDefinition) and dg.AssetKey(["syncs", "carts", "meta_ads"]) in asset.keys
    )
    fields = asset.op.config_schema.config_type.fields  # type: ignore[attr-defined]
    assert set(fields) == {
        "approve",
        "retry_rejected",
        "full_resync",
        "new_list",
        "dry_run",
        "limit",
        "day",
    }
    assert "guard" in (fields["approve"].description or "")
    assert not fields["approve"].is_required


def test_mistakes_refuse_the_project_with_all_of_them_and_their_lines(folder: Path) -> None:
    text = AUDIENCE.replace("source: shop", "source: shpo").replace("1 hour", "7 minutes")
    sound(folder, carts=text, shop=SOURCE + "  surprise: 1\n")
    with pytest.raises(DefinitionError) as raised:
        load_definitions(folder)
    shown = str(raised.value)
    for place in ("carts/defs.yaml:5:11", "carts/defs.yaml:12:25", "shop/defs.yaml:5:3"):
        assert place in shown, shown
    assert "3 problems in 2 files" in shown


def test_a_tree_loaded_by_dagster_itself_refuses_them_too(folder: Path) -> None:
    sound(folder, carts=AUDIENCE.replace("source: shop", "source: shpo"))
    with pytest.raises(Exception) as raised:
        component_tree(folder).build_defs()
    chain: list[str] = []
    error: BaseException | None = raised.value
    while error is not None:
        chain.append(str(error))
        error = error.__cause__
    assert "carts/defs.yaml:5:11" in "\n".join(chain)


def test_python_beside_the_yaml_is_loaded_and_may_import_its_neighbours(folder: Path) -> None:
    package = folder / "extra"
    package.mkdir()
    (package / "names.py").write_text("NAME = 'beside'\n")
    (package / "assets.py").write_text(
        "import dagster as dg\nfrom .names import NAME\n\n@dg.asset(name=NAME)\ndef made() -> None: ...\n"
    )
    keys = load_definitions(folder).resolve_asset_graph().get_all_asset_keys()
    assert dg.AssetKey("beside") in keys
    assert dg.AssetKey(["audiences", "carts"]) in keys


def test_a_folder_is_read_anew_each_time_it_is_loaded(folder: Path) -> None:
    load_definitions(folder)
    sound(folder, carts=AUDIENCE.replace("name: carts", "name: baskets"))
    keys = load_definitions(folder).resolve_asset_graph().get_all_asset_keys()
    assert dg.AssetKey(["audiences", "baskets"]) in keys


def test_components_can_be_made_in_python_for_a_notebook() -> None:
    source = Source.from_attributes_dict(attributes={"name": "shop", "url": {"env": "SHOP_URL"}})
    assert source.config.url.env == "SHOP_URL"
    with pytest.raises(DefinitionError, match="name") as raised:
        Destination.from_attributes_dict(attributes={"platform": "meta", "credentials": {"a": "hunter2"}})
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("component", [Source, Destination, Audience])
def test_dagster_knows_the_schema_and_the_purpose_of_each_component(component: type[dg.Component]) -> None:
    model = component.get_model_cls()
    assert model is not None
    schema = model.model_json_schema()
    assert schema["additionalProperties"] is False
    assert "name" in schema["required"]
    assert component.get_description()


def test_loading_definitions_needs_no_variable_and_imports_no_drivers(folder: Path) -> None:
    code = (
        "import sys; import dagster; before = set(sys.modules);"
        "from pathlib import Path; from audience_syncs.components.loading import load_definitions;"
        f"load_definitions(Path({str(folder)!r})).get_repository_def();"
        "heavy = ('pandas', 'requests', 'psycopg2', 'sqlalchemy', 'phonenumbers', 'pyarrow');"
        "print([m for m in heavy if m in set(sys.modules) - before])"
    )
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


# Figures -------------------------------------------------------------------------------------------------------------


def a_snapshot(**changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "id": 7,
        "audience": "carts",
        "evaluated_at": AT,
        "members": 0,
        "entered": 0,
        "exited": 0,
        "columns": (Column("customer_id", "BIGINT"), Column("email", "TEXT", personal=True)),
        "primary_key": "customer_id",
        "sql": "SELECT 1",
        "table": "snapshot_7",
    }
    return Snapshot(**{**values, **changes})


def a_report(**changes: Any) -> SyncReport:
    values: dict[str, Any] = {
        "sync": "carts/meta_ads",
        "run_id": "r",
        "status": RunStatus.WARNING,
        "started_at": AT,
        "finished_at": AT + timedelta(seconds=2.5),
        "snapshot_id": 7,
        "plan_digest": "abc",
        "in_audience": 10,
        "delivered": 9,
        "accepted": 8,
        "matched": None,
        "planned": PlanCounts(added=9, removed=3),
    }
    return SyncReport(**{**values, **changes})


SYNC = SyncConfig.model_validate(
    {"destination": "meta_ads", "mapping": {"EMAIL": "email"}, "schedule": {"every": "1 hour"}}
)


def test_numbers_are_numbers_so_that_dagster_plots_them() -> None:
    metadata = sync_metadata(a_report(matched=MatchedUsers(1000, 1100, AT)), SYNC)
    assert {name: value.value for name, value in metadata.items() if isinstance(value, dg.IntMetadataValue)} == {
        "in_audience": 10,
        "delivered": 9,
        "accepted": 8,
        "matched_lower": 1000,
        "matched_upper": 1100,
        "added": 0,
        "updated": 0,
        "removed": 0,
        "resent": 0,
        "rejected": 0,
        "retryable": 0,
        "unknown": 0,
        "recovered": 0,
        "requests": 0,
        "snapshot": 7,
    }
    assert metadata["duration_s"].value == 2.5
    assert metadata["frequency"].value == "every 1 hour"
    assert snapshot_metadata(a_snapshot(members=3))["dagster/row_count"].value == 3


@pytest.mark.parametrize(
    "matched, text",
    [
        (None, "not known yet"),
        (MatchedUsers(None, None, AT, note="still computing"), "not known yet"),
        (MatchedUsers(1000, 1100, AT), "1,000-1,100 (approximate, as of 2026-11-24 03:30 UTC)"),
        (MatchedUsers(7, 7, AT, exact=True), "7 (as of 2026-11-24 03:30 UTC)"),
        (MatchedUsers(None, 1000, AT), "at most 1,000 (approximate, as of 2026-11-24 03:30 UTC)"),
        (MatchedUsers(0, None, AT, note="small"), "at least 0 (approximate, as of 2026-11-24 03:30 UTC; small)"),
    ],
)
def test_matched_users_are_told_with_their_uncertainty(matched: MatchedUsers | None, text: str) -> None:
    assert matched_text(matched) == text


def test_what_is_not_known_is_left_out_rather_than_shown_as_zero() -> None:
    metadata = sync_metadata(a_report(), SYNC)
    assert not {"matched_lower", "matched_upper", "list", "list_link", "rejections_by_reason"} & set(metadata)
    assert "preview_masked" not in snapshot_metadata(a_snapshot())


def test_rejections_and_the_list_are_shown() -> None:
    metadata = sync_metadata(
        a_report(
            rejections=(RejectionCount("INVALID", "not an address", 2),),
            dropped_values=(RejectionCount("phone", "too short", 1),),
            list=RemoteList("42", "Körbe", "https://example.com/42"),
        ),
        SYNC,
    )
    (record,) = metadata["rejections_by_reason"].records
    assert record.data == {"reason_code": "INVALID", "reason": "not an address", "members": 2}
    assert metadata["dropped_values"].records[0].data["members"] == 1
    assert metadata["list"].value == "Körbe"
    assert metadata["list_link"].value == "https://example.com/42"


def test_personal_columns_are_tagged_and_the_preview_is_as_masked() -> None:
    metadata = snapshot_metadata(a_snapshot(preview=({"customer_id": "1", "email": "a***"}, {"customer_id": "2"})))
    columns = metadata["dagster/column_schema"].value.columns
    assert [(column.name, dict(column.tags)) for column in columns] == [("customer_id", {}), ("email", {"pii": "true"})]
    assert [record.data for record in metadata["preview_masked"].records] == [
        {"customer_id": "1", "email": "a***"},
        {"customer_id": "2", "email": ""},
    ]


@pytest.mark.parametrize(
    "error, retries",
    [
        (GuardBlocked("nothing was sent", digest="d1g", remedy="approve it"), False),
        (AccessRefused("token revoked"), False),
        (DefinitionError("wrong"), False),
        (SourceError("no answer"), True),
        (DestinationError("down"), True),
    ],
)
def test_only_what_may_pass_by_itself_is_tried_again(error: AudienceSyncsError, retries: bool) -> None:
    failure = failure_of(error, SYNC)
    assert failure.allow_retries is retries
    assert failure.description == str(error)
    assert failure.metadata["error_code"].value == error.code


def test_a_blocked_plan_shows_its_figures_and_how_to_approve_it() -> None:
    error = GuardBlocked("nothing was sent", digest="d1g", remedy="approve it")
    error.report = a_report(status=RunStatus.BLOCKED)  # type: ignore[attr-defined]
    failure = failure_of(error, SYNC)
    shown = {name: value.value for name, value in failure.metadata.items()}
    assert shown["plan_digest"] == "d1g"
    assert (shown["planned_added"], shown["planned_removed"], shown["status"]) == (9, 3, "blocked")
    assert "approve it" in (failure.description or "")


def test_a_database_error_is_shown_without_the_row_it_quotes() -> None:
    error = sa.exc.IntegrityError("INSERT ...", {}, Exception("Key (email)=(ann@example.com) already exists"))
    with pytest.raises(dg.Failure) as raised, reported_to_dagster():
        raise error
    assert "ann@example.com" not in str(raised.value.description)
    assert raised.value.__suppress_context__
    with pytest.raises(ZeroDivisionError), reported_to_dagster():
        raise ZeroDivisionError


def test_progress_is_logged_once_a_step_and_then_every_ten_seconds() -> None:
    lines: list[str] = []
    times: Iterator[float] = iter([0.0, 1.0, 11.0, 11.5, 12.0, 13.0])
    log = ProgressLog(lines.append, clock=lambda: next(times))
    steps: Sequence[Progress] = [
        Progress("deliver", 0, 20_000),
        Progress("deliver", 1_000, 20_000),
        Progress("deliver", 9_000, 20_000),
        Progress("deliver", 9_500, 20_000),
        Progress("settle", 0),
        Progress("recover", 3),
    ]
    for step in steps:
        log(step)
    assert lines == ["deliver: 0 of 20,000", "deliver: 9,000 of 20,000", "settle", "recover: 3"]


# Real runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(postgres_url: str) -> str:
    """A warehouse with three customers."""
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE customers (customer_id bigint, email text)")
        connection.exec_driver_sql(
            "INSERT INTO customers VALUES (1, 'ann@example.com'), (2, 'josé@example.com'), (3, NULL)"
        )
    engine.dispose()
    return postgres_url


def events_text(result: dg.ExecuteInProcessResult) -> str:
    return "\n".join(str(event) for event in result.all_events)


def test_materialising_an_audience_shows_its_figures_and_no_person(
    definitions: dg.Definitions, shop: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SHOP_URL", shop)
    result = definitions.resolve_job_def("audience__carts").execute_in_process()
    (made,) = result.asset_materializations_for_node("audiences__carts")
    assert made.metadata["members"].value == 3
    assert made.metadata["entered"].value == 3
    schema = made.metadata["dagster/column_schema"].value
    assert {column.name: dict(column.tags) for column in schema.columns}["email"] == {"pii": "true"}
    for text in (events_text(result), caplog.text):
        assert "ann@example" not in text
        assert "josé@" not in text


def test_a_missing_secret_fails_the_run_with_the_name_of_the_variable(
    definitions: dg.Definitions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SHOP_URL", raising=False)
    result = definitions.resolve_job_def("sync__carts__meta_ads").execute_in_process(raise_on_error=False)
    assert not result.success
    failure = result.failure_data_for_node("syncs__carts__meta_ads")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert "SHOP_URL" in (failure.user_failure_data.description or "")
    assert failure.user_failure_data.metadata["error_code"].value == "MISSING_SECRET"


def test_an_audience_whose_query_fails_says_so_without_quoting_rows(
    folder: Path, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", shop)
    text = AUDIENCE.replace("SELECT customer_id, email", "SELECT email::bigint AS customer_id, email")
    definitions = load_definitions(sound(folder, carts=text))
    result = definitions.resolve_job_def("audience__carts").execute_in_process(raise_on_error=False)
    assert not result.success
    assert "AUDIENCE" in events_text(result)
    assert "ann@example" not in events_text(result)


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def simulated(
    tmp_path: Path, shop: str, simulators: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> dg.Definitions:
    """The project against a real warehouse and the platforms' simulators."""
    meta = destination_yaml().replace("settings:\n", "settings:\n    base_url_env: META_BASE_URL\n")
    monkeypatch.setenv("META_BASE_URL", f"{simulators.url}/meta")
    monkeypatch.setenv("META_ADS_ACCESS_TOKEN", "a-token-that-nobody-may-see")
    monkeypatch.setenv("SHOP_URL", shop)
    text = AUDIENCE.replace("name: carts", "name: baskets").replace("      mapping:", GUARD + "      mapping:")
    return load_definitions(sound(tmp_path, carts=text, meta_ads=meta))


GUARD = "      guard: {min_drop: 0, max_drop_percent: 40}\n"


def test_a_scheduled_run_delivers_the_audience_and_a_second_one_sends_nothing(
    simulated: dg.Definitions, shop: str, simulators: SimulatorServer, caplog: pytest.LogCaptureFixture
) -> None:
    job = simulated.resolve_job_def("sync__baskets__meta_ads")
    first = job.execute_in_process()
    evaluated, made = first.asset_materializations_for_node("syncs__baskets__meta_ads")
    assert evaluated.asset_key == dg.AssetKey(["audiences", "baskets"])
    figures = {name: value.value for name, value in made.metadata.items()}
    # The third customer has no email: rejected by us, never sent.
    assert (figures["in_audience"], figures["accepted"], figures["added"], figures["rejected"]) == (3, 2, 2, 1)
    lists = requests.get(f"{simulators.url}/_simulator/meta/lists", timeout=20).json()
    assert figures["list"] in str(lists)
    second = job.execute_in_process()
    _, again = second.asset_materializations_for_node("syncs__baskets__meta_ads")
    assert (again.metadata["added"].value, again.metadata["accepted"].value) == (0, 2)
    for text in (events_text(first), events_text(second), caplog.text):
        for secret in ("ann@example", "josé@", "a-token-that-nobody-may-see"):
            assert secret not in text


def test_a_blocked_plan_fails_the_run_and_is_sent_when_approved(
    simulated: dg.Definitions, shop: str, simulators: SimulatorServer
) -> None:
    job = simulated.resolve_job_def("sync__baskets__meta_ads")
    job.execute_in_process()
    engine = sa.create_engine(shop)
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM customers WHERE customer_id = 1")
    result = job.execute_in_process(raise_on_error=False)
    assert not result.success
    failure = result.failure_data_for_node("syncs__baskets__meta_ads")
    assert failure is not None
    assert failure.user_failure_data is not None
    shown = {name: value.value for name, value in failure.user_failure_data.metadata.items()}
    assert (shown["error_code"], shown["planned_removed"], shown["status"]) == ("GUARD_BLOCKED", 1, "blocked")
    digest = str(shown["plan_digest"])
    assert f"approve: {digest}" in (failure.user_failure_data.description or "")
    # The sync's asset alone, as its Materialise button runs it: it delivers the latest snapshot.
    approved = job.execute_in_process(
        asset_selection=[dg.AssetKey(["syncs", "baskets", "meta_ads"])],
        run_config={"ops": {"syncs__baskets__meta_ads": {"config": {"approve": digest}}}},
    )
    (made,) = approved.asset_materializations_for_node("syncs__baskets__meta_ads")
    assert made.metadata["removed"].value == 1
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO customers VALUES (1, 'ann@example.com')")
    engine.dispose()


def test_the_same_definition_is_what_the_terminal_reads(definitions: dg.Definitions, folder: Path) -> None:
    from audience_syncs.project import load_project

    config: AudienceConfig = load_project(folder).audiences["carts"]
    assert {f"syncs/carts/{sync.key}" for sync in config.syncs} == {
        key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys() if key.path[0] == "syncs"
    }
