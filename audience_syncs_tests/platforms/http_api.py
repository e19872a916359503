"""The HTTP API, as the tests reach it: the simulated JSON API, described, with members by email."""

from typing import Any

from audience_syncs_tests.platforms.harness import Harness, Opening

HOUSE_API: dict[str, Any] = {
    "key": "email",
    "auth": {"type": "bearer"},
    "lists": {
        "find": {"method": "GET", "path": "/lists", "query": {"name": "${list.name}"}, "items": "data"},
        "create": {"path": "/lists", "body": {"name": "${list.name}"}, "id": "data.id"},
    },
    "add": {
        "path": "/lists/${list.id}/members",
        "member": {"id": "${member.email}", "fields": "${member}"},
        "body": {"members": "${members}"},
        "answers": {"results": "results", "key": "id", "accepted": "${item.status == 'ok'}"},
    },
    "remove": {
        "path": "/lists/${list.id}/members/remove",
        "body": {"ids": "${members | map(attribute='email') | list}"},
        "answers": {"results": "errors", "only_failures": True, "index": "position"},
    },
}

HARNESS = Harness(
    platform="http_api",
    opening=lambda address, token, account: Opening({"base_url": address, **HOUSE_API}, {"token": token}),
    mappings=[
        {"email": "email"},
        {"email": "email", "first_name": "first_name"},
        {"email": "email", "phone": "phone"},
    ],
    email_rule="generic.email",
    listed_as="id",
    simulator="json_api",
)
