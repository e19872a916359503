"""The Mailchimp simulator answers what Mailchimp's own client understands, and refuses what Mailchimp refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from mailchimp_marketing import Client
from mailchimp_marketing.api_client import ApiClientError

from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.mailchimp_bench import key_of


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return f"{server.url}/mailchimp"


@pytest.fixture
def client(url: str) -> Any:
    """Mailchimp's own client, whose address is made of the data centre: here it is another one."""
    made = Client({"api_key": "good-us21", "server": "us21"})
    made.api_client.host = url
    for name in ("lists",):
        getattr(made, name).api_client.host = url
    return made


def call(url: str, method: str, path: str, body: Any = None, **more: Any) -> requests.Response:
    return requests.request(method, f"{url}/lists/a1{path}", json=body, timeout=20, **({"auth": ("x", "good")} | more))


def member(email: str, status: str = "subscribed", **fields: str) -> dict[str, Any]:
    return {"email_address": email, "status": status, "merge_fields": fields}


def subscribed(url: str, *members: Any, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = call(url, "POST", "", {"members": members, **more}).json()
    return found


def test_mailchimps_own_client_keeps_a_tag_here(client: Any) -> None:
    lists = client.lists
    made = lists.create_segment("a1", {"name": "VIPs", "static_segment": []})
    assert [each["id"] for each in lists.list_segments("a1", type="static", count=1000)["segments"]] == [made["id"]]
    people = [member(f"P{n}@Example.com", "transactional", FNAME="Zoë") for n in range(150)]
    batch = lists.batch_list_members("a1", {"members": people, "update_existing": False}, skip_merge_validation=True)
    assert (batch["total_created"], batch["errors"]) == (150, [])
    emails = [f"p{n}@example.com" for n in range(150)]
    changed = lists.batch_segment_members({"members_to_add": [*emails, "no@example.com"]}, "a1", made["id"])
    assert (changed["total_added"], changed["errors"][0]["email_addresses"]) == (150, ["no@example.com"])
    page = lists.get_segment_members_list("a1", made["id"], count=100, offset=100, include_transactional=True)
    assert (len(page["members"]), page["total_items"]) == (50, 150)
    assert lists.get_segment_members_list("a1", made["id"])["total_items"] == 0
    key = key_of("p1@example.com")
    assert lists.get_list_member("a1", key)["tags"] == [{"id": made["id"], "name": "VIPs"}]
    lists.update_list_member_tags("a1", key, {"tags": [{"name": "VIPs", "status": "inactive"}]})
    assert lists.get_list_member_tags("a1", key)["tags"] == []
    assert lists.update_list_member("a1", key, {"merge_fields": {"FNAME": "Chloë"}})["merge_fields"]["FNAME"] == "Chloë"
    again = {"email_address": "p1@example.com", "status_if_new": "subscribed"}
    assert lists.set_list_member("a1", key, again)["status"] == "transactional"
    lists.batch_segment_members({"members_to_remove": emails[:50]}, "a1", made["id"])
    time.sleep(0.6)
    counted = lists.get_segment("a1", made["id"], include_transactional=True, include_cleaned=True)
    assert counted["member_count"] == 100
    lists.delete_list_member("a1", key)
    assert lists.get_list_member("a1", key)["status"] == "archived"
    lists.delete_segment("a1", made["id"])
    with pytest.raises(ApiClientError) as gone:
        lists.get_segment("a1", made["id"])
    assert gone.value.status_code == 404


def test_a_batch_tells_who_is_there_already_and_leaves_them_alone(url: str) -> None:
    subscribed(url, member("a@example.com", FNAME="Ann"))
    told = subscribed(url, member("A@example.com", "unsubscribed", FNAME="Bob"), member("b@example.com"))
    assert [each["error_code"] for each in told["errors"]] == ["ERROR_CONTACT_EXISTS"]
    held = call(url, "GET", f"/members/{key_of('a@example.com')}").json()
    assert (held["status"], held["merge_fields"]["FNAME"]) == ("subscribed", "Ann")


def test_an_update_by_batch_changes_the_status_as_mailchimps_does(url: str) -> None:
    subscribed(url, member("a@example.com"))
    subscribed(url, member("a@example.com", "unsubscribed"), update_existing=True)
    told = subscribed(url, member("a@example.com", "subscribed"), update_existing=True)
    assert "compliance state" in told["errors"][0]["error"]
    assert call(url, "GET", f"/members/{key_of('a@example.com')}").json()["status"] == "unsubscribed"


@pytest.mark.parametrize(
    "row, words",
    [
        (member("not-an-email"), "looks fake or invalid"),
        (member("x@y.invalid"), "looks fake or invalid"),
        (member("a@example.com", "friendly"), "not a valid choice"),
        ({"email_address": "a@example.com"}, "status"),
        (member("a@example.com", BIRTHDAY="31.12."), "merge fields were invalid"),
        (member("a@example.com", FNAME="x" * 256), "merge fields were invalid"),
    ],
)
def test_what_mailchimp_refuses_of_one_person_is_told_and_the_others_get_in(url: str, row: Any, words: str) -> None:
    told = subscribed(url, row, member("fine@example.com"))
    assert (told["total_created"], told["error_count"]) == (1, 1)
    assert words in told["errors"][0]["error"]


def test_required_fields_are_asked_for_unless_that_is_skipped(url: str) -> None:
    call(url, "POST", "/merge-fields", {"tag": "TIER", "name": "Tier", "type": "text", "required": True})
    told = subscribed(url, member("a@example.com"))
    assert told["errors"][0]["field"] == "TIER"
    skipped = call(url, "POST", "?skip_merge_validation=true", {"members": [member("a@example.com")]}).json()
    assert skipped["total_created"] == 1


def test_duplicates_in_a_batch_are_errors_unless_they_are_skipped(url: str) -> None:
    twice = [member("a@example.com", FNAME="First"), member("A@Example.com", FNAME="Second")]
    assert subscribed(url, *twice)["error_count"] == 1
    skipped = call(url, "POST", "?skip_duplicate_check=true", {"members": twice[::-1]}).json()
    assert [each["error_code"] for each in skipped["errors"]] == ["ERROR_CONTACT_EXISTS"]


def test_too_many_people_and_wrong_shapes_are_refused(url: str) -> None:
    assert call(url, "POST", "", {"members": [member(f"p{n}@example.com") for n in range(501)]}).status_code == 400
    made = call(url, "POST", "/segments", {"name": "VIPs", "static_segment": []}).json()["id"]
    refused = [
        call(url, "POST", f"/segments/{made}", {"members_to_add": [f"p{n}@example.com" for n in range(501)]}),
        call(url, "POST", f"/segments/{made}", {"members_to_add": [1]}),
        call(url, "POST", "/segments", {"name": "vips", "static_segment": []}),
        call(url, "POST", "/segments", {"name": "Other"}),
        call(url, "POST", "", {"members": [{"email_address": None}]}),
        call(url, "POST", "", {}),
        call(url, "GET", "/segments?count=1001"),
    ]
    assert [answer.status_code for answer in refused] == [400] * 7
    assert all(answer.headers["Content-Type"].startswith("application/problem+json") for answer in refused)


def test_a_segment_of_conditions_takes_nobody(url: str) -> None:
    made = call(url, "POST", "/segments", {"name": "Lapsed", "options": {"match": "any"}}).json()
    assert made["type"] == "saved"
    answer = call(url, "POST", f"/segments/{made['id']}", {"members_to_add": ["a@example.com"]})
    assert (answer.status_code, "Static Segment" in answer.json()["detail"]) == (404, True)


def test_who_is_archived_twice_or_deleted_for_good_is_told_as_mailchimp_tells(url: str) -> None:
    subscribed(url, member("a@example.com"), member("b@example.com"))
    path = f"/members/{key_of('a@example.com')}"
    assert [call(url, "DELETE", path).status_code for _ in range(2)] == [204, 405]
    assert subscribed(url, member("a@example.com", "transactional"))["total_created"] == 1
    assert call(url, "POST", f"{path}/actions/delete-permanent").status_code == 204
    assert "permanently deleted" in subscribed(url, member("a@example.com"))["errors"][0]["error"]
    again = call(url, "PUT", path, {"email_address": "a@example.com", "status": "subscribed"})
    assert (again.status_code, again.json()["title"]) == (400, "Forgotten Email Not Subscribed")


def test_keys_are_asked_for(url: str) -> None:
    refused = {
        "no key": call(url, "GET", "/segments", auth=None),
        "a bearer": call(url, "GET", "/segments", auth=None, headers={"Authorization": "Bearer token"}),
        "revoked": call(url, "GET", "/segments", auth=("x", "revoked-us21")),
        "no rights": call(url, "GET", "/segments", auth=("x", "noscope-us21")),
        "no path": call(url, "GET", "/nonsense"),
    }
    found = {name: (answer.status_code, answer.json().get("title")) for name, answer in refused.items()}
    assert found == {
        "no key": (401, "API Key Missing"),
        "a bearer": (200, None),
        "revoked": (401, "API Key Invalid"),
        "no rights": (403, "Forbidden"),
        "no path": (404, "Resource Not Found"),
    }
