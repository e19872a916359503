"""Exclusions, priority lists and splits as they are defined in YAML: evaluated in order, shown in Dagster and the terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from audience_syncs.cli.main import app
from audience_syncs.components.loading import load_definitions
from audience_syncs_tests.test_project import SOURCE, write

CRM = """\
type: audience_syncs.components.Destination
attributes:
  name: crm
  platform: sql_table
  credentials: {url: {env: SHOP_URL}}
  exclude:
    - {name: no_consent, column: consent, unless: [true]}
    - {name: suppressed, sql: SELECT email FROM suppressed, match: email, ignore_case: true}
"""

VIP = """\
type: audience_syncs.components.Audience
attributes: {name: vip, source: shop, primary_key: id, sql: SELECT id FROM people WHERE id <= 10}
"""

FIRST = """\
type: audience_syncs.components.Priority
attributes: {name: one_message, audiences: [vip, carts]}
"""

CARTS = """\
type: audience_syncs.components.Audience
attributes:
  name: carts
  source: shop
  primary_key: id
  sql: SELECT id, email, consent FROM people
  split:
    groups:
      - {name: mails, percent: 90, syncs: [crm]}
      - {name: held, percent: 10}
    conversions:
      bought: {sql: "SELECT id, '2100-01-01'::date FROM people WHERE id % 2 = 0"}
  syncs:
    - destination: crm
      list: {name: carts}
      mapping: {id: id, email: email, grp: _group}
      guard: {min_drop: 1000, allow_empty: true}
"""


@pytest.fixture
def engine(fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[sa.Engine]:
    engine = sa.create_engine(fresh_postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE people (id int, email text, consent boolean DEFAULT true)")
        connection.exec_driver_sql(
            "INSERT INTO people SELECT g, 'p' || g || '@example.com' FROM generate_series(1, 500) g"
        )
        connection.exec_driver_sql("UPDATE people SET consent = NULL WHERE mod(id, 100) = 0")
        connection.exec_driver_sql(
            "CREATE TABLE suppressed AS SELECT 'P' || g || '@Example.com' AS email FROM generate_series(1, 20) g"
        )
    write(tmp_path / "defs", shop=SOURCE, crm=CRM, vip=VIP, first=FIRST, carts=CARTS)
    monkeypatch.setenv("SHOP_URL", fresh_postgres_url)
    monkeypatch.setenv("AUDIENCE_SYNCS_DEFS", str(tmp_path / "defs"))
    monkeypatch.setenv("AUDIENCE_SYNCS_HOME", str(tmp_path / "home"))
    yield engine
    engine.dispose()


def answer(*arguments: str) -> Any:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def shown(*arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def rows(engine: sa.Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(query)]


def test_a_run_evaluates_the_audiences_that_go_first_and_tells_who_was_kept_out(
    engine: sa.Engine, tmp_path: Path
) -> None:
    definitions = load_definitions(tmp_path / "defs")
    job = definitions.resolve_job_def("sync__carts__crm")
    first = job.execute_in_process()
    vip, carts, sync = first.asset_materializations_for_node("syncs__carts__crm")
    assert [made.asset_key.path[-1] for made in (vip, carts, sync)] == ["vip", "carts", "crm"]
    groups = {row.data["group"]: row.data["members"] for row in carts.metadata["groups"].value.records}
    assert sum(groups.values()) == 500
    reasons = {row.data["reason"]: row.data["members"] for row in sync.metadata["kept_out_by_reason"].value.records}
    assert list(reasons) == ["no_consent", "suppressed", "in vip", "other groups"]
    assert (reasons["no_consent"], reasons["suppressed"], reasons["in vip"]) == (5, 20, 0)
    assert 0 < reasons["other groups"] <= groups["held"]
    assert sync.metadata["kept_out"].value == 500 - sync.metadata["in_audience"].value == sum(reasons.values())
    listed = rows(engine, "SELECT id, grp FROM carts WHERE _synced_row IS NOT NULL")
    assert len(listed) == sync.metadata["accepted"].value == sync.metadata["in_audience"].value
    assert {group for _, group in listed} == {"mails"}
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM suppressed")
    second = job.execute_in_process()
    *_, again = second.asset_materializations_for_node("syncs__carts__crm")
    reasons = {row.data["reason"]: row.data["members"] for row in again.metadata["kept_out_by_reason"].value.records}
    assert (reasons["suppressed"], reasons["in vip"]) == (0, 10)


def test_the_page_of_a_sync_says_whom_it_does_not_send_and_what_it_needs(engine: sa.Engine, tmp_path: Path) -> None:
    graph = load_definitions(tmp_path / "defs").resolve_asset_graph()
    node = graph.get(dg.AssetKey(["syncs", "carts", "crm"]))
    words = node.description or ""
    for part in (
        "Excluded (`no_consent`): `consent` is not true.",
        "Excluded (`suppressed`): whose `email` is in a list of the warehouse.",
        "Who is in `vip` is sent there only.",
        "Only the groups `mails` of the split.",
    ):
        assert part in words
    assert {key.path[-1] for key in node.parent_keys} == {"carts", "vip"}


def test_the_terminal_evaluates_and_tells_the_same(engine: sa.Engine) -> None:
    report = answer("run", "carts/crm")
    plan = answer("plan", "carts/crm")
    assert report["withheld"] == plan["withheld"]
    assert report["in_audience"] + sum(report["withheld"].values()) == 500
    assert "are kept out: no_consent 5, suppressed 20, in vip 0, other groups" in shown("plan", "carts/crm")
    assert "are kept out" in shown("run", "carts/crm")
    evaluated = rows(engine, "SELECT audience, count(*) FROM audience_syncs.snapshots GROUP BY 1 ORDER BY 1")
    assert evaluated == [("carts", 2), ("vip", 2)]
    assert "are kept out" in shown("run", "carts/crm", "--no-refresh")
    assert rows(engine, "SELECT count(*) FROM audience_syncs.snapshots") == [(4,)]


def test_the_plan_for_review_evaluates_what_goes_first_and_keeps_the_same_people_out(engine: sa.Engine) -> None:
    [reviewed] = answer("plan", "--all")["syncs"]
    assert reviewed["error"] is None
    assert "kept out: no_consent 5, suppressed 20, other groups" in shown("plan", "--all", "--format", "markdown")
    report = answer("run", "carts/crm")
    assert (reviewed["in_audience"], reviewed["withheld"]) == (report["in_audience"], report["withheld"])


def test_splits_and_lift_are_told_in_the_terminal(engine: sa.Engine) -> None:
    done = CliRunner().invoke(app, ["splits", "carts"])
    assert "has not been evaluated" in str(done.exception)
    answer("run", "carts/crm")
    groups = {row["group"]: row for row in answer("splits", "carts")["groups"]}
    assert groups["mails"]["members"] + groups["held"]["members"] == 500
    assert "nowhere: the holdout" in shown("splits", "carts")
    lift = answer("lift", "carts")
    assert (lift["conversion"], lift["baseline"]) == ("bought", "held")
    assert sum(group["converted"] for group in lift["groups"]) == 250
    assert lift["since"].endswith("+00:00")
    for group in lift["groups"]:
        assert group["rate_lower"] < group["rate"] < group["rate_upper"]
        assert (group["relative"] is None) == group["is_baseline"]
    assert "Counted from 20" in shown("lift", "carts")
    assert "@" not in shown("lift", "carts")
    assert "too few to tell" in shown("lift", "carts", "bought")
    assert "lower" not in shown("lift", "carts", "--baseline", "mails").replace("95 % interval", "")
