"""The Klaviyo simulator answers what Klaviyo's own client understands, and refuses what Klaviyo refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from klaviyo_api import KlaviyoAPI
from openapi_client.exceptions import ApiException

from audience_syncs.simulators import SimulatorServer

HEADERS = {"Authorization": "Klaviyo-API-Key pk_good", "revision": "2026-07-15"}


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return f"{server.url}/klaviyo"


@pytest.fixture
def client(url: str) -> KlaviyoAPI:
    """Klaviyo's own client; it checks each answer against its models."""
    return KlaviyoAPI("pk_good", max_retries=1, test_host=url)


def import_of(*rows: dict[str, Any], lists: tuple[str, ...] = ()) -> dict[str, Any]:
    profiles = {"data": [{"type": "profile", "attributes": row} for row in rows]}
    data: dict[str, Any] = {"type": "profile-bulk-import-job", "attributes": {"profiles": profiles}}
    if lists:
        data["relationships"] = {"lists": {"data": [{"type": "list", "id": each} for each in lists]}}
    return {"data": data}


def list_of(name: str) -> dict[str, Any]:
    return {"data": {"type": "list", "attributes": {"name": name, "opt_in_process": "single_opt_in"}}}


def finished(client: KlaviyoAPI, job: str) -> Any:
    for _ in range(200):
        found = client.Profiles.get_bulk_import_profiles_job(job)
        if found.data.attributes.status == "complete":
            return found.data
        time.sleep(0.01)
    raise AssertionError("the job does not end")


def call(url: str, method: str, path: str, body: Any = None, **headers: str) -> requests.Response:
    return requests.request(method, f"{url}{path}", json=body, headers=HEADERS | headers, timeout=20)


def test_klaviyos_own_client_keeps_a_list_here(client: KlaviyoAPI) -> None:
    made = client.Lists.create_list(list_of("VIPs")).data.id
    assert [each.id for each in client.Lists.get_lists(filter='equals(name,"VIPs")').data] == [made]
    rows = [{"email": f"P{n}@Example.com", "first_name": "Zoë", "properties": {"tier": "gold"}} for n in range(150)]
    job = client.Profiles.bulk_import_profiles(import_of(*rows, lists=(made,))).data
    assert job.attributes.status in ("queued", "processing")
    assert job.relationships.lists.data[0].id == made
    done = finished(client, job.id)
    assert (done.attributes.completed_count, done.attributes.failed_count) == (150, 0)
    first = client.Lists.get_profiles_for_list(made, page_size=100)
    rest = client.Lists.get_profiles_for_list(made, page_size=100, page_cursor=first.links.next)
    members = [*first.data, *rest.data]
    assert len({member.id for member in members}) == 150
    assert {member.attributes.email for member in members} == {f"p{n}@example.com" for n in range(150)}
    found = client.Profiles.get_profiles(filter='any(email,["p1@example.com","nobody@example.com"])').data
    assert [(each.attributes.first_name, each.attributes.properties) for each in found] == [("Zoë", {"tier": "gold"})]
    client.Lists.remove_profiles_from_list(made, {"data": [{"type": "profile", "id": found[0].id}]})
    client.Lists.add_profiles_to_list(made, {"data": [{"type": "profile", "id": members[0].id}]})
    time.sleep(0.6)
    counted = client.Lists.get_list(made, additional_fields_list=["profile_count"])
    assert counted.data.attributes.profile_count == 149
    patch = {
        "data": {
            "type": "profile",
            "id": found[0].id,
            "attributes": {"first_name": "Chloë"},
            "meta": {"patch_properties": {"unset": ["tier"]}},
        }
    }
    changed = client.Profiles.update_profile(found[0].id, patch).data
    assert (changed.attributes.first_name, changed.attributes.properties) == ("Chloë", {})
    client.Lists.delete_list(made)
    with pytest.raises(ApiException) as gone:
        client.Lists.get_list(made)
    assert gone.value.status == 404


def test_unfinished_jobs_are_told_with_their_lists(url: str) -> None:
    slow = KlaviyoAPI("pk_slow", max_retries=1, test_host=url)
    made = slow.Lists.create_list(list_of("VIPs")).data.id
    job = slow.Profiles.bulk_import_profiles(import_of({"email": "a@example.com"}, lists=(made,))).data.id
    asked = slow.Profiles.get_bulk_import_profiles_jobs(filter='any(status,["queued","processing"])')
    assert [each.id for each in asked.data] == [job]
    assert slow.Lists.get_profiles_for_list(made).data == []
    advance = {"advance_s": 61}
    requests.post(f"{url.removesuffix('/klaviyo')}/_simulator/clock", json=advance, timeout=20).raise_for_status()
    assert slow.Profiles.get_bulk_import_profiles_jobs(filter='any(status,["queued","processing"])').data == []
    assert len(slow.Lists.get_profiles_for_list(made).data) == 1


def test_rows_that_fail_later_are_told_as_they_were_sent(client: KlaviyoAPI) -> None:
    finished(
        client, client.Profiles.bulk_import_profiles(import_of({"email": "a@example.com", "external_id": "1"})).data.id
    )
    body = import_of({"email": "b@example.com", "external_id": "1"}, {"email": "c@example.com"})
    job = client.Profiles.bulk_import_profiles(body).data.id
    assert finished(client, job).attributes.failed_count == 1
    [error] = client.Profiles.get_errors_for_bulk_import_profiles_job(job).data
    assert error.attributes.code == "duplicate_profile"
    assert error.attributes.original_payload == {"email": "b@example.com", "external_id": "1"}
    assert error.attributes.source.pointer == "/data/attributes/profiles/data/0/attributes"


@pytest.mark.parametrize(
    "row, pointer",
    [
        ({"email": "not-an-email"}, "/email"),
        ({"email": "a@example.com", "phone_number": "0151 1234567"}, "/phone_number"),
        ({"email": "a@example.com", "shoe_size": "44"}, "/shoe_size"),
        ({"email": "a@example.com", "first_name": 44}, "/first_name"),
        ({"email": "a@example.com", "location": {"planet": "Mars"}}, "/location/planet"),
        ({"first_name": "Nobody"}, "/"),
        ({"email": "a@example.com", "properties": {"story": "x" * 100_001}}, ""),
    ],
)
def test_one_malformed_row_refuses_the_whole_import_and_is_named(url: str, row: Any, pointer: str) -> None:
    answer = call(url, "POST", "/api/profile-bulk-import-jobs", import_of({"email": "fine@example.com"}, row))
    assert answer.status_code == 400
    [error] = answer.json()["errors"]
    assert error["source"]["pointer"] == f"/data/attributes/profiles/data/1/attributes{pointer}"
    time.sleep(0.05)
    assert call(url, "GET", '/api/profiles?filter=equals(email,"fine@example.com")').json()["data"] == []


def test_too_many_rows_too_many_bytes_and_unknown_lists_are_refused(url: str) -> None:
    path = "/api/profile-bulk-import-jobs"
    rows = [{"email": f"p{n}@example.com"} for n in range(10_001)]
    assert call(url, "POST", path, import_of(*rows)).status_code == 400
    large = [{"email": f"p{n}@example.com", "properties": {"x": "x" * 90_000}} for n in range(60)]
    assert call(url, "POST", path, import_of(*large)).status_code == 413
    unknown = call(url, "POST", path, import_of({"email": "a@example.com"}, lists=("Y6nRLr",)))
    assert (unknown.status_code, unknown.json()["errors"][0]["source"]["pointer"]) == (400, "/data")
    many = {"data": [{"type": "profile", "id": "01"}] * 1_001}
    made = call(url, "POST", "/api/lists", list_of("VIPs")).json()["data"]["id"]
    assert call(url, "DELETE", f"/api/lists/{made}/relationships/profiles", many).status_code == 400


def test_keys_scopes_and_the_revision_are_asked_for(url: str) -> None:
    refused = {
        "no key": call(url, "GET", "/api/lists", Authorization=""),
        "bearer of nothing": call(url, "GET", "/api/lists", Authorization="Bearer "),
        "revoked": call(url, "GET", "/api/lists", Authorization="Klaviyo-API-Key pk_revoked"),
        "no scope": call(url, "GET", "/api/lists", Authorization="Klaviyo-API-Key pk_noscope"),
        "no revision": call(url, "GET", "/api/lists", revision=""),
        "no path": call(url, "GET", "/api/nonsense"),
    }
    found = {name: (answer.status_code, answer.json()["errors"][0]["code"]) for name, answer in refused.items()}
    assert found == {
        "no key": (401, "not_authenticated"),
        "bearer of nothing": (401, "authentication_failed"),
        "revoked": (401, "authentication_failed"),
        "no scope": (403, "permission_denied"),
        "no revision": (400, "invalid"),
        "no path": (404, "not_found"),
    }


@pytest.mark.parametrize(
    "text", ["email", 'any(email,"a")', 'any(email,["a"', 'equals(shoe_size,"44")', "any(email,[1])"]
)
def test_filters_that_klaviyo_would_not_take_are_refused(url: str, text: str) -> None:
    answer = requests.get(f"{url}/api/profiles", params={"filter": text}, headers=HEADERS, timeout=20)
    assert answer.status_code == 400


def test_the_paths_that_take_consent_away_or_erase_people_do_not_exist(url: str) -> None:
    for path in (
        "profile-subscription-bulk-create-jobs",
        "profile-subscription-bulk-delete-jobs",
        "data-privacy-deletion-jobs",
    ):
        assert call(url, "POST", f"/api/{path}", {}).status_code == 404
