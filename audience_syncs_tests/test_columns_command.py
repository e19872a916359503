"""`audience-syncs columns` asks a real warehouse, and records what filters are checked against."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from audience_syncs.cli.main import app
from audience_syncs.model.errors import DefinitionError
from audience_syncs.project import check_project, format_problems
from audience_syncs_tests.test_project import AUDIENCE, SOURCE, destination_yaml, write

MODEL = """\
type: audience_syncs.components.Model
attributes:
  name: people
  source: shop
  table: crm.people
  primary_key: id
  related:
    orders:
      sql: |
        -- 100 % of the orders; `:` and `%` are no parameters
        SELECT person, total::numeric(10, 2) AS total, '50%'::text AS "Größe %" FROM crm.orders
      join: {id: person}
    clubs:
      table: crm.clubs
      through: {table: crm.in_club, parent: {id: person}, related: {club: id}}
"""

FILTERED = """\
type: audience_syncs.components.Audience
attributes: {name: adults, model: people, filter: {property: age, at_least: 18}}
"""

TABLES = """
CREATE SCHEMA crm;
CREATE TABLE crm.people (id bigint, email text, age integer);
CREATE TABLE crm.orders (person bigint, total numeric);
CREATE TABLE crm.clubs (id uuid, tags text[]);
CREATE TABLE crm.in_club (person bigint, club uuid);
CREATE TABLE crm.customers (customer_id bigint, email text, seen timestamptz);
"""


@pytest.fixture
def engine(fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> sa.Engine:
    engine = sa.create_engine(fresh_postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(TABLES)
    sql = "SELECT customer_id, email, seen FROM crm.customers WHERE seen < :as_of"
    carts = AUDIENCE.replace("SELECT customer_id, email FROM customers", sql)
    files = {"shop": SOURCE, "meta_ads": destination_yaml(), "people": MODEL, "adults": FILTERED, "carts": carts}
    write(tmp_path / "defs", **files)
    monkeypatch.setenv("AUDIENCE_SYNCS_DEFS", str(tmp_path / "defs"))
    monkeypatch.setenv("SHOP_URL", fresh_postgres_url)
    monkeypatch.setenv("AUDIENCE_SYNCS_HOME", str(tmp_path / "home"))
    return engine


def run(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, ["columns", *arguments], catch_exceptions=False)
    assert done.exit_code == code, done.output
    return done.output


def execute(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def record(defs: Path, folder: str) -> Any:
    return json.loads((defs / folder / "columns.json").read_text(encoding="utf-8"))


def test_the_columns_of_every_part_and_query_are_recorded(engine: sa.Engine, tmp_path: Path) -> None:
    defs = tmp_path / "defs"
    assert [problem.file.parent.name for problem in check_project(defs, environ={})] == ["people"]
    shown = run()
    assert format_problems(check_project(defs, environ={})) == ""
    found = record(defs, "people")
    assert set(found) == {"people", "people.orders", "people.clubs", "people.clubs.through"}
    assert list(found["people"]) == ["id", "email", "age"]
    assert list(found["people.orders"]) == ["person", "total", "Größe %"]
    assert list(record(defs, "carts")["carts"]) == ["customer_id", "email", "seen"]
    assert not (defs / "adults" / "columns.json").exists()
    assert "people.clubs.through: 2 columns, recorded for the first time" in shown
    before = (defs / "people" / "columns.json").stat().st_mtime_ns
    assert "people: 3 columns, unchanged" in run()
    assert (defs / "people" / "columns.json").stat().st_mtime_ns == before


def test_what_is_new_gone_and_of_another_type_is_told(engine: sa.Engine, tmp_path: Path) -> None:
    run()
    execute(
        engine,
        "ALTER TABLE crm.people ADD COLUMN vip boolean, ALTER COLUMN age TYPE bigint",
        "ALTER TABLE crm.customers DROP COLUMN email, ADD COLUMN mail text",
        "UPDATE crm.people SET age = 1",
    )
    (tmp_path / "defs" / "carts" / "defs.yaml").write_text(
        (tmp_path / "defs" / "carts" / "defs.yaml").read_text(encoding="utf-8").replace("email, seen", "mail, seen"),
        encoding="utf-8",
    )
    text = (tmp_path / "defs" / "people" / "defs.yaml").read_text(encoding="utf-8").partition("    clubs:")[0]
    (tmp_path / "defs" / "people" / "defs.yaml").write_text(text, encoding="utf-8")
    stale = run("--check", code=1)
    for shown in (stale, run()):
        assert "people: new column `vip`" in shown
        assert "people: column `age` was " in shown
        assert "carts: column `email`" in shown
        assert "carts: new column `mail`" in shown
        assert "people.clubs: no longer defined" in shown
        assert "people.orders: 3 columns, unchanged" in shown
    assert "run `audience-syncs columns`" in stale
    assert "unchanged" in run("--check")
    # The mapping names what is gone.
    (problem,) = check_project(tmp_path / "defs", environ={})
    assert "`carts` have no column `email`" in problem.message


def test_a_check_writes_nothing(engine: sa.Engine, tmp_path: Path) -> None:
    run("--check", code=1)
    assert list((tmp_path / "defs").rglob("columns.json")) == []


def test_a_part_that_fails_is_named_and_the_others_are_recorded(engine: sa.Engine, tmp_path: Path) -> None:
    run()
    execute(engine, "DROP TABLE crm.people", "ALTER TABLE crm.in_club ADD COLUMN since date")
    shown = run(code=1)
    assert "people: failed: the warehouse failed" in shown
    assert "people.clubs.through: new column `since` (" in shown
    assert list(record(tmp_path / "defs", "people")["people"]) == ["id", "email", "age"]
    rows = {row["part"]: row for row in json.loads(run("--json", code=1))}
    assert rows["people"]["status"] == "failed"
    assert rows["people"]["columns"] is None
    assert "people" in rows["people"]["error"]
    assert rows["carts"]["status"] == "unchanged"


def test_a_query_that_names_a_column_twice_is_refused(engine: sa.Engine, tmp_path: Path) -> None:
    text = MODEL.replace("SELECT person,", "SELECT person, 1 AS total,")
    write(tmp_path / "defs", people=text)
    shown = run(code=1)
    assert "people.orders: failed: the query names total twice; give each column a name of its own" in shown
    assert "people.clubs: 2 columns, recorded for the first time" in shown


def test_only_what_is_named_is_asked(engine: sa.Engine, tmp_path: Path) -> None:
    rows = json.loads(run("carts", "--json"))
    assert [(row["part"], row["status"]) for row in rows] == [("carts", "new")]
    assert rows[0]["new"].keys() == {"customer_id", "email", "seen"}
    assert not (tmp_path / "defs" / "people" / "columns.json").exists()
    # An audience with a filter has its model's columns.
    assert {row["part"].partition(".")[0] for row in json.loads(run("adults", "--json"))} == {"people"}
    with pytest.raises(DefinitionError, match="did you mean `people`"):
        run("poeple")


def test_mistakes_of_other_kinds_are_corrected_first(engine: sa.Engine, tmp_path: Path) -> None:
    write(tmp_path / "defs", adults=FILTERED.replace("property: age, at_least", "trait: vip, at_least"))
    with pytest.raises(DefinitionError, match="no trait `vip`"):
        run()


def test_a_record_that_cannot_be_read_is_written_anew(engine: sa.Engine, tmp_path: Path) -> None:
    file = tmp_path / "defs" / "people" / "columns.json"
    file.write_text("<<<<<<< HEAD", encoding="utf-8")
    assert any(problem.file == file for problem in check_project(tmp_path / "defs", environ={}))
    run("--check", code=1)
    run()
    assert format_problems(check_project(tmp_path / "defs", environ={})) == ""


def test_a_folder_that_cannot_be_written_is_said(engine: sa.Engine, tmp_path: Path) -> None:
    folder = tmp_path / "defs" / "people"
    (folder / "columns.json").mkdir()  # also root cannot write over a folder
    with pytest.raises(DefinitionError, match=r"people/columns\.json cannot be written"):
        run()


def test_a_warehouse_that_cannot_be_reached_is_said_of_each_part(
    engine: sa.Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", "postgresql://nobody:hunter2@127.0.0.1:1/none")
    shown = run(code=1)
    assert "people.orders: failed: cannot connect to source 'shop'" in shown
    assert "hunter2" not in shown
    monkeypatch.delenv("SHOP_URL")
    assert "SHOP_URL, which is not set" in run(code=1)
    assert "AUDIENCE_SYNCS_DEFS" in os.environ
