"""A Mailchimp to try the destination on: the simulator, with an audience and a tag of its own."""

from __future__ import annotations

import hashlib
import itertools
from typing import Any

import requests

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.mailchimp import Mailchimp
from audience_syncs.model.values import Outgoing

KEYS = itertools.count(1)


def opened(url: str, key: str = "", audience: str = "a1", **settings: Any) -> Mailchimp:
    """An account with a pace of its own, and hardly any patience."""
    defaults: dict[str, Any] = {
        "base_url": f"{url}/mailchimp",
        "audience_id": audience,
        "requests_per_s": 1_000,
        "attempts": 2,
        "timeout_s": 1,
    }
    mailchimp = Mailchimp(Account("mail", {"api_key": key or f"key{next(KEYS)}-us21"}, defaults | settings), {})
    mailchimp._http._first_backoff_s = 0.01
    return mailchimp


def person(number: int, **fields: Any) -> Outgoing:
    return Outgoing({"email": f"p{number}@example.com", "FNAME": "Zoë"} | fields)


def key_of(email: str) -> str:
    return hashlib.md5(email.encode()).hexdigest()


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


class World:
    """A tag of its own at the simulator, which the tests of a file share."""

    def __init__(self, url: str, key: str = "") -> None:
        self.url = url
        self.mailchimp = opened(url, key)
        self.list_id = self.mailchimp.ensure_list(ListRequest(f"People {next(KEYS)}")).id

    def fault(self, kind: str, **more: Any) -> None:
        asked = {"platform": "mailchimp", "kind": kind, "rate": 1.0, "seed": 7} | more
        requests.post(f"{self.url}/_simulator/faults", json=asked, timeout=10).raise_for_status()

    def heal(self) -> None:
        requests.delete(f"{self.url}/_simulator/faults", timeout=10).raise_for_status()

    def pass_time(self, seconds: float) -> None:
        requests.post(f"{self.url}/_simulator/clock", json={"advance_s": seconds}, timeout=10).raise_for_status()

    def members(self) -> dict[str, dict[str, Any]]:
        path = f"{self.url}/_simulator/mailchimp/lists/{self.list_id}/members"
        found = requests.get(path, params={"limit": 10_000}, timeout=10).json()["members"]
        return {member["email_address"]: member for member in found}

    def put(self, **fields: str) -> None:
        """Somebody whom others tagged."""
        path = f"{self.url}/_simulator/mailchimp/lists/{self.list_id}/members"
        requests.post(path, json={"members": [fields]}, timeout=10).raise_for_status()

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/_simulator/mailchimp/requests", timeout=10).json()
        return found

    def operations(self) -> list[str]:
        return [entry["operation"] for entry in self.received()]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """What somebody else asks of the audience."""
        answer = requests.request(
            method, f"{self.url}/mailchimp/lists/a1{path}", json=body, auth=("me", "other-us21"), timeout=10
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def contact(self, email: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/members/{key_of(email)}")
        return found

    def set_status(self, email: str, status: str) -> None:
        self.call("PUT", f"/members/{key_of(email)}", {"email_address": email, "status": status})
