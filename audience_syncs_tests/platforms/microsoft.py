"""Microsoft Advertising, as the tests reach it."""

from typing import Any

from audience_syncs_tests.platforms.harness import Harness, Opening, Unpaced, sha


def hurry(opened: Any) -> None:
    opened._read.throttled_s = 0.001
    opened._tokens._http._first_backoff_s = 0.001
    opened._tokens._http.pace = Unpaced()


HARNESS = Harness(
    platform="microsoft",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "account_id": account, "customer_id": "77"},
        {"developer_token": "DEV123", "client_id": "app", "refresh_token": token},
    ),
    mappings=[
        {"email": "emails"},
        {"email": "emails", "crm_id": "id"},
    ],
    on_wire=sha,
    several=True,
    external_id="crm_id",
    hurry=hurry,
)
