"""What filters are compiled to: right for every type of column, fast however large the tables, and printed to be read. What the
conditions mean is proven in test_filter_semantics.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from audience_syncs.audiences.compile import compile_audience
from audience_syncs.audiences.query import execute_user_sql, query_of
from audience_syncs.cli.main import app
from audience_syncs.cli.sql import statement
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import SourceError
from audience_syncs.model.kinds import Kind
from audience_syncs.model.schema import ModelConfig, RecordedColumns, Rows, Schema
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs.warehouse.columns import columns_of
from audience_syncs.warehouse.expressions import DuckDBExpressions, PostgreSQLExpressions, readable, rendered
from audience_syncs.warehouse.layout import laid_out

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
ONE, TWO = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
LONG = "a_name_that_is_as_long_as_the_names_of_things_may_be_0123456"

BOTH = f"""
CREATE TYPE mood AS ENUM ('happy', 'SAD');
CREATE TABLE people (id uuid PRIMARY KEY, written text, mood mood, weight real, score double precision, price numeric(12, 2));
INSERT INTO people VALUES ('{ONE}', 'ΟΔΟΣ 100%', 'happy', 0.1, 0.1, 0.10), ('{TWO}', 'no shoes_', 'SAD', 3, NULL, NULL);
CREATE TABLE visits (person text, "at" timestamptz, seconds real);
INSERT INTO visits VALUES ('{ONE}', '2026-10-24 22:00:00+00', 0.1), ('{ONE}', '2026-10-25 22:00:00+00', 0.1),
  ('{TWO}', '2026-10-24 22:00:00+00', 0.3), ('{TWO}', '2026-10-25 22:00:01+00', 0.2),
  ('nobody', '2026-10-25', 1), (NULL, '2026-10-25', 1);
"""
POSTGRES_ONLY = """
CREATE DOMAIN address AS varchar(50);
ALTER TABLE people ADD code char(6), ADD paid money, ADD mail address, ADD nick name;
UPDATE people SET code = 'ab', paid = '12.50', mail = 'a@x', nick = 'nick' WHERE weight < 1;
CREATE TABLE costs (person uuid, cost money);
INSERT INTO costs SELECT id, '2.50' FROM people;
"""


@pytest.fixture(scope="module")
def postgres(postgres_url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(postgres_url)
    with engine.connect() as connection:
        execute_user_sql(connection, BOTH + POSTGRES_ONLY, "the tables")
        # A day of a session has 25 hours where its clock is put back; a length of time has not.
        execute_user_sql(connection, "SET TimeZone = 'Europe/Berlin'; SELECT 1", "the session")
        connection.commit()
        yield connection
    engine.dispose()


@pytest.fixture(scope="module")
def duck() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Europe/Berlin';" + BOTH)
        yield connection


def model_of(**values: Any) -> ModelConfig:
    return ModelConfig.model_validate(
        {
            "name": "people",
            "source": "w",
            "table": "people",
            "primary_key": "id",
            "events": {"visits": {"table": "visits", "join": {"id": "person"}, "timestamp": "at"}},
            "traits": {"least": {"of": "visits", "take": "min", "column": "seconds"}},
            **values,
        }
    )


COLUMNS: RecordedColumns = {
    "people": {
        "id": "uuid",
        "written": "text",
        "mood": "enum",
        "weight": "real",
        "score": "double precision",
        "price": "numeric",
    },
    "people.visits": {"person": "text", "at": "timestamp with time zone", "seconds": "real"},
}


def audience_of(
    condition: Any, model: ModelConfig | None = None, columns: RecordedColumns | None = None, **values: Any
) -> AudienceConfig:
    model = model or model_of()
    audience = AudienceConfig.model_validate(
        {"name": "a", "model": "people", "columns": ["id"], "filter": condition, **values}
    )
    others = values.pop("others", {})
    return audience.resolved(Schema({"people": model}, columns or COLUMNS, others), source="w", primary_key="id")


def on_postgres(connection: sa.Connection, audience: AudienceConfig) -> set[str]:
    found = query_of(connection, audience, NOW, "a case").execute(connection, "SELECT q.* FROM {query}")
    return {str(row[0]) for row in found}


def on_duckdb(connection: duckdb.DuckDBPyConnection, audience: AudienceConfig) -> set[str]:
    text, parameters = rendered(compile_audience(audience, DuckDBExpressions(), NOW), DuckDBExpressions())
    return {str(row[0]) for row in connection.execute(text, parameters).fetchall()}


CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "an enum is its text": ({"property": "mood", "equals": "happy"}, {ONE}),
    "an enum knows no value that is not one": ({"property": "mood", "not_in": ["sad", "glad"]}, {ONE, TWO}),
    "an enum is ordered by nothing, and searched": ({"property": "mood", "starts_with": "S"}, {TWO}),
    "a uuid is its text": ({"property": "id", "ends_with": "2"}, {TWO}),
    "a number of single precision is as it is written": ({"property": "weight", "equals": 0.1}, {ONE}),
    "and not more than itself": ({"property": "weight", "at_most": 0.1}, {ONE}),
    "nor less": ({"property": "weight", "between": [0.1, 3]}, {ONE, TWO}),
    "nor as the least of several": ({"trait": "least", "in": [0.2, 7]}, {TWO}),
    "of double precision": ({"property": "score", "equals": 0.1}, {ONE}),
    "a decimal": ({"property": "price", "equals": 0.1}, {ONE}),
    "beyond all numbers of the column": ({"property": "price", "less_than": 1e300}, {ONE}),
    "a whole number that is too large": ({"property": "price", "not_equals": 10**30}, {ONE, TWO}),
    "small letters are the warehouse's, also of the last sigma": (
        {"property": "written", "contains": "ΟΔΟΣ", "ignore_case": True},
        {ONE},
    ),
    "a percent sign is one": ({"property": "written", "ends_with": "0%"}, {ONE}),
    "an underscore is one": ({"property": "written", "contains": "s_"}, {TWO}),
    "keys of another type are joined by their text": ({"did": "visits"}, {ONE, TWO}),
    "and counted": ({"did": "visits", "count": {"exactly": 2}, "where": {"seconds": 0.1}}, {ONE}),
    "24 hours are 24 where the clock is put back": (
        {"did": "visits", "after": {"any": "visits", "at_most_apart": "1 day"}},
        {ONE},
    ),
    "also in a sequence": ({"sequence": [{"did": "visits"}, {"did": "visits", "within_after": "1 day"}]}, {ONE}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("engine", ["postgres", "duck"])
def test_every_type_is_compared_as_people_read_it(engine: str, case: str, request: pytest.FixtureRequest) -> None:
    condition, members = CASES[case]
    answer: Any = on_postgres if engine == "postgres" else on_duckdb
    connection = request.getfixturevalue(engine)
    assert answer(connection, audience_of(condition)) == members
    assert answer(connection, audience_of({"none": [condition]})) == {ONE, TWO} - members


POSTGRES_CASES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "the blanks of a char are not in it": ({"property": "code", "ends_with": "b"}, {ONE}),
    "money is a number": ({"property": "paid", "at_least": 12.5}, {ONE}),
    "also between others": ({"property": "paid", "between": [12, 13]}, {ONE}),
    "and summed": ({"trait": "cost", "equals": 2.5}, {ONE, TWO}),
    "and averaged": ({"trait": "usual", "at_most": 2.5}, {ONE, TWO}),
    "a domain is its type": ({"property": "mail", "equals": "a@x"}, {ONE}),
    "a name is a text": ({"property": "nick", "starts_with": "ni"}, {ONE}),
    "one is the top by money": ({"top": {"count": 1, "by": "paid"}}, {ONE}),
}


@pytest.mark.parametrize("case", POSTGRES_CASES)
def test_types_of_postgresql_are_compared_as_it_records_them(postgres: sa.Connection, case: str) -> None:
    costs = {"table": "costs", "join": {"id": "person"}}
    traits = {
        "cost": {"of": "costs", "take": "sum", "column": "cost"},
        "usual": {"of": "costs", "take": "avg", "column": "cost"},
    }
    model = model_of(related={"costs": costs}, traits=traits)
    columns = {part: columns_of(postgres, rows) for part, rows in model.parts.items()}
    condition, members = POSTGRES_CASES[case]
    assert on_postgres(postgres, audience_of(condition, model, columns)) == members


def test_an_enum_is_recorded_as_one_whatever_its_name(postgres: sa.Connection) -> None:
    model = model_of()
    found = columns_of(postgres, Rows(sql="SELECT mood, NULL::mood AS none FROM people"))
    assert found == {"mood": "enum", "none": "enum"}
    assert Schema({"people": model}, {"people": found}).kind("people", "mood") is Kind.TEXT


PATTERNS = (
    r"\bshoe\b",
    r"\Bhoe",
    "a.b",
    "^b",
    "a$",
    "(?i)SHOE",
    "[.]b",
    r"[\b]",
    r"\\b",
    "(?:a|x)",
    "[]b]",
    r"\.b",
    "(?s)a.b",
)
TEXTS = ("a shoe b", "shoes", "a\nb", "a.b", "\\b", "b", "\b", "]", "")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_regular_expression_means_the_same_everywhere(
    pattern: str, postgres: sa.Connection, duck: duckdb.DuckDBPyConnection
) -> None:
    rows = ", ".join(
        f"({number}, {sa.literal(text).compile(compile_kwargs={'literal_binds': True})})"
        for number, text in enumerate(TEXTS)
    )
    model = model_of(table=None, sql=f"SELECT * FROM (VALUES {rows}) AS v(id, written)", events={}, traits={})
    audience = audience_of(
        {"property": "written", "matches": pattern}, model, {"people": {"id": "integer", "written": "text"}}
    )
    expected = {str(number) for number, text in enumerate(TEXTS) if re.search(pattern, text)}
    assert on_postgres(postgres, audience) == expected
    if pattern != r"[\b]":  # DuckDB's refuses a backspace
        assert on_duckdb(duck, audience) == expected


# Size ----------------------------------------------------------------------------------------------------------------

SETS: dict[str, dict[str, Any]] = {
    "did": {"did": "visits"},
    "did_not": {"did_not": "visits"},
    "count": {"did": "visits", "count": {"at_least": 2}},
    "anchor": {"did": "visits", "since": {"last": "visits", "where": {"seconds": 0.1}}},
    "any anchor": {"did": "visits", "after": {"any": "visits", "at_most_apart": "1 day"}},
    "sequence": {"sequence": [{"did": "visits"}, {"did": "visits", "within_after": "1 day"}, {"did": "visits"}]},
    "trait": {"trait": "least", "at_least": 1},
    "top": {"top": {"percent": 10, "by": "score", "among": {"did": "visits"}}},
    "filter": {"in_audience": "filtered"},
    "sql": {"not_in_audience": "written"},
}


@pytest.mark.parametrize("kind", SETS)
def test_no_set_is_gone_through_for_every_person_however_it_is_nested(postgres: sa.Connection, kind: str) -> None:
    """PostgreSQL does so with `NOT IN (SELECT ...)` and with `IN` under `OR`, when the set is too large for its memory."""
    others = {
        "filtered": AudienceConfig.model_validate({"name": "filtered", "model": "people", "filter": SETS["did"]}),
        "written": AudienceConfig(name="written", source="w", primary_key="person", sql="SELECT person FROM visits"),
    }
    others["filtered"] = others["filtered"].resolved(
        Schema({"people": model_of()}, COLUMNS), source="w", primary_key="id"
    )
    other = {"property": "written", "equals": "x"}
    for nested in (
        SETS[kind],
        {"none": [SETS[kind]]},
        {"any": [SETS[kind], other]},
        {"none": [{"any": [other, SETS[kind]]}]},
    ):
        audience = audience_of(nested)
        schema = Schema(audience.refers_to.models, COLUMNS, others)
        query = query_of(postgres, audience.resolved(schema), NOW, "a case")
        plan = "\n".join(row[0] for row in query.execute(postgres, "EXPLAIN SELECT q.* FROM {query}"))
        assert "SubPlan" not in plan, plan


def test_a_sequence_costs_as_much_as_a_person_has_events_not_that_to_the_power_of_its_steps(
    postgres: sa.Connection,
) -> None:
    sql = (
        f"SELECT '{ONE}' AS person, timestamptz '2026-10-01' + n * interval '1 minute' AS at, 0::real AS seconds "
        "FROM generate_series(1, 3000) n"
    )
    model = model_of(events={"visits": {"sql": sql, "join": {"id": "person"}, "timestamp": "at"}})
    # 3,000 to the power of 5 would take a year.
    postgres.exec_driver_sql("SET LOCAL statement_timeout = '20s'")
    assert on_postgres(postgres, audience_of({"sequence": [{"did": "visits"}] * 5}, model)) == {ONE}
    steps = [{"did": "visits"}, {"did": "visits", "within_after": "1 minute"}, {"did": "visits"}]
    assert on_postgres(postgres, audience_of({"sequence": steps}, model)) == {ONE}
    postgres.rollback()


def test_names_may_be_as_long_as_names_may_be(postgres: sa.Connection) -> None:
    visits = {"table": "visits", "join": {"id": "person"}, "timestamp": "at"}
    model = model_of(
        events={LONG: visits},
        related={
            "shared": {
                "table": "visits",
                "through": {"table": "visits", "parent": {"id": "person"}, "related": {"person": "person"}},
            }
        },
        traits={LONG: {"of": LONG, "take": "count"}},
    )
    columns = {"people": COLUMNS["people"], **dict.fromkeys(list(model.parts)[1:], COLUMNS["people.visits"])}
    condition = {
        "all": [
            {"did": LONG, "since": {"first": LONG}, "until": {"last": LONG}},
            {"did": LONG, "count": {"exactly": 2}},
            {"trait": LONG, "at_least": 2},
            {"has": "shared", "count": {"at_least": 2}},
            {"top": {"count": 2, "by": LONG}},
        ]
    }
    assert on_postgres(postgres, audience_of(condition, model, columns)) == {ONE, TWO}


# Printed -------------------------------------------------------------------------------------------------------------

ODD_SQL = (
    "SELECT 'a\n  (b AND c)' AS t, E'it\\'s\n  (SELECT x' AS e, $$ it's\n (\n $$ AS d, $x$ $$ \n $x$ AS n",
    'SELECT 1 AS "a\n  b", 2 AS "it\'s AND" -- don\'t (\n, 3 AS c /* isn\'t\n ( */',
    "SELECT (SELECT max(n) FROM (VALUES (1), (2)) AS v(n) WHERE n > 0 AND (n < 5 OR n = 7)) AS m, row_number() OVER (ORDER BY 1)",
    "SELECT '(SELECT -- x\n y' AS t, '' AS empty, '''' AS quote, 'ß😀' AS other",
    "SELECT 'a' -- x",
)


@pytest.mark.parametrize("sql", ODD_SQL)
def test_lines_change_nothing_of_what_a_statement_says(postgres: sa.Connection, sql: str) -> None:
    for text in (sql, f"SELECT * FROM (\n{sql}\n) AS q WHERE (\n-- it's ( a reason\ntrue\n)"):
        before = execute_user_sql(postgres, text, "as it is")
        after = execute_user_sql(postgres, laid_out(text), "in lines")
        assert (list(after.keys()), after.all()) == (list(before.keys()), before.all())


def test_each_part_is_told_where_it_stands_and_nothing_of_it_is_sql(postgres: sa.Connection) -> None:
    hostile = "x'\n; DROP TABLE people; --\u2028\r:y %s"
    condition = {
        "any": [
            {
                "did": "visits",
                "where": [
                    {"any": [{"property": "person", "equals": hostile}, {"property": "seconds", "at_least": 0.3}]}
                ],
            },
            {"none": [{"property": "mood", "in": ["happy", "SAD"]}]},
        ]
    }
    audience = audience_of(condition)
    printed = readable(compile_audience(audience, PostgreSQLExpressions(), NOW, annotate=True), PostgreSQLExpressions())
    found = execute_user_sql(postgres, printed, "the printed")
    assert {str(row[0]) for row in found} == on_postgres(postgres, audience) == {TWO}
    reason = "did visits where person is x' ; DROP TABLE people; -- :y %s or seconds is at least 0.3"
    lines = [line.strip() for line in printed.splitlines()]
    assert lines.count(f"-- {reason}") == 2
    # The keys are of another type than the rows' are: they come by way of the people.
    assert lines[lines.index(f"-- {reason}") + 1] == "SELECT DISTINCT people_2.id AS key"
    for told in ("-- any of these", "-- none of these", "-- mood is one of happy, SAD"):
        assert told in lines


def test_of_a_partitioned_audience_the_end_of_its_last_day_is_printed(tmp_path: Any) -> None:
    (tmp_path / "defs" / "all").mkdir(parents=True)
    (tmp_path / "defs" / "all" / "defs.yaml").write_text(
        "type: audience_syncs.components.Source\nattributes: {name: w, url: {env: W_URL}}\n---\n"
        "type: audience_syncs.components.Audience\nattributes:\n  name: daily\n  source: w\n  primary_key: id\n"
        "  sql: SELECT id FROM people WHERE at < :as_of\n  partitions: {start: 2026-01-01, timezone: Asia/Kolkata}\n",
        encoding="utf-8",
    )
    environ = {"AUDIENCE_SYNCS_DEFS": str(tmp_path / "defs"), "AUDIENCE_SYNCS_HOME": str(tmp_path)}
    done = CliRunner().invoke(app, ["sql", "daily"], env=environ)
    assert done.exit_code == 0, done.output
    # Days begin at 18:30 UTC there.
    assert "T18:30:00+00:00'" in done.stdout


def test_a_warehouse_that_is_not_supported_is_named() -> None:
    with pytest.raises(SourceError, match=r"snowflake warehouse, which is not supported yet"):
        statement(audience_of({"did": "visits"}), NOW, "snowflake")


def test_the_smallest_text_is_that_by_bytes_and_has_letters_in_every_script(
    postgres: sa.Connection, duck: duckdb.DuckDBPyConnection
) -> None:
    rows = f"('{ONE}', 'a'), ('{ONE}', 'Ü'), ('{ONE}', 'B'), ('{TWO}', 'Ü'), ('{TWO}', 'ü')"
    words = {"sql": f"SELECT * FROM (VALUES {rows}) AS v(person, word)", "join": {"id": "person"}}
    traits = {take: {"of": "words", "take": take, "column": "word"} for take in ("min", "max")}
    model = model_of(related={"words": words}, events={}, traits=traits)
    columns = {"people": COLUMNS["people"], "people.words": {"person": "text", "word": "text"}}
    for condition, members in (
        ({"trait": "min", "equals": "B"}, {ONE}),
        ({"trait": "max", "equals": "ü"}, {TWO}),
        ({"trait": "min", "equals": "ü", "ignore_case": True}, {TWO}),
    ):
        audience = audience_of(condition, model, columns)
        assert on_postgres(postgres, audience) == on_duckdb(duck, audience) == members
    # Whatever the database's own language: here it may be none.
    text = readable(
        compile_audience(audience_of({"trait": "min", "equals": "B"}, model, columns), PostgreSQLExpressions(), NOW),
        PostgreSQLExpressions(),
    )
    assert 'min(words.word COLLATE "C") COLLATE "default"' in text


def test_a_split_of_a_filter_may_have_any_salt(fresh_postgres_url: str) -> None:
    from audience_syncs.audiences import evaluate_audience

    with open_warehouse_at(fresh_postgres_url, name="w") as warehouse:
        with warehouse.engine.begin() as connection:
            execute_user_sql(connection, BOTH, "the tables")
        groups = [{"name": "half", "percent": 50}, {"name": "rest", "percent": 50}]
        split = {"groups": groups, "salt": "50% off %s 'now'"}
        audience = audience_of({"did": "visits"}, split=split)
        assert evaluate_audience(audience, warehouse, run_id="test", clock=lambda: NOW).members == 2


def test_an_evaluation_takes_the_same_people_as_the_statement(fresh_postgres_url: str) -> None:
    from audience_syncs.audiences import evaluate_audience

    with open_warehouse_at(fresh_postgres_url, name="w") as warehouse:
        with warehouse.engine.begin() as connection:
            execute_user_sql(connection, BOTH, "the tables")
        condition = {"all": [{"did": "visits"}, {"none": [{"trait": "least", "at_most": 0.1}]}]}
        snapshot = evaluate_audience(audience_of(condition), warehouse, run_id="test", clock=lambda: NOW)
        assert [(step.alone, step.left) for step in snapshot.funnel] == [(2, 2), (1, 1)]
        assert (snapshot.members, snapshot.people) == (1, 2)
        # What is kept beside the snapshot can be run as it stands.
        with warehouse.connect() as connection:
            kept = connection.scalar(sa.select(warehouse.tables.snapshots.c.sql))
            assert [str(row[0]) for row in execute_user_sql(connection, str(kept), "the kept")] == [TWO]
