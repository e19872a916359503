"""TikTok over real HTTP, to the simulator."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from business_api_client.tiktok_business.tiktok_code import NumericErrorCodes

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.http import Answer, Retry
from audience_syncs.destinations.plain_words import plain_words
from audience_syncs.destinations.tiktok import TikTok, mappings
from audience_syncs.destinations.tiktok.calls import PERMISSION, TOKEN, reading
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
)
from audience_syncs.model.values import Batch, Outgoing
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.platforms.harness import sha

TOKENS = itertools.count(1)


def opened(url: str, token: str = "", **settings: Any) -> TikTok:
    """An advertiser with a pace of its own, and hardly any patience."""
    defaults = {"base_url": url, "advertiser_id": "42", "requests_per_s": 1_000, "attempts": 2, "timeout_s": 1}
    tiktok = TikTok(Account("ads", {"access_token": token or f"t{next(TOKENS)}"}, defaults | settings), {})
    tiktok._http._first_backoff_s = 0.01
    return tiktok


def person(number: int, **fields: Any) -> Outgoing:
    return Outgoing({"email": sha(f"p{number}@example.com")} | fields)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


class World:
    """An audience of its own at the simulator."""

    def __init__(self, url: str) -> None:
        self.inspection = f"{url}/_simulator"
        self.url = f"{url}/tiktok"
        requests.post(f"{self.inspection}/reset", timeout=10).raise_for_status()
        self.tiktok = opened(self.url)
        self.list_id = self.tiktok.ensure_list(ListRequest("People")).id

    def post(self, path: str, body: Any = None) -> None:
        requests.post(f"{self.inspection}/{path}", json=body, timeout=10).raise_for_status()

    def fault(self, kind: str, **more: Any) -> None:
        self.post("faults", {"platform": "tiktok", "kind": kind, "rate": 1.0, "seed": 7} | more)

    def members(self, field: str = "email") -> set[str]:
        path = f"{self.inspection}/tiktok/lists/{self.list_id}/members"
        return set(requests.get(path, params={"field": field}, timeout=10).json())

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.inspection}/tiktok/requests", timeout=10).json()
        return found

    def operations(self) -> list[str]:
        return [entry["operation"] for entry in self.received()]


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    return World(simulators.url)


def test_a_batch_is_one_request_and_what_is_removed_is_gone(world: World) -> None:
    batch = Batch([person(n, phone=sha(f"+49151{n}"), idfa=[sha(f"i{n}"), sha(f"j{n}")]) for n in range(1_000)])
    assert kinds(world.tiktok.add(world.list_id, batch)) == ["accepted"] * 1_000
    assert world.operations().count("mappings.add") == 1
    assert (len(world.members()), len(world.members("phone")), len(world.members("idfa"))) == (1_000, 1_000, 2_000)
    assert kinds(world.tiktok.remove(world.list_id, batch)) == ["accepted"] * 1_000
    assert world.members() | world.members("phone") | world.members("idfa") == set()


def test_who_is_in_doubt_goes_by_all_of_their_identifiers(world: World) -> None:
    world.tiktok.add(world.list_id, Batch([person(1), person(2), person(3)]))
    both = Outgoing({"email": [sha("p1@example.com"), sha("p2@example.com"), sha("never@example.com")]})
    assert kinds(world.tiktok.remove(world.list_id, Batch([both]))) == ["accepted"]
    assert world.members() == {sha("p3@example.com")}


def test_two_members_with_one_identifier_are_sent_once(world: World) -> None:
    assert kinds(world.tiktok.add(world.list_id, Batch([person(1), person(1)]))) == ["accepted", "accepted"]
    assert len(world.received()[-1]["body"]["batch_data"]) == 1


def test_a_batch_of_more_rows_than_a_request_takes_is_several(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mappings, "MOST_ROWS", 5)
    batch = Batch([Outgoing({"email": [sha(f"{n}-{m}") for m in range(2)]}) for n in range(5)])
    assert kinds(world.tiktok.add(world.list_id, batch)) == ["accepted"] * 5
    assert world.operations().count("mappings.add") == 2
    assert len(world.members()) == 10


@pytest.mark.parametrize(
    ("kind", "left"),
    [("rate_limit", "retryable"), ("reset_after", "unknown"), ("malformed", "unknown")],
)
def test_what_fails_after_something_was_applied_says_only_what_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, left: str
) -> None:
    monkeypatch.setattr(mappings, "MOST_ROWS", 2)
    world.fault(kind, operation="mappings.add", skip=1, count=2, retry_after_s=0)
    verdicts = world.tiktok.add(world.list_id, Batch([person(n) for n in range(6)]))
    assert kinds(verdicts)[:2] == ["accepted", "accepted"]
    assert left in kinds(verdicts)[2:4]
    assert "rejected" not in kinds(verdicts)
    accepted = [n for n, kind in enumerate(kinds(verdicts)) if kind == "accepted"]
    assert {sha(f"p{n}@example.com") for n in accepted} <= world.members()


def test_a_portion_that_is_refused_after_others_were_taken_is_divided(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mappings, "MOST_ROWS", 4)
    culprit = {"contains": f'"{sha("p6@example.com")}"', "kind": "reject_batch", "operation": "mappings.add"}
    world.fault(**culprit)
    verdicts = world.tiktok.add(world.list_id, Batch([person(n) for n in range(9)]))
    assert [n for n, kind in enumerate(kinds(verdicts)) if kind != "accepted"] == [6]
    assert kinds(verdicts)[6] == "rejected"
    assert len(world.members()) == 8


def test_access_that_is_refused_after_something_was_applied_leaves_a_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mappings, "MOST_ROWS", 1)
    world.fault("forbidden", operation="mappings.add", skip=1)
    with watch() as doubt, pytest.raises(AccessRefused):
        world.tiktok.add(world.list_id, Batch([person(1), person(2)]))
    assert doubt.arose


@pytest.mark.parametrize("value", ["anna@example.com", "A" * 64, "x" * 300, "ÄÖÜ", "\x00", "0" * 63])
def test_what_is_no_hash_is_refused_and_the_others_get_through_once_it_is_alone(world: World, value: str) -> None:
    with pytest.raises(BatchRefused) as refused:
        world.tiktok.add(world.list_id, Batch([person(1), Outgoing({"email": value})]))
    assert value not in str(refused.value)
    assert world.members() == set()
    assert kinds(world.tiktok.add(world.list_id, Batch([person(1)]))) == ["accepted"]


def test_members_without_anything_are_rejected_without_a_request(world: World) -> None:
    before = world.tiktok.requests_sent
    nobody = Batch([Outgoing({}), Outgoing({"email": ""}), Outgoing({"email": [], "phone": ""})])
    assert kinds(world.tiktok.add(world.list_id, nobody)) == ["rejected"] * 3
    assert kinds(world.tiktok.remove(world.list_id, nobody)) == ["accepted"] * 3
    assert world.tiktok.requests_sent == before


def test_rows_that_others_put_into_the_audience_stay(world: World) -> None:
    world.post(f"tiktok/lists/{world.list_id}/members", {"members": [{"email": sha("other")}]})
    world.tiktok.add(world.list_id, Batch([person(1)]))
    world.tiktok.remove(world.list_id, Batch([person(1), person(2)]))
    assert world.members() == {sha("other")}


# Audiences


@pytest.mark.parametrize("name", ["Köln / Düsseldorf", "100% & more?", '"quotes", \\ [brackets]', "日本", "x" * 70])
def test_lists_of_any_name_are_found_again(world: World, name: str) -> None:
    made = world.tiktok.ensure_list(ListRequest(name))
    again = opened(world.url).ensure_list(ListRequest(name))
    assert (made.created, again.created) == (True, False)
    assert (again.id, again.name) == (made.id, name)


def test_a_name_that_tiktok_would_cut_is_refused(world: World) -> None:
    with pytest.raises(DestinationError, match="longer than 70"):
        world.tiktok.ensure_list(ListRequest("x" * 71))
    assert world.operations().count("audiences.create") == 1


def test_a_list_on_a_later_page_is_found(world: World) -> None:
    for number in range(120):
        body = {"advertiser_id": "42", "custom_audience_name": f"Other {number}"}
        requests.post(
            f"{world.url}/open_api/v1.3/segment/audience/", json=body, headers={"Access-Token": "x"}, timeout=10
        )
    assert opened(world.url).ensure_list(ListRequest("People")).id == world.list_id


@pytest.mark.parametrize("kind", ["reset_after", "timeout_after", "server_error_after", "malformed"])
def test_a_list_whose_making_was_not_answered_is_not_made_twice(world: World, kind: str) -> None:
    world.fault(kind, operation="audiences.create", count=1, delay_s=1.2)
    found = opened(world.url, timeout_s=0.5).ensure_list(ListRequest("Once"))
    assert found.created
    assert world.operations().count("audiences.create") == 2  # the fixture's, and this one
    assert world.tiktok.ensure_list(ListRequest("Once")).id == found.id


def test_two_syncs_that_make_the_same_list_at_once_get_the_same_one(world: World) -> None:
    with ThreadPoolExecutor(4) as threads:
        accounts = [opened(world.url) for _ in range(4)]
        list(threads.map(lambda account: account.ensure_list(ListRequest("Together")), accounts))
    assert len({account.ensure_list(ListRequest("Together")).id for account in accounts}) == 1


def test_an_audience_that_is_gone_stops_the_run(world: World) -> None:
    world.tiktok.add(world.list_id, Batch([person(1)]))
    world.post(f"tiktok/lists/{world.list_id}/delete")
    calls: list[Callable[[], Any]] = [
        lambda: world.tiktok.add(world.list_id, Batch([person(1), person(2)])),
        lambda: world.tiktok.remove(world.list_id, Batch([person(1)])),
        lambda: world.tiktok.matched_users(world.list_id),
        lambda: world.tiktok.ensure_list(ListRequest("x", id=world.list_id)),
        lambda: world.tiktok.ensure_list(ListRequest("x", id="../VIPs")),
        lambda: world.tiktok.add("../VIPs", Batch([person(1)])),
    ]
    for call in calls:
        with pytest.raises(ListMissing, match="What to do"):
            call()


def test_an_audience_that_has_expired_or_is_of_another_kind_is_not_filled(world: World) -> None:
    told: dict[str, Any] = {"audience_id": "7", "is_valid": False, "expired_time": "2025-01-01 00:00:00"}
    with pytest.raises(ListMissing, match="has expired"):
        world.tiktok._taking_mappings(told)
    fresh = told | {"expired_time": "2099-01-01 00:00:00"}
    assert world.tiktok._taking_mappings(fresh) == fresh
    for kind in ("Lookalike Audience", "CUSTOMER_FILE", "Engagement Audience"):
        with pytest.raises(DestinationError, match="takes no mappings"):
            world.tiktok._taking_mappings(fresh | {"audience_type": kind})


def test_the_size_comes_late_and_says_so(world: World) -> None:
    world.tiktok.add(world.list_id, Batch([person(n) for n in range(200)]))
    early = world.tiktok.matched_users(world.list_id)
    assert (early.lower, early.upper) == (None, None)
    assert "computed" in early.note
    world.post("clock", {"advance_s": 86_400})
    later = world.tiktok.matched_users(world.list_id)
    assert later.lower == later.upper
    assert 100 < (later.lower or 0) < 200


# Tokens, limits, silence


def test_tokens_that_do_not_do_are_told_apart(world: World) -> None:
    with pytest.raises(AccessRefused, match=r"access token \(error 40105"):
        opened(world.url, "revoked").ensure_list(ListRequest("x"))
    with pytest.raises(AccessRefused, match="Audience Management"):
        opened(world.url, "noscope").ensure_list(ListRequest("x"))


@pytest.mark.parametrize("wrong", ["", "act_42", "42 ", True, 1.5, None, "１２", "9" * 21])
def test_a_wrong_advertiser_is_refused_before_anything_is_sent(wrong: Any) -> None:
    with pytest.raises(DefinitionError, match="advertiser_id"):
        opened("http://localhost:1", advertiser_id=wrong)


def test_a_number_is_an_advertiser_too(world: World) -> None:
    assert opened(world.url, advertiser_id=42).ensure_list(ListRequest("People")).id == world.list_id


def test_a_limit_without_a_hint_is_waited_for(world: World) -> None:
    world.fault("rate_limit", operation="mappings.add", count=1, retry_after_s=None)
    assert kinds(world.tiktok.add(world.list_id, Batch([person(1)]))) == ["accepted"]


def test_every_code_of_tiktoks_own_client_has_a_meaning_that_cannot_do_harm() -> None:
    """Whatever is not certainly refused may have been applied; whatever is about the token or the account stops the run."""
    names = {name: code for name, code in vars(NumericErrorCodes).items() if name.startswith("ERROR_CODE_")}
    said = {name: reading(Answer(200, {}, {"code": code, "message": ""})) for name, code in names.items()}
    again = {name for name, found in said.items() if isinstance(found, Retry)}
    assert {name for name in again if not said[name].maybe_applied} == {  # type: ignore[union-attr]
        "ERROR_CODE_REQUEST_TOO_FREQUENT",
        "ERROR_CODE_REQUEST_FREQUENCY_LIMITED",
    }
    assert {name for name, code in names.items() if code >= 50_000 or code == 20001} <= again
    access = TOKEN | PERMISSION
    for word in ("TOKEN", "PERMISSION", "WHITELIST", "SCOPE_NOT", "FORBIDDEN", "ADVERTISER_NOT_EXIST"):
        assert [name for name, code in names.items() if word in name and code not in access] == []


def test_words_keep_what_explains_and_lose_what_may_name_somebody() -> None:
    told = "batch_data.3.0.id: 'ab12' of anna@example.com, +49 151 1234567 is not a valid EMAIL_SHA256."
    assert plain_words(told) == "... of ... is not a valid ..."
    assert plain_words("Parameter error: invalid audience ID") == "Parameter error: invalid audience ID"
    assert [plain_words(each) for each in (None, 7, "", "x" * 300, "日本")] == ["", "", "", "...", "..."]
    assert len(plain_words("word " * 300)) <= 200


@pytest.mark.parametrize(
    "kind", ["reject_batch", "server_error", "reset_after", "malformed", "rate_limit", "forbidden"]
)
def test_no_error_and_no_log_tells_who_was_sent_or_with_which_token(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    tiktok = opened(world.url, "secret-of-the-test")
    world.fault(kind, operation="mappings.", retry_after_s=0)
    world.fault(kind, operation="segment/mapping", retry_after_s=0)
    told = []
    for call in (tiktok.add, tiktok.remove):
        try:
            told += [verdict.reason for verdict in call(world.list_id, Batch([person(1), person(2)]))]
        except (AudienceSyncsError, NoAnswer) as error:
            told.append(str(error))
    text = " ".join([*told, caplog.text])
    assert told
    assert sha("p1@example.com") not in text
    assert "secret-of-the-test" not in text
