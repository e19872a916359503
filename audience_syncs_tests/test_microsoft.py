"""Microsoft Advertising over real HTTP, to the simulator; its requests are held against the models of Microsoft's own client."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.microsoft.calls import Problem
from audience_syncs.destinations.microsoft.members import SEARCH_REQUESTS, Kind, Upload
from audience_syncs.destinations.registry import check_destination, open_destination
from audience_syncs.model.config import DestinationConfig
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, VerdictKind
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.microsoft_bench import World, kinds, misfits, person
from audience_syncs_tests.platforms import HARNESSES
from audience_syncs_tests.platforms.harness import sha

MODELS = {
    "lists.find": "GetAudiencesByIdsRequest",
    "lists.get": "GetAudiencesByIdsRequest",
    "lists.create": "AddAudiencesRequest",
    "members.add": "ApplyCustomerListUserDataRequest",
    "members.remove": "ApplyCustomerListUserDataRequest",
}


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def url(simulators: SimulatorServer) -> str:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return simulators.url


@pytest.fixture
def world(url: str) -> World:
    return World(url).make_list()


def test_everything_that_is_sent_fits_the_models_of_microsofts_own_client(url: str) -> None:
    world = World(url, accept_customer_match_terms=True)
    world.list_id = world.microsoft.ensure_list(ListRequest("People", description="Everybody")).id
    batch = Batch([person(n, crm_id=f"c-{n}") for n in range(3)])
    world.microsoft.add(world.list_id, batch)
    world.microsoft.remove(world.list_id, batch)
    world.microsoft.matched_users(world.list_id)
    sent = [entry for entry in world.received() if entry["operation"] != "token"]
    assert {entry["operation"] for entry in sent} == set(MODELS)
    assert [each for entry in sent for each in misfits(entry["body"], MODELS[entry["operation"]])] == []
    terms = {entry["body"]["CustomerListUserData"]["AcceptCustomerMatchTerm"] for entry in sent if entry["rows"]}
    assert terms == {True}


def test_a_thousand_members_are_one_call_and_more_items_are_several(world: World) -> None:
    assert kinds(world.microsoft.add(world.list_id, Batch([person(n) for n in range(1_000)]))) == ["accepted"] * 1_000
    assert [entry["operation"] for entry in world.received()].count("members.add") == 1
    two_each = [Outgoing({"email": [sha(f"a{n}"), sha(f"b{n}")]}) for n in range(1_000)]
    assert kinds(world.microsoft.add(world.list_id, Batch(two_each))) == ["accepted"] * 1_000
    assert [entry["rows"] for entry in world.received() if entry["operation"] == "members.add"] == [1_000] * 3
    assert len(world.emails()) == 3_000


def test_hostile_members_are_told_by_their_place_and_the_others_get_in(world: World) -> None:
    good = sha("zoë@example.com")
    members = [
        {"email": "plain@example.com"},
        {"email": good},
        {"email": good, "crm_id": "Zoë ❤ 北京"},
        {"email": ""},
        {"email": []},
        {},
        {"crm_id": "x" * 300},
        {"email": sha("b"), "crm_id": "x" * 101},
        {"email": good.upper()},
        {"crm_id": "x" * 100},
        {"email": [sha("c"), sha("c"), ""]},
    ]
    verdicts = world.microsoft.add(world.list_id, Batch([Outgoing(member) for member in members]))  # type: ignore[arg-type]
    assert [verdict.reason_code or "ok" for verdict in verdicts] == [
        *("EmailMustBeHashed", "ok", "ok", "NO_IDENTIFIER", "NO_IDENTIFIER", "NO_IDENTIFIER"),
        *("CRM_ID_TOO_LONG", "CRM_ID_TOO_LONG", "EmailMustBeHashed", "ok", "ok"),
    ]
    assert world.emails() == {good, sha("c")}
    assert {member["crm_id"] for member in world.members() if "crm_id" in member} == {"Zoë ❤ 北京", "x" * 100}
    everybody = Batch([Outgoing(member) for member in members])  # type: ignore[arg-type]
    removed = world.microsoft.remove(world.list_id, everybody)
    assert world.members() == []
    assert [verdict.kind.value for place, verdict in enumerate(removed) if place not in (0, 8)] == ["accepted"] * 9


def test_who_leaves_is_taken_out_by_every_identifier_and_the_others_stay(world: World) -> None:
    put = {"members": [{"email": sha("other")}]}
    path = f"{world.url}/_simulator/microsoft/lists/{world.list_id}/members"
    requests.post(path, json=put, timeout=10).raise_for_status()
    world.microsoft.add(world.list_id, Batch([Outgoing({"email": [sha("a"), sha("b")], "crm_id": "1"}), person(2)]))
    # In doubt which of three addresses is there, and one who was never in.
    leaver = Outgoing({"email": [sha("a"), sha("b"), sha("new")], "crm_id": ["1", "2"]})
    assert kinds(world.microsoft.remove(world.list_id, Batch([leaver, person(9)]))) == ["accepted"] * 2
    assert world.emails() == {sha("other"), sha("p2@example.com")}
    assert len(world.members()) == 2


def test_an_id_is_not_sent_for_who_is_refused_by_address(world: World) -> None:
    world.fault(kind="partial", contains=sha("p1@example.com"))
    verdicts = world.microsoft.add(world.list_id, Batch([person(1, crm_id="1"), person(2, crm_id="2")]))
    assert kinds(verdicts) == ["rejected", "accepted"]
    assert [member for member in world.members() if member.get("crm_id") == "1"] == []


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "rate_limit"}, NotApplied),
        ({"kind": "timeout_before", "delay_s": 0.4}, NoAnswer),
        ({"kind": "reset_after"}, NoAnswer),
        ({"kind": "malformed"}, NoAnswer),
        ({"kind": "server_error"}, NoAnswer),
        ({"kind": "forbidden"}, AccessRefused),
        ({"kind": "reject_batch"}, BatchRefused),
    ],
)
def test_what_goes_wrong_says_what_is_known(
    world: World, fault: Mapping[str, Any], error: type[AudienceSyncsError]
) -> None:
    world.fault(**fault, operation="members.add")
    with pytest.raises(error):
        world.opened(attempts=2, timeout_s=0.2).add(world.list_id, Batch([person(1)]))


@pytest.mark.parametrize("call", ["add", "remove"])
def test_after_the_first_call_nothing_is_called_not_applied(world: World, call: str) -> None:
    """The addresses are through, the ids are not: nobody who has both may be sent away as if nothing had happened."""
    batch = Batch([person(1, crm_id="1"), person(2), Outgoing({"crm_id": "3"})])
    world.fault(kind="rate_limit", operation=f"members.{call}", contains='"1"')
    verdicts = getattr(world.opened(attempts=1), call)(world.list_id, batch)
    known = {"add": ["unknown", "accepted", "retryable"], "remove": ["retryable", "accepted", "retryable"]}
    assert kinds(verdicts) == known[call]
    assert verdicts[0].reason_code == {"add": "PARTLY_APPLIED", "remove": "NOT_APPLIED"}[call]


def test_a_batch_that_is_refused_names_the_member_and_not_the_item(world: World) -> None:
    world.fault(kind="reject_batch", operation="members.add", contains=sha("bad"))
    members = [Outgoing({"email": [sha("a"), sha("b")]}), person(1), Outgoing({"email": sha("bad")})]
    with pytest.raises(BatchRefused) as refused:
        world.microsoft.add(world.list_id, Batch(members))
    assert (refused.value.position, refused.value.reason_code) == (2, "ApiInputValidationError")


# Finding out whom an error is about


class Picky:
    """A platform that refuses some items, and may not say which."""

    def __init__(self, bad: set[str], *, named: bool, whole: bool = False, after: int = 0) -> None:
        self.bad, self.named, self.whole, self.after = bad, named, whole, after
        self.calls = 0

    def __call__(self, kind: Kind, items: Sequence[str]) -> Sequence[Problem]:
        self.calls += 1
        found = [at for at, item in enumerate(items) if item in self.bad]
        if found and self.whole and self.calls > self.after:
            raise BatchRefused("no", reason_code="NO", position=found[0] if self.named else None)
        return [Problem(1, "No", at if self.named else None) for at in found]


def outcome(picky: Picky, count: int) -> list[VerdictKind]:
    """What becomes of members with an address each."""
    members = [Outgoing({"email": f"e{n}"}) for n in range(count)]
    return [verdict.kind for verdict in Upload(picky, adding=True).of(members)]


@pytest.mark.parametrize("named", [True, False])
def test_single_items_are_found_whether_they_are_named_or_not(named: bool) -> None:
    picky = Picky({"e3", "e40", "e41"}, named=named)
    found = outcome(picky, 64)
    assert [place for place, kind in enumerate(found) if kind is VerdictKind.REJECTED] == [3, 40, 41]
    assert found.count(VerdictKind.ACCEPTED) == 61
    assert picky.calls <= (1 if named else 1 + SEARCH_REQUESTS)


def test_too_many_unnamed_ones_are_unknown_and_cost_a_bounded_number_of_calls() -> None:
    picky = Picky({f"e{n}" for n in range(0, 900, 2)}, named=False)
    found = outcome(picky, 900)
    assert VerdictKind.UNKNOWN in found
    assert all(found[place] is not VerdictKind.REJECTED for place in range(1, 900, 2))
    assert picky.calls <= 1 + SEARCH_REQUESTS


@pytest.mark.parametrize("named", [True, False])
def test_a_later_call_that_is_refused_as_a_whole_is_halved_here(named: bool) -> None:
    """1,000 items are through; the engine must not hear that the batch was refused."""
    picky = Picky({"e1100"}, named=named, whole=True)
    found = outcome(picky, 1_200)
    assert [place for place, kind in enumerate(found) if kind is not VerdictKind.ACCEPTED] == [1_100]
    assert found[1_100] is VerdictKind.REJECTED


# Lists


def test_a_list_is_found_by_name_and_stays_the_same_after_a_lost_answer(url: str) -> None:
    world = World(url)
    world.fault(kind="timeout_after", operation="lists.create", count=1, delay_s=0.4)
    impatient = world.opened(timeout_s=0.2)
    made = impatient.ensure_list(ListRequest(" People "))
    assert impatient.ensure_list(ListRequest("People")).id == made.id
    assert impatient.ensure_list(ListRequest("PEOPLE")).id == made.id
    assert impatient.ensure_list(ListRequest("whatever", made.id)).name == "People"
    assert made.url == f"https://ui.ads.microsoft.com/?cid=77&aid={world.account}"


def test_two_who_make_a_list_at_once_get_the_same(url: str) -> None:
    world = World(url)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: world.opened().ensure_list(ListRequest("People")).id, range(4)))
    assert len(set(found)) == 1


def test_lists_of_the_customer_are_for_all_its_accounts(url: str) -> None:
    made = World(url, scope="Customer").microsoft.ensure_list(ListRequest("Everywhere"))
    assert World(url).microsoft.ensure_list(ListRequest("Everywhere")).id == made.id
    assert World(url).microsoft.ensure_list(ListRequest("Elsewhere")).created


def test_a_list_that_loses_its_members_is_refused_unless_that_is_meant(url: str) -> None:
    world = World(url, membership_days=30).make_list()
    world.microsoft.add(world.list_id, Batch([person(1)]))
    with pytest.raises(DestinationError) as refused:
        world.opened().ensure_list(ListRequest("People"))
    assert refused.value.code == "LIST_EXPIRES"
    assert "membership_days: 30" in refused.value.remedy
    assert world.opened(membership_days=30).ensure_list(ListRequest("People")).id == world.list_id
    assert "members leave by themselves after 30 days" in world.microsoft.matched_users(world.list_id).note
    world.advance(31 * 86_400)
    requests.get(f"{url}/_simulator/microsoft/lists", timeout=10)
    assert world.members() == []


def test_members_of_a_list_that_is_made_here_stay(world: World) -> None:
    world.microsoft.add(world.list_id, Batch([person(1)]))
    world.advance(1_000 * 86_400)
    assert kinds(world.microsoft.add(world.list_id, Batch([person(2)]))) == ["accepted"]
    assert len(world.members()) == 2


@pytest.mark.parametrize("call", ["add", "remove", "matched_users", "ensure_list"])
def test_a_list_that_was_deleted_is_missing_and_nobody_is_rejected(world: World, call: str) -> None:
    requests.post(f"{world.url}/_simulator/microsoft/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    asks: Mapping[str, Callable[[], Any]] = {
        "add": lambda: world.microsoft.add(world.list_id, Batch([person(1)])),
        "remove": lambda: world.microsoft.remove(world.list_id, Batch([person(1)])),
        "matched_users": lambda: world.microsoft.matched_users(world.list_id),
        "ensure_list": lambda: world.microsoft.ensure_list(ListRequest("People", world.list_id)),
    }
    with pytest.raises(ListMissing):
        asks[call]()


@pytest.mark.parametrize("wrong", ["", "people", "../Audiences", "1" * 30, "٣"])
def test_what_is_no_id_of_a_list_is_not_asked_for(world: World, wrong: str) -> None:
    before = world.microsoft.requests_sent
    with pytest.raises(ListMissing):
        world.microsoft.add(wrong, Batch([person(1)]))
    with pytest.raises(ListMissing):
        world.microsoft.ensure_list(ListRequest("People", wrong))
    assert world.microsoft.requests_sent == before


def test_names_that_microsoft_does_not_take_are_said_so(world: World) -> None:
    with pytest.raises(DestinationError, match="invalid audience name"):
        world.microsoft.ensure_list(ListRequest("x" * 129))
    # A description that is too long is cut, and no reason not to make a list.
    assert world.microsoft.ensure_list(ListRequest("Zoë's 北京", description="d" * 2_000)).created


# Who asks


def test_terms_are_accepted_by_a_person_or_by_a_setting_and_never_by_default(url: str) -> None:
    world = World(url).make_list()
    # The same account, by a user for whom nobody has accepted the terms.
    world.token = "noterms-1"
    with pytest.raises(AccessRefused, match="Customer Match terms") as refused:
        world.opened().add(world.list_id, Batch([person(1)]))
    assert "accept_customer_match_terms: true" in refused.value.remedy
    assert kinds(world.opened(accept_customer_match_terms=True).add(world.list_id, Batch([person(1)]))) == ["accepted"]


@pytest.mark.parametrize(
    ("token", "told"),
    [("revoked-1", "no token was given"), ("noscope-1", "may not find the list")],
)
def test_access_that_is_refused_stops_the_run_with_what_to_do(url: str, token: str, told: str) -> None:
    with pytest.raises(AccessRefused, match=told) as refused:
        World(url, token).microsoft.ensure_list(ListRequest("People"))
    assert refused.value.remedy
    assert token not in str(refused.value)


def test_a_token_that_ends_while_a_run_is_under_way_is_renewed(world: World) -> None:
    world.advance(3_700)
    assert kinds(world.microsoft.add(world.list_id, Batch([person(1)]))) == ["accepted"]
    assert [entry["operation"] for entry in world.received()].count("token") == 2


def test_secrets_and_people_are_in_no_log_and_no_error(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.fault(kind="partial", operation="members.add", count=1)
    world.microsoft.add(world.list_id, Batch([person(1)]))
    world.fault(kind="forbidden", operation="members.add", count=1)
    with pytest.raises(AccessRefused) as refused:
        world.microsoft.add(world.list_id, Batch([person(1)]))
    told = caplog.text + str(refused.value)
    for secret in (world.token, "DEV123", sha("p1@example.com"), "at."):
        assert secret not in told
    assert world.token not in str(world.received())


def test_settings_that_make_no_sense_are_refused_with_words() -> None:
    given = HARNESSES["microsoft"].config("https://api.example.com")

    def problems(**settings: Any) -> list[str]:
        config = DestinationConfig.model_validate(given.model_dump() | {"settings": {**given.settings, **settings}})
        return [problem.message for problem in check_destination(config)]

    assert problems(account_id=150012345, customer_id="77", scope="Customer", membership_days=390) == []
    assert problems(account_id="act_1") != []
    assert problems(account_id=True) != []
    assert problems(membership_days=0) == ["`membership_days` is 0"]
    assert problems(membership_days=391) != []
    assert problems(scope="customer") != []
    assert problems(environment="test") != []
    assert problems(tenant="a/b") != []


def test_the_sandbox_has_addresses_of_its_own() -> None:
    given = {"account_id": "1", "customer_id": "2", "environment": "sandbox"}
    config = HARNESSES["microsoft"].config("https://x.example")
    config = DestinationConfig.model_validate(config.model_dump() | {"settings": given})
    opened: Any = open_destination(config, HARNESSES["microsoft"].environ("https://x.example"))
    assert opened._http._base_url == "https://campaign.api.sandbox.bingads.microsoft.com"
    assert opened._tokens._http._base_url == "https://login.windows-ppe.net"
    assert opened._tokens._path == "/consumers/oauth2/v2.0/token"
    assert opened._tokens._form()["scope"].startswith("https://api.ads.microsoft.com/")
