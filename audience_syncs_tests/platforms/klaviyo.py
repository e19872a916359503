"""Klaviyo, as the tests reach it."""

from typing import Any

from audience_syncs_tests.platforms.harness import Harness, Opening


def hurry(opened: Any) -> None:
    opened._imports.first_pause_s = 0.001


HARNESS = Harness(
    platform="klaviyo",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "import_wait_s": 5}, {"api_key": f"pk_{token}"}
    ),
    mappings=[
        {"email": "email"},
        {"email": "email", "first_name": "first_name"},
        {"email": "email", "phone in the shop": "phone"},
    ],
    changing=("imports.create", "members."),
    hurry=hurry,
)
