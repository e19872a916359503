"""The plan for review: what a change of YAML would do to each list, by the new definitions, with nothing kept or sent."""

from __future__ import annotations

import json
import subprocess
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from typer.testing import CliRunner

from audience_syncs.audiences import evaluate_audience
from audience_syncs.cli.main import app
from audience_syncs.cli.review_page import MARKER, MOST_CHARACTERS, Gone, Page, Row, to_markdown
from audience_syncs.destinations.registry import pace_of
from audience_syncs.engine.review import Failure, Review, Wanted, _Reviewing, review_syncs
from audience_syncs.engine.run import PlanPreview, preview_sync
from audience_syncs.model.admission import Admission
from audience_syncs.model.config import AudienceConfig, DestinationConfig
from audience_syncs.model.errors import AudienceSyncsError
from audience_syncs.model.values import PlanCounts
from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.sync_bench import Bench, sync_config

SOURCE = "type: audience_syncs.components.Source\nattributes:\n  name: shop\n  url: {env: SHOP_URL}\n"
META = """\
type: audience_syncs.components.Destination
attributes:
  name: meta_ads
  platform: meta
  credentials: {access_token: {env: META_TOKEN}}
  settings: {ad_account_id: "1201", base_url_env: META_AT}
"""
ADS = """\
type: audience_syncs.components.SyncTemplate
attributes:
  name: ads
  destination: meta_ads
  list: {name: "Shop: {audience_title}"}
  mapping: {EMAIL: email}
"""
CARTS = """\
type: audience_syncs.components.Audience
attributes:
  name: carts
  title: Körbe | 🛒
  source: shop
  primary_key: id
  sql: SELECT id, email, first_name FROM people WHERE id <= 30
  syncs:
    - templates: [ads]
"""
LAPSED = CARTS.replace("carts", "lapsed").replace("Körbe | 🛒", "Lapsed").replace("id <= 30", "id > 30")
OTHERS = """\
type: audience_syncs.components.Audience
attributes:
  name: others
  source: shop
  primary_key: id
  sql: SELECT id, email FROM people
  syncs:
    - destination: meta_ads
      mapping: {EMAIL: email}
"""


class World:
    """A folder of definitions, a warehouse with 40 people, and Meta; and the command, as a person types it."""

    def __init__(self, folder: Path, url: str, simulators: str) -> None:
        self.folder = folder
        self.simulators = simulators
        self.engine = sa.create_engine(url)
        self.write(shop=SOURCE, meta=META, ads=ADS, carts=CARTS, lapsed=LAPSED, others=OTHERS)
        self.execute(
            "CREATE TABLE people AS SELECT g AS id, 'p' || g || '@example.com' AS email, "
            "CASE WHEN g % 2 = 0 THEN 'Zoë' END AS first_name FROM generate_series(1, 40) g"
        )

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name).mkdir(parents=True, exist_ok=True)
            (self.folder / name / "defs.yaml").write_text(text, encoding="utf-8")

    def execute(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.exec_driver_sql(statement, execution_options={"no_parameters": True})

    def command(self, *arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, list(arguments))
        if isinstance(done.exception, AudienceSyncsError):
            assert code == 1, done.exception
            return str(done.exception)
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout

    def run(self, *audiences: str) -> dict[str, dict[str, Any]]:
        syncs = [f"{name}/meta_ads" for name in audiences]
        return {sync: json.loads(self.command("run", sync, "--json")) for sync in syncs}

    def plan(self, *arguments: str, code: int = 0) -> dict[str, dict[str, Any]]:
        answer = json.loads(self.command("plan", *arguments, "--format", "json", code=code))
        return {row["sync"]: row for row in answer["syncs"]}

    def state(self) -> dict[str, list[str]]:
        """Everything in the warehouse: the relations of every schema, and the rows of every state table."""
        with self.engine.connect() as connection:
            found = {
                "relations": [
                    str(tuple(row))
                    for row in connection.exec_driver_sql(
                        "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
                        "WHERE n.nspname !~ '^pg_(catalog|toast|temp)' AND n.nspname <> 'information_schema' ORDER BY 1, 2"
                    )
                ]
            }
            names = sa.inspect(connection).get_table_names(schema="audience_syncs")
            for name in names:
                rows = connection.exec_driver_sql(f"SELECT t::text FROM audience_syncs.{name} t ORDER BY 1")
                found[name] = [row[0] for row in rows]
        return found

    def requests_at_meta(self) -> int:
        return len(requests.get(f"{self.simulators}/_simulator/meta/requests?limit=10000", timeout=10).json())


@pytest.fixture(scope="module")
def simulators() -> Iterator[str]:
    with SimulatorServer() as server:
        yield server.url


@pytest.fixture
def world(tmp_path: Path, fresh_postgres_url: str, simulators: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    requests.post(f"{simulators}/_simulator/reset", timeout=10).raise_for_status()
    for name, value in {
        "AUDIENCE_SYNCS_DEFS": str(tmp_path / "repository" / "defs"),
        "AUDIENCE_SYNCS_HOME": str(tmp_path / "home"),
        "SHOP_URL": fresh_postgres_url,
        "META_TOKEN": "demo-meta-token",
        "META_AT": f"{simulators}/meta",
    }.items():
        monkeypatch.setenv(name, value)
    world = World(tmp_path / "repository" / "defs", fresh_postgres_url, simulators)
    yield world
    world.engine.dispose()


def figures(row: dict[str, Any]) -> tuple[int, int, int]:
    return row["added"], row["removed"], row["updated"]


def test_a_plan_leaves_nothing_behind_and_sends_nothing(world: World) -> None:
    world.run("carts")
    world.write(
        carts=CARTS.replace("id <= 30", "id BETWEEN 11 AND 35"),
        lapsed=LAPSED + "    - templates: [ads]\n      name: again\n      list: {name: Again}\n",
    )
    before, sent = world.state(), world.requests_at_meta()
    assert figures(world.plan("--all")["carts/meta_ads"]) == (5, 10, 0)
    world.command("plan", "--template", "ads", "--format", "markdown")
    assert world.state() == before
    assert world.requests_at_meta() == sent


def test_a_plan_before_the_first_run_leaves_not_even_the_state_tables(world: World) -> None:
    before = world.state()
    rows = world.plan("--all")
    assert {sync: figures(row) for sync, row in rows.items()} == {
        "carts/meta_ads": (30, 0, 0),
        "lapsed/meta_ads": (10, 0, 0),
        "others/meta_ads": (40, 0, 0),
    }
    assert all(row["new_list"] and row["list"] is None for row in rows.values())
    assert world.state() == before
    assert not [name for name in world.state()["relations"] if "audience_syncs" in name]


def test_changed_sql_is_planned_by_the_new_sql_and_does_what_it_said(world: World) -> None:
    world.run("carts")
    world.write(carts=CARTS.replace("id <= 30", "id BETWEEN 11 AND 35"))
    old = json.loads(world.command("plan", "carts/meta_ads", "--json"))
    assert (old["counts"]["added"], old["counts"]["removed"]) == (0, 0), "one sync is planned from its kept snapshot"
    planned = world.plan("--all")
    assert figures(planned["carts/meta_ads"]) == (5, 10, 0)
    done = world.run("carts")["carts/meta_ads"]
    assert (done["added"], done["removed"], done["updated"]) == (5, 10, 0)
    assert done["plan_digest"] == planned["carts/meta_ads"]["digest"]


def test_a_changed_template_replans_exactly_its_syncs_and_resends_exactly_the_changed_payloads(world: World) -> None:
    world.run("carts", "lapsed", "others")
    world.write(ads=ADS.replace("{EMAIL: email}", "{EMAIL: email, FN: first_name}"))
    planned = world.plan("--template", "ads")
    # Every other person has a first name; who has none is sent as before.
    assert {sync: figures(row) for sync, row in planned.items()} == {
        "carts/meta_ads": (0, 0, 15),
        "lapsed/meta_ads": (0, 0, 5),
    }
    done = world.run("carts", "lapsed", "others")
    assert {sync: (row["added"], row["removed"], row["updated"]) for sync, row in done.items()} == {
        "carts/meta_ads": (0, 0, 15),
        "lapsed/meta_ads": (0, 0, 5),
        "others/meta_ads": (0, 0, 0),
    }
    again = world.plan("--template", "ads")
    assert {figures(row) for row in again.values()} == {(0, 0, 0)}


def test_an_audience_that_fails_is_shown_and_the_others_are_planned(world: World) -> None:
    world.run("carts")
    world.write(
        carts=CARTS.replace("first_name", "first_nam"),
        lapsed=LAPSED.replace("FROM people", "FROM people CROSS JOIN generate_series(1, 2)"),
    )
    before = world.state()
    rows = world.plan("--all", code=1)
    assert rows["carts/meta_ads"]["error"]["message"].startswith('the warehouse refused the query: column "first_nam"')
    twice = rows["lapsed/meta_ads"]["error"]
    assert twice["code"] == "AUDIENCE_DUPLICATE_KEY"
    assert twice["message"] == "10 keys are used by more than one of the 20 rows", "whose they are is nobody's business"
    assert figures(rows["others/meta_ads"]) == (40, 0, 0)
    assert world.state() == before, set(world.state()["relations"]) ^ set(before["relations"])
    page = world.command("plan", "--all", "--format", "markdown", code=1)
    assert "**2 syncs would fail:** `carts/meta_ads`, `lapsed/meta_ads`" in page
    assert "FAILS" in world.command("plan", "--all", code=1)


def test_what_the_next_run_would_refuse_is_said_before(world: World) -> None:
    world.run("carts")
    world.write(ads=ADS.replace("Shop:", "Store:"))
    error = world.plan("--template", "ads", code=1)["carts/meta_ads"]["error"]
    assert error["code"] == "LIST_CHANGED"
    assert "Store: Körbe" in error["message"]


def test_a_column_that_the_new_mapping_needs_and_the_audience_lacks_is_told(world: World) -> None:
    world.write(ads=ADS.replace("{EMAIL: email}", "{EMAIL: email, PHONE: phone}"))
    rows = world.plan("--template", "ads", code=1)
    assert {row["error"]["code"] for row in rows.values()} == {"AUDIENCE_MISSING_COLUMN"}


def test_a_warehouse_that_cannot_be_reached_is_an_error_in_the_page(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url, code in (("postgresql://u:secret@127.0.0.1:9/x", "SOURCE"), ("", "MISSING_SECRET")):
        monkeypatch.setenv("SHOP_URL", url)
        answer = world.command("plan", "--all", "--format", "json", code=1)
        assert {row["error"]["code"] for row in json.loads(answer)["syncs"]} == {code}
        assert "secret" not in answer


def test_a_source_without_syncs_that_cannot_be_asked_is_no_failure(world: World) -> None:
    world.write(unused=SOURCE.replace("shop", "unused").replace("SHOP_URL", "NOT_SET"))
    answer = json.loads(world.command("plan", "--all", "--format", "json"))
    assert answer["remark"].startswith("The source unused could not be asked")
    assert len(answer["syncs"]) == 3


def test_the_markdown_is_what_a_reviewer_reads(world: World) -> None:
    world.run("carts", "lapsed", "others")
    world.execute("UPDATE people SET email = 'no email' WHERE id = 35")
    world.write(
        carts=CARTS.replace("id <= 30", "id BETWEEN 11 AND 35"),
        lapsed=LAPSED.replace("id > 30", "id > 39") + "      guard: {max_removals: 3}\n",
        new=LAPSED.replace("lapsed", "fresh").replace("Lapsed", "Fresh"),
    )
    (world.folder / "others" / "defs.yaml").unlink()
    page = world.command("plan", "--all", "--format", "markdown")
    expected = """\
    <!-- audience-syncs plan -->
    ## Audience Syncs: what this would change

    3 syncs planned (all syncs); 3 lists would change: **+13 / -19 people**.

    > [!CAUTION]
    > **1 sync would be blocked by the guard:** `lapsed/meta_ads`

    | Sync | In audience | In the list | Added | Removed | Updated | Requests | Takes | Note |
    |---|--:|--:|--:|--:|--:|--:|--:|---|
    | `lapsed/meta_ads` | 1 | 10 | 0 | -9 | 0 | 1 | under 1 min | **THE GUARD WOULD BLOCK IT: 9 members would be removed; the limit is 3 (guard.max_removals)** |
    | `carts/meta_ads` | 25 | 30 | +4 | -10 | 0 | 2 | under 1 min | 1 without identifier |
    | `fresh/meta_ads` | 10 | 0 | +9 | 0 | 0 | 1 | under 1 min | new list; 1 without identifier |

    **Not defined any more:**

    - others/meta_ads is not defined any more: its list 'others' stays as it is, with 40 members who are not removed; to empty it, put the sync back for one run with an audience of nobody (`WHERE false`) and `guard: {allow_empty: true}`.

    <details><summary>lapsed/meta_ads</summary>

    - destination `meta_ads` (meta)
    - templates `ads`
    - list Shop: Lapsed
    - 0 rows changed without a change of what is sent
    - `EMAIL`: 1 of 1 usable

    </details>

    <details><summary>carts/meta_ads</summary>

    - destination `meta_ads` (meta)
    - templates `ads`
    - list Shop: Körbe \\| 🛒
    - 0 rows changed without a change of what is sent
    - `EMAIL`: 24 of 25 usable, refused: invalid email 1

    </details>

    <details><summary>fresh/meta_ads</summary>

    - destination `meta_ads` (meta)
    - templates `ads`
    - 0 rows changed without a change of what is sent
    - `EMAIL`: 9 of 10 usable, refused: invalid email 1

    </details>

    Planned from the data there is now, by the definitions of this change; nothing was sent and nothing was kept. Times are estimates.
    """  # noqa: E501
    assert page == textwrap.dedent(expected)


def test_which_syncs_are_meant_must_be_said(world: World) -> None:
    assert "did you mean `ads`" in world.command("plan", "--template", "adz", code=1)
    assert "what is to be planned" in world.command("plan", code=1)
    assert "by itself" in world.command("plan", "carts/meta_ads", "--all", code=1)
    assert "by itself" in world.command("plan", "carts/meta_ads", "--format", "markdown", code=1)
    assert "exclude each other" in world.command("plan", "--all", "--template", "ads", code=1)


# git ----------------------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(world: World) -> Path:
    folder = world.folder.parent
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_only_what_changed_since_a_revision_is_planned(world: World, repository: Path) -> None:
    world.run("others")
    assert world.plan("--changed-since", "main") == {}
    assert "0 syncs planned (all syncs, changed since HEAD (" in world.command(
        "plan", "--all", "--changed-since", "HEAD", "--format", "markdown"
    )
    world.write(carts=CARTS.replace("<= 30", "<= 29") + "      name: meta_ads\n")
    assert list(world.plan("--changed-since", "main")) == ["carts/meta_ads"]
    world.write(carts=CARTS, ads=ADS + "  priority: 3\n")
    assert list(world.plan("--changed-since", "main")) == ["carts/meta_ads", "lapsed/meta_ads"]
    world.write(ads=ADS, meta=META + "  exclude: [{name: x, column: email, when: [a]}]\n")
    assert len(world.plan("--changed-since", "main")) == 3
    world.write(
        meta=META, order="type: audience_syncs.components.Priority\nattributes: {name: o, audiences: [carts, others]}\n"
    )
    assert list(world.plan("--changed-since", "main")) == ["others/meta_ads"], "carts go first, as before"
    (world.folder / "order" / "defs.yaml").unlink()
    (world.folder / "others" / "defs.yaml").unlink()
    world.write(more=OTHERS.replace("others", "more"), ads=ADS + "  description: Not a change\n")
    answer = json.loads(world.command("plan", "--changed-since", "main", "--format", "json"))
    assert [(row["sync"], row["new"]) for row in answer["syncs"]] == [("more/meta_ads", True)]
    assert answer["gone"] == [{"sync": "others/meta_ads", "list": "others", "members": 40}]
    assert list(world.plan("--changed-since", "main", "--template", "ads")) == []
    assert not list(repository.glob("**/audience_syncs_*")), "the working copy is left alone"


def test_the_definitions_of_the_revision_may_need_variables_that_are_not_set(world: World, repository: Path) -> None:
    world.write(carts=CARTS.replace("id <= 30", "id <= {{ env.UP_TO }}"))
    git(repository, "commit", "-q", "-a", "-m", "a variable")
    world.write(carts=CARTS)
    assert list(world.plan("--changed-since", "HEAD")) == ["carts/meta_ads"]


def test_mistakes_at_the_revision_are_no_obstacle(world: World, repository: Path) -> None:
    world.write(carts=CARTS.replace("source: shop", "source: shpo"))
    git(repository, "commit", "-q", "-a", "-m", "broken")
    world.write(carts=CARTS)
    answer = json.loads(world.command("plan", "--changed-since", "HEAD", "--format", "json"))
    assert [(row["sync"], row["new"]) for row in answer["syncs"]] == [("carts/meta_ads", True)]
    assert "1 mistake; what they concern counts as new" in answer["remark"]


def test_links_and_other_files_at_the_revision_are_left_alone(world: World, repository: Path) -> None:
    (world.folder / "outside").symlink_to("/etc")
    (world.folder / "more").mkdir()
    (world.folder / "more" / "defs.yaml").symlink_to("/etc/passwd")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "links")
    (world.folder / "more" / "defs.yaml").unlink()
    assert world.plan("--changed-since", "HEAD") == {}


def test_definitions_that_were_not_there_yet_are_all_new(world: World, repository: Path) -> None:
    git(repository, "checkout", "-q", "--orphan", "empty")
    git(repository, "rm", "-rq", "--cached", ".")
    git(repository, "commit", "-q", "--allow-empty", "-m", "empty")
    assert {row["new"] for row in world.plan("--changed-since", "empty").values()} == {True}


@pytest.mark.parametrize("ref", ["nope", "--help", "-x", "main:defs", "", "main..main", "ü\n"])
def test_a_revision_that_is_none_is_refused(world: World, repository: Path, ref: str) -> None:
    answer = world.command("plan", f"--changed-since={ref}", code=1)
    assert "there is no revision" in answer
    assert "git fetch origin main" in answer


def test_definitions_outside_of_a_repository_cannot_be_compared(world: World) -> None:
    answer = world.command("plan", "--changed-since", "main", code=1)
    assert "are in no git repository" in answer
    assert "--all" in answer


# The engine's part --------------------------------------------------------------------------------------------------


def wanted(bench: Bench, **changes: Any) -> Wanted:
    audience = bench.audience.model_copy(update=changes)
    return Wanted(audience, bench.sync, bench.list.spec)


def test_a_plan_that_is_under_way_keeps_no_run_waiting(bench: Bench) -> None:
    bench.crowd(50)
    bench.run()
    database = sa.make_url(bench.url).database
    bench.execute(f"ALTER DATABASE {database} SET lock_timeout = '5s'")
    bench.crowd(40)
    warehouse = bench.warehouse
    other = sync_config(name="other", list={"name": "Other"})
    with warehouse.connect() as connection:
        snapshot = evaluate_audience(bench.audience, warehouse, run_id="preview", within=connection)
        apart = warehouse.planning_apart(connection)
        preview = preview_sync(bench.audience, bench.sync, bench.list.spec, apart, connection, snapshot)
        preview_sync(bench.audience, other, bench.list.spec, apart, connection, snapshot)
        assert preview.counts.removed == 10
        # The plan's transaction is open: a run of the same sync, and the first run of another, go on all the same.
        assert bench.run().removed == 10
        bench.sync = other
        assert bench.run().added == 40
        connection.rollback()


def test_a_plan_does_not_wait_for_a_run_that_is_under_way(bench: Bench) -> None:
    bench.crowd(30)
    bench.run()
    bench.crowd(20)
    sending, go_on = threading.Event(), threading.Event()

    def hold(operation: str, batch: object) -> str:
        sending.set()
        assert go_on.wait(20)
        return "ok"

    bench.list.script = hold
    running = threading.Thread(target=bench.run)
    running.start()
    try:
        assert sending.wait(20)
        begun = time.monotonic()
        (review,) = review_syncs([wanted(bench)], {}, bench.warehouse)
        assert time.monotonic() - begun < 10
        assert review.plan is not None
        assert review.plan.counts.removed == 10, "what the run has not settled is still to be done"
    finally:
        go_on.set()
        running.join(20)


def test_an_audience_is_evaluated_once_for_all_of_its_syncs(bench: Bench) -> None:
    bench.crowd(5)
    bench.execute("CREATE SEQUENCE evaluations")
    bench.sql = "SELECT id, email, phone, first_name, nextval('evaluations') AS n FROM people"
    syncs = [sync_config(name=f"s{number}", list={"name": f"L{number}"}) for number in range(4)]
    audience = bench.audience.model_copy(update={"syncs": syncs})
    reviews = review_syncs([Wanted(audience, sync, bench.list.spec) for sync in syncs], {}, bench.warehouse)
    assert [review.plan.counts.added for review in reviews if review.plan] == [5] * 4
    assert bench.rows("SELECT last_value FROM evaluations") == [(5,)]


@pytest.mark.parametrize("step, remedy", [(1, "upgrade audience-syncs"), (-1, "the first run of any sync")])
def test_state_of_another_version_is_refused_and_left_as_it_is(bench: Bench, step: int, remedy: str) -> None:
    bench.crowd(5)
    bench.run()
    bench.execute(f"UPDATE audience_syncs.state_version SET version = version + {step}")
    before = bench.rows("SELECT version FROM audience_syncs.state_version")
    (review,) = review_syncs([wanted(bench)], {}, bench.warehouse)
    assert review.failure is not None
    assert remedy in review.failure.remedy
    assert bench.rows("SELECT version FROM audience_syncs.state_version") == before


def test_a_run_that_was_made_tells_how_long_the_next_takes(bench: Bench) -> None:
    bench.crowd(250)
    bench.run()  # 25 batches of ten
    bench.execute("UPDATE audience_syncs.sync_runs SET started_at = finished_at - interval '50 seconds', requests = 25")
    bench.crowd(0)
    bench.sync = sync_config(guard={"allow_empty": True})
    (review,) = review_syncs([wanted(bench)], {}, bench.warehouse)
    assert review.plan is not None
    assert review.plan.requests == 25
    assert review.seconds == pytest.approx(50)
    bench.execute("UPDATE audience_syncs.sync_runs SET requests = 3")
    (review,) = review_syncs([wanted(bench)], {}, bench.warehouse)
    assert review.seconds == pytest.approx(25), "one at a time, a second each"
    (review,) = review_syncs([replace(wanted(bench), requests_per_s=0.5)], {}, bench.warehouse)
    assert review.seconds == pytest.approx(50)


@pytest.mark.parametrize(
    "platform, settings, pace",
    [
        ("meta", {}, 10),
        ("hubspot", {}, 9),
        ("hubspot", {"requests_per_s": 100}, 100),
        ("braze", {}, 40),
        ("braze", {"requests_per_s": "{{ x }}"}, None),
        ("files", {}, None),
    ],
)  # fmt: skip
def test_the_pace_of_an_account_is_what_its_settings_or_its_platform_say(
    platform: str, settings: dict[str, Any], pace: float | None
) -> None:
    assert pace_of(DestinationConfig(name="x", platform=platform, settings=settings)) == pace


def test_audiences_that_refer_to_each_other_are_evaluated_together_and_in_order(bench: Bench) -> None:
    def audience(name: str, *before: str) -> AudienceConfig:
        sync = sync_config(name=name, list={"name": name}).admitting(Admission(before=before))
        return bench.audience.model_copy(update={"name": name, "syncs": [sync]})

    all_ = {
        one.name: one
        for one in (audience("c", "b"), audience("b", "a"), audience("a"), audience("z", "y"), audience("y", "z"))
    }
    asked = [Wanted(all_[name], all_[name].syncs[0], bench.list.spec) for name in ("c", "z")]

    def groups(changed: set[str]) -> list[list[str]]:
        return _Reviewing(asked, all_, bench.warehouse, changed, lambda _: None, lambda: None).groups()  # type: ignore[arg-type, return-value]

    assert groups({"a", "b"}) == [["a", "b", "c"], ["z"]]
    assert groups({"b"}) == [["b", "c"], ["z"]]
    assert groups({"y"}) == [["c"], ["z", "y"]], "a circle ends"


def test_an_audience_that_refers_to_one_that_fails_is_not_told_either(bench: Bench) -> None:
    bench.crowd(5)
    broken = bench.audience.model_copy(update={"name": "first", "sql": "SELECT nothing"})
    sync = bench.sync.admitting(Admission(before=("first",)))
    second = bench.audience.model_copy(update={"syncs": [sync]})
    asked = [Wanted(second, sync, bench.list.spec)]
    (review,) = review_syncs(asked, {"first": broken}, bench.warehouse, changed=["first"])
    assert review.failure is not None
    assert review.failure.message.startswith("the audience first, which it refers to: the warehouse refused the query")


# The page -----------------------------------------------------------------------------------------------------------


def row(name: str, *, added: int = 0, failure: Failure | None = None, **more: Any) -> Row:
    plan = PlanPreview(name, 1, 10, 10, PlanCounts(added=added), "d", 1, more.pop("blocked", None), (), None)
    return Row(Review(name, None if failure else plan, 1.0, "l", failure), "meta_ads", "meta", **more)


def test_nothing_in_the_page_breaks_its_table_or_calls_people() -> None:
    hostile = Failure("X", "a | b\n\n</details> <script> @everyone & `c`", "do | this")
    page = to_markdown(Page("all | syncs", [row("a/b", failure=hostile)], [Gone("c/d", "e | f @g <h>", 3)]))
    assert page.splitlines()[0] == MARKER == "<!-- audience-syncs plan -->"
    (line,) = [line for line in page.splitlines() if line.startswith("| `a/b`")]
    assert line.replace("\\|", "").count("|") == 10
    assert "<script>" not in page
    assert "@" not in page
    assert page.count("</details>") == 1


def test_a_page_of_very_many_syncs_still_fits_into_a_comment() -> None:
    rows = [row(f"audience_{n}/meta_ads", added=n + 1, blocked="x" * 500) for n in range(2_000)]
    page = to_markdown(Page("all syncs", rows))
    assert len(page) < MOST_CHARACTERS + 200
    assert page.startswith(MARKER)
    assert "`audience_1999/meta_ads`" in page, "the greatest change comes first"
    assert "2,000 syncs planned" in page
