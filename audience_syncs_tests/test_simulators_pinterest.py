"""The Pinterest simulator answers what a client made from Pinterest's description understands, and refuses what Pinterest refuses."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.platforms.harness import sha

pinterestsdk: Any = importlib.import_module("pinterestsdk")
models = pinterestsdk.models
ACCOUNT = "549755885175"
LISTS = f"/v5/ad_accounts/{ACCOUNT}/customer_lists"


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return f"{server.url}/pinterest"


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    """A client made from Pinterest's description; it checks each answer against its models."""
    configuration = pinterestsdk.Configuration(
        host=f"{url}/v5", access_token="plain", username="app", password="secret"
    )
    with pinterestsdk.ApiClient(configuration) as client:
        yield client


def call(url: str, method: str, path: str, body: Any = None, token: str = "plain") -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return requests.request(method, f"{url}{path}", json=body, headers=headers, timeout=20)


def members(server: SimulatorServer, list_id: str) -> list[str]:
    path = f"{server.url}/_simulator/pinterest/lists/{list_id}/members"
    return [member["record"] for member in requests.get(path, timeout=20).json()["members"]]


def test_a_client_of_pinterests_description_keeps_a_list_here(client: Any, server: SimulatorServer) -> None:
    lists = pinterestsdk.CustomerListsApi(client)
    wanted = models.CustomerListCreate(name="VIPs", records="a@example.com, b@example.com,\n", list_type="EMAIL")
    made = lists.customer_lists_create(ACCOUNT, wanted)
    assert (made.num_batches, made.num_uploaded_user_records, made.status) == (1, 2, "PROCESSING")
    added = models.CustomerListUpdateWithRequiredBody(
        operation_type="ADD", records=f"{sha('a@example.com')},{sha('m')}"
    )
    changed = lists.customer_lists_update(ACCOUNT, made.id, added)
    assert (changed.num_batches, changed.num_uploaded_user_records) == (2, 4)
    removed = models.CustomerListUpdateWithRequiredBody(operation_type="REMOVE", records="b@example.com,c@example.com")
    changed = lists.customer_lists_update(ACCOUNT, made.id, removed)
    assert (changed.num_batches, changed.num_removed_user_records) == (3, 2)
    assert set(members(server, made.id)) == {sha("a@example.com"), sha("m")}
    requests.post(f"{server.url}/_simulator/clock", json={"advance_s": 1}, timeout=20).raise_for_status()
    assert lists.customer_lists_get(ACCOUNT, made.id).status == "TOO_SMALL"
    audiences = pinterestsdk.AudiencesApi(client)
    rule = models.AdAccountsAudienceRule(customer_list_id=made.id)
    asked = models.AdAccountsAudienceCreate(name="VIPs", audience_type="CUSTOMER_LIST", rule=rule)
    audience = audiences.audiences_create(ACCOUNT, asked)
    assert (audience.status, audience.size) == ("TOO_SMALL", 1)
    found = audiences.audiences_list(ACCOUNT, page_size=1).items
    assert [(each.id, each.rule.customer_list_id) for each in found] == [(audience.id, made.id)]


def test_lists_come_in_pages_with_a_bookmark(client: Any) -> None:
    lists = pinterestsdk.CustomerListsApi(client)
    for number in range(3):
        lists.customer_lists_create(ACCOUNT, models.CustomerListCreate(name=f"n{number}", records="a@example.com"))
    first = lists.customer_lists_list(ACCOUNT, page_size=2, order="ASCENDING")
    rest = lists.customer_lists_list(ACCOUNT, page_size=2, order="ASCENDING", bookmark=first.bookmark)
    assert [each.name for each in [*first.items, *rest.items]] == ["n0", "n1", "n2"]
    assert rest.bookmark is None
    assert lists.customer_lists_list("1").items == []


@pytest.mark.parametrize(
    "body",
    [
        None,
        {"operation_type": "ADD"},
        {"operation_type": "ADD", "records": ""},
        {"operation_type": "ADD", "records": ","},
        {"operation_type": "ADD", "records": ["a@example.com"]},
        {"operation_type": "ADD", "records": "A@example.com"},
        {"operation_type": "ADD", "records": "aebe52e7-03ee-455a-b3c4-e57283966239"},
        {"operation_type": "ADD", "records": f"{sha('a')},nonsense"},
        {"operation_type": "APPEND", "records": sha("a")},
        {"records": sha("a")},
        {"operation_type": "ADD", "records": "a@example.com," * 400_000},
    ],
)
def test_what_pinterest_does_not_take_is_refused_as_a_whole(url: str, server: SimulatorServer, body: Any) -> None:
    made = call(url, "POST", LISTS, {"name": "x", "records": sha("x")}).json()["id"]
    refused = call(url, "PATCH", f"{LISTS}/{made}", body)
    assert (refused.status_code, set(refused.json())) == (400, {"code", "message"})
    assert members(server, made) == [sha("x")]


@pytest.mark.parametrize(
    "body", [{"records": sha("x")}, {"name": "x"}, {"name": "x", "records": "y", "list_type": "A"}]
)
def test_lists_that_make_no_sense_are_refused(url: str, body: Any) -> None:
    assert call(url, "POST", LISTS, body).status_code == 400


def test_another_accounts_list_is_not_there(url: str) -> None:
    made = call(url, "POST", LISTS, {"name": "x", "records": sha("x")}).json()["id"]
    assert call(url, "GET", f"/v5/ad_accounts/1/customer_lists/{made}").status_code == 404
    audience = {"name": "x", "audience_type": "CUSTOMER_LIST", "rule": {"customer_list_id": made}}
    assert call(url, "POST", "/v5/ad_accounts/1/audiences", audience).status_code == 404


def test_tokens_are_given_for_refresh_tokens_and_for_the_app_and_end(
    client: Any, url: str, server: SimulatorServer
) -> None:
    oauth = pinterestsdk.OauthApi(client)
    given = oauth.oauth_token(models.TokenGrantType.REFRESH_TOKEN, refresh_token="r")
    assert (given.expires_in, given.refresh_token_expires_in) == (2_592_000, 5_184_000)
    assert given.refresh_token != "r"
    own = oauth.oauth_token(models.TokenGrantType.CLIENT_CREDENTIALS, scope="ads:read,ads:write")
    assert own.refresh_token is None
    for token in (given.access_token, own.access_token):
        assert call(url, "GET", LISTS, token=token).status_code == 200
    requests.post(f"{server.url}/_simulator/clock", json={"advance_s": 2_592_001}, timeout=20).raise_for_status()
    assert call(url, "GET", LISTS, token=given.access_token).json()["code"] == 2
    for refused in ({"refresh_token": "revoked-r"}, {}):
        with pytest.raises(pinterestsdk.ApiException) as error:
            oauth.oauth_token(models.TokenGrantType.REFRESH_TOKEN, **refused)
        assert error.value.status == 401
    assert (
        requests.post(f"{url}/v5/oauth/token", data={"grant_type": "client_credentials"}, timeout=20).status_code == 401
    )
    assert call(url, "GET", LISTS, token="revoked").status_code == 401
    assert call(url, "GET", LISTS, token="noscope").status_code == 200
    assert call(url, "POST", LISTS, {"name": "x", "records": sha("x")}, token="noscope").status_code == 403


def test_limits_are_told_and_kept(url: str, server: SimulatorServer) -> None:
    told = call(url, "GET", LISTS).headers
    assert (told["x-ratelimit-limit"], told["x-ratelimit-remaining"]) == ("1000", "999")
    requests.post(f"{server.url}/_simulator/pinterest/limit", json={"max": 1, "interval_s": 60}, timeout=20)
    assert call(url, "GET", LISTS).headers["x-ratelimit-remaining"] == "0"
    refused = call(url, "GET", LISTS)
    assert (refused.status_code, refused.headers["x-ratelimit-remaining"]) == (429, "0")
    assert int(refused.headers["x-ratelimit-reset"]) > 50
