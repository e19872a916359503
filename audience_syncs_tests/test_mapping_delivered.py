"""Nulls that empty a field, and objects, from a row in PostgreSQL to what the platform then holds, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
import requests
import sqlalchemy as sa

from audience_syncs.audiences import evaluate_audience
from audience_syncs.destinations.contract import Destination, Empties
from audience_syncs.destinations.registry import PLATFORMS, check_sync, open_destination, spec_of
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SyncConfig
from audience_syncs.model.values import SyncReport
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs.simulators.webhook import secret_of
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs_tests import (
    customerio_bench,
    hubspot_bench,
    klaviyo_bench,
    mailchimp_bench,
    salesforce_bench,
    test_braze,
    test_iterable,
)

ADDRESS = "a@example.com"


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def url(simulators: SimulatorServer) -> str:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return simulators.url


@pytest.fixture
def shop(fresh_postgres_url: str) -> Iterator[Shop]:
    with open_warehouse_at(fresh_postgres_url) as warehouse:
        yield Shop(warehouse)


class Shop:
    """One person in a table, and an audience of them."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.runs = 0
        self.execute("CREATE TABLE people (id text, email text, first_name text, city text, zip int, tags text[])")
        self.execute(f"INSERT INTO people VALUES ('u1', '{ADDRESS}', 'Zoë', 'Köln', 50667, '{{a,b}}')")

    def execute(self, statement: str) -> None:
        with self.warehouse.engine.begin() as connection:
            connection.exec_driver_sql(statement)

    def run(self, destination: Destination, list_id: str | None = None, **sync: Any) -> SyncReport:
        self.runs += 1
        wanted = {"id": list_id} if list_id else {"name": "People"}
        config = SyncConfig.model_validate({"destination": "crm", "list": wanted, **sync})
        audience = AudienceConfig(
            name="people", source="shop", primary_key="id", sql="SELECT * FROM people", syncs=[config]
        )
        evaluate_audience(audience, self.warehouse, run_id=f"run-{self.runs}")
        return run_sync(audience, config, destination, self.warehouse, run_id=f"run-{self.runs}")


@dataclass(frozen=True)
class Case:
    """A platform: ``open`` gives the account, a list's id, and what the platform holds of the person."""

    open: Callable[[str], tuple[Any, str, Callable[[], dict[str, Any]]]]
    key: dict[str, str]
    emptied: str
    kept: str


def hubspot(url: str) -> tuple[Any, str, Callable[[], dict[str, Any]]]:
    world = hubspot_bench.World(url)
    return world.hubspot, world.list_id, lambda: world.members()[ADDRESS]


def klaviyo(url: str) -> tuple[Any, str, Callable[[], dict[str, Any]]]:
    world = klaviyo_bench.World(url)

    def held() -> dict[str, Any]:
        [profile] = world.call("GET", f'/api/profiles?filter=equals(email,"{ADDRESS}")')["data"]
        attributes = profile["attributes"]
        return {**attributes, **attributes["location"], **attributes["properties"]}

    return world.klaviyo, world.list_id, held


def mailchimp(url: str) -> tuple[Any, str, Callable[[], dict[str, Any]]]:
    world = mailchimp_bench.World(url)
    return world.mailchimp, world.list_id, lambda: world.contact(ADDRESS)["merge_fields"]


def braze(url: str) -> tuple[Any, str, Callable[[], dict[str, Any]]]:
    world = test_braze.World(url)

    def held() -> dict[str, Any]:
        user = world.user("u1")
        return {**user, **user.get("custom_attributes", {})}

    return world.braze, "vips", held


def customerio(url: str) -> tuple[Any, str, Callable[[], dict[str, Any]]]:
    world = customerio_bench.World(url)
    return world.workspace, world.list_id, lambda: world.person("u1") or {}


def salesforce(jobs: bool) -> Callable[[str], tuple[Any, str, Callable[[], dict[str, Any]]]]:
    def opened(url: str) -> tuple[Any, str, Callable[[], dict[str, Any]]]:
        org = salesforce_bench.Org(url, bulk_above=0 if jobs else 2_000)

        def held() -> dict[str, Any]:
            [record] = org.query(f"SELECT Id FROM Contact WHERE Email = '{ADDRESS}'")
            return org.held(record["Id"])

        return org.account, org.campaign, held

    return opened


CASES = {
    "hubspot": Case(hubspot, {"email": "email"}, "firstname", "city"),
    "klaviyo": Case(klaviyo, {"email": "email"}, "first_name", "city"),
    "klaviyo: location": Case(klaviyo, {"email": "email"}, "city", "first_name"),
    "klaviyo: property": Case(klaviyo, {"email": "email"}, "tier", "town"),
    "mailchimp": Case(mailchimp, {"email": "email"}, "FNAME", "LNAME"),
    "braze": Case(braze, {"external_id": "id"}, "first_name", "town"),
    "braze: attribute": Case(braze, {"external_id": "id"}, "town", "first_name"),
    "customerio": Case(customerio, {"id": "id"}, "first_name", "town"),
    "salesforce": Case(salesforce(False), {"Email": "email"}, "FirstName", "Title"),
    "salesforce: jobs": Case(salesforce(True), {"Email": "email"}, "FirstName", "Title"),
}


def test_every_platform_that_says_it_empties_fields_is_tried_here() -> None:
    able = {name for name in PLATFORMS if spec_of(name).empties is Empties.ASKED}
    assert {name.partition(":")[0] for name in CASES} == able


@pytest.mark.parametrize("name", CASES)
def test_a_null_empties_the_field_where_that_is_asked_and_no_other(name: str, url: str, shop: Shop) -> None:
    case = CASES[name]
    destination, list_id, held = case.open(url)
    mapping = {**case.key, case.emptied: {"column": "first_name", "nulls": "clear"}, case.kept: "city"}
    if name.startswith("salesforce"):
        mapping["LastName"] = {"constant": "Ng"}
    assert (shop.run(destination, list_id, mapping=mapping).accepted, held()[case.emptied]) == (1, "Zoë")
    shop.execute("UPDATE people SET first_name = NULL, city = NULL")
    report = shop.run(destination, list_id, mapping=mapping)
    found = held()
    assert (report.accepted, report.updated) == (1, 1)
    assert (found.get(case.emptied) or None, found[case.kept]) == (None, "Köln")
    before = destination.requests_sent
    shop.run(destination, list_id, mapping=mapping)
    assert shop.run(destination, list_id, mapping=mapping).updated == 0
    shop.execute("UPDATE people SET first_name = 'Ann'")
    shop.run(destination, list_id, mapping=mapping)
    assert held()[case.emptied] == "Ann"
    assert destination.requests_sent > before


def test_who_is_brought_to_klaviyo_and_not_emptied_is_in_doubt_and_comes_again(url: str, shop: Shop) -> None:
    world = klaviyo_bench.World(url)
    mapping = {"email": "email", "first_name": {"column": "first_name", "nulls": "clear"}}
    shop.run(world.klaviyo, world.list_id, mapping=mapping)
    shop.execute("UPDATE people SET first_name = NULL")
    world.fault("server_error", operation="profiles.update")
    assert shop.run(world.klaviyo, world.list_id, mapping=mapping).accepted == 0
    assert world.members()[ADDRESS]["first_name"] == "Zoë"
    requests.delete(f"{url}/_simulator/faults", timeout=10).raise_for_status()
    assert shop.run(world.klaviyo, world.list_id, mapping=mapping).accepted == 1
    assert not world.members()[ADDRESS].get("first_name")
    asked = world.operations().count("profiles.update")
    shop.run(world.klaviyo, world.list_id, mapping=mapping)
    assert world.operations().count("profiles.update") == asked, "what is empty is not emptied again"


# Objects ------------------------------------------------------------------------------------------------------------

HOME = {"object": {"city": "city", "zip": {"column": "zip", "cast": "text"}, "tags": "tags", "count": "zip"}}
SENT = {"city": "Köln", "zip": "50667", "tags": ["a", "b"], "count": 50667}
WITHOUT_CITY = {name: value for name, value in SENT.items() if name != "city"}


def iterable(url: str) -> tuple[Any, str, Callable[[], dict[str, Any]]]:
    world = test_iterable.World(url)
    return world.iterable, world.list_id, lambda: world.user(ADDRESS)


def customerio_sent(url: str) -> tuple[Any, str, Callable[[], dict[str, Any]]]:
    """What it was sent: the App API tells attributes as text."""
    world = customerio_bench.World(url)

    def last() -> dict[str, Any]:
        bodies = [entry["body"] for entry in world.received() if entry["operation"] == "people.batch"]
        found: dict[str, Any] = bodies[-1]["batch"][0]["attributes"]
        return found

    return world.workspace, world.list_id, last


NESTED: dict[str, tuple[Callable[[str], Any], dict[str, str]]] = {
    "braze": (braze, {"external_id": "id"}),
    "customerio": (customerio_sent, {"id": "id"}),
    "iterable": (iterable, {"email": "email"}),
}


@pytest.mark.parametrize("name", NESTED)
def test_an_object_arrives_as_one_and_is_replaced_as_a_whole(name: str, url: str, shop: Shop) -> None:
    opened, key = NESTED[name]
    destination, list_id, held = opened(url)
    mapping = {**key, "home": HOME}
    assert shop.run(destination, list_id, mapping=mapping).accepted == 1
    assert held()["home"] == SENT
    shop.execute("UPDATE people SET city = NULL")
    shop.run(destination, list_id, mapping=mapping)
    assert held()["home"] == WITHOUT_CITY


def test_an_object_goes_to_a_webhook_as_json(url: str, shop: Shop) -> None:
    hook = open_destination(
        DestinationConfig.model_validate(
            {
                "name": "hook",
                "platform": "webhook",
                "credentials": {"url": {"env": "URL"}, "secret": {"env": "SECRET"}},
                "settings": {"plain_http": True},
            }
        ),
        {"URL": f"{url}/webhook/people", "SECRET": secret_of("people")},
    )
    shop.run(hook, mapping={"id": "id", "home": HOME})
    path = f"{url}/_simulator/webhook/requests"
    told = [entry["body"] for entry in requests.get(path, timeout=10).json() if entry["body"]]
    assert told[-1]["data"]["members"][0]["fields"]["home"] == SENT


def test_an_object_is_json_in_a_table_and_in_a_file(fresh_postgres_url: str, shop: Shop, tmp_path: Path) -> None:
    def account(platform: str, **settings: Any) -> Destination:
        credentials = {"url": {"env": "URL"}} if platform == "sql_table" else {}
        config = {"name": "x", "platform": platform, "credentials": credentials, "settings": settings}
        return open_destination(DestinationConfig.model_validate(config), {"URL": fresh_postgres_url})

    mapping = {"id": "id", "home": HOME, "also": HOME}
    shop.run(account("sql_table", columns={"home": "json"}), mapping=mapping)
    engine = sa.create_engine(fresh_postgres_url)
    with engine.connect() as connection:
        [(home, also)] = connection.execute(sa.text('SELECT home, also FROM "People"')).all()
    engine.dispose()
    assert (home, orjson.loads(also)) == (SENT, SENT)
    shop.run(account("files", url=str(tmp_path)), name="drop", mapping=mapping)
    [file] = tmp_path.glob("*/members/*/*.csv*")
    content = file.read_bytes()
    assert b'""city"": ""K' in content


# What is refused when definitions load ------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", [name for name in PLATFORMS if spec_of(name).empties is not Empties.ASKED])
def test_where_a_field_cannot_be_emptied_nulls_are_refused_when_definitions_load(platform: str) -> None:
    spec = spec_of(platform)
    field = next((each.name for each in spec.fields if not each.identifier), None) or spec.fields[0].name
    nulls = "skip" if spec.empties is Empties.ALWAYS else "clear"
    sync = SyncConfig.model_validate({"destination": "x", "mapping": {field: {"column": "c", "nulls": nulls}}})
    config = DestinationConfig(name="x", platform=platform)
    found = [problem for problem in check_sync(config, sync) if problem.path == ("mapping", field, "nulls")]
    assert len(found) == 1
    assert "remove `nulls`" in found[0].remedy
