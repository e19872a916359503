"""Iterable over real HTTP, to the simulator."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.registry import check_destination, check_sync, open_destination, spec_for
from audience_syncs.model.config import DestinationConfig, Mode, SyncConfig
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DestinationError,
    ListMissing,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, VerdictKind
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs_tests.history_world import Change, History, Run
from audience_syncs_tests.platforms import HARNESSES
from audience_syncs_tests.platforms.harness import Opening
from audience_syncs_tests.test_random_histories import play

KEYS = itertools.count(1)
USER = {"email", "userId", "dataFields", "preferUserId", "mergeNestedObjects"}
DESCRIBED: dict[str, tuple[set[str], str, set[str]]] = {
    "members.add": ({"listId", "subscribers", "updateExistingUsersOnly"}, "subscribers", USER),
    "members.remove": (
        {"listId", "subscribers", "campaignId", "channelUnsubscribe"},
        "subscribers",
        {"email", "userId"},
    ),
    "users.update": ({"users", "createNewFields"}, "users", USER),
    "lists.create": ({"name", "description"}, "", set()),
}
"""What Iterable's API description 1.8 knows in each body: its names, where the users are, and their names."""


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return World(simulators.url)


class World:
    """A project at the simulator, with a list."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.iterable = self.opened()
        self.list_id = self.iterable.ensure_list(ListRequest("People")).id

    def opened(self, key: str = "", **settings: Any) -> Any:
        """A project with a pace of its own, and hardly any patience."""
        given = {"base_url": f"{self.url}/iterable", "requests_per_s": 1_000, "attempts": 2, "timeout_s": 1}
        config = account(**{**given, "settle_s": 0, **settings})
        opened: Any = open_destination(config, {"ITERABLE_API_KEY": key or f"key-{next(KEYS)}"})
        opened._http._first_backoff_s = 0.01
        return opened

    def fault(self, kind: str, **more: Any) -> None:
        asked = {"platform": "iterable", "kind": kind, "rate": 1.0, "seed": 7} | more
        requests.post(f"{self.url}/_simulator/faults", json=asked, timeout=10).raise_for_status()

    def heal(self) -> None:
        requests.delete(f"{self.url}/_simulator/faults", timeout=10).raise_for_status()

    def pass_time(self, seconds: float) -> None:
        requests.post(f"{self.url}/_simulator/clock", json={"advance_s": seconds}, timeout=10).raise_for_status()

    def members(self) -> list[dict[str, Any]]:
        path = f"{self.url}/_simulator/iterable/lists/{self.list_id}/members"
        found: Any = requests.get(path, timeout=10).json()
        return found["members"]  # type: ignore[no-any-return]

    def emails(self) -> set[str]:
        return {member["email"] for member in self.members()}

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/_simulator/iterable/requests", timeout=10).json()
        return found

    def operations(self) -> list[str]:
        return [entry["operation"] for entry in self.received()]

    def call(self, path: str, body: Any, key: str = "somebody-else") -> Any:
        answer = requests.post(f"{self.url}/iterable{path}", json=body, headers={"Api-Key": key}, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def user(self, email: str) -> dict[str, Any]:
        address = f"{self.url}/iterable/api/users/getByEmail"
        found = requests.get(address, params={"email": email}, headers={"Api-Key": "somebody-else"}, timeout=10).json()
        return found.get("user", {}).get("dataFields", {})  # type: ignore[no-any-return]


def account(**settings: Any) -> DestinationConfig:
    return DestinationConfig.model_validate(
        {
            "name": "mail",
            "platform": "iterable",
            "credentials": {"api_key": {"env": "ITERABLE_API_KEY"}},
            "settings": settings,
        }
    )


def person(number: int, **fields: Any) -> Outgoing:
    return Outgoing({"email": f"p{number}@example.com", "firstName": "Zoë"} | fields)


def people(count: int) -> Batch:
    return Batch([person(number) for number in range(count)])


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


def codes(verdicts: Any) -> list[str]:
    return [verdict.reason_code for verdict in verdicts]


# What an account can do


def test_what_users_are_known_by_decides_the_fields() -> None:
    for known_by, other in (("email", "userId"), ("userId", "email")):
        spec = spec_for(account(identify_by=known_by))
        assert [field.name for field in spec.fields if field.identifier] == [known_by]
        assert spec.required_fields == {known_by}
        assert other in {field.name for field in spec.fields}


def test_regions_have_their_addresses() -> None:
    for region, address in (("US", "https://api.iterable.com"), ("EU", "https://api.eu.iterable.com")):
        opened: Any = open_destination(account(region=region), {"ITERABLE_API_KEY": "key"})
        assert opened._http._base_url == address
    [problem] = check_destination(account(region="AP"))
    assert problem.path == ("settings", "region")


@pytest.mark.parametrize(
    "field", ["unsubscribedChannelIds", "subscribedMessageTypeIds", "emailListIds", "itblInternal"]
)
def test_what_no_audience_may_change_is_refused_when_definitions_load(field: str) -> None:
    sync = SyncConfig.model_validate({"destination": "mail", "mapping": {"email": "email", field: "column"}})
    [problem] = check_sync(account(), sync)
    assert problem.path == ("mapping", field)


# Who comes


def test_everything_that_is_sent_is_known_to_iterables_description(world: World) -> None:
    batch = Batch([person(n, tier="gold", sizes=["M", "L"], userId=str(n)) for n in range(3)])
    world.iterable.add(world.list_id, batch)
    world.iterable.remove(world.list_id, batch)
    world.iterable.write(batch, Mode.UPSERT)
    world.opened(identify_by="userId").add(world.list_id, Batch([Outgoing({"userId": "9", "email": "n@example.com"})]))
    sent = [entry for entry in world.received() if entry["body"] is not None]
    assert {entry["operation"] for entry in sent} == set(DESCRIBED)
    for entry in sent:
        names, where, of_users = DESCRIBED[entry["operation"]]
        assert set(entry["body"]) <= names
        for user in entry["body"].get(where, []):
            assert set(user) <= of_users
            assert len({"email", "userId"} & set(user)) == 1, "one of them, not both"


def test_who_comes_is_in_the_list_with_what_is_mapped(world: World) -> None:
    batch = Batch([person(n, userId=f"u{n}", tier="gold", sizes=["M", "L"]) for n in range(3)])
    assert kinds(world.iterable.add(world.list_id, batch)) == ["accepted"] * 3
    held = {member["email"]: member for member in world.members()}
    assert set(held) == {"p0@example.com", "p1@example.com", "p2@example.com"}
    told = held["p1@example.com"]
    assert (told["userId"], told["firstName"], told["tier"], told["sizes"]) == ("u1", "Zoë", "gold", ["M", "L"])


def test_a_batch_that_is_larger_than_a_request_is_several(world: World) -> None:
    assert set(kinds(world.iterable.add(world.list_id, people(2_500)))) == {"accepted"}
    assert [len(entry["body"]["subscribers"]) for entry in world.received()[-3:]] == [1_000, 1_000, 500]
    assert len(world.members()) == 2_500


def test_a_request_that_is_too_large_is_divided(world: World) -> None:
    batch = Batch([person(n, story="x" * 60_000) for n in range(100)])
    with pytest.raises(BatchRefused):
        world.iterable.add(world.list_id, batch)
    assert world.members() == []
    assert set(kinds(world.iterable.add(world.list_id, Batch(batch.members[:50])))) == {"accepted"}


def test_members_who_share_an_address_are_one_user_with_one_verdict(world: World) -> None:
    batch = Batch([person(1, tier="gold"), person(1, firstName="Ann"), Outgoing({"firstName": "Nobody"})])
    assert codes(world.iterable.add(world.list_id, batch)) == ["", "", "NO_IDENTIFIER"]
    [held] = world.members()
    assert (held["firstName"], held["tier"]) == ("Ann", "gold")


@pytest.mark.parametrize(
    "value", ["", "x" * 300, "日本語 🎉", "a\x00b", "null", "'; DROP TABLE users; --", "{{firstName}}"]
)
def test_hostile_values_go_as_they_are(world: World, value: str) -> None:
    assert kinds(world.iterable.add(world.list_id, Batch([person(1, note=value)]))) == ["accepted"]
    [held] = world.members()
    assert held["note"] == value


def test_those_who_fail_are_named_and_the_others_get_through(world: World) -> None:
    world.call("/api/users/bulkUpdate", {"users": [{"email": "owner@example.com", "dataFields": {"userId": "taken"}}]})
    world.call("/api/users/forget", {"email": "p3@example.com"})
    batch = Batch(
        [
            person(0),
            Outgoing({"email": "no address"}),
            person(2, userId="taken"),
            person(3),
            person(4, userId="x" * 53),
            person(5),
        ]
    )
    verdicts = world.iterable.add(world.list_id, batch)
    assert codes(verdicts) == ["", "INVALID_EMAIL", "CONFLICT", "FORGOTTEN", "INVALID_USER_ID", ""]
    assert world.emails() == {"p0@example.com", "p5@example.com"}


def test_nobody_is_made_a_user_where_that_is_not_wanted(world: World) -> None:
    world.call("/api/users/bulkUpdate", {"users": [{"email": "p1@example.com"}]})
    careful = world.opened(update_existing_only=True)
    assert codes(careful.add(world.list_id, Batch([person(1), person(2)]))) == ["", "NOT_FOUND"]
    assert world.user("p2@example.com") == {}


def test_who_is_neither_counted_nor_named_where_nobody_is_made_is_unknown(world: World) -> None:
    """An email-based project does not heed it, and a change of Iterable's mind would leave them out silently."""
    careful = world.opened(update_existing_only=True)
    assert (
        codes(careful._bulk._outcome(told(successCount=1, failCount=0), ["a", "b"], {"a": {}, "b": {}}, strict=True))
        == ["NOT_MENTIONED"] * 2
    )
    assert codes(careful._bulk._outcome(told(successCount=0, failCount=0), ["a"], {"a": {}}, strict=False)) == [""]


def told(**body: Any) -> Any:
    return dataclasses.make_dataclass("Told", ["body"])(body)


def test_fields_that_the_project_drops_are_told_of_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    answer = told(successCount=1, failCount=0, filteredOutFields=["tier", "size"])
    for _ in range(3):
        world.iterable._bulk._tell_of_dropped_fields(answer)
    assert [record.message for record in caplog.records if "drops these fields" in record.message] == [
        "Iterable drops these fields, which the project does not know: size, tier. Add them under Settings, Data Schema "
        "Management, or let the project take new fields"
    ]


def test_a_field_of_another_type_stops_the_run_by_name(world: World) -> None:
    world.call("/api/users/bulkUpdate", {"users": [{"email": "x@example.com", "dataFields": {"orders": 7}}]})
    with pytest.raises(DestinationError, match=r"\(orders\)") as refused:
        world.iterable.add(world.list_id, Batch([person(1, orders="a secret")]))
    assert (refused.value.code, "secret" in str(refused.value)) == ("FIELD_TYPES", False)


# Who leaves


def test_who_leaves_stays_a_user_with_everything_and_still_gets_mail(world: World) -> None:
    world.iterable.add(world.list_id, Batch([person(1, tier="gold")]))
    assert kinds(world.iterable.remove(world.list_id, Batch([person(1), person(2)]))) == ["accepted"] * 2
    assert world.members() == []
    held = world.user("p1@example.com")
    assert (held["firstName"], held["tier"], held["emailListIds"]) == ("Zoë", "gold", [])
    assert "unsubscribedChannelIds" not in held
    assert world.user("p2@example.com") == {}, "a removal makes nobody"


def test_rows_that_others_put_into_the_list_stay(world: World) -> None:
    world.call("/api/lists/subscribe", {"listId": int(world.list_id), "subscribers": [{"email": "other@example.com"}]})
    world.iterable.add(world.list_id, people(1))
    assert kinds(world.iterable.remove(world.list_id, people(2))) == ["accepted"] * 2
    assert world.emails() == {"other@example.com"}


def test_a_member_in_doubt_is_taken_out_by_every_address(world: World) -> None:
    world.iterable.add(world.list_id, people(4))
    doubtful = Outgoing({"email": ["p1@example.com", "gone@example.com", "p2@example.com"]})
    assert kinds(world.iterable.remove(world.list_id, Batch([doubtful, person(3)]))) == ["accepted"] * 2
    assert world.emails() == {"p0@example.com"}


def test_more_addresses_than_fit_into_a_request_are_several(world: World) -> None:
    world.iterable.add(world.list_id, people(900))
    batch = Batch([Outgoing({"email": [f"p{n}@example.com", f"old{n}@example.com"]}) for n in range(900)])
    assert set(kinds(world.iterable.remove(world.list_id, batch))) == {"accepted"}
    assert [len(entry["body"]["subscribers"]) for entry in world.received()[-2:]] == [1_000, 800]
    assert world.members() == []


def test_who_was_forgotten_or_never_was_is_out_of_the_list(world: World) -> None:
    world.iterable.add(world.list_id, people(2))
    world.call("/api/users/forget", {"email": "p1@example.com"})
    batch = Batch([person(1), person(7), Outgoing({"email": "no address"})])
    assert kinds(world.iterable.remove(world.list_id, batch)) == ["accepted"] * 3


def test_users_are_deleted_for_good_and_out_of_the_list_first(world: World) -> None:
    world.iterable.add(world.list_id, Batch([person(1), Outgoing({"email": "a/b+c@example.com"})]))
    batch = Batch([person(1), person(2), Outgoing({"email": "a/b+c@example.com"})])
    assert kinds(world.iterable.delete_records(world.list_id, batch)) == ["accepted"] * 3
    assert world.operations()[-4:] == ["members.remove", "users.delete", "users.delete", "users.delete"]
    assert (world.user("p1@example.com"), world.user("a/b+c@example.com")) == ({}, {})


def test_who_was_taken_out_but_not_deleted_is_not_called_untouched(world: World) -> None:
    world.iterable.add(world.list_id, people(2))
    world.fault("server_error", operation="users.delete")
    assert kinds(world.iterable.delete_records(world.list_id, people(2))) == ["unknown"] * 2
    world.heal()
    world.fault("forbidden", operation="users.delete")
    with watch() as doubt, pytest.raises(AccessRefused):
        world.iterable.delete_records(world.list_id, people(2))
    assert doubt.arose


# Users known by userId


@pytest.mark.parametrize("project", ["hybrid", "userid", "email"])
def test_users_known_by_user_id_in_every_kind_of_project(world: World, project: str) -> None:
    by_id = world.opened(f"{project}-key", identify_by="userId")
    batch = Batch([Outgoing({"userId": f"U{n}", "email": f"p{n}@example.com", "firstName": "Zoë"}) for n in range(3)])
    assert kinds(by_id.add(world.list_id, batch)) == ["accepted"] * 3
    assert {(member["userId"], member["email"]) for member in world.members()} == {
        (f"U{n}", f"p{n}@example.com") for n in range(3)
    }
    assert kinds(by_id.remove(world.list_id, Batch(batch.members[:1]))) == ["accepted"]
    read = [member.fields for page in by_id.members(world.list_id) for member in page]
    assert read == [{"userId": "U1"}, {"userId": "U2"}]
    assert kinds(by_id.delete_records(world.list_id, Batch(batch.members[1:2]))) == ["accepted"]
    assert codes(by_id.write(batch, Mode.UPDATE)) == ["", "NOT_FOUND", ""]


def test_the_case_of_a_user_id_counts(world: World) -> None:
    by_id = world.opened(identify_by="userId")
    world.call("/api/users/forget", {"userId": "a"})
    assert codes(by_id.add(world.list_id, Batch([Outgoing({"userId": "a"}), Outgoing({"userId": "A"})]))) == [
        "FORGOTTEN",
        "",
    ]


def test_members_who_were_sent_by_another_identifier_are_not_quietly_kept(world: World) -> None:
    with pytest.raises(DestinationError, match="set `identify_by` back"):
        world.opened(identify_by="userId").remove(world.list_id, Batch([Outgoing({"email": "a@example.com"})]))


# Users outside of any list


def test_an_upsert_touches_no_list_an_update_makes_nobody_and_an_insert_changes_nobody(world: World) -> None:
    assert kinds(world.iterable.write(Batch([person(1)]), Mode.UPSERT)) == ["accepted"]
    batch = Batch([person(1, firstName="Chloë"), person(2), Outgoing({"firstName": "Nobody"})])
    assert codes(world.iterable.write(batch, Mode.UPDATE)) == ["", "NOT_FOUND", "NO_IDENTIFIER"]
    batch = Batch([person(1, firstName="Ann"), person(2, firstName="Ann")])
    assert kinds(world.iterable.write(batch, Mode.INSERT)) == ["accepted", "accepted"]
    names = [world.user(f"p{n}@example.com")["firstName"] for n in (1, 2)]
    assert names == ["Chloë", "Ann"]
    assert world.members() == []


# Failures


@pytest.mark.parametrize("kind", ["server_error_after", "timeout_after", "reset_after", "malformed"])
def test_an_addition_whose_answer_was_lost_is_never_called_refused(world: World, kind: str) -> None:
    world.fault(kind, operation="members.add", delay_s=1.5)
    with watch() as doubt:
        assert kinds(world.iterable.add(world.list_id, people(1))) == ["unknown"]
    assert doubt.arose


def test_a_key_that_is_refused_after_some_were_taken_leaves_a_doubt(world: World) -> None:
    world.fault("forbidden", operation="members.add", skip=1)
    with watch() as doubt, pytest.raises(AccessRefused):
        world.iterable.add(world.list_id, people(1_500))
    assert doubt.arose


def test_a_refused_part_of_a_batch_is_divided_until_the_culprit_is_alone(world: World) -> None:
    world.fault("reject_batch", operation="members.add", contains='"p1205@example.com"')
    verdicts = world.iterable.add(world.list_id, people(1_300))
    assert [place for place, each in enumerate(kinds(verdicts)) if each == "rejected"] == [1_205]
    assert len(world.members()) == 1_299


@pytest.mark.parametrize("kind", ["server_error_after", "reset_after", "reset_before", "malformed", "rate_limit"])
def test_repeating_after_any_fault_ends_with_exactly_the_members(world: World, kind: str) -> None:
    batch = people(300)
    gone = Batch(batch.members[::2])
    world.fault(kind, rate=0.5, retry_after_s=0, count=12, operation="members")
    for call, sent in ((world.iterable.add, batch), (world.iterable.remove, gone)):
        for _ in range(20):
            try:
                verdicts = call(world.list_id, sent)
            except NotApplied:
                continue
            assert not {"rejected"} & set(kinds(verdicts))
            if set(kinds(verdicts)) == {"accepted"}:
                break
        assert set(kinds(verdicts)) == {VerdictKind.ACCEPTED.value}
    assert world.emails() == {f"p{n}@example.com" for n in range(1, 300, 2)}


def test_the_same_user_is_not_taken_out_and_put_in_at_once(world: World) -> None:
    careful = world.opened(settle_s=0.3)
    careful.remove(world.list_id, people(1))
    began = time.monotonic()
    careful.add(world.list_id, people(1))
    assert 0.2 < time.monotonic() - began < 2


# Lists


@pytest.mark.parametrize("name", ["Köln / Düsseldorf", "100% & more?", 'with "quotes"', "日本", " "])
def test_lists_of_any_name_are_found_again(world: World, name: str) -> None:
    made = world.iterable.ensure_list(ListRequest(name, description="x" * 200))
    again = world.opened().ensure_list(ListRequest(name))
    assert (made.created, again.created, again.id) == (True, False, made.id)
    assert world.opened().ensure_list(ListRequest("other", id=made.id)).name == name


@pytest.mark.parametrize("kind", ["reset_after", "timeout_after", "server_error_after", "malformed"])
def test_a_list_whose_making_was_not_answered_is_not_made_twice(world: World, kind: str) -> None:
    world.fault(kind, operation="lists.create", count=1, delay_s=1.5)
    found = world.iterable.ensure_list(ListRequest("Once"))
    assert found.id == world.iterable.ensure_list(ListRequest("Once")).id
    assert world.operations().count("lists.create") == 2  # the fixture's, and this one


def test_two_syncs_that_make_the_same_list_at_once_get_the_same_one(world: World) -> None:
    accounts = [world.opened() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda account: account.ensure_list(ListRequest("Together")), accounts))
    assert len({remote.id for remote in found}) == 1
    assert sum(remote.created for remote in found) <= 1


def test_a_list_that_is_gone_stops_the_run(world: World) -> None:
    world.iterable.add(world.list_id, people(1))
    requests.post(f"{world.url}/_simulator/iterable/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    calls: list[Callable[[], Any]] = [
        lambda: world.iterable.add(world.list_id, people(1)),
        lambda: world.iterable.remove(world.list_id, people(1)),
        lambda: world.iterable.delete_records(world.list_id, people(1)),
        lambda: world.iterable.matched_users(world.list_id),
        lambda: list(world.iterable.members(world.list_id)),
        lambda: world.iterable.ensure_list(ListRequest("x", id=world.list_id)),
        lambda: world.iterable.ensure_list(ListRequest("x", id="no number")),
    ]
    for call in calls:
        with pytest.raises(ListMissing, match="What to do"):
            call()


def test_everybody_in_the_list_is_read_and_the_size_is_told_late(world: World) -> None:
    world.iterable.add(world.list_id, people(250))
    world.call("/api/lists/subscribe", {"listId": int(world.list_id), "subscribers": [{"email": "Other@Example.com"}]})
    read = [member.fields["email"] for page in world.iterable.members(world.list_id) for member in page]
    assert set(read) == {f"p{n}@example.com" for n in range(250)} | {"other@example.com"}
    world.pass_time(2)
    size = world.iterable.matched_users(world.list_id)
    assert (size.lower, size.upper) == (251, 251)


def test_nobody_is_in_an_empty_list(world: World) -> None:
    assert list(world.iterable.members(world.list_id)) == []
    assert world.iterable.matched_users(world.list_id).upper == 0


# Keys and silence


def test_a_key_that_is_refused_names_what_is_needed(world: World) -> None:
    for key in ("revoked", "noscope"):
        with pytest.raises(AccessRefused, match="server-side key") as refused:
            world.opened(key).ensure_list(ListRequest("x"))
        assert "203.0.113.7" not in str(refused.value)


def test_a_limit_that_iterable_enforces_is_waited_for(world: World) -> None:
    limit = {"max": 3, "interval_s": 0.5}
    requests.post(f"{world.url}/_simulator/iterable/limit", json=limit, timeout=10).raise_for_status()
    patient = world.opened(attempts=10)
    for number in range(6):
        assert kinds(patient.add(world.list_id, Batch([person(number)]))) == ["accepted"]


@pytest.mark.parametrize(
    "kind", ["reject_batch", "partial", "server_error", "reset_after", "malformed", "rate_limit", "forbidden"]
)
def test_no_error_and_no_log_tells_who_was_sent_or_with_which_key(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    iterable = world.opened("secret-of-the-test")
    said = []
    world.fault(kind, retry_after_s=0)
    calls: list[Callable[[], Any]] = [
        lambda: iterable.add(world.list_id, people(2)),
        lambda: iterable.remove(world.list_id, people(2)),
        lambda: iterable.delete_records(world.list_id, people(2)),
        lambda: iterable.write(people(2), Mode.UPDATE),
    ]
    for call in calls:
        try:
            said += [verdict.reason for verdict in call()]
        except AudienceSyncsError as error:
            said.append(str(error))
    text = " ".join([*said, caplog.text])
    assert "p0@example.com" not in text
    assert "p0%40example.com" not in text
    assert "secret-of-the-test" not in text


# The promise, with users known by userId: the shared tests play it with email addresses

BY_ID = dataclasses.replace(
    HARNESSES["iterable"],
    opening=lambda address, token, account: Opening(
        {"base_url": address, "settle_s": 0, "identify_by": "userId"}, {"api_key": f"userid-{token}"}
    ),
    mappings=[{"userId": "email"}, {"userId": "email", "tier": "first_name"}],
    email="userId",
    email_rule="iterable.external_id",
)
HISTORIES = [
    (
        (Change("enter", 0, 0), Change("enter", 1, 1), Change("enter", 2, 9)),
        Run(((("kind", "timeout_after"), ("operation", "members.add")),)),
        (Change("leave", 0), Change("email", 1, 5)),
    ),
    (
        (Change("enter", 0, 0), Change("enter", 1, 8), Change("rules", 0, 1)),
        Run(((("kind", "partial"), ("rate", 0.6)), (("kind", "malformed"), ("count", 2))), dies_at=3),
        (Change("swap", 0, 1), Change("rules", 0, 0)),
    ),
]


@pytest.fixture(scope="module")
def warehouse(postgres_url: str) -> Iterator[Warehouse]:
    with open_warehouse_at(postgres_url) as warehouse:
        yield warehouse


@pytest.mark.parametrize("before, run, last", HISTORIES)
def test_after_a_bad_run_a_good_one_makes_the_list_the_audience_also_by_user_id(
    before: tuple[Change, ...],
    run: Run,
    last: tuple[Change, ...],
    warehouse: Warehouse,
    simulators: SimulatorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(HARNESSES, "iterable", BY_ID)
    play(History("iterable", 2, 3, ((before, run),), last, 3), warehouse, simulators.url)
