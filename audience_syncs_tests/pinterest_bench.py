"""A Pinterest to try the destination on: the simulator, with a list of its own."""

from __future__ import annotations

import itertools
from typing import Any

import requests

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.model.values import Outgoing
from audience_syncs_tests.platforms.harness import sha
from audience_syncs_tests.platforms.pinterest import HARNESS

TOKENS = itertools.count(1)
ACCOUNT = "549755885175"


def opened(url: str, token: str = "", account: str = ACCOUNT, **more: Any) -> Any:
    return HARNESS.open(
        f"{url}/pinterest", token or f"refresh-{next(TOKENS)}", account, **{"attempts": 2, "timeout_s": 2} | more
    )


def person(number: int, **fields: Any) -> Outgoing:
    return Outgoing({"email": sha(f"p{number}@example.com")} | fields)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


class World:
    """A list of its own at the simulator, which the tests of a file share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.pinterest = opened(url)
        self.list_id = self.pinterest.ensure_list(ListRequest(f"People {next(TOKENS)}")).id

    def fault(self, kind: str, **more: Any) -> None:
        asked = {"platform": "pinterest", "kind": kind, "rate": 1.0, "seed": 7} | more
        requests.post(f"{self.url}/_simulator/faults", json=asked, timeout=10).raise_for_status()

    def pass_time(self, seconds: float) -> None:
        requests.post(f"{self.url}/_simulator/clock", json={"advance_s": seconds}, timeout=10).raise_for_status()

    def members(self) -> list[str]:
        path = f"{self.url}/_simulator/pinterest/lists/{self.list_id}/members"
        return [member["record"] for member in requests.get(path, timeout=10).json()["members"]]

    def received(self) -> list[dict[str, Any]]:
        found: Any = requests.get(f"{self.url}/_simulator/pinterest/requests", timeout=10).json()
        return found["requests"] if isinstance(found, dict) else found  # type: ignore[no-any-return]

    def operations(self) -> list[str]:
        return [entry["operation"] for entry in self.received()]
