"""A Customer.io to try the destination on: the simulator, with a segment of its own."""

from __future__ import annotations

import itertools
from typing import Any

import requests

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.customerio import CustomerIo
from audience_syncs.model.values import Outgoing
from audience_syncs_tests.platforms.harness import Unpaced

KEYS = itertools.count(1)


def opened(url: str, key: str = "", app_key: str = "", **settings: Any) -> CustomerIo:
    """A workspace with a pace of its own, and hardly any patience."""
    key = key or f"key{next(KEYS)}"
    defaults: dict[str, Any] = {
        "base_url": f"{url}/customerio",
        "requests_per_s": 1_000,
        "attempts": 2,
        "timeout_s": 1,
        "arrival_wait_s": 2,
    }
    secrets = {"site_id": f"site-{key}", "api_key": key, "app_key": app_key or key}
    workspace = CustomerIo(Account("messages", secrets, defaults | settings), {})
    workspace._http._first_backoff_s = workspace._app._first_backoff_s = 0.01
    workspace._app.pace = Unpaced()
    workspace._people.first_pause_s = 0.02
    workspace._people.longest_pause_s = 0.05
    return workspace


def person(number: int, **fields: Any) -> Outgoing:
    return Outgoing({"id": f"u{number}", "first_name": "Zoë"} | fields)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


class World:
    """A segment of its own at the simulator, which the tests of a file share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.workspace = opened(url)
        self.list_id = self.workspace.ensure_list(ListRequest(f"People {next(KEYS)}")).id

    def fault(self, kind: str, **more: Any) -> None:
        asked = {"platform": "customerio", "kind": kind, "rate": 1.0, "seed": 7} | more
        requests.post(f"{self.url}/_simulator/faults", json=asked, timeout=10).raise_for_status()

    def pass_time(self, seconds: float) -> None:
        requests.post(f"{self.url}/_simulator/clock", json={"advance_s": seconds}, timeout=10).raise_for_status()

    def members(self) -> dict[str, dict[str, Any]]:
        path = f"{self.url}/_simulator/customerio/lists/{self.list_id}/members"
        found = requests.get(path, params={"limit": 10_000}, timeout=10).json()["members"]
        return {member.get("id", member["cio_id"]): member for member in found}

    def put(self, **fields: str) -> None:
        """Somebody whom others put there."""
        path = f"{self.url}/_simulator/customerio/lists/{self.list_id}/members"
        requests.post(path, json={"members": [fields]}, timeout=10).raise_for_status()

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/_simulator/customerio/requests", timeout=10).json()
        return found

    def operations(self) -> list[str]:
        return [entry["operation"] for entry in self.received()]

    def batch(self, *operations: dict[str, Any]) -> Any:
        """What somebody else sends."""
        answer = requests.post(
            f"{self.url}/customerio/api/v2/batch", json={"batch": operations}, auth=("site", "other"), timeout=10
        )
        answer.raise_for_status()
        return answer.json()

    def do(self, action: str, value: str, kind: str = "id", **attributes: Any) -> None:
        self.batch({"type": "person", "identifiers": {kind: value}, "action": action, "attributes": attributes})
        self.members()  # whoever looks in sees it done

    def person(self, value: str, kind: str = "id") -> dict[str, Any] | None:
        self.members()
        answer = requests.post(
            f"{self.url}/customerio/v1/customers/attributes",
            params={"id_type": kind},
            json={"ids": [value]},
            headers={"Authorization": "Bearer other"},
            timeout=10,
        )
        found = answer.json()["customers"]
        return found[0]["customer"]["attributes"] if found else None
