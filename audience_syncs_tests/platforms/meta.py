"""Meta, as the tests reach it."""

from audience_syncs_tests.platforms.harness import Harness, Opening, sha

HARNESS = Harness(
    platform="meta",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "ad_account_id": account}, {"access_token": token}
    ),
    mappings=[
        {"EMAIL": "emails", "PHONE": "phone"},
        {"EMAIL": "emails"},
        {"EMAIL": "emails", "PHONE": "phone", "FN": "first_name"},
        {"EMAIL": "emails", "EXTERN_ID": "id"},
    ],
    email="EMAIL",
    on_wire=sha,
    several=True,
    phone="PHONE",
    phone_on_wire=lambda phone: sha(phone[1:]),
    external_id="EXTERN_ID",
    changing=("users.",),
    histories=40,
    kills=25,
)
