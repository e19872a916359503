"""Meta's and HubSpot's own clients talk to our simulators, so that these are not only our own reading; and what our destinations
put there, those clients find."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import hubspot
import pytest
import requests
from facebook_business.adobjects.adaccount import AdAccount
from facebook_business.adobjects.customaudience import CustomAudience
from facebook_business.api import FacebookAdsApi
from facebook_business.exceptions import FacebookRequestError
from facebook_business.session import FacebookSession
from hubspot.crm.contacts import (
    BatchInputSimplePublicObjectBatchInputUpsert,
    BatchInputSimplePublicObjectId,
    BatchReadInputSimplePublicObjectId,
    SimplePublicObjectBatchInputUpsert,
    SimplePublicObjectId,
)
from hubspot.crm.lists import ListCreateRequest
from hubspot.crm.lists.exceptions import ApiException

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.model.values import Batch, Outgoing
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.platforms import HARNESSES


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module")
def simulators() -> Iterator[str]:
    with SimulatorServer() as server:
        yield server.url


def members(simulators: str, platform: str, list_id: str) -> list[dict[str, Any]]:
    found: Any = requests.get(f"{simulators}/_simulator/{platform}/lists/{list_id}/members", timeout=10).json()
    return list(found["members"])


# --- Meta --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def meta(simulators: str, monkeypatch: pytest.MonkeyPatch) -> AdAccount:
    monkeypatch.setattr(FacebookSession, "GRAPH", f"{simulators}/meta")
    api = FacebookAdsApi.init(access_token="EAAB-real-client", api_version="v26.0", crash_log=False)
    return AdAccount("act_4711", api=api)


def made(meta: AdAccount, name: str) -> CustomAudience:
    params = {"name": name, "subtype": "CUSTOM", "customer_file_source": "USER_PROVIDED_ONLY"}
    return meta.create_custom_audience(params=params)


def test_metas_client_makes_fills_and_empties_an_audience(meta: AdAccount, simulators: str) -> None:
    audience = made(meta, "By the client")
    answer = audience.add_users(CustomAudience.Schema.email_hash, ["A@Example.com ", "b@example.com"]).json()
    assert (answer["num_received"], answer["num_invalid_entries"]) == (2, 0)
    held = {member["EMAIL"] for member in members(simulators, "meta", audience["id"])}
    assert held == {sha("a@example.com"), sha("b@example.com")}
    audience.remove_users(CustomAudience.Schema.email_hash, ["b@example.com"])
    assert [member["EMAIL"] for member in members(simulators, "meta", audience["id"])] == [sha("a@example.com")]


def test_metas_client_reads_what_our_destination_made(meta: AdAccount, simulators: str) -> None:
    ours = HARNESSES["meta"].open(f"{simulators}/meta", "EAAB-real-client", "4711")
    list_id = ours.ensure_list(ListRequest("Lapsed", description="By us")).id
    rows = [{"EMAIL": sha("a@example.com")}, {"EMAIL": sha("b@example.com")}]
    assert all(verdict.kind == "accepted" for verdict in ours.add(list_id, Batch([Outgoing(row) for row in rows])))
    fields = ["name", "description", "subtype", "operation_status", "approximate_count_lower_bound"]
    shown = CustomAudience(list_id, api=meta.get_api_assured()).api_get(fields=fields)
    assert (shown["name"], shown["description"], shown["subtype"]) == ("Lapsed", "By us", "CUSTOM")
    assert list_id in [each["id"] for each in meta.get_custom_audiences(fields=["name"])]


def test_metas_client_is_refused_in_its_own_words(meta: AdAccount) -> None:
    gone = CustomAudience("999999", api=meta.get_api_assured())
    with pytest.raises(FacebookRequestError) as refused:
        gone.api_get(fields=["name"])
    assert (refused.value.api_error_code(), refused.value.api_error_subcode()) == (100, 33)
    FacebookAdsApi.init(access_token="revoked", api_version="v26.0", crash_log=False)
    with pytest.raises(FacebookRequestError) as refused:
        AdAccount("act_4711").get_custom_audiences()
    assert refused.value.api_error_code() == 190


# --- HubSpot -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def crm(simulators: str) -> Any:
    return hubspot.HubSpot(access_token="pat-real-client", host=f"{simulators}/hubspot").crm


def upsert(crm: Any, *emails: str) -> list[str]:
    inputs = [
        SimplePublicObjectBatchInputUpsert(id=email, id_property="email", properties={"firstname": "Zoë"})
        for email in emails
    ]
    answer = crm.contacts.batch_api.upsert(BatchInputSimplePublicObjectBatchInputUpsert(inputs))
    return [result.id for result in answer.results]


def test_hubspots_client_makes_fills_reads_and_empties_a_list(crm: Any, simulators: str) -> None:
    lists = crm.lists
    made = lists.lists_api.create(
        ListCreateRequest(name="By the client", object_type_id="0-1", processing_type="MANUAL")
    )
    list_id = made.list.list_id
    records = upsert(crm, "a@example.com", "b@example.com")
    lists.memberships_api.add(list_id, records)
    page = lists.memberships_api.get_page_ordered_by_added_to_list_date(list_id)
    assert {entry.record_id for entry in page.results} == set(records)
    lists.memberships_api.remove(list_id, records[:1])
    assert [member["email"] for member in members(simulators, "hubspot", list_id)] == ["b@example.com"]
    crm.contacts.batch_api.archive(BatchInputSimplePublicObjectId([SimplePublicObjectId(records[1])]))
    assert members(simulators, "hubspot", list_id) == []


def test_hubspots_client_reads_what_our_destination_made(crm: Any, simulators: str) -> None:
    ours = HARNESSES["hubspot"].open(f"{simulators}/hubspot", "pat-real-client")
    list_id = ours.ensure_list(ListRequest("Lapsed & gone")).id
    (verdict,) = ours.add(list_id, Batch([Outgoing({"email": "c@example.com", "firstname": "Ayşe"})]))
    assert crm.lists.lists_api.get_by_name("Lapsed & gone", "0-1").list.list_id == list_id
    asked = BatchReadInputSimplePublicObjectId(
        properties=["firstname"],
        properties_with_history=[],
        inputs=[SimplePublicObjectId("c@example.com")],
        id_property="email",
    )
    (contact,) = crm.contacts.batch_api.read(asked).results
    assert (contact.id, contact.properties["firstname"]) == (verdict.remote_id, "Ayşe")


def test_hubspots_client_is_refused_in_its_own_words(simulators: str) -> None:
    crm = hubspot.HubSpot(access_token="revoked", host=f"{simulators}/hubspot").crm
    with pytest.raises(ApiException) as refused:
        crm.lists.lists_api.get_by_id("999")
    assert refused.value.status == 401
    crm = hubspot.HubSpot(access_token="pat-real-client", host=f"{simulators}/hubspot").crm
    with pytest.raises(ApiException) as refused:
        crm.lists.lists_api.get_by_id("999")
    assert refused.value.status == 404
