"""The Salesforce simulator answers what the Python client simple-salesforce understands, and refuses what Salesforce refuses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from simple_salesforce import Salesforce
from simple_salesforce.exceptions import (
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceResourceNotFound,
)

from audience_syncs.simulators import SimulatorServer
from audience_syncs.simulators.salesforce.objects import long_id

DATA = "/services/data/v62.0"


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return f"{server.url}/salesforce"


def client_of(url: str, token: str) -> Salesforce:
    """The client; it knows only https, and so is shown where the simulator is."""
    client = Salesforce(session_id=token, instance_url="https://acme.my.salesforce.com", version="62.0")
    client.base_url, client.bulk2_url = f"{url}{DATA}/", f"{url}{DATA}/jobs/"
    return client


@pytest.fixture
def client(url: str) -> Salesforce:
    form = {"grant_type": "client_credentials", "client_id": "app", "client_secret": "secret"}
    told = requests.post(f"{url}/services/oauth2/token", data=form, timeout=20).json()
    assert told["instance_url"] == url
    assert "expires_in" not in told
    return client_of(url, told["access_token"])


def records(client: Salesforce, query: str) -> list[dict[str, Any]]:
    return list(client.query(query)["records"])


def single(client: Salesforce, url: str, kind: str) -> Any:
    found = getattr(client, kind)
    found.base_url = f"{url}{DATA}/sobjects/{kind}/"
    return found


def test_its_client_keeps_a_campaign_here(client: Salesforce, url: str) -> None:
    campaign = single(client, url, "Campaign").create({"Name": "VIPs", "IsActive": True})["id"]
    contacts = single(client, url, "Contact")
    contact = contacts.create({"Email": "Zoë@example.com".replace("ë", "e"), "LastName": "O'Brien"})["id"]
    assert contacts.update(contact, {"FirstName": "Zoë"}) == 204
    assert contacts.get(contact)["FirstName"] == "Zoë"
    member = single(client, url, "CampaignMember").create({"CampaignId": campaign, "ContactId": contact})["id"]
    asked = f"SELECT Id, Status, ContactId, LeadId, Contact.Email, Lead.Email FROM CampaignMember WHERE CampaignId = '{campaign}'"
    [found] = records(client, asked)
    assert (found["Id"], found["Status"], found["Contact"]["Email"]) == (member, "Sent", "Zoe@example.com")
    assert (found["LeadId"], found["Lead"]) == (None, None)
    assert client.query(f"SELECT COUNT() FROM CampaignMember WHERE CampaignId = '{campaign[:15]}'")["totalSize"] == 1
    names = (
        "SELECT Id FROM Contact WHERE LastName = 'o\\'brien' AND (Email IN ('x', 'ZOE@example.com') OR Email = null)"
    )
    assert [each["Id"] for each in records(client, names)] == [contact]
    with pytest.raises(SalesforceMalformedRequest) as twice:
        single(client, url, "CampaignMember").create({"CampaignId": campaign, "ContactId": contact})
    assert twice.value.content[0]["errorCode"] == "DUPLICATE_VALUE"
    contacts.delete(contact)
    assert records(client, "SELECT Id FROM CampaignMember") == []
    with pytest.raises(SalesforceResourceNotFound):
        contacts.delete(contact)


def test_its_client_brings_people_by_jobs(client: Salesforce, url: str) -> None:
    rows = [{"Email": f"p{n}@example.com", "LastName": 'Ng, "Jr"', "FirstName": ""} for n in range(2_100)]
    rows[5]["LastName"] = ""
    [done] = client.bulk2.Contact.insert(records=rows, wait=0.05)
    assert (done["numberRecordsTotal"], done["numberRecordsFailed"]) == (2_100, 1)
    failed = client.bulk2.Contact.get_failed_records(done["job_id"])
    assert failed.startswith('"sf__Id","sf__Error",')
    assert "REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --" in failed
    assert len(client.bulk2.Contact.get_successful_records(done["job_id"]).splitlines()) == 2_100
    first = client.query("SELECT Id, LastName FROM Contact ORDER BY Email")
    assert (first["totalSize"], len(first["records"]), first["done"]) == (2_099, 2_000, False)
    locator = first["nextRecordsUrl"].rpartition("/")[2]
    following = client.query_more(locator)
    assert (len(following["records"]), following["done"]) == (99, True)
    assert first["records"][0]["LastName"] == 'Ng, "Jr"'
    ids = [{"Id": each["Id"]} for each in first["records"][:10]]
    [done] = client.bulk2.Contact.delete(records=ids, wait=0.05)
    assert done["numberRecordsFailed"] == 0
    [done] = client.bulk2.Contact.delete(records=ids, wait=0.05)
    assert done["numberRecordsFailed"] == 10


def test_its_client_upserts_by_an_external_id(client: Salesforce) -> None:
    for name in ("Ann", "Bea"):
        row = {"Shop_Id__c": "C1", "LastName": name}
        [done] = client.bulk2.Contact.upsert(records=[row], external_id_field="Shop_Id__c", wait=0.05)
        assert done["numberRecordsFailed"] == 0
    assert [each["LastName"] for each in records(client, "SELECT LastName FROM Contact")] == ["Bea"]


def call(url: str, method: str, path: str, body: Any = None, token: str = "app", **more: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
    return requests.request(method, f"{url}{path}", json=body, headers=headers, timeout=20, **more)


def many(*rows: dict[str, Any], kind: str = "Contact", **more: Any) -> dict[str, Any]:
    return {"allOrNone": False, "records": [{"attributes": {"type": kind}, **row} for row in rows], **more}


def test_good_records_get_through_beside_bad_ones_in_their_order(url: str) -> None:
    body = many({"LastName": "A", "Email": "no"}, {"LastName": "B"}, {"LastName": "C", "FirstName": "x" * 41}, {})
    told = call(url, "POST", f"{DATA}/composite/sobjects", body).json()
    assert [each["success"] for each in told] == [False, True, False, False]
    codes = [each["errors"][0]["statusCode"] for each in told if each["errors"]]
    assert codes == ["INVALID_EMAIL_ADDRESS", "STRING_TOO_LONG", "REQUIRED_FIELD_MISSING"]
    told = call(url, "POST", f"{DATA}/composite/sobjects", many({"LastName": "D"}, {}, allOrNone=True)).json()
    assert told[0]["errors"][0]["statusCode"] == "ALL_OR_NONE_OPERATION_ROLLED_BACK"
    counted = call(url, "GET", f"{DATA}/query", params={"q": "SELECT COUNT() FROM Contact"}).json()
    assert counted["totalSize"] == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/composite/sobjects", many({"LastName": "A", "Shoe": "44"}), 400, "INVALID_FIELD"),
        ("POST", "/composite/sobjects", many({"LastName": "A", "Id": "003000000000001"}), 400, "INVALID_FIELD"),
        ("POST", "/composite/sobjects", many({}, kind="Unicorn"), 400, "INVALID_TYPE"),
        ("POST", "/composite/sobjects", many(*[{"LastName": "A"}] * 201), 400, "EXCEEDED_ID_LIMIT"),
        ("POST", "/composite/sobjects", {"records": [{"LastName": "A"}]}, 400, "INVALID_INPUT"),
        ("PATCH", "/composite/sobjects/Contact/Email", many({"Email": "a@example.com"}), 404, "NOT_FOUND"),
        ("GET", "/query?q=SELECT Shoe FROM Contact", None, 400, "INVALID_FIELD"),
        ("GET", "/query?q=SELECT Id FROM Contact WHERE Email = 'o'brien'", None, 400, "MALFORMED_QUERY"),
        ("GET", "/query?q=SELECT Id FROM Contact WHERE Id = 'nonsense'", None, 400, "INVALID_QUERY_FILTER_OPERATOR"),
        ("GET", "/query?q=DELETE FROM Contact", None, 400, "MALFORMED_QUERY"),
        ("GET", "/query/01g000-2000", None, 400, "INVALID_QUERY_LOCATOR"),
        ("GET", f"/query?q=SELECT Id FROM Contact WHERE Email = '{'x' * 16_400}'", None, 414, "URI_TOO_LONG"),
        ("POST", "/jobs/ingest", {"object": "Contact", "operation": "merge"}, 400, "INVALIDJOB"),
        ("POST", "/jobs/ingest", {"object": "Contact", "operation": "upsert"}, 400, "INVALIDJOB"),
        ("GET", "/jobs/ingest/750000", None, 404, "NOT_FOUND"),
        ("GET", "/nonsense", None, 404, "NOT_FOUND"),
    ],
)
def test_what_salesforce_would_not_take_is_refused(
    url: str, method: str, path: str, body: Any, status: int, code: str
) -> None:
    answer = call(url, method, f"{DATA}{path}", body)
    assert (answer.status_code, answer.json()[0]["errorCode"]) == (status, code)


def test_six_queries_are_too_many_for_one_composite_request(url: str) -> None:
    part = {"method": "GET", "url": f"{DATA}/query?q=SELECT+Id+FROM+Contact", "referenceId": "a"}
    assert call(url, "POST", f"{DATA}/composite", {"compositeRequest": [part] * 5}).status_code == 200
    assert call(url, "POST", f"{DATA}/composite", {"compositeRequest": [part] * 6}).status_code == 400


def test_a_job_takes_one_upload_and_is_closed_once(url: str) -> None:
    body = {"object": "Contact", "operation": "insert", "contentType": "CSV", "lineEnding": "LF"}
    job = f"{DATA}/jobs/ingest/{call(url, 'POST', f'{DATA}/jobs/ingest', body).json()['id']}"
    close = {"state": "UploadComplete"}
    assert call(url, "PATCH", job, close).status_code == 400
    as_csv = {"headers": {"Content-Type": "text/csv"}, "data": b"LastName,Shoe\nNg,44\n"}
    statuses = [call(url, "PUT", f"{job}/batches", **as_csv).status_code for _ in range(2)]
    assert statuses == [201, 400]
    assert [call(url, "PATCH", job, close).status_code for _ in range(2)] == [200, 400]
    requests.post(f"{url.removesuffix('/salesforce')}/_simulator/clock", json={"advance_s": 5}, timeout=20)
    told = call(url, "GET", job).json()
    assert (told["state"], told["errorMessage"]) == ("Failed", "InvalidBatch : Field name not found : Shoe")
    assert "Ng" in call(url, "GET", f"{job}/unprocessedrecords").text


def test_tokens_are_asked_for_and_expire(url: str, client: Salesforce) -> None:
    assert call(url, "GET", f"{DATA}/limits", token="").json()[0]["errorCode"] == "INVALID_SESSION_ID"
    assert call(url, "GET", f"{DATA}/limits", token="noscope").status_code == 403
    assert client.limits()["DailyApiRequests"]["Max"] > 0
    requests.post(f"{url.removesuffix('/salesforce')}/_simulator/clock", json={"advance_s": 7_200}, timeout=20)
    with pytest.raises(SalesforceExpiredSession):
        client.limits()


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"grant_type": "password", "username": "a"}, "unsupported_grant_type"),
        ({"grant_type": "client_credentials", "client_id": "app"}, "invalid_client"),
        ({"grant_type": "client_credentials", "client_id": "app", "client_secret": "wrong"}, "invalid_client"),
        ({"grant_type": "refresh_token", "refresh_token": "revoked", "client_id": "app"}, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "good"}, "invalid_client_id"),
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": "a.b.c"}, "invalid_grant"),
    ],
)
def test_who_may_not_sign_in_is_told_why(url: str, form: dict[str, str], error: str) -> None:
    answer = requests.post(f"{url}/services/oauth2/token", data=form, timeout=20)
    assert (answer.status_code // 100, answer.json()["error"]) == (4, error)


def test_ids_of_fifteen_characters_are_the_same_as_those_of_eighteen() -> None:
    # Salesforce's own example of the two forms.
    assert long_id("a0D5800000FPN8a") == "a0D5800000FPN8aEAH"
