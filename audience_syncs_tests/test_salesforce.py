"""Salesforce over real HTTP, to the simulator: by calls of 200 records, and by jobs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.doubt import watch
from audience_syncs.destinations.salesforce.rows import is_gone, refused
from audience_syncs.model.config import Mode
from audience_syncs.model.errors import AccessRefused, AudienceSyncsError, DestinationError, ListMissing, NotApplied
from audience_syncs.model.values import Batch, Outgoing, Verdict, VerdictKind
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.salesforce_bench import KEYS, Org, codes, kinds, opened, people, person

WAYS = {"calls": 1_000_000, "jobs": 0}
HOSTILE = [
    "日本 — Ω",
    "it's \\ \"quoted\", 'twice'",
    "two\nlines\r\nof, commas",
    "=1+1",
    "%27 OR 1=1",
    "\U0001f600",
    "NULL",
]


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def url(simulators: SimulatorServer) -> str:
    requests.post(f"{simulators.url}/_simulator/reset", timeout=10).raise_for_status()
    return simulators.url


@pytest.fixture
def org(url: str) -> Org:
    return Org(url)


@pytest.fixture(params=WAYS)
def either(url: str, request: pytest.FixtureRequest) -> Org:
    """By calls, and by jobs."""
    return Org(url, bulk_above=WAYS[request.param])


def test_people_join_are_updated_are_read_and_leave(either: Org) -> None:
    batch = Batch([person(n, new=True) for n in range(250)])
    verdicts = either.account.add(either.campaign, batch)
    assert kinds(verdicts) == ["accepted"] * 250
    assert len(either.members()) == 250
    again = Batch([person(n, FirstName="Chloë") for n in range(250)])
    assert either.account.add(either.campaign, again) == verdicts
    held = {member["Email"]: member for member in either.members()}
    assert (held["p7@example.com"]["FirstName"], held["p7@example.com"]["id"]) == ("Chloë", verdicts[7].remote_id)
    assert (held["p7@example.com"]["LastName"], held["p7@example.com"]["status"]) == ("Unknown", "Sent")
    read = [member for page in either.account.members(either.campaign) for member in page]
    assert {member.remote_id for member in read} == {verdict.remote_id for verdict in verdicts}
    assert {member.fields["Email"] for member in read} == set(held)
    size = either.account.matched_users(either.campaign)
    assert (size.lower, size.upper, size.exact) == (250, 250, True)
    leaving = Batch([person(n) for n in range(249)])
    assert kinds(either.account.remove(either.campaign, leaving)) == ["accepted"] * 249
    assert either.emails() == ["p249@example.com"]
    assert either.held(str(verdicts[7].remote_id))["FirstName"] == "Chloë"


def test_calls_for_few_and_jobs_for_many(url: str) -> None:
    org = Org(url, bulk_above=300)
    org.account.add(org.campaign, Batch([person(n) for n in range(300)], total=300))
    assert not [each for each in org.operations() if each.startswith("jobs.")]
    org.account.add(org.campaign, Batch([person(n) for n in range(1_000, 1_300)], total=301))
    assert org.operations().count("jobs.create") == 2
    # The last batch of many may be a small one.
    org.account.add(org.campaign, Batch([person(n) for n in range(2_000, 2_100)], total=301))
    assert org.operations().count("jobs.create") == 2
    assert len(org.members()) == 700


def test_addresses_of_people_are_in_no_address_of_a_request(either: Org) -> None:
    either.account.add(either.campaign, people(1, 2))
    either.account.remove(either.campaign, people(1, 2))
    list(either.account.members(either.campaign))
    assert not [entry for entry in either.received() if "p1" in entry["path"] or "p1" in str(entry["query"])]


def test_values_of_every_kind_arrive_as_they_are(either: Org) -> None:
    batch = Batch([person(n, FirstName=text, Note__c=[text, "b"]) for n, text in enumerate(HOSTILE)])
    verdicts = either.account.add(either.campaign, batch)
    assert kinds(verdicts) == ["accepted"] * len(HOSTILE)
    for sent, verdict in zip(HOSTILE, verdicts, strict=True):
        held, text = either.held(verdict.remote_id), sent.replace("\r\n", "\n")
        assert (held["FirstName"], held["Note__c"]) == (text, f"{text};b")


def test_characters_that_no_text_has_are_left_out(either: Org) -> None:
    [verdict] = either.account.add(either.campaign, people(1, FirstName="Zo\x00ë\x1b\tB"))
    assert either.held(verdict.remote_id)["FirstName"] == "Zoë\tB"


def test_one_who_is_refused_does_not_stop_the_others(either: Org) -> None:
    members = [
        person(1),
        person(2, FirstName="x" * 300),
        person(3, Email="no address"),
        person(4, Email=""),
        Outgoing({}),
        person(5, Email="o'brien+x@example.com"),
    ]
    verdicts = either.account.add(either.campaign, Batch(members))
    assert codes(verdicts) == ["", "STRING_TOO_LONG", "INVALID_EMAIL_ADDRESS", "NO_IDENTIFIER", "NO_IDENTIFIER", ""]
    assert verdicts[1].reason == "string too long: FirstName"
    assert either.emails() == ["o'brien+x@example.com", "p1@example.com"]
    assert kinds(either.account.remove(either.campaign, Batch(members))) == ["accepted"] * 6
    assert either.emails() == []


def test_what_empties_a_field_in_a_job_is_never_sent_as_a_value(either: Org) -> None:
    [verdict] = either.account.add(either.campaign, people(1, Tier__c="gold"))
    either.account.add(either.campaign, people(1, Tier__c="#N/A"))
    assert either.held(verdict.remote_id)["Tier__c"] == "gold"


def test_a_new_contact_without_a_last_name_is_told_what_it_needs(url: str) -> None:
    org = Org(url, defaults={})
    [verdict] = org.account.add(org.campaign, people(1))
    assert (verdict.kind, verdict.reason_code) == (VerdictKind.REJECTED, "REQUIRED_FIELD_MISSING")
    assert "LastName" in verdict.reason
    assert "defaults" in verdict.reason


def test_members_who_share_an_address_are_one_contact(either: Org) -> None:
    verdicts = either.account.add(either.campaign, Batch([person(1), person(1, FirstName="Ann"), person(2)]))
    assert verdicts[0].remote_id == verdicts[1].remote_id != verdicts[2].remote_id
    assert len(either.members()) == 2


def test_threads_that_bring_the_same_people_make_them_once(org: Org) -> None:
    with ThreadPoolExecutor(4) as threads:
        told = list(threads.map(lambda _: org.account.add(org.campaign, people(1, 2, 3)), range(4)))
    assert len({tuple(verdict.remote_id for verdict in verdicts) for verdicts in told}) == 1
    assert len(org.query("SELECT Id FROM Contact")) == 3


def test_of_several_contacts_with_one_address_the_oldest_is_taken_and_all_are_taken_out(either: Org) -> None:
    older, younger = (either.make("Contact", Email="P1@example.com", LastName=name) for name in ("Old", "Young"))
    assert either.account.add(either.campaign, people(1))[0].remote_id == older
    either.make("CampaignMember", CampaignId=either.campaign, ContactId=younger)
    assert kinds(either.account.remove(either.campaign, people(1))) == ["accepted"]
    assert either.members() == []


def test_who_has_another_address_by_now_is_taken_out_by_the_known_record(either: Org) -> None:
    [verdict] = either.account.add(either.campaign, people(1))
    either.call("PATCH", f"/sobjects/Contact/{verdict.remote_id}", {"Email": "new@example.com"})
    leaving = Outgoing({"Email": ["p1@example.com", "p2@example.com"]}, verdict.remote_id)
    assert kinds(either.account.remove(either.campaign, Batch([leaving]))) == ["accepted"]
    assert either.members() == []


def test_who_was_deleted_or_never_there_is_accepted_and_strangers_stay(either: Org) -> None:
    verdicts = either.account.add(either.campaign, people(1, 2))
    stranger = either.make("Contact", Email="stranger@example.com", LastName="Stranger")
    either.make("CampaignMember", CampaignId=either.campaign, ContactId=stranger)
    either.call("DELETE", f"/sobjects/Contact/{verdicts[0].remote_id}")
    known = [replace(person(n), remote_id=verdict.remote_id) for n, verdict in enumerate(verdicts, 1)]
    assert kinds(either.account.remove(either.campaign, Batch([*known, person(3)]))) == ["accepted"] * 3
    assert either.emails() == ["stranger@example.com"]


def test_somebody_who_was_deleted_is_made_again(either: Org) -> None:
    [first] = either.account.add(either.campaign, people(1))
    either.call("DELETE", f"/sobjects/Contact/{first.remote_id}")
    [second] = either.account.add(either.campaign, Batch([replace(person(1), remote_id=first.remote_id)]))
    assert second.kind is VerdictKind.ACCEPTED
    assert second.remote_id != first.remote_id
    assert either.emails() == ["p1@example.com"]


# Records without a list, and what removal can do beside


def test_updates_make_nobody_inserts_change_nobody_and_neither_touches_a_campaign(either: Org) -> None:
    [made] = either.account.write(people(1), Mode.UPSERT)
    updated = either.account.write(Batch([person(1, FirstName="Ann"), person(2), Outgoing({})]), Mode.UPDATE)
    assert codes(updated) == ["", "NOT_FOUND", "NO_IDENTIFIER"]
    inserted = either.account.write(people(1, 2, FirstName="Bea"), Mode.INSERT)
    assert kinds(inserted) == ["accepted", "accepted"]
    assert inserted[0].remote_id == made.remote_id
    names = {each["Email"]: each["FirstName"] for each in either.query("SELECT Email, FirstName FROM Contact")}
    assert names == {"p1@example.com": "Ann", "p2@example.com": "Bea"}
    assert either.members() == []


def test_fields_are_emptied_of_who_left_and_what_a_record_needs_is_not(either: Org) -> None:
    [verdict] = either.account.add(either.campaign, people(1, LastName="Ng", Tier__c="gold", Size__c="M"))
    fields = ["Email", "LastName", "FirstName", "Tier__c"]
    assert kinds(either.account.clear_fields(either.campaign, people(1), fields)) == ["accepted"]
    held = either.held(verdict.remote_id)
    assert either.members() == []
    assert (held["LastName"], held["Size__c"], held.get("FirstName"), held.get("Tier__c")) == ("Ng", "M", None, None)


def test_records_are_deleted_only_where_that_is_asked_for(either: Org) -> None:
    verdicts = either.account.add(either.campaign, people(1, 2))
    assert kinds(either.account.delete_records(either.campaign, people(1, 3))) == ["accepted", "accepted"]
    assert [each["Id"] for each in either.query("SELECT Id FROM Contact")] == [verdicts[1].remote_id]


@pytest.mark.parametrize(
    ("ask", "code"),
    [
        (lambda account, campaign: account.clear_fields(campaign, people(1), ["FirstName"]), "NOT_CLEARED"),
        (lambda account, campaign: account.delete_records(campaign, people(1)), "NOT_DELETED"),
    ],
)
def test_what_was_refused_after_somebody_left_is_not_called_done(either: Org, ask: Any, code: str) -> None:
    either.account.add(either.campaign, people(1))
    # The first deletion or upload is the membership's, the second one the record's.
    either.fault("partial", operation=r"(PATCH|DELETE) .*composite/sobjects|PUT .*batches", skip=1)
    [verdict] = ask(either.account, either.campaign)
    assert (verdict.kind, verdict.reason_code) == (VerdictKind.REJECTED, code)
    assert "out of the campaign" in verdict.reason
    assert either.members() == []


def test_what_stops_the_run_after_somebody_left_leaves_a_doubt(either: Org) -> None:
    either.account.add(either.campaign, people(1))
    either.fault("forbidden", operation=r"(PATCH|DELETE) .*composite/sobjects|PUT .*batches", skip=1)
    for call in (
        lambda: either.account.clear_fields(either.campaign, people(1), ["FirstName"]),
        lambda: either.account.delete_records(either.campaign, people(1)),
    ):
        with watch() as doubt, pytest.raises(AccessRefused):
            call()
        assert doubt.arose
    assert either.members() == []


# Leads, and an id of one's own


def test_leads_are_kept_and_one_that_becomes_a_contact_stays_a_member(url: str) -> None:
    org = Org(url, object="Lead", defaults={"LastName": "Unknown", "Company": "Unknown"})
    verdicts = org.account.add(org.campaign, people(1, 2))
    assert all(verdict.remote_id.startswith("00Q") for verdict in verdicts)
    inputs = {"inputs": [{"leadId": verdicts[0].remote_id, "convertedStatus": "Qualified"}]}
    [done] = org.call("POST", "/actions/standard/convertLead", inputs)
    contact = done["outputValues"]["contactId"]
    again = org.account.add(org.campaign, people(1, 2, FirstName="Ann"))
    assert [verdict.remote_id for verdict in again] == [contact, verdicts[1].remote_id]
    assert len(org.members()) == 2
    assert org.held(contact)["FirstName"] == "Zoë"
    assert "OwnerId" not in org.held(str(verdicts[1].remote_id)), "the org's rules gave the lead to another owner"
    read = [member for page in org.account.members(org.campaign) for member in page]
    assert {member.fields["Email"] for member in read} == {"p1@example.com", "p2@example.com"}
    assert codes(org.account.write(people(1, FirstName="Bea"), Mode.UPDATE)) == ["CONVERTED"]
    deleted = org.account.delete_records(org.campaign, people(1, 2))
    assert codes(deleted) == ["NOT_DELETED", ""]
    assert org.members() == []
    assert org.held(contact)["Email"] == "p1@example.com"


def test_somebody_converted_who_was_never_a_member_joins_as_the_contact(url: str) -> None:
    org = Org(url, object="Lead", defaults={"LastName": "Unknown", "Company": "Unknown"})
    lead = org.make("Lead", Email="p1@example.com", LastName="Ng", Company="Ng")
    [done] = org.call("POST", "/actions/standard/convertLead", {"inputs": [{"leadId": lead}]})
    [verdict] = org.account.add(org.campaign, people(1))
    assert verdict.remote_id == done["outputValues"]["contactId"]
    assert kinds(org.account.remove(org.campaign, people(1))) == ["accepted"]
    assert org.members() == []


@pytest.mark.parametrize("way", WAYS)
def test_an_external_id_finds_people_whose_address_changes(url: str, way: str) -> None:
    org = Org(url, external_id_field="Shop_Id__c", bulk_above=WAYS[way])

    def customer(number: int, email: str) -> Outgoing:
        return Outgoing({"Shop_Id__c": f"C'{number}", "Email": email})

    [first] = org.account.add(org.campaign, Batch([customer(1, "old@example.com")]))
    [second] = org.account.add(org.campaign, Batch([customer(1, "new@example.com")]))
    assert first.remote_id == second.remote_id
    assert org.emails() == ["new@example.com"]
    read = [member for page in org.account.members(org.campaign) for member in page]
    assert [member.fields for member in read] == [{"Shop_Id__c": "C'1"}]
    assert kinds(org.account.remove(org.campaign, Batch([Outgoing({"Shop_Id__c": "C'1"})]))) == ["accepted"]
    assert org.members() == []


# What goes wrong


@pytest.mark.parametrize("kind", ["server_error_after", "reset_after", "malformed"])
@pytest.mark.parametrize(
    "operation", ["Contact.insert", "CampaignMember.insert", "jobs.create", "jobs.upload", "jobs.change"]
)
def test_a_lost_answer_makes_nobody_twice_and_is_never_a_rejection(url: str, kind: str, operation: str) -> None:
    org = Org(url, bulk_above=0 if operation.startswith("jobs") else 1_000)
    org.fault(kind, operation=operation, count=2)
    verdicts = org.account.add(org.campaign, people(1, 2))
    assert "rejected" not in kinds(verdicts)
    org.heal()
    assert kinds(org.account.add(org.campaign, people(1, 2))) == ["accepted", "accepted"]
    assert org.emails() == ["p1@example.com", "p2@example.com"]
    assert len(org.query("SELECT Id FROM Contact")) == 2


def test_a_field_that_does_not_exist_stops_the_run_with_its_name(either: Org) -> None:
    with pytest.raises(DestinationError, match="ShoeSize") as stopped:
        either.account.add(either.campaign, people(1, ShoeSize="44"))
    assert stopped.value.code == "NO_SUCH_FIELD"


def test_a_field_that_our_user_may_not_write_stops_the_run_instead_of_rejecting_everybody(org: Org) -> None:
    told = Verdict(VerdictKind.REJECTED, "INVALID_FIELD_FOR_INSERT_UPDATE", "invalid field for insert update: Tier__c")
    org.account._writes._collections.send = lambda change, rows, jobs: dict.fromkeys(map(change.key_of, rows), told)
    with pytest.raises(DestinationError, match="`Tier__c`") as stopped:
        org.account.add(org.campaign, people(1, 2, Tier__c="gold"))
    assert "field-level security" in stopped.value.remedy


def test_a_record_that_is_gone_is_told_from_one_that_is_referred_to() -> None:
    assert is_gone(refused("ENTITY_IS_DELETED"))
    assert is_gone(refused("INVALID_CROSS_REFERENCE_KEY", ["Id"]))
    assert not is_gone(refused("INVALID_CROSS_REFERENCE_KEY", ["AccountId"]))
    assert not is_gone(refused("DUPLICATE_VALUE"))


def test_where_everything_is_refused_nobody_is_called_rejected_for_it(either: Org) -> None:
    either.fault("reject_batch")
    verdicts = either.account.add(either.campaign, Batch([person(n) for n in range(200)]))
    assert kinds(verdicts).count("rejected") < 30
    assert len(either.operations()) < 200


@pytest.mark.parametrize(
    "kind", ["reject_batch", "server_error", "reset_after", "malformed", "rate_limit", "forbidden"]
)
def test_no_error_and_no_log_tells_who_was_sent_or_any_secret(
    either: Org, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    either.fault(kind)
    told = []
    for call in (either.account.add, either.account.remove):
        try:
            told += [verdict.reason for verdict in call(either.campaign, people(1, 2))]
        except AudienceSyncsError as error:
            told.append(str(error))
    text = " ".join([*told, caplog.text])
    assert "example.com" not in text
    assert "at." not in caplog.text


def test_calls_stop_before_the_org_has_none_left(url: str) -> None:
    found = opened(url).ensure_list(ListRequest("VIPs"))
    spent = opened(url, "spent")
    assert codes(spent.add(found.id, people(1))) == ["NOT_APPLIED"]
    with pytest.raises(NotApplied, match="API calls of 24 hours are spent") as stopped:
        spent.add(found.id, people(1))
    assert "daily_calls_percent" in stopped.value.remedy
    assert spent.matched_users(found.id).lower == 0
    generous = opened(url, "spent", daily_calls_percent=100)
    assert kinds(generous.add(found.id, people(1))) == ["accepted"]


def test_a_user_without_permission_is_told_what_it_needs(org: Org) -> None:
    with pytest.raises(AccessRefused, match="Marketing User"):
        opened(org.url, "noscope").ensure_list(ListRequest("x"))


# Campaigns


@pytest.mark.parametrize(
    "name", ["Köln / Düsseldorf", "100% & more?", 'it\'s \\ "quoted" (in) {brackets}', "日本", " padded "]
)
def test_campaigns_of_any_name_are_found_again(url: str, name: str) -> None:
    wanted = ListRequest(f"{name}{next(KEYS)}")
    made, again = (opened(url).ensure_list(wanted) for _ in range(2))
    assert (made.created, again.created, again.id) == (True, False, made.id)
    assert made.url is not None
    assert made.url.endswith(f"/lightning/r/Campaign/{made.id}/view")


@pytest.mark.parametrize("name", ["", " ", "x" * 81])
def test_a_name_that_no_campaign_can_have_is_refused_before_it_is_sent(org: Org, name: str) -> None:
    with pytest.raises(DestinationError, match="1 to 80 characters"):
        org.account.ensure_list(ListRequest(name))


@pytest.mark.parametrize("kind", ["reset_after", "server_error_after", "malformed"])
def test_a_campaign_whose_making_was_not_answered_is_not_made_twice(org: Org, kind: str) -> None:
    org.fault(kind, operation="Campaign.insert", count=1)
    found = org.account.ensure_list(ListRequest("Once"))
    assert [each["Id"] for each in org.query("SELECT Id FROM Campaign WHERE Name = 'Once'")] == [found.id]


def test_syncs_that_make_the_same_campaign_at_once_get_the_same_one(url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        accounts = [opened(url) for _ in range(4)]
        found = list(threads.map(lambda account: account.ensure_list(ListRequest("Together")), accounts))
    assert len({remote.id for remote in found}) == 1


def test_a_status_that_is_asked_for_is_made_where_the_campaign_has_none(url: str) -> None:
    org = Org(url, member_status="Targeted")
    org.account.ensure_list(ListRequest("x", org.campaign))
    assert org.operations().count("CampaignMemberStatus.insert") == 1
    org.account.add(org.campaign, people(1))
    assert [member["status"] for member in org.members()] == ["Targeted"]


def test_a_campaign_that_is_gone_stops_the_run(org: Org) -> None:
    org.account.add(org.campaign, people(1))
    requests.post(f"{org.url}/_simulator/salesforce/lists/{org.campaign}/delete", timeout=10).raise_for_status()
    calls: list[Callable[[], Any]] = [
        lambda: org.account.add(org.campaign, people(1)),
        lambda: org.account.remove(org.campaign, people(1)),
        lambda: org.account.matched_users(org.campaign),
        lambda: list(org.account.members(org.campaign)),
        lambda: org.account.ensure_list(ListRequest("x", org.campaign)),
        lambda: org.account.ensure_list(ListRequest("x", "00Q000000000001' OR Name != '")),
    ]
    for call in calls:
        with pytest.raises(ListMissing, match="What to do"):
            call()


def test_more_members_than_fit_on_a_page_are_all_read(url: str) -> None:
    org = Org(url, bulk_above=0)
    org.account.add(org.campaign, Batch([person(n, new=True) for n in range(2_100)]))
    pages = list(org.account.members(org.campaign))
    assert [len(page) for page in pages] == [2_000, 100]
    assert len({member.remote_id for page in pages for member in page}) == 2_100
