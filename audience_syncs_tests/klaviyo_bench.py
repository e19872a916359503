"""A Klaviyo to try the destination on: the simulator, with a list of its own."""

from __future__ import annotations

import itertools
from typing import Any

import requests

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.klaviyo import Klaviyo
from audience_syncs.model.values import Outgoing

KEYS = itertools.count(1)


def opened(url: str, key: str = "", **settings: Any) -> Klaviyo:
    """An account with a pace of its own, and hardly any patience."""
    defaults: dict[str, Any] = {"base_url": f"{url}/klaviyo", "requests_per_s": 1_000, "attempts": 2, "timeout_s": 1}
    klaviyo = Klaviyo(Account("mail", {"api_key": key or f"pk_{next(KEYS)}"}, defaults | settings), {})
    klaviyo._imports.first_pause_s = 0.02
    klaviyo._imports.longest_pause_s = 0.05
    klaviyo._http._first_backoff_s = 0.01
    return klaviyo


def person(number: int, **fields: Any) -> Outgoing:
    return Outgoing({"email": f"p{number}@example.com", "first_name": "Zoë"} | fields)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


class World:
    """A list of its own at the simulator, which the tests of this file share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.klaviyo = opened(url)
        self.list_id = self.klaviyo.ensure_list(ListRequest(f"People {next(KEYS)}")).id

    def fault(self, kind: str, **more: Any) -> None:
        asked = {"platform": "klaviyo", "kind": kind, "rate": 1.0, "seed": 7} | more
        requests.post(f"{self.url}/_simulator/faults", json=asked, timeout=10).raise_for_status()

    def pass_time(self, seconds: float) -> None:
        requests.post(f"{self.url}/_simulator/clock", json={"advance_s": seconds}, timeout=10).raise_for_status()

    def members(self) -> dict[str, dict[str, Any]]:
        path = f"{self.url}/_simulator/klaviyo/lists/{self.list_id}/members"
        found = requests.get(path, params={"limit": 10_000}, timeout=10).json()["members"]
        return {member["email"]: member for member in found}

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/_simulator/klaviyo/requests", timeout=10).json()
        return found

    def operations(self) -> list[str]:
        return [entry["operation"] for entry in self.received()]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": "Klaviyo-API-Key pk_somebody-else", "revision": "2026-07-15"}
        answer = requests.request(method, f"{self.url}/klaviyo{path}", json=body, headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.json() if answer.content else None
