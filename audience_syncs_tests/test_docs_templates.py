"""docs/templates.md: every example in it is run, and does what it says."""

from __future__ import annotations

import importlib.resources
import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import sqlalchemy as sa
import yaml
from typer.testing import CliRunner

from audience_syncs.cli.main import app
from audience_syncs.cli.review_page import MARKER
from audience_syncs.engine.review import Wanted, review_syncs
from audience_syncs.model.placeholders import PLACEHOLDERS
from audience_syncs.model.templates import SECTIONS
from audience_syncs.project import load_project
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs_tests.sync_bench import Bench, sync_config
from audience_syncs_tests.test_project import SOURCE, destination_yaml

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "templates.md").read_text(encoding="utf-8")
WORKFLOW = ROOT / "deploy" / "github" / "plan-for-review.yaml"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def write(folder: Path, *, without: str = "") -> Path:
    """The definitions of the page below a folder, and what they refer to."""
    files = {"defs/shop/defs.yaml": SOURCE, "defs/meta/defs.yaml": destination_yaml()}
    for block in blocks("yaml"):
        named = re.match(r"# (defs/\S+)\n", block)
        assert named, f"the first line of an example says which file it is: {block[:60]}"
        files[named[1]] = block
    for name, text in files.items():
        if not without or without not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
    return folder / "defs"


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AUDIENCE_SYNCS_DEFS", str(tmp_path / "defs"))
    monkeypatch.setenv("AUDIENCE_SYNCS_HOME", str(tmp_path / "home"))
    return tmp_path


def command(line: str) -> Any:
    return CliRunner().invoke(app, shlex.split(line)[1:])


def test_the_examples_are_sound_but_for_the_one_that_is_to_be_refused(there: Path) -> None:
    project = load_project(write(there, without="lapsed"), environ={})
    assert project.problems == []
    assert set(project.templates) == {"ads", "hourly"}
    hourly, test = project.audiences["cart_abandoners"].syncs
    assert (hourly.list.name, hourly.frequency, hourly.max_age) == (
        "Shop: Cart abandoners",
        "every 1 hour",
        "30 minutes",
    )
    assert (test.list.name, set(test.mapping), test.guard.min_drop) == ("cart_abandoners: test", {"EMAIL", "FN"}, 10)
    assert test.guard.max_drop_percent == 20


@pytest.mark.parametrize("block", blocks("console"), ids=lambda block: block.partition("\n")[0])
def test_a_command_answers_what_the_page_says(there: Path, block: str) -> None:
    line, _, expected = block.partition("\n")
    assert line.startswith("$ audience-syncs ")
    write(there, without="" if "check" in line else "lapsed")
    answer = command(line.removeprefix("$ ")).stdout
    if expected.endswith("...\n"):
        expected = expected.removesuffix("...\n")
        answer = answer[: len(expected)]
    assert answer == expected


def test_every_plan_of_the_page_works(there: Path, fresh_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_URL", fresh_postgres_url)
    engine = sa.create_engine(fresh_postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE carts AS SELECT g AS user_id, 'p' || g || '@example.com' AS email, NULL::text AS phone, "
            "'Zoë' AS first_name FROM generate_series(1, 7) g"
        )
    engine.dispose()
    write(there, without="lapsed")
    for git in (("init", "-q", "-b", "main"), ("add", "defs"), ("commit", "-q", "-m", "first")):
        identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *identity, *git], cwd=there, check=True, capture_output=True)
    path = there / "defs" / "templates" / "hourly" / "defs.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("30 minutes", "20 minutes"), encoding="utf-8")
    (block,) = blocks("bash")
    lines = block.strip().splitlines()
    answers = {line: command(line) for line in lines}
    assert all(done.exit_code == 0 for done in answers.values()), answers
    markdown = answers["audience-syncs plan --changed-since main --format markdown"].stdout
    assert markdown.startswith(f"{MARKER}\n")
    assert "`cart_abandoners/meta_ads` | 7 | 0 | +7" in markdown
    assert "test_account" not in markdown, "its templates are as they were"
    everything = json.loads(answers["audience-syncs plan --all --format json"].stdout)
    assert [row["added"] for row in everything["syncs"]] == [7, 7]


def test_the_rights_of_the_page_are_enough_for_a_plan_and_for_nothing_else(bench: Bench) -> None:
    bench.execute("CREATE SCHEMA shop; ALTER TABLE people SET SCHEMA shop")
    bench.sql = "SELECT id, email, phone, first_name FROM shop.people"
    bench.execute("INSERT INTO shop.people SELECT g, 'p' || g || '@example.com' FROM generate_series(1, 30) g")
    bench.run()
    (block,) = blocks("sql")
    bench.execute(block.replace("FOR ROLE runner", "FOR ROLE current_user"))
    bench.execute("DELETE FROM shop.people WHERE id::int > 20")
    url = sa.make_url(bench.url).set(username="reviewer", password="of its own")
    new = sync_config(name="new", list={"name": "New"})
    try:
        with open_warehouse_at(url.render_as_string(hide_password=False)) as warehouse:
            asked = [Wanted(bench.audience, sync, bench.list.spec) for sync in (bench.sync, new)]
            reviews = review_syncs(asked, {}, warehouse)
            assert [review.failure for review in reviews] == [None, None]
            assert [(r.plan.counts.added, r.plan.counts.removed) for r in reviews if r.plan] == [(0, 10), (20, 0)]
            for statement in ("DELETE FROM audience_syncs.ledger", "DELETE FROM shop.people", "CREATE TABLE shop.x ()"):
                with (
                    warehouse.connect() as connection,
                    pytest.raises(sa.exc.ProgrammingError, match="permission denied"),
                ):
                    connection.exec_driver_sql(statement)
    finally:
        bench.execute("DROP OWNED BY reviewer; DROP ROLE reviewer")


def test_the_page_tells_of_all_sections_and_placeholders() -> None:
    assert all(f"`{section}`" in TEXT for section in SECTIONS)
    assert all(f"| `{{{name}}}` |" in TEXT for name in PLACEHOLDERS)


def workflow_errors(document: Any) -> list[str]:
    folder = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((folder / "github-workflows.json").read_text(encoding="utf-8"))
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(document)]


def test_the_workflow_is_valid_by_githubs_schema() -> None:
    document = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    document["on"] = document.pop(True)  # a word for GitHub, which reads YAML 1.2
    assert workflow_errors(document) == []
    broken = {**document, "jobs": {"plan": {**document["jobs"]["plan"], "stepz": []}}}
    assert workflow_errors(broken), "the check can fail"


def test_the_workflow_calls_what_there_is_and_finds_its_own_comment() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    assert "--changed-since" in text
    assert "--format markdown" in text
    assert f'startswith("{MARKER}")' in text
    scripts = [step["run"] for step in yaml.safe_load(text)["jobs"]["plan"]["steps"] if "run" in step]
    for script in scripts:
        assert "${{" not in script, "what comes from outside goes through the environment"
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_workflow_makes_a_comment_also_where_there_is_no_plan(tmp_path: Path) -> None:
    steps = {
        step.get("name"): step.get("run", "") for step in yaml.safe_load(WORKFLOW.read_text())["jobs"]["plan"]["steps"]
    }
    (tmp_path / "audience-syncs").write_text("#!/bin/sh\necho '[DEFINITION] 1 problem' >&2\nexit 1\n")
    (tmp_path / "audience-syncs").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "BASE": "main",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }
    subprocess.run(["bash", "-e", "-c", steps["Plan"]], cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "plan.md").read_text().splitlines() == [
        MARKER,
        "There is no plan:",
        "",
        "    [DEFINITION] 1 problem",
    ]
    assert (tmp_path / "output").read_text() == "code=1\n"
