"""HubSpot over real HTTP: against the simulator, and against answers it would not give by itself."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from audience_syncs.destinations.contract import ListRequest, TellsMatchedUsers
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, VerdictKind
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.hubspot_bench import TOKENS, Odd, Reply, World, kinds, opened, person

# Against the simulator


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    requests.delete(f"{simulators.url}/_simulator/faults", timeout=10).raise_for_status()
    return World(simulators.url)


def test_a_thousand_members_are_ten_upserts_and_one_list_call(world: World) -> None:
    before = world.hubspot.requests_sent
    verdicts = world.hubspot.add(world.list_id, Batch([person(n) for n in range(1_000)]))
    assert kinds(verdicts) == ["accepted"] * 1_000
    assert world.hubspot.requests_sent - before == 11
    assert len(world.members()) == 1_000
    held = world.members()["p7@example.com"]
    assert (held["firstname"], held["id"]) == ("Zoë", verdicts[7].remote_id)


def test_a_member_without_an_address_is_rejected_and_the_others_are_not(world: World) -> None:
    nobody = Outgoing({"firstname": "Nobody"})
    assert kinds(world.hubspot.add(world.list_id, Batch([nobody, person(1), Outgoing({"email": ""})]))) == [
        "rejected",
        "accepted",
        "rejected",
    ]
    assert kinds(world.hubspot.remove(world.list_id, Batch([nobody]))) == ["accepted"]
    assert list(world.members()) == ["p1@example.com"]


def test_the_last_of_several_members_with_one_address_decides_its_properties(world: World) -> None:
    batch = Batch([person(1, firstname="A", city="Köln"), person(2), person(1, firstname="B")])
    verdicts = world.hubspot.add(world.list_id, batch)
    assert verdicts[0] == verdicts[2]
    held = world.members()["p1@example.com"]
    assert (held["firstname"], held["city"]) == ("B", "Köln")


def test_who_leaves_the_list_stays_a_contact_with_everything(world: World) -> None:
    [verdict] = world.hubspot.add(world.list_id, Batch([person(1)]))
    world.hubspot.remove(world.list_id, Batch([Outgoing({"email": "p1@example.com"}, verdict.remote_id)]))
    assert world.members() == {}
    path = f"/crm/objects/2026-09/contacts/{verdict.remote_id}"
    assert world.call("GET", f"{path}?properties=firstname")["properties"]["firstname"] == "Zoë"


def test_rows_that_others_put_into_the_list_stay(world: World) -> None:
    world.hubspot.add(world.list_id, Batch([person(1)]))
    [other] = world.call(
        "POST",
        "/crm/objects/2026-09/contacts/batch/upsert",
        {"inputs": [{"id": "other@example.com", "idProperty": "email", "properties": {}}]},
    )["results"]
    world.call("PUT", f"/crm/lists/2026-09/{world.list_id}/memberships/add", [other["id"]])
    world.hubspot.remove(world.list_id, Batch([person(1), person(2)]))
    assert list(world.members()) == ["other@example.com"]


@pytest.mark.parametrize(
    "value", ["x" * 60_000, "line\nline", "🧑‍🚀 \u202e", "<b>&amp;</b>", "'; DROP TABLE", "\u0000"]
)
def test_strange_property_values_arrive_as_they_are(world: World, value: str) -> None:
    assert kinds(world.hubspot.add(world.list_id, Batch([person(1, company=value)]))) == ["accepted"]
    assert world.members()["p1@example.com"]["company"] == value


@pytest.mark.parametrize("name", ["Köln / Düsseldorf", "100% & more?", "a#b", '"quoted"', "日本", "..", " "])
def test_lists_of_any_name_are_found_again(world: World, name: str) -> None:
    wanted = ListRequest(f"{name} {next(TOKENS)}")
    made = world.hubspot.ensure_list(wanted)
    again = opened(f"{world.url}/hubspot").ensure_list(wanted)
    assert (made.created, again.created) == (True, False)
    assert (again.id, again.name) == (made.id, wanted.name)
    assert made.url == f"https://app.hubspot.com/contacts/7/objectLists/{made.id}"


@pytest.mark.parametrize("kind", ["reset_after", "timeout_after", "server_error_after", "malformed"])
def test_a_list_whose_making_was_not_answered_is_not_made_twice(world: World, kind: str) -> None:
    world.fault(kind, operation="lists.create", count=1, delay_s=2)
    found = world.hubspot.ensure_list(ListRequest("Once"))
    assert world.operations().count("lists.create") == 2  # the fixture's, and this one
    assert found.id == world.hubspot.ensure_list(ListRequest("Once")).id


def test_two_syncs_that_make_the_same_list_at_once_get_the_same_one(world: World) -> None:
    with ThreadPoolExecutor(4) as threads:
        accounts = [opened(f"{world.url}/hubspot") for _ in range(4)]
        found = list(threads.map(lambda account: account.ensure_list(ListRequest("Together")), accounts))
    assert len({remote.id for remote in found}) == 1


def test_a_list_whose_members_hubspot_decides_is_refused(world: World) -> None:
    asked = {"name": "Dynamic", "objectTypeId": "0-1", "processingType": "DYNAMIC"}
    made = world.call("POST", "/crm/lists/2026-09", asked)["list"]
    for wanted in (ListRequest("Dynamic"), ListRequest("x", id=made["listId"])):
        with pytest.raises(DestinationError, match="DYNAMIC") as raised:
            world.hubspot.ensure_list(wanted)
        assert raised.value.code == "LIST_NOT_STATIC"


def test_a_list_that_is_gone_stops_the_run(world: World) -> None:
    requests.post(f"{world.url}/_simulator/hubspot/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    batch = Batch([person(1)])
    calls: list[Callable[[], Any]] = [
        lambda: world.hubspot.add(world.list_id, batch),
        lambda: world.hubspot.remove(world.list_id, batch),
        lambda: world.hubspot.matched_users(world.list_id),
        lambda: world.hubspot.ensure_list(ListRequest("x", id=world.list_id)),
    ]
    for call in calls:
        with pytest.raises(ListMissing, match="What to do"):
            call()


def test_a_token_without_the_scope_is_told_which_one(world: World) -> None:
    with pytest.raises(AccessRefused, match=r"crm\.lists"):
        opened(f"{world.url}/hubspot", token="noscope-token").ensure_list(ListRequest("x"))


def test_some_refused_contacts_do_not_stop_the_others(world: World) -> None:
    world.fault("partial", operation="contacts.upsert", share=0.2)
    verdicts = world.hubspot.add(world.list_id, Batch([person(n) for n in range(100)]))
    assert kinds(verdicts).count("rejected") == 20
    assert len(world.members()) == 80
    assert {v.reason_code for v in verdicts if v.kind is VerdictKind.REJECTED} == {"INVALID_OPTION"}


def test_a_property_that_hubspot_does_not_have_is_named_for_each_contact(world: World) -> None:
    verdicts = world.hubspot.add(world.list_id, Batch([person(1, missing_color="red"), person(2)]))
    assert kinds(verdicts) == ["rejected", "accepted"]
    assert verdicts[0].reason == "missing_color: property doesnt exist"


def test_where_every_contact_is_refused_the_search_ends_and_the_batch_is(world: World) -> None:
    world.fault("reject_batch", operation="contacts.upsert")
    before = world.hubspot.requests_sent
    with pytest.raises(BatchRefused):
        world.hubspot.add(world.list_id, Batch([person(n) for n in range(1_000)]))
    assert world.hubspot.requests_sent - before < 60


def test_a_batch_of_which_something_may_have_been_applied_is_never_called_refused(world: World) -> None:
    world.fault("server_error_after", operation="contacts.upsert", contains="p950@")
    world.fault("reject_batch", operation="contacts.upsert")
    verdicts = world.hubspot.add(world.list_id, Batch([person(n) for n in range(1_000)]))
    assert set(kinds(verdicts[:900])) == {"rejected"}
    assert set(kinds(verdicts[900:])) == {"unknown"}


@pytest.mark.parametrize("kind", ["server_error_after", "reset_after", "reset_before", "malformed", "rate_limit"])
def test_repeating_after_any_fault_ends_with_exactly_the_members(world: World, kind: str) -> None:
    world.fault(kind, rate=0.3, retry_after_s=0.05, count=12, operation="contacts|memberships")
    batch = Batch([person(n) for n in range(300)])
    for _ in range(20):
        verdicts = world.hubspot.add(world.list_id, batch)
        assert not {"rejected"} & set(kinds(verdicts))
        present = set(world.members())
        assert {
            m.fields["email"] for m, v in zip(batch.members, verdicts, strict=True) if v.kind == "accepted"
        } <= present
        if set(kinds(verdicts)) == {"accepted"}:
            break
    assert set(kinds(verdicts)) == {"accepted"}
    assert len(world.members()) == 300


def test_a_look_up_without_an_answer_leaves_everybody_certainly_there(world: World) -> None:
    world.hubspot.add(world.list_id, Batch([person(1)]))
    world.fault("server_error", operation="contacts.read")
    with pytest.raises(NotApplied):
        world.hubspot.remove(world.list_id, Batch([person(1)]))
    assert len(world.members()) == 1


@pytest.mark.parametrize("kind", ["reset_after", "server_error_after"])
def test_a_removal_without_an_answer_may_have_been_applied(world: World, kind: str) -> None:
    [verdict] = world.hubspot.add(world.list_id, Batch([person(1)]))
    world.fault(kind, operation="memberships.remove")
    with pytest.raises(NoAnswer):
        world.hubspot.remove(world.list_id, Batch([Outgoing({"email": "p1@example.com"}, verdict.remote_id)]))
    assert world.members() == {}


def test_threads_may_share_an_account(world: World) -> None:
    def add(start: int) -> list[str]:
        return kinds(world.hubspot.add(world.list_id, Batch([person(n) for n in range(start, start + 150)])))

    with ThreadPoolExecutor(3) as threads:
        assert {kind for found in threads.map(add, [0, 1_000, 2_000]) for kind in found} == {"accepted"}
    assert len(world.members()) == 450


def test_nobodys_address_and_no_token_is_in_verdicts_errors_or_logs(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    shown: list[str] = []
    with caplog.at_level(logging.INFO):
        broken = Outgoing({"email": "anna(at)secret.example", "firstname": "Secretperson"})
        shown += [repr(world.hubspot.add(world.list_id, Batch([broken, person(1)])))]
        world.fault("server_error", operation="memberships")
        shown += [repr(world.hubspot.add(world.list_id, Batch([person(1)])))]
        with pytest.raises(AudienceSyncsError) as raised:
            world.hubspot.remove(world.list_id, Batch([person(1)]))
        shown += [str(raised.value), repr(raised.value), caplog.text]
    text = " ".join(shown)
    for secret in ("secret.example", "Secretperson", "p1@example.com", "pat-secret"):
        assert secret not in text


# Against answers of our own


@pytest.fixture
def answering() -> Iterator[Callable[[Callable[[str, Any], Reply]], Odd]]:
    opened_here: list[Odd] = []

    def start(reply: Callable[[str, Any], Reply]) -> Odd:
        opened_here.append(Odd(reply))
        return opened_here[-1]

    yield start
    for odd in opened_here:
        odd.close()


Answering = Callable[[Callable[[str, Any], Reply]], Odd]
JOINED: Reply = (200, {"recordsIdsAdded": [], "recordIdsRemoved": [], "recordIdsMissing": []})


def record_of(email: str) -> str:
    return str(1_000 + int("".join(c for c in email if c.isdigit())))


def test_contacts_are_told_apart_by_their_addresses_where_there_are_no_trace_ids(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/upsert":
            results = [{"id": record_of(i["id"]), "properties": {"email": i["id"].upper()}} for i in asked["inputs"]]
            return 200, {"results": results[::-1]}
        return JOINED

    odd = answering(reply)
    verdicts = odd.hubspot.add("1", Batch([person(n) for n in range(5)]))
    assert [v.remote_id for v in verdicts] == [record_of(f"p{n}@") for n in range(5)]
    assert odd.asked_for("memberships/add") == [[v.remote_id for v in reversed(verdicts)]]


def test_a_contact_that_comes_back_under_another_address_is_sent_again_alone(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/upsert":
            inputs = asked["inputs"]
            shown = [i["id"] if i["id"] != "p2@example.com" else "first-address@example.com" for i in inputs]
            results = [
                {"id": record_of(i["id"]), "properties": {"email": address}}
                for i, address in zip(inputs, shown, strict=True)
            ]
            return 200, {"results": results}
        return JOINED

    odd = answering(reply)
    verdicts = odd.hubspot.add("1", Batch([person(n) for n in range(4)]))
    assert [v.remote_id for v in verdicts] == [record_of(f"p{n}@") for n in range(4)]
    assert [len(asked["inputs"]) for asked in odd.asked_for("batch/upsert")] == [4, 1]


def test_an_error_may_name_the_contact_by_its_id(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/upsert":
            good = [i for i in asked["inputs"] if i["id"] != "p1@example.com"]
            results = [{"id": record_of(i["id"]), "objectWriteTraceId": i["objectWriteTraceId"]} for i in good]
            error = {"category": "CONFLICT", "message": "p1@example.com", "context": {"ids": ["P1@example.com"]}}
            return 207, {"results": results, "errors": [error]}
        return JOINED

    verdicts = answering(reply).hubspot.add("1", Batch([person(n) for n in range(3)]))
    assert kinds(verdicts) == ["accepted", "rejected", "accepted"]
    assert (verdicts[1].reason_code, verdicts[1].reason) == ("CONFLICT", "conflict")


def test_a_contact_the_answer_does_not_mention_is_unknown(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/upsert":
            first = asked["inputs"][0]
            return 200, {"results": [{"id": "9", "objectWriteTraceId": first["objectWriteTraceId"]}]}
        return JOINED

    odd = answering(reply)
    assert kinds(odd.hubspot.add("1", Batch([person(n) for n in range(3)]))) == ["accepted", "unknown", "unknown"]
    assert len(odd.asked_for("batch/upsert")) == 1


def test_an_address_of_a_contact_is_never_sent_as_a_property_beside_others(answering: Answering) -> None:
    """It would make somebody's second address their first."""

    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/upsert":
            return 200, {"results": [{"id": record_of(i["id"])} for i in asked["inputs"]]}
        return JOINED

    odd = answering(reply)
    odd.hubspot.add("1", Batch([person(1)]))
    [asked] = odd.asked_for("batch/upsert")
    assert asked["inputs"][0]["id"] == "p1@example.com"
    assert asked["inputs"][0]["properties"] == {"firstname": "Zoë"}


def test_a_contact_that_vanished_before_it_joined_comes_back_in_the_next_run(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/upsert":
            results = [
                {"id": record_of(i["id"]), "objectWriteTraceId": i["objectWriteTraceId"]} for i in asked["inputs"]
            ]
            return 200, {"results": results}
        return 200, {"recordIdsMissing": [record_of("p1@")]}

    assert kinds(answering(reply).hubspot.add("1", Batch([person(n) for n in range(3)]))) == [
        "accepted",
        "retryable",
        "accepted",
    ]


def test_who_is_found_by_a_second_address_leaves_the_list(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            properties = {"email": "first@example.com", "hs_additional_emails": "other@example.com; P1@example.com"}
            return 200, {"results": [{"id": "77", "properties": properties}]}
        return JOINED

    odd = answering(reply)
    assert kinds(odd.hubspot.remove("1", Batch([person(1), person(2)]))) == ["accepted", "accepted"]
    assert odd.asked_for("memberships/remove") == [["77"]]


def test_who_comes_back_under_an_unknown_address_is_looked_up_alone(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            known = [i["id"] for i in asked["inputs"] if i["id"] in ("p1@example.com", "p2@example.com")]
            return 207, {
                "results": [{"id": record_of(email), "properties": {"email": "x@example.com"}} for email in known]
            }
        return JOINED

    odd = answering(reply)
    assert kinds(odd.hubspot.remove("1", Batch([person(n) for n in range(4)]))) == ["accepted"] * 4
    assert odd.asked_for("memberships/remove") == [["1001", "1002"]]


def test_who_cannot_be_looked_up_is_not_taken_for_gone(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            hit = any(i["id"] == "p1@example.com" for i in asked["inputs"])
            errors = [{"category": "OBJECT_NOT_FOUND", "context": {"ids": [i["id"] for i in asked["inputs"][1:]]}}]
            return 207, {"results": [], "errors": [{"category": "INTERNAL_ERROR"}] if hit else errors}
        return JOINED

    verdicts = answering(reply).hubspot.remove("1", Batch([person(1), person(2)]))
    assert kinds(verdicts) == ["retryable", "accepted"]


def test_a_contact_that_was_merged_into_another_leaves_the_list_all_the_same(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            properties = {"email": "survivor@example.com", "hs_additional_emails": "p1@example.com"}
            return 200, {"results": [{"id": "500", "properties": properties}]}
        return 200, {"recordIdsRemoved": [], "recordIdsMissing": [r for r in asked if r == "1001"]}

    odd = answering(reply)
    members = [Outgoing({"email": "p1@example.com"}, "1001"), Outgoing({"email": "p2@example.com"}, "1002")]
    assert kinds(odd.hubspot.remove("1", Batch(members))) == ["accepted", "accepted"]
    assert odd.asked_for("memberships/remove") == [["1001", "1002"], ["500"]]
    assert [i["id"] for asked in odd.asked_for("batch/read") for i in asked["inputs"]] == ["p1@example.com"]


SHAPES: list[Any] = [
    b"",
    b"null",
    b"[]",
    b"5",
    b'"text"',
    b"{}",
    b"<html>",
    {"results": 5},
    {"results": [None, 1, "x", [], {}]},
    {"results": [{"id": None}], "errors": "many"},
    {"results": [{"id": "1", "objectWriteTraceId": "99999", "properties": 7}]},
    {"errors": [{"context": 3}, {"context": {"objectWriteTraceId": 0, "ids": {}}}, {"message": {}, "category": []}]},
    {"list": None},
    {"list": {"listId": None}},
    {"list": []},
    {"recordIdsMissing": 8},
    {"status": "error", "category": {}, "correlationId": [], "errors": {"a": 1}, "policyName": 3},
    {"errors": [{"context": {"requiredScopes": "all"}}, "x"]},
]


@pytest.mark.parametrize("status", [200, 207, 400, 401, 403, 404, 409, 418])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_answers_of_the_wrong_shape_are_an_error_of_ours_or_a_verdict(
    answering: Answering, status: int, shape: Any
) -> None:
    hubspot = answering(lambda _operation, _asked: (status, shape)).hubspot
    hubspot._http._first_backoff_s = 0.001
    calls: list[Callable[[], Any]] = [
        lambda: hubspot.add("1", Batch([person(1), person(2)])),
        lambda: hubspot.remove("1", Batch([person(1), Outgoing({}, "5")])),
        lambda: hubspot.matched_users("1"),
        lambda: hubspot.ensure_list(ListRequest("x")),
        lambda: hubspot.ensure_list(ListRequest("x", id="1")),
    ]
    for call in calls:
        try:
            found = call()
        except AudienceSyncsError as error:
            seen = str(error)
        else:
            seen = repr(found)
            if isinstance(found, list) and status >= 400:
                assert "accepted" not in kinds(found)
        assert "example.com" not in seen


def test_an_empty_success_accepts_nobody(answering: Answering) -> None:
    verdicts = answering(lambda _operation, _asked: (200, {})).hubspot.add("1", Batch([person(1), person(2)]))
    assert kinds(verdicts) == ["unknown", "unknown"]


def test_a_spent_day_is_not_waited_for_and_stops_the_other_calls_at_once(answering: Answering) -> None:
    body = {"status": "error", "errorType": "RATE_LIMIT", "policyName": "DAILY"}
    odd = answering(lambda _operation, _asked: (429, body))
    started = time.monotonic()
    verdicts = odd.hubspot.add("1", Batch([person(n) for n in range(250)]))
    assert set(kinds(verdicts)) == {"retryable"}
    assert len(odd.calls) == 1
    assert time.monotonic() - started < 2


def test_the_size_is_a_number_or_nothing(answering: Answering) -> None:
    sizes: Iterator[Any] = iter(["12", 7, None, -1, "many"])
    odd = answering(lambda _operation, _asked: (200, {"list": {"listId": "1", "size": next(sizes)}}))
    assert isinstance(odd.hubspot, TellsMatchedUsers)
    assert [odd.hubspot.matched_users("1").upper for _ in range(5)] == [12, 7, None, None, None]


@pytest.mark.parametrize("setting", [{"attempts": "many"}, {"timeout_s": 0}, {"requests_per_s": True}])
def test_a_setting_that_is_no_number_is_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match=next(iter(setting))):
        opened("http://127.0.0.1:1", **setting)
