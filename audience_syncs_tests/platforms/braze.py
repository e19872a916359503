"""Braze, as the tests reach it: users known by their email address, which several profiles may share."""

from audience_syncs_tests.platforms.harness import Harness, Opening

HARNESS = Harness(
    platform="braze",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "identify_by": "email", "settle_s": 0}, {"api_key": token}
    ),
    mappings=[
        {"email": "email"},
        {"email": "email", "first_name": "first_name"},
        {"email": "email", "phone": "phone"},
    ],
    changing=("users.track", "users.delete"),
    can_say={"identify_by": "external_id"},
)
