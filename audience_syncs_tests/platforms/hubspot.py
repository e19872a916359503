"""HubSpot, as the tests reach it."""

from audience_syncs_tests.platforms.harness import Harness, Opening

HARNESS = Harness(
    platform="hubspot",
    opening=lambda address, token, account: Opening({"base_url": address}, {"access_token": token}),
    mappings=[
        {"email": "email"},
        {"email": "email", "firstname": "first_name"},
        {"email": "email", "phone": "phone"},
    ],
    changing=("contacts.upsert", "memberships."),
    histories=40,
)
