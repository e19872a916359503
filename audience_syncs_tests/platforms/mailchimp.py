"""Mailchimp, as the tests reach it."""

from audience_syncs_tests.platforms.harness import Harness, Opening

HARNESS = Harness(
    platform="mailchimp",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "audience_id": account}, {"api_key": f"{token}-us21"}
    ),
    mappings=[
        {"email": "email"},
        {"email": "email", "FNAME": "first_name"},
        {"email": "email", "PHONE": "phone"},
    ],
    listed_as="email_address",
    changing=(
        "contacts.subscribe",
        "contacts.put",
        "contacts.update",
        "contacts.archive",
        "tags.change",
        "segments.change",
    ),
)
