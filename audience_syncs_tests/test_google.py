"""Google over real HTTP, to the simulator; its requests are held against Google's own messages."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import orjson
import pytest
import requests
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.ads import datamanager_v1 as dm
from google.auth import jwt
from google.protobuf import json_format

from audience_syncs.destinations.contract import ListRequest, ResumesJobs
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.google import delivery
from audience_syncs.destinations.google.access import SCOPE, ServiceAccount
from audience_syncs.destinations.google.answers import reading, refusal_of
from audience_syncs.destinations.google.identities import as_sent, records_of
from audience_syncs.destinations.http import Answer, Retry
from audience_syncs.destinations.registry import check_destination, open_destination, spec_for
from audience_syncs.destinations.stopping import stops_with
from audience_syncs.identifiers import rule_of
from audience_syncs.model.config import DestinationConfig
from audience_syncs.model.errors import AccessRefused, AudienceSyncsError, BatchRefused, ListMissing, NotApplied
from audience_syncs.model.values import Batch, Outgoing, VerdictKind
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.google_bench import Notes, World, kinds, opened, person
from audience_syncs_tests.platforms import HARNESSES
from audience_syncs_tests.platforms.harness import sha

ASKED: dict[str, Any] = {
    "ingest": dm.IngestAudienceMembersRequest,
    "remove": dm.RemoveAudienceMembersRequest,
    "lists.create": dm.UserList,
}
ANSWERED: dict[str, Any] = {
    "audienceMembers:ingest": dm.IngestAudienceMembersResponse,
    "requestStatus:retrieve": dm.RetrieveRequestStatusResponse,
    "userLists": dm.ListUserListsResponse,
}
HOME = "address"


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
    return World(url)


def address(**changes: str) -> str:
    parts = {"first_name": "Zoë", "last_name": "O'Brien", "country": "de", "zip": "50667", **changes}
    return rule_of("google", "address").to_send(parts)


# What goes over the wire


def test_everything_that_is_sent_fits_googles_own_messages(url: str) -> None:
    world = World(
        url,
        login_account={"id": "987-654-3210"},
        consent={"ad_user_data": "granted", "ad_personalization": "unspecified"},
    )
    batch = Batch([person(1, phone=[sha("+4915112345678"), sha("+1")], address=address()), person(2)])
    assert kinds(world.google.add(world.list_id, batch)) == ["accepted", "accepted"]
    assert kinds(world.google.remove(world.list_id, batch)) == ["accepted", "accepted"]
    sent = {entry["operation"]: entry for entry in world.received() if entry["operation"] in ASKED}
    assert set(sent) == set(ASKED)
    for operation, entry in sent.items():
        json_format.ParseDict(entry["body"], ASKED[operation].pb(ASKED[operation]()))
    ingested = dm.IngestAudienceMembersRequest.from_json(orjson.dumps(sent["ingest"]["body"]))
    assert ingested.encoding == dm.Encoding.HEX
    assert ingested.consent.ad_user_data == dm.ConsentStatus.CONSENT_GRANTED
    assert ingested.consent.ad_personalization == dm.ConsentStatus.CONSENT_STATUS_UNSPECIFIED
    assert ingested.destinations[0].login_account.account_id == "9876543210"
    assert ingested.audience_members[0].user_data.user_identifiers[3].address.region_code == "DE"
    asked_for_list = next(entry for entry in world.received() if entry["operation"] == "lists.find")
    assert asked_for_list["path"].startswith("/v1/accountTypes/GOOGLE_ADS/accounts/")


def test_what_the_simulator_answers_fits_googles_own_messages(world: World) -> None:
    token = requests.post(
        f"{world.url}/google/token",
        data={"grant_type": "refresh_token", "refresh_token": "x", "client_id": "c", "client_secret": "s"},
        timeout=10,
    ).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    world.fault(kind="partial", contains=sha("p2@example.com"), count=1)
    notes = Notes()
    world.google.add(world.list_id, Batch([person(1), person(2)], jobs=notes))
    request_id = next(note for note in notes.ever if note.startswith("request")).split(" ")[2]
    paths = {
        "requestStatus:retrieve": f"requestStatus:retrieve?requestId={request_id}",
        "userLists": f"accountTypes/GOOGLE_ADS/accounts/{world.google._given.customer_id}/userLists",
    }
    for name, path in paths.items():
        told = requests.get(f"{world.url}/google/v1/{path}", headers=headers, timeout=10).json()
        assert told
        json_format.ParseDict(told, ANSWERED[name].pb(ANSWERED[name]()))
    assert "PROCESSING_ERROR_REASON_INVALID_FORMAT" in str(
        requests.get(f"{world.url}/google/v1/{paths['requestStatus:retrieve']}", headers=headers, timeout=10).json()
    )


def test_a_large_batch_is_several_uploads_that_are_waited_for_together(world: World) -> None:
    verdicts = world.google.add(world.list_id, Batch([person(n) for n in range(10_002)]))
    assert set(kinds(verdicts)) == {"accepted"}
    received = world.received()
    uploads = [entry for entry in received if entry["operation"] == "ingest"]
    assert [len(entry["body"]["audienceMembers"]) for entry in uploads] == [10_000, 2]
    first_question = [entry["operation"] for entry in received].index("status")
    assert [entry["operation"] for entry in received[:first_question]].count("ingest") == 2


def test_who_has_more_than_ten_identifiers_is_several_records(world: World) -> None:
    many = [sha(f"{n}@example.com") for n in range(23)]
    assert kinds(world.google.add(world.list_id, Batch([Outgoing({"email": many})]))) == ["accepted"]
    assert world.emails() == set(many)
    assert kinds(world.google.remove(world.list_id, Batch([Outgoing({"email": many})]))) == ["accepted"]
    assert world.members() == []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"email": ""},
        {"email": []},
        {"email": "anna@example.com"},
        {"email": "é" * 64},
        {"email": "A" * 64},
        {"phone": "x" * 300},
        {"address": f"{sha('a')} {sha('b')} de 50667"},
        {"address": f"{sha('a')} {sha('b')} DE"},
        {"first_name": "Anna"},
    ],
)
def test_what_google_would_refuse_is_not_sent_and_the_others_are(world: World, fields: dict[str, Any]) -> None:
    verdicts = world.google.add(world.list_id, Batch([person(1), Outgoing(fields), person(1), person(2)]))
    assert kinds(verdicts) == ["accepted", "rejected", "accepted", "accepted"]
    assert verdicts[1].reason_code == "NO_IDENTIFIER"
    assert world.emails() == {sha("p1@example.com"), sha("p2@example.com")}


def test_records_of_an_address_are_what_google_takes(world: World) -> None:
    for parts in ({"zip": "WC2H 8LG", "country": "GB"}, {"zip": "94043", "country": "us"}, {"last_name": "山田"}):
        member = Outgoing({HOME: address(**parts)})
        assert kinds(world.google.add(world.list_id, Batch([member]))) == ["accepted"]
        assert len(world.members()) == 1
        assert kinds(world.google.remove(world.list_id, Batch([member]))) == ["accepted"]
        assert world.members() == []
    (record,) = records_of(Outgoing({HOME: address()}), adding=True)
    assert as_sent(record)["userData"]["userIdentifiers"][0]["address"]["givenName"] == sha("zoë")


# What fails


def test_those_who_fail_among_many_are_found_and_nobody_else(world: World) -> None:
    bad, mark = [7, 411, 999], {"phone": sha("+1")}
    world.fault(kind="partial", contains=mark["phone"])
    verdicts = world.google.add(world.list_id, Batch([person(n, **(mark if n in bad else {})) for n in range(1_000)]))
    assert [n for n, verdict in enumerate(verdicts) if verdict.kind is VerdictKind.REJECTED] == bad
    assert {verdicts[n].reason_code for n in bad} == {"INVALID_FORMAT"}
    assert set(kinds(verdicts)) == {"accepted", "rejected"}
    assert len(world.members()) == 997


def test_a_search_that_takes_too_long_leaves_those_it_did_not_find_unknown(world: World) -> None:
    mark = {"phone": sha("+1")}
    world.fault(kind="partial", contains=mark["phone"])
    verdicts = world.google.add(world.list_id, Batch([person(n, **({} if n % 2 else mark)) for n in range(300)]))
    assert world.operations().count("ingest") <= 201
    assert {verdicts[n].kind for n in range(0, 300, 2)} <= {VerdictKind.UNKNOWN, VerdictKind.REJECTED}
    assert VerdictKind.UNKNOWN in {verdict.kind for verdict in verdicts}
    rejected = {n for n, verdict in enumerate(verdicts) if verdict.kind is VerdictKind.REJECTED}
    assert all(n % 2 == 0 for n in rejected)


def test_members_who_are_named_are_refused_and_the_others_get_in(world: World) -> None:
    world.fault(kind="reject_batch", contains=sha("p3@example.com"))
    verdicts = world.google.add(world.list_id, Batch([person(n) for n in range(6)]))
    assert kinds(verdicts) == ["accepted"] * 3 + ["rejected"] + ["accepted"] * 2
    assert (verdicts[3].reason_code, verdicts[3].reason) == (
        "INVALID_SHA256_FORMAT",
        "email address: invalid sha256 format",
    )


def test_later_uploads_of_a_call_that_fail_leave_what_earlier_ones_did(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MOST_RECORDS", 10)
    world.fault(kind="forbidden", operation="ingest", skip=1)
    verdicts = world.google.add(world.list_id, Batch([person(n) for n in range(12)]))
    assert kinds(verdicts) == ["accepted"] * 10 + ["retryable"] * 2
    with pytest.raises(AccessRefused, match="ACCESS_TOKEN_SCOPE_INSUFFICIENT"):
        world.google.add(world.list_id, Batch([person(1)]))


def test_a_list_that_is_gone_is_told_as_such(world: World) -> None:
    world.inspect("POST", f"google/lists/{world.list_id}/delete")
    for call in (
        lambda: world.google.add(world.list_id, Batch([person(1)])),
        lambda: world.google.remove(world.list_id, Batch([person(1)])),
        lambda: world.google.ensure_list(ListRequest("People", world.list_id)),
        lambda: world.google.matched_users(world.list_id),
        lambda: world.google.add("../1", Batch([person(1)])),
    ):
        with pytest.raises(ListMissing):
            call()


def test_an_upload_that_is_taken_while_the_list_goes_is_not_called_done(url: str) -> None:
    world = World(url, "slow", job_wait_s=0.2)
    verdicts = world.google.add(world.list_id, Batch([person(1)]))
    assert [verdict.reason_code for verdict in verdicts] == ["STILL_PROCESSING"]


def test_who_shares_an_identifier_or_comes_twice_is_one_person(world: World) -> None:
    same = person(1, phone=sha("+1"))
    assert kinds(world.google.add(world.list_id, Batch([same, same, person(1)]))) == ["accepted"] * 3
    assert len(world.members()) == 1
    assert kinds(world.google.remove(world.list_id, Batch([same, person(9)]))) == ["accepted", "accepted"]
    assert world.members() == []


def test_batches_at_the_same_time_keep_to_themselves(world: World) -> None:
    with ThreadPoolExecutor(4) as threads:
        parts = [Batch([person(n) for n in range(start, start + 50)]) for start in range(0, 400, 50)]
        found = list(threads.map(lambda batch: world.google.add(world.list_id, batch), parts))
    assert all(kinds(verdicts) == ["accepted"] * 50 for verdicts in found)
    assert len(world.members()) == 400


def test_a_try_out_changes_nothing_and_accepts_nobody(url: str) -> None:
    world, notes = World(url, validate_only=True), Notes()
    verdicts = world.google.add(world.list_id, Batch([person(1), person(2)], jobs=notes))
    assert [verdict.reason_code for verdict in verdicts] == ["VALIDATED_ONLY"] * 2
    assert set(kinds(verdicts)) == {"retryable"}
    assert (world.members(), notes.left) == ([], [])


# Uploads under way


def test_uploads_are_noted_until_they_are_over(world: World) -> None:
    assert isinstance(world.google, ResumesJobs)
    notes = Notes()
    world.google.add(world.list_id, Batch([person(1)], jobs=notes))
    assert [note.split(" ")[0] for note in notes.ever] == ["sent", "request"]
    assert notes.left == []


def test_a_run_that_is_stopped_leaves_its_upload_to_the_next_which_waits_for_it(url: str) -> None:
    world, notes, stop = World(url, "slow"), Notes(), threading.Event()
    threading.Timer(0.1, stop.set).start()
    with stops_with(stop):
        verdicts = world.google.add(world.list_id, Batch([person(1)], jobs=notes))
    assert [(verdict.kind, verdict.reason_code) for verdict in verdicts] == [(VerdictKind.UNKNOWN, "STILL_PROCESSING")]
    (left,) = notes.left
    impatient = opened(url, "slow", job_wait_s=0.05)
    with pytest.raises(NotApplied, match="still being worked on"):
        impatient.resume(world.list_id, [left])
    assert world.members() == []
    world.advance(61)
    impatient.resume(world.list_id, [left])
    assert world.emails() == {sha("p1@example.com")}


def test_an_upload_whose_answer_was_lost_is_waited_for_by_time(url: str) -> None:
    world, notes = World(url, unanswered_wait_s=0.4), Notes()
    world.fault(kind="reset_after", operation="ingest")
    began = time.time()
    with watch() as doubt:
        verdicts = world.google.add(world.list_id, Batch([person(1)], jobs=notes))
    assert (kinds(verdicts), doubt.arose) == (["unknown"], True)
    (left,) = notes.left
    assert left.startswith("sent ")
    world.google.resume(world.list_id, [left])
    assert time.time() - began > 0.39
    assert world.emails() == {sha("p1@example.com")}


def test_an_upload_that_certainly_never_arrived_is_not_waited_for(world: World) -> None:
    notes = Notes()
    world.fault(kind="rate_limit", operation="ingest", retry_after_s=0)
    assert kinds(world.google.add(world.list_id, Batch([person(1)], jobs=notes))) == ["retryable"]
    assert (len(notes.ever), notes.left) == (1, [])


def test_an_attempt_without_an_answer_stays_noted_though_the_next_is_answered(world: World) -> None:
    notes = Notes()
    world.fault(kind="server_error_after", operation="ingest", count=1)
    assert kinds(world.google.add(world.list_id, Batch([person(1)], jobs=notes))) == ["accepted"]
    assert [note.split(" ")[0] for note in notes.left] == ["sent"]


def test_a_request_nobody_knows_is_over_only_when_it_is_old(world: World) -> None:
    old, young = f"request {int(time.time() * 1_000) - 60_000} gone", f"request {int(time.time() * 1_000)} gone"
    world.google.resume(world.list_id, [old, "something else"])
    impatient = opened(world.url, job_wait_s=0.05, unanswered_wait_s=3_600)
    with pytest.raises(NotApplied):
        impatient.resume(world.list_id, [young])


def test_a_status_that_may_not_be_had_leaves_members_unknown_and_a_refusal_stops_the_run_in_doubt(world: World) -> None:
    world.fault(kind="server_error", operation="status")
    verdicts = world.google.add(world.list_id, Batch([person(1)]))
    assert [verdict.reason_code for verdict in verdicts] == ["STILL_PROCESSING"]
    world.inspect("DELETE", "faults")
    world.fault(kind="forbidden", operation="status")
    with watch() as doubt, pytest.raises(AccessRefused):
        world.google.add(world.list_id, Batch([person(2)]))
    assert doubt.arose


# Signing in


@pytest.fixture(scope="module")
def private_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2_048)


def key_file(private_key: rsa.RSAPrivateKey, **changes: Any) -> str:
    pem = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    held = {
        "type": "service_account",
        "project_id": "shop-ads",
        "private_key_id": "k1",
        "private_key": pem,
        "client_email": "sync@shop-ads.iam.example.com",
        **changes,
    }
    return orjson.dumps(held).decode()


def of_service_account(url: str, key: str) -> Any:
    harness = HARNESSES["google"]
    config = harness.config(f"{url}/google", "t", "42", sign_in="service_account")
    held = {**config.model_dump(exclude={"credentials"}), "credentials": {"service_account_key": {"env": "KEY"}}}
    opened_account: Any = open_destination(DestinationConfig.model_validate(held), {"KEY": key})
    harness.hurry(opened_account)
    return opened_account


def test_a_service_account_signs_what_googles_own_library_verifies(private_key: rsa.RSAPrivateKey) -> None:
    public = private_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    account = ServiceAccount(key_file(private_key), "destination ads")
    assertion = account.assertion("https://oauth2.googleapis.com/token", time.time())
    claims = jwt.decode(assertion, certs=public, audience="https://oauth2.googleapis.com/token")
    assert (claims["iss"], claims["scope"]) == ("sync@shop-ads.iam.example.com", SCOPE)
    assert jwt.decode_header(assertion) == {"alg": "RS256", "typ": "JWT", "kid": "k1"}


def test_a_service_account_keeps_a_list(url: str, private_key: rsa.RSAPrivateKey) -> None:
    google = of_service_account(url, key_file(private_key))
    made = google.ensure_list(ListRequest("By key"))
    assert kinds(google.add(made.id, Batch([person(1)]))) == ["accepted"]


@pytest.mark.parametrize("key", ["secret-thing", "{}", '{"client_email": "a@b.c", "private_key": "secret-thing"}'])
def test_a_key_that_is_none_is_told_without_showing_it(url: str, key: str) -> None:
    with pytest.raises(AccessRefused) as refused:
        of_service_account(url, key).ensure_list(ListRequest("People"))
    assert "secret-thing" not in str(refused.value)
    assert refused.value.remedy


def test_accounts_of_one_cloud_project_share_its_quota(url: str, private_key: rsa.RSAPrivateKey) -> None:
    one, two = (of_service_account(url, key_file(private_key)) for _ in range(2))
    other = of_service_account(url, key_file(private_key, project_id="another"))
    assert one.pace is two.pace
    assert one.pace is not other.pace


@pytest.mark.parametrize(("token", "said"), [("revoked-1", "invalid_grant"), ("noscope-1", "SCOPE_INSUFFICIENT")])
def test_credentials_that_are_no_good_stop_the_run(url: str, token: str, said: str) -> None:
    with pytest.raises(AccessRefused, match=said) as refused:
        opened(url, token).ensure_list(ListRequest("People"))
    assert token not in str(refused.value)


def test_tokens_are_renewed_when_they_end(world: World) -> None:
    world.advance(7_200)
    assert kinds(world.google.add(world.list_id, Batch([person(1)]))) == ["accepted"]
    assert world.operations().count("token") == 2


def test_an_account_that_the_credentials_may_not_see_is_said_to_be_so(url: str) -> None:
    google = opened(url, customer_id="999-999-9999")
    with pytest.raises(AccessRefused, match="PERMISSION_DENIED") as refused:
        google.ensure_list(ListRequest("People"))
    assert "login_account" in refused.value.remedy


# Definitions and answers


def config(**settings: Any) -> DestinationConfig:
    given = {
        "customer_id": "123-456-7890",
        "consent": {"ad_user_data": "granted", "ad_personalization": "granted"},
        "accept_customer_match_terms": True,
    }
    kept = {name: value for name, value in {**given, **settings}.items() if value is not ...}
    names = ("client_id", "client_secret", "refresh_token")
    secrets = {name: {"env": name.upper()} for name in names}
    return DestinationConfig.model_validate(
        {"name": "ads", "platform": "google", "settings": kept, "credentials": secrets}
    )


def test_a_good_definition_has_no_problems() -> None:
    assert check_destination(config()) == []
    assert check_destination(config(customer_id=1234567890, membership_days=30, login_account={"id": 1})) == []


@pytest.mark.parametrize(
    ("settings", "days"), [({}, 180), ({"membership_days": 30}, 10), ({"membership_days": 1}, 1 / 3)]
)
def test_who_stays_is_sent_again_before_they_expire(settings: dict[str, Any], days: float) -> None:
    assert spec_for(config(**settings)).refresh_after == timedelta(days=days)


@pytest.mark.parametrize(
    ("settings", "path"),
    [
        ({"customer_id": "my account"}, ("settings", "customer_id")),
        ({"customer_id": True}, ("settings", "customer_id")),
        ({"consent": ...}, ("settings", "consent")),
        ({"consent": {"ad_user_data": "granted"}}, ("settings", "consent", "ad_personalization")),
        (
            {"consent": {"ad_user_data": "denied", "ad_personalization": "granted"}},
            ("settings", "consent", "ad_user_data"),
        ),
        ({"accept_customer_match_terms": ...}, ("settings", "accept_customer_match_terms")),
        ({"accept_customer_match_terms": False}, ("settings", "accept_customer_match_terms")),
        ({"membership_days": 541}, ("settings", "membership_days")),
        ({"linked_account": {"id": 5}}, ("settings",)),
        ({"login_account": {"id": "x"}}, ("settings", "login_account", "id")),
        ({"quota_project": "Not a project!"}, ("settings", "quota_project")),
        ({"sign_in": "service_account"}, ("credentials", "client_id")),
    ],
)
def test_a_wrong_definition_is_told_where_it_is_wrong(settings: dict[str, Any], path: tuple[str, ...]) -> None:
    problems = check_destination(config(**settings))
    assert path in {problem.path for problem in problems}
    assert all(problem.remedy for problem in problems)


def answer(status: int, details: list[dict[str, Any]], **headers: str) -> Answer:
    return Answer(status, headers, {"error": {"code": status, "status": "RESOURCE_EXHAUSTED", "details": details}})


@pytest.mark.parametrize(
    ("details", "headers", "after_s"),
    [
        ([], {}, None),
        ([], {"Retry-After": "7"}, 7.0),
        ([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12.5s"}], {}, 12.5),
        ([{"@type": "x.ErrorInfo", "metadata": {"quota_limit": "IngestionReadRequestsPerMinutePerProject"}}], {}, 15.0),
        ([{"@type": "x.ErrorInfo", "metadata": {"quota_limit": "IngestionReadRequestsPerDayPerProject"}}], {}, 3_600.0),
        ([{"@type": "x.ErrorInfo", "metadata": 5}, "no object", {"@type": None}], {}, None),
    ],
)
def test_a_quota_tells_when_to_come_back(details: Any, headers: dict[str, str], after_s: float | None) -> None:
    assert reading(answer(429, details, **headers)) == Retry(after_s, maybe_applied=False)


@pytest.mark.parametrize(
    "body", [None, [], "text", {"error": "text"}, {"error": {"details": [5, {"@type": 7}]}}, {"error": []}]
)
def test_refusals_of_any_shape_are_read(body: Any) -> None:
    refusal = refusal_of(Answer(400, {}, body))
    assert (refusal.reason, refusal.violations) == ("HTTP 400", ())


def test_nothing_of_anybody_and_no_secret_is_in_errors_and_logs(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [sha("p1@example.com"), "top-secret-token", 'secret"']
    said = []
    for kind in ("server_error", "reset_after", "malformed", "forbidden", "reject_batch", "partial", "rate_limit"):
        world = World(url, "top-secret-token")
        world.fault(kind=kind, operation="ingest", retry_after_s=0)
        try:
            said += [verdict.reason for verdict in world.google.add(world.list_id, Batch([person(1)]))]
        except (AudienceSyncsError, BatchRefused) as error:
            said.append(str(error))
        world.inspect("DELETE", "faults")
    told = "\n".join([*said, caplog.text])
    assert [each for each in secrets if each in told] == []
