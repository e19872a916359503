"""Customer.io over real HTTP, to the simulator: people who arrive late or never, segments, and every kind of doubt."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.customerio import CustomerIo
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.registry import check_sync
from audience_syncs.model.config import DestinationConfig, Mode, SyncConfig
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
from audience_syncs_tests.customerio_bench import KEYS, World, kinds, opened, person


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def world(simulators: SimulatorServer) -> World:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return World(simulators.url)


def test_a_thousand_members_are_two_calls_that_write_and_their_look_ups(world: World) -> None:
    before = len(world.operations())
    verdicts = world.workspace.add(world.list_id, Batch([person(n) for n in range(1_000)]))
    assert kinds(verdicts) == ["accepted"] * 1_000
    asked = world.operations()[before:]
    assert (asked.count("people.batch"), asked.count("segments.add")) == (1, 1)
    assert 10 <= asked.count("people.find") <= 40
    held = world.members()["u7"]
    assert (held["first_name"], held["cio_id"]) == ("Zoë", verdicts[7].remote_id)
    assert (
        kinds(world.workspace.remove(world.list_id, Batch([person(n) for n in range(1_000)]))) == ["accepted"] * 1_000
    )
    assert world.members() == {}


def test_a_batch_that_is_too_large_for_one_call_is_several(world: World) -> None:
    batch = Batch([person(n, story="x" * 20_000) for n in range(60)])
    assert kinds(world.workspace.add(world.list_id, batch)) == ["accepted"] * 60
    assert world.operations().count("people.batch") == 3
    assert len(world.members()) == 60


def test_a_member_without_an_id_or_too_large_is_rejected_and_the_others_are_not(world: World) -> None:
    batch = Batch([Outgoing({"first_name": "Nobody"}), person(1), person(2, story="x" * 33_000)])
    verdicts = world.workspace.add(world.list_id, batch)
    assert [verdict.reason_code for verdict in verdicts] == ["NO_IDENTIFIER", "", "TOO_LARGE"]
    assert list(world.members()) == ["u1"]


# Who arrives late, or never


def test_who_is_suppressed_is_named_and_the_others_get_in(world: World) -> None:
    world.do("suppress", "u1")
    verdicts = opened(world.url, arrival_wait_s=0.2).add(world.list_id, Batch([person(1), person(2)]))
    assert [(verdict.kind, verdict.reason_code) for verdict in verdicts] == [
        (VerdictKind.RETRYABLE, "NOT_ARRIVED"),
        (VerdictKind.ACCEPTED, ""),
    ]
    assert list(world.members()) == ["u2"]
    world.do("unsuppress", "u1")
    assert kinds(world.workspace.add(world.list_id, Batch([person(1)]))) == ["accepted"]


def test_nobody_is_put_into_a_segment_before_they_are_seen(world: World) -> None:
    slow = opened(world.url, "slow-key", arrival_wait_s=0.1)
    assert kinds(slow.add(world.list_id, Batch([person(1)]))) == ["retryable"]
    assert "segments.add" not in world.operations()
    world.pass_time(61)
    assert world.members() == {}
    assert kinds(world.workspace.add(world.list_id, Batch([person(1)]))) == ["accepted"]


def test_a_call_that_is_taken_and_not_seen_to_be_done_is_never_called_done(world: World) -> None:
    world.workspace.add(world.list_id, Batch([person(1)]))
    world.workspace.write(Batch([person(2)]), Mode.UPSERT)
    slow = opened(world.url, "slow-key", app_key="good", arrival_wait_s=0.1)
    assert kinds(slow.add(world.list_id, Batch([person(2)]))) == ["unknown"]
    assert kinds(slow.remove(world.list_id, Batch([person(1)]))) == ["unknown"]
    assert list(world.members()) == ["u1"]
    world.pass_time(61)
    assert list(world.members()) == ["u2"]


class Notes:
    """What the engine keeps for the next run."""

    def __init__(self) -> None:
        self.left: list[str] = []

    def note(self, job_id: str) -> None:
        self.left.append(job_id)

    def done(self, job_id: str) -> None:
        self.left.remove(job_id)


def test_calls_that_an_earlier_run_left_are_over_before_anything_else_is_sent(world: World) -> None:
    world.workspace.add(world.list_id, Batch([person(1)]))
    world.workspace.write(Batch([person(2)]), Mode.UPSERT)
    notes = Notes()
    slow = opened(world.url, "slow-key", app_key="good", arrival_wait_s=0.1)
    slow.add(world.list_id, Batch([person(2)], jobs=notes))
    slow.remove(world.list_id, Batch([person(1)], jobs=notes))
    assert len(notes.left) == 2
    assert not [job for job in notes.left if "u1" in job or "u2" in job], "notes name nobody"
    later = opened(world.url, arrival_wait_s=0.1)
    with pytest.raises(NotApplied, match="earlier run"):
        later.resume(world.list_id, notes.left)
    world.pass_time(61)
    later.resume(world.list_id, notes.left)
    assert list(world.members()) == ["u2"]


def test_a_call_that_is_seen_to_be_done_is_noted_no_longer(world: World) -> None:
    notes = Notes()
    world.workspace.add(world.list_id, Batch([person(1)], jobs=notes))
    world.workspace.remove(world.list_id, Batch([person(1)], jobs=notes))
    assert notes.left == []


def test_a_call_of_long_ago_stops_nobody_for_ever(world: World) -> None:
    [verdict] = world.workspace.add(world.list_id, Batch([person(1)]))
    left = opened(world.url, arrival_wait_s=0.05)
    left.resume(world.list_id, [f"out {verdict.remote_id} 1600000000", "nonsense", ""])
    with pytest.raises(NotApplied):
        left.resume(world.list_id, [f"out {verdict.remote_id} {time.time():.0f}"])


def test_an_upsert_that_is_not_seen_may_still_come(world: World) -> None:
    slow = opened(world.url, "slow-key", arrival_wait_s=0.1)
    assert kinds(slow.write(Batch([person(1)]), Mode.UPSERT)) == ["unknown"]


# Who is in the segment


def test_who_leaves_the_segment_stays_a_person_with_everything(world: World) -> None:
    world.workspace.add(world.list_id, Batch([person(1, tier="gold", email="a@example.com")]))
    assert kinds(world.workspace.remove(world.list_id, Batch([person(1)]))) == ["accepted"]
    assert world.members() == {}
    held = world.person("u1")
    assert held is not None
    assert (held["first_name"], held["tier"], held["email"]) == ("Zoë", "gold", "a@example.com")


def test_adding_and_removing_twice_changes_nothing_more(world: World) -> None:
    batch = Batch([person(1), person(2)])
    first = world.workspace.add(world.list_id, batch)
    assert world.workspace.add(world.list_id, batch) == first
    assert set(world.members()) == {"u1", "u2"}
    for _ in range(2):
        assert kinds(world.workspace.remove(world.list_id, batch)) == ["accepted", "accepted"]
        assert world.members() == {}


def test_who_has_another_id_by_now_is_taken_out_all_the_same(world: World) -> None:
    [verdict] = world.workspace.add(world.list_id, Batch([person(1)]))
    assert verdict.remote_id is not None
    world.do("identify", verdict.remote_id, "cio_id", id="u1-new")
    world.workspace.remove(world.list_id, Batch([Outgoing({"id": "u1"}, verdict.remote_id)]))
    assert world.members() == {}


def test_a_removal_goes_by_every_id_that_is_in_doubt(world: World) -> None:
    world.workspace.add(world.list_id, Batch([person(1), person(2), person(3)]))
    assert kinds(world.workspace.remove(world.list_id, Batch([Outgoing({"id": ["u1", "u2", "u9"]})]))) == ["accepted"]
    assert list(world.members()) == ["u3"]


def test_more_ids_than_one_call_takes_are_several_calls(world: World) -> None:
    batch = Batch([Outgoing({"id": [f"u{n}", f"v{n}"]}) for n in range(600)])
    assert set(kinds(world.workspace.remove(world.list_id, batch))) == {"accepted"}
    assert [len(e["body"]["ids"]) for e in world.received() if e["operation"] == "segments.remove"] == [1_000, 200]


def test_rows_that_others_put_into_the_segment_stay(world: World) -> None:
    world.workspace.add(world.list_id, Batch([person(1)]))
    world.put(id="other")
    assert kinds(world.workspace.remove(world.list_id, Batch([person(1), person(2)]))) == ["accepted"] * 2
    assert list(world.members()) == ["other"]


def test_a_person_who_was_deleted_is_out_and_can_come_back(world: World) -> None:
    [first] = world.workspace.add(world.list_id, Batch([person(1)]))
    world.do("delete", "u1")
    left = Batch([Outgoing({"id": "u1"}, first.remote_id)])
    assert kinds(world.workspace.remove(world.list_id, left)) == ["accepted"]
    [second] = world.workspace.add(world.list_id, Batch([person(1)]))
    assert second.remote_id != first.remote_id
    assert list(world.members()) == ["u1"]


def test_everybody_in_the_segment_is_read_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audience_syncs.destinations.customerio.segments._PAGE", 100)
    batch = Batch([person(n) for n in range(250)])
    verdicts = world.workspace.add(world.list_id, batch)
    world.members()
    pages = list(world.workspace.members(world.list_id))
    assert [len(page) for page in pages] == [100, 100, 50]
    read = [member for page in pages for member in page]
    assert {member.remote_id for member in read} == {verdict.remote_id for verdict in verdicts}
    assert {member.fields["id"] for member in read} == {member.fields["id"] for member in batch.members}
    world.pass_time(2)
    size = world.workspace.matched_users(world.list_id)
    assert (size.lower, size.upper) == (250, 250)


# Records


def test_an_upsert_touches_no_segment(world: World) -> None:
    assert kinds(world.workspace.write(Batch([person(1)]), Mode.UPSERT)) == ["accepted"]
    assert world.members() == {}
    assert world.person("u1") is not None


def test_an_update_makes_nobody_and_an_insert_changes_nobody(world: World) -> None:
    world.workspace.write(Batch([person(1)]), Mode.UPSERT)
    batch = Batch([person(1, first_name="Chloë"), person(2), Outgoing({"first_name": "Nobody"})])
    updated = world.workspace.write(batch, Mode.UPDATE)
    assert [verdict.reason_code for verdict in updated] == ["", "NOT_FOUND", "NO_IDENTIFIER"]
    batch = Batch([person(1, first_name="Ann"), person(2, first_name="Ann")])
    assert kinds(world.workspace.write(batch, Mode.INSERT)) == ["accepted", "accepted"]
    assert [(world.person(own) or {})["first_name"] for own in ("u1", "u2")] == ["Chloë", "Ann"]


def test_fields_are_cleared_of_who_left_and_identifiers_never(world: World) -> None:
    world.workspace.add(world.list_id, Batch([person(1, email="a@example.com", tier="gold", size="M")]))
    fields = ["id", "email", "first_name", "tier"]
    batch = Batch([person(1), person(2)])
    assert kinds(world.workspace.clear_fields(world.list_id, batch, fields)) == ["accepted"] * 2
    held = world.person("u1")
    assert held is not None
    assert world.members() == {}
    assert {name for name in held if name != "cio_id"} == {"id", "email", "size"}
    assert world.person("u2") is None, "clearing makes nobody"


def test_fields_that_were_not_cleared_are_not_called_cleared(world: World) -> None:
    world.workspace.add(world.list_id, Batch([person(1), person(2)]))
    world.fault("server_error", operation="people.batch")
    assert kinds(world.workspace.clear_fields(world.list_id, Batch([person(1), person(2)]), ["first_name"])) == [
        "unknown",
        "unknown",
    ]
    assert world.members() == {}


def test_a_record_that_cannot_be_deleted_is_named_and_out_of_the_segment(world: World) -> None:
    world.workspace.add(world.list_id, Batch([person(1), person(2)]))
    world.fault("partial", operation="people.batch", contains='"u1"')
    verdicts = world.workspace.delete_records(world.list_id, Batch([person(1), person(2)]))
    assert kinds(verdicts) == ["rejected", "accepted"]
    assert verdicts[0].reason.startswith("out of the segment, but not deleted")
    assert world.members() == {}
    assert world.person("u2") is None


def test_delete_record_deletes_by_whatever_they_are_known(world: World) -> None:
    [verdict] = world.workspace.add(world.list_id, Batch([person(1)]))
    assert verdict.remote_id is not None
    world.do("identify", verdict.remote_id, "cio_id", id="u1-new")
    left = Batch([Outgoing({"id": "u1"}, verdict.remote_id)])
    for _ in range(2):
        assert kinds(world.workspace.delete_records(world.list_id, left)) == ["accepted"]
    assert world.person("u1-new") is None


# Doubt


@pytest.mark.parametrize("kind", ["server_error_after", "timeout_after", "reset_after", "malformed"])
def test_a_call_whose_answer_was_lost_is_never_called_refused(world: World, kind: str) -> None:
    world.fault(kind, operation="segments.add", delay_s=1.5)
    with watch() as doubt, pytest.raises(NoAnswer):
        world.workspace.add(world.list_id, Batch([person(1)]))
    assert doubt.arose


def test_a_key_that_is_refused_half_way_leaves_a_doubt(world: World) -> None:
    world.fault("forbidden", operation="segments.add")
    with watch() as doubt, pytest.raises(AccessRefused):
        world.workspace.add(world.list_id, Batch([person(1)]))
    assert doubt.arose


def test_where_nobody_can_be_looked_up_nobody_is_put_in(world: World) -> None:
    world.fault("server_error", operation="people.find")
    with pytest.raises(NotApplied):
        world.workspace.add(world.list_id, Batch([person(1)]))
    assert world.members() == {}


def test_some_who_are_refused_do_not_stop_the_others(world: World) -> None:
    world.fault("partial", operation="people.batch", share=0.2)
    verdicts = world.workspace.add(world.list_id, Batch([person(n) for n in range(200)]))
    assert kinds(verdicts).count("rejected") == 40
    assert len(world.members()) == 160


def test_where_a_whole_batch_is_refused_it_is_the_batch(world: World) -> None:
    world.fault("reject_batch", operation="people.batch")
    with pytest.raises(BatchRefused):
        world.workspace.add(world.list_id, Batch([person(n) for n in range(10)]))


@pytest.mark.parametrize("kind", ["server_error_after", "reset_after", "reset_before", "malformed", "rate_limit"])
def test_repeating_after_any_fault_ends_with_exactly_the_members(world: World, kind: str) -> None:
    world.fault(kind, rate=0.3, retry_after_s=0.05, count=12)
    batch = Batch([person(n) for n in range(200)])
    for _ in range(20):
        try:
            verdicts = world.workspace.add(world.list_id, batch)
        except (NotApplied, NoAnswer):
            continue
        assert "rejected" not in kinds(verdicts)
        if set(kinds(verdicts)) == {"accepted"}:
            break
    assert set(kinds(verdicts)) == {"accepted"}
    assert len(world.members()) == 200


# Hostile input


def test_what_is_no_id_is_refused_for_itself_alone(world: World) -> None:
    hostile = ["日本 & more?/..", '"quoted" \\ id', "x" * 300, "ü@example.com", "a,b", "null"]
    batch = Batch([*(Outgoing({"id": each}) for each in hostile), Outgoing({"id": ""}), Outgoing({}), person(1)])
    verdicts = world.workspace.add(world.list_id, batch)
    found = dict(zip([*hostile, "empty", "none", "u1"], verdicts, strict=True))
    assert {who: each.reason_code for who, each in found.items() if each.reason_code} == {
        "x" * 300: "INVALID",
        "empty": "NO_IDENTIFIER",
        "none": "NO_IDENTIFIER",
    }
    assert set(world.members()) == {who for who, each in found.items() if not each.reason_code}
    assert kinds(world.workspace.remove(world.list_id, batch)) == ["accepted"] * 9
    assert world.members() == {}


def test_two_members_with_one_id_are_one_person(world: World) -> None:
    batch = Batch([person(1, last_name="Fe"), person(1, first_name="Chloë")])
    verdicts = world.workspace.add(world.list_id, batch)
    assert kinds(verdicts) == ["accepted", "accepted"]
    assert verdicts[0].remote_id == verdicts[1].remote_id
    held = world.members()["u1"]
    assert (held["first_name"], held["last_name"]) == ("Chloë", "Fe")


def test_an_email_that_is_somebody_elses_costs_nobody_their_place(world: World) -> None:
    batch = Batch([person(1, email="a@example.com"), person(2, email="a@example.com")])
    assert kinds(world.workspace.add(world.list_id, batch)) == ["accepted", "accepted"]
    assert set(world.members()) == {"u1", "u2"}


def test_who_was_known_by_email_alone_becomes_the_person_of_that_id(world: World) -> None:
    world.do("identify", "a@example.com", "email", tier="gold")
    assert kinds(world.workspace.add(world.list_id, Batch([person(1, email="a@example.com")]))) == ["accepted"]
    assert world.members()["u1"]["tier"] == "gold"


def test_a_batch_of_nobody_asks_for_nothing(world: World) -> None:
    before = len(world.operations())
    assert world.workspace.add(world.list_id, Batch([])) == []
    assert kinds(world.workspace.add(world.list_id, Batch([Outgoing({})]))) == ["rejected"]
    assert kinds(world.workspace.remove(world.list_id, Batch([Outgoing({})]))) == ["accepted"]
    assert len(world.operations()) == before


# Segments


@pytest.mark.parametrize("name", ["Köln / Düsseldorf", "100% & more?", 'with "quotes" and \\', "日本"])
def test_segments_of_any_name_are_found_again(world: World, name: str) -> None:
    wanted = ListRequest(f"{name} {next(KEYS)}")
    made = world.workspace.ensure_list(wanted)
    again = opened(world.url).ensure_list(wanted)
    assert (made.created, again.created) == (True, False)
    assert (again.id, again.name) == (made.id, wanted.name)


@pytest.mark.parametrize("kind", ["reset_after", "timeout_after", "server_error_after", "malformed"])
def test_a_segment_whose_making_was_not_answered_is_not_made_twice(world: World, kind: str) -> None:
    world.fault(kind, operation="segments.create", count=1, delay_s=1.5)
    found = world.workspace.ensure_list(ListRequest("Once"))
    assert found.id == world.workspace.ensure_list(ListRequest("Once")).id
    assert world.operations().count("segments.create") == 2  # the fixture's, and this one


def test_two_syncs_that_make_the_same_segment_at_once_get_the_same_one(world: World) -> None:
    with ThreadPoolExecutor(4) as threads:
        accounts = [opened(world.url) for _ in range(4)]
        found = list(threads.map(lambda account: account.ensure_list(ListRequest("Together")), accounts))
    assert len({remote.id for remote in found}) == 1
    assert sum(remote.created for remote in found) <= 1


def test_a_segment_of_conditions_is_neither_found_nor_filled(world: World) -> None:
    answer = requests.post(
        f"{world.url}/customerio/v1/segments",
        json={"segment": {"name": "[dynamic] Lapsed"}},
        headers={"Authorization": "Bearer other"},
        timeout=10,
    )
    dynamic = str(answer.json()["segment"]["id"])
    assert world.workspace.ensure_list(ListRequest("x", id=world.list_id)).id == world.list_id
    with pytest.raises(DestinationError, match="NOT_MANUAL"):
        world.workspace.ensure_list(ListRequest("x", id=dynamic))
    with pytest.raises(DestinationError, match="NOT_MANUAL"):
        world.workspace.add(dynamic, Batch([person(1)]))


def test_a_segment_that_is_gone_stops_the_run(world: World) -> None:
    world.workspace.add(world.list_id, Batch([person(1)]))
    requests.post(f"{world.url}/_simulator/customerio/lists/{world.list_id}/delete", timeout=10).raise_for_status()
    calls: list[Callable[[], Any]] = [
        lambda: world.workspace.add(world.list_id, Batch([person(1)])),
        lambda: world.workspace.remove(world.list_id, Batch([person(1)])),
        lambda: world.workspace.matched_users(world.list_id),
        lambda: list(world.workspace.members(world.list_id)),
        lambda: world.workspace.ensure_list(ListRequest("x", id=world.list_id)),
    ]
    for call in calls:
        with pytest.raises(ListMissing, match="What to do"):
            call()


# Keys, mapping, limits, silence


def test_the_region_is_the_accounts() -> None:
    secrets = {"site_id": "s", "api_key": "k", "app_key": "a"}

    def addresses(**given: Any) -> tuple[str, str]:
        workspace = CustomerIo(Account("messages", secrets, given), {"CIO_URL": "http://localhost:1"})
        return workspace._http._base_url, workspace._app._base_url

    assert addresses() == ("https://track.customer.io", "https://api.customer.io")
    assert addresses(region="eu") == ("https://track-eu.customer.io", "https://api-eu.customer.io")
    assert addresses(base_url_env="CIO_URL") == ("http://localhost:1", "http://localhost:1")
    with pytest.raises(DefinitionError):
        addresses(region="mars")


def test_consent_cannot_be_mapped() -> None:
    config = DestinationConfig.model_validate(
        {
            "name": "messages",
            "platform": "customerio",
            "credentials": {name: {"env": name.upper()} for name in ("site_id", "api_key", "app_key")},
        }
    )
    mapping = {"id": "id", "unsubscribed": "out", "cio_subscription_preferences.topics.topic_1": "t", "_update": "u"}
    sync = SyncConfig.model_validate({"destination": "messages", "mapping": mapping})
    assert {problem.path[-1] for problem in check_sync(config, sync)} == set(mapping) - {"id"}


def test_keys_of_the_two_apis_are_told_apart(world: World) -> None:
    with pytest.raises(AccessRefused, match="App API key"):
        opened(world.url, app_key="revoked").ensure_list(ListRequest("x"))
    with pytest.raises(AccessRefused, match="Track API key"):
        opened(world.url, "revoked", app_key="good").add(world.list_id, Batch([person(1)]))
    with pytest.raises(AccessRefused, match="scope"):
        opened(world.url, app_key="noscope").ensure_list(ListRequest("x"))


def test_a_limit_that_customerio_enforces_is_waited_out(world: World) -> None:
    limit = {"max": 6, "interval_s": 0.5}
    requests.post(f"{world.url}/_simulator/customerio/limit", json=limit, timeout=10).raise_for_status()
    patient = opened(world.url, attempts=12)
    for number in range(3):
        assert kinds(patient.add(world.list_id, Batch([person(number)]))) == ["accepted"]


def test_the_app_apis_limit_is_kept_whatever_the_settings_say() -> None:
    secrets = {"site_id": "of this test", "api_key": "k", "app_key": "a"}
    workspace = CustomerIo(Account("messages", secrets, {"requests_per_s": 100}), {})
    assert workspace._app.pace._pace.requests_per_s == 8
    assert workspace._http.pace._pace.requests_per_s == 100
    assert workspace.pace is workspace._app.pace


def test_nothing_but_what_is_known_is_ever_asked_for(world: World) -> None:
    batch = Batch([person(1), person(2)])
    world.workspace.add(world.list_id, batch)
    world.workspace.clear_fields(world.list_id, batch, ["first_name"])
    world.workspace.delete_records(world.list_id, batch)
    assert not {"unknown", "people.suppress", "segments.delete"} & set(world.operations())
    sent = [
        each for entry in world.received() if entry["operation"] == "people.batch" for each in entry["body"]["batch"]
    ]
    assert {each["action"] for each in sent} == {"identify", "delete"}


@pytest.mark.parametrize("kind", ["reject_batch", "server_error", "malformed", "rate_limit", "forbidden", "partial"])
def test_no_error_and_no_log_tells_who_was_sent_or_with_which_key(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    workspace = opened(world.url, "secret-of-the-test")
    world.fault(kind, retry_after_s=0.01)
    told = [caplog.text]
    for call in (workspace.add, workspace.remove):
        try:
            batch = Batch(
                [person(1, email="somebody@example.com"), Outgoing({"id": "y" * 200}), Outgoing({"id": "u-2-x"})]
            )
            told += [verdict.reason for verdict in call(world.list_id, batch)]
        except AudienceSyncsError as error:
            told.append(str(error))
    text = " ".join([*told, caplog.text])
    for secret in ("example.com", "yyyy", "u-2-x", "secret-of-the-test"):
        assert secret not in text
