"""The LinkedIn simulator answers what LinkedIn's own client understands, and refuses what LinkedIn refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import linkedin_api.clients.auth.client as auth_client
import pytest
import requests
from linkedin_api.clients.auth.client import AuthClient
from linkedin_api.clients.restli.client import RestliClient
from linkedin_api.common import constants

from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.platforms.harness import sha

VERSION = "202608"
ACCOUNT = "urn:li:sponsoredAccount:42"
HASH = sha("anna@example.com")
SEGMENT: dict[str, Any] = {
    "name": "People",
    "account": ACCOUNT,
    "type": "USER",
    "destinations": [{"destination": "LINKEDIN"}],
}


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    monkeypatch.setattr(constants, "VERSIONED_BASE_URL", f"{server.url}/linkedin/rest")
    monkeypatch.setattr(constants, "OAUTH_BASE_URL", f"{server.url}/linkedin/oauth/v2")
    if hasattr(auth_client, "OAUTH_BASE_URL"):
        monkeypatch.setattr(auth_client, "OAUTH_BASE_URL", f"{server.url}/linkedin/oauth/v2")
    return f"{server.url}/linkedin"


def made(client: RestliClient, **changes: Any) -> str:
    told = client.create(
        resource_path="/dmpSegments", entity=SEGMENT | changes, access_token="good", version_string=VERSION
    )
    assert told.status_code == 201
    return str(told.entity_id)


def user(value: str = HASH, action: str = "ADD", **more: Any) -> dict[str, Any]:
    return {"action": action, "userIds": [{"idType": "SHA256_EMAIL", "idValue": value}], **more}


def stream(client: RestliClient, segment: str, *elements: Any, token: str = "good") -> Any:
    return client.batch_create(
        resource_path="/dmpSegments/{id}/users",
        path_keys={"id": segment},
        entities=list(elements),
        access_token=token,
        version_string=VERSION,
    )


def held(url: str, segment: str) -> list[dict[str, str]]:
    inspection = f"{url.removesuffix('/linkedin')}/_simulator/linkedin/lists/{segment}/members"
    found: list[dict[str, str]] = requests.get(inspection, timeout=20).json()["members"]
    return found


def test_linkedins_own_client_makes_fills_finds_and_reads_a_segment(url: str) -> None:
    client = RestliClient()
    segment = made(client, sourcePlatform="HOUSE")
    told = stream(client, segment, user(firstName="Zoë"), user("nonsense"))
    assert [element.status for element in told.elements] == [201, 400]
    assert told.elements[1].error["batchIndex"] == 1
    found = client.finder(
        resource_path="/dmpSegments",
        finder_name="account",
        query_params={"account": ACCOUNT, "sourcePlatform": "HOUSE", "start": 0, "count": 100},
        access_token="good",
        version_string=VERSION,
    )
    assert [str(element["id"]) for element in found.elements] == [segment]
    assert found.paging.total == 1
    shown = client.get(
        resource_path="/dmpSegments/{id}", path_keys={"id": segment}, access_token="good", version_string=VERSION
    )
    assert (shown.entity["name"], shown.entity["type"]) == ("People", "USER")
    assert held(url, segment) == [{"email": HASH, "firstName": "Zoë"}]


def test_linkedins_own_client_gets_a_token_that_expires(url: str) -> None:
    auth = AuthClient(client_id="app", client_secret="s", redirect_url="https://example.com")
    granted = auth.exchange_refresh_token_for_access_token("r1")
    segment = made(RestliClient())
    assert stream(RestliClient(), segment, user(), token=granted.access_token).status_code == 200
    clock = f"{url.removesuffix('/linkedin')}/_simulator/clock"
    requests.post(clock, json={"advance_s": granted.expires_in + 1}, timeout=20).raise_for_status()
    refused = RestliClient().get(
        resource_path="/dmpSegments/{id}",
        path_keys={"id": segment},
        access_token=granted.access_token,
        version_string=VERSION,
    )
    assert (refused.status_code, refused.entity["code"]) == (401, "EXPIRED_ACCESS_TOKEN")


def test_adding_again_and_removing_nobody_is_answered_like_the_first_time(url: str) -> None:
    client = RestliClient()
    segment = made(client)
    for action in ("ADD", "ADD", "REMOVE", "REMOVE"):
        assert [each.status for each in stream(client, segment, user(action=action)).elements] == [201]
    assert held(url, segment) == []


@pytest.mark.parametrize(
    "element",
    [
        user(action="SET"),
        user("anna@example.com"),
        user(HASH[:-1]),
        user(firstName="x" * 36),
        user(title=""),
        user(phone="1"),
        {"action": "ADD"},
        {"action": "ADD", "userIds": []},
        {"action": "ADD", "userIds": [{"idType": "PHONE", "idValue": HASH}]},
        {"action": "ADD", "userIds": [{"idType": "SHA512_EMAIL", "idValue": HASH}]},
        {"action": "ADD", "userIds": [{"idType": "GOOGLE_AID", "idValue": "x"}]},
        {"action": "ADD", "userIds": ["x"]},
        "x",
        None,
    ],
)
def test_an_element_that_cannot_be_is_refused_and_the_others_are_not(url: str, element: Any) -> None:
    client = RestliClient()
    segment = made(client)
    headers = {
        "Authorization": "Bearer good",
        "LinkedIn-Version": VERSION,
        "X-Restli-Protocol-Version": "2.0.0",
        "X-RestLi-Method": "BATCH_CREATE",
    }
    body = {"elements": [user(sha("1")), element, user(sha("2"))]}
    told = requests.post(f"{url}/rest/dmpSegments/{segment}/users", json=body, headers=headers, timeout=20).json()
    assert [each["status"] for each in told["elements"]] == [201, 400, 201]
    assert len(held(url, segment)) == 2


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"account": "42"},
        {"type": "STREAMING"},
        {"destinations": []},
        {"accessPolicy": "PRIVATE"},
    ],
)
def test_a_segment_that_cannot_be_is_refused(url: str, changes: dict[str, Any]) -> None:
    told = RestliClient().create(
        resource_path="/dmpSegments", entity=SEGMENT | changes, access_token="good", version_string=VERSION
    )
    assert (told.status_code, told.entity_id) == (400, None)


def test_what_is_no_request_of_linkedins_is_refused(url: str) -> None:
    segment = made(RestliClient())
    good = {"Authorization": "Bearer good", "LinkedIn-Version": VERSION, "X-Restli-Protocol-Version": "2.0.0"}

    def status(path: str = f"dmpSegments/{segment}", method: str = "GET", body: Any = None, **headers: str) -> int:
        sent = {name: value for name, value in (good | headers).items() if value}
        return requests.request(method, f"{url}/rest/{path}", json=body, headers=sent, timeout=20).status_code

    assert status() == 200
    assert status(Authorization="") == 401
    assert status(Authorization="Bearer revoked") == 401
    assert status(Authorization="Bearer noscope") == 403
    assert status(**{"LinkedIn-Version": "202401"}) == 426
    assert status(**{"LinkedIn-Version": "209901"}) == 426
    assert status(**{"LinkedIn-Version": ""}) == 400
    assert status(**{"X-Restli-Protocol-Version": "1.0.0"}) == 400
    assert status("dmpSegments/1") == 404
    assert status("nowhere") == 404
    assert status("dmpSegments") == 400
    assert status(f"dmpSegments/{segment}/users", "POST", {"elements": []}) == 400
    assert status(f"dmpSegments/{segment}/users", "POST", [], **{"X-RestLi-Method": "BATCH_CREATE"}) == 400
    many = {"elements": [user()] * 5_001}
    assert status(f"dmpSegments/{segment}/users", "POST", many, **{"X-RestLi-Method": "BATCH_CREATE"}) == 400
    assert status(method="DELETE") == 204
    assert status() == 404
