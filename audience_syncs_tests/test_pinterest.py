"""Pinterest over real HTTP, to the simulator; its requests are held against the models of Pinterest's own description."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.pinterest.lists import NOBODY
from audience_syncs.destinations.registry import check_destination, open_destination
from audience_syncs.model.config import DestinationConfig
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DefinitionError,
    ListMissing,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.pinterest_bench import ACCOUNT, TOKENS, World, kinds, opened, person
from audience_syncs_tests.platforms.harness import sha

models: Any = importlib.import_module("pinterestsdk.models")
MODELS: dict[str, Any] = {
    "lists.create": models.CustomerListCreate,
    "lists.update": models.CustomerListUpdateWithRequiredBody,
    "audiences.create": models.AdAccountsAudienceCreate,
}
"""Made from Pinterest's OpenAPI description 5.28.0."""


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return World(simulators.url)


def test_everything_that_is_sent_fits_pinterests_own_description(world: World) -> None:
    batch = Batch([person(n, mobile_ad_id=sha(f"m{n}")) for n in range(3)])
    world.pinterest.add(world.list_id, batch)
    world.pinterest.remove(world.list_id, batch)
    sent = [entry for entry in world.received() if entry["body"] is not None and entry["operation"] != "token"]
    assert {entry["operation"] for entry in sent} == set(MODELS)
    for entry in sent:
        read = MODELS[entry["operation"]].from_dict(entry["body"]).to_dict()
        assert {name: value for name, value in read.items() if value is not None} == entry["body"]
    (token,) = [entry["body"] for entry in world.received() if entry["operation"] == "token"]
    assert models.TokenGrantType(token["grant_type"]) is models.TokenGrantType.REFRESH_TOKEN


def test_five_thousand_members_are_one_request(world: World) -> None:
    before = len(world.operations())
    batch = Batch([person(n) for n in range(5_000)])
    assert kinds(world.pinterest.add(world.list_id, batch)) == ["accepted"] * 5_000
    assert world.operations()[before:] == ["lists.update"]
    assert len(world.members()) == 5_000
    assert kinds(world.pinterest.remove(world.list_id, batch)) == ["accepted"] * 5_000
    assert world.members() == []


def test_a_new_list_is_empty_and_has_an_audience(world: World) -> None:
    assert world.members() == []
    assert world.operations().count("audiences.create") == 1
    again = opened(world.url)
    assert again.ensure_list(ListRequest("x", id=world.list_id)).id == world.list_id
    assert world.operations().count("audiences.create") == 1


def test_a_list_needs_no_audience_if_none_is_wanted(world: World) -> None:
    before = len(world.operations())
    made = opened(world.url, make_audience=False).ensure_list(ListRequest("without"))
    assert "audiences.create" not in world.operations()[before:]
    told = world.pinterest.matched_users(made.id)
    assert (told.lower, told.upper) == (None, None)
    assert "no audience is made of the list yet" in told.note


def test_what_a_list_is_made_with_is_removed_by_the_next_run_where_this_one_died(world: World) -> None:
    asked = {"name": "Died", "records": NOBODY, "list_type": "EMAIL"}
    path = f"{world.url}/pinterest/v5/ad_accounts/{ACCOUNT}/customer_lists"
    headers = {"Authorization": "Bearer plain"}
    world.list_id = requests.post(path, json=asked, headers=headers, timeout=10).json()["id"]
    assert world.members() == [NOBODY]
    assert not world.pinterest.ensure_list(ListRequest("Died")).created
    assert world.members() == []
    before = len(world.operations())
    world.pinterest.ensure_list(ListRequest("Died"))
    assert "lists.update" not in world.operations()[before:]


def test_a_removal_in_doubt_goes_by_every_record_and_whom_nobody_knows_is_accepted(world: World) -> None:
    world.pinterest.add(world.list_id, Batch([person(1), person(2), person(3, mobile_ad_id=sha("m"))]))
    leaving = Outgoing({"email": [sha("p1@example.com"), sha("p2@example.com"), sha("nobody@example.com")]})
    verdicts = world.pinterest.remove(world.list_id, Batch([leaving, Outgoing({"mobile_ad_id": sha("m")})]))
    assert kinds(verdicts) == ["accepted", "accepted"]
    assert world.members() == [sha("p3@example.com")]


def test_whom_two_members_are_is_in_the_list_once_and_whom_others_put_there_stays(world: World) -> None:
    path = f"{world.url}/_simulator/pinterest/lists/{world.list_id}/members"
    requests.post(path, json={"members": [{"record": "other@example.com"}]}, timeout=10).raise_for_status()
    twice = Batch([person(1), person(1), person(2)])
    assert kinds(world.pinterest.add(world.list_id, twice)) == ["accepted"] * 3
    assert len(world.members()) == 3
    assert kinds(world.pinterest.remove(world.list_id, twice)) == ["accepted"] * 3
    assert world.members() == [sha("other@example.com")]


@pytest.mark.parametrize("value", ["not a hash", "ü" * 300, "A" * 64, "\x00", [sha("x"), "y"], "a@example.com,Z"])
def test_what_is_no_record_is_refused_and_not_repeated(world: World, value: Any) -> None:
    for call in (world.pinterest.add, world.pinterest.remove):
        with pytest.raises(BatchRefused) as refused:
            call(world.list_id, Batch([Outgoing({"email": value})]))
        assert str(value) not in str(refused.value)
    assert world.members() == []


@pytest.mark.parametrize("value", ["", [], [""], ["", ""]])
def test_who_has_nothing_to_be_found_by_is_rejected_by_us(world: World, value: Any) -> None:
    before = len(world.operations())
    verdicts = world.pinterest.add(world.list_id, Batch([Outgoing({"email": value, "mobile_ad_id": ""})]))
    assert [verdict.reason_code for verdict in verdicts] == ["NO_IDENTIFIER"]
    assert world.pinterest.remove(world.list_id, Batch([])) == []
    assert world.operations()[before:] == []


def test_the_list_is_found_by_name_by_id_and_by_several_at_once(world: World) -> None:
    with ThreadPoolExecutor(4) as pool:
        asked = ListRequest("  Köln & 日本 'VIPs' ", description="who buys")
        found = {made.id for made in pool.map(lambda _: opened(world.url).ensure_list(asked), range(4))}
    assert len(found) == 1
    again = world.pinterest.ensure_list(ListRequest("Köln & 日本 'VIPs'"))
    assert ({again.id}, again.created) == (found, False)
    assert world.pinterest.ensure_list(ListRequest("else", id=again.id)).name == "Köln & 日本 'VIPs'"


@pytest.mark.parametrize("list_id", ["549000999999", "nowhere", "../audiences", "9" * 300, ""])
def test_an_id_that_leads_nowhere_is_a_missing_list_for_every_call(world: World, list_id: str) -> None:
    with pytest.raises(ListMissing):
        world.pinterest.ensure_list(ListRequest("x", id=list_id))
    with pytest.raises(ListMissing):
        world.pinterest.matched_users(list_id)
    for call in (world.pinterest.add, world.pinterest.remove):
        with pytest.raises(ListMissing, match="give the sync another `name`"):
            call(list_id, Batch([person(1)]))


def test_a_list_deleted_by_hand_is_missing_and_nobody_is_called_rejected(world: World) -> None:
    world.pinterest.add(world.list_id, Batch([person(1)]))
    requests.post(f"{world.url}/_simulator/pinterest/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    for call in (world.pinterest.add, world.pinterest.remove):
        with pytest.raises(ListMissing):
            call(world.list_id, Batch([person(1)]))


def test_the_size_is_the_audiences_and_small_ones_have_a_bound(world: World) -> None:
    told = world.pinterest.matched_users(world.list_id)
    assert (told.lower, told.upper) == (None, None)
    world.pinterest.add(world.list_id, Batch([person(n) for n in range(50)]))
    world.pass_time(1)
    small = world.pinterest.matched_users(world.list_id)
    assert (small.lower, small.upper) == (40, 40)
    assert "fewer than 100" in small.note
    world.pinterest.add(world.list_id, Batch([person(n) for n in range(1_000)]))
    world.pass_time(1)
    told = world.pinterest.matched_users(world.list_id)
    assert (told.lower, told.upper, told.note) == (800, 800, "")


def test_nothing_is_sent_while_earlier_changes_are_processed_if_that_is_wanted(world: World) -> None:
    world.pinterest.add(world.list_id, Batch([person(1)]))
    with pytest.raises(NotApplied, match="still processing"):
        opened(world.url, processing_wait_s=0.01).ensure_list(ListRequest("x", id=world.list_id))
    patient = opened(world.url, processing_wait_s=10)
    assert patient.ensure_list(ListRequest("x", id=world.list_id)).id == world.list_id


def test_a_token_that_expires_is_renewed_and_one_that_is_revoked_stops_the_run(world: World) -> None:
    world.pinterest.add(world.list_id, Batch([person(1)]))
    world.pass_time(31 * 86_400)
    assert kinds(world.pinterest.add(world.list_id, Batch([person(2)]))) == ["accepted"]
    assert world.operations().count("token") == 2
    with pytest.raises(AccessRefused, match="lasts 60 days"):
        opened(world.url, "revoked-1").ensure_list(ListRequest("x"))


def test_without_a_refresh_token_the_token_is_for_the_account_that_owns_the_app(world: World) -> None:
    config = DestinationConfig.model_validate(
        {
            "name": "pins",
            "platform": "pinterest",
            "credentials": {"client_id": {"env": "ID"}, "client_secret": {"env": "SECRET"}},
            "settings": {"base_url": f"{world.url}/pinterest", "ad_account_id": int(ACCOUNT)},
        }
    )
    assert check_destination(config) == []
    owner = open_destination(config, {"ID": f"app-{next(TOKENS)}", "SECRET": "s"})
    assert owner.ensure_list(ListRequest("Of the owner")).created
    (asked,) = [entry["body"] for entry in world.received() if entry["operation"] == "token"][-1:]
    assert asked == {"grant_type": "client_credentials", "scope": "ads:read,ads:write"}


def test_who_may_not_is_told_what_is_needed(world: World) -> None:
    with pytest.raises(AccessRefused, match="ads:write"):
        opened(world.url, f"noscope-{next(TOKENS)}").add(world.list_id, Batch([person(1)]))
    with pytest.raises(AccessRefused, match="no ad account"):
        opened(world.url, account="404").ensure_list(ListRequest("x"))
    with pytest.raises(AccessRefused, match="Audiences"):
        opened(world.url, account="403").ensure_list(ListRequest("x"))


def test_who_was_sent_without_an_answer_is_in_doubt(world: World) -> None:
    world.fault("server_error_after", operation="lists.update", count=1)
    with watch() as doubt:
        assert kinds(world.pinterest.add(world.list_id, Batch([person(1)]))) == ["accepted"]
    assert doubt.arose


def test_the_account_is_left_alone_for_as_long_as_the_headers_say(world: World) -> None:
    limit = f"{world.url}/_simulator/pinterest/limit"
    requests.post(limit, json={"max": 2, "interval_s": 30}, timeout=10).raise_for_status()
    asked: list[float] = []
    world.pinterest.pace.hold_off = asked.append
    world.pinterest.add(world.list_id, Batch([person(1)]))
    assert asked == []
    world.pinterest.add(world.list_id, Batch([person(2)]))
    assert asked == [30.0]


@pytest.mark.parametrize(
    "wrong", [{"list_type": "PHONE"}, {"processing_wait_s": -1}, {"make_audience": "perhaps"}, {"requests_per_s": 0}]
)
def test_wrong_settings_are_refused_when_the_account_is_opened(world: World, wrong: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError):
        opened(world.url, **wrong)
    with pytest.raises(DefinitionError):
        opened(world.url, account="act_1")


def test_neither_errors_nor_logs_show_a_secret_or_a_person(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    for kind in ("rate_limit", "server_error", "malformed", "reject_batch", "forbidden", "reset_after", "partial"):
        world.fault(kind, operation="lists.update", count=2, **({"retry_after_s": 0} if kind == "rate_limit" else {}))
        account = opened(world.url, f"refresh-secret-{next(TOKENS)}")
        try:
            told += [verdict.reason for verdict in account.add(world.list_id, Batch([person(1)]))]
        except AudienceSyncsError as error:
            told.append(str(error))
    shown = "\n".join([*told, *(record.getMessage() for record in caplog.records)])
    assert len(told) == 7
    assert not [secret for secret in (sha("p1@example.com"), "refresh-secret", "at.") if secret in shown]
