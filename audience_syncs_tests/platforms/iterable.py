"""Iterable, as the tests reach it: a hybrid project, whose users are known by their email address."""

from audience_syncs_tests.platforms.harness import Harness, Opening

HARNESS = Harness(
    platform="iterable",
    opening=lambda address, token, account: Opening({"base_url": address, "settle_s": 0}, {"api_key": token}),
    mappings=[
        {"email": "email"},
        {"email": "email", "firstName": "first_name"},
        {"email": "email", "phoneNumber": "phone"},
    ],
    changing=("members.", "users.update", "users.delete"),
)
