"""The HubSpot simulator answers as HubSpot publishes and documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import requests

from audience_syncs.simulators import SimulatorServer

VERSIONS = {
    "2026-09": ("crm/objects/2026-09/contacts", "crm/lists/2026-09"),
    "v3": ("crm/v3/objects/contacts", "crm/v3/lists"),
}

# Names and required keys of HubSpot's published OpenAPI (contacts.json and lists.json, 2026-09).
REQUIRED = {
    "upserted": {"archived", "createdAt", "id", "new", "properties", "updatedAt"},
    "batch": {"completedAt", "results", "startedAt", "status"},
    "row error": {"category", "context", "errors", "links", "message", "status"},
    "error": {"category", "correlationId", "message"},
    "membership": {"recordIdsMissing", "recordIdsRemoved", "recordsIdsAdded"},
}


class Portal:
    """A HubSpot account at the simulator, spoken to with ``requests``."""

    def __init__(self, url: str, token: str = "good", version: str = "2026-09") -> None:
        self.url = url
        self.contacts, self.lists = VERSIONS[version]
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        return self.http.request(method, f"{self.url}/hubspot/{path}", timeout=20, **arguments)

    def upsert(self, inputs: list[Any]) -> requests.Response:
        return self.call("POST", f"{self.contacts}/batch/upsert", json={"inputs": inputs})

    def update(self, inputs: list[Any]) -> requests.Response:
        return self.call("POST", f"{self.contacts}/batch/update", json={"inputs": inputs})

    def ids(self, *emails: str) -> list[str]:
        answer = self.upsert([by_email(email) for email in emails])
        assert answer.status_code == 200, answer.text
        return [each["id"] for each in answer.json()["results"]]

    def create_list(self, name: str, kind: str = "MANUAL") -> requests.Response:
        return self.call("POST", self.lists, json={"name": name, "objectTypeId": "0-1", "processingType": kind})

    def new_list(self, name: str = "Buyers", kind: str = "MANUAL") -> str:
        return str(self.create_list(name, kind).json()["list"]["listId"])

    def change(self, list_id: str, verb: str, body: Any) -> requests.Response:
        return self.call("PUT", f"{self.lists}/{list_id}/memberships/{verb}", json=body)

    def held(self, list_id: str) -> set[str]:
        answer = requests.get(f"{self.url}/_simulator/hubspot/lists/{list_id}/members?field=id", timeout=20)
        return set(answer.json())


def by_email(email: str, trace: str | None = None, **properties: Any) -> dict[str, Any]:
    traced = {} if trace is None else {"objectWriteTraceId": trace}
    return {"id": email, "idProperty": "email", "properties": {"email": email, **properties}, **traced}


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture(params=sorted(VERSIONS))
def hubspot(server: SimulatorServer, request: pytest.FixtureRequest) -> Portal:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return Portal(server.url, version=request.param)


def test_an_upsert_creates_then_updates_and_keeps_email_in_lowercase(hubspot: Portal) -> None:
    first = hubspot.upsert([by_email("Zoë.Müller@Example.com", firstname="Zoë")])
    second = hubspot.upsert([by_email("zoë.müller@example.COM", lastname="Müller")])
    one, two = first.json()["results"][0], second.json()["results"][0]
    assert first.status_code == second.status_code == 200
    assert (one["new"], two["new"], one["id"]) == (True, False, two["id"])
    assert two["properties"]["email"] == "zoë.müller@example.com"
    assert one.keys() >= REQUIRED["upserted"]
    assert first.json().keys() >= REQUIRED["batch"]
    read = hubspot.call("GET", f"{hubspot.contacts}/{one['id']}", params={"properties": "firstname,lastname"}).json()
    assert (read["properties"]["firstname"], read["properties"]["lastname"]) == ("Zoë", "Müller")


def test_a_batch_that_names_a_contact_twice_fails_as_a_whole(hubspot: Portal) -> None:
    answer = hubspot.upsert(
        [by_email("a@example.com", "1"), by_email("b@example.com", "2"), by_email("A@example.com", "3")]
    )
    assert answer.status_code == 400
    assert answer.json()["category"] == "VALIDATION_ERROR"
    assert "Duplicate IDs found in batch input" in answer.json()["message"]
    assert answer.json()["context"]["ids"] == ["a@example.com"]
    assert hubspot.call("GET", f"{hubspot.contacts}/b@example.com", params={"idProperty": "email"}).status_code == 404


BAD_ROWS = {
    "not an address": by_email("nobody"),
    "two at signs": by_email("a@b@example.com"),
    "a space inside": by_email("a b@example.com"),
    "no such property": by_email("ok@example.com", missing_property="1"),
    "an object for a value": by_email("ok@example.com", firstname={"a": 1}),
    "an unknown record id": {"id": "999999", "properties": {"firstname": "A"}},
}


@pytest.mark.parametrize("name", [name for name in BAD_ROWS if name != "an unknown record id"])
def test_with_trace_ids_good_rows_are_written_and_bad_ones_named(hubspot: Portal, name: str) -> None:
    answer = hubspot.upsert([by_email("first@example.com", "row-0"), {**BAD_ROWS[name], "objectWriteTraceId": "row-1"}])
    assert answer.status_code == 207
    body = answer.json()
    assert [each["objectWriteTraceId"] for each in body["results"]] == ["row-0"]
    assert body["numErrors"] == 1
    (error,) = body["errors"]
    assert error["context"]["objectWriteTraceId"] == ["row-1"]
    assert error.keys() >= REQUIRED["row error"]


@pytest.mark.parametrize("name", BAD_ROWS)
def test_without_trace_ids_one_bad_row_fails_the_batch(hubspot: Portal, name: str) -> None:
    inputs = [BAD_ROWS[name]] if name == "an unknown record id" else [by_email("first@example.com"), BAD_ROWS[name]]
    answer = hubspot.upsert(inputs)
    assert answer.status_code in {400, 404}
    assert answer.json().keys() >= REQUIRED["error"]
    assert (
        hubspot.call("GET", f"{hubspot.contacts}/first@example.com", params={"idProperty": "email"}).status_code == 404
    )


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": []},
        {"inputs": [by_email(f"p{number}@example.com") for number in range(101)]},
        {"inputs": [{"properties": {}}]},
        {"inputs": [{"id": 7, "properties": {}}]},
        {"inputs": "text"},
        [],
        None,
    ],
)
def test_a_bad_batch_is_refused(hubspot: Portal, body: Any) -> None:
    answer = hubspot.call("POST", f"{hubspot.contacts}/batch/upsert", json=body)
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_a_body_that_is_not_json_is_refused(hubspot: Portal) -> None:
    answer = hubspot.call("POST", f"{hubspot.contacts}/batch/upsert", data=b'{"inputs": [')
    assert (answer.status_code, answer.json()["category"]) == (400, "VALIDATION_ERROR")


def test_a_custom_unique_property_identifies_a_contact(hubspot: Portal) -> None:
    def row(key: str, **properties: str) -> dict[str, Any]:
        return {"id": key, "idProperty": "shop_id", "properties": properties, "objectWriteTraceId": key}

    one = hubspot.upsert([row("s1", email="a@example.com")]).json()["results"][0]
    two = hubspot.upsert([row("s1", email="new@example.com")]).json()["results"][0]
    assert (one["id"], two["new"]) == (two["id"], False)
    assert hubspot.call("GET", f"{hubspot.contacts}/a@example.com", params={"idProperty": "email"}).status_code == 404
    taken = hubspot.upsert([row("s2", email="NEW@example.com"), row("s3", email="c@example.com")])
    assert taken.status_code == 207
    assert taken.json()["errors"][0]["category"] == "CONFLICT"
    assert taken.json()["errors"][0]["message"] == f"Contact already exists. Existing ID: {one['id']}"


def test_batch_read_finds_by_email_and_names_the_missing(hubspot: Portal) -> None:
    (contact,) = hubspot.ids("a@example.com")
    inputs = [{"id": "A@example.com"}, {"id": "nobody@example.com"}]
    body = {"idProperty": "email", "properties": ["email"], "propertiesWithHistory": [], "inputs": inputs}
    answer = hubspot.call("POST", f"{hubspot.contacts}/batch/read", json=body)
    assert answer.status_code == 207
    assert [each["id"] for each in answer.json()["results"]] == [contact]
    assert answer.json()["errors"][0]["context"]["ids"] == ["nobody@example.com"]


def test_a_list_name_is_taken_once(hubspot: Portal) -> None:
    list_id = hubspot.new_list("Käufer/VIP 🎉")
    again = hubspot.create_list("Käufer/VIP 🎉")
    assert (again.status_code, again.json()["subCategory"]) == (400, "ILS.DUPLICATE_LIST_NAMES")
    name = quote("Käufer/VIP 🎉", safe="")
    found = hubspot.call("GET", f"{hubspot.lists}/object-type-id/0-1/name/{name}")
    assert found.json()["list"]["listId"] == list_id
    assert hubspot.call("GET", f"{hubspot.lists}/object-type-id/0-1/name/other").status_code == 404
    assert hubspot.call("GET", f"{hubspot.lists}/{list_id}").json()["list"]["name"] == "Käufer/VIP 🎉"
    assert hubspot.call("POST", f"{hubspot.lists}/search", json={"query": "VIP"}).json()["total"] == 1


def test_memberships_are_added_removed_and_missing_ids_named(hubspot: Portal) -> None:
    a, b, c = hubspot.ids("a@example.com", "b@example.com", "c@example.com")
    list_id = hubspot.new_list()
    added = hubspot.change(list_id, "add", [a, b, b, "999999", "text"]).json()
    assert added == {"recordsIdsAdded": [a, b], "recordIdsRemoved": [], "recordIdsMissing": ["999999", "text"]}
    assert added.keys() == REQUIRED["membership"]
    assert hubspot.change(list_id, "add", [a]).json()["recordsIdsAdded"] == []
    both = hubspot.change(list_id, "add-and-remove", {"recordIdsToAdd": [c], "recordIdsToRemove": [a]}).json()
    assert (both["recordsIdsAdded"], both["recordIdsRemoved"]) == ([c], [a])
    assert hubspot.change(list_id, "remove", [a, b]).json()["recordIdsRemoved"] == [b]
    assert hubspot.held(list_id) == {c}
    assert hubspot.call("DELETE", f"{hubspot.lists}/{list_id}/memberships").status_code == 204
    assert hubspot.held(list_id) == set()


@pytest.mark.parametrize("body", [{"ids": []}, ["1", None], "1", [["1"]], ["1"] * 100_001])
def test_bad_membership_bodies_are_refused(hubspot: Portal, body: Any) -> None:
    assert hubspot.change(hubspot.new_list(), "add", body).status_code == 400


def test_only_manual_and_snapshot_lists_take_members(hubspot: Portal) -> None:
    (contact,) = hubspot.ids("a@example.com")
    for kind, status in (("MANUAL", 200), ("SNAPSHOT", 200), ("DYNAMIC", 400)):
        assert hubspot.change(hubspot.new_list(kind, kind), "add", [contact]).status_code == status
    assert hubspot.change("424242", "add", [contact]).json()["subCategory"] == "ILS.LIST_NOT_FOUND"


def test_memberships_are_paged(hubspot: Portal) -> None:
    contacts = hubspot.ids(*(f"p{number}@example.com" for number in range(25)))
    list_id = hubspot.new_list()
    hubspot.change(list_id, "add", contacts)
    found: list[str] = []
    after: str | None = None
    while True:
        asked = {"limit": "10", **({"after": after} if after else {})}
        page = hubspot.call("GET", f"{hubspot.lists}/{list_id}/memberships", params=asked).json()
        found += [each["recordId"] for each in page["results"]]
        after = page.get("paging", {}).get("next", {}).get("after")
        if after is None:
            break
    assert found == sorted(contacts, key=int)
    assert page["total"] == 25


def test_the_size_of_a_list_lags(hubspot: Portal) -> None:
    list_id = hubspot.new_list()
    hubspot.change(list_id, "add", hubspot.ids("a@example.com"))
    assert hubspot.call("GET", f"{hubspot.lists}/{list_id}").json()["list"]["size"] == 0
    requests.post(f"{hubspot.url}/_simulator/clock", json={"advance_s": 1}, timeout=20).raise_for_status()
    assert hubspot.call("GET", f"{hubspot.lists}/{list_id}").json()["list"]["size"] == 1


def test_archived_and_erased_contacts_leave_their_lists(hubspot: Portal) -> None:
    a, b, c = hubspot.ids("a@example.com", "b@example.com", "c@example.com")
    list_id = hubspot.new_list()
    hubspot.change(list_id, "add", [a, b, c])
    assert hubspot.call("POST", f"{hubspot.contacts}/batch/archive", json={"inputs": [{"id": a}]}).status_code == 204
    erased = hubspot.call(
        "POST", f"{hubspot.contacts}/gdpr-delete", json={"idProperty": "email", "objectId": "B@example.com"}
    )
    assert erased.status_code == 204
    assert hubspot.held(list_id) == {c}
    assert hubspot.upsert([by_email("a@example.com")]).status_code == 200
    assert hubspot.upsert([by_email("b@example.com")]).status_code == 400


def test_an_update_changes_and_empties_properties_and_makes_nobody(hubspot: Portal) -> None:
    a, b = hubspot.ids("a@example.com", "b@example.com")
    inputs: list[Any] = [
        {"id": a, "properties": {"firstname": "Åsa", "city": "Oslo"}, "objectWriteTraceId": "0"},
        {"id": "999999", "properties": {"firstname": "Nobody"}, "objectWriteTraceId": "1"},
        {"id": b, "properties": {"createdate": "2020-01-01"}, "objectWriteTraceId": "2"},
    ]
    answer = hubspot.update(inputs)
    assert answer.status_code == 207
    body = answer.json()
    assert [(each["id"], each["objectWriteTraceId"], "new" in each) for each in body["results"]] == [(a, "0", False)]
    assert [(each["category"], each["context"]["objectWriteTraceId"]) for each in body["errors"]] == [
        ("OBJECT_NOT_FOUND", ["1"]),
        ("VALIDATION_ERROR", ["2"]),
    ]
    assert "READ_ONLY_VALUE" in body["errors"][1]["message"]
    assert hubspot.update([{"id": a, "properties": {"city": ""}}]).status_code == 200
    read = hubspot.call("GET", f"{hubspot.contacts}/{a}", params={"properties": "firstname,city"}).json()
    assert (read["properties"].get("firstname"), read["properties"].get("city")) == ("Åsa", None)


def test_an_update_without_trace_ids_fails_as_a_whole_and_takes_no_email_for_an_id(hubspot: Portal) -> None:
    (a,) = hubspot.ids("a@example.com")
    gone = hubspot.update([{"id": a, "properties": {"city": "x"}}, {"id": "999999", "properties": {}}])
    assert (gone.status_code, gone.json()["category"]) == (404, "OBJECT_NOT_FOUND")
    named = hubspot.update([{"id": "a@example.com", "idProperty": "email", "properties": {"city": "x"}}])
    assert (named.status_code, named.json()["category"]) == (400, "VALIDATION_ERROR")
    read = hubspot.call("GET", f"{hubspot.contacts}/{a}", params={"properties": "city"}).json()
    assert "city" not in read["properties"]


def test_a_contact_is_found_by_each_of_its_addresses_and_keeps_the_first(hubspot: Portal) -> None:
    (a,) = hubspot.ids("first@example.com")
    assert hubspot.update([{"id": a, "properties": {"hs_additional_emails": "Second@example.com"}}]).status_code == 200
    answer = hubspot.upsert([{"id": "second@example.com", "idProperty": "email", "properties": {"firstname": "A"}}])
    assert (answer.json()["results"][0]["id"], answer.json()["results"][0]["new"]) == (a, False)
    read = hubspot.call("GET", f"{hubspot.contacts}/second@example.com", params={"idProperty": "email"}).json()
    assert (read["id"], read["properties"]["email"]) == (a, "first@example.com")


def test_an_archived_contact_is_gone_and_its_address_makes_a_new_one(hubspot: Portal) -> None:
    (a,) = hubspot.ids("a@example.com")
    list_id = hubspot.new_list()
    hubspot.change(list_id, "add", [a])
    body = {"inputs": [{"id": a}, {"id": "999999"}]}
    for _ in range(2):  # whatever their state
        answer = hubspot.call("POST", f"{hubspot.contacts}/batch/archive", json=body)
        assert (answer.status_code, answer.content) == (204, b"")
    assert hubspot.held(list_id) == set()
    assert hubspot.update([{"id": a, "properties": {"city": "x"}}]).status_code == 404
    assert hubspot.change(list_id, "add", [a]).json()["recordIdsMissing"] == [a]
    again = hubspot.upsert([by_email("a@example.com")]).json()["results"][0]
    assert again["new"]
    assert again["id"] != a
    too_many = {"inputs": [{"id": str(number)} for number in range(101)]}
    assert hubspot.call("POST", f"{hubspot.contacts}/batch/archive", json=too_many).status_code == 400


def test_memberships_in_join_order_are_paged_by_a_cursor(hubspot: Portal) -> None:
    contacts = hubspot.ids(*(f"p{number}@example.com" for number in range(9)))
    list_id = hubspot.new_list()
    joined = [contacts[place] for place in (5, 2, 8, 0, 1)]
    for contact in joined:
        hubspot.change(list_id, "add", [contact])
    path = f"{hubspot.lists}/{list_id}/memberships/join-order"
    found, asked = [], {"limit": "2"}
    while True:
        page = hubspot.call("GET", path, params=asked).json()
        found += [each["recordId"] for each in page["results"]]
        if "paging" not in page:
            break
        asked["after"] = page["paging"]["next"]["after"]
        # Who leaves and who joins between two pages.
        hubspot.change(list_id, "remove", joined[:1])
        hubspot.change(list_id, "add", contacts[7:8])
    assert found == [*joined, contacts[7]]
    for wrong in ({"limit": "0"}, {"limit": "251"}, {"limit": "x"}, {"after": "not a cursor"}):
        assert hubspot.call("GET", path, params=wrong).status_code == 400
    assert hubspot.call("GET", f"{hubspot.lists}/424242/memberships/join-order").status_code == 404


@pytest.mark.parametrize(
    "token, status, category",
    [
        ("revoked", 401, "INVALID_AUTHENTICATION"),
        ("", 401, "INVALID_AUTHENTICATION"),
        ("noscope", 403, "MISSING_SCOPES"),
    ],
)
def test_tokens_without_access_are_refused(hubspot: Portal, token: str, status: int, category: str) -> None:
    answer = Portal(hubspot.url, token).create_list("x")
    assert (answer.status_code, answer.json()["category"]) == (status, category)
    assert answer.json().keys() >= REQUIRED["error"]


def test_the_rate_limit_is_told_always_and_enforced_when_asked(hubspot: Portal) -> None:
    headers = hubspot.create_list("x").headers
    assert headers["X-HubSpot-RateLimit-Max"] == "190"
    assert headers["X-HubSpot-RateLimit-Interval-Milliseconds"] == "10000"
    limit = f"{hubspot.url}/_simulator/hubspot/limit"
    requests.post(limit, json={"max": 3, "interval_s": 60}, timeout=20).raise_for_status()
    statuses = [hubspot.call("GET", f"{hubspot.lists}/1").status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = hubspot.call("GET", f"{hubspot.lists}/1")
    assert (refused.json()["errorType"], refused.json()["policyName"]) == ("RATE_LIMIT", "TEN_SECONDLY_ROLLING")
    requests.post(limit, json={}, timeout=20).raise_for_status()
    assert hubspot.call("GET", f"{hubspot.lists}/1").status_code == 200


def test_unknown_paths_are_not_found(hubspot: Portal) -> None:
    assert hubspot.call("GET", "crm/v1/nothing").status_code == 404
