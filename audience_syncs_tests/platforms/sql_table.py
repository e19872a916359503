"""A SQL table, as the tests reach it: the address is the database's."""

from audience_syncs_tests.platforms.harness import Harness, Opening

HARNESS = Harness(
    platform="sql_table",
    opening=lambda address, token, account: Opening({"key": "email"}, {"url": address}),
    mappings=[
        {"email": "email"},
        {"email": "email", "first_name": "first_name"},
        {"email": "email", "phone": "phone"},
    ],
    email_rule="generic.email",
    simulator="-",
    can_say={"records_table": "people"},
)
