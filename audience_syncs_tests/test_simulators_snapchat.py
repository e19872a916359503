"""The Snapchat simulator answers in Snap's envelope, and refuses what Snapchat refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.platforms.harness import sha

SEGMENT = {"name": "VIPs", "source_type": "FIRST_PARTY", "retention_in_days": 180, "ad_account_id": "acc"}
LIST = "/v1/adaccounts/acc/segments"


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return f"{server.url}/snapchat"


def call(url: str, method: str, path: str, body: Any = None, token: str = "plain") -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.request(method, f"{url}{path}", json=body, headers=headers, timeout=20)


def make(url: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = call(url, "POST", LIST, {"segments": [SEGMENT | more]}).json()["segments"][0]["segment"]
    return made


def users(*hashes: str, schema: str = "EMAIL_SHA256") -> dict[str, Any]:
    return {"users": [{"schema": [schema], "data": [[each] for each in hashes]}]}


def members(server: SimulatorServer, segment: str) -> list[dict[str, str]]:
    path = f"{server.url}/_simulator/snapchat/lists/{segment}/members"
    found: list[dict[str, str]] = requests.get(path, timeout=20).json()["members"]
    return found


def test_a_segment_is_made_shown_changed_and_deleted_as_on_snaps_page(url: str) -> None:
    made = make(url, description="all the sams in the world")
    assert (made["status"], made["retention_in_days"], made["approximate_number_users"]) == ("PENDING", 180, 0)
    path = f"/v1/segments/{made['id']}"
    shown = call(url, "GET", path).json()
    assert shown["request_status"] == "SUCCESS"
    assert shown["segments"][0]["sub_request_status"] == "SUCCESS"
    assert shown["segments"][0]["segment"]["upload_status"] == "NO_UPLOAD"
    changed = call(url, "PUT", LIST, {"segments": [{"id": made["id"], "name": "Sams", "retention_in_days": 60}]}).json()
    assert changed["segments"][0]["segment"]["name"] == "Sams"
    assert call(url, "DELETE", path).json()["segments"] == []
    gone = call(url, "GET", path)
    assert (gone.status_code, gone.json()["error_code"]) == (404, "E3003")


def test_identifiers_come_and_go_by_kind(url: str, server: SimulatorServer) -> None:
    segment = make(url)["id"]
    path = f"/v1/segments/{segment}/users"
    added = call(url, "POST", path, users(sha("a"), sha("b"))).json()
    assert added["users"] == [{"sub_request_status": "SUCCESS", "user": {"number_uploaded_users": 2}}]
    call(url, "POST", path, users(sha("a"), schema="PHONE_SHA256"))
    call(url, "POST", path, users(sha("a")))
    assert members(server, segment) == [{"email": sha("a")}, {"email": sha("b")}, {"phone": sha("a")}]
    call(url, "DELETE", path, users(sha("a"), sha("nobody")))
    assert members(server, segment) == [{"email": sha("b")}, {"phone": sha("a")}]
    cleared = call(url, "DELETE", f"/v1/segments/{segment}/all_users").json()
    assert cleared["segments"][0]["segment"]["id"] == segment
    assert members(server, segment) == []


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"users": []},
        {"users": [{"schema": ["EMAIL_SHA256"], "data": []}]},
        {"users": [{"schema": "EMAIL_SHA256", "data": [[sha("a")]]}]},
        {"users": [{"schema": ["EMAIL_SHA256", "PHONE_SHA256"], "data": [[sha("a"), sha("b")]]}]},
        {"users": [{"schema": ["EMAIL"], "data": [["a@example.com"]]}]},
        users("a@example.com"),
        users(sha("a").upper()),
        {"users": [{"schema": ["EMAIL_SHA256"], "data": [sha("a")]}]},
        {"users": [*users(sha("a"))["users"], *users(sha("b"))["users"]]},
        users(*[sha("a")] * 100_001),
    ],
)
def test_what_snapchat_does_not_take_is_refused_as_a_whole(url: str, server: SimulatorServer, body: Any) -> None:
    segment = make(url)["id"]
    for method in ("POST", "DELETE"):
        refused = call(url, method, f"/v1/segments/{segment}/users", body)
        assert refused.status_code == 400
        assert refused.json()["request_status"] == "ERROR"
        assert refused.json()["error_code"] == "E1001"
    assert members(server, segment) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 376},
        {"source_type": "MINE"},
        {"retention_in_days": 10_000},
        {"retention_in_days": True},
        {"ad_account_id": "other"},
    ],
)
def test_segments_that_make_no_sense_are_refused(url: str, wrong: dict[str, Any]) -> None:
    assert call(url, "POST", LIST, {"segments": [SEGMENT | wrong]}).status_code == 400


def test_segments_come_in_pages_with_a_link_to_the_next(url: str) -> None:
    segments = [SEGMENT | {"name": f"n{number}"} for number in range(60)]
    parts = call(url, "POST", LIST, {"segments": segments}).json()["segments"]
    made = [part["segment"]["id"] for part in parts]
    first = call(url, "GET", f"{LIST}?limit=50").json()
    link = first["paging"]["next_link"]
    assert link.startswith("https://adsapi.snapchat.com/v1/adaccounts/acc/segments?cursor=")
    rest = call(url, "GET", link.removeprefix("https://adsapi.snapchat.com")).json()
    assert rest["paging"] == {}
    assert [part["segment"]["id"] for part in first["segments"] + rest["segments"]] == made
    assert call(url, "GET", f"{LIST}?limit=49").status_code == 400
    assert call(url, "GET", "/v1/adaccounts/else/segments").json()["segments"] == []


def test_tokens_are_given_for_refresh_tokens_and_end_after_an_hour(url: str, server: SimulatorServer) -> None:
    def token(**form: str) -> requests.Response:
        asked = {"client_id": "c", "client_secret": "s", "grant_type": "refresh_token", "refresh_token": "r"} | form
        return requests.post(f"{url}/login/oauth2/access_token", data=asked, timeout=20)

    given = token().json()
    assert (given["expires_in"], given["refresh_token"]) == (3_600, "r")
    assert call(url, "GET", LIST, token=given["access_token"]).status_code == 200
    requests.post(f"{server.url}/_simulator/clock", json={"advance_s": 3_601}, timeout=20).raise_for_status()
    assert call(url, "GET", LIST, token=given["access_token"]).status_code == 401
    assert token(refresh_token="revoked-r").json()["error"] == "invalid_grant"
    assert token(client_secret="").json()["error"] == "invalid_request"
    assert token(client_secret="wrong-one").status_code == 401
    assert call(url, "GET", LIST, token="revoked").json() == "unauthorized"
    assert requests.get(f"{url}{LIST}", timeout=20).status_code == 401
    assert call(url, "GET", LIST, token="noscope").json()["error_code"] == "E3002"
    assert call(url, "GET", "/v1/adaccounts/others/segments").status_code == 403


def test_a_limit_is_told_by_nothing_but_a_429(url: str, server: SimulatorServer) -> None:
    requests.post(f"{server.url}/_simulator/snapchat/limit", json={"max": 1, "interval_s": 60}, timeout=20)
    assert call(url, "GET", LIST).status_code == 200
    refused = call(url, "GET", LIST)
    assert refused.status_code == 429
    assert not [name for name in refused.headers if "retry" in name.lower() or "ratelimit" in name.lower()]


def test_members_survive_a_restart(tmp_path: Path) -> None:
    with SimulatorServer(tmp_path) as first:
        segment = make(f"{first.url}/snapchat")["id"]
        call(f"{first.url}/snapchat", "POST", f"/v1/segments/{segment}/users", users(sha("a")))
    with SimulatorServer(tmp_path) as second:
        assert members(second, segment) == [{"email": sha("a")}]
