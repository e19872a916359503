"""A Salesforce org to try the destination on: the simulator, with a campaign of its own."""

from __future__ import annotations

import itertools
from typing import Any

import requests

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.salesforce import open_account
from audience_syncs.model.values import Batch, Outgoing
from audience_syncs_tests.platforms.harness import Unpaced
from audience_syncs_tests.platforms.salesforce import hurry

KEYS = itertools.count(1)
DATA = "/services/data/v62.0"


def opened(url: str, client_id: str = "", secrets: dict[str, str] | None = None, **settings: Any) -> Any:
    """An account with hardly any patience."""
    defaults: dict[str, Any] = {
        "my_domain": "https://acme.my.salesforce.com",
        "base_url": f"{url}/salesforce",
        "defaults": {"LastName": "Unknown"},
        "attempts": 2,
        "timeout_s": 1,
        "job_wait_s": 5,
    }
    given = {"client_id": client_id or f"app{next(KEYS)}", **(secrets or {"client_secret": "secret"})}
    account: Any = open_account(Account("crm", given, defaults | settings), {})
    account._http._first_backoff_s = 0.005
    account._http.pace = Unpaced()
    hurry(account)
    return account


def person(number: int, *, new: bool = False, **fields: Any) -> Outgoing:
    return Outgoing({"Email": f"p{number}@example.com", "FirstName": "Zoë"} | fields, new=new)


def people(*numbers: int, **fields: Any) -> Batch:
    return Batch([person(number, **fields) for number in numbers])


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


def codes(verdicts: Any) -> list[str]:
    return [verdict.reason_code for verdict in verdicts]


class Notes:
    """Jobs, as a run would note them."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.all: list[str] = []

    def note(self, job_id: str) -> None:
        self.left.append(job_id)
        self.all.append(job_id)

    def done(self, job_id: str) -> None:
        self.left.remove(job_id)


class Org:
    """The simulated org, and a campaign in it. ``settings``: of the account under test."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.url = url
        self.account = opened(url, **settings)
        self.campaign = self.account.ensure_list(ListRequest(f"People {next(KEYS)}")).id

    def fault(self, kind: str, **more: Any) -> None:
        asked = {"platform": "salesforce", "kind": kind, "rate": 1.0, "seed": 7} | more
        requests.post(f"{self.url}/_simulator/faults", json=asked, timeout=10).raise_for_status()

    def heal(self) -> None:
        requests.delete(f"{self.url}/_simulator/faults", timeout=10)

    def pass_time(self, seconds: float) -> None:
        requests.post(f"{self.url}/_simulator/clock", json={"advance_s": seconds}, timeout=10).raise_for_status()

    def members(self) -> list[dict[str, Any]]:
        path = f"{self.url}/_simulator/salesforce/lists/{self.campaign}/members"
        found: list[dict[str, Any]] = requests.get(path, params={"limit": 10_000}, timeout=10).json()["members"]
        return found

    def emails(self) -> list[str]:
        return sorted(member["Email"] for member in self.members())

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/_simulator/salesforce/requests", timeout=10).json()
        return found

    def operations(self) -> list[str]:
        return [entry["operation"] for entry in self.received()]

    def call(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """What somebody else in the org does."""
        answer = requests.request(
            method,
            f"{self.url}/salesforce{DATA}{path}",
            json=body,
            params=params,
            headers={"Authorization": "Bearer somebody"},
            timeout=10,
        )
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def query(self, text: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.call("GET", "/query", q=text)["records"]
        return found

    def make(self, kind: str, **fields: Any) -> str:
        return str(self.call("POST", f"/sobjects/{kind}", fields)["id"])

    def held(self, name: str) -> dict[str, Any]:
        kind = "Contact" if name.startswith("003") else "Lead"
        found: dict[str, Any] = self.call("GET", f"/sobjects/{kind}/{name}")
        return found
