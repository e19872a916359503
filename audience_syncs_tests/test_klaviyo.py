"""Klaviyo over real HTTP, to the simulator; its requests are held against Klaviyo's own models."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from openapi_client import models

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.doubt import watch
from audience_syncs.model.config import Mode
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, VerdictKind
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.klaviyo_bench import KEYS, World, kinds, opened, person

MODELS: dict[str, Any] = {
    "lists.create": models.ListCreateQuery,
    "imports.create": models.ProfileImportJobCreateQuery,
    "members.remove": models.ListMembersDeleteQuery,
    "profiles.update": models.ProfilePartialUpdateQuery,
}
"""What Klaviyo's own client of revision 2026-10-15 would send."""


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return World(simulators.url)


def test_everything_that_is_sent_fits_the_models_of_klaviyos_own_client(world: World) -> None:
    batch = Batch([person(n, city="Köln", tier="gold", sizes=["M", "L"]) for n in range(3)])
    world.klaviyo.add(world.list_id, batch)
    world.klaviyo.clear_fields(world.list_id, batch, ["first_name", "city", "tier", "email"])
    sent = [entry for entry in world.received() if entry["body"] is not None]
    assert {entry["operation"] for entry in sent} == set(MODELS)
    for entry in sent:
        understood = MODELS[entry["operation"]].from_dict(entry["body"])
        assert without_nulls(understood.to_dict()) == without_nulls(entry["body"])


def without_nulls(body: Any) -> Any:
    """The client leaves out what is null, which is how a field is cleared."""
    if isinstance(body, dict):
        return {name: without_nulls(value) for name, value in body.items() if value is not None and value != {}}
    return [without_nulls(each) for each in body] if isinstance(body, list) else body


def test_a_thousand_members_are_one_import_and_its_look_ups(world: World) -> None:
    before = len(world.operations())
    verdicts = world.klaviyo.add(world.list_id, Batch([person(n) for n in range(1_000)]))
    assert kinds(verdicts) == ["accepted"] * 1_000
    asked = world.operations()[before:]
    assert (asked.count("imports.create"), asked.count("profiles.find")) == (1, 10)
    assert len(world.members()) == 1_000
    held = world.members()["p7@example.com"]
    assert (held["first_name"], held["id"]) == ("Zoë", verdicts[7].remote_id)


def test_a_batch_that_is_too_large_for_one_import_is_several(world: World) -> None:
    batch = Batch([person(n, story="x" * 90_000) for n in range(60)])
    assert kinds(world.klaviyo.add(world.list_id, batch)) == ["accepted"] * 60
    assert world.operations().count("imports.create") == 2
    assert len(world.members()) == 60


def test_a_member_without_an_address_or_too_large_is_rejected_and_the_others_are_not(world: World) -> None:
    batch = Batch([Outgoing({"first_name": "Nobody"}), person(1), person(2, story="x" * 100_000)])
    verdicts = world.klaviyo.add(world.list_id, batch)
    assert [verdict.reason_code for verdict in verdicts] == ["NO_IDENTIFIER", "", "TOO_LARGE"]
    assert list(world.members()) == ["p1@example.com"]


def test_who_leaves_the_list_stays_a_profile_with_everything(world: World) -> None:
    [verdict] = world.klaviyo.add(world.list_id, Batch([person(1, tier="gold")]))
    assert kinds(world.klaviyo.remove(world.list_id, Batch([person(1)]))) == ["accepted"]
    assert world.members() == {}
    [profile] = world.call("GET", f'/api/profiles?filter=equals(id,"{verdict.remote_id}")')["data"]
    assert profile["attributes"]["first_name"] == "Zoë"
    assert profile["attributes"]["properties"] == {"tier": "gold"}


def test_who_has_another_address_at_klaviyo_by_now_is_taken_out_all_the_same(world: World) -> None:
    [verdict] = world.klaviyo.add(world.list_id, Batch([person(1)]))
    moved = {"type": "profile", "id": verdict.remote_id, "attributes": {"email": "new@example.com"}}
    world.call("PATCH", f"/api/profiles/{verdict.remote_id}", {"data": moved})
    world.klaviyo.remove(world.list_id, Batch([Outgoing({"email": "p1@example.com"}, verdict.remote_id)]))
    assert world.members() == {}


def test_rows_that_others_put_into_the_list_stay(world: World) -> None:
    world.klaviyo.add(world.list_id, Batch([person(1)]))
    put = {"members": [{"email": "other@example.com"}]}
    path = f"{world.url}/_simulator/klaviyo/lists/{world.list_id}/members"
    requests.post(path, json=put, timeout=10).raise_for_status()
    assert kinds(world.klaviyo.remove(world.list_id, Batch([person(1), person(2)]))) == ["accepted"] * 2
    assert list(world.members()) == ["other@example.com"]


def test_fields_are_cleared_of_who_left_and_identifiers_never(world: World) -> None:
    world.klaviyo.add(world.list_id, Batch([person(1, city="Köln", tier="gold", size="M", external_id="7")]))
    fields = ["email", "external_id", "first_name", "city", "tier"]
    assert kinds(world.klaviyo.clear_fields(world.list_id, Batch([person(1)]), fields)) == ["accepted"]
    [profile] = world.call("GET", '/api/profiles?filter=equals(email,"p1@example.com")')["data"]
    held = profile["attributes"]
    assert world.members() == {}
    assert (held["first_name"], held["external_id"]) == (None, "7")
    assert (held["properties"], held["location"]) == ({"size": "M"}, {})


def test_fields_that_were_not_cleared_are_not_called_cleared(world: World) -> None:
    world.klaviyo.add(world.list_id, Batch([person(1), person(2)]))
    world.fault("server_error", operation="profiles.update")
    verdicts = world.klaviyo.clear_fields(world.list_id, Batch([person(1), person(2)]), ["first_name"])
    assert kinds(verdicts) == ["unknown", "unknown"]
    assert world.members() == {}


def test_an_upsert_touches_no_list(world: World) -> None:
    assert kinds(world.klaviyo.write(Batch([person(1)]), Mode.UPSERT)) == ["accepted"]
    assert world.members() == {}
    assert world.call("GET", '/api/profiles?filter=equals(email,"p1@example.com")')["data"]


def test_an_update_makes_nobody_and_an_insert_changes_nobody(world: World) -> None:
    world.klaviyo.write(Batch([person(1)]), Mode.UPSERT)
    batch = Batch([person(1, first_name="Chloë"), person(2), Outgoing({"first_name": "Nobody"})])
    updated = world.klaviyo.write(batch, Mode.UPDATE)
    assert [verdict.reason_code for verdict in updated] == ["", "NOT_FOUND", "NO_IDENTIFIER"]
    batch = Batch([person(1, first_name="Ann"), person(2, first_name="Ann")])
    inserted = world.klaviyo.write(batch, Mode.INSERT)
    assert kinds(inserted) == ["accepted", "accepted"]
    asked = world.call("GET", '/api/profiles?filter=any(email,["p1@example.com","p2@example.com"])')["data"]
    names = {each["id"]: each["attributes"]["first_name"] for each in asked}
    assert names == {inserted[0].remote_id: "Chloë", inserted[1].remote_id: "Ann"}


def test_a_phone_number_that_is_somebody_elses_rejects_only_its_member(world: World) -> None:
    batch = Batch([person(1, phone_number="+15005550006"), person(2, phone_number="+15005550006"), person(3)])
    verdicts = world.klaviyo.add(world.list_id, batch)
    assert kinds(verdicts) == ["accepted", "rejected", "accepted"]
    assert verdicts[1].reason_code == "DUPLICATE_PROFILE"


def test_rows_that_klaviyo_names_are_rejected_and_the_others_get_through(world: World) -> None:
    batch = Batch([person(n, **({"phone_number": "nonsense"} if n % 10 == 0 else {})) for n in range(50)])
    verdicts = world.klaviyo.add(world.list_id, batch)
    assert [place for place, each in enumerate(kinds(verdicts)) if each == "rejected"] == [0, 10, 20, 30, 40]
    assert verdicts[0].reason == "phone_number: invalid"
    assert len(world.members()) == 45


# What an import leaves behind


def test_an_import_that_an_earlier_run_left_cannot_bring_back_who_is_taken_out(world: World) -> None:
    slow = opened(world.url, "pk_slow", import_wait_s=0.1)
    assert kinds(slow.add(world.list_id, Batch([person(1), person(2)]))) == ["unknown", "unknown"]
    with pytest.raises(NotApplied, match="still under way"):
        opened(world.url, import_wait_s=0.1).ensure_list(ListRequest("People", world.list_id))
    patient = opened(world.url, import_wait_s=30)
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(patient.ensure_list, ListRequest("People", world.list_id))
        assert not found.done()
        world.pass_time(60)
        found.result(timeout=20)
    patient.remove(world.list_id, Batch([person(1)]))
    world.pass_time(3_600)
    assert list(world.members()) == ["p2@example.com"]


def test_imports_into_other_lists_are_not_waited_for(world: World) -> None:
    other = world.klaviyo.ensure_list(ListRequest("Other"))
    slow = opened(world.url, "pk_slow", import_wait_s=0.1)
    slow.add(other.id, Batch([person(1)]))
    assert opened(world.url, import_wait_s=0.1).ensure_list(ListRequest("x", world.list_id)).id == world.list_id


def test_a_job_that_never_ends_stops_nobody_for_ever(world: World) -> None:
    slow = opened(world.url, "pk_slow", import_wait_s=0.1)
    world.pass_time(-90_000)  # Klaviyo took it more than a day ago
    slow.add(world.list_id, Batch([person(1)]))
    assert opened(world.url, import_wait_s=0.1).ensure_list(ListRequest("x", world.list_id)).id == world.list_id


@pytest.mark.parametrize("kind", ["server_error_after", "timeout_after", "reset_after", "malformed"])
def test_an_import_whose_answer_was_lost_is_never_called_refused(world: World, kind: str) -> None:
    world.fault(kind, operation="imports.create", delay_s=1.5)
    with watch() as doubt:
        assert kinds(world.klaviyo.add(world.list_id, Batch([person(1)]))) == ["unknown"]
    assert doubt.arose


def test_a_key_that_is_refused_after_the_import_was_taken_leaves_a_doubt(world: World) -> None:
    world.fault("forbidden", operation="imports.get")
    world.fault("forbidden", operation="profiles.find")
    with watch() as doubt, pytest.raises(AccessRefused):
        world.klaviyo.add(world.list_id, Batch([person(1)]))
    assert doubt.arose


def test_an_import_that_cannot_be_followed_leaves_its_members_unknown(world: World) -> None:
    world.fault("server_error", operation="imports.get")
    assert kinds(world.klaviyo.add(world.list_id, Batch([person(1)]))) == ["unknown"]
    assert list(world.members()) == ["p1@example.com"]


def test_some_whose_import_fails_do_not_stop_the_others(world: World) -> None:
    world.fault("partial", operation="imports.create", share=0.2)
    verdicts = world.klaviyo.add(world.list_id, Batch([person(n) for n in range(200)]))
    assert kinds(verdicts).count("rejected") == 40
    assert len(world.members()) == 160


@pytest.mark.parametrize("kind", ["server_error_after", "reset_after", "reset_before", "malformed", "rate_limit"])
def test_repeating_after_any_fault_ends_with_exactly_the_members(world: World, kind: str) -> None:
    world.fault(kind, rate=0.3, retry_after_s=0.05, count=12, operation="imports|profiles|members")
    batch = Batch([person(n) for n in range(300)])
    for _ in range(20):
        verdicts = world.klaviyo.add(world.list_id, batch)
        assert not {"rejected"} & set(kinds(verdicts))
        present = set(world.members())
        accepted = [m for m, v in zip(batch.members, verdicts, strict=True) if v.kind is VerdictKind.ACCEPTED]
        assert {member.fields["email"] for member in accepted} <= present
        if set(kinds(verdicts)) == {"accepted"}:
            break
    assert set(kinds(verdicts)) == {"accepted"}
    assert len(world.members()) == 300


def test_where_every_import_is_refused_without_a_name_the_batch_is(world: World) -> None:
    world.fault("server_error", operation="imports.create", status=422)
    with pytest.raises(BatchRefused):
        world.klaviyo.add(world.list_id, Batch([person(n) for n in range(10)]))


# Lists


@pytest.mark.parametrize("name", ["Köln / Düsseldorf", "100% & more?", 'with "quotes", \\ and (brackets)', "日本", " "])
def test_lists_of_any_name_are_found_again(world: World, name: str) -> None:
    wanted = ListRequest(f"{name} {next(KEYS)}")
    made = world.klaviyo.ensure_list(wanted)
    again = opened(world.url).ensure_list(wanted)
    assert (made.created, again.created) == (True, False)
    assert (again.id, again.name) == (made.id, wanted.name)


@pytest.mark.parametrize("kind", ["reset_after", "timeout_after", "server_error_after", "malformed"])
def test_a_list_whose_making_was_not_answered_is_not_made_twice(world: World, kind: str) -> None:
    world.fault(kind, operation="lists.create", count=1, delay_s=1.5)
    found = world.klaviyo.ensure_list(ListRequest("Once"))
    assert world.operations().count("lists.create") == 2  # the fixture's, and this one
    assert found.id == world.klaviyo.ensure_list(ListRequest("Once")).id


def test_two_syncs_that_make_the_same_list_at_once_get_the_same_one(world: World) -> None:
    with ThreadPoolExecutor(4) as threads:
        accounts = [opened(world.url) for _ in range(4)]
        found = list(threads.map(lambda account: account.ensure_list(ListRequest("Together")), accounts))
    assert len({remote.id for remote in found}) == 1
    assert sum(remote.created for remote in found) <= 1


def test_a_list_that_is_gone_stops_the_run(world: World) -> None:
    world.klaviyo.add(world.list_id, Batch([person(1)]))
    requests.post(f"{world.url}/_simulator/klaviyo/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    calls: list[Callable[[], Any]] = [
        lambda: world.klaviyo.add(world.list_id, Batch([person(1)])),
        lambda: world.klaviyo.remove(world.list_id, Batch([person(1)])),
        lambda: world.klaviyo.matched_users(world.list_id),
        lambda: list(world.klaviyo.members(world.list_id)),
        lambda: world.klaviyo.ensure_list(ListRequest("x", id=world.list_id)),
    ]
    for call in calls:
        with pytest.raises(ListMissing, match="What to do"):
            call()


def test_everybody_in_the_list_is_read_and_the_size_is_told_late(world: World) -> None:
    batch = Batch([person(n) for n in range(250)])
    verdicts = world.klaviyo.add(world.list_id, batch)
    read = [member for page in world.klaviyo.members(world.list_id) for member in page]
    assert {member.remote_id for member in read} == {verdict.remote_id for verdict in verdicts}
    assert {member.fields["email"] for member in read} == {member.fields["email"] for member in batch.members}
    world.pass_time(2)
    size = world.klaviyo.matched_users(world.list_id)
    assert (size.lower, size.upper) == (250, 250)


# Keys, limits, silence


def test_a_deleted_key_and_one_without_scopes_are_told_apart(world: World) -> None:
    with pytest.raises(AccessRefused, match="private key deleted"):
        opened(world.url, "pk_revoked").ensure_list(ListRequest("x"))
    with pytest.raises(AccessRefused, match=r"lists:write, profiles:read"):
        opened(world.url, "pk_noscope").ensure_list(ListRequest("x"))


def test_a_limit_that_klaviyo_enforces_is_kept(world: World) -> None:
    limit = {"max": 5, "interval_s": 1}
    requests.post(f"{world.url}/_simulator/klaviyo/limit", json=limit, timeout=10).raise_for_status()
    patient = opened(world.url, attempts=10)
    for number in range(3):
        assert kinds(patient.add(world.list_id, Batch([person(number)]))) == ["accepted"]
    throttled = [entry for entry in world.received() if entry["status"] == 429]
    assert len(throttled) <= 2, "the headers say when the window is spent"


def test_nothing_but_lists_imports_and_profiles_is_ever_asked_for(world: World) -> None:
    world.klaviyo.add(world.list_id, Batch([person(1)]))
    world.klaviyo.clear_fields(world.list_id, Batch([person(1)]), ["first_name"])
    assert "unknown" not in world.operations()


@pytest.mark.parametrize(
    "kind", ["reject_batch", "server_error", "reset_after", "malformed", "rate_limit", "forbidden"]
)
def test_no_error_and_no_log_tells_who_was_sent_or_with_which_key(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    klaviyo = opened(world.url, "pk_secret-of-the-test")
    world.fault(kind, retry_after_s=0.01)
    told = [caplog.text]
    for call in (klaviyo.add, klaviyo.remove):
        try:
            told += [verdict.reason for verdict in call(world.list_id, Batch([person(1), person(2)]))]
        except (AudienceSyncsError, NoAnswer) as error:
            told.append(str(error))
    text = " ".join([*told, caplog.text])
    assert "example.com" not in text
    assert "secret-of-the-test" not in text
