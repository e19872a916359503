"""Conversations with platforms, as data: what is asked, what is answered, what becomes of each member."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.model import errors
from audience_syncs.model.values import Batch, Outgoing, Verdict
from audience_syncs_tests.conversation import FOLDER, Script, conversations, played
from audience_syncs_tests.platforms import HARNESSES

NUMBERS = itertools.count(1)
PLATFORMS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
CASES = [(platform, one) for platform in PLATFORMS for one in conversations(platform)]
MUST_HAVE = {"success", "partial failure", "throttled", "permanent failure", "credentials refused"}
"""What every platform is asked about."""


def opened(platform: str, url: str) -> Any:
    """An account without any patience."""
    token = f"token{next(NUMBERS)}"
    return HARNESSES[platform].open(url, token, attempts=2, timeout_s=5)


def outgoing(member: dict[str, Any]) -> Outgoing:
    fields = {name: value for name, value in member.items() if name != "remote_id"}
    return Outgoing(fields, member.get("remote_id"))


def in_words(verdict: Verdict) -> str:
    return " ".join(filter(None, [verdict.kind.value, verdict.reason_code, verdict.remote_id]))


def ask(destination: Any, case: dict[str, Any]) -> list[str] | str | errors.AudienceSyncsError:
    """What comes of the call: a line for each member, or the error."""
    try:
        if case["call"] == "ensure_list":
            return str(destination.ensure_list(ListRequest(case["list"])).id)
        if case["call"] == "matched_users":
            return str(destination.matched_users(case["list"]).lower)
        batch = Batch([outgoing(member) for member in case["members"]])
        return [in_words(verdict) for verdict in getattr(destination, case["call"])(case["list"], batch)]
    except errors.AudienceSyncsError as error:
        return error


@pytest.mark.parametrize("platform, case", CASES, ids=[f"{platform}: {one['name']}" for platform, one in CASES])
def test_what_is_said_and_what_comes_of_it(platform: str, case: dict[str, Any]) -> None:
    script = Script(case["talk"])
    with played(script) as url:
        outcome = ask(opened(platform, url), case)
    assert script.wrong == []
    assert script.is_over, "more was expected to be asked"
    if isinstance(outcome, errors.AudienceSyncsError):
        told, outcome = str(outcome), outcome.code
        assert not [value for member in case.get("members", []) for value in member.values() if str(value) in told]
    assert outcome == case["outcome"]


def test_every_platform_with_an_api_is_conversed_with() -> None:
    assert set(PLATFORMS) == {name for name, harness in HARNESSES.items() if harness.has_simulator}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_platform_is_heard_on_success_and_on_every_kind_of_failure(platform: str) -> None:
    assert {one["kind"] for one in conversations(platform)} >= MUST_HAVE
