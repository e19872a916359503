"""The Google simulator answers what Google's own clients understand, and refuses what Google refuses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from google.ads import datamanager_v1 as dm
from google.ads.datamanager_v1.services.ingestion_service.transports.rest import IngestionServiceRestTransport
from google.ads.datamanager_v1.services.user_list_service.transports.rest import UserListServiceRestTransport
from google.api_core.exceptions import BadRequest, Forbidden, NotFound, Unauthorized
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials
from google.protobuf import duration_pb2

from audience_syncs.simulators import SimulatorServer
from audience_syncs_tests.platforms.harness import sha

PARENT = "accountTypes/GOOGLE_ADS/accounts/123"
ACCEPTED = dm.TermsOfService(customer_match_terms_of_service_status=dm.TermsOfServiceStatus.ACCEPTED)


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return server.url


class Client:
    """Google's own clients, over HTTP. They sign in by themselves, with a refresh token."""

    def __init__(self, url: str, refresh_token: str = "good") -> None:
        self.credentials = Credentials(
            None, refresh_token=refresh_token, token_uri=f"{url}/google/token", client_id="1-c", client_secret="s"
        )
        given: dict[str, Any] = {"credentials": self.credentials, "url_scheme": "http"}
        host = f"{url}/google"
        self.ingestion = dm.IngestionServiceClient(transport=IngestionServiceRestTransport(host=host, **given))
        self.lists = dm.UserListServiceClient(transport=UserListServiceRestTransport(host=host, **given))

    def make(self, name: str = "People", **more: Any) -> dm.UserList:
        info = dm.IngestedUserListInfo(upload_key_types=[dm.IngestedUserListInfo.UploadKeyType.CONTACT_ID])
        return self.lists.create_user_list(
            parent=PARENT, user_list=dm.UserList(display_name=name, ingested_user_list_info=info, **more)
        )

    def ingest(self, list_id: int, *members: dm.AudienceMember, **more: Any) -> str:
        request = dm.IngestAudienceMembersRequest(
            destinations=[destination(list_id)],
            audience_members=members,
            encoding=dm.Encoding.HEX,
            **{"terms_of_service": ACCEPTED, **more},
        )
        return self.ingestion.ingest_audience_members(request).request_id

    def remove(self, list_id: int, *members: dm.AudienceMember) -> str:
        request = dm.RemoveAudienceMembersRequest(
            destinations=[destination(list_id)], audience_members=members, encoding=dm.Encoding.HEX
        )
        return self.ingestion.remove_audience_members(request).request_id

    def finished(self, request_id: str) -> Any:
        for _ in range(200):
            answer = self.ingestion.retrieve_request_status(dm.RetrieveRequestStatusRequest(request_id=request_id))
            (told,) = answer.request_status_per_destination
            if told.request_status != dm.RequestStatusPerDestination.RequestStatus.PROCESSING:
                return told
            time.sleep(0.01)
        raise AssertionError("the request does not end")


def destination(list_id: int, account: str = "123") -> dm.Destination:
    kind = dm.ProductAccount.AccountType.GOOGLE_ADS
    operating = dm.ProductAccount(account_type=kind, account_id=account)
    return dm.Destination(operating_account=operating, product_destination_id=str(list_id))


def member(*emails: str, phone: str = "") -> dm.AudienceMember:
    identifiers = [dm.UserIdentifier(email_address=sha(email)) for email in emails]
    if phone:
        identifiers.append(dm.UserIdentifier(phone_number=sha(phone)))
    return dm.AudienceMember(user_data=dm.UserData(user_identifiers=identifiers))


def held(url: str, list_id: int) -> list[dict[str, str]]:
    found: Any = requests.get(f"{url}/_simulator/google/lists/{list_id}/members", timeout=20).json()
    return [{name: value for name, value in each.items() if name != "n"} for each in found["members"]]


def test_googles_own_clients_make_fill_and_empty_a_list(url: str) -> None:
    client = Client(url)
    made = client.make(membership_duration=duration_pb2.Duration(seconds=86_400 * 30))
    assert made.name == f"{PARENT}/userLists/{made.id}"
    found = list(client.lists.list_user_lists(dm.ListUserListsRequest(parent=PARENT, filter='display_name = "People"')))
    assert [each.id for each in found] == [made.id]
    told = client.finished(client.ingest(made.id, member("a@x.io", "b@x.io", phone="+1"), member("c@x.io")))
    assert told.request_status == dm.RequestStatusPerDestination.RequestStatus.SUCCESS
    counts = told.audience_members_ingestion_status.user_data_ingestion_status
    assert (counts.record_count, counts.user_identifier_count) == (2, 4)
    assert [each["email"] for each in held(url, made.id)] == [sha("a@x.io"), sha("b@x.io"), sha("c@x.io")]
    removal = client.finished(client.remove(made.id, member(phone="+1"), member("nobody@x.io")))
    assert removal.audience_members_removal_status.user_data_removal_status.record_count == 2
    assert [each["email"] for each in held(url, made.id)] == [sha("b@x.io"), sha("c@x.io")]
    request = dm.RemoveAllAudienceMembersRequest(destinations=[destination(made.id)])
    client.finished(client.ingestion.remove_all_audience_members(request).request_id)
    assert held(url, made.id) == []
    client.lists.delete_user_list(name=made.name)
    with pytest.raises(NotFound):
        client.lists.get_user_list(name=made.name)


def test_sizes_come_late_and_as_googles_client_reads_them(url: str) -> None:
    client = Client(url)
    made = client.make()
    client.finished(client.ingest(made.id, *(member(f"p{n}@x.io") for n in range(100))))
    assert client.lists.get_user_list(name=made.name).size_info.search_network_members_count == 0
    requests.post(f"{url}/_simulator/clock", json={"advance_s": 5}, timeout=20).raise_for_status()
    shown = client.lists.get_user_list(name=made.name)
    assert shown.size_info.search_network_members_count == 80
    assert shown.ingested_user_list_info.contact_id_info.match_rate_percentage == 80


def test_a_membership_ends_unless_it_is_sent_again(url: str) -> None:
    client = Client(url)
    made = client.make(membership_duration=duration_pb2.Duration(seconds=2 * 86_400))
    client.finished(client.ingest(made.id, member("a@x.io"), member("b@x.io")))
    requests.post(f"{url}/_simulator/clock", json={"advance_s": 86_400 * 1.5}, timeout=20).raise_for_status()
    client = Client(url)
    client.finished(client.ingest(made.id, member("b@x.io")))
    requests.post(f"{url}/_simulator/clock", json={"advance_s": 86_400}, timeout=20).raise_for_status()
    assert [each["email"] for each in held(url, made.id)] == [sha("b@x.io")]


@pytest.mark.parametrize(
    ("request_of", "reason"),
    [
        (
            lambda list_id: {"audience_members": [member("a@x.io")], "terms_of_service": None},
            "TERMS_AND_CONDITIONS_NOT_SIGNED",
        ),
        (lambda list_id: {"audience_members": [member("a@x.io")], "encoding": None}, "REQUIRED_FIELD_MISSING"),
        (lambda list_id: {"audience_members": []}, "REQUIRED_FIELD_MISSING"),
        (lambda list_id: {"audience_members": [dm.AudienceMember()]}, "REQUIRED_FIELD_MISSING"),
        (
            lambda list_id: {"audience_members": [member(*(f"{n}@x.io" for n in range(11)))]},
            "TOO_MANY_USER_IDENTIFIERS",
        ),
        (lambda list_id: {"audience_members": [_plain("anna@example.com")]}, "INVALID_HEX_ENCODING"),
        (lambda list_id: {"audience_members": [_plain("ab")]}, "INVALID_SHA256_FORMAT"),
        (lambda list_id: {"audience_members": [_address(postal_code="")]}, "REQUIRED_FIELD_MISSING"),
        (lambda list_id: {"audience_members": [_address(postal_code="1234")]}, "INVALID_POSTAL_CODE"),
        (lambda list_id: {"audience_members": [member("a@x.io")] * 10_001}, "TOO_MANY_AUDIENCE_MEMBERS"),
        (
            lambda list_id: {"audience_members": [member("a@x.io")], "destinations": [destination(5)]},
            "INVALID_USER_LIST_ID",
        ),
        (lambda list_id: {"audience_members": [member("a@x.io")], "destinations": []}, "REQUIRED_FIELD_MISSING"),
    ],
)
def test_an_upload_that_is_not_in_order_is_refused_as_a_whole(url: str, request_of: Any, reason: str) -> None:
    client = Client(url)
    made = client.make()
    given = {
        "destinations": [destination(made.id)],
        "encoding": dm.Encoding.HEX,
        "terms_of_service": ACCEPTED,
        **request_of(made.id),
    }
    request = dm.IngestAudienceMembersRequest(**{name: value for name, value in given.items() if value is not None})
    with pytest.raises(BadRequest) as refused:
        client.ingestion.ingest_audience_members(request)
    assert reason in refused.value.response.text
    assert held(url, made.id) == []


def _plain(value: str) -> dm.AudienceMember:
    return dm.AudienceMember(user_data=dm.UserData(user_identifiers=[dm.UserIdentifier(email_address=value)]))


def _address(**changes: str) -> dm.AudienceMember:
    parts = {"given_name": sha("a"), "family_name": sha("b"), "region_code": "US", "postal_code": "94043", **changes}
    address = dm.AddressInfo(**{name: value for name, value in parts.items() if value})
    return dm.AudienceMember(user_data=dm.UserData(user_identifiers=[dm.UserIdentifier(address=address)]))


def test_what_is_only_validated_changes_nothing_and_has_no_id(url: str) -> None:
    client = Client(url)
    made = client.make()
    assert client.ingest(made.id, member("a@x.io"), validate_only=True) == ""
    assert held(url, made.id) == []


def test_who_may_do_what(url: str) -> None:
    made = Client(url).make()
    with pytest.raises(Forbidden):
        Client(url, "noscope").lists.get_user_list(name=made.name)
    with pytest.raises(Forbidden):
        Client(url).lists.get_user_list(name="accountTypes/GOOGLE_ADS/accounts/9999999999/userLists/1")
    client = Client(url)
    client.lists.get_user_list(name=made.name)
    requests.post(f"{url}/_simulator/clock", json={"advance_s": 3_700}, timeout=20).raise_for_status()
    stale = Credentials(client.credentials.token)
    transport = UserListServiceRestTransport(host=f"{url}/google", credentials=stale, url_scheme="http")
    with pytest.raises((Unauthorized, RefreshError)):
        dm.UserListServiceClient(transport=transport).get_user_list(name=made.name)


def test_names_are_used_once_and_a_request_nobody_made_has_no_status(url: str) -> None:
    client = Client(url)
    client.make()
    with pytest.raises(BadRequest, match="already being used"):
        client.make()
    with pytest.raises(BadRequest, match="request ID"):
        client.ingestion.retrieve_request_status(dm.RetrieveRequestStatusRequest(request_id="x"))
    with pytest.raises(BadRequest):
        client.make("Long", membership_duration=duration_pb2.Duration(seconds=541 * 86_400))
    with pytest.raises(BadRequest):
        list(client.lists.list_user_lists(dm.ListUserListsRequest(parent=PARENT, filter="display_name ~ 5")))


def test_unknown_fields_are_refused(url: str) -> None:
    client = Client(url)
    client.make()
    body = {"destinations": [], "audienceMembres": []}
    headers = {"Authorization": f"Bearer {client.credentials.token}"}
    answer = requests.post(f"{url}/google/v1/audienceMembers:ingest", json=body, headers=headers, timeout=20)
    assert (answer.status_code, "Unknown name" in answer.text) == (400, True)
