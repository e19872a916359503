"""Pinterest, as the tests reach it."""

from typing import Any

from audience_syncs_tests.platforms.harness import Harness, Opening, Unpaced, sha


def hurry(opened: Any) -> None:
    opened._lists.first_pause_s = 0.001
    opened._tokens._http._first_backoff_s = 0.001
    opened._tokens._http.pace = Unpaced()


HARNESS = Harness(
    platform="pinterest",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "ad_account_id": account},
        {"client_id": "app", "client_secret": "secret", "refresh_token": token},
    ),
    mappings=[{"email": "emails"}],
    listed_as="record",
    on_wire=sha,
    several=True,
    changing=("lists.update",),
    hurry=hurry,
)
