"""Customer.io, as the tests reach it. People are known by an id: here it is the address of the histories."""

from typing import Any

from audience_syncs_tests.platforms.harness import Harness, Opening, Unpaced


def hurry(opened: Any) -> None:
    opened._people.first_pause_s = 0.01
    opened._app.pace = Unpaced()
    opened._app._first_backoff_s = 0.001
    # One process makes the requests to both APIs, and dies with either.
    opened._app._once = lambda *arguments: opened._http._once(*arguments)


HARNESS = Harness(
    platform="customerio",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "arrival_wait_s": 2}, {"site_id": "site", "api_key": token, "app_key": token}
    ),
    mappings=[
        {"id": "email"},
        {"id": "email", "first_name": "first_name"},
        {"id": "email", "phone": "phone"},
    ],
    email="id",
    email_rule="customerio.external_id",
    changing=("people.batch", "segments.add", "segments.remove"),
    hurry=hurry,
)
