"""An ad account of Microsoft Advertising at the simulator, for its tests; and the models of Microsoft's own client."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import requests
import yaml

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.model.values import Outgoing
from audience_syncs_tests.platforms import HARNESSES
from audience_syncs_tests.platforms.harness import sha

ACCOUNTS = itertools.count(600_001)
V13 = "/CampaignManagement/v13"
MODELS: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "data" / "msads.yaml").read_text(encoding="utf-8"))
SCOPE = "https://ads.microsoft.com/msads.manage offline_access"


def person(number: int, **more: Any) -> Outgoing:
    return Outgoing({"email": sha(f"p{number}@example.com"), **more})


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


def misfits(body: Any, model: Any, place: str = "") -> list[str]:
    """Where something differs from what Microsoft's client knows; null is always allowed."""
    if body is None:
        return []
    if isinstance(model, list):
        if not isinstance(body, list):
            return [f"{place} is no array"]
        return [each for at, one in enumerate(body) for each in misfits(one, model[0], f"{place}[{at}]")]
    if isinstance(model, dict):
        return [] if body in model["one of"] else [f"{place} is {body!r}"]
    if model in MODELS:
        unknown = [f"{place}.{name} is unknown" for name in body if name not in MODELS[model]]
        known = {name: value for name, value in body.items() if name in MODELS[model]}
        return unknown + [
            each for name, value in known.items() for each in misfits(value, MODELS[model][name], f"{place}.{name}")
        ]
    types = {"text": str, "number": int, "bool": bool}
    is_right = isinstance(body, types[model]) and (model != "number" or not isinstance(body, bool))
    return [] if is_right else [f"{place} is {body!r}"]


class World:
    """An account of its own: tests share the server, and nothing else."""

    def __init__(self, url: str, token: str = "", **settings: Any) -> None:
        self.url = url
        self.account = str(next(ACCOUNTS))
        self.token = token or f"refresh-{self.account}"
        self.microsoft: Any = self.opened(**settings)
        self.list_id = ""

    def opened(self, **settings: Any) -> Any:
        return HARNESSES["microsoft"].open(f"{self.url}/microsoft", self.token, self.account, **settings)

    def make_list(self) -> World:
        self.list_id = self.microsoft.ensure_list(ListRequest("People")).id
        return self

    def members(self) -> list[dict[str, Any]]:
        path = f"{self.url}/_simulator/microsoft/lists/{self.list_id}/members"
        found: list[dict[str, Any]] = requests.get(path, timeout=10).json()["members"]
        return found

    def emails(self) -> set[str]:
        return {member["email"] for member in self.members() if "email" in member}

    def received(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = requests.get(f"{self.url}/_simulator/microsoft/requests", timeout=10).json()
        return found

    def fault(self, **fault: Any) -> None:
        asked = {"platform": "microsoft", "retry_after_s": 0} | fault
        requests.post(f"{self.url}/_simulator/faults", json=asked, timeout=10).raise_for_status()

    def advance(self, seconds: float) -> None:
        requests.post(f"{self.url}/_simulator/clock", json={"advance_s": seconds}, timeout=10).raise_for_status()

    def access_token(self) -> str:
        form = {"grant_type": "refresh_token", "client_id": "app", "refresh_token": self.token, "scope": SCOPE}
        answer = requests.post(f"{self.url}/microsoft/common/oauth2/v2.0/token", data=form, timeout=10)
        answer.raise_for_status()
        return str(answer.json()["access_token"])

    def post(self, path: str, body: Any, **headers: str) -> requests.Response:
        """As another client of the account would."""
        given = {
            "Authorization": f"Bearer {self.access_token()}",
            "DeveloperToken": "DEV123",
            "CustomerId": "77",
            "CustomerAccountId": self.account,
        }
        sent = {name: value for name, value in (given | headers).items() if value}
        return requests.post(f"{self.url}/microsoft{V13}{path}", json=body, headers=sent, timeout=10)
