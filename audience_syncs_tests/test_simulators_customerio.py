"""The Customer.io simulator answers what Customer.io's own client understands, and refuses what Customer.io refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from customerio import CustomerIO, CustomerIOException

from audience_syncs.simulators import SimulatorServer


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return f"{server.url}/customerio"


class Plain(CustomerIO):  # type: ignore[misc]
    """Customer.io's own client, which only knows https, and puts its batches beside its other paths."""

    def __init__(self, url: str, key: str = "good") -> None:
        self._url = url
        super().__init__("site", key, host=urlsplit(url).netloc, retries=0)
        self.base_url = f"{url}/api/v1"

    def send_request(self, method: str, url: str, data: Any) -> Any:
        path = url.partition("/api/")[2]
        return super().send_request(method, f"{self._url}/api/{path}", data)


def app(url: str, method: str, path: str, body: Any = None, key: str = "good", **params: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {key}"}
    return requests.request(method, f"{url}/v1{path}", json=body, headers=headers, params=params, timeout=20)


def track(url: str, path: str, body: Any, **more: Any) -> requests.Response:
    return requests.post(f"{url}/api{path}", json=body, timeout=20, **({"auth": ("site", "good")} | more))


def identify(own: str, **attributes: Any) -> dict[str, Any]:
    return {"type": "person", "identifiers": {"id": own}, "action": "identify", "attributes": attributes}


def segment(url: str, name: str = "VIPs") -> int:
    made: int = app(url, "POST", "/segments", {"segment": {"name": name}}).json()["segment"]["id"]
    return made


def people(url: str, *ids: str, kind: str = "id") -> list[dict[str, Any]]:
    time.sleep(0.03)
    found = app(url, "POST", "/customers/attributes", {"ids": list(ids)}, id_type=kind).json()["customers"]
    return [each["customer"] for each in found]


def members(url: str, number: int) -> list[str]:
    time.sleep(0.03)
    found: list[str] = app(url, "GET", f"/segments/{number}/membership").json()["ids"]
    return found


def test_customerios_own_client_writes_people_here(url: str) -> None:
    client = Plain(url)
    client.identify("1", email="A@Example.com", first_name="Zoë")
    client.batch([identify("2", tier="gold"), identify("3"), {**identify("4"), "action": "delete"}])
    found = people(url, "1", "2", "3", "4")
    assert [each["id"] for each in found] == ["1", "2", "3"]
    assert (found[0]["identifiers"]["email"], found[1]["attributes"]["tier"]) == ("a@example.com", "gold")
    client.delete("2")
    client.suppress("3")
    client.identify("3")
    assert [each["id"] for each in people(url, "1", "2", "3")] == ["1"]
    with pytest.raises(CustomerIOException):
        Plain(url, "revoked").identify("1")


def test_a_segment_is_made_filled_counted_read_and_emptied(url: str) -> None:
    number = segment(url)
    assert [each["id"] for each in app(url, "GET", "/segments").json()["segments"]] == [number]
    track(url, "/v2/batch", {"batch": [identify(f"u{n}") for n in range(5)]})
    ids = [f"u{n}" for n in range(7)]
    assert track(url, f"/v1/segments/{number}/add_customers", {"ids": ids}).json() == {}
    assert members(url, number) == ids[:5], "who is no person is ignored"
    page = app(url, "GET", f"/segments/{number}/membership", limit=2).json()
    rest = app(url, "GET", f"/segments/{number}/membership", limit=4, start=page["next"]).json()
    assert ([*page["ids"], *rest["ids"]], rest["next"]) == (ids[:5], "")
    cio = page["identifiers"][0]["cio_id"]
    track(url, f"/v1/segments/{number}/remove_customers?id_type=cio_id", {"ids": [cio, "u1"]})
    track(url, f"/v1/segments/{number}/remove_customers", {"ids": ["u2"]})
    assert members(url, number) == ["u1", "u3", "u4"]
    time.sleep(0.6)
    assert app(url, "GET", f"/segments/{number}/customer_count").json() == {"segment_id": number, "count": 3}
    assert app(url, "DELETE", f"/segments/{number}").status_code == 204
    assert app(url, "GET", f"/segments/{number}").status_code == 404


def test_what_is_taken_is_carried_out_later_and_in_its_order(url: str) -> None:
    number = segment(url)
    slow = {"auth": ("site", "slow")}
    track(url, "/v2/batch", {"batch": [identify("u1")]}, **slow)
    track(url, f"/v1/segments/{number}/add_customers", {"ids": ["u1"]})
    track(url, f"/v1/segments/{number}/remove_customers", {"ids": ["u1"]})
    assert (people(url, "u1"), members(url, number)) == ([], [])
    advance = {"advance_s": 61}
    requests.post(f"{url.removesuffix('/customerio')}/_simulator/clock", json=advance, timeout=20).raise_for_status()
    assert (len(people(url, "u1")), members(url, number)) == (1, [])


@pytest.mark.parametrize(
    "operation, field",
    [
        ({**identify("1"), "type": "planet"}, "type"),
        ({**identify("1"), "action": "promote"}, "action"),
        ({**identify("1"), "identifiers": {"id": "1", "email": "a@example.com"}}, "identifiers"),
        (identify(""), "identifiers.id"),
        (identify("x" * 151), "identifiers.id"),
        (identify("1", email="nonsense"), "attributes.email"),
        (identify("1", story="x" * 33_000), "attributes"),
        ({**identify("1"), "identifiers": {"id": 1}}, "identifiers.id"),
    ],
)
def test_an_operation_that_is_refused_is_named_and_the_others_are_taken(url: str, operation: Any, field: str) -> None:
    answer = track(url, "/v2/batch", {"batch": [identify("fine"), operation]})
    assert answer.status_code == 207
    [error] = answer.json()["errors"]
    assert (error["batch_index"], error["field"]) == (1, field)
    assert [each["id"] for each in people(url, "fine")] == ["fine"]


def test_update_only_makes_nobody_and_empty_values_remove_attributes(url: str) -> None:
    track(url, "/v2/batch", {"batch": [identify("1", tier="gold", size="M"), identify("2", _update=True)]})
    track(url, "/v2/batch", {"batch": [identify("1", tier="", _update=True)]})
    [found] = people(url, "1", "2")
    assert {name for name in found["attributes"] if name != "cio_id"} == {"id", "size"}


def test_too_much_and_wrong_shapes_are_refused_whole(url: str) -> None:
    number = segment(url)
    dynamic = segment(url, "[dynamic] Lapsed")
    large = {"batch": [identify(f"u{n}", story="x" * 30_000) for n in range(20)]}
    refused = [
        track(url, "/v2/batch", large),
        track(url, "/v2/batch", {"batch": []}),
        track(url, f"/v1/segments/{number}/add_customers", {"ids": []}),
        track(url, f"/v1/segments/{number}/add_customers", {"ids": ["1"] * 1_001}),
        track(url, f"/v1/segments/{number}/add_customers", {"ids": [1]}),
        track(url, f"/v1/segments/{number}/add_customers?id_type=shoe", {"ids": ["1"]}),
        track(url, f"/v1/segments/{dynamic}/add_customers", {"ids": ["1"]}),
        app(url, "POST", "/customers/attributes", {"ids": ["1"] * 101}),
        app(url, "POST", "/segments", {"name": "VIPs"}),
        app(url, "GET", f"/segments/{number}/membership", limit=30_001),
    ]
    assert [answer.status_code for answer in refused] == [400] * 10
    assert track(url, "/v1/segments/999/add_customers", {"ids": ["1"]}).status_code == 404


def test_each_api_asks_for_its_own_key(url: str) -> None:
    refused = {
        "no key": track(url, "/v2/batch", {}, auth=None),
        "an app key for track": track(url, "/v2/batch", {}, auth=None, headers={"Authorization": "Bearer good"}),
        "revoked": track(url, "/v2/batch", {}, auth=("site", "revoked")),
        "revoked app": app(url, "GET", "/segments", key="revoked"),
        "no scope": app(url, "GET", "/segments", key="noscope"),
        "a track key for app": requests.get(f"{url}/v1/segments", auth=("site", "good"), timeout=20),
        "no path": app(url, "GET", "/nonsense"),
    }
    assert {name: answer.status_code for name, answer in refused.items()} == {
        "no key": 401,
        "an app key for track": 401,
        "revoked": 401,
        "revoked app": 401,
        "no scope": 403,
        "a track key for app": 401,
        "no path": 404,
    }
