"""The pages about destinations: every YAML on them loads, and runs; the example of a new destination is a destination."""

from __future__ import annotations

import re
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from audience_syncs.audiences import evaluate_audience
from audience_syncs.destinations import pacing, registry
from audience_syncs.destinations.contract import Destination, KeepsPace
from audience_syncs.destinations.in_words import in_words, rewritten
from audience_syncs.destinations.registry import PLATFORMS, Platform, open_destination, spec_of
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SyncConfig
from audience_syncs.model.values import SyncReport
from audience_syncs.project import Project, load_project
from audience_syncs.simulators import SimulatorServer
from audience_syncs.simulators.webhook import secret_of
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs_tests.platforms import HARNESSES

DOCS = Path(__file__).absolute().parent.parent / "docs"
PAGES = {f"{platform.replace('_', '-')}.md": platform for platform in PLATFORMS}
RUN_AS_WRITTEN = ["sql-table.md", "files.md", "webhook.md", "http-api.md"]
SOURCE = "type: audience_syncs.components.Source\nattributes:\n  name: shop\n  url: {env: SHOP_URL}\n"


def blocks(page: str, language: str) -> list[str]:
    found = re.findall(
        rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found, f"{page} has no {language}"
    return found


@pytest.fixture(scope="module")
def simulators() -> Iterator[str]:
    with SimulatorServer() as server:
        yield server.url


@pytest.fixture
def warehouse(fresh_postgres_url: str) -> Iterator[Warehouse]:
    pacing._pacers.clear()
    with open_warehouse_at(fresh_postgres_url) as warehouse:
        with warehouse.engine.begin() as connection:
            connection.exec_driver_sql(
                "CREATE TABLE people (id int, email text, orders int, last_order_at timestamptz)"
            )
            connection.exec_driver_sql(
                "INSERT INTO people VALUES (1, 'a@example.com', 3, '2026-11-20'), (2, 'b@example.com', NULL, NULL)"
            )
        yield warehouse


def run(
    audience: AudienceConfig,
    sync: SyncConfig,
    destination: DestinationConfig,
    environ: Mapping[str, str],
    at: Warehouse,
) -> tuple[SyncReport, Destination]:
    opened = open_destination(destination, environ)
    evaluate_audience(audience, at, run_id="docs")
    return run_sync(audience, sync, opened, at, run_id="docs"), opened


def loaded(page: str, folder: Path) -> Project:
    for number, text in enumerate([SOURCE, *blocks(f"destinations/{page}", "yaml")]):
        (folder / f"n{number}").mkdir()
        (folder / f"n{number}" / "defs.yaml").write_text(text)
    project = load_project(folder, environ={})
    assert project.problems == []
    return project


@pytest.mark.parametrize(("page", "platform"), PAGES.items())
def test_the_yaml_on_a_page_loads(page: str, platform: str, tmp_path: Path) -> None:
    project = loaded(page, tmp_path)
    assert platform in {destination.platform for destination in project.destinations.values()}
    assert project.audiences


@pytest.mark.parametrize("page", RUN_AS_WRITTEN)
def test_the_yaml_on_a_page_runs(page: str, tmp_path: Path, simulators: str, warehouse: Warehouse) -> None:
    project = loaded(page, tmp_path)
    (audience,) = project.audiences.values()
    (sync,) = audience.syncs
    account = project.destinations[sync.destination]
    environ = {
        "SHOP_DB_URL": warehouse.engine.url.render_as_string(hide_password=False),
        "LOYALTY_HOOK_URL": f"{simulators}/webhook/loyalty",
        "LOYALTY_HOOK_SECRET": secret_of("loyalty"),
        "HOUSE_API_TOKEN": "house",
        "HOUSE_API_URL": f"{simulators}/json_api",
    }
    if account.platform == "files":
        # S3 has a test of its own.
        local = {**account.settings, "url": str(tmp_path / "drop")}
        account = account.model_copy(update={"settings": local, "credentials": {}})
    report, _ = run(audience, sync, account, environ, warehouse)
    assert (report.accepted, report.rejected) == (2, 0)
    with warehouse.engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM people WHERE id = 1")
    report, _ = run(audience, sync, account, environ, warehouse)
    assert (report.removed, report.accepted) == (1, 1)
    assert report.matched is None or report.matched.upper == 1


@pytest.mark.parametrize(("page", "platform"), PAGES.items())
def test_a_page_tells_of_every_secret_and_of_what_the_platform_points_to(page: str, platform: str) -> None:
    text, spec = (DOCS / "destinations" / page).read_text(), spec_of(platform)
    assert spec.docs == f"docs/destinations/{page}"
    assert in_words(spec) in text, "python -m audience_syncs.destinations.in_words docs/destinations"
    assert rewritten(text) == text
    told = (*spec.credentials, *spec.optional_credentials, *spec.settings, *(field.name for field in spec.fields))
    assert [name for name in told if f"`{name}`" not in text] == []
    for heading in ("Modes and removal", "Known gaps"):
        assert heading in text
    assert f"audience-syncs destinations {platform}" in text


def test_every_platform_in_the_registry_has_its_promise_played() -> None:
    assert set(PLATFORMS) == set(HARNESSES)


def test_the_example_of_a_new_destination_is_one(
    simulators: str, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, line = blocks("new-destination.md", "python")
    assert len(code.splitlines()) < 100
    module = types.ModuleType("audience_syncs.destinations.newsletter")
    exec(compile(code, "newsletter.py", "exec"), module.__dict__)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("audience_syncs.destinations.newsletter", module, raising=False)
    named: dict[str, Any] = {"Platform": Platform}
    exec(line, named)
    monkeypatch.setattr(registry, "PLATFORMS", {**PLATFORMS, "newsletter": named["_newsletter"]})
    (text,) = blocks("new-destination.md", "yaml")
    written = yaml.safe_load(text)["attributes"]
    written["settings"]["base_url"] = f"{simulators}/json_api"
    account = DestinationConfig.model_validate(written)
    assert registry.check_destination(account) == []
    sync = SyncConfig.model_validate({"destination": "news", "mapping": {"email": "email", "orders": "orders"}})
    assert registry.check_sync(account, sync) == []
    audience = AudienceConfig(
        name="vips", source="shop", primary_key="id", sql="SELECT id, email, orders FROM people", syncs=[sync]
    )
    environ = {"NEWSLETTER_TOKEN": "news"}
    report, opened = run(audience, sync, account, environ, warehouse)
    assert isinstance(opened, KeepsPace)
    assert (report.accepted, report.requests) == (2, 4)
    lists: Any = requests.get(f"{simulators}/_simulator/json_api/lists", timeout=10).json()
    (list_id,) = [found["id"] for found in lists if found["account"] == "news"]
    members = f"{simulators}/_simulator/json_api/lists/{list_id}/members"
    assert [member["id"] for member in requests.get(members, timeout=10).json()["members"]] == [
        "a@example.com",
        "b@example.com",
    ]
    fault = {"platform": "json_api", "operation": "member.remove", "kind": "server_error_after", "count": 1}
    requests.post(f"{simulators}/_simulator/faults", json=fault, timeout=10).raise_for_status()
    with warehouse.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE people SET email = 'new@example.com' WHERE id = 1")
    report, _ = run(audience, sync, account, environ, warehouse)
    assert report.accepted == 2
    assert {member["id"] for member in requests.get(members, timeout=10).json()["members"]} == {
        "b@example.com",
        "new@example.com",
    }
    requests.post(f"{simulators}/_simulator/json_api/lists/{list_id}/delete", timeout=10)
    with warehouse.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE people SET email = 'c@example.com' WHERE id = 1")
    with pytest.raises(Exception, match="there is no list"):
        run(audience, sync, account, environ, warehouse)
