"""Files, as the tests reach them: the address is a folder."""

from audience_syncs_tests.platforms.harness import Harness, Opening

HARNESS = Harness(
    platform="files",
    opening=lambda address, token, account: Opening({"key": "email", "url": address, "keep": 1_000}, {}),
    mappings=[
        {"email": "email"},
        {"email": "email", "first_name": "first_name"},
        {"email": "email", "phone": "phone"},
    ],
    email_rule="generic.email",
    simulator="-",
)
