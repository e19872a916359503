"""The TikTok simulator answers what TikTok's own client understands, and refuses what TikTok refuses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from business_api_client import ApiClient, AudienceApi, Configuration
from business_api_client.tiktok_business.tiktok_code import NumericErrorCodes
from business_api_client.tiktok_business.tiktok_exceptions import TiktokSDKError

from audience_syncs.simulators import SimulatorServer
from audience_syncs.simulators.store import Store
from audience_syncs.simulators.tiktok.answers import Refused
from audience_syncs.simulators.tiktok.audiences import Audiences
from audience_syncs_tests.platforms.harness import sha

HASH = sha("anna@example.com")


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return f"{server.url}/tiktok"


@pytest.fixture
def client(url: str) -> AudienceApi:
    configuration = Configuration()
    configuration.host = url
    return AudienceApi(ApiClient(configuration))


def call(url: str, path: str, body: Any, token: str = "good") -> Any:
    answer = requests.post(
        f"{url}/open_api/v1.3/{path}", json=body, headers={"Access-Token": token} if token else {}, timeout=20
    )
    assert answer.status_code == 200
    return answer.json()


def made(url: str, name: str = "People", advertiser: str = "42") -> str:
    body = {"advertiser_id": advertiser, "action": "create", "custom_audience_name": name}
    return str(call(url, "segment/audience/", body)["data"]["audience_id"])


def mapping(audience: str, **changes: Any) -> dict[str, Any]:
    return {
        "advertiser_ids": ["42"],
        "action": "add",
        "id_schema": ["EMAIL_SHA256", "PHONE_SHA256"],
        "batch_data": [[{"id": HASH, "audience_ids": [audience]}, {}]],
    } | changes


def test_tiktoks_own_client_finds_the_audience_and_its_details(url: str, client: AudienceApi) -> None:
    audience = made(url)
    call(url, "segment/mapping/", mapping(audience))
    listed = client.dmp_custom_audience_list("42", "good", page=1, page_size=100)["data"]
    assert [each["audience_id"] for each in listed["list"]] == [audience]
    assert listed["page_info"]["total_page"] == 1
    only = client.dmp_custom_audience_list("42", "good", custom_audience_ids=[audience])["data"]
    assert len(only["list"]) == 1
    told = client.dmp_custom_audience_get("42", [audience], "good")["data"]
    assert told["list"][0]["audience_details"]["name"] == "People"


def test_tiktoks_own_client_understands_why_it_is_refused(client: AudienceApi) -> None:
    with pytest.raises(TiktokSDKError, match=str(NumericErrorCodes.ERROR_CODE_INVALID_ACCESS_TOKEN)):
        client.dmp_custom_audience_list("42", "revoked")
    with pytest.raises(TiktokSDKError, match=str(NumericErrorCodes.ERROR_CODE_PERMISSION_ERROR)):
        client.dmp_custom_audience_list("42", "noscope")
    with pytest.raises(TiktokSDKError, match=str(NumericErrorCodes.ERROR_CODE_PARAM_ERROR)):
        client.dmp_custom_audience_get("42", ["7400000000000000001"], "good")


def test_a_name_is_cut_and_need_not_be_unique(url: str, client: AudienceApi) -> None:
    ids = [made(url, "x" * 71), made(url, "x" * 71)]
    listed = client.dmp_custom_audience_list("42", "good")["data"]["list"]
    assert {each["name"] for each in listed} == {"x" * 67 + "..."}
    assert ids[0] != ids[1]


def test_an_audience_can_be_deleted_and_is_gone(url: str, client: AudienceApi) -> None:
    audience = made(url)
    body = {"advertiser_id": "42", "action": "delete", "delete_audience_id": audience}
    assert call(url, "segment/audience/", body)["code"] == 0
    assert call(url, "segment/audience/", body)["code"] == 40002
    assert call(url, "segment/mapping/", mapping(audience))["code"] == 40002
    assert client.dmp_custom_audience_list("42", "good")["data"]["list"] == []


def test_there_is_a_limit_of_audiences(tmp_path: Path) -> None:
    audiences = Audiences(Store(tmp_path / "tiktok.sqlite"), 0)
    for number in range(400):
        audiences.create("42", f"n{number}", 0)
    with pytest.raises(Refused, match="40002"):
        audiences.create("42", "more", 0)
    audiences.create("43", "of somebody else", 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"advertiser_ids": []},
        {"advertiser_ids": ["43"]},
        {"action": "replace"},
        {"id_schema": []},
        {"id_schema": ["EMAIL"]},
        {"id_schema": ["EMAIL_SHA256", "email_sha256"]},
        {"batch_data": []},
        {"batch_data": [[{}, {}]]},
        {"batch_data": [[{"id": HASH, "audience_ids": ["7400000000000000001"]}]]},
        {"batch_data": [[{"id": "anna@example.com", "audience_ids": ["7400000000000000001"]}, {}]]},
        {"batch_data": [[{"id": HASH.upper(), "audience_ids": ["7400000000000000001"]}, {}]]},
        {"batch_data": [[{"id": HASH, "audience_ids": ["7400000000000000099"]}, {}]]},
        {"batch_data": [[{"id": HASH, "audience_ids": []}, {}]]},
        {"batch_data": [[{"id": None}, {}]]},
        {"batch_data": ["x"]},
        {"batch_data": [[{"id": HASH, "audience_ids": ["7400000000000000001"]}, {}]] * 10_001},
    ],
)
def test_a_mapping_that_cannot_be_is_refused_as_a_whole(url: str, changes: dict[str, Any]) -> None:
    audience = made(url)
    assert call(url, "segment/mapping/", mapping(audience, **changes))["code"] in (40002, 40061, 40062)
    inspection = f"{url.removesuffix('/tiktok')}/_simulator/tiktok/lists/{audience}/members"
    assert requests.get(inspection, timeout=20).json()["total"] == 0


def test_kinds_come_in_any_order_and_not_only_in_capitals(url: str) -> None:
    audience = made(url)
    rows = [[{}, {"id": HASH, "audience_ids": [audience]}]]
    told = call(url, "segment/mapping/", mapping(audience, id_schema=["phone_sha256", "email_sha256"], batch_data=rows))
    assert told["code"] == 0
    inspection = f"{url.removesuffix('/tiktok')}/_simulator/tiktok/lists/{audience}/members"
    assert requests.get(inspection, timeout=20).json()["members"] == [{"email": HASH}]


def test_what_is_no_request_of_tiktoks_is_refused(url: str) -> None:
    assert call(url, "segment/mapping/", {}, token="")["code"] == 40104
    assert call(url, "segment/mapping/", [])["code"] == 40002
    assert requests.post(f"{url}/open_api/v1.2/segment/mapping/", json={}, timeout=20).status_code == 404
    for query in ("", "?advertiser_id=42&page=0", "?advertiser_id=42&page_size=101", "?advertiser_id=x"):
        told = requests.get(
            f"{url}/open_api/v1.3/dmp/custom_audience/list/{query}", headers={"Access-Token": "x"}, timeout=20
        )
        assert told.json()["code"] == 40002
