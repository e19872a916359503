"""HubSpot beyond adding and removing, over real HTTP: a list's members, contacts without a list, emptied and archived ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import requests

from audience_syncs.destinations.contract import (
    ClearsFields,
    DeletesRecords,
    ListMember,
    ListRequest,
    ReadsMembers,
    WritesRecords,
)
from audience_syncs.model.config import Mode
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, Verdict
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.hubspot_bench import Odd, Reply, World, kinds, opened, person

CONTACTS = "/crm/objects/2026-09/contacts"
UNANSWERED = ["server_error", "server_error_after", "timeout_before", "timeout_after", "reset_before", "reset_after"]


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return World(simulators.url)


Answering = Callable[[Callable[[str, Any], Reply]], Odd]


@pytest.fixture
def answering() -> Iterator[Answering]:
    opened_here: list[Odd] = []

    def start(reply: Callable[[str, Any], Reply]) -> Odd:
        opened_here.append(Odd(reply))
        return opened_here[-1]

    yield start
    for odd in opened_here:
        odd.close()


def everybody(world: World, list_id: str = "") -> list[ListMember]:
    return [member for page in world.hubspot.members(list_id or world.list_id) for member in page]


def put(world: World, *contacts: dict[str, str]) -> None:
    """People whom somebody else puts into the list."""
    path = f"{world.url}/_simulator/hubspot/lists/{world.list_id}/members"
    requests.post(path, json={"members": list(contacts)}, timeout=10).raise_for_status()


def contact(world: World, record: str | None) -> dict[str, str] | None:
    """A contact's properties as HubSpot shows them, by record id or email; None where there is none."""
    by = "email" if record and "@" in record else "hs_object_id"
    answer = requests.get(
        f"{world.url}/hubspot{CONTACTS}/{record}",
        params={"idProperty": by, "properties": "email,firstname,city,company"},
        headers={"Authorization": "Bearer somebody-else"},
        timeout=10,
    )
    found: dict[str, str] = answer.json().get("properties", {})
    return found if answer.status_code == 200 else None


def archive(world: World, *records: str | None) -> None:
    """As somebody deletes contacts in HubSpot's own pages."""
    world.call("POST", f"{CONTACTS}/batch/archive", {"inputs": [{"id": record} for record in records]})


def added(world: World, *people: Outgoing) -> list[Outgoing]:
    """The people as the ledger would know them: in the list, with their identifiers as sent and the record's id."""
    verdicts = world.hubspot.add(world.list_id, Batch(people))
    assert set(kinds(verdicts)) == {"accepted"}
    return [Outgoing({"email": p.fields["email"]}, v.remote_id) for p, v in zip(people, verdicts, strict=True)]


def test_hubspot_can_do_what_its_declaration_says(world: World) -> None:
    for ability in (ReadsMembers, WritesRecords, ClearsFields, DeletesRecords):
        assert isinstance(world.hubspot, ability)


# Who is in the list


@pytest.mark.parametrize("count", [0, 1, 200, 201, 650])
def test_everybody_in_the_list_is_told_once_page_by_page(world: World, count: int) -> None:
    people = [person(n) for n in range(count)]
    if people:
        added(world, *people)
    before = world.hubspot.requests_sent
    found = everybody(world)
    assert sorted(str(m.fields["email"]) for m in found) == sorted(str(p.fields["email"]) for p in people)
    assert len({member.remote_id for member in found}) == count
    assert world.hubspot.requests_sent - before == max(1, -(-count // 200)) + -(-count // 100)


def test_people_whom_others_put_there_are_told_with_all_addresses_as_they_would_be_sent(world: World) -> None:
    put(
        world,
        {"email": "Jörg.Müller@Käufer.example"},
        {"email": "first@example.com", "hs_additional_emails": "SECOND@example.com; third@example.com"},
        {"firstname": "Without any address"},
        {"email": "用户@例え.jp"},
    )
    found = everybody(world)
    assert [member.fields for member in found] == [
        {"email": "jörg.müller@käufer.example"},
        {"email": ["first@example.com", "second@example.com", "third@example.com"]},
        {},
        {"email": "用户@例え.jp"},
    ]
    assert all(member.remote_id for member in found)


def test_the_ids_that_are_told_are_those_by_which_people_leave(world: World) -> None:
    put(world, {"email": "a@example.com"}, {"firstname": "Without any address"})
    leavers = [Outgoing({}, member.remote_id) for member in everybody(world)]
    assert kinds(world.hubspot.remove(world.list_id, Batch(leavers))) == ["accepted", "accepted"]
    assert everybody(world) == []


def test_who_is_deleted_or_joins_while_the_list_is_read_confuses_nothing(world: World) -> None:
    leavers = added(world, *(person(n) for n in range(450)))
    pages = world.hubspot.members(world.list_id)
    found = list(next(pages))
    archive(world, leavers[0].remote_id, leavers[300].remote_id)
    added(world, person(9_999))
    found += [member for page in pages for member in page]
    emails = [member.fields["email"] for member in found]
    assert len(emails) == len(set(emails)) == 450  # 300 was gone before its page, 9999 came last
    assert "p300@example.com" not in emails
    assert emails[-1] == "p9999@example.com"


@pytest.mark.parametrize("operation", ["memberships.join_order", "contacts.read"])
@pytest.mark.parametrize("kind", [*UNANSWERED, "malformed", "rate_limit"])
def test_a_list_that_cannot_be_read_is_never_an_empty_one(world: World, operation: str, kind: str) -> None:
    added(world, *(person(n) for n in range(250)))
    world.fault(kind, operation=operation, skip=1, delay_s=3, retry_after_s=0.1)
    with pytest.raises(NotApplied):
        everybody(world)


def test_passing_faults_are_not_noticed_while_a_list_is_read(world: World) -> None:
    added(world, *(person(n) for n in range(450)))
    world.fault("server_error", operation="memberships.join_order|batch/read", rate=0.5, count=3)
    hubspot = opened(f"{world.url}/hubspot", attempts=5)
    assert len([member for page in hubspot.members(world.list_id) for member in page]) == 450


def test_a_list_that_is_gone_has_no_members_to_tell(world: World) -> None:
    requests.post(f"{world.url}/_simulator/hubspot/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    with pytest.raises(ListMissing):
        everybody(world)
    with pytest.raises(AccessRefused):
        list(opened(f"{world.url}/hubspot", token="noscope").members("1"))


PAGES: list[Any] = [
    {},
    [],
    None,
    b"",
    b"<html>",
    {"results": None},
    {"results": {}},
    {"results": ["1"]},
    {"results": [{}]},
    {"results": [{"recordId": None}]},
    {"results": [], "total": 3},
    {"results": [], "paging": {"next": {}}},
    {"results": [], "paging": {"next": {"after": ""}}},
    {"results": [], "paging": {"next": "more"}},
    {"results": [], "paging": "more"},
    {"results": [], "paging": {"next": {"after": "the same for ever"}}},
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_memberships_of_another_shape_are_never_nobody(answering: Answering, page: Any) -> None:
    hubspot = answering(lambda _operation, _asked: (200, page)).hubspot
    hubspot._http._first_backoff_s = 0.001
    with pytest.raises(NotApplied):
        list(hubspot.members("1"))


@pytest.mark.parametrize(
    "read", [{}, {"results": []}, {"results": [{"id": "1"}]}, {"results": "x"}, {"results": [], "errors": [{}]}]
)
def test_members_whose_contacts_are_left_out_of_the_answer_are_not_passed_over(answering: Answering, read: Any) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        return 200, read if operation == "batch/read" else {"results": [{"recordId": "1"}, {"recordId": "2"}]}

    with pytest.raises(NotApplied):
        list(answering(reply).hubspot.members("1"))


def test_a_member_whose_contact_was_merged_is_told_under_the_contact_it_went_into(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation != "batch/read":
            return 200, {"results": [{"recordId": "1"}, {"recordId": "2"}, {"recordId": "3"}]}
        merged = {"email": "a@example.com", "hs_additional_emails": "b@example.com", "hs_merged_object_ids": "1;2"}
        results = [{"id": "900", "properties": merged}, {"id": "3", "properties": {"email": None}}]
        return 200, {"results": results}

    [page] = answering(reply).hubspot.members("1")
    assert page == [ListMember({"email": ["a@example.com", "b@example.com"]}, "900"), ListMember({}, "3")]


# Contacts without a list


def test_an_upsert_makes_and_updates_contacts_and_touches_no_list(world: World) -> None:
    first = world.hubspot.write(Batch([person(1), person(2)]), Mode.UPSERT)
    second = world.hubspot.write(Batch([person(2, firstname="Анна"), person(3)]), Mode.UPSERT)
    assert kinds([*first, *second]) == ["accepted"] * 4
    assert first[1].remote_id == second[0].remote_id
    assert (contact(world, "p2@example.com") or {})["firstname"] == "Анна"
    assert world.members() == {}
    assert not [operation for operation in world.operations() if operation.startswith("memberships")]


def test_an_update_changes_who_is_there_and_rejects_who_is_not(world: World) -> None:
    world.hubspot.write(Batch([person(1)]), Mode.UPSERT)
    batch = Batch(
        [person(1, city="Zürich"), person(2), Outgoing({"firstname": "Nobody"}), Outgoing({"email": "p1@example.com"})]
    )
    verdicts = world.hubspot.write(batch, Mode.UPDATE)
    assert kinds(verdicts) == ["accepted", "rejected", "rejected", "accepted"]
    assert [v.reason_code for v in verdicts] == ["", "NOT_FOUND", "NO_IDENTIFIER", ""]
    assert "no contact" in verdicts[1].reason
    assert verdicts[0].remote_id == verdicts[3].remote_id
    assert (contact(world, "p1@example.com") or {})["city"] == "Zürich"
    assert contact(world, "p2@example.com") is None


def test_an_insert_makes_who_is_not_there_and_leaves_the_others_as_they_are(world: World) -> None:
    [known] = world.hubspot.write(Batch([person(1)]), Mode.UPSERT)
    verdicts = world.hubspot.write(Batch([person(1, firstname="Other"), person(2)]), Mode.INSERT)
    assert kinds(verdicts) == ["accepted", "accepted"]
    assert verdicts[0].remote_id == known.remote_id
    assert (contact(world, "p1@example.com") or {})["firstname"] == "Zoë"
    assert contact(world, verdicts[1].remote_id) is not None


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.UPDATE, Mode.INSERT])
def test_members_with_one_address_are_one_contact_and_each_has_a_verdict(world: World, mode: Mode) -> None:
    world.hubspot.write(Batch([person(2)]), Mode.UPSERT)
    batch = Batch(
        [person(1, firstname="A"), person(2, firstname="A", city="Köln"), person(1), person(2, firstname="B")]
    )
    verdicts = world.hubspot.write(batch, mode)
    assert (verdicts[0], verdicts[1]) == (verdicts[2], verdicts[3])
    if mode is not Mode.INSERT:
        held = contact(world, "p2@example.com") or {}
        assert (held["firstname"], held["city"]) == ("B", "Köln")


def test_two_addresses_of_one_contact_update_it_once_and_its_first_address_stays(world: World) -> None:
    put(world, {"email": "first@example.com", "hs_additional_emails": "second@example.com"})
    named = {"first@example.com": "A", "second@example.com": "B"}
    people = [Outgoing({"email": email, "firstname": name}) for email, name in named.items()]
    verdicts = world.hubspot.write(Batch(people), Mode.UPDATE)
    assert kinds(verdicts) == ["accepted", "accepted"]
    assert verdicts[0].remote_id == verdicts[1].remote_id
    held = contact(world, verdicts[0].remote_id) or {}
    assert (held["email"], held["firstname"]) == ("first@example.com", "B")


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.UPDATE, Mode.INSERT])
def test_a_contact_that_is_refused_does_not_stop_the_others(world: World, mode: Mode) -> None:
    if mode is Mode.UPDATE:
        world.hubspot.write(Batch([person(n) for n in range(250)]), Mode.UPSERT)
    batch = Batch([person(n, **({"missing_color": "red"} if n == 117 else {"city": "Åre"})) for n in range(250)])
    verdicts = world.hubspot.write(batch, mode)
    assert [n for n, verdict in enumerate(verdicts) if verdict.kind != "accepted"] == [117]
    assert (verdicts[117].kind.value, verdicts[117].reason) == ("rejected", "missing_color: property doesnt exist")
    assert len({verdict.remote_id for verdict in verdicts}) == 250


@pytest.mark.parametrize("kind", [*UNANSWERED, "malformed", "rate_limit"])
@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.UPDATE, Mode.INSERT])
def test_writing_without_an_answer_is_unknown_for_those_alone(world: World, mode: Mode, kind: str) -> None:
    if mode is Mode.UPDATE:
        world.hubspot.write(Batch([person(n) for n in range(150)]), Mode.UPSERT)
    operation = "contacts.update" if mode is Mode.UPDATE else "contacts.upsert"
    world.fault(kind, operation=operation, skip=1, delay_s=3, retry_after_s=0.1)
    verdicts = world.hubspot.write(Batch([person(n, city="Oslo") for n in range(150)]), mode)
    assert set(kinds(verdicts[:100])) == {"accepted"}
    assert set(kinds(verdicts[100:])) == {"retryable" if kind == "rate_limit" else "unknown"}


@pytest.mark.parametrize("kind", [*UNANSWERED, "malformed", "rate_limit"])
@pytest.mark.parametrize("mode", [Mode.UPDATE, Mode.INSERT])
def test_a_look_up_without_an_answer_writes_nothing(world: World, mode: Mode, kind: str) -> None:
    world.hubspot.write(Batch([person(1)]), Mode.UPSERT)
    world.fault(kind, operation="contacts.read", delay_s=3, retry_after_s=0.1)
    with pytest.raises(NotApplied):
        world.hubspot.write(Batch([person(1, firstname="Other"), person(2)]), mode)
    assert (contact(world, "p1@example.com") or {})["firstname"] == "Zoë"
    assert contact(world, "p2@example.com") is None


def test_who_cannot_be_looked_up_comes_back_in_the_next_run(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            return 207, {"results": [], "errors": [{"category": "INTERNAL_ERROR"}]}
        return 200, {"results": []}

    for mode in (Mode.UPDATE, Mode.INSERT):
        odd = answering(reply)
        assert kinds(odd.hubspot.write(Batch([person(1), person(2)]), mode)) == ["retryable", "retryable"]
        assert not [operation for operation, _ in odd.calls if operation != "batch/read"]


def found_and_then(update: Callable[[Any], Reply]) -> Callable[[str, Any], Reply]:
    """Everybody has a record, ``r-`` and their key; updates are answered as given."""

    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            by_email = asked.get("idProperty") == "email"
            ids = [i["id"] for i in asked["inputs"]]
            return 200, {
                "results": [
                    {"id": f"r-{i}" if by_email else i, "properties": {"email": i if by_email else None}} for i in ids
                ]
            }
        if operation == "batch/update":
            return update(asked)
        if operation == "batch/archive":
            return 204, b""
        return 200, {"recordIdsMissing": []}

    return reply


def test_a_contact_deleted_between_look_up_and_update_is_not_made_again(answering: Answering) -> None:
    def update(asked: Any) -> Reply:
        gone = [i["id"] for i in asked["inputs"] if i["id"] == "r-p2@example.com"]
        if gone:  # without multi-status, one that is gone refuses the whole call
            return 404, {"status": "error", "category": "OBJECT_NOT_FOUND", "message": "resource not found"}
        return 200, {"results": [{"id": i["id"]} for i in asked["inputs"]]}

    odd = answering(found_and_then(update))
    verdicts = odd.hubspot.write(Batch([person(n) for n in range(5)]), Mode.UPDATE)
    assert kinds(verdicts) == ["accepted", "accepted", "rejected", "accepted", "accepted"]
    assert verdicts[2].reason_code == "NOT_FOUND"
    assert not odd.asked_for("batch/upsert")


@pytest.mark.parametrize("mode", [Mode.UPSERT, Mode.UPDATE, Mode.INSERT])
def test_a_batch_of_which_every_contact_is_refused_is_refused(world: World, mode: Mode) -> None:
    if mode is Mode.UPDATE:
        world.hubspot.write(Batch([person(n) for n in range(1_000)]), Mode.UPSERT)
    world.fault("reject_batch", operation="contacts.upsert|batch/update|batch/upsert")
    before = world.hubspot.requests_sent
    with pytest.raises(BatchRefused):
        world.hubspot.write(Batch([person(n) for n in range(1_000)]), mode)
    assert world.hubspot.requests_sent - before < 60


def test_what_is_written_to_has_a_name_and_an_address(world: World) -> None:
    found = world.hubspot.records()
    assert (found.name, found.created) == ("all contacts", False)
    assert found.url == "https://app.hubspot.com/contacts/7/objects/0-1"


@pytest.mark.parametrize("mode", [Mode.MIRROR, Mode.ADD, Mode.REMOVE])
def test_modes_with_a_list_write_no_records(world: World, mode: Mode) -> None:
    with pytest.raises(ValueError, match=mode):
        world.hubspot.write(Batch([person(1)]), mode)


# Leavers whose fields are emptied


def test_a_leaver_goes_out_of_the_list_and_the_given_properties_are_empty(world: World) -> None:
    [leaver, _stays] = added(world, person(1, city="Köln", company="ACME"), person(2, city="Köln"))
    verdicts = world.hubspot.clear_fields(
        world.list_id, Batch([leaver]), ["firstname", "city", "email", "hs_object_id"]
    )
    assert kinds(verdicts) == ["accepted"]
    assert list(world.members()) == ["p2@example.com"]
    held = contact(world, leaver.remote_id) or {}
    assert {name: held.get(name) for name in ("email", "firstname", "city", "company")} == {
        "email": "p1@example.com",
        "firstname": None,
        "city": None,
        "company": "ACME",
    }
    assert (contact(world, "p2@example.com") or {})["city"] == "Köln"


def test_clearing_never_makes_a_contact(world: World) -> None:
    [gone] = added(world, person(1))
    archive(world, gone.remote_id)
    before = len(world.operations())
    never_there = Outgoing({"email": "p2@example.com"})
    nothing_left = Outgoing({})  # all identifiers are withheld: they are a staying member's, too
    batch = Batch([gone, never_there, nothing_left])
    assert kinds(world.hubspot.clear_fields(world.list_id, batch, ["city"])) == ["accepted"] * 3
    assert contact(world, "p1@example.com") is None
    assert contact(world, "p2@example.com") is None
    assert not {"contacts.upsert", "contacts.update"}.intersection(world.operations()[before:])


def test_a_leaver_who_is_known_by_address_only_is_found_and_emptied(world: World) -> None:
    added(world, person(1, city="Köln"))
    by_address = Outgoing({"email": "p1@example.com"})
    assert (
        kinds(world.hubspot.clear_fields(world.list_id, Batch([by_address, by_address]), ["city"])) == ["accepted"] * 2
    )
    assert world.members() == {}
    assert "city" not in (contact(world, "p1@example.com") or {"city": ""})


def test_with_nothing_but_identifiers_to_clear_leavers_only_leave(world: World) -> None:
    leavers = added(world, person(1))
    assert kinds(world.hubspot.clear_fields(world.list_id, Batch(leavers), ["email"])) == ["accepted"]
    assert world.members() == {}
    assert "contacts.update" not in world.operations()


@pytest.mark.parametrize(
    ("field", "code"), [("missing_color", "PROPERTY_DOESNT_EXIST"), ("createdate", "READ_ONLY_VALUE")]
)
def test_a_property_that_cannot_be_emptied_is_told_and_the_leavers_are_out_all_the_same(
    world: World, field: str, code: str
) -> None:
    leavers = added(world, *(person(n) for n in range(120)))
    verdicts = world.hubspot.clear_fields(world.list_id, Batch(leavers), ["city", field])
    assert set(kinds(verdicts)) == {"rejected"}
    assert {verdict.reason_code for verdict in verdicts} == {code}
    assert verdicts[0].reason.startswith("out of the list, but")
    assert field in verdicts[0].reason
    assert world.members() == {}


def test_a_clearing_that_is_refused_for_all_ends_soon_and_is_nobodys_acceptance(world: World) -> None:
    leavers = added(world, *(person(n) for n in range(1_000)))
    world.fault("reject_batch", operation="contacts.update")
    before = world.hubspot.requests_sent
    verdicts = world.hubspot.clear_fields(world.list_id, Batch(leavers), ["city"])
    assert set(kinds(verdicts)) == {"rejected"}
    assert world.hubspot.requests_sent - before < 60


def test_some_refused_clearings_do_not_stop_the_others(world: World) -> None:
    leavers = added(world, *(person(n) for n in range(100)))
    world.fault("partial", operation="contacts.update", share=0.1)
    verdicts = world.hubspot.clear_fields(world.list_id, Batch(leavers), ["firstname"])
    assert kinds(verdicts).count("rejected") == 10
    accepted = {leaver.remote_id for leaver, v in zip(leavers, verdicts, strict=True) if v.kind == "accepted"}
    assert done_among(world, "clear", leavers) == accepted


def test_a_contact_deleted_between_look_up_and_clearing_has_nothing_left_to_empty(answering: Answering) -> None:
    def update(asked: Any) -> Reply:
        results = [{"id": i["id"], "objectWriteTraceId": i["objectWriteTraceId"]} for i in asked["inputs"][1:]]
        error = {"category": "OBJECT_NOT_FOUND", "context": {"ids": [asked["inputs"][0]["id"]]}}
        return 207, {"results": results, "errors": [error]}

    odd = answering(found_and_then(update))
    verdicts = odd.hubspot.clear_fields("1", Batch([Outgoing({}, "11"), Outgoing({}, "12")]), ["city"])
    assert kinds(verdicts) == ["accepted", "accepted"]
    [asked] = odd.asked_for("batch/update")
    assert [i["properties"] for i in asked["inputs"]] == [{"city": ""}] * 2


def test_a_clearing_of_which_the_answer_tells_nothing_is_unknown(answering: Answering) -> None:
    for answer in ({}, {"results": []}):
        odd = answering(found_and_then(lambda _asked, answer=answer: (200, answer)))
        assert kinds(odd.hubspot.clear_fields("1", Batch([Outgoing({}, "11")]), ["city"])) == ["unknown"]


# Leavers whose contact is deleted


def test_a_leavers_contact_is_archived_and_its_address_is_free_again(world: World) -> None:
    leavers = added(world, *(person(n) for n in range(250)))
    other_list = world.hubspot.ensure_list(ListRequest("Another list")).id
    world.hubspot.add(other_list, Batch([person(0), person(249)]))
    verdicts = world.hubspot.delete_records(world.list_id, Batch(leavers[:249]))
    assert kinds(verdicts) == ["accepted"] * 249
    assert list(world.members()) == list(world.members(other_list)) == ["p249@example.com"]
    assert contact(world, leavers[0].remote_id) is None
    [again] = added(world, person(0))
    assert again.remote_id != leavers[0].remote_id


def test_who_is_not_there_is_deleted_already(world: World) -> None:
    [gone] = added(world, person(1))
    archive(world, gone.remote_id)
    before = len(world.operations())
    batch = Batch([gone, Outgoing({"email": "p2@example.com"}), Outgoing({})])
    assert kinds(world.hubspot.delete_records(world.list_id, batch)) == ["accepted"] * 3
    assert "contacts.archive" not in world.operations()[before:]


def test_two_leavers_with_one_contact_delete_it_once(world: World) -> None:
    [one, other] = added(world, person(1), person(1, firstname="B"))
    batch = Batch([one, other, Outgoing({"email": "p1@example.com"})])
    assert kinds(world.hubspot.delete_records(world.list_id, batch)) == ["accepted"] * 3
    assert contact(world, "p1@example.com") is None
    assert world.operations().count("contacts.archive") == 1


def test_a_new_contact_of_the_same_address_is_somebody_elses_and_stays(world: World) -> None:
    [gone] = added(world, person(1))
    archive(world, gone.remote_id)
    [new] = world.hubspot.write(Batch([person(1, firstname="New")]), Mode.UPSERT)
    assert kinds(world.hubspot.delete_records(world.list_id, Batch([gone]))) == ["accepted"]
    assert kinds(world.hubspot.clear_fields(world.list_id, Batch([gone]), ["firstname"])) == ["accepted"]
    assert (contact(world, new.remote_id) or {})["firstname"] == "New"


def test_people_whom_others_put_there_are_never_deleted(world: World) -> None:
    leavers = added(world, person(1))
    put(world, {"email": "other@example.com"})
    world.hubspot.delete_records(world.list_id, Batch([*leavers, person(2)]))
    assert list(world.members()) == ["other@example.com"]


def test_a_contact_that_was_merged_is_deleted_as_the_one_it_went_into(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            return 200, {
                "results": [{"id": "900", "properties": {"email": "x@example.com", "hs_merged_object_ids": "11;12"}}]
            }
        return (204, b"") if operation == "batch/archive" else (200, {"recordIdsMissing": []})

    odd = answering(reply)
    leavers = [Outgoing({"email": "a@example.com"}, "11"), Outgoing({"email": "b@example.com"}, "12")]
    assert kinds(odd.hubspot.delete_records("1", Batch(leavers))) == ["accepted", "accepted"]
    assert odd.asked_for("batch/archive") == [{"inputs": [{"id": "900"}]}]


def test_a_contact_that_hubspot_refuses_to_delete_is_found_among_the_others(world: World) -> None:
    leavers = added(world, *(person(n) for n in range(100)))
    stubborn = str(leavers[17].remote_id)
    world.fault("reject_batch", operation="contacts.archive", contains=f'"{stubborn}"')
    verdicts = world.hubspot.delete_records(world.list_id, Batch(leavers))
    assert [n for n, verdict in enumerate(verdicts) if verdict.kind != "accepted"] == [17]
    assert verdicts[17].kind == "rejected"
    assert contact(world, stubborn) is not None
    assert world.members() == {}


@pytest.mark.parametrize("status", [200, 202, 207])
def test_an_archive_that_is_not_answered_as_documented_deletes_nobody_for_sure(
    answering: Answering, status: int
) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            return 200, {"results": [{"id": i["id"]} for i in asked["inputs"]]}
        return (status, {"errors": []}) if operation == "batch/archive" else (200, {"recordIdsMissing": []})

    assert kinds(answering(reply).hubspot.delete_records("1", Batch([Outgoing({}, "11")]))) == ["unknown"]


# Both, under faults

REMOVALS = {"clear": "contacts.update", "delete": "contacts.archive"}


def leave(world: World, how: str, batch: Batch) -> Sequence[Verdict]:
    if how == "clear":
        return world.hubspot.clear_fields(world.list_id, batch, ["firstname"])
    return world.hubspot.delete_records(world.list_id, batch)


def done_among(world: World, how: str, leavers: Sequence[Outgoing]) -> set[str | None]:
    """Record ids of those whose contact is deleted, or still there with an empty first name."""
    found: dict[str, dict[str, str]] = {}
    for start in range(0, len(leavers), 100):
        inputs = [{"id": leaver.remote_id} for leaver in leavers[start : start + 100]]
        read = world.call("POST", f"{CONTACTS}/batch/read", {"properties": ["firstname"], "inputs": inputs})
        found |= {result["id"]: result["properties"] for result in read["results"]}
    if how == "delete":
        return {leaver.remote_id for leaver in leavers} - found.keys()
    return {record for record, properties in found.items() if "firstname" not in properties}


@pytest.mark.parametrize("kind", [*UNANSWERED, "rate_limit"])
@pytest.mark.parametrize("how", REMOVALS)
def test_who_is_out_of_the_list_is_never_said_to_be_in_it_still(world: World, how: str, kind: str) -> None:
    leavers = added(world, *(person(n) for n in range(150)))
    world.fault(kind, operation=REMOVALS[how], skip=1, delay_s=3, retry_after_s=0.1)
    verdicts = leave(world, how, Batch(leavers))
    assert sorted(kinds(verdicts)) == ["accepted"] * 100 + ["unknown"] * 50
    assert world.members() == {}
    accepted = {leaver.remote_id for leaver, v in zip(leavers, verdicts, strict=True) if v.kind == "accepted"}
    world.no_more_faults()
    assert accepted <= done_among(world, how, leavers)


@pytest.mark.parametrize("how", REMOVALS)
def test_nothing_happens_to_leavers_who_cannot_be_looked_up(world: World, how: str) -> None:
    leavers = added(world, person(1))
    for kind in ("server_error", "rate_limit"):
        world.fault(kind, operation="contacts.read", retry_after_s=0.1)
        with pytest.raises(NotApplied):
            leave(world, how, Batch(leavers))
    assert list(world.members()) == ["p1@example.com"]
    world.no_more_faults()
    assert not done_among(world, how, leavers)


@pytest.mark.parametrize("how", REMOVALS)
def test_a_list_without_an_answer_leaves_the_contacts_as_they_are(world: World, how: str) -> None:
    leavers = added(world, person(1))
    world.fault("timeout_after", operation="memberships.remove", delay_s=3)
    with pytest.raises(NoAnswer):
        leave(world, how, Batch(leavers))
    assert not done_among(world, how, leavers)


@pytest.mark.parametrize("how", REMOVALS)
def test_only_those_who_were_looked_up_leave(answering: Answering, how: str) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            ids = [i["id"] for i in asked["inputs"]]
            doubt = [{"category": "INTERNAL_ERROR"}] if "11" in ids else []
            return 207, {"results": [{"id": i, "properties": {}} for i in ids if i != "11"], "errors": doubt}
        if operation == "batch/update":
            return 200, {"results": [{"id": i["id"]} for i in asked["inputs"]]}
        return (204, b"") if operation == "batch/archive" else (200, {"recordIdsMissing": []})

    odd = answering(reply)
    batch = Batch([Outgoing({}, "11"), Outgoing({}, "12")])
    verdicts = (
        odd.hubspot.clear_fields("1", batch, ["city"]) if how == "clear" else odd.hubspot.delete_records("1", batch)
    )
    assert kinds(verdicts) == ["retryable", "accepted"]
    assert odd.asked_for("memberships/remove") == [["12"]]


@pytest.mark.parametrize("kind", ["server_error_after", "reset_after", "reset_before", "malformed", "rate_limit"])
@pytest.mark.parametrize("how", REMOVALS)
def test_repeating_a_removal_after_any_fault_ends_with_everybody_gone(world: World, how: str, kind: str) -> None:
    leavers = added(world, *(person(n) for n in range(250)))
    world.fault(kind, rate=0.4, retry_after_s=0.05, count=10, operation="contacts|memberships")
    for _ in range(20):
        try:
            verdicts = leave(world, how, Batch(leavers))
        except (NotApplied, NoAnswer):
            continue
        assert "rejected" not in kinds(verdicts)
        if set(kinds(verdicts)) == {"accepted"}:
            break
    assert set(kinds(verdicts)) == {"accepted"}
    assert world.members() == {}
    world.no_more_faults()
    assert done_among(world, how, leavers) == {leaver.remote_id for leaver in leavers}


@pytest.mark.parametrize("how", REMOVALS)
def test_a_list_or_an_access_that_is_gone_stops_the_run(world: World, how: str) -> None:
    leavers = added(world, person(1))
    requests.post(f"{world.url}/_simulator/hubspot/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    with pytest.raises(ListMissing):
        leave(world, how, Batch(leavers))
    world.fault("forbidden", operation="contacts.read")
    with pytest.raises(AccessRefused):
        leave(world, how, Batch(leavers))
    world.no_more_faults()
    assert not done_among(world, how, leavers)


def test_a_merged_leaver_without_an_answer_does_not_make_the_others_uncertain(answering: Answering) -> None:
    def reply(operation: str, asked: Any) -> Reply:
        if operation == "batch/read":
            return 500, {}
        return 200, {"recordIdsMissing": [record for record in asked if record == "11"]}

    hubspot = answering(reply).hubspot
    hubspot._http._first_backoff_s = 0.001
    batch = Batch([Outgoing({"email": "a@example.com"}, "11"), Outgoing({"email": "b@example.com"}, "12")])
    assert kinds(hubspot.remove("1", batch)) == ["retryable", "accepted"]


SHAPES: list[Any] = [
    b"",
    b"null",
    b"[]",
    b"<html>",
    {},
    {"results": 5},
    {"results": [None, {"id": {}}]},
    {"errors": "x"},
]


@pytest.mark.parametrize("status", [200, 204, 207, 400, 401, 403, 404, 409, 418])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_answers_of_the_wrong_shape_are_an_error_of_ours_or_a_verdict_without_names(
    answering: Answering, status: int, shape: Any
) -> None:
    hubspot = answering(lambda _operation, _asked: (status, b"" if status == 204 else shape)).hubspot
    hubspot._http._first_backoff_s = 0.001
    batch = Batch([person(1), Outgoing({}, "5")])
    calls: list[Callable[[], Any]] = [
        lambda: list(hubspot.members("1")),
        *(lambda mode=mode: hubspot.write(batch, mode) for mode in (Mode.UPSERT, Mode.UPDATE, Mode.INSERT)),
        lambda: hubspot.clear_fields("1", batch, ["city"]),
        lambda: hubspot.delete_records("1", batch),
    ]
    for call in calls:
        try:
            found = call()
        except AudienceSyncsError as error:
            seen = str(error)
        else:
            seen = repr(found)
            assert "accepted" not in kinds(found)
        assert "example.com" not in seen
