"""Meta and HubSpot over real HTTP, to the simulators: what goes out, what every kind of answer becomes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from audience_syncs.destinations import pacing
from audience_syncs.destinations.contract import ListRequest, TellsMatchedUsers
from audience_syncs.destinations.hubspot import HubSpot
from audience_syncs.destinations.meta import Meta
from audience_syncs.destinations.registry import open_destination
from audience_syncs.model.config import DestinationConfig
from audience_syncs.model.errors import AccessRefused, DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.names import Secret
from audience_syncs.model.values import Batch, Outgoing, VerdictKind
from audience_syncs.simulators import SimulatorServer

TOKEN = "secret-token-of-the-test"


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def url(simulators: SimulatorServer) -> str:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    requests.delete(f"{simulators.url}/_simulator/faults", timeout=10).raise_for_status()
    # Accounts of the tests before keep no budget.
    pacing._pacers.clear()
    return simulators.url


@pytest.fixture
def meta(url: str) -> Meta:
    opened = open_destination(
        DestinationConfig(
            name="meta_ads",
            platform="meta",
            credentials={"access_token": Secret(env="TOKEN")},
            settings={"ad_account_id": "act_42", "base_url_env": "META"},
        ),
        {"TOKEN": TOKEN, "META": f"{url}/meta"},
    )
    assert isinstance(opened, Meta)
    return impatient(opened)


@pytest.fixture
def hubspot(url: str) -> HubSpot:
    opened = open_destination(
        DestinationConfig(
            name="crm",
            platform="hubspot",
            credentials={"access_token": Secret(env="TOKEN")},
            settings={"portal_id": "7", "base_url": f"{url}/hubspot", "requests_per_s": 500},
        ),
        {"TOKEN": TOKEN},
    )
    assert isinstance(opened, HubSpot)
    return impatient(opened)


def impatient(destination: Any) -> Any:
    """Two tries and short time-outs: the faults of these tests do not go away by waiting."""
    destination._http._max_attempts = 2
    destination._http._timeout = (1.0, 1.0)
    return destination


def fault(url: str, **fields: Any) -> None:
    requests.post(f"{url}/_simulator/faults", json={"rate": 1.0, "seed": 1} | fields, timeout=10).raise_for_status()


def members(url: str, platform: str, list_id: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = requests.get(
        f"{url}/_simulator/{platform}/lists/{list_id}/members", timeout=10
    ).json()["members"]
    return found


def received(url: str, platform: str, operation: str) -> list[dict[str, Any]]:
    journal: Any = requests.get(f"{url}/_simulator/{platform}/requests", timeout=10).json()
    entries = journal["requests"] if isinstance(journal, dict) else journal
    return [entry for entry in entries if entry["operation"] == operation]


def meta_member(number: int, **more: Any) -> Outgoing:
    return Outgoing({"EMAIL": sha(f"p{number}@example.com"), "EXTERN_ID": str(number)} | more)


def crm_member(number: int, **more: Any) -> Outgoing:
    return Outgoing({"email": f"p{number}@example.com", "firstname": "Zoë"} | more)


# Meta


def test_meta_makes_the_list_once_and_finds_it_again_by_name_and_by_id(meta: Meta, url: str) -> None:
    made = meta.ensure_list(ListRequest("Cart abandoners", description="people"))
    assert made.created
    assert made.url is not None
    again = meta.ensure_list(ListRequest("Cart abandoners"))
    assert (again.id, again.created) == (made.id, False)
    assert meta.ensure_list(ListRequest("another name", id=made.id)).name == "Cart abandoners"
    assert len(received(url, "meta", "audiences.create")) == 1


def test_meta_does_not_make_a_second_list_when_the_answer_was_lost(meta: Meta, url: str) -> None:
    fault(url, platform="meta", kind="reset_after", operation="audiences.create", count=1)
    found = meta.ensure_list(ListRequest("Lost answer"))
    assert len(requests.get(f"{url}/_simulator/meta/lists", timeout=10).json()) == 1
    assert found.id


def test_meta_asks_which_list_is_meant_when_two_have_the_name(meta: Meta, url: str) -> None:
    for _ in range(2):
        requests.post(
            f"{url}/meta/v26.0/act_42/customaudiences",
            json={"name": "Twice", "subtype": "CUSTOM", "customer_file_source": "USER_PROVIDED_ONLY"},
            headers={"Authorization": f"Bearer {TOKEN}"},
            timeout=10,
        ).raise_for_status()
    with pytest.raises(DestinationError, match="2 customer lists of the name 'Twice'"):
        meta.ensure_list(ListRequest("Twice"))


def test_meta_adds_updates_and_removes(meta: Meta, url: str) -> None:
    target = meta.ensure_list(ListRequest("People")).id
    verdicts = meta.add(target, Batch([meta_member(n) for n in range(3)]))
    assert {v.kind for v in verdicts} == {VerdictKind.ACCEPTED}
    meta.add(target, Batch([meta_member(1, FN=sha("zoë"))], session=2))
    meta.remove(target, Batch([Outgoing({"EMAIL": sha("p0@example.com")})], session=3))
    held = {m["EMAIL"] for m in members(url, "meta", target)}
    assert held == {sha("p1@example.com"), sha("p2@example.com")}
    [removal] = received(url, "meta", "users.remove")
    assert removal["rows"] == 1


def test_meta_member_with_several_emails_is_several_rows(meta: Meta, url: str) -> None:
    target = meta.ensure_list(ListRequest("People")).id
    two = [sha("a@example.com"), sha("b@example.com")]
    assert len(meta.add(target, Batch([meta_member(1, EMAIL=two), meta_member(2)]))) == 2
    assert {m["EMAIL"] for m in members(url, "meta", target)} == {*two, sha("p2@example.com")}


def test_meta_never_sends_more_than_ten_thousand_rows_in_a_request(meta: Meta, url: str) -> None:
    target = meta.ensure_list(ListRequest("People")).id
    many = [meta_member(n, EMAIL=[sha(f"a{n}"), sha(f"b{n}")]) for n in range(6_000)]
    verdicts = meta.add(target, Batch(many))
    assert len(verdicts) == 6_000
    assert [entry["rows"] for entry in received(url, "meta", "users.add")] == [10_000, 2_000]


def test_meta_invalid_entries_are_each_found_also_beyond_its_hundred_samples(meta: Meta, url: str) -> None:
    target = meta.ensure_list(ListRequest("People")).id
    bad = set(range(0, 500, 2))
    batch = Batch([meta_member(n, EMAIL=f"not a hash {n}" if n in bad else sha(f"p{n}")) for n in range(500)])
    verdicts = meta.add(target, batch)
    assert {n for n, v in enumerate(verdicts) if v.kind is VerdictKind.REJECTED} == bad
    assert not any("not a hash" in v.reason for v in verdicts)
    assert len(members(url, "meta", target)) == 250


NOT_APPLIED = ["rate_limit"]
AMBIGUOUS = ["server_error", "server_error_after", "timeout_before", "timeout_after", "reset_before", "reset_after"]


@pytest.mark.parametrize("kind", [*NOT_APPLIED, *AMBIGUOUS, "malformed"])
def test_meta_faults_that_stay_say_whether_the_batch_may_have_been_applied(meta: Meta, url: str, kind: str) -> None:
    target = meta.ensure_list(ListRequest("People")).id
    fault(url, platform="meta", kind=kind, operation="users.add", delay_s=3)
    with pytest.raises(NotApplied if kind in NOT_APPLIED else NoAnswer) as raised:
        meta.add(target, Batch([meta_member(1)]))
    assert TOKEN not in str(raised.value)
    assert target not in str(raised.value)


@pytest.mark.parametrize("kind", ["server_error", "timeout_before", "reset_after", "malformed", "slow"])
def test_meta_faults_that_pass_are_not_noticed(meta: Meta, url: str, kind: str) -> None:
    target = meta.ensure_list(ListRequest("People")).id
    fault(url, platform="meta", kind=kind, operation="users.add", count=1, delay_s=1.5 if kind != "slow" else 0.1)
    assert [v.kind for v in meta.add(target, Batch([meta_member(1)]))] == [VerdictKind.ACCEPTED]
    assert len(members(url, "meta", target)) == 1


def test_meta_revoked_token_and_deleted_list_say_what_to_do(meta: Meta, url: str) -> None:
    target = meta.ensure_list(ListRequest("People")).id
    requests.post(f"{url}/_simulator/meta/lists/{target}/delete", timeout=10).raise_for_status()
    for call in (
        lambda: meta.add(target, Batch([meta_member(1)])),
        lambda: meta.ensure_list(ListRequest("People", id=target)),
        lambda: meta.matched_users(target),
    ):
        with pytest.raises(ListMissing, match="What to do"):
            call()
    requests.post(f"{url}/_simulator/meta/tokens/revoke", json={"token": TOKEN}, timeout=10).raise_for_status()
    try:
        with pytest.raises(AccessRefused, match="new system-user token") as refused:
            meta.ensure_list(ListRequest("People"))
        assert TOKEN not in str(refused.value)
    finally:
        requests.post(f"{url}/_simulator/meta/tokens/restore", json={"token": TOKEN}, timeout=10)


def test_meta_matched_users_are_bounds_or_nothing(meta: Meta, url: str) -> None:
    assert isinstance(meta, TellsMatchedUsers)
    target = meta.ensure_list(ListRequest("People")).id
    meta.add(target, Batch([meta_member(n) for n in range(3_000)]))
    requests.post(f"{url}/_simulator/clock", json={"advance_s": 86_400}, timeout=10).raise_for_status()
    matched = meta.matched_users(target)
    assert matched.lower is not None
    assert matched.upper is not None
    # Meta does not recognise everybody.
    assert 1_000 <= matched.lower <= matched.upper <= 3_300


# HubSpot


def test_hubspot_adds_updates_and_removes_by_record_and_by_email(hubspot: HubSpot, url: str) -> None:
    made = hubspot.ensure_list(ListRequest("People"))
    assert made.created
    assert hubspot.ensure_list(ListRequest("People")).id == made.id
    verdicts = hubspot.add(made.id, Batch([crm_member(n) for n in range(250)]))
    assert all(v.kind is VerdictKind.ACCEPTED and v.remote_id for v in verdicts)
    assert len({v.remote_id for v in verdicts}) == 250
    assert [entry["rows"] for entry in received(url, "hubspot", "contacts.upsert")] == [100, 100, 50]
    hubspot.add(made.id, Batch([crm_member(1, firstname="Anna")]))
    by_record = Outgoing({"email": "p2@example.com"}, remote_id=verdicts[2].remote_id)
    gone = hubspot.remove(made.id, Batch([by_record, crm_member(3), crm_member(9_999)]))
    assert {v.kind for v in gone} == {VerdictKind.ACCEPTED}
    held = {m["email"]: m for m in members(url, "hubspot", made.id)}
    assert len(held) == 248
    assert held["p1@example.com"]["firstname"] == "Anna"
    assert "p2@example.com" not in held
    assert "p3@example.com" not in held


def test_hubspot_members_who_share_an_email_are_one_contact_and_both_answered(hubspot: HubSpot, url: str) -> None:
    target = hubspot.ensure_list(ListRequest("People")).id
    verdicts = hubspot.add(target, Batch([crm_member(1), crm_member(2), crm_member(1, firstname="B")]))
    assert [v.kind for v in verdicts] == [VerdictKind.ACCEPTED] * 3
    assert verdicts[0].remote_id == verdicts[2].remote_id
    assert len(members(url, "hubspot", target)) == 2


def test_hubspot_rejects_one_contact_by_name_and_takes_the_others(hubspot: HubSpot, url: str) -> None:
    target = hubspot.ensure_list(ListRequest("People")).id
    bad = Outgoing({"email": "broken@@example"})
    verdicts = hubspot.add(target, Batch([crm_member(1), bad, crm_member(2)]))
    assert [v.kind.value for v in verdicts] == ["accepted", "rejected", "accepted"]
    assert "broken" not in verdicts[1].reason
    assert verdicts[1].reason_code == "INVALID_EMAIL"
    assert len(members(url, "hubspot", target)) == 2


def test_hubspot_batch_refused_for_one_contact_is_split_until_it_is_found(hubspot: HubSpot, url: str) -> None:
    target = hubspot.ensure_list(ListRequest("People")).id
    fault(url, platform="hubspot", kind="reject_batch", operation="contacts.upsert", contains="p17@example.com")
    verdicts = hubspot.add(target, Batch([crm_member(n) for n in range(100)]))
    assert [n for n, v in enumerate(verdicts) if v.kind is not VerdictKind.ACCEPTED] == [17]
    assert verdicts[17].kind is VerdictKind.REJECTED
    assert len(members(url, "hubspot", target)) == 99


@pytest.mark.parametrize("kind", [*NOT_APPLIED, *AMBIGUOUS, "malformed"])
def test_hubspot_contacts_without_an_answer_do_not_stop_those_with_one(hubspot: HubSpot, url: str, kind: str) -> None:
    target = hubspot.ensure_list(ListRequest("People")).id
    fault(url, platform="hubspot", kind=kind, operation="contacts.upsert", contains="p150@", delay_s=3)
    verdicts = hubspot.add(target, Batch([crm_member(n) for n in range(200)]))
    want = VerdictKind.RETRYABLE if kind in NOT_APPLIED else VerdictKind.UNKNOWN
    assert {v.kind for v in verdicts[:100]} == {VerdictKind.ACCEPTED}
    assert {v.kind for v in verdicts[100:]} == {want}


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_hubspot_list_membership_without_an_answer_is_unknown(hubspot: HubSpot, url: str, kind: str) -> None:
    target = hubspot.ensure_list(ListRequest("People")).id
    fault(url, platform="hubspot", kind=kind, operation="memberships.add", delay_s=3)
    verdicts = hubspot.add(target, Batch([crm_member(1)]))
    assert [(v.kind, v.remote_id) for v in verdicts] == [(VerdictKind.UNKNOWN, None)]


def test_hubspot_revoked_token_and_deleted_list_say_what_to_do(hubspot: HubSpot, url: str) -> None:
    target = hubspot.ensure_list(ListRequest("People")).id
    requests.post(f"{url}/_simulator/hubspot/lists/{target}/delete", timeout=10).raise_for_status()
    with pytest.raises(ListMissing, match="What to do"):
        hubspot.add(target, Batch([crm_member(1)]))
    with pytest.raises(ListMissing):
        hubspot.matched_users(target)
    requests.post(f"{url}/_simulator/hubspot/tokens/revoke", json={"token": TOKEN}, timeout=10).raise_for_status()
    try:
        with pytest.raises(AccessRefused, match="token") as refused:
            hubspot.add(target, Batch([crm_member(1)]))
        assert TOKEN not in str(refused.value)
        assert "example.com" not in str(refused.value)
    finally:
        requests.post(f"{url}/_simulator/hubspot/tokens/restore", json={"token": TOKEN}, timeout=10)


def test_hubspot_size_of_the_list_is_told(hubspot: HubSpot, url: str) -> None:
    target = hubspot.ensure_list(ListRequest("People")).id
    hubspot.add(target, Batch([crm_member(n) for n in range(7)]))
    requests.post(f"{url}/_simulator/clock", json={"advance_s": 3_600}, timeout=10).raise_for_status()
    assert hubspot.matched_users(target).upper == 7
