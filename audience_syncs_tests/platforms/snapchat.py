"""Snapchat, as the tests reach it."""

from typing import Any

from audience_syncs_tests.platforms.harness import Harness, Opening, Unpaced, sha


def hurry(opened: Any) -> None:
    opened._segments.first_pause_s = 0.001
    opened._tokens._http._first_backoff_s = 0.001
    opened._tokens._http.pace = Unpaced()


HARNESS = Harness(
    platform="snapchat",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "ad_account_id": account},
        {"client_id": "client", "client_secret": "secret", "refresh_token": token},
    ),
    mappings=[
        {"email": "emails", "phone": "phone"},
        {"email": "emails"},
    ],
    on_wire=sha,
    several=True,
    phone="phone",
    phone_on_wire=lambda phone: sha(phone[1:]),
    changing=("users.",),
    hurry=hurry,
)
