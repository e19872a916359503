"""A Google account at the simulator, and what its tests look at."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import requests

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.model.values import Outgoing, Verdict
from audience_syncs_tests.platforms import HARNESSES
from audience_syncs_tests.platforms.harness import sha

NUMBERS = count(1)


@dataclass
class Notes:
    """What the engine would write into its table of jobs."""

    left: list[str] = field(default_factory=list)
    ever: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, job_id: str) -> None:
        with self._lock:
            self.left.append(job_id)
            self.ever.append(job_id)

    def done(self, job_id: str) -> None:
        with self._lock:
            self.left.remove(job_id)


class World:
    """One account with a list."""

    def __init__(self, url: str, token: str = "good", **settings: Any) -> None:
        self.url = url
        self.google: Any = opened(url, token, **settings)
        self.list_id = self.google.ensure_list(ListRequest("People")).id

    def inspect(self, method: str, path: str, **given: Any) -> Any:
        answer = requests.request(method, f"{self.url}/_simulator/{path}", timeout=30, **given)
        assert answer.ok, answer.text
        return answer.json() if answer.content else None

    def members(self) -> list[dict[str, str]]:
        return list(self.inspect("GET", f"google/lists/{self.list_id}/members")["members"])

    def emails(self) -> set[str]:
        return {each["email"] for each in self.members() if "email" in each}

    def received(self) -> list[dict[str, Any]]:
        return list(self.inspect("GET", "google/requests"))

    def operations(self) -> list[str]:
        return [str(entry["operation"]) for entry in self.received()]

    def fault(self, **given: Any) -> None:
        self.inspect("POST", "faults", json={"platform": "google", **given})

    def advance(self, seconds: float) -> None:
        self.inspect("POST", "clock", json={"advance_s": seconds})


def opened(url: str, token: str = "good", **settings: Any) -> Any:
    """An account nobody else has the pace of."""
    return HARNESSES["google"].open(f"{url}/google", token, str(100 + next(NUMBERS)), timeout_s=5, **settings)


def person(number: int, **fields: Any) -> Outgoing:
    return Outgoing({"email": sha(f"p{number}@example.com"), **fields})


def kinds(verdicts: Sequence[Verdict]) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]
