"""Mailchimp over real HTTP, to the simulator: consent that is never touched, tags, archives, and every kind of doubt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.mailchimp import Mailchimp
from audience_syncs.model.config import Mode
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
from audience_syncs_tests.mailchimp_bench import KEYS, World, key_of, kinds, opened, person


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return World(simulators.url)


def test_five_hundred_members_are_two_calls(world: World) -> None:
    before = len(world.operations())
    verdicts = world.mailchimp.add(world.list_id, Batch([person(n) for n in range(500)]))
    assert kinds(verdicts) == ["accepted"] * 500
    assert world.operations()[before:] == ["merge_fields.find", "contacts.subscribe", "segments.change"]
    held = world.members()["p7@example.com"]
    assert (held["FNAME"], held["id"], held["status"]) == ("Zoë", verdicts[7].remote_id, "transactional")
    assert kinds(world.mailchimp.remove(world.list_id, Batch([person(n) for n in range(500)]))) == ["accepted"] * 500
    assert world.members() == {}


# Consent


@pytest.mark.parametrize("status", ["subscribed", "unsubscribed", "cleaned", "pending", "transactional"])
def test_nobodys_status_is_changed_by_joining_or_leaving(world: World, status: str) -> None:
    world.set_status("p1@example.com", status)
    assert kinds(world.mailchimp.add(world.list_id, Batch([person(1)]))) == ["accepted"]
    assert world.members()["p1@example.com"]["FNAME"] == "Zoë"
    assert world.contact("p1@example.com")["status"] == status
    assert kinds(world.mailchimp.remove(world.list_id, Batch([person(1)]))) == ["accepted"]
    left = world.contact("p1@example.com")
    assert (left["status"], left["tags"], left["merge_fields"]["FNAME"]) == (status, [], "Zoë")


def test_new_contacts_get_no_marketing_unless_the_settings_say_so(world: World) -> None:
    world.mailchimp.add(world.list_id, Batch([person(1)]))
    opened(world.url, new_contacts="subscribed").add(world.list_id, Batch([person(2)]))
    assert {email: each["status"] for email, each in world.members().items()} == {
        "p1@example.com": "transactional",
        "p2@example.com": "subscribed",
    }


def test_who_unsubscribed_is_tagged_and_not_subscribed_even_where_new_contacts_are(world: World) -> None:
    world.set_status("p1@example.com", "unsubscribed")
    mailchimp = opened(world.url, new_contacts="subscribed")
    assert kinds(mailchimp.add(world.list_id, Batch([person(1)]))) == ["accepted"]
    assert world.members()["p1@example.com"]["status"] == "unsubscribed"


def test_no_request_that_writes_an_existing_contact_names_a_status(world: World) -> None:
    world.set_status("p1@example.com", "subscribed")
    world.mailchimp.add(world.list_id, Batch([person(1)]))
    world.mailchimp.write(Batch([person(1, FNAME="Chloë")]), Mode.UPSERT)
    world.mailchimp.clear_fields(world.list_id, Batch([person(1)]), ["FNAME"])
    sent = [entry for entry in world.received() if entry["operation"] == "contacts.update"]
    assert len(sent) == 3
    assert all(list(entry["body"]) == ["merge_fields"] for entry in sent)
    assert all(
        entry["body"]["update_existing"] is False
        for entry in world.received()
        if entry["operation"] == "contacts.subscribe"
    )


# Who is in the list


def test_where_the_call_for_many_takes_subscribed_contacts_only_the_others_are_tagged_one_by_one(
    simulators: SimulatorServer,
) -> None:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    world = World(simulators.url, "strict-us21")
    world.set_status("p2@example.com", "subscribed")
    world.set_status("p3@example.com", "unsubscribed")
    batch = Batch([person(n) for n in range(5)])
    assert kinds(world.mailchimp.add(world.list_id, batch)) == ["accepted"] * 5
    assert set(world.members()) == {f"p{n}@example.com" for n in range(5)}
    assert world.operations().count("tags.change") == 4
    assert len({verdict.remote_id for verdict in world.mailchimp.add(world.list_id, batch)}) == 5
    assert kinds(world.mailchimp.remove(world.list_id, batch)) == ["accepted"] * 5
    assert world.members() == {}


def test_adding_and_removing_twice_changes_nothing_more(world: World) -> None:
    batch = Batch([person(1), person(2)])
    first = world.mailchimp.add(world.list_id, batch)
    assert world.mailchimp.add(world.list_id, batch) == first
    assert set(world.members()) == {"p1@example.com", "p2@example.com"}
    for _ in range(2):
        assert kinds(world.mailchimp.remove(world.list_id, batch)) == ["accepted", "accepted"]
        assert world.members() == {}


def test_who_has_another_address_at_mailchimp_by_now_is_taken_out_all_the_same(world: World) -> None:
    [verdict] = world.mailchimp.add(world.list_id, Batch([person(1)]))
    world.call("PATCH", f"/members/{key_of('p1@example.com')}", {"email_address": "new@example.com"})
    assert list(world.members()) == ["new@example.com"]
    world.mailchimp.remove(world.list_id, Batch([Outgoing({"email": "p1@example.com"}, verdict.remote_id)]))
    assert world.members() == {}


def test_a_removal_goes_by_every_address_that_is_in_doubt(world: World) -> None:
    world.mailchimp.add(world.list_id, Batch([person(1), person(2)]))
    both = Outgoing({"email": ["p1@example.com", "p2@example.com", "p3@example.com"]})
    assert kinds(world.mailchimp.remove(world.list_id, Batch([both]))) == ["accepted"]
    assert world.members() == {}


def test_more_addresses_than_one_call_takes_are_several_calls(world: World) -> None:
    members = [Outgoing({"email": [f"p{n}@example.com", f"q{n}@example.com"]}) for n in range(300)]
    world.mailchimp.add(world.list_id, Batch([person(n) for n in range(300)]))
    world.fault("server_error", operation="tags.get")  # q0 is asked for, and nothing is learnt
    verdicts = world.mailchimp.remove(world.list_id, Batch(members))
    assert set(kinds(verdicts)) == {"unknown"}
    assert world.members() == {}
    assert world.operations().count("segments.change") == 3


def test_a_contact_that_was_deleted_for_good_is_out_of_the_list_and_does_not_come_back(world: World) -> None:
    [verdict] = world.mailchimp.add(world.list_id, Batch([person(1)]))
    world.call("POST", f"/members/{key_of('p1@example.com')}/actions/delete-permanent")
    left = Batch([Outgoing({"email": "p1@example.com"}, verdict.remote_id)])
    assert kinds(world.mailchimp.remove(world.list_id, left)) == ["accepted"]
    [verdict] = world.mailchimp.add(world.list_id, Batch([person(1)]))
    assert (verdict.kind, verdict.reason_code) == (VerdictKind.REJECTED, "FORGOTTEN")


def test_rows_that_others_put_into_the_list_stay(world: World) -> None:
    world.mailchimp.add(world.list_id, Batch([person(1)]))
    world.put(email_address="Other@example.com")
    assert kinds(world.mailchimp.remove(world.list_id, Batch([person(1), person(2)]))) == ["accepted"] * 2
    assert list(world.members()) == ["other@example.com"]


def test_everybody_in_the_list_is_read_whatever_their_status(world: World) -> None:
    batch = Batch([person(n) for n in range(400)])
    verdicts = [*world.mailchimp.add(world.list_id, batch)]
    world.put(email_address="Other@Example.com", status="unsubscribed")
    read = [member for page in world.mailchimp.members(world.list_id) for member in page]
    assert {member.remote_id for member in read} > {verdict.remote_id for verdict in verdicts}
    assert {member.fields["email"] for member in read} == {
        "other@example.com",
        *(member.fields["email"] for member in batch.members),
    }


def test_the_size_counts_everybody_and_says_how_many_may_be_written_to(world: World) -> None:
    world.put(email_address="other@example.com")
    world.mailchimp.add(world.list_id, Batch([person(n) for n in range(3)]))
    world.pass_time(2)
    size = world.mailchimp.matched_users(world.list_id)
    assert (size.lower, size.upper) == (4, 4)
    assert "1 of them subscribed" in size.note


# Fields


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"BIRTHDAY": "13-32"}, "BIRTHDAY"),
        ({"LNAME": "x" * 300}, "LNAME"),
        ({"ADDRESS.city": "Köln"}, "ADDRESS"),
    ],
)
def test_a_value_that_is_refused_rejects_only_its_member(world: World, fields: Any, reason: str) -> None:
    world.set_status("p1@example.com", "subscribed")
    batch = Batch([person(1, **fields), person(2, **fields), person(3)])
    verdicts = world.mailchimp.add(world.list_id, batch)
    assert [verdict.reason_code for verdict in verdicts] == ["INVALID_FIELD", "INVALID_FIELD", ""]
    assert all(verdict.reason.startswith(reason) for verdict in verdicts[:2])
    assert list(world.members()) == ["p3@example.com"]


def test_an_address_is_sent_as_its_parts(world: World) -> None:
    parts = {"ADDRESS.addr1": "Domplatz 1", "ADDRESS.city": "Köln", "ADDRESS.state": "NRW", "ADDRESS.zip": "50667"}
    assert kinds(world.mailchimp.add(world.list_id, Batch([person(1, **parts)]))) == ["accepted"]
    assert world.members()["p1@example.com"]["ADDRESS"]["zip"] == "50667"
    assert kinds(world.mailchimp.clear_fields(world.list_id, Batch([person(1)]), list(parts))) == ["accepted"]
    assert world.contact("p1@example.com")["merge_fields"]["ADDRESS"] == ""


def test_a_required_field_that_is_not_mapped_stops_nobody(world: World) -> None:
    world.set_status("p2@example.com", "subscribed")
    world.call("POST", "/merge-fields", {"tag": "TIER", "type": "text", "required": True, "name": "Tier"})
    assert kinds(world.mailchimp.add(world.list_id, Batch([person(1), person(2)]))) == ["accepted"] * 2
    assert kinds(world.mailchimp.add(world.list_id, Batch([person(1, TIER="gold")]))) == ["accepted"]
    assert world.members()["p1@example.com"]["TIER"] == "gold"


def test_a_field_that_the_audience_lacks_is_named_and_nothing_is_sent(world: World) -> None:
    with pytest.raises(DestinationError, match="`TIER`") as raised:
        world.mailchimp.add(world.list_id, Batch([person(1, TIER="gold")]))
    assert raised.value.code == "MERGE_FIELD_MISSING"
    assert "contacts.subscribe" not in world.operations()


def test_existing_contacts_can_be_left_as_they_are(world: World) -> None:
    world.set_status("p1@example.com", "subscribed")
    opened(world.url, write_existing=False).add(world.list_id, Batch([person(1)]))
    assert "FNAME" not in world.members()["p1@example.com"]


# Records


def test_an_upsert_touches_no_list(world: World) -> None:
    assert world.mailchimp.records().name == "Audience a1"
    assert kinds(world.mailchimp.write(Batch([person(1)]), Mode.UPSERT)) == ["accepted"]
    assert kinds(world.mailchimp.write(Batch([person(1, FNAME="Chloë")]), Mode.UPSERT)) == ["accepted"]
    assert world.members() == {}
    assert world.contact("p1@example.com")["merge_fields"]["FNAME"] == "Chloë"


def test_an_update_makes_nobody_and_an_insert_changes_nobody(world: World) -> None:
    world.mailchimp.write(Batch([person(1)]), Mode.UPSERT)
    batch = Batch([person(1, FNAME="Chloë"), person(2), Outgoing({"FNAME": "Nobody"})])
    updated = world.mailchimp.write(batch, Mode.UPDATE)
    assert [verdict.reason_code for verdict in updated] == ["", "NOT_FOUND", "NO_IDENTIFIER"]
    bare = Batch([Outgoing({"email": f"p{n}@example.com"}) for n in (1, 2)])
    assert [verdict.reason_code for verdict in world.mailchimp.write(bare, Mode.UPDATE)] == ["", "NOT_FOUND"]
    inserted = world.mailchimp.write(Batch([person(1, FNAME="Ann"), person(2, FNAME="Ann")]), Mode.INSERT)
    assert kinds(inserted) == ["accepted", "accepted"]
    names = [world.contact(f"p{n}@example.com")["merge_fields"]["FNAME"] for n in (1, 2)]
    assert names == ["Chloë", "Ann"]


def test_fields_are_cleared_of_who_left(world: World) -> None:
    world.mailchimp.add(world.list_id, Batch([person(1, LNAME="Fe", PHONE="+491511234567")]))
    fields = ["email", "FNAME", "PHONE"]
    assert kinds(world.mailchimp.clear_fields(world.list_id, Batch([person(1), person(2)]), fields)) == ["accepted"] * 2
    held = world.contact("p1@example.com")
    assert (held["email_address"], held["tags"]) == ("p1@example.com", [])
    assert [held["merge_fields"][tag] for tag in ("FNAME", "PHONE", "LNAME")] == ["", "", "Fe"]


def test_fields_that_were_not_cleared_are_not_called_cleared(world: World) -> None:
    world.mailchimp.add(world.list_id, Batch([person(1), person(2)]))
    world.fault("server_error", operation="contacts.update")
    verdicts = world.mailchimp.clear_fields(world.list_id, Batch([person(1), person(2)]), ["FNAME"])
    assert kinds(verdicts) == ["unknown", "unknown"]
    assert world.members() == {}


def test_delete_record_archives_and_can_be_undone(world: World) -> None:
    first = world.mailchimp.add(world.list_id, Batch([person(1)]))
    batch = Batch([Outgoing({"email": "p1@example.com"}, first[0].remote_id), person(2)])
    for _ in range(2):
        assert kinds(world.mailchimp.delete_records(world.list_id, batch)) == ["accepted", "accepted"]
    assert world.contact("p1@example.com")["status"] == "archived"
    assert "contacts.forget" not in world.operations()
    assert kinds(world.mailchimp.add(world.list_id, Batch([person(1)]))) == ["accepted"]
    assert world.members()["p1@example.com"]["status"] == "transactional"


def test_who_comes_back_from_the_archive_does_not_bring_the_tag_of_an_audience_they_left(world: World) -> None:
    world.mailchimp.add(world.list_id, Batch([person(1)]))
    world.mailchimp.delete_records(world.list_id, Batch([person(1)]))
    world.set_status("p1@example.com", "transactional")
    assert world.members() == {}


# Doubt


@pytest.mark.parametrize("kind", ["server_error_after", "timeout_after", "reset_after", "malformed"])
def test_a_call_whose_answer_was_lost_is_never_called_refused(world: World, kind: str) -> None:
    world.fault(kind, operation="segments.change", delay_s=1.5)
    with watch() as doubt, pytest.raises(NoAnswer):
        world.mailchimp.add(world.list_id, Batch([person(1)]))
    assert doubt.arose


def test_a_key_that_is_refused_half_way_leaves_a_doubt(world: World) -> None:
    world.fault("forbidden", operation="segments.change")
    with watch() as doubt, pytest.raises(AccessRefused):
        world.mailchimp.add(world.list_id, Batch([person(1)]))
    assert doubt.arose


def test_who_could_not_be_written_is_not_tagged_and_the_rest_is_not_waited_for(world: World) -> None:
    for number in range(20):
        world.set_status(f"p{number}@example.com", "subscribed")
    world.fault("rate_limit", operation="contacts.update", retry_after_s=0)
    verdicts = world.mailchimp.add(world.list_id, Batch([person(n) for n in range(21)]))
    assert kinds(verdicts) == ["retryable"] * 20 + ["accepted"]
    assert list(world.members()) == ["p20@example.com"]
    assert world.operations().count("contacts.update") == 2


def test_some_who_are_refused_do_not_stop_the_others(world: World) -> None:
    world.fault("partial", operation="contacts.subscribe", share=0.2)
    verdicts = world.mailchimp.add(world.list_id, Batch([person(n) for n in range(50)]))
    assert kinds(verdicts).count("rejected") == 10
    assert len(world.members()) == 40


def test_where_a_whole_batch_is_refused_it_is_the_batch(world: World) -> None:
    world.fault("reject_batch", operation="contacts.subscribe")
    with pytest.raises(BatchRefused):
        world.mailchimp.add(world.list_id, Batch([person(n) for n in range(10)]))


@pytest.mark.parametrize("kind", ["server_error_after", "reset_after", "reset_before", "malformed", "rate_limit"])
def test_repeating_after_any_fault_ends_with_exactly_the_members(world: World, kind: str) -> None:
    world.fault(kind, rate=0.3, retry_after_s=0.05, count=12)
    batch = Batch([person(n) for n in range(30)])
    for _ in range(20):
        try:
            verdicts = world.mailchimp.add(world.list_id, batch)
        except (NotApplied, NoAnswer):
            continue
        assert "rejected" not in kinds(verdicts)
        if set(kinds(verdicts)) == {"accepted"}:
            break
    assert set(kinds(verdicts)) == {"accepted"}
    assert len(world.members()) == 30


# Hostile input


def test_what_is_no_address_is_refused_for_itself_alone(world: World) -> None:
    hostile = ["x@y.invalid", "ü@example.com", f"{'x' * 300}@example.com", "a,b@example.com", "日本@例え.jp"]
    batch = Batch([*(Outgoing({"email": each}) for each in hostile), Outgoing({"email": ""}), Outgoing({}), person(1)])
    verdicts = world.mailchimp.add(world.list_id, batch)
    found = dict(zip([*hostile, "empty", "none", "fine"], kinds(verdicts), strict=True))
    assert [who for who, kind in found.items() if kind == "accepted"] == ["ü@example.com", "日本@例え.jp", "fine"]
    assert kinds(world.mailchimp.remove(world.list_id, batch)) == ["accepted"] * 8
    assert world.members() == {}


def test_two_members_with_one_address_are_one_contact(world: World) -> None:
    batch = Batch([person(1, LNAME="Fe"), person(1, FNAME="Chloë")])
    verdicts = world.mailchimp.add(world.list_id, batch)
    assert kinds(verdicts) == ["accepted", "accepted"]
    assert verdicts[0].remote_id == verdicts[1].remote_id
    held = world.members()["p1@example.com"]
    assert (held["FNAME"], held["LNAME"]) == ("Chloë", "Fe")


def test_a_batch_of_nobody_asks_for_nothing(world: World) -> None:
    before = len(world.operations())
    assert world.mailchimp.add(world.list_id, Batch([])) == []
    assert world.mailchimp.remove(world.list_id, Batch([Outgoing({})])) != []
    assert len(world.operations()) == before


# Tags


@pytest.mark.parametrize("name", ["Köln / Düsseldorf", "100% & more?", 'with "quotes" and \\', "日本"])
def test_tags_of_any_name_are_found_again(world: World, name: str) -> None:
    wanted = ListRequest(f"{name} {next(KEYS)}")
    made = world.mailchimp.ensure_list(wanted)
    again = opened(world.url).ensure_list(wanted)
    assert (made.created, again.created) == (True, False)
    assert (again.id, again.name) == (made.id, wanted.name)
    assert opened(world.url).ensure_list(ListRequest(wanted.name.upper())).id == made.id


@pytest.mark.parametrize("kind", ["reset_after", "timeout_after", "server_error_after", "malformed"])
def test_a_tag_whose_making_was_not_answered_is_not_made_twice(world: World, kind: str) -> None:
    world.fault(kind, operation="segments.create", count=1, delay_s=1.5)
    found = world.mailchimp.ensure_list(ListRequest("Once"))
    assert found.id == world.mailchimp.ensure_list(ListRequest("Once")).id
    assert world.operations().count("segments.create") == 2  # the fixture's, and this one


def test_two_syncs_that_make_the_same_tag_at_once_get_the_same_one(world: World) -> None:
    with ThreadPoolExecutor(4) as threads:
        accounts = [opened(world.url) for _ in range(4)]
        found = list(threads.map(lambda account: account.ensure_list(ListRequest("Together")), accounts))
    assert len({remote.id for remote in found}) == 1
    assert sum(remote.created for remote in found) <= 1


def test_a_tag_that_is_gone_stops_the_run(world: World) -> None:
    world.mailchimp.add(world.list_id, Batch([person(1)]))
    requests.post(f"{world.url}/_simulator/mailchimp/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    calls: list[Callable[[], Any]] = [
        lambda: world.mailchimp.add(world.list_id, Batch([person(1)])),
        lambda: world.mailchimp.remove(world.list_id, Batch([person(1)])),
        lambda: world.mailchimp.matched_users(world.list_id),
        lambda: list(world.mailchimp.members(world.list_id)),
        lambda: world.mailchimp.ensure_list(ListRequest("x", id=world.list_id)),
    ]
    for call in calls:
        with pytest.raises(ListMissing, match="What to do"):
            call()


def test_an_audience_that_is_gone_is_told_apart_from_a_tag(world: World) -> None:
    gone = opened(world.url, audience="gone1")
    calls: list[Callable[[], Any]] = [
        lambda: gone.ensure_list(ListRequest("x")),
        lambda: gone.ensure_list(ListRequest("x", id="7")),
        lambda: gone.add("7", Batch([Outgoing({"email": "a@example.com"})])),
        gone.records,
    ]
    for call in calls:
        with pytest.raises(DestinationError, match="AUDIENCE_MISSING"):
            call()


# Keys, limits, silence


def test_the_data_centre_is_the_keys_or_the_settings() -> None:
    def account(key: str, **more: str) -> Mailchimp:
        return Mailchimp(Account("mail", {"api_key": key}, {"audience_id": "a1", **more}), {})

    assert account("0123abcd-us21")._http._base_url == "https://us21.api.mailchimp.com/3.0"
    assert account("0123abcd-us21")._http._headers["Authorization"].startswith("Basic ")
    token = account("an-oauth-token", data_center="us6")
    assert token._http._base_url == "https://us6.api.mailchimp.com/3.0"
    assert token._http._headers["Authorization"] == "Bearer an-oauth-token"
    with pytest.raises(AccessRefused, match="-us21"):
        account("0123abcd")
    with pytest.raises(DefinitionError):
        account("0123abcd-us21", data_center="https://evil.example")


def test_a_disabled_key_and_one_that_may_not_write_are_told_apart(world: World) -> None:
    with pytest.raises(AccessRefused, match="API Key Invalid"):
        opened(world.url, "revoked-us21").ensure_list(ListRequest("x"))
    with pytest.raises(AccessRefused, match="manager"):
        opened(world.url, "noscope-us21").ensure_list(ListRequest("x"))


def test_a_limit_without_a_hint_is_waited_out(world: World) -> None:
    limit = {"max": 5, "interval_s": 0.5}
    requests.post(f"{world.url}/_simulator/mailchimp/limit", json=limit, timeout=10).raise_for_status()
    patient = opened(world.url, attempts=12)
    patient._http._first_backoff_s = 0.1
    for number in range(4):
        assert kinds(patient.add(world.list_id, Batch([person(number)]))) == ["accepted"]


def test_nothing_but_what_is_known_is_ever_asked_for(world: World) -> None:
    world.set_status("p2@example.com", "subscribed")
    batch = Batch([person(1), person(2)])
    world.mailchimp.add(world.list_id, batch)
    world.mailchimp.clear_fields(world.list_id, batch, ["FNAME"])
    world.mailchimp.delete_records(world.list_id, batch)
    assert not {"unknown", "contacts.forget", "segments.delete"} & set(world.operations())


@pytest.mark.parametrize("kind", ["reject_batch", "server_error", "malformed", "rate_limit", "forbidden", "partial"])
def test_no_error_and_no_log_tells_who_was_sent_or_with_which_key(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    mailchimp = opened(world.url, "secret-of-the-test-us21")
    world.fault(kind, retry_after_s=0.01)
    told = [caplog.text]
    for call in (mailchimp.add, mailchimp.remove):
        try:
            batch = Batch([person(1), person(2), Outgoing({"email": "x@y.invalid"})])
            told += [verdict.reason for verdict in call(world.list_id, batch)]
        except AudienceSyncsError as error:
            told.append(str(error))
    text = " ".join([*told, caplog.text])
    assert "example.com" not in text
    assert "y.invalid" not in text
    assert not [each for each in ("p1@example.com", "p2@example.com", "x@y.invalid") if key_of(each) in text]
    assert "secret-of-the-test" not in text
