"""TikTok, as the tests reach it."""

from audience_syncs_tests.platforms.harness import Harness, Opening, sha

HARNESS = Harness(
    platform="tiktok",
    opening=lambda address, token, account: Opening(
        {"base_url": address, "advertiser_id": account}, {"access_token": token}
    ),
    mappings=[{"email": "emails", "phone": "phone"}, {"email": "emails"}],
    on_wire=sha,
    several=True,
    phone="phone",
    phone_on_wire=sha,
    changing=("mappings.",),
)
