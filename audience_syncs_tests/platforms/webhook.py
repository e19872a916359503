"""The webhook, as the tests reach it."""

from audience_syncs.simulators.webhook import secret_of
from audience_syncs_tests.platforms.harness import Harness, Opening

HARNESS = Harness(
    platform="webhook",
    opening=lambda address, token, account: Opening(
        {"key": "email"}, {"url": f"{address}/{account}", "secret": secret_of(account)}
    ),
    mappings=[
        {"email": "email"},
        {"email": "email", "first_name": "first_name"},
        {"email": "email", "phone": "phone"},
    ],
    email_rule="generic.email",
)
