"""The Meta simulator answers as Meta documents, and its lists hold people."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from audience_syncs.simulators import SimulatorServer

NEW = {"name": "Cart abandoners", "subtype": "CUSTOM", "customer_file_source": "USER_PROVIDED_ONLY"}


def sha(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


class Account:
    """An ad account at the simulator, spoken to with ``requests``."""

    def __init__(self, url: str, token: str = "good", account: str = "act_1") -> None:
        self.url, self.account = url, account
        self.http = requests.Session()
        self.http.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        return self.http.request(method, f"{self.url}/meta/v26.0/{path}", timeout=20, **arguments)

    def create(self, **changed: Any) -> str:
        answer = self.call("POST", f"{self.account}/customaudiences", json={**NEW, **changed})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def users(
        self, audience: str, schema: Any, data: list[Any], *, remove: bool = False, **more: Any
    ) -> requests.Response:
        body = {"payload": {"schema": schema, "data": data}, **more}
        return self.call("DELETE" if remove else "POST", f"{audience}/users", json=body)

    def held(self, audience: str) -> list[dict[str, str]]:
        found = requests.get(f"{self.url}/_simulator/meta/lists/{audience}/members", timeout=20).json()
        assert found["total"] == len(found["members"])
        return list(found["members"])


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.fixture
def meta(server: SimulatorServer) -> Account:
    requests.post(f"{server.url}/_simulator/reset", timeout=20).raise_for_status()
    return Account(server.url)


@pytest.mark.parametrize(
    "changed, status, code",
    [
        ({"name": ""}, 400, 100),
        ({"name": 7}, 400, 100),
        ({"subtype": "LOOKALIKE"}, 400, 100),
        ({"customer_file_source": "MADE_UP"}, 400, 100),
        ({"retention_days": 181}, 400, 100),
        ({"name": "Käufer, 顧客 und ещё 🎉", "retention_days": 180}, 200, None),
    ],
)
def test_an_audience_is_created_only_from_valid_parameters(
    meta: Account, changed: dict[str, Any], status: int, code: int | None
) -> None:
    answer = meta.call("POST", "act_1/customaudiences", json={**NEW, **changed})
    assert answer.status_code == status
    assert answer.json().get("error", {}).get("code") == code


@pytest.mark.parametrize(
    "method, path, token, status, code, subcode",
    [
        ("GET", "act_1/customaudiences", "revoked-1", 401, 190, 460),
        ("GET", "act_1/customaudiences", "", 401, 190, None),
        ("GET", "act_1/customaudiences", "noscope", 403, 200, 1870090),
        ("GET", "999", "good", 400, 100, 33),
        ("POST", "not-an-id/users", "good", 400, 100, 33),
        ("GET", "1/2/3", "good", 400, 2500, None),
        ("PATCH", "act_1/customaudiences", "good", 400, 2500, None),
    ],
)
def test_errors_come_in_metas_envelope(
    meta: Account, method: str, path: str, token: str, status: int, code: int, subcode: int | None
) -> None:
    answer = Account(meta.url, token).call(method, path)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("error_subcode")) == (status, code, subcode)
    assert error["fbtrace_id"]
    assert error["message"]
    assert error["type"] in {"OAuthException", "GraphMethodException"}


def test_an_old_version_is_refused(meta: Account) -> None:
    answer = meta.http.get(f"{meta.url}/meta/v12.0/act_1/customaudiences", timeout=20)
    assert answer.json()["error"]["code"] == 2635


def test_a_token_can_be_revoked_and_restored_at_run_time(meta: Account) -> None:
    audience = meta.create()
    for verb, status in (("revoke", 401), ("restore", 200)):
        requests.post(
            f"{meta.url}/_simulator/meta/tokens/{verb}", json={"token": "good"}, timeout=20
        ).raise_for_status()
        assert meta.call("GET", audience).status_code == status


def test_audiences_are_paged_with_cursors(meta: Account) -> None:
    created = [meta.create(name=f"list {number}") for number in range(5)]
    found: list[dict[str, str]] = []
    answer = meta.call("GET", "act_1/customaudiences", params={"fields": "name", "limit": 2}).json()
    while True:
        found += answer["data"]
        if "next" not in answer.get("paging", {}):
            break
        answer = meta.http.get(answer["paging"]["next"], timeout=20).json()
    assert [each["id"] for each in found] == created
    assert [each["name"] for each in found] == [f"list {number}" for number in range(5)]
    assert meta.call("GET", "act_2/customaudiences").json()["data"] == []
    assert meta.call("GET", created[0], params={"fields": "no_such_field"}).json()["error"]["code"] == 100


# (conversation, people held at the end); add and remove take rows of (EMAIL, PHONE, EXTERN_ID), "" being unknown.
PEOPLE = {
    "one row is one person": ([("add", ("e1", "p1", "x1"))], {("e1", "p1", "x1")}),
    "the same row twice is one person": ([("add", ("e1", "p1", "")), ("add", ("e1", "p1", ""))], {("e1", "p1", "")}),
    "an email is enough to remove": ([("add", ("e1", "p1", "x1")), ("remove", ("e1", "", ""))], set()),
    "a phone is enough to remove": ([("add", ("e1", "p1", "x1")), ("remove", ("", "p1", ""))], set()),
    "an external id is enough to remove": ([("add", ("e1", "p1", "x1")), ("remove", ("", "", "x1"))], set()),
    "a shared phone does not make two emails one person": (
        [("add", ("e1", "p1", "")), ("add", ("e2", "p1", ""))],
        {("e1", "p1", ""), ("e2", "p1", "")},
    ),
    "a shared phone is the latest one's": (
        [("add", ("e1", "p1", "")), ("add", ("e2", "p1", "")), ("remove", ("", "p1", ""))],
        {("e1", "p1", "")},
    ),
    "email decides before phone": (
        [("add", ("e1", "p1", "")), ("add", ("e2", "p2", "")), ("remove", ("e1", "p2", ""))],
        {("e2", "p2", "")},
    ),
    "a new email under one external id is another person": (
        [("add", ("e1", "", "x1")), ("add", ("e2", "", "x1"))],
        {("e1", "", "x1"), ("e2", "", "x1")},
    ),
    "then the external id means the new one": (
        [("add", ("e1", "", "x1")), ("add", ("e2", "", "x1")), ("remove", ("", "", "x1"))],
        {("e1", "", "x1")},
    ),
    "somebody known by phone gains an email": (
        [("add", ("", "p1", "")), ("add", ("e1", "p1", ""))],
        {("e1", "p1", "")},
    ),
    "the last row is what is held": ([("add", ("e1", "p1", "")), ("add", ("e1", "p2", ""))], {("e1", "p2", "")}),
    "who is not there can be removed": ([("add", ("e1", "", "")), ("remove", ("e2", "p9", "x9"))], {("e1", "", "")}),
    "who left can come back by external id": (
        [("add", ("e1", "", "x1")), ("remove", ("e1", "", "")), ("add", ("", "", "x1")), ("remove", ("e1", "", ""))],
        set(),
    ),
}


@pytest.mark.parametrize("name", PEOPLE)
def test_lists_hold_people(meta: Account, name: str) -> None:
    conversation, expected = PEOPLE[name]
    audience = meta.create()
    for verb, (email, phone, external) in conversation:
        row = [email and sha(email), phone and sha(phone), external]
        answer = meta.users(audience, ["EMAIL", "PHONE", "EXTERN_ID"], [row], remove=verb == "remove")
        assert answer.status_code == 200, answer.text
    keys = ("EMAIL", "PHONE", "EXTERN_ID")
    found = {tuple(person.get(key, "") for key in keys) for person in meta.held(audience)}
    assert found == {(e and sha(e), p and sha(p), x) for e, p, x in expected}


def test_a_person_known_in_one_ad_account_is_unknown_in_another(meta: Account) -> None:
    other = Account(meta.url, account="act_2")
    here, there = meta.create(), other.create()
    meta.users(here, ["EMAIL", "EXTERN_ID"], [[sha("e1"), "x1"]])
    other.users(there, ["EMAIL"], [[sha("e1")]])
    other.users(there, "EXTERN_ID", ["x1"], remove=True)
    assert len(other.held(there)) == 1


def test_an_external_id_is_forgotten_after_90_days(meta: Account) -> None:
    audience = meta.create()
    meta.users(audience, ["EMAIL", "EXTERN_ID"], [[sha("e1"), "x1"]])
    requests.post(f"{meta.url}/_simulator/clock", json={"advance_s": 91 * 86_400}, timeout=20).raise_for_status()
    meta.users(audience, "EXTERN_ID", ["x1"], remove=True)
    assert len(meta.held(audience)) == 1


def test_single_keys_come_flat_or_in_rows_and_as_form_fields(meta: Account) -> None:
    audience = meta.create()
    assert meta.users(audience, "EMAIL_SHA256", [sha("e1"), sha("e2")]).json()["num_received"] == 2
    assert meta.users(audience, ["EMAIL"], [[sha("e3")]]).json()["num_received"] == 1
    form = {
        "payload": json.dumps({"schema": "EXTERN_ID", "data": ["x1"]}),
        "session": json.dumps({"session_id": 1, "batch_seq": 1}),
    }
    assert meta.call("POST", f"{audience}/users", data=form).json()["session_id"] == "1"
    form = {"payload": json.dumps({"schema": "EMAIL", "data": [sha("e1")]}), "method": "DELETE"}
    assert meta.call("POST", f"{audience}/users", data=form).status_code == 200
    assert {person.get("EMAIL", person.get("EXTERN_ID")) for person in meta.held(audience)} == {
        sha("e2"),
        sha("e3"),
        "x1",
    }


@pytest.mark.parametrize(
    "row, is_valid",
    [
        ([sha("a@b.co"), ""], True),
        (["", sha("491701234567")], True),
        ([sha("a@b.co").upper(), ""], False),
        (["a@b.co", ""], False),
        ([sha("a@b.co")[:63], ""], False),
        ([None, sha("p")], False),
        ([12, ""], False),
        (["", ""], False),
        ([sha("a")], False),
        ([sha("a"), "", ""], False),
        ([" " + sha("a"), ""], False),
        (["x" * 100_000, ""], False),
    ],
)
def test_bad_rows_are_counted_and_not_held(meta: Account, row: list[Any], is_valid: bool) -> None:
    audience = meta.create()
    answer = meta.users(audience, ["EMAIL", "PHONE"], [row, [sha("good"), ""]]).json()
    assert answer["num_received"] == 2
    assert answer["num_invalid_entries"] == (0 if is_valid else 1)
    assert len(answer["invalid_entry_samples"]) == answer["num_invalid_entries"]
    assert len(meta.held(audience)) == (2 if is_valid else 1)


def test_at_most_100_samples_of_bad_rows_are_given(meta: Account) -> None:
    answer = meta.users(meta.create(), "EMAIL", [f"plain{number}@example.com" for number in range(150)]).json()
    assert answer["num_invalid_entries"] == 150
    assert len(answer["invalid_entry_samples"]) == 100


@pytest.mark.parametrize(
    "payload",
    [
        {"schema": ["EMAIL"], "data": [[sha(str(number))] for number in range(10_001)]},
        {"schema": ["EMAIL", "SHOE_SIZE"], "data": [["", ""]]},
        {"schema": ["EMAIL", "EMAIL"], "data": [["", ""]]},
        {"schema": [], "data": [[]]},
        {"schema": ["EMAIL", "PHONE"], "data": ["flat"]},
        {"schema": ["EMAIL"], "data": []},
        {"data": []},
        "text",
        [1],
    ],
)
def test_a_bad_payload_is_refused_as_a_whole(meta: Account, payload: Any) -> None:
    audience = meta.create()
    answer = meta.call("POST", f"{audience}/users", json={"payload": payload})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 100)
    assert meta.held(audience) == []


SESSIONS: dict[str, tuple[list[tuple[dict[str, Any], str]], list[tuple[int, int | None]]]] = {
    "num_received is that of the session": (
        [
            ({"session_id": 9, "batch_seq": 1}, "EMAIL"),
            ({"session_id": 9, "batch_seq": 2, "last_batch_flag": True}, "EMAIL"),
        ],
        [(1, None), (2, None)],
    ),
    "after the last batch the session is closed": (
        [
            ({"session_id": 9, "batch_seq": 1, "last_batch_flag": True}, "EMAIL"),
            ({"session_id": 9, "batch_seq": 2}, "EMAIL"),
        ],
        [(1, None), (0, 1870159)],
    ),
    "the last batch may be sent again by who got no answer": (
        [({"session_id": 9, "batch_seq": 1, "last_batch_flag": True}, "EMAIL")] * 2,
        [(1, None), (2, None)],
    ),
    "the schema must not change": (
        [({"session_id": 9, "batch_seq": 1}, "EMAIL"), ({"session_id": 9, "batch_seq": 2}, "PHONE")],
        [(1, None), (0, 0)],
    ),
    "the id is a positive 64-bit integer": ([({"session_id": 2**63, "batch_seq": 1}, "EMAIL")], [(0, 0)]),
    "the id is not zero": ([({"session_id": 0, "batch_seq": 1}, "EMAIL")], [(0, 0)]),
    "batches count from 1": ([({"session_id": 9, "batch_seq": 0}, "EMAIL")], [(0, 0)]),
    "the largest id is taken": ([({"session_id": 2**63 - 1, "batch_seq": 1}, "EMAIL")], [(1, None)]),
}


@pytest.mark.parametrize("name", SESSIONS)
def test_upload_sessions(meta: Account, name: str) -> None:
    sent, expected = SESSIONS[name]
    audience = meta.create()
    for number, ((session, schema), (received, subcode)) in enumerate(zip(sent, expected, strict=True)):
        answer = meta.users(audience, schema, [sha(f"v{number}")], session=session)
        if subcode is None:
            assert answer.json()["num_received"] == received
        else:
            assert answer.status_code == 400
            assert answer.json()["error"].get("error_subcode", 0) == subcode


def test_a_session_ends_after_90_minutes(meta: Account) -> None:
    audience = meta.create()
    meta.users(audience, "EMAIL", [sha("e1")], session={"session_id": 1, "batch_seq": 1})
    requests.post(f"{meta.url}/_simulator/clock", json={"advance_s": 5401}, timeout=20).raise_for_status()
    answer = meta.users(audience, "EMAIL", [sha("e2")], session={"session_id": 1, "batch_seq": 2})
    assert answer.json()["error"]["error_subcode"] == 1870158


def test_a_session_reports_what_was_matched(meta: Account) -> None:
    audience = meta.create()
    rows = [sha(f"e{number}") for number in range(100)]
    meta.users(audience, "EMAIL", [*rows, "bad"], session={"session_id": 3, "batch_seq": 1, "last_batch_flag": True})
    (found,) = meta.call("GET", f"{audience}/sessions", params={"session_id": 3}).json()["data"]
    assert (found["num_received"], found["num_invalid_entries"], found["stage"]) == ("101", "1", "finished")
    assert 0 < int(found["num_matched"]) < 100
    assert all(isinstance(value, str) for value in found.values())


def replace(
    meta: Account, audience: str, people: list[str], sequence: int, *, last: bool = False, session: int = 7
) -> requests.Response:
    body = {
        "payload": {"schema": "EMAIL", "data": [sha(each) for each in people]},
        "session": {"session_id": session, "batch_seq": sequence, "last_batch_flag": last},
    }
    return meta.call("POST", f"{audience}/usersreplace", json=body)


def test_a_replacement_takes_effect_with_its_last_batch_and_the_list_is_never_empty(meta: Account) -> None:
    audience = meta.create()
    meta.users(audience, "EMAIL", [sha("old"), sha("both")])
    assert replace(meta, audience, ["both"], 1).status_code == 200
    assert {each["EMAIL"] for each in meta.held(audience)} == {sha("old"), sha("both")}
    status = meta.call("GET", audience, params={"fields": "operation_status"}).json()["operation_status"]["code"]
    assert status == 414
    assert meta.users(audience, "EMAIL", [sha("meanwhile")]).json()["error"]["error_subcode"] == 1870145
    assert replace(meta, audience, ["new"], 2, last=True).status_code == 200
    assert {each["EMAIL"] for each in meta.held(audience)} == {sha("both"), sha("new")}
    status = meta.call("GET", audience, params={"fields": "operation_status"}).json()["operation_status"]["code"]
    assert status == 200


def test_the_first_batch_of_a_replacement_must_come_first_and_only_once(meta: Account) -> None:
    audience = meta.create()
    assert replace(meta, audience, ["a"], 2).json()["error"]["error_subcode"] == 1870147
    assert replace(meta, audience, ["a"], 1).status_code == 200
    assert replace(meta, audience, ["a"], 1).json()["error"]["error_subcode"] == 1870145
    assert replace(meta, audience, ["a"], 1, session=8).json()["error"]["error_subcode"] == 1870145
    assert meta.call("POST", f"{audience}/usersreplace", json={"payload": {}}).json()["error"]["code"] == 194


def test_a_replacement_that_never_ends_keeps_what_arrived(meta: Account) -> None:
    audience = meta.create()
    meta.users(audience, "EMAIL", [sha("old")])
    replace(meta, audience, ["arrived"], 1)
    requests.post(f"{meta.url}/_simulator/clock", json={"advance_s": 5401}, timeout=20).raise_for_status()
    assert replace(meta, audience, ["late"], 2).json()["error"]["error_subcode"] in {1870158, 1870159}
    status = meta.call("GET", audience, params={"fields": "operation_status"}).json()["operation_status"]["code"]
    assert status == 415
    assert [each["EMAIL"] for each in meta.held(audience)] == [sha("arrived")]


def test_sizes_are_late_and_approximate(meta: Account) -> None:
    audience = meta.create()
    wanted = {"fields": "approximate_count_lower_bound,approximate_count_upper_bound,delivery_status,operation_status"}
    before = meta.call("GET", audience, params=wanted).json()
    assert before["operation_status"]["code"] == 410
    meta.users(audience, "EMAIL", [sha(f"e{number}") for number in range(10_000)])
    at_once = meta.call("GET", audience, params=wanted).json()
    assert at_once["approximate_count_lower_bound"] == before["approximate_count_lower_bound"] == 1000
    requests.post(f"{meta.url}/_simulator/clock", json={"advance_s": 3}, timeout=20).raise_for_status()
    later = meta.call("GET", audience, params=wanted).json()
    assert 5_000 < later["approximate_count_lower_bound"] < 10_000
    assert later["approximate_count_lower_bound"] < later["approximate_count_upper_bound"]
    assert later["approximate_count_lower_bound"] % 100 == 0
    assert (later["operation_status"]["code"], later["delivery_status"]["code"]) == (200, 200)


def test_usage_is_told_in_a_header(meta: Account) -> None:
    answer = meta.call("GET", meta.create())
    usage = json.loads(answer.headers["X-Business-Use-Case-Usage"])
    assert usage["1"][0]["type"] == "custom_audience"
    assert 0 <= usage["1"][0]["call_count"] <= 100


def test_somebody_can_be_removed_from_every_audience_of_the_account(meta: Account) -> None:
    one, two = meta.create(), meta.create(name="two")
    for audience in (one, two):
        meta.users(audience, "EMAIL", [sha("gone"), sha("stays")])
    body = {"payload": {"schema": "EMAIL", "data": [sha("gone")]}}
    assert meta.call("DELETE", "act_1/usersofanyaudience", json=body).status_code == 200
    assert [each["EMAIL"] for audience in (one, two) for each in meta.held(audience)] == [sha("stays")] * 2


def test_a_deleted_audience_is_gone_and_its_id_is_not_used_again(meta: Account) -> None:
    audience = meta.create()
    meta.users(audience, "EMAIL", [sha("e")])
    assert meta.call("DELETE", audience).json() == {"success": True}
    assert meta.users(audience, "EMAIL", [sha("e")]).json()["error"]["error_subcode"] == 33
    assert meta.create() != audience
