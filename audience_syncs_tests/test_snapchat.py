"""Snapchat over real HTTP, to the simulator: what conversations do not cover."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import requests

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.snapchat import upload
from audience_syncs.identifiers import hash_identifiers
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.platforms.harness import sha
from audience_syncs_tests.snapchat_bench import TOKENS, World, kinds, opened, person


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return World(simulators.url)


def test_ten_thousand_members_are_one_request_for_each_kind_of_identifier(world: World) -> None:
    before = len(world.operations())
    batch = Batch([person(n, phone=sha(f"49151{n}")) for n in range(10_000)])
    assert kinds(world.snapchat.add(world.list_id, batch)) == ["accepted"] * 10_000
    assert world.operations()[before:] == ["users.add", "users.add"]
    assert len(world.members()) == 20_000
    assert kinds(world.snapchat.remove(world.list_id, batch)) == ["accepted"] * 10_000
    assert world.members() == []


def test_what_is_too_much_for_one_request_is_several(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    assert upload.MOST_IDENTIFIERS == 100_000
    monkeypatch.setattr(upload, "MOST_IDENTIFIERS", 100)
    addresses = [sha(str(n)) for n in range(201)]
    batch = Batch([Outgoing({"email": addresses[:150]}), Outgoing({"email": addresses[150:]})])
    assert kinds(world.snapchat.add(world.list_id, batch)) == ["accepted", "accepted"]
    assert [entry["rows"] for entry in world.received() if entry["operation"] == "users.add"] == [100, 100, 1]


def test_whom_two_members_are_is_in_the_list_once_and_removed_once(world: World) -> None:
    twice = Batch([person(1, phone=sha("1")), person(1, phone=sha("2")), person(1)])
    assert kinds(world.snapchat.add(world.list_id, twice)) == ["accepted"] * 3
    assert len(world.members()) == 3
    assert kinds(world.snapchat.remove(world.list_id, twice)) == ["accepted"] * 3
    assert world.members() == []


def test_a_removal_in_doubt_goes_by_every_identifier_and_whom_nobody_knows_is_accepted(world: World) -> None:
    world.snapchat.add(world.list_id, Batch([person(1), person(2), person(3, mobile_ad_id=sha("m"))]))
    leaving = Outgoing({"email": [sha("p1@example.com"), sha("p2@example.com"), sha("nobody@example.com")]})
    verdicts = world.snapchat.remove(
        world.list_id, Batch([leaving, Outgoing({"mobile_ad_id": sha("m")}), Outgoing({"phone": sha("4")})])
    )
    assert kinds(verdicts) == ["accepted"] * 3
    assert world.members() == [{"email": sha("p3@example.com")}]


def test_whom_others_put_into_the_list_stays(world: World) -> None:
    put = {"members": [{"email": sha("other@example.com"), "phone": sha("7")}]}
    path = f"{world.url}/_simulator/snapchat/lists/{world.list_id}/members"
    requests.post(path, json=put, timeout=10).raise_for_status()
    world.snapchat.add(world.list_id, Batch([person(1)]))
    world.snapchat.remove(world.list_id, Batch([person(1)]))
    assert world.members() == [{"email": sha("other@example.com")}, {"phone": sha("7")}]


@pytest.mark.parametrize("value", ["not a hash", "ü" * 300, "A" * 64, sha("x") + " ", "\x00", [sha("x"), "y"]])
def test_what_is_no_hash_is_refused_and_not_repeated(world: World, value: Any) -> None:
    for call in (world.snapchat.add, world.snapchat.remove):
        with pytest.raises(BatchRefused) as refused:
            call(world.list_id, Batch([Outgoing({"email": value})]))
        assert "E1001" in str(refused.value)
        assert str(value) not in str(refused.value)
    assert world.members() == []


@pytest.mark.parametrize("value", ["", [], [""], ["", ""]])
def test_who_has_nothing_to_be_found_by_is_rejected_by_us(world: World, value: Any) -> None:
    verdicts = world.snapchat.add(world.list_id, Batch([Outgoing({"email": value, "phone": ""}), person(1)]))
    assert [verdict.reason_code for verdict in verdicts] == ["NO_IDENTIFIER", ""]
    assert len(world.members()) == 1


def test_what_people_write_becomes_what_snapchat_takes(world: World) -> None:
    hashed = hash_identifiers("snapchat", "email", [" Zoe@Example.com ", None, "", "no address", "x" * 300])
    sent = [Outgoing({"email": value}) for value in hashed.values if value]
    assert len(sent) == 1
    assert kinds(world.snapchat.add(world.list_id, Batch(sent))) == ["accepted"] * len(sent)


def test_nothing_to_do_asks_nothing(world: World) -> None:
    before = len(world.operations())
    assert world.snapchat.add(world.list_id, Batch([])) == []
    assert kinds(world.snapchat.remove(world.list_id, Batch([Outgoing({})]))) == ["rejected"]
    assert world.operations()[before:] == []


def test_the_list_is_found_by_name_by_id_and_by_several_at_once(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = ListRequest("  Köln & 日本 'VIPs' ", description="who buys")
        found = {made.id for made in pool.map(lambda _: opened(world.url).ensure_list(asked), range(4))}
    assert len(found) == 1
    again = world.snapchat.ensure_list(ListRequest("Köln & 日本 'VIPs'"))
    assert ({again.id}, again.created) == (found, False)
    assert world.snapchat.ensure_list(ListRequest("else", id=again.id)).name == "Köln & 日本 'VIPs'"


@pytest.mark.parametrize("list_id", ["5600000000009999", "nowhere", "../adaccounts/1", "x" * 300, ""])
def test_an_id_that_leads_nowhere_is_a_missing_list_for_every_call(world: World, list_id: str) -> None:
    with pytest.raises(ListMissing):
        world.snapchat.ensure_list(ListRequest("x", id=list_id))
    with pytest.raises(ListMissing):
        world.snapchat.matched_users(list_id)
    for call in (world.snapchat.add, world.snapchat.remove):
        with pytest.raises(ListMissing):
            call(list_id, Batch([person(1)]))


def test_a_list_deleted_by_hand_is_missing_and_nobody_is_called_rejected(world: World) -> None:
    world.snapchat.add(world.list_id, Batch([person(1)]))
    requests.post(f"{world.url}/_simulator/snapchat/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    for call in (world.snapchat.add, world.snapchat.remove):
        with pytest.raises(ListMissing, match="give the sync another `name`"):
            call(world.list_id, Batch([person(1)]))


def test_a_segment_that_takes_no_uploads_is_refused(world: World) -> None:
    segment = {"name": "Visitors", "source_type": "PIXEL", "retention_in_days": 30, "ad_account_id": "acc-1"}
    made = requests.post(
        f"{world.url}/snapchat/v1/adaccounts/acc-1/segments",
        json={"segments": [segment]},
        headers={"Authorization": "Bearer plain"},
        timeout=10,
    ).json()["segments"][0]["segment"]["id"]
    with pytest.raises(DestinationError, match="no customer list"):
        world.snapchat.ensure_list(ListRequest("x", id=made))
    assert world.snapchat.ensure_list(ListRequest("Visitors")).id != made


def test_names_that_are_too_long_are_refused_before_they_are_sent(world: World) -> None:
    with pytest.raises(DestinationError, match="376 characters"):
        world.snapchat.ensure_list(ListRequest("x" * 376))
    assert world.snapchat.ensure_list(ListRequest("x" * 375)).created


def test_members_are_forgotten_after_the_retention_of_the_list_and_its_size_says_so(world: World) -> None:
    month = opened(world.url, retention_in_days=30)
    world.list_id = month.ensure_list(ListRequest("Month")).id
    month.add(world.list_id, Batch([person(1), person(2)]))
    world.pass_time(20 * 86_400)
    month.add(world.list_id, Batch([person(2)]))
    world.pass_time(11 * 86_400)
    assert world.members() == [{"email": sha("p2@example.com")}]
    assert "forgets members of this list after 30 days" in month.matched_users(world.list_id).note


def test_members_are_sent_again_before_they_are_forgotten(world: World) -> None:
    assert world.snapchat.spec.refresh_after is None
    month = opened(world.url, retention_in_days=30)
    assert month.spec.refresh_after == timedelta(days=20)
    forgetful = month.ensure_list(ListRequest("Month")).id
    with pytest.raises(DestinationError, match="forgets its members after 30 days") as refused:
        world.snapchat.ensure_list(ListRequest("Month"))
    assert "`retention_in_days: 30`" in str(refused.value)
    assert opened(world.url, retention_in_days=10).ensure_list(ListRequest("x", id=forgetful)).id == forgetful


def test_the_size_comes_late_and_small_lists_have_none(world: World) -> None:
    told = world.snapchat.matched_users(world.list_id)
    assert (told.lower, told.upper) == (0, 0)
    world.snapchat.add(world.list_id, Batch([person(n) for n in range(10)]))
    early = world.snapchat.matched_users(world.list_id)
    assert (early.lower, early.upper) == (None, None)
    world.pass_time(1)
    small = world.snapchat.matched_users(world.list_id)
    assert (small.lower, small.upper, small.note) == (0, 999, "too few to be targeted")
    world.snapchat.add(world.list_id, Batch([person(n) for n in range(2_000)]))
    world.pass_time(1)
    told = world.snapchat.matched_users(world.list_id)
    assert (told.lower, told.upper, told.note) == (1_600, 1_600, "")


def test_nothing_is_sent_while_earlier_uploads_are_processed_if_that_is_wanted(world: World) -> None:
    world.snapchat.add(world.list_id, Batch([person(1)]))
    hasty = opened(world.url, upload_wait_s=0.01)
    with pytest.raises(NotApplied, match="still processing"):
        hasty.ensure_list(ListRequest("x", id=world.list_id))
    patient = opened(world.url, upload_wait_s=10)
    assert patient.ensure_list(ListRequest("x", id=world.list_id)).id == world.list_id
    assert world.snapchat.ensure_list(ListRequest("x", id=world.list_id)).id == world.list_id


def test_a_token_that_expires_is_renewed_and_one_that_is_revoked_stops_the_run(world: World) -> None:
    world.snapchat.add(world.list_id, Batch([person(1)]))
    world.pass_time(3_601)
    assert kinds(world.snapchat.add(world.list_id, Batch([person(2)]))) == ["accepted"]
    assert world.operations().count("token") == 2
    revoked = opened(world.url, "revoked-1")
    with pytest.raises(AccessRefused, match=r"no token was given .*invalid_grant") as refused:
        revoked.ensure_list(ListRequest("x"))
    assert "sign in to the OAuth app again" in str(refused.value)


def test_a_user_without_a_role_is_told_which_one(world: World) -> None:
    nobody = opened(world.url, f"noscope-{next(TOKENS)}")
    with pytest.raises(AccessRefused, match="Data Manager"):
        nobody.ensure_list(ListRequest("x"))
    with pytest.raises(AccessRefused, match="E3002"):
        nobody.add(world.list_id, Batch([person(1)]))


def test_who_was_sent_without_an_answer_is_in_doubt(world: World) -> None:
    world.fault("server_error_after", operation="users.add", count=1)
    with watch() as doubt:
        assert kinds(world.snapchat.add(world.list_id, Batch([person(1)]))) == ["accepted"]
    assert doubt.arose


def test_what_happens_to_the_second_kind_of_identifier_is_not_said_of_the_first(world: World) -> None:
    world.fault("server_error", operation="users.add", skip=1)
    batch = Batch([person(1), person(2, phone=sha("2")), Outgoing({"phone": sha("3")})])
    verdicts = world.snapchat.add(world.list_id, batch)
    assert kinds(verdicts) == ["accepted", "unknown", "unknown"]
    assert len(world.members()) == 2


def test_a_list_that_goes_between_two_requests_leaves_nobody_rejected(world: World) -> None:
    world.fault("forbidden", operation="users.add", skip=1)
    verdicts = world.snapchat.add(world.list_id, Batch([person(1), Outgoing({"phone": sha("3")})]))
    assert [(verdict.kind.value, verdict.reason_code) for verdict in verdicts] == [
        ("accepted", ""),
        ("retryable", "ACCESS_REFUSED"),
    ]


def test_calls_from_several_threads_do_not_mix(world: World) -> None:
    batches = [Batch([person(n) for n in range(start, start + 50)]) for start in range(0, 400, 50)]
    with ThreadPoolExecutor(4) as pool:
        answered = list(pool.map(lambda batch: world.snapchat.add(world.list_id, batch), batches))
    assert [kinds(verdicts) for verdicts in answered] == [["accepted"] * 50] * 8
    assert len(world.members()) == 400


@pytest.mark.parametrize(
    "wrong", [{"ad_account_id": "a/b"}, {"retention_in_days": 0}, {"retention_in_days": 10_000}, {"upload_wait_s": -1}]
)
def test_wrong_settings_are_refused_when_the_account_is_opened(world: World, wrong: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        opened(world.url, **wrong)


def test_neither_errors_nor_logs_show_a_secret_or_a_person(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    for kind in ("rate_limit", "server_error", "malformed", "reject_batch", "forbidden", "reset_after", "partial"):
        world.fault(kind, operation="users.add", count=2)
        account = opened(world.url, f"refresh-secret-{next(TOKENS)}")
        try:
            told += [verdict.reason for verdict in account.add(world.list_id, Batch([person(1)]))]
        except AudienceSyncsError as error:
            told.append(str(error))
    shown = "\n".join([*told, *(record.getMessage() for record in caplog.records)])
    assert len(told) == 7
    assert not [secret for secret in (sha("p1@example.com"), "refresh-secret", "at.") if secret in shown]
