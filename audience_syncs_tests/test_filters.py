"""Audiences as filters: compiled, evaluated, printed and counted, on a real PostgreSQL. What each condition means is proven in
test_filter_semantics.py, against an evaluator that knows no SQL."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from audience_syncs.audiences import evaluate_audience
from audience_syncs.audiences.compile import compile_audience
from audience_syncs.audiences.size import alike, size_of
from audience_syncs.cli.main import app
from audience_syncs.components.loading import load_definitions
from audience_syncs.demo.shop import create_shop, shop_now, tick
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError, DefinitionError
from audience_syncs.model.schema import ModelConfig, Schema
from audience_syncs.project import configured_defs_dir, load_project
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs.warehouse.expressions import PostgreSQLExpressions, readable

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
FORMS = ("cart_abandoners", "high_value_customers", "lapsed_customers")
HOSTILE = (
    '"',
    "'",
    "%",
    "%s",
    "%(x)s",
    "\\",
    "a\nb",
    "';DROP TABLE people;--",
    ":as_of",
    "{query}",
    "ß",
    "İ",
    "😀",
    "",
)


@pytest.fixture(scope="module")
def shop(postgres_url: str) -> Iterator[Warehouse]:
    """A small demo shop."""
    engine = sa.create_engine(postgres_url)
    create_shop(engine, users=3_000)
    engine.dispose()
    with open_warehouse_at(postgres_url, name="shop") as warehouse:
        yield warehouse


def members(warehouse: Warehouse, audience: AudienceConfig, **options: Any) -> set[str]:
    """Who is in an audience after an evaluation."""
    snapshot = evaluate_audience(audience, warehouse, run_id="test", **options)
    with warehouse.connect() as connection:
        return set(connection.scalars(sa.text(f"SELECT _member_key FROM {warehouse.schema}.{snapshot.table}")))


@pytest.fixture
def odd(fresh_postgres_url: str) -> Iterator[Warehouse]:
    """A table whose names need quotes, with a person for each hostile text."""
    with open_warehouse_at(fresh_postgres_url, name="odd") as warehouse:
        with warehouse.engine.begin() as connection:
            connection.exec_driver_sql(
                'CREATE TABLE "Leute %" ("select" int PRIMARY KEY, "Größe ""x"" 100%" text, "a:b" date, at timestamptz)',
                execution_options={"no_parameters": True},
            )
            table = sa.table("Leute %", *(sa.column(name) for name in ODD_COLUMNS))
            rows = [
                {"select": number, 'Größe "x" 100%': text, "a:b": NOW.date() - timedelta(days=number), "at": NOW}
                for number, text in enumerate(HOSTILE)
            ]
            connection.execute(sa.insert(table), rows)
        yield warehouse


ODD_COLUMNS = {
    "select": "integer",
    'Größe "x" 100%': "text",
    "a:b": "date",
    "at": "timestamp with time zone",
}


def odd_audience(condition: dict[str, Any], **values: Any) -> AudienceConfig:
    model = ModelConfig(
        name="leute", source="odd", table='"Leute %"', primary_key="select", now_sql=values.pop("now", None)
    )
    audience = AudienceConfig.model_validate({"name": "odd", "model": "leute", "filter": condition, **values})
    schema = Schema({"leute": model}, {"leute": ODD_COLUMNS})
    return audience.resolved(schema, source="odd", primary_key="select")


@pytest.mark.parametrize("name", FORMS)
def test_the_demos_audiences_are_the_same_people_as_sql_and_as_filters(shop: Warehouse, name: str) -> None:
    project = load_project(configured_defs_dir({}))
    for _ in range(2):
        as_sql = members(shop, project.audiences[name])
        assert as_sql == members(shop, project.audiences[f"{name}_as_filter"])
        assert len(as_sql) > 20
        tick(shop.engine, hours=30)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("operator", ["equals", "contains", "starts_with", "ends_with"])
def test_values_and_names_are_never_taken_for_sql(odd: Warehouse, operator: str, text: str) -> None:
    if not text and operator != "equals":
        return
    test: Any = {
        "equals": lambda other: other == text,
        "contains": lambda other: text in other,
        "starts_with": lambda other: other.startswith(text),
        "ends_with": lambda other: other.endswith(text),
    }[operator]
    audience = odd_audience({"property": 'Größe "x" 100%', operator: text})
    wanted = {str(number) for number, other in enumerate(HOSTILE) if test(other)}
    assert wanted
    assert members(odd, audience) == wanted
    # What is printed is the same query.
    printed = readable(compile_audience(audience, PostgreSQLExpressions(), NOW, annotate=True), PostgreSQLExpressions())
    with odd.connect() as connection:
        found = connection.exec_driver_sql(printed, execution_options={"no_parameters": True})
        assert {str(row[0]) for row in found} == wanted


def test_the_key_of_an_audience_with_sql_may_have_any_name(odd: Warehouse) -> None:
    sql = 'SELECT "select" AS "a ""%" FROM "Leute %"'
    audience = AudienceConfig(name="odd", source="odd", primary_key='a "%', sql=sql)
    assert len(members(odd, audience)) == len(HOSTILE)


def test_other_audiences_may_have_any_sql(odd: Warehouse) -> None:
    other = AudienceConfig(
        name="other",
        source="odd",
        primary_key="key",
        sql='SELECT "select"::bigint AS key, \'100%\' AS "p%", \':x\' AS c FROM "Leute %" WHERE "select" % 2 = 0 AND at <= :as_of',
    )
    for condition, remainder in (({"in_audience": "other"}, 0), ({"not_in_audience": "other"}, 1)):
        audience = odd_audience(condition)
        schema = Schema(audience.refers_to.models, audience.refers_to.columns, {"other": other})
        found = members(odd, audience.resolved(schema))
        assert found == {str(number) for number in range(len(HOSTILE)) if number % 2 == remainder}


def test_now_is_what_the_model_says_and_of_a_day_its_end(odd: Warehouse) -> None:
    condition = {"property": "a:b", "in_last": "3 days"}
    assert members(odd, odd_audience(condition, now='SELECT max(at) FROM "Leute %"')) == {"0", "1", "2"}
    naive = "SELECT timestamp '2026-10-31 09:00'"
    assert members(odd, odd_audience(condition, now=naive)) == {"1", "2", "3"}
    daily = odd_audience({"property": "a:b", "on": "yesterday"}, now=naive, partitions={"start": "2026-10-01"})
    # The end of a day is the first moment of the next one.
    assert members(odd, daily, day="2026-10-30") == {"2"}
    for wrong in ("SELECT 'soon'", "SELECT now() WHERE false", "SELECT now(), now()"):
        with pytest.raises(AudienceError, match=r"returns no (single )?time"):
            members(odd, odd_audience(condition, now=wrong))


def test_a_column_that_is_gone_is_named_with_what_to_do(odd: Warehouse) -> None:
    audience = odd_audience({"property": "at", "is_null": False})
    with odd.engine.begin() as connection:
        connection.exec_driver_sql('ALTER TABLE "Leute %%" DROP COLUMN at')
    with pytest.raises(AudienceError, match=r"at does not exist(?s:.*)audience-syncs columns"):
        members(odd, audience)
    with pytest.raises(DefinitionError, match=r"no column 'gone'"):
        members(odd, odd_audience({"property": "gone", "is_null": False}))


def test_an_audience_that_contains_itself_is_refused() -> None:
    audience = odd_audience({"in_audience": "odd"})
    schema = Schema(audience.refers_to.models, audience.refers_to.columns, {"odd": audience})
    audience = audience.resolved(schema)
    schema.audiences["odd"] = audience  # type: ignore[index]
    with pytest.raises(DefinitionError, match=r"odd -> odd"):
        compile_audience(audience, PostgreSQLExpressions(), NOW)


def test_a_trait_can_be_a_column_of_the_audience(shop: Warehouse) -> None:
    project = load_project(configured_defs_dir({}))
    audience = project.audiences["high_value_customers_as_filter"]
    snapshot = evaluate_audience(audience, shop, run_id="test")
    assert [column.name for column in snapshot.columns][-2:] == ["country", "revenue_365d"]
    assert {column.name for column in snapshot.columns if column.personal} == {
        "email",
        "phone",
        "first_name",
        "last_name",
    }
    with shop.connect() as connection:
        lowest = connection.scalar(sa.text(f"SELECT min(revenue_365d) FROM {shop.schema}.{snapshot.table}"))
    assert lowest is not None
    assert lowest >= 500


def test_an_evaluation_tells_what_each_condition_leaves_and_whom_it_shares(shop: Warehouse) -> None:
    project = load_project(configured_defs_dir({}))
    audience = project.audiences["lapsed_customers_as_filter"]
    evaluate_audience(project.audiences["lapsed_customers"], shop, run_id="test")
    snapshot = evaluate_audience(audience, shop, run_id="test")
    left = [step.left for step in snapshot.funnel]
    assert left == sorted(left, reverse=True)
    assert left[-1] == snapshot.members
    assert all(step.left <= step.alone <= snapshot.people for step in snapshot.funnel)
    assert snapshot.funnel[0].condition == "ads_consent is true"
    with shop.connect() as connection:
        now = shop_now(shop.engine)
        consenting = connection.scalar(sa.text("SELECT count(*) FROM shop.users WHERE ads_consent"))
        alone = connection.scalar(
            sa.text("SELECT count(DISTINCT user_id) FROM shop.orders WHERE status = 'paid' AND ordered_at < :now"),
            {"now": now},
        )
    assert (snapshot.funnel[0].alone, snapshot.funnel[2].alone) == (consenting, alone)
    overlaps = {overlap.audience: overlap.both for overlap in snapshot.overlaps}
    assert overlaps["lapsed_customers"] == snapshot.members


def test_size_counts_without_keeping_anything(shop: Warehouse) -> None:
    project = load_project(configured_defs_dir({}))
    audience = project.audiences["cart_abandoners_as_filter"]
    before = evaluate_audience(audience, shop, run_id="test")
    evaluate_audience(project.audiences["cart_abandoners"], shop, run_id="test")
    tick(shop.engine, hours=48)
    with shop.connect() as connection:
        tables = set(connection.scalars(sa.text("SELECT oid FROM pg_class")))
        found = size_of(audience, shop, alike(audience))
        assert set(connection.scalars(sa.text("SELECT oid FROM pg_class"))) == tables
    assert found.change is not None
    after = evaluate_audience(audience, shop, run_id="test")
    assert (found.change.before, found.members) == (before.members, after.members)
    assert (found.change.entered, found.change.exited) == (after.entered, after.exited)
    assert after.entered > 0
    assert after.exited > 0
    assert found.funnel == after.funnel
    assert found.matrix["cart_abandoners"]["cart_abandoners"] == before.members
    assert found.matrix["cart_abandoners_as_filter"]["cart_abandoners"] == after.members - after.entered


@pytest.mark.parametrize("name", ["lapsed_customers", "lapsed_customers_as_filter"])
def test_the_commands_sql_and_size(shop: Warehouse, tmp_path: Path, name: str) -> None:
    url = shop.engine.url.render_as_string(hide_password=False)
    environ = {"AUDIENCE_SYNCS_SHOP_URL": url, "AUDIENCE_SYNCS_HOME": str(tmp_path)}
    snapshot = evaluate_audience(load_project(configured_defs_dir({})).audiences[name], shop, run_id="test")
    answer = json.loads(CliRunner().invoke(app, ["size", name, "--json"], env=environ).stdout)
    assert answer["members"] == snapshot.members
    assert answer["change"] == {"before": snapshot.members, "entered": 0, "exited": 0}
    assert f"{snapshot.members:,} members now" in CliRunner().invoke(app, ["size", name], env=environ).stdout
    printed = CliRunner().invoke(app, ["sql", name], env=environ).stdout
    with shop.connect() as connection:
        rows = connection.exec_driver_sql(printed, execution_options={"no_parameters": True}).all()
    assert len(rows) == snapshot.members
    if name.endswith("_as_filter"):
        assert "-- has no orders where status is paid, in the last 180 days\n" in printed
        bound = json.loads(CliRunner().invoke(app, ["sql", name, "--json"], env=environ).stdout)
        assert "paid" in bound["parameters"].values()


def test_sql_needs_no_warehouse(tmp_path: Path) -> None:
    environ = {"AUDIENCE_SYNCS_HOME": str(tmp_path), "AUDIENCE_SYNCS_SHOP_URL": ""}
    done = CliRunner().invoke(app, ["sql", "lapsed_customers_as_filter", "--now", "2026-05-01T00:00Z"], env=environ)
    assert done.exit_code == 0, done.output
    assert "'2025-11-02 00:00:00+00:00'" in done.stdout
    refused = CliRunner().invoke(app, ["sql", "laps_customers"], env=environ)
    assert isinstance(refused.exception, DefinitionError)
    assert "lapsed_customers" in refused.exception.remedy


def test_in_dagster_a_filter_is_shown_in_words_below_its_tables_with_its_funnel(
    shop: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "defs"
    shutil.copytree(configured_defs_dir({}), folder)
    model = folder / "models" / "customers" / "defs.yaml"
    text = model.read_text(encoding="utf-8")
    model.write_text(
        text.replace("  table: shop.users\n", "  table: shop.users\n  asset: dbt/customers\n"), encoding="utf-8"
    )
    (folder / "audiences" / "both").mkdir()
    (folder / "audiences" / "both" / "defs.yaml").write_text(
        "type: audience_syncs.components.Audience\nattributes:\n  name: both\n  model: customers\n"
        "  filter: {all: [{in_audience: lapsed_customers}, {not_in_audience: cart_abandoners}]}\n",
        encoding="utf-8",
    )
    url = shop.engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("AUDIENCE_SYNCS_SHOP_URL", url)
    definitions = load_definitions(folder)
    key = dg.AssetKey(["audiences", "both"])
    (asset,) = [one for one in definitions.assets or [] if isinstance(one, dg.AssetsDefinition) and key in one.keys]
    upstream = {dep.asset_key.to_user_string() for dep in asset.get_asset_spec(key).deps}
    assert upstream == {"dbt/customers", "audiences/lapsed_customers", "audiences/cart_abandoners"}
    description = asset.get_asset_spec(key).description or ""
    assert "- is in the audience lapsed_customers\n- is not in the audience cart_abandoners" in description
    evaluate_audience(load_project(folder).audiences["lapsed_customers"], shop, run_id="test")
    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize([asset], instance=instance)
    metadata = result.asset_materializations_for_node("audiences__both")[0].metadata
    funnel = metadata["funnel"].value.records  # type: ignore[union-attr]
    assert [record.data["condition"] for record in funnel] == [
        "is in the audience lapsed_customers",
        "is not in the audience cart_abandoners",
    ]
    assert funnel[-1].data["left_so_far"] == metadata["members"].value
    overlaps = {record.data["audience"]: record.data for record in metadata["overlaps"].value.records}  # type: ignore[union-attr]
    assert overlaps["lapsed_customers"]["of_this"] == "100.0 %"
