"""Braze over real HTTP, to the simulator."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from audience_syncs.destinations.braze.declaration import RESERVED
from audience_syncs.destinations.contract import DeletesRecords, ListRequest
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.registry import check_destination, check_sync, open_destination, spec_for
from audience_syncs.destinations.settling import Settling
from audience_syncs.destinations.stopping import stops_with
from audience_syncs.model.config import DestinationConfig, Mode, Removal, SyncConfig
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DestinationError,
    ListMissing,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs_tests.history_world import Change, History, Run
from audience_syncs_tests.platforms import HARNESSES
from audience_syncs_tests.platforms.harness import Opening
from audience_syncs_tests.test_random_histories import play

KEYS = itertools.count(1)
VIPS = "VIPs"


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return World(simulators.url)


class World:
    """A workspace at the simulator."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.braze = self.opened()
        self.by_email = self.opened(identify_by="email")

    def opened(self, key: str = "", **settings: Any) -> Any:
        """An account with a pace of its own, and hardly any patience."""
        given = {"base_url": f"{self.url}/braze", "requests_per_s": 1_000, "attempts": 2, "timeout_s": 1, "settle_s": 0}
        config = account(**{**given, **settings})
        opened: Any = open_destination(config, {"BRAZE_API_KEY": key or f"key-{next(KEYS)}"})
        opened._http._first_backoff_s = 0.01
        return opened

    def fault(self, kind: str, **more: Any) -> None:
        asked = {"platform": "braze", "kind": kind, "rate": 1.0, "seed": 7} | more
        requests.post(f"{self.url}/_simulator/faults", json=asked, timeout=10).raise_for_status()

    def pass_time(self, seconds: float) -> None:
        requests.post(f"{self.url}/_simulator/clock", json={"advance_s": seconds}, timeout=10).raise_for_status()

    def members(self, name: str = VIPS) -> list[dict[str, Any]]:
        found: Any = requests.get(f"{self.url}/_simulator/braze/lists/{name}/members", timeout=10).json()
        return found["members"]  # type: ignore[no-any-return]

    def ids(self, name: str = VIPS) -> set[str | None]:
        return {member["external_id"] for member in self.members(name)}

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/_simulator/braze/requests", timeout=10).json()
        return found

    def operations(self) -> list[str]:
        return [entry["operation"] for entry in self.received()]

    def call(self, path: str, body: Any) -> Any:
        headers = {"Authorization": "Bearer somebody-else"}
        answer = requests.post(f"{self.url}/braze{path}", json=body, headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def track(self, *attributes: Mapping[str, Any]) -> None:
        self.call("/users/track", {"attributes": list(attributes)})

    def user(self, external_id: str) -> dict[str, Any]:
        fields = ["external_id", "email", "first_name", "email_subscribe", "custom_attributes"]
        users = self.call("/users/export/ids", {"external_ids": [external_id], "fields_to_export": fields})["users"]
        return users[0] if users else {}


def account(**settings: Any) -> DestinationConfig:
    return DestinationConfig.model_validate(
        {
            "name": "braze",
            "platform": "braze",
            "credentials": {"api_key": {"env": "BRAZE_API_KEY"}},
            "settings": settings or {"instance": "EU-01"},
        }
    )


def person(number: int, **fields: Any) -> Outgoing:
    return Outgoing({"external_id": str(number), "first_name": "Zoë"} | fields)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


def codes(verdicts: Any) -> list[str]:
    return [verdict.reason_code for verdict in verdicts]


# What an account can do


def test_what_users_are_known_by_decides_the_fields_and_whether_users_can_be_deleted() -> None:
    known = {
        by: spec_for(account(instance="US-01", identify_by=by))
        for by in ("external_id", "email", "phone", "user_alias")
    }
    known["user_alias"] = spec_for(account(instance="US-01", identify_by="user_alias", alias_label="crm"))
    names = {by: {field.name for field in spec.fields} for by, spec in known.items()}
    assert {by: spec.required_fields for by, spec in known.items()} == {
        "external_id": {"external_id"},
        "email": {"email"},
        "phone": {"phone"},
        "user_alias": {"alias_name"},
    }
    assert all(
        [field.name for field in spec.fields if field.identifier] == [*spec.required_fields] for spec in known.values()
    )
    assert "email" not in names["phone"], "Braze would go by the email"
    assert {by for by, spec in known.items() if Removal.DELETE_RECORD in spec.removals} == {"external_id", "user_alias"}
    for by, spec in known.items():
        more = {"alias_label": "crm"} if by == "user_alias" else {}
        opened = open_destination(account(instance="US-01", identify_by=by, **more), {"BRAZE_API_KEY": "key"})
        assert isinstance(opened, DeletesRecords) == (Removal.DELETE_RECORD in spec.removals)
        assert opened.spec == spec


@pytest.mark.parametrize(
    "settings, told",
    [
        ({"identify_by": "email"}, "not said where the account is"),
        ({"instance": "US-99"}, "no such `instance`"),
        ({"instance": "us-03", "identify_by": "user_alias"}, "`alias_label` goes with"),
        ({"instance": "us-03", "alias_label": "crm"}, "`alias_label` goes with"),
        ({"instance": "us-03", "objects_per_request": 76}, "less than or equal to 75"),
    ],
)
def test_settings_that_cannot_be_are_refused_when_definitions_load(settings: dict[str, Any], told: str) -> None:
    [problem] = check_destination(account(**settings))
    assert told in problem.message


def test_an_address_that_the_environment_was_to_hold_and_does_not_is_told() -> None:
    config = account(base_url_env="BRAZE_URL")
    assert check_destination(config) == []
    with pytest.raises(DestinationError, match="set `instance`"):
        open_destination(config, {"BRAZE_API_KEY": "key"})
    assert open_destination(config, {"BRAZE_API_KEY": "key", "BRAZE_URL": "https://rest.iad-03.braze.com"})


@pytest.mark.parametrize(
    "field, told",
    [
        ("email_subscribe", "consent"),
        ("subscription_groups", "consent"),
        ("_update_existing_only", "word of Braze's own"),
        ("braze_id", "word of Braze's own"),
        ("alias_name", "takes no `alias_name`"),
    ],
)
def test_what_no_audience_may_change_is_refused_when_definitions_load(field: str, told: str) -> None:
    sync = SyncConfig.model_validate({"destination": "braze", "mapping": {"external_id": "id", field: "column"}})
    [problem] = check_sync(account(), sync)
    assert told in problem.message
    assert problem.path == ("mapping", field)


# Who comes


def test_who_comes_has_the_attribute_and_what_is_mapped(world: World) -> None:
    batch = Batch([person(n, email=f"p{n}@example.com", tier="gold", sizes=["M", "L"]) for n in range(3)])
    assert kinds(world.braze.add(VIPS, batch)) == ["accepted"] * 3
    held = {member["external_id"]: member for member in world.members()}
    assert set(held) == {"0", "1", "2"}
    assert (held["1"]["first_name"], held["1"]["email"], held["1"]["tier"]) == ("Zoë", "p1@example.com", "gold")
    assert held["1"]["sizes"] == ["M", "L"]


def test_more_members_than_fit_into_a_request_are_several(world: World) -> None:
    few = world.opened(objects_per_request=50)
    assert few.spec.batch_size == 50
    assert kinds(few.add(VIPS, Batch([person(n) for n in range(120)]))) == ["accepted"] * 120
    assert [len(entry["body"]["attributes"]) for entry in world.received()] == [50, 50, 20]


def test_a_contract_with_smaller_requests_still_gets_everybody(world: World) -> None:
    """Braze refuses 76 objects; by some contracts 51."""
    with pytest.raises(requests.HTTPError):
        world.track(*({"external_id": str(n)} for n in range(76)))


@pytest.mark.parametrize(
    "value", ["", "x" * 300, "日本語 🎉", "a\x00b", "null", "'; DROP TABLE users; --", '{"add": ["x"]}']
)
def test_hostile_values_go_as_they_are(world: World, value: str) -> None:
    key = value or "7"
    assert kinds(world.braze.add(VIPS, Batch([Outgoing({"external_id": key, "note": value})]))) == ["accepted"]
    [held] = world.members()
    assert (held["external_id"], held.get("note")) == (key, value)
    assert kinds(world.braze.remove(VIPS, Batch([Outgoing({"external_id": key})]))) == ["accepted"]
    assert world.members() == []


def test_members_who_share_an_identifier_are_one_user_with_one_verdict(world: World) -> None:
    batch = Batch([person(1, tier="gold"), person(1, first_name="Ann"), Outgoing({"first_name": "Nobody"})])
    assert codes(world.braze.add(VIPS, batch)) == ["", "", "NO_IDENTIFIER"]
    [held] = world.members()
    assert (held["first_name"], held["tier"]) == ("Ann", "gold")


def test_nobody_is_made_a_user_where_that_is_not_wanted(world: World) -> None:
    world.track({"external_id": "1"})
    careful = world.opened(update_existing_only=True)
    assert codes(careful.add(VIPS, Batch([person(1), person(2)]))) == ["", "NOT_FOUND"]
    assert world.ids() == {"1"}
    assert world.user("2") == {}


def test_users_known_by_an_alias_are_made_and_found_by_it(world: World) -> None:
    crm = world.opened(identify_by="user_alias", alias_label="crm")
    batch = Batch([Outgoing({"alias_name": f"c{n}", "first_name": "Zoë"}) for n in range(2)])
    assert kinds(crm.add(VIPS, batch)) == ["accepted"] * 2
    assert len(world.members()) == 2
    assert codes(crm.write(Batch([Outgoing({"alias_name": n}) for n in ("c0", "c9")]), Mode.UPDATE)) == [
        "",
        "NOT_FOUND",
    ]
    shop = world.opened(identify_by="user_alias", alias_label="shop")
    assert kinds(shop.remove(VIPS, batch)) == ["accepted"] * 2
    assert len(world.members()) == 2, "the same name under another label is another user"
    assert kinds(crm.delete_records(VIPS, Batch(batch.members[:1]))) == ["accepted"]
    assert kinds(crm.remove(VIPS, batch)) == ["accepted"] * 2
    assert world.members() == []


def test_users_known_by_phone_number(world: World) -> None:
    by_phone = world.opened(identify_by="phone")
    batch = Batch([Outgoing({"phone": f"+1500555000{n}"}) for n in range(3)])
    assert kinds(by_phone.add(VIPS, batch)) == ["accepted"] * 3
    assert kinds(by_phone.remove(VIPS, Batch(batch.members[:2]))) == ["accepted"] * 2
    assert [member["phone"] for member in world.members()] == ["+15005550002"]


def test_members_who_were_sent_by_another_identifier_are_not_quietly_kept(world: World) -> None:
    with pytest.raises(DestinationError, match="set `identify_by` back"):
        world.braze.remove(VIPS, Batch([Outgoing({"email": "a@example.com"})]))


def test_an_audience_never_overwrites_an_attribute_that_is_mapped(world: World) -> None:
    with pytest.raises(DestinationError, match="mapped attribute"):
        world.braze.add("tier", Batch([person(1, tier="gold")], fields=("external_id", "tier")))


# Who leaves


def test_who_leaves_stays_a_user_with_everything_and_their_consent(world: World) -> None:
    world.track({"external_id": "1", "email_subscribe": "opted_in", "tier": "gold"})
    world.braze.add(VIPS, Batch([person(1)]))
    assert kinds(world.braze.remove(VIPS, Batch([person(1), person(2)]))) == ["accepted"] * 2
    assert world.members() == []
    held = world.user("1")
    assert (held["first_name"], held["email_subscribe"]) == ("Zoë", "opted_in")
    assert held["custom_attributes"] == {"tier": "gold", VIPS: False}
    assert world.user("2") == {}, "a removal makes nobody"


def test_others_and_other_audiences_stay(world: World) -> None:
    world.track({"external_id": "7", VIPS: True})
    world.braze.add(VIPS, Batch([person(1)]))
    world.braze.add("Others", Batch([person(1)]))
    world.braze.remove(VIPS, Batch([person(1)]))
    assert (world.ids(), world.ids("Others")) == ({"7"}, {"1"})


def test_all_who_share_an_email_are_taken_out_whichever_of_them_was_put_in(world: World) -> None:
    shared = {"email": "family@example.com"}
    world.track({"external_id": "1", **shared})
    assert kinds(world.by_email.add(VIPS, Batch([Outgoing(shared)]))) == ["accepted"]
    world.pass_time(10)
    world.track({"external_id": "2", **shared})  # from now on the email means this one
    assert world.ids() == {"1"}
    assert kinds(world.by_email.remove(VIPS, Batch([Outgoing(shared)]))) == ["accepted"]
    assert world.ids() == set()


def test_a_member_in_doubt_is_taken_out_by_every_identifier(world: World) -> None:
    world.braze.add(VIPS, Batch([person(n) for n in range(4)]))
    doubtful = Outgoing({"external_id": ["1", "9", "2"]})
    assert kinds(world.braze.remove(VIPS, Batch([doubtful, person(3)]))) == ["accepted"] * 2
    assert world.ids() == {"0"}


def test_one_refused_identifier_of_a_member_in_doubt_is_the_members_verdict(world: World) -> None:
    world.braze.add(VIPS, Batch([person(1), person(2)]))
    world.fault("partial", contains='"2"')
    assert kinds(world.braze.remove(VIPS, Batch([Outgoing({"external_id": ["1", "2"]}), person(3)]))) == [
        "rejected",
        "accepted",
    ]


def test_fields_are_cleared_of_who_left_and_identifiers_never(world: World) -> None:
    world.braze.add(VIPS, Batch([person(1, email="a@example.com", tier="gold", size="M")]))
    fields = ["external_id", "email", "first_name", "tier"]
    assert kinds(world.braze.clear_fields(VIPS, Batch([person(1)]), fields)) == ["accepted"]
    assert world.members() == []
    held = world.user("1")
    assert (held.get("first_name"), held["email"], held["custom_attributes"]) == (
        None,
        "a@example.com",
        {"size": "M", VIPS: False},
    )


def test_users_are_deleted_for_good_fifty_at_a_time(world: World) -> None:
    batch = Batch([person(n) for n in range(60)])
    world.braze.add(VIPS, batch)
    assert kinds(world.braze.delete_records(VIPS, batch)) == ["accepted"] * 60
    assert world.operations().count("users.delete") == 2
    assert world.user("1") == {}
    assert kinds(world.braze.delete_records(VIPS, batch)) == ["accepted"] * 60


def test_users_whose_deletion_is_not_answered_are_in_doubt_and_the_others_are_not(world: World) -> None:
    batch = Batch([person(n) for n in range(60)])
    world.braze.add(VIPS, batch)
    world.fault("server_error_after", operation="users.delete", skip=1)
    assert kinds(world.braze.delete_records(VIPS, batch)) == ["accepted"] * 50 + ["unknown"] * 10


# Users outside of any audience


def test_an_upsert_touches_no_audience_an_update_makes_nobody_and_an_insert_changes_nobody(world: World) -> None:
    assert kinds(world.braze.write(Batch([person(1)]), Mode.UPSERT)) == ["accepted"]
    batch = Batch([person(1, first_name="Chloë"), person(2), Outgoing({"first_name": "Nobody"})])
    assert codes(world.braze.write(batch, Mode.UPDATE)) == ["", "NOT_FOUND", "NO_IDENTIFIER"]
    assert world.user("2") == {}
    batch = Batch([person(1, first_name="Ann"), person(2, first_name="Ann")])
    assert kinds(world.braze.write(batch, Mode.INSERT)) == ["accepted", "accepted"]
    assert (world.user("1")["first_name"], world.user("2")["first_name"]) == ("Chloë", "Ann")
    assert requests.get(f"{world.url}/_simulator/braze/lists", timeout=10).json() == []


def test_users_are_looked_up_fifty_at_a_time_and_emails_one_by_one(world: World) -> None:
    world.braze.write(Batch([person(n) for n in range(60)]), Mode.UPDATE)
    world.by_email.write(Batch([Outgoing({"email": f"p{n}@example.com"}) for n in range(3)]), Mode.UPDATE)
    asked = [entry["body"] for entry in world.received() if entry["operation"] == "users.export"]
    assert [len(body.get("external_ids", [])) for body in asked] == [50, 10, 0, 0, 0]
    assert all("campaigns_received" not in body["fields_to_export"] for body in asked)


# Failures


def test_some_who_are_refused_do_not_stop_the_others_and_are_named(world: World) -> None:
    batch = Batch([person(n, **({"email": "no address"} if n % 10 == 0 else {})) for n in range(70)])
    verdicts = world.braze.add(VIPS, batch)
    assert [place for place, each in enumerate(kinds(verdicts)) if each == "rejected"] == list(range(0, 70, 10))
    assert verdicts[0].reason_code == "INVALID_VALUE"
    assert verdicts[0].reason == "'email' must be a valid email address, and ... is not"
    assert len(world.members()) == 63


@pytest.mark.parametrize("kind", ["server_error_after", "timeout_after", "reset_after", "malformed"])
def test_an_addition_whose_answer_was_lost_is_never_called_refused(world: World, kind: str) -> None:
    world.fault(kind, operation="users.track", delay_s=1.5)
    with watch() as doubt:
        assert kinds(world.braze.add(VIPS, Batch([person(1)]))) == ["unknown"]
    assert doubt.arose


def test_a_key_that_is_refused_after_some_were_taken_leaves_a_doubt(world: World) -> None:
    world.fault("forbidden", operation="users.track", skip=1)
    with watch() as doubt, pytest.raises(AccessRefused):
        world.braze.add(VIPS, Batch([person(n) for n in range(100)]))
    assert doubt.arose
    with watch() as doubt, pytest.raises(AccessRefused):
        world.braze.add(VIPS, Batch([person(1)]))
    assert not doubt.arose


def test_where_every_request_is_refused_without_a_name_the_batch_is(world: World) -> None:
    world.fault("reject_batch", operation="users.track")
    with pytest.raises(BatchRefused):
        world.braze.add(VIPS, Batch([person(n) for n in range(10)]))
    assert kinds(world.braze.add(VIPS, Batch([person(1)]))) == ["rejected"]


def test_a_refused_part_of_a_batch_is_divided_until_the_culprit_is_alone(world: World) -> None:
    few = world.opened(objects_per_request=4)
    world.fault("reject_batch", operation="users.track", contains='"5"')
    verdicts = few.add(VIPS, Batch([person(n, first_name="Ann") for n in range(8)]))
    assert [place for place, each in enumerate(kinds(verdicts)) if each == "rejected"] == [5]
    assert len(world.members()) == 7


@pytest.mark.parametrize("kind", ["server_error_after", "reset_after", "reset_before", "malformed", "rate_limit"])
@pytest.mark.parametrize("known_by", ["external_id", "email"])
def test_repeating_after_any_fault_ends_with_exactly_the_members(world: World, kind: str, known_by: str) -> None:
    braze = world.braze if known_by == "external_id" else world.by_email
    batch = Batch([Outgoing({known_by: f"p{n}@example.com"}) for n in range(100)])
    gone = Batch(batch.members[::2])
    world.fault(kind, rate=0.3, retry_after_s=0, count=12, operation="users")
    for call, sent in ((braze.add, batch), (braze.remove, gone)):
        for _ in range(20):
            try:
                verdicts = call(VIPS, sent)
            except NotApplied:
                continue
            assert not {"rejected"} & set(kinds(verdicts))
            if set(kinds(verdicts)) == {"accepted"}:
                break
        assert set(kinds(verdicts)) == {"accepted"}
    assert {member.get(known_by) for member in world.members()} == {f"p{n}@example.com" for n in range(1, 100, 2)}


# Order


def test_the_same_user_is_not_taken_out_and_put_in_by_requests_that_could_change_places(world: World) -> None:
    careful = world.opened(settle_s=0.3)
    careful.remove(VIPS, Batch([person(1)]))
    began = time.monotonic()
    careful.add(VIPS, Batch([person(2)]))
    assert time.monotonic() - began < 0.25
    careful.add(VIPS, Batch([person(1)]))
    assert 0.25 < time.monotonic() - began < 2
    began = time.monotonic()
    careful.add(VIPS, Batch([person(1)]))
    assert time.monotonic() - began < 0.25, "the same thing twice may come in any order"


def test_what_has_settled_is_forgotten() -> None:
    settling = Settling(0.01)
    for number in range(50):
        with settling.kept(VIPS, [str(number)], member=True):
            pass
        time.sleep(0.001)
    assert len(settling) < 50
    time.sleep(0.02)
    with settling.kept(VIPS, ["x"], member=False):
        pass
    assert len(settling) == 1


def test_a_run_that_is_being_stopped_waits_for_nothing_to_settle() -> None:
    settling, event = Settling(60), threading.Event()
    with settling.kept(VIPS, ["x"], member=False):
        pass
    event.set()
    with stops_with(event), pytest.raises(NotApplied), settling.kept(VIPS, ["x"], member=True):
        raise AssertionError("nothing may be sent")


def test_a_removal_ends_a_membership_that_is_still_to_be_applied(world: World) -> None:
    slow = world.opened("slow-key")
    assert kinds(slow.add(VIPS, Batch([person(1), person(2)]))) == ["accepted"] * 2
    assert world.members() == []
    assert kinds(slow.remove(VIPS, Batch([person(1)]))) == ["accepted"]
    world.pass_time(120)
    assert world.ids() == {"2"}


# Audiences


@pytest.mark.parametrize(
    "name", ["Köln / Düsseldorf", "100% & more?", 'with "quotes" and [brackets]', "日本", "in_cart"]
)
def test_audiences_of_any_name_are_found_again(world: World, name: str) -> None:
    made = world.braze.ensure_list(ListRequest(name))
    assert (made.id, made.created) == (name, True)
    world.braze.add(made.id, Batch([person(1)]))
    again = world.braze.ensure_list(ListRequest(name))
    assert (again.id, again.created) == (name, False)
    assert world.braze.ensure_list(ListRequest("x", id=name)).id == name


@pytest.mark.parametrize("name", [*sorted(RESERVED)[:4], "Email", "$set", "_x", " ", " padded", "x" * 256, "a\nb"])
def test_no_audience_has_a_name_that_means_something_else(world: World, name: str) -> None:
    with pytest.raises(DestinationError, match="another `list` name"):
        world.braze.ensure_list(ListRequest(name))
    assert world.received() == []


def test_an_audience_is_found_among_many_attributes(world: World) -> None:
    world.track({"external_id": "1", **{f"a{n:03}": "x" for n in range(120)}, "zz": True})
    assert not world.braze.ensure_list(ListRequest("zz")).created
    assert world.operations().count("attributes.list") == 3
    assert world.braze.ensure_list(ListRequest("zzz")).created


def test_an_attribute_that_was_blocklisted_stops_the_next_run(world: World) -> None:
    world.braze.add(VIPS, Batch([person(1)]))
    requests.post(f"{world.url}/_simulator/braze/lists/{VIPS}/delete", timeout=10).raise_for_status()
    for wanted in (ListRequest(VIPS), ListRequest("x", id=VIPS)):
        with pytest.raises(ListMissing, match="make it active again"):
            world.braze.ensure_list(wanted)


def test_an_attribute_of_another_type_is_not_taken_over(world: World) -> None:
    world.track({"external_id": "1", "favourite": "blue"})
    with pytest.raises(DestinationError, match="holds no booleans"):
        world.braze.ensure_list(ListRequest("favourite"))


def test_the_segment_of_the_audiences_name_is_counted_late(world: World) -> None:
    assert world.braze.matched_users(VIPS).upper is None
    world.braze.add(VIPS, Batch([person(n) for n in range(60)]))
    world.pass_time(2)
    size = world.braze.matched_users(VIPS)
    assert (size.lower, size.upper, size.exact) == (60, 60, False)
    assert "segments.list" in world.opened("noscope").matched_users(VIPS).note


# Keys, limits, silence


def test_a_limit_that_braze_enforces_is_kept(world: World) -> None:
    limit = {"max": 3, "interval_s": 0.5}
    requests.post(f"{world.url}/_simulator/braze/limit", json=limit, timeout=10).raise_for_status()
    patient = world.opened(attempts=10)
    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(patient.add, VIPS, Batch([person(number)])) for number in range(6)]
        assert [kinds(call.result()) for call in calls] == [["accepted"]] * 6
    throttled = [entry for entry in world.received() if entry["status"] == 429]
    assert len(throttled) <= 6, "the headers say when the window is spent"


def test_a_deleted_key_and_one_without_permissions_name_what_is_needed(world: World) -> None:
    for key in ("revoked", "noscope"):
        with pytest.raises(AccessRefused, match=r"with the permission users\.track"):
            world.opened(key).add(VIPS, Batch([person(1)]))


@pytest.mark.parametrize(
    "kind", ["reject_batch", "partial", "server_error", "reset_after", "malformed", "rate_limit", "forbidden"]
)
def test_no_error_and_no_log_tells_who_was_sent_or_with_which_key(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told = []
    world.fault(kind, retry_after_s=0)
    for key in ("secret-of-the-test", "revoked-secret-of-the-test"):
        braze = world.opened(key, identify_by="email")
        for call in (braze.add, braze.remove):
            try:
                sent = Batch([Outgoing({"email": f"p{n}@example.com"}) for n in range(2)])
                told += [verdict.reason for verdict in call(VIPS, sent)]
            except AudienceSyncsError as error:
                told.append(str(error))
    text = " ".join([*told, caplog.text])
    assert "example.com" not in text
    assert "secret-of-the-test" not in text


# The promise, with users known by external id: the shared tests play it with email addresses

BY_ID = dataclasses.replace(
    HARNESSES["braze"],
    opening=lambda address, token, account: Opening({"base_url": address, "settle_s": 0}, {"api_key": token}),
    mappings=[{"external_id": "email"}, {"external_id": "email", "tier": "first_name"}],
    email="external_id",
    email_rule="braze.external_id",
)
HISTORIES = [
    (
        (Change("enter", 0, 0), Change("enter", 1, 1), Change("enter", 2, 9)),
        Run(((("kind", "timeout_after"), ("operation", "users.track")),)),
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
def test_after_a_bad_run_a_good_one_makes_the_list_the_audience_also_by_external_id(
    before: tuple[Change, ...],
    run: Run,
    last: tuple[Change, ...],
    warehouse: Warehouse,
    simulators: SimulatorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(HARNESSES, "braze", BY_ID)
    play(History("braze", 2, 3, ((before, run),), last, 3), warehouse, simulators.url)


def test_the_destination_asks_braze_for_nothing_that_is_not_documented(world: World) -> None:
    world.braze.ensure_list(ListRequest(VIPS))
    world.braze.add(VIPS, Batch([person(1)]))
    world.by_email.remove(VIPS, Batch([Outgoing({"email": "a@example.com"})]))
    world.braze.delete_records(VIPS, Batch([person(1)]))
    world.braze.matched_users(VIPS)
    assert "unknown" not in world.operations()
    assert {entry["status"] for entry in world.received()} <= {200, 201}
    for entry in world.received():
        if entry["operation"] == "users.track":
            assert set(entry["body"]) == {"attributes"}
            for sent in entry["body"]["attributes"]:
                assert len({"external_id", "user_alias", "braze_id", "email", "phone"} & set(sent)) == 1
    assert world.braze.requests_sent + world.by_email.requests_sent == len(world.received())
