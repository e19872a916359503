"""Google, as the tests reach it."""

from typing import Any

from audience_syncs_tests.platforms.harness import Harness, Opening, sha


def hurry(opened: Any) -> None:
    opened._uploads.first_pause_s = 0.01
    opened._uploads.longest_pause_s = 0.2
    opened._vague_pause_s = 0.001


HARNESS = Harness(
    platform="google",
    opening=lambda address, token, account: Opening(
        {
            "base_url": address,
            "token_url": f"{address}/token",
            "customer_id": account,
            "consent": {"ad_user_data": "granted", "ad_personalization": "granted"},
            "accept_customer_match_terms": True,
            "job_wait_s": 5,
            "unanswered_wait_s": 0.1,
        },
        {"client_id": f"{account}-c.apps.example.com", "client_secret": "secret", "refresh_token": token},
    ),
    mappings=[
        {"email": "emails", "phone": "phone"},
        {"email": "emails"},
    ],
    email="email",
    on_wire=sha,
    several=True,
    phone="phone",
    phone_on_wire=sha,
    changing=("ingest", "remove"),
    hurry=hurry,
)
