"""Salesforce, as the tests reach it: every other account by jobs (Bulk API 2.0), however few members there are."""

from typing import Any

from audience_syncs_tests.platforms.harness import Harness, Opening, Unpaced


def opening(address: str, token: str, account: str) -> Opening:
    settings: dict[str, Any] = {
        "my_domain": "https://acme.my.salesforce.com",
        "base_url": address,
        "defaults": {"LastName": "Unknown"},
        "job_wait_s": 5,
    }
    if int(account) // 2 % 2:
        settings["bulk_above"] = 0
    return Opening(settings, {"client_id": token, "client_secret": "secret"})


def hurry(opened: Any) -> None:
    opened._jobs.first_pause_s = opened._jobs.longest_pause_s = 0.003
    opened._writes.first_pause_s = 0.001
    tokens = opened._sign_in._tokens._http
    tokens._first_backoff_s, tokens.pace = 0.001, Unpaced()


HARNESS = Harness(
    platform="salesforce",
    opening=opening,
    mappings=[
        {"Email": "email"},
        {"Email": "email", "FirstName": "first_name"},
        {"Email": "email", "MobilePhone": "phone"},
    ],
    email="Email",
    email_rule="salesforce.email",
    changing=("Contact.", "CampaignMember.", "jobs."),
    hurry=hurry,
)
