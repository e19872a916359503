"""Salesforce: jobs that an earlier run left, results that cannot be read; signing in; settings and mappings."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.registry import check_destination, check_sync
from audience_syncs.destinations.salesforce import bulk
from audience_syncs.model.config import DestinationConfig, Mode, SyncConfig
from audience_syncs.model.errors import AccessRefused, DefinitionError, NotApplied
from audience_syncs.model.values import Batch, VerdictKind
from audience_syncs.simulators.server import SimulatorServer
from audience_syncs_tests.conversation import Script, played
from audience_syncs_tests.salesforce_bench import DATA, Notes, Org, codes, kinds, opened, people, person


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
    return Org(url, bulk_above=0)


# Jobs


def test_every_job_is_noted_before_it_can_change_anything_and_struck_off_when_it_is_over(org: Org) -> None:
    notes = Notes()
    org.account.add(org.campaign, replace(people(1, 2), jobs=notes))
    assert (len(notes.all), notes.left) == (2, [])


def test_an_addition_that_an_earlier_run_left_cannot_bring_back_who_is_taken_out(org: Org) -> None:
    org.account.add(org.campaign, people(1, 2))
    org.account.remove(org.campaign, people(1, 2))
    notes = Notes()
    slow = opened(org.url, "slow", bulk_above=0, job_wait_s=0.1)
    assert kinds(slow.add(org.campaign, replace(people(1, 2), jobs=notes))) == ["unknown", "unknown"]
    assert len(notes.left) == 1
    with pytest.raises(NotApplied, match="still under way"):
        opened(org.url, job_wait_s=0.1).resume(org.campaign, notes.left)
    patient = opened(org.url, job_wait_s=30)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(patient.resume, org.campaign, notes.left)
        assert not waiting.done()
        org.pass_time(61)
        waiting.result(timeout=20)
    patient.remove(org.campaign, people(1))
    org.pass_time(3_600)
    assert "p1@example.com" not in org.emails()


def test_a_job_that_was_never_closed_is_aborted_and_one_that_is_gone_is_over(org: Org) -> None:
    body = {"object": "Contact", "operation": "insert", "contentType": "CSV"}
    job = org.call("POST", "/jobs/ingest", body)["id"]
    org.account.resume(org.campaign, [job, "7500000000000000AA"])
    assert org.call("GET", f"/jobs/ingest/{job}")["state"] == "Aborted"


def test_a_job_that_cannot_be_followed_leaves_its_members_unknown_and_noted(org: Org) -> None:
    org.fault("server_error", operation="jobs.get")
    notes = Notes()
    verdicts = org.account.add(org.campaign, replace(people(1), jobs=notes))
    assert kinds(verdicts) == ["unknown"]
    assert len(notes.left) == 1
    org.heal()
    org.account.resume(org.campaign, notes.left)
    assert kinds(org.account.add(org.campaign, people(1))) == ["accepted"]
    assert len(org.query("SELECT Id FROM Contact")) == 1


def test_results_that_are_cut_off_are_read_again_and_else_leave_members_unknown(org: Org) -> None:
    org.fault("malformed", operation="jobs.results", count=1)
    assert kinds(org.account.add(org.campaign, people(1, 2))) == ["accepted", "accepted"]
    org.fault("malformed", operation="jobs.results")
    assert kinds(org.account.add(org.campaign, people(3, 4))) == ["unknown", "unknown"]


def test_an_upload_that_is_refused_for_one_row_is_divided(org: Org) -> None:
    org.fault("reject_batch", operation="jobs.upload", contains='"p3@example.com"')
    verdicts = org.account.add(org.campaign, Batch([person(n) for n in range(8)]))
    assert [number for number, kind in enumerate(kinds(verdicts)) if kind == "rejected"] == [3]
    assert len(org.members()) == 7


def test_a_batch_that_is_too_large_for_one_upload_is_several(org: Org, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "MOST_BYTES", 400)
    assert set(kinds(org.account.add(org.campaign, Batch([person(n) for n in range(30)])))) == {"accepted"}
    assert org.operations().count("jobs.upload") > 4
    assert len(org.members()) == 30


FOLLOWED = f"GET {DATA}/jobs/ingest/750A"
TOKEN = {"asked": "POST /services/oauth2/token", "answer": {"body": {"access_token": "00Dsession"}}}
NOBODY = {"compositeResponse": [{"referenceId": "q0", "httpStatusCode": 200, "body": {"done": True, "records": []}}]}


def told(state: str, results: Mapping[str, str], **job: Any) -> tuple[list[str], list[str]]:
    """Kinds and codes of three new contacts, whose job ends like this."""
    text = {"headers": {"Content-Type": "text/csv; charset=UTF-8"}}
    talk: list[dict[str, Any]] = [
        TOKEN,
        {"asked": f"POST {DATA}/composite", "answer": {"body": NOBODY}},
        {
            "asked": f"POST {DATA}/jobs/ingest",
            "body": {
                "object": "Contact",
                "operation": "insert",
                "contentType": "CSV",
                "lineEnding": "LF",
                "columnDelimiter": "COMMA",
            },
            "answer": {"body": {"id": "750A", "state": "Open"}},
        },
        {
            "asked": f"PUT {DATA}/jobs/ingest/750A/batches",
            "headers": {"Content-Type": "text/csv; charset=UTF-8"},
            "body": '"LastName","FirstName","Email"\n'
            + "".join(f'"Unknown","Zoë","p{number}@example.com"\n' for number in (1, 2, 3)),
            "answer": {"status": 201},
        },
        {"asked": f"PATCH {DATA}/jobs/ingest/750A", "body": {"state": "UploadComplete"}, "answer": {"body": {}}},
        {"asked": FOLLOWED, "answer": {"body": {"id": "750A", "state": "InProgress"}}},
        {"asked": FOLLOWED, "answer": {"body": {"id": "750A", "state": state, **job}}},
        *({"asked": f"{FOLLOWED}/{name}", "answer": {"body": body, **text}} for name, body in results.items()),
    ]
    script = Script(talk)
    with played(script) as url:
        account = opened(url, base_url=url, bulk_above=0)
        verdicts = account.write(people(1, 2, 3), Mode.UPSERT)
    assert (script.wrong, script.is_over) == ([], True)
    return kinds(verdicts), codes(verdicts)


def test_results_come_in_any_order_and_a_row_that_is_in_none_is_unknown() -> None:
    results = {
        "successfulResults": '"sf__Id","sf__Created","LastName","FirstName","Email"\n'
        '"003A00000000001AAA","true","Unknown","Zoë","p3@example.com"\n',
        "failedResults": '"sf__Id","sf__Error","LastName","FirstName","Email"\n'
        '"","DUPLICATES_DETECTED:Use one, of ""these"":--","Unknown","Zoë","p1@example.com"\n',
    }
    found = told("JobComplete", results, numberRecordsProcessed=2, numberRecordsFailed=1)
    assert found == (["rejected", "unknown", "accepted"], ["DUPLICATES_DETECTED", "NOT_MENTIONED", ""])


def test_rows_that_an_aborted_job_never_came_to_are_sent_again() -> None:
    results = {
        "successfulResults": "sf__Id,sf__Created,LastName,FirstName,Email\n003A00000000001AAA,true,Unknown,Zoë,p1@example.com\n",
        "unprocessedrecords": "LastName,FirstName,Email\nUnknown,Zoë,p2@example.com\nUnknown,Zoë,p3@example.com\n",
    }
    found = told("Aborted", results, numberRecordsProcessed=1, numberRecordsFailed=0)
    assert found == (["accepted", "retryable", "retryable"], ["", "NOT_PROCESSED", "NOT_PROCESSED"])


# Signing in


def key_pair() -> tuple[str, Any]:
    key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode(), key.public_key()


@pytest.mark.parametrize(
    ("domain", "audience"),
    [
        ("acme.my.salesforce.com", "https://login.salesforce.com"),
        ("https://acme--test.sandbox.my.salesforce.com/", "https://test.salesforce.com"),
    ],
)
def test_a_private_key_signs_in_as_a_user(url: str, domain: str, audience: str) -> None:
    pem, public = key_pair()
    secrets = {"private_key": pem.replace("\n", "\\n")}
    account = opened(url, "consumer", secrets, username="sync@acme.example", my_domain=domain)
    assert account.ensure_list(ListRequest("VIPs")).created
    form = account._sign_in._tokens._form()
    signed, _, signature = form["assertion"].rpartition(".")
    decoded = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (*signed.split("."), signature)]
    public.verify(decoded[2], signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    assert json.loads(decoded[0]) == {"alg": "RS256"}
    claims = json.loads(decoded[1])
    assert (claims["iss"], claims["sub"], claims["aud"]) == ("consumer", "sync@acme.example", audience)


def test_a_refresh_token_signs_in_and_a_revoked_one_does_not(url: str) -> None:
    assert opened(url, secrets={"refresh_token": "good"}).ensure_list(ListRequest("VIPs")).created
    with pytest.raises(AccessRefused, match="invalid_grant") as refused:
        opened(url, secrets={"refresh_token": "revoked"}).ensure_list(ListRequest("VIPs"))
    assert "connected app" in refused.value.remedy


@pytest.mark.parametrize(
    ("secrets", "settings", "error", "words"),
    [
        ({"x": "y"}, {}, DefinitionError, "alone does not sign in"),
        ({"private_key": "-----BEGIN"}, {"username": "a"}, AccessRefused, "not an RSA key"),
        ({"private_key": "-----BEGIN"}, {}, DefinitionError, "none is named"),
    ],
)
def test_secrets_that_cannot_sign_in_are_refused_before_anything_is_sent(
    secrets: dict[str, str], settings: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        opened("http://127.0.0.1:1", secrets=secrets, **settings)


def test_calls_go_to_the_instance_that_the_token_is_for() -> None:
    count = [f"GET {DATA}/query?q=SELECT COUNT() FROM CampaignMember WHERE CampaignId = '701A00000000001AAA'"]
    instance = Script([{"asked": count[0], "answer": {"body": {"totalSize": 3}}}])
    with played(instance) as there:
        body = {"access_token": "00Dsession", "instance_url": there}
        login = Script([{"asked": "POST /services/oauth2/token", "answer": {"body": body}}])
        with played(login) as here:
            account = opened(here, base_url=None, my_domain=here)
            assert account.matched_users("701A00000000001AAA").lower == 3
            assert account.records().url == f"{there}/lightning/o/Contact/list"
    assert (instance.wrong, login.wrong) == ([], [])


def test_a_token_that_expires_is_renewed(org: Org) -> None:
    org.pass_time(7_200)
    assert kinds(org.account.add(org.campaign, people(1))) == ["accepted"]
    assert org.operations().count("oauth.token") == 2


# Settings and mappings


def problems(mapping: Sequence[str], **settings: Any) -> list[str]:
    account = DestinationConfig.model_validate(
        {
            "name": "crm",
            "platform": "salesforce",
            "settings": {"my_domain": "acme.my.salesforce.com", **settings},
            "credentials": {"client_id": {"env": "A"}, "client_secret": {"env": "B"}},
        }
    )
    sync = SyncConfig.model_validate({"destination": "crm", "mapping": dict.fromkeys(mapping, "column")})
    return [problem.message for problem in [*check_destination(account), *check_sync(account, sync)]]


@pytest.mark.parametrize(
    ("mapping", "settings", "words"),
    [
        (["Email", "Tier__c", "LastName"], {}, ""),
        (["Shop_Id__c"], {"external_id_field": "Shop_Id__c"}, ""),
        (["Email", "Company"], {"object": "Lead"}, ""),
        (["FirstName"], {}, "needs the field `Email`"),
        (["Email"], {"external_id_field": "Shop_Id__c"}, "needs the field `Shop_Id__c`"),
        (["Email", "first name"], {}, "not the API name"),
        (["Email", "Account.Name"], {}, "not the API name"),
        (["Email", "firstname"], {}, "`firstname` is `FirstName`"),
        (["Email", "Id"], {}, "nobody write `Id`"),
        (["Email"], {"object": "Account"}, "must be 'Contact' or 'Lead'"),
        (["Email"], {"external_id_field": "ShopId"}, "external_id_field"),
        (["Email"], {"my_domain": "https://acme.my.salesforce.com/lightning"}, "not the address of an org"),
        (["Email"], {"api_version": "v62"}, "api_version"),
        (["Email"], {"defaults": {"Last Name": "x"}}, "API name"),
    ],
)
def test_what_is_wrong_with_settings_and_mappings_is_told(
    mapping: list[str], settings: dict[str, Any], words: str
) -> None:
    found = problems(mapping, **settings)
    assert (found == []) if not words else any(words in message for message in found), found


def test_an_accepted_member_carries_the_id_of_their_record(org: Org) -> None:
    [verdict] = org.account.add(org.campaign, people(1))
    assert (verdict.kind, str(verdict.remote_id)[:3]) == (VerdictKind.ACCEPTED, "003")
