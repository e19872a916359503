"""Inside somebody else's Dagster project: components registered by entry point, beside assets and components of theirs.

The project is laid out as `create-dagster project` lays it out, and used through `dg`, as its owner would. The package is
installed already; nothing is fetched. A real dbt project would need `dagster-dbt`, which is no dependency of ours: what matters
of it here is an asset with the key `dbt/customers`, which is made in Python.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import dagster as dg
import pytest
import requests
import sqlalchemy as sa
import yaml
from dagster.components.component_scaffolding import scaffold_object

import audience_syncs
from audience_syncs.project import MODELS, load_project
from audience_syncs.simulators import SimulatorServer

NAME = "guest_house"
PACKAGE = Path(audience_syncs.__file__).parents[1]

PYPROJECT = f"""\
[project]
name = "{NAME}"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = ["dagster", "audience-syncs"]

[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "{NAME}"
"""
DEFINITIONS = """\
from pathlib import Path

from dagster import definitions, load_from_defs_folder


@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
THEIR_ASSET = """\
import dagster as dg


@dg.asset(key=["dbt", "customers"], kinds={"dbt"})
def customers() -> None: ...
"""
THEIR_COMPONENT = """\
# Theirs, and written as we would not: the check of ours leaves it alone.
type: dagster.FunctionComponent

attributes:
  execution: !include their_step.yaml
  2024: a key that is a number
  2024: and is there twice
"""
AUDIENCE = """\
type: audience_syncs.components.Audience
attributes:
  name: spenders
  source: shop
  primary_key: id
  sql: SELECT id, email FROM customers WHERE spent > 100
  syncs:
    - destination: meta_ads
      list: {name: Spenders}
      mapping: {EMAIL: email}
      schedule: {after: dbt/customers}
"""


class Guest:
    """The project, and `dg` in it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.defs = root / "src" / NAME / "defs"
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("AUDIENCE_SYNCS_", "DAGSTER_"))
        }
        self.environment = clean | {
            "PYTHONPATH": f"{root / 'src'}:{PACKAGE}",
            "HOME": str(root),
            "COLUMNS": "200",
            "DO_NOT_TRACK": "1",
        }

    def scaffold(self, kind: str, path: str, **params: object) -> None:
        """What `dg scaffold defs` calls once it has started, which takes it seconds."""
        scaffold_object(
            self.defs / path, f"audience_syncs.components.{kind}", json.dumps(params), "yaml", project_root=self.root
        )

    def run(self, program: str, *arguments: str, code: int = 0, **variables: str) -> str:
        command = [str(Path(sys.executable).parent / program), *arguments]
        if program == "audience-syncs":
            command = [sys.executable, "-m", "audience_syncs", *arguments]
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.environment | variables,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == code, f"{command}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout + (done.stderr if code else "")


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Guest:
    engine = sa.create_engine(postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE customers (id int, email text, spent int)")
        connection.exec_driver_sql(
            "INSERT INTO customers VALUES (1, 'ann@example.com', 500), (2, 'bo@example.com', 200), (3, 'cy@example.com', 5)"
        )
    engine.dispose()
    guest = Guest(tmp_path_factory.mktemp("guest"))
    package = guest.root / "src" / NAME
    for file, text in {
        guest.root / "pyproject.toml": PYPROJECT,
        package / "__init__.py": "",
        package / "definitions.py": DEFINITIONS,
        package / "work.py": "def work(context): ...\n",
        package / "defs" / "__init__.py": "",
        package / "defs" / "transformation" / "assets.py": THEIR_ASSET,
        package / "defs" / "audiences" / "spenders" / "defs.yaml": AUDIENCE,
    }.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    guest.scaffold("Source", "sources/shop")
    guest.scaffold("Destination", "destinations/meta_ads", platform="meta")
    guest.scaffold("Model", "models/customers", asset="dbt/customers")
    component = "audience_syncs.components.Audience"
    guest.run("dg", "scaffold", "defs", component, "audiences/all-customers", "--model", "customers")
    guest.run("audience-syncs", "columns", SHOP_URL=postgres_url)
    return guest


def test_every_component_of_ours_is_listed_with_what_it_is_for(guest: Guest) -> None:
    listed = {
        one["key"]: one["summary"] for one in json.loads(guest.run("dg", "list", "components", "--json"))["items"]
    }
    for kind in MODELS:
        assert listed[f"audience_syncs.components.{kind}"]
    assert "dagster.FunctionComponent" in listed


def test_what_dg_scaffolds_is_commented_and_passes_both_checks(guest: Guest) -> None:
    written = (guest.defs / "audiences" / "all-customers" / "defs.yaml").read_text()
    assert "  name: all_customers\n" in written
    assert "  # filter:\n" in written
    model = yaml.safe_load((guest.defs / "models" / "customers" / "defs.yaml").read_text())["attributes"]
    assert (model["source"], model["asset"]) == ("shop", "dbt/customers")
    assert load_project(guest.defs, {}).problems == []
    assert "successfully" in guest.run("dg", "check", "yaml")
    assert "successfully" in guest.run("dg", "check", "defs")


def test_our_commands_find_the_projects_definitions_and_leave_those_of_others_alone(guest: Guest) -> None:
    folder = guest.defs / "theirs"
    folder.mkdir()
    try:
        (folder / "defs.yaml").write_text(THEIR_COMPONENT)
        assert guest.run("audience-syncs", "check").strip() == "No problems."
        syncs = json.loads(guest.run("audience-syncs", "list", "--json"))
        assert [sync["sync"] for sync in syncs] == ["spenders/meta_ads"]
    finally:
        (folder / "defs.yaml").unlink()
        folder.rmdir()


def test_dg_says_what_cannot_be_scaffolded_and_leaves_no_empty_folder(guest: Guest) -> None:
    wrong: list[tuple[str, dict[str, object], str]] = [
        ("Destination", {"platform": "hubsopt"}, "did you mean `hubspot`"),
        ("Destination", {}, "which platform"),
        ("Audience", {"source": "shpo"}, "did you mean `shop`"),
        ("Audience", {"destinations": ["meta_ad"]}, "did you mean `meta_ads`"),
        ("Priority", {"audiences": ["spenders"]}, "needs two audiences"),
    ]
    for kind, params, words in wrong:
        with pytest.raises(click.ClickException, match=words):
            guest.scaffold(kind, "x/y", **params)
        assert not (guest.defs / "x" / "y").exists()
    shown = guest.run(
        "dg", "scaffold", "defs", "audience_syncs.components.Destination", "x/y", "--platform", "hubsopt", code=1
    )
    assert "did you mean `hubspot`" in " ".join(shown.split())
    assert "Traceback" not in shown
    assert not (guest.defs / "x" / "y").exists()


def test_what_is_scaffolded_can_be_added_to_a_file_and_in_python_as_dagster_does(guest: Guest, tmp_path: Path) -> None:
    file = tmp_path / "both" / "defs.yaml"
    file.parent.mkdir()
    file.write_text("type: dagster.FunctionComponent\nattributes: {}\n")
    component = "audience_syncs.components.Source"
    scaffold_object(file, component, None, "yaml", project_root=None, append=True)
    first, second = yaml.safe_load_all(file.read_text())
    assert (first["type"], second["type"]) == ("dagster.FunctionComponent", component)
    scaffold_object(tmp_path / "made", component, None, "python", project_root=None)
    assert "Source" in (tmp_path / "made" / "component.py").read_text()


def test_our_assets_stand_beside_theirs_with_what_is_there_once_for_all_syncs(guest: Guest) -> None:
    listed: Mapping[str, list[dict[str, Any]]] = json.loads(guest.run("dg", "list", "defs", "--json"))
    assets = {asset["asset_key"]: asset for asset in listed["assets"]}
    assert set(assets) == {
        "dbt/customers",
        "audiences/spenders",
        "audiences/all_customers",
        "syncs/spenders/meta_ads",
        "syncs_overview",
    }
    assert assets["audiences/all_customers"]["dependency_keys"] == ["dbt/customers"]
    assert assets["syncs/spenders/meta_ads"]["dependency_keys"] == ["audiences/spenders"]
    assert assets["syncs_overview"]["dependency_keys"] == ["syncs/spenders/meta_ads"]
    sensors = {sensor["name"] for sensor in listed["sensors"]}
    assert "sync_health" in sensors
    assert any("spenders" in name for name in sensors - {"sync_health"}), "the trigger after dbt/customers"
    assert "sync__spenders__meta_ads" in {job["name"] for job in listed["jobs"]}
    assert "audiences/spenders:syncs" in {check["key"] for check in listed["asset_checks"]}


@pytest.fixture
def loaded(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.Definitions]:
    """The project's definitions, loaded by Dagster's own function in this process."""
    monkeypatch.syspath_prepend(str(guest.root / "src"))
    yield dg.load_from_defs_folder(path_within_project=guest.root)
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


def test_a_sync_is_delivered_from_there(
    guest: Guest, loaded: dg.Definitions, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with SimulatorServer() as simulators:
        monkeypatch.setenv("SHOP_URL", postgres_url)
        monkeypatch.setenv("META_ADS_ACCESS_TOKEN", "a-token")
        monkeypatch.setenv("META_BASE_URL", f"{simulators.url}/meta")
        file = guest.defs / "destinations" / "meta_ads" / "defs.yaml"
        text = file.read_text()
        # The scaffold offers it: its comment sign is taken away.
        assert "    # base_url_env: ..." in text
        file.write_text(text.replace("    # base_url_env: ...", "    base_url_env: META_BASE_URL"))
        definitions = dg.load_from_defs_folder(path_within_project=guest.root)
        result = definitions.resolve_job_def("sync__spenders__meta_ads").execute_in_process()
        (made,) = [
            event
            for event in result.asset_materializations_for_node("syncs__spenders__meta_ads")
            if event.asset_key == dg.AssetKey(["syncs", "spenders", "meta_ads"])
        ]
        assert (made.metadata["in_audience"].value, made.metadata["accepted"].value) == (2, 2)
        everybody = definitions.resolve_job_def("audience__all_customers").execute_in_process()
        (evaluated,) = everybody.asset_materializations_for_node("audiences__all_customers")
        assert evaluated.metadata["members"].value == 3
        assert "Spenders" in requests.get(f"{simulators.url}/_simulator/meta/lists", timeout=20).text


def test_mistakes_refuse_to_load_with_file_line_and_remedy(guest: Guest) -> None:
    file = guest.defs / "audiences" / "spenders" / "defs.yaml"
    file.write_text(AUDIENCE.replace("source: shop", "source: shpo"))
    try:
        shown = guest.run("dg", "check", "defs", code=1)
    finally:
        file.write_text(AUDIENCE)
    assert "spenders/defs.yaml:4:11" in shown
    assert "did you mean `shop`" in shown
