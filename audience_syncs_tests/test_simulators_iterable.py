"""The Iterable simulator refuses what Iterable refuses, as its kind of project does, and names who fails and why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from audience_syncs.simulators import SimulatorServer


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def url(server: SimulatorServer) -> str:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return f"{server.url}/iterable"


def call(url: str, method: str, path: str, body: Any = None, key: str = "good", **params: Any) -> requests.Response:
    return requests.request(method, f"{url}/api{path}", json=body, params=params, headers={"Api-Key": key}, timeout=20)


def made(url: str, name: str = "VIPs") -> int:
    found: int = call(url, "POST", "/lists", {"name": name}).json()["listId"]
    return found


def subscribe(url: str, list_id: int, *rows: Any, key: str = "good", **more: Any) -> dict[str, Any]:
    answer = call(url, "POST", "/lists/subscribe", {"listId": list_id, "subscribers": rows, **more}, key)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_list_is_made_filled_read_counted_emptied_and_deleted(url: str, server: SimulatorServer) -> None:
    list_id = made(url)
    told = subscribe(
        url, list_id, {"email": "A@Example.com"}, {"userId": "U1"}, {"email": "b@example.com", "userId": "U2"}
    )
    assert (told["successCount"], told["failCount"], told["failedUpdates"]) == (3, 0, {})
    lines = call(url, "GET", "/lists/getUsers", listId=list_id)
    assert (lines.headers["content-type"], lines.text) == (
        "text/plain; charset=utf-8",
        "a@example.com\nU1\nb@example.com\n",
    )
    assert call(url, "GET", "/lists/getUsers", listId=list_id, preferUserId="true").text == "a@example.com\nU1\nU2\n"
    assert call(url, "GET", f"/lists/{list_id}/size").text == "0", "late"
    requests.post(f"{server.url}/_simulator/clock", json={"advance_s": 2}, timeout=10).raise_for_status()
    assert call(url, "GET", f"/lists/{list_id}/size").text == "3"
    body = {"listId": list_id, "subscribers": [{"userId": "U2"}, {"email": "nobody@example.com"}]}
    told = call(url, "POST", "/lists/unsubscribe", body).json()
    assert (told["successCount"], told["failedUpdates"]) == (1, {"notFoundEmails": ["nobody@example.com"]})
    assert call(url, "DELETE", f"/lists/{list_id}").json()["code"] == "Success"
    gone = call(url, "POST", "/lists/subscribe", {"listId": list_id, "subscribers": []})
    assert (gone.status_code, gone.json()["code"]) == (400, "Success")
    assert "error.lists.invalidListId" in gone.json()["msg"]


def test_who_fails_is_named_and_why(url: str) -> None:
    list_id = made(url)
    subscribe(url, list_id, {"email": "a@example.com", "userId": "U1"}, {"email": "b@example.com"})
    call(url, "POST", "/users/forget", {"email": "f@example.com"})
    told = subscribe(
        url,
        list_id,
        {"email": "nonsense"},
        {"userId": "x" * 53},
        {"userId": "trailing "},
        {"userId": "Ünicode"},
        {"email": "b@example.com", "userId": "U1"},
        {"email": "b@example.com", "dataFields": {"userId": "U1"}},
        {"email": "f@example.com"},
        {"email": "c@example.com"},
    )
    assert (told["successCount"], told["failCount"]) == (1, 7)
    assert told["failedUpdates"] == {
        "invalidEmails": ["nonsense"],
        "invalidUserIds": ["x" * 53, "trailing ", "Ünicode"],
        "conflictUserIds": ["U1", "U1"],
        "forgottenEmails": ["f@example.com"],
    }
    assert told["invalidEmails"] == ["nonsense"]


def test_each_kind_of_project_knows_users_its_own_way(url: str) -> None:
    list_id = made(url)
    told = subscribe(url, list_id, {"userId": "U1"}, key="email-key")
    assert told["failedUpdates"] == {"notFoundUserIds": ["U1"]}
    subscribe(url, list_id, {"userId": "U1", "preferUserId": True}, key="email-key")
    assert call(url, "GET", "/lists/getUsers", listId=list_id).text == "u1@placeholder.email\n"
    answer = call(
        url, "POST", "/lists/subscribe", {"listId": list_id, "subscribers": [{"email": "a@b.co"}]}, "userid-key"
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "BadParams")
    rows = [{"userId": f"V{n}", "dataFields": {"email": "same@example.com"}} for n in range(2)]
    assert subscribe(url, list_id, *rows, key="userid-key")["successCount"] == 2
    rows = [{"userId": f"W{n}", "dataFields": {"email": "one@example.com"}} for n in range(2)]
    assert subscribe(url, list_id, *rows)["failedUpdates"] == {"conflictEmails": ["one@example.com"]}


def test_only_existing_users_are_taken_where_that_is_asked_and_heeded(url: str) -> None:
    list_id = made(url)
    row = {"email": "a@example.com"}
    told = subscribe(url, list_id, row, updateExistingUsersOnly=True)
    assert told["failedUpdates"] == {"notFoundEmails": ["a@example.com"]}
    assert subscribe(url, list_id, row, key="email-key", updateExistingUsersOnly=True)["successCount"] == 1


def test_the_type_of_a_field_never_changes(url: str) -> None:
    list_id = made(url)
    subscribe(url, list_id, {"email": "a@example.com", "dataFields": {"orders": 7}})
    rows: list[Any] = [{"email": "b@example.com"}, {"email": "a@example.com", "dataFields": {"orders": "seven"}}]
    answer = call(url, "POST", "/lists/subscribe", {"listId": list_id, "subscribers": rows})
    assert (answer.status_code, answer.json()["code"]) == (400, "RequestFieldsTypesMismatched")
    assert call(url, "GET", "/lists/getUsers", listId=list_id).text == "a@example.com\n", "nothing of it was done"


def test_what_is_too_much_is_refused(url: str) -> None:
    list_id = made(url)
    rows = [{"email": f"p{n}@example.com"} for n in range(1_001)]
    answer = call(url, "POST", "/lists/subscribe", {"listId": list_id, "subscribers": rows})
    assert (answer.status_code, answer.json()["code"]) == (400, "BatchTooLarge")
    long = [{"email": "a@example.com", "dataFields": {"story": "x" * 4_000_000}}]
    assert call(url, "POST", "/lists/subscribe", {"listId": list_id, "subscribers": long}).status_code == 413


@pytest.mark.parametrize("body", [{}, {"listId": 1}, {"listId": "x", "subscribers": []}, {"listId": 2**70}, []])
def test_requests_that_make_no_sense_are_refused(url: str, body: Any) -> None:
    made(url)
    assert call(url, "POST", "/lists/subscribe", body).status_code == 400


def test_a_channel_unsubscribe_would_end_all_mail(url: str) -> None:
    list_id = made(url)
    subscribe(url, list_id, {"email": "a@example.com"})
    body = {"listId": list_id, "subscribers": [{"email": "a@example.com"}], "channelUnsubscribe": True}
    call(url, "POST", "/lists/unsubscribe", body)
    user = call(url, "GET", "/users/getByEmail", email="a@example.com").json()["user"]
    assert user["dataFields"]["unsubscribedChannelIds"] == [1]


def test_users_are_looked_up_and_deleted(url: str) -> None:
    call(url, "POST", "/users/bulkUpdate", {"users": [{"email": "a@example.com", "dataFields": {"tier": "gold"}}]})
    assert call(url, "GET", "/users/getByEmail", email="a@example.com").json()["user"]["dataFields"]["tier"] == "gold"
    assert call(url, "GET", "/users/getByEmail", email="b@example.com").json() == {}
    assert call(url, "GET", "/users/byUserId", userId="U").json()["code"] == "error.users.noUserWithIdExists"
    assert call(url, "DELETE", "/users/a@example.com").json()["code"] == "Success"
    assert call(url, "DELETE", "/users/a@example.com").json()["code"] == "UnknownEmailError"


def test_keys_are_refused_with_the_callers_address(url: str) -> None:
    for key in ("", "revoked-key", "noscope"):
        answer = call(url, "GET", "/lists", key=key)
        assert (answer.status_code, answer.json()["code"], answer.json()["params"]["ip"]) == (
            401,
            "BadApiKey",
            "203.0.113.7",
        )
    assert call(url, "GET", "/nowhere").status_code == 404


def test_lists_survive_a_crash_of_the_server(tmp_path: Path) -> None:
    with SimulatorServer(tmp_path) as server:
        url = f"{server.url}/iterable"
        list_id = made(url)
        subscribe(url, list_id, {"email": "a@example.com"})
        server.kill()
        server.start()
        assert call(url, "GET", "/lists/getUsers", listId=list_id).text == "a@example.com\n"
