"""LinkedIn over real HTTP, to the simulator."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from requests.structures import CaseInsensitiveDict

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.http import Answer, Retry
from audience_syncs.destinations.linkedin import LinkedIn, calls, members, segments
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
AID = "aebe52e7-03ee-455a-b3c4-e57283966239"


def opened(url: str, token: str = "", settles_s: float = 0.0, **settings: Any) -> LinkedIn:
    """An ad account with a pace of its own, hardly any patience, and an access token."""
    defaults = {"base_url": url, "ad_account_id": "42", "requests_per_s": 1_000, "attempts": 2, "timeout_s": 1}
    secrets = {"access_token": token or f"t{next(TOKENS)}"}
    linkedin = LinkedIn(Account("ads", secrets, defaults | settings), {})
    linkedin._http._first_backoff_s = 0.01
    linkedin._segments.settles_s = settles_s
    return linkedin


def person(number: int, **fields: Any) -> Outgoing:
    return Outgoing({"email": sha(f"p{number}@example.com")} | fields)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


class World:
    """A segment of its own at the simulator."""

    def __init__(self, url: str) -> None:
        self.inspection = f"{url}/_simulator"
        self.url = f"{url}/linkedin"
        requests.post(f"{self.inspection}/reset", timeout=10).raise_for_status()
        self.linkedin = opened(self.url)
        self.list_id = self.linkedin.ensure_list(ListRequest("People")).id

    def post(self, path: str, body: Any = None) -> None:
        requests.post(f"{self.inspection}/{path}", json=body, timeout=10).raise_for_status()

    def fault(self, kind: str, **more: Any) -> None:
        self.post("faults", {"platform": "linkedin", "kind": kind, "rate": 1.0, "seed": 7} | more)

    def members(self, field: str = "email") -> set[str]:
        path = f"{self.inspection}/linkedin/lists/{self.list_id}/members"
        return set(requests.get(path, params={"field": field}, timeout=10).json())

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.inspection}/linkedin/requests", timeout=10).json()
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
    batch = Batch([person(n, google_aid=f"{n:08x}{AID[8:]}", first_name="Zoë") for n in range(1_000)])
    assert kinds(world.linkedin.add(world.list_id, batch)) == ["accepted"] * 1_000
    assert world.operations().count("users.add") == 1
    assert (len(world.members()), len(world.members("google_aid"))) == (1_000, 1_000)
    assert kinds(world.linkedin.remove(world.list_id, batch)) == ["accepted"] * 1_000
    assert world.members() | world.members("google_aid") == set()


def test_who_is_in_doubt_goes_by_all_of_their_identifiers(world: World) -> None:
    world.linkedin.add(world.list_id, Batch([person(1), person(2), person(3)]))
    both = Outgoing({"email": [sha("p1@example.com"), sha("p2@example.com"), sha("never@example.com")]})
    assert kinds(world.linkedin.remove(world.list_id, Batch([both]))) == ["accepted"]
    assert world.members() == {sha("p3@example.com")}


@pytest.mark.parametrize("value", ["anna@example.com", "x" * 300, "ÄÖÜ", "\x00", "0" * 63])
def test_what_is_no_hash_is_rejected_and_the_others_get_in(world: World, value: str) -> None:
    verdicts = world.linkedin.add(world.list_id, Batch([person(1), Outgoing({"email": value}), person(2)]))
    assert kinds(verdicts) == ["accepted", "rejected", "accepted"]
    assert verdicts[1].reason_code == "VALIDATION_ERROR"
    assert value not in verdicts[1].reason
    assert len(world.members()) == 2


def test_who_is_in_by_one_identifier_is_never_called_rejected(world: World) -> None:
    half = Outgoing({"email": [sha("p1@example.com"), "nonsense"]})
    [verdict] = world.linkedin.add(world.list_id, Batch([half]))
    assert (verdict.kind.value, verdict.reason_code) == ("unknown", "PARTLY_APPLIED")
    [verdict] = world.linkedin.remove(world.list_id, Batch([half]))
    assert verdict.kind.value == "rejected", "an identifier that cannot be removed is named"
    assert world.members() == set()


def test_text_that_is_too_long_is_left_out_and_rejects_nobody(world: World) -> None:
    long = {"first_name": "x" * 36, "last_name": "y" * 35, "title": "日" * 51, "company": "z" * 300, "country": "DE"}
    assert kinds(world.linkedin.add(world.list_id, Batch([person(1, **long)]))) == ["accepted"]
    [element] = world.received()[-1]["body"]["elements"]
    assert set(element) == {"action", "userIds", "lastName", "country"}


def test_members_without_anything_are_rejected_without_a_request(world: World) -> None:
    before = world.linkedin.requests_sent
    nobody = Batch([Outgoing({}), Outgoing({"email": ""}), Outgoing({"email": [], "first_name": "Zoë"})])
    assert kinds(world.linkedin.add(world.list_id, nobody)) == ["rejected"] * 3
    assert kinds(world.linkedin.remove(world.list_id, nobody)) == ["accepted"] * 3
    assert world.linkedin.requests_sent == before


def test_a_batch_of_more_elements_than_a_request_takes_is_several(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MOST_ELEMENTS", 5)
    batch = Batch([Outgoing({"email": [sha(f"{n}-{m}") for m in range(2)]}) for n in range(5)])
    assert kinds(world.linkedin.add(world.list_id, batch)) == ["accepted"] * 5
    assert world.operations().count("users.add") == 2
    assert len(world.members()) == 10


@pytest.mark.parametrize(
    ("kind", "left"),
    [("rate_limit", "retryable"), ("reset_after", "unknown"), ("malformed", "unknown")],
)
def test_what_fails_after_something_was_applied_says_only_what_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: str, left: str
) -> None:
    monkeypatch.setattr(members, "MOST_ELEMENTS", 2)
    world.fault(kind, operation="users.add", skip=1, count=2, retry_after_s=0)
    verdicts = world.linkedin.add(world.list_id, Batch([person(n) for n in range(6)]))
    assert kinds(verdicts)[:2] == ["accepted", "accepted"]
    assert left in kinds(verdicts)[2:4]
    assert "rejected" not in kinds(verdicts)
    accepted = [n for n, kind in enumerate(kinds(verdicts)) if kind == "accepted"]
    assert {sha(f"p{n}@example.com") for n in accepted} <= world.members()


def test_a_portion_that_is_refused_after_others_were_taken_is_divided(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MOST_ELEMENTS", 4)
    culprit = {"contains": f'"{sha("p6@example.com")}"', "kind": "reject_batch", "operation": "users.add"}
    world.fault(**culprit)
    verdicts = world.linkedin.add(world.list_id, Batch([person(n) for n in range(9)]))
    assert [n for n, kind in enumerate(kinds(verdicts)) if kind != "accepted"] == [6]
    assert kinds(verdicts)[6] == "rejected"
    assert len(world.members()) == 8


def test_access_that_is_refused_after_something_was_applied_leaves_a_doubt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "MOST_ELEMENTS", 1)
    world.fault("forbidden", operation="users.add", skip=1)
    with watch() as doubt, pytest.raises(AccessRefused):
        world.linkedin.add(world.list_id, Batch([person(1), person(2)]))
    assert doubt.arose


def test_single_refusals_are_by_position(world: World) -> None:
    world.fault("partial", operation="users.add", share=0.2)
    verdicts = world.linkedin.add(world.list_id, Batch([person(n) for n in range(100)]))
    rejected = {n for n, kind in enumerate(kinds(verdicts)) if kind == "rejected"}
    assert len(rejected) == 20
    assert world.members() == {sha(f"p{n}@example.com") for n in range(100) if n not in rejected}


def test_rows_that_others_put_into_the_segment_stay(world: World) -> None:
    world.post(f"linkedin/lists/{world.list_id}/members", {"members": [{"email": sha("other")}]})
    world.linkedin.add(world.list_id, Batch([person(1)]))
    world.linkedin.remove(world.list_id, Batch([person(1), person(2)]))
    assert world.members() == {sha("other")}


# Segments


@pytest.mark.parametrize("name", ["Köln / Düsseldorf", "100% & more?", '"quotes", \\ [brackets]', "日本", "x" * 300])
def test_lists_of_any_name_are_found_again(world: World, name: str) -> None:
    made = world.linkedin.ensure_list(ListRequest(name))
    again = opened(world.url).ensure_list(ListRequest(name))
    assert (made.created, again.created) == (True, False)
    assert (again.id, again.name) == (made.id, name)


def test_a_list_on_a_later_page_is_found(world: World) -> None:
    headers = {"Authorization": "Bearer x", "LinkedIn-Version": "202608", "X-Restli-Protocol-Version": "2.0.0"}
    body = {
        "account": "urn:li:sponsoredAccount:42",
        "type": "USER",
        "name": "Other",
        "destinations": [{"destination": "LINKEDIN"}],
    }
    for _ in range(120):
        requests.post(f"{world.url}/rest/dmpSegments", json=body, headers=headers, timeout=10).raise_for_status()
    assert opened(world.url).ensure_list(ListRequest("People")).id == world.list_id


@pytest.mark.parametrize("kind", ["reset_after", "timeout_after", "server_error_after"])
def test_a_list_whose_making_was_not_answered_is_not_made_twice(world: World, kind: str) -> None:
    world.fault(kind, operation="segments.create", count=1, delay_s=1.2)
    found = opened(world.url, timeout_s=0.5).ensure_list(ListRequest("Once"))
    assert found.created
    assert world.operations().count("segments.create") == 2  # the fixture's, and this one
    assert world.linkedin.ensure_list(ListRequest("Once")).id == found.id


def test_two_syncs_that_make_the_same_list_at_once_get_the_same_one(world: World) -> None:
    with ThreadPoolExecutor(4) as threads:
        accounts = [opened(world.url) for _ in range(4)]
        list(threads.map(lambda account: account.ensure_list(ListRequest("Together")), accounts))
    assert len({account.ensure_list(ListRequest("Together")).id for account in accounts}) == 1


def test_a_new_segment_is_left_alone_until_it_takes_people(world: World) -> None:
    slow = opened(world.url, "slow", settles_s=0.01, segment_wait_s=0.05)
    made = slow.ensure_list(ListRequest("New"))
    [verdict] = slow.add(made.id, Batch([person(1)]))
    assert (verdict.kind.value, verdict.reason_code) == ("retryable", "NOT_APPLIED")
    assert "takes nobody yet" in verdict.reason
    patient = opened(world.url, "slow", settles_s=0.02)
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(patient.add, made.id, Batch([person(1)]))
        world.post("clock", {"advance_s": 6})
        assert kinds(adding.result(timeout=20)) == ["accepted"]


def test_a_segment_that_was_made_this_moment_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("audience_syncs.destinations.linkedin.segments.rest", waited.append)
    opened(world.url, settles_s=60).ensure_list(ListRequest("People"))
    world.post("clock", {"advance_s": 86_400})
    opened(world.url, settles_s=60).ensure_list(ListRequest("New"))
    assert [50 < seconds <= 60 for seconds in waited] == [True, True]


def test_a_segment_that_is_gone_stops_the_run(world: World) -> None:
    world.linkedin.add(world.list_id, Batch([person(1)]))
    world.post(f"linkedin/lists/{world.list_id}/delete")
    asked: list[Callable[[], Any]] = [
        lambda: world.linkedin.add(world.list_id, Batch([person(1), person(2)])),
        lambda: world.linkedin.remove(world.list_id, Batch([person(1)])),
        lambda: world.linkedin.matched_users(world.list_id),
        lambda: world.linkedin.ensure_list(ListRequest("x", id=world.list_id)),
        lambda: world.linkedin.ensure_list(ListRequest("x", id="../VIPs")),
        lambda: world.linkedin.add("../VIPs", Batch([person(1)])),
    ]
    for call in asked:
        with pytest.raises(ListMissing, match="What to do"):
            call()


def test_pages_end_where_linkedin_passes_over_where_they_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = [{"id": number, "name": f"n{number}", "type": "USER"} for number in range(1, 151)]
    asked: list[Any] = []

    class Told:
        def get(self, path: str, params: Any, *, operation: str) -> Answer:
            asked.append(params)
            assert len(asked) < 5
            return Answer(200, {}, {"elements": everything})

    found = list(segments.Segments(Told(), "urn:li:sponsoredAccount:42").all())  # type: ignore[arg-type]
    assert (len(found), len(asked)) == (150, 2)


@pytest.mark.parametrize("status", ["EXPIRED", "FAILED", "ERROR"])
def test_a_segment_that_no_ad_can_use_is_gone(status: str) -> None:
    shown = {"id": 1, "name": "VIPs", "type": "USER", "destinations": [{"destination": "LINKEDIN", "status": status}]}

    class Told:
        where = "destination ads"

        def get(self, path: str, params: Any = None, *, operation: str) -> Answer:
            return Answer(200, {}, {"elements": [shown]} if operation == "segments.find" else shown)

    found = segments.Segments(Told(), "urn:li:sponsoredAccount:42")  # type: ignore[arg-type]
    assert found.oldest_named("VIPs") is None
    with pytest.raises(ListMissing, match=f"is {status.lower()} at LinkedIn"):
        found.usable("1")


def test_a_segment_of_companies_is_refused(world: World) -> None:
    headers = {"Authorization": "Bearer x", "LinkedIn-Version": "202608", "X-Restli-Protocol-Version": "2.0.0"}
    body = {"account": "urn:li:sponsoredAccount:42", "type": "COMPANY", "name": "Firms"}
    body |= {"destinations": [{"destination": "LINKEDIN"}]}  # type: ignore[dict-item]
    made = requests.post(f"{world.url}/rest/dmpSegments", json=body, headers=headers, timeout=10)
    with pytest.raises(DestinationError, match="of another type"):
        world.linkedin.ensure_list(ListRequest("Firms", id=made.headers["x-restli-id"]))
    assert world.linkedin.ensure_list(ListRequest("Firms")).created


def test_the_size_comes_late_and_small_ones_are_between_none_and_299(world: World) -> None:
    world.linkedin.add(world.list_id, Batch([person(n) for n in range(200)]))
    early = world.linkedin.matched_users(world.list_id)
    assert (early.lower, early.upper) == (None, None)
    assert "BUILDING" in early.note
    world.post("clock", {"advance_s": 86_400})
    small = world.linkedin.matched_users(world.list_id)
    assert (small.lower, small.upper) == (0, 299)
    assert "below 300" in small.note
    world.linkedin.add(world.list_id, Batch([person(n) for n in range(1_000)]))
    world.post("clock", {"advance_s": 86_400})
    size = world.linkedin.matched_users(world.list_id)
    assert size.lower == size.upper
    assert 600 < (size.lower or 0) < 1_000


# Tokens, versions, limits, silence


def test_an_access_token_is_fetched_and_renewed_when_it_expires(world: World) -> None:
    secrets = {"client_id": "app", "client_secret": "s", "refresh_token": "r1"}
    settings = {"base_url": world.url, "ad_account_id": "urn:li:sponsoredAccount:42", "attempts": 2}
    linkedin = LinkedIn(Account("ads", secrets, settings), {})
    linkedin._segments.settles_s = 0
    linkedin._sign_in.settles_s = 0  # type: ignore[attr-defined]
    found = linkedin.ensure_list(ListRequest("People"))
    world.post("clock", {"advance_s": 61 * 86_400})
    assert kinds(linkedin.add(found.id, Batch([person(1)]))) == ["accepted"]
    assert world.operations().count("token") == 2


def test_tokens_that_do_not_do_are_told_apart(world: World) -> None:
    with pytest.raises(AccessRefused, match="authorize the app again"):
        opened(world.url, "revoked").ensure_list(ListRequest("x"))
    with pytest.raises(AccessRefused, match="rw_dmp_segments"):
        opened(world.url, "noscope").ensure_list(ListRequest("x"))


def test_a_version_that_has_ended_is_told(world: World) -> None:
    with pytest.raises(DestinationError, match="version 202401") as ended:
        opened(world.url, api_version=202401).ensure_list(ListRequest("x"))
    assert ended.value.code == "API_VERSION"


@pytest.mark.parametrize(
    ("secrets", "settings"),
    [
        ({}, {}),
        ({"client_id": "a", "refresh_token": "b"}, {}),
        ({"access_token": "t"}, {"ad_account_id": ""}),
        ({"access_token": "t"}, {"ad_account_id": "urn:li:person:42"}),
        ({"access_token": "t"}, {"ad_account_id": True}),
        ({"access_token": "t"}, {"api_version": "2026-08"}),
        ({"access_token": "t"}, {"api_version": "202613"}),
        ({"access_token": "t"}, {"source_platform": "my app"}),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_sent(secrets: dict[str, str], settings: dict[str, Any]) -> None:
    with pytest.raises(DefinitionError, match="What to do"):
        LinkedIn(Account("ads", secrets, {"base_url": "http://localhost:1", "ad_account_id": "42"} | settings), {})


@pytest.mark.parametrize(
    ("message", "header", "rests_s"),
    [
        ("Resource level throttle limit for calls to this resource is reached.", None, (60, 60)),
        ("Resource level throttle limit for calls to this resource is reached.", "7", (7, 7)),
        ("Resource level throttle APPLICATION DAY limit for calls to this resource is reached.", None, (0, 86_400)),
        ("Resource level throttle MEMBER DAY limit for calls to this resource is reached.", "0", (0, 0)),
    ],
)
def test_a_limit_that_does_not_say_for_how_long_is_of_a_minute_or_of_a_day(
    message: str, header: str | None, rests_s: tuple[float, float]
) -> None:
    headers = CaseInsensitiveDict({} if header is None else {"Retry-After": header})
    found = calls.Read()(Answer(429, headers, {"status": 429, "message": message}))
    assert isinstance(found, Retry)
    assert not found.maybe_applied
    assert rests_s[0] <= (found.after_s or 0) <= rests_s[1]


def test_a_new_token_that_is_not_known_everywhere_yet_is_given_a_moment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("audience_syncs.destinations.linkedin.account.rest", waited.append)
    secrets = {"client_id": "app", "client_secret": "s", "refresh_token": "r2"}
    linkedin = LinkedIn(Account("ads", secrets, {"base_url": world.url, "ad_account_id": "42", "attempts": 2}), {})
    linkedin._segments.settles_s = 0
    linkedin.ensure_list(ListRequest("People"))
    assert waited == [], "the first token is not waited for: most are known at once"
    world.post("clock", {"advance_s": 61 * 86_400})
    linkedin.ensure_list(ListRequest("People"))
    assert waited == [2.0]


def test_a_days_quota_ends_at_midnight_utc() -> None:
    assert calls._until_midnight_s(datetime(2026, 11, 30, 23, 59, 30, tzinfo=UTC)) == 30


@pytest.mark.parametrize(
    "kind", ["partial", "reject_batch", "server_error", "reset_after", "malformed", "rate_limit", "forbidden"]
)
def test_no_error_and_no_log_tells_who_was_sent_or_with_which_token(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    linkedin = opened(world.url, "secret-of-the-test")
    world.fault(kind, operation="dmpSegments/.*/users", retry_after_s=0)
    told = []
    for call in (linkedin.add, linkedin.remove):
        try:
            batch = Batch([person(1, first_name="Xanthippe"), person(2)])
            told += [verdict.reason for verdict in call(world.list_id, batch)]
        except (AudienceSyncsError, NoAnswer, BatchRefused) as error:
            told.append(str(error))
    text = " ".join([*told, caplog.text])
    assert any(told)
    for secret in (sha("p1@example.com"), "secret-of-the-test", "Xanthippe"):
        assert secret not in text
