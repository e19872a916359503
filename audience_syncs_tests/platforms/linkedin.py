"""LinkedIn, as the tests reach it."""

from typing import Any

from audience_syncs_tests.platforms.harness import Harness, Opening, Unpaced, sha


def hurry(opened: Any) -> None:
    opened._segments.settles_s = 0.001
    opened._read.throttled_s = 0.001
    opened._sign_in.settles_s = 0.001
    opened._sign_in._http._first_backoff_s = 0.001
    opened._sign_in._http.pace = Unpaced()


HARNESS = Harness(
    platform="linkedin",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "ad_account_id": account, "source_platform": "HOUSE", "segment_wait_s": 2},
        {"client_id": "app", "client_secret": "of-the-app", "refresh_token": token},
    ),
    mappings=[{"email": "emails"}, {"email": "emails", "first_name": "first_name"}],
    on_wire=sha,
    several=True,
    changing=("users.",),
    hurry=hurry,
)
