"""Every fault is what a client really sees on the wire, and says truthfully whether the request was applied."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from audience_syncs.simulators import SimulatorServer

HEADERS = {"Authorization": "Bearer good"}


def sha(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


class Lab:
    """One Meta audience and one HubSpot list, and the means to make requests to them fail."""

    def __init__(self, url: str) -> None:
        self.url = url
        new = {"name": "x", "subtype": "CUSTOM", "customer_file_source": "USER_PROVIDED_ONLY"}
        self.audience = self.post("meta/v26.0/act_1/customaudiences", new).json()["id"]
        new = {"name": "x", "objectTypeId": "0-1", "processingType": "MANUAL"}
        self.list_id = self.post("hubspot/crm/lists/2026-09", new).json()["list"]["listId"]

    def post(self, path: str, body: Any, wait: float = 20) -> requests.Response:
        return requests.post(f"{self.url}/{path}", json=body, headers=HEADERS, timeout=wait)

    def fault(self, kind: str, **more: Any) -> requests.Response:
        return self.post("_simulator/faults", {"kind": kind, **more})

    def add_to_meta(self, *people: str, wait: float = 20) -> requests.Response:
        body = {"payload": {"schema": "EMAIL", "data": [sha(each) for each in people]}}
        return self.post(f"meta/v26.0/{self.audience}/users", body, wait)

    def add_to_hubspot(self, *emails: str, wait: float = 20) -> requests.Response:
        inputs = [{"id": each, "idProperty": "email", "properties": {}, "objectWriteTraceId": each} for each in emails]
        return self.post("hubspot/crm/objects/2026-09/contacts/batch/upsert", {"inputs": inputs}, wait)

    def in_meta(self) -> set[str]:
        found = requests.get(f"{self.url}/_simulator/meta/lists/{self.audience}/members?field=EMAIL", timeout=20)
        return set(found.json())

    def in_hubspot(self, email: str) -> bool:
        path = f"{self.url}/hubspot/crm/objects/2026-09/contacts/{email}?idProperty=email"
        return requests.get(path, headers=HEADERS, timeout=20).status_code == 200

    def requests(self, platform: str) -> list[dict[str, Any]]:
        return list(requests.get(f"{self.url}/_simulator/{platform}/requests", timeout=20).json())


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def lab(server: SimulatorServer) -> Lab:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return Lab(server.url)


ANSWERED = [  # kind, status at Meta, status at HubSpot, is the request applied
    ("rate_limit", 400, 429, False),
    ("server_error", 500, 500, False),
    ("server_error_after", 500, 500, True),
    ("reject_batch", 400, 400, False),
    ("forbidden", 403, 403, False),
    ("slow", 200, 200, True),
]


@pytest.mark.parametrize("kind, at_meta, at_hubspot, applied", ANSWERED)
def test_answered_faults(lab: Lab, kind: str, at_meta: int, at_hubspot: int, applied: bool) -> None:
    started = time.monotonic()
    lab.fault(kind, operation="users.add", delay_s=0.3).raise_for_status()
    lab.fault(kind, operation="contacts.upsert", delay_s=0.3).raise_for_status()
    assert lab.add_to_meta("e1").status_code == at_meta
    assert lab.add_to_hubspot("a@example.com").status_code == at_hubspot
    assert (lab.in_meta() == {sha("e1")}) is applied
    assert lab.in_hubspot("a@example.com") is applied
    assert (time.monotonic() - started > 0.6) or kind != "slow"
    assert [each["fault"] for each in lab.requests("meta")][-1] == kind


@pytest.mark.parametrize("kind, applied", [("timeout_before", False), ("timeout_after", True)])
def test_a_timeout_gives_no_answer(lab: Lab, kind: str, applied: bool) -> None:
    lab.fault(kind).raise_for_status()
    with pytest.raises(requests.exceptions.ReadTimeout):
        lab.add_to_meta("e1", wait=0.5)
    with pytest.raises(requests.exceptions.ReadTimeout):
        lab.add_to_hubspot("a@example.com", wait=0.5)
    requests.delete(f"{lab.url}/_simulator/faults", timeout=20).raise_for_status()
    assert (lab.in_meta() == {sha("e1")}) is applied
    assert lab.in_hubspot("a@example.com") is applied
    assert [each["status"] for each in lab.requests("meta")][-1] is None


def test_a_held_connection_is_dropped_in_the_end(lab: Lab) -> None:
    lab.fault("timeout_before", delay_s=0.2).raise_for_status()
    with pytest.raises(requests.exceptions.ConnectionError):
        lab.add_to_meta("e1")


@pytest.mark.parametrize("kind, applied", [("reset_before", False), ("reset_after", True)])
def test_a_reset_closes_the_connection_without_an_answer(lab: Lab, kind: str, applied: bool) -> None:
    lab.fault(kind).raise_for_status()
    with pytest.raises(requests.exceptions.ConnectionError):
        lab.add_to_meta("e1")
    requests.delete(f"{lab.url}/_simulator/faults", timeout=20).raise_for_status()
    assert (lab.in_meta() == {sha("e1")}) is applied


@pytest.mark.parametrize("kind, ends_with", [("reset_before", ConnectionResetError), ("timeout_before", None)])
def test_a_reset_is_a_tcp_reset_and_a_timeout_is_not(lab: Lab, kind: str, ends_with: type[Exception] | None) -> None:
    lab.fault(kind, delay_s=0.1).raise_for_status()
    host, port = lab.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        wire.sendall(b"GET /meta/v26.0/1 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer good\r\n\r\n")
        if ends_with is None:
            assert wire.recv(100) == b""
        else:
            with pytest.raises(ends_with):
                wire.recv(100)


def test_a_malformed_answer_is_broken_json_of_an_applied_request(lab: Lab) -> None:
    lab.fault("malformed", operation="users.add").raise_for_status()
    answer = lab.add_to_meta("e1")
    assert answer.status_code == 200
    with pytest.raises(requests.exceptions.JSONDecodeError):
        answer.json()
    assert lab.in_meta() == {sha("e1")}


def test_a_throttle_hints_when_to_come_back(lab: Lab) -> None:
    lab.fault("rate_limit", retry_after_s=120).raise_for_status()
    meta, hubspot = lab.add_to_meta("e1"), lab.add_to_hubspot("a@example.com")
    assert meta.json()["error"]["code"] == 80003
    assert '"estimated_time_to_regain_access":2' in meta.headers["X-Business-Use-Case-Usage"]
    assert hubspot.headers["Retry-After"] == "120"
    assert hubspot.headers["X-HubSpot-RateLimit-Remaining"] == "0"
    requests.delete(f"{lab.url}/_simulator/faults", timeout=20).raise_for_status()
    lab.fault("rate_limit", retry_after_s=None, status=429).raise_for_status()
    assert "Retry-After" not in lab.add_to_hubspot("a@example.com").headers
    assert lab.add_to_meta("e1").status_code == 429


def test_partial_rejects_some_rows_as_the_platform_does(lab: Lab) -> None:
    lab.fault("partial", share=0.3, seed=1).raise_for_status()
    meta = lab.add_to_meta(*(f"e{number}" for number in range(10))).json()
    assert (meta["num_received"], meta["num_invalid_entries"], len(lab.in_meta())) == (10, 3, 7)
    hubspot = lab.add_to_hubspot(*(f"p{number}@example.com" for number in range(10)))
    assert (hubspot.status_code, hubspot.json()["numErrors"], len(hubspot.json()["results"])) == (207, 3, 7)
    contacts = [each["id"] for each in hubspot.json()["results"]]
    answer = requests.put(
        f"{lab.url}/hubspot/crm/lists/2026-09/{lab.list_id}/memberships/add", json=contacts, headers=HEADERS, timeout=20
    ).json()
    assert (len(answer["recordsIdsAdded"]), len(answer["recordIdsMissing"])) == (5, 2)


def test_a_batch_is_rejected_only_while_it_holds_the_bad_row(lab: Lab) -> None:
    lab.fault("reject_batch", contains=sha("bad")).raise_for_status()
    assert lab.add_to_meta("a", "bad", "b").status_code == 400
    assert lab.add_to_meta("a", "b").status_code == 200
    assert lab.add_to_meta("bad").status_code == 400
    assert lab.in_meta() == {sha("a"), sha("b")}


def test_the_same_seed_gives_the_same_faults(lab: Lab) -> None:
    def run(seed: int) -> list[int]:
        requests.delete(f"{lab.url}/_simulator/faults", timeout=20).raise_for_status()
        lab.fault("server_error", rate=0.5, seed=seed).raise_for_status()
        return [lab.add_to_meta(f"e{number}").status_code for number in range(20)]

    first, again, other = run(1), run(1), run(2)
    assert first == again
    assert set(first) == {200, 500}
    assert first != other


def test_a_fault_is_limited_by_operation_platform_skip_and_count(lab: Lab) -> None:
    lab.fault("server_error", platform="meta", operation="POST .*/users$", skip=1, count=2).raise_for_status()
    assert lab.add_to_hubspot("a@example.com").status_code == 200
    assert [lab.add_to_meta("e").status_code for _ in range(4)] == [200, 500, 500, 200]
    (fault,) = requests.get(f"{lab.url}/_simulator/faults", timeout=20).json()
    assert (fault["matched"], fault["fired"]) == (3, 2)


@pytest.mark.parametrize(
    "asked",
    [
        {"kind": "earthquake"},
        {},
        {"kind": "slow", "rate": 2},
        {"kind": "slow", "operation": "("},
        {"kind": "slow", "platform": "myspace"},
        {"kind": "slow", "delay": 1},
        {"kind": "slow", "delay_s": -1},
        {"kind": ["slow"]},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(lab: Lab, asked: dict[str, Any]) -> None:
    answer = lab.post("_simulator/faults", asked)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert requests.get(f"{lab.url}/_simulator/faults", timeout=20).json() == []


def test_what_was_received_is_recorded_without_the_token(lab: Lab) -> None:
    lab.add_to_meta(*(f"e{number}" for number in range(50)))
    requests.get(f"{lab.url}/meta/v26.0/{lab.audience}?access_token=secret-token", timeout=20)
    recorded = lab.requests("meta")
    assert [each["operation"] for each in recorded] == ["audiences.create", "users.add", "audiences.read"]
    upload = recorded[1]
    assert (upload["rows"], upload["list_id"], upload["status"], upload["fault"]) == (50, lab.audience, 200, None)
    assert upload["body"]["payload"]["schema"] == "EMAIL"
    assert len(upload["body"]["payload"]["data"]) == 50
    assert "secret-token" not in str(recorded)
    assert "good" not in str(recorded)
    newest = requests.get(f"{lab.url}/_simulator/meta/requests?limit=1", timeout=20).json()
    assert newest == recorded[-1:]
    assert requests.get(f"{lab.url}/_simulator/meta/requests?after={newest[0]['n']}", timeout=20).json() == []
    requests.delete(f"{lab.url}/_simulator/meta/requests", timeout=20).raise_for_status()
    assert lab.requests("meta") == []


def test_bodies_of_older_requests_are_cut_so_that_memory_stays_bounded(lab: Lab) -> None:
    for start in range(12):
        lab.add_to_meta(*(f"e{start}-{number}" for number in range(10_000)))
    sizes = [len(each["body"]["payload"]["data"]) for each in lab.requests("meta") if each["operation"] == "users.add"]
    assert sizes[-1] == 10_000
    assert sizes[0] == 6
    assert sum(sizes) <= 100_100
