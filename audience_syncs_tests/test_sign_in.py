"""Tokens are fetched when needed, renewed before they expire and after a refusal, and never shown."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import pytest

from audience_syncs.destinations import sign_in
from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.pacing import Pace
from audience_syncs.model.errors import AccessRefused, NotApplied
from audience_syncs.simulators.tokens import form_of, granted, holder_of
from audience_syncs_tests.conversation import Script, played

NUMBERS = itertools.count(1)
SECRET = "refresh-me-not"


def token(name: str, **more: Any) -> dict[str, Any]:
    return {"asked": "POST /token", "answer": {"body": {"access_token": name, "expires_in": 3600, **more}}}


def get(bearer: str, status: int = 200) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {bearer}"}
    return {"asked": "GET /me", "headers": headers, "answer": {"status": status, "body": {}}}


def client(url: str) -> HttpClient:
    tokens = sign_in.Tokens(
        url,
        "/token",
        lambda: {"grant_type": "refresh_token", "refresh_token": SECRET},
        platform="somewhere",
        account=str(next(NUMBERS)),
        where="destination ads",
        remedy="make a new refresh token",
        explain=sign_in.oauth_error,
    )
    pace = Pace(1_000, 1_000)
    return HttpClient(url, platform="x", account=str(next(NUMBERS)), headers={}, pace=pace, sign_in=tokens)


@pytest.mark.parametrize(
    ("talk", "statuses"),
    [
        ([token("a"), get("a"), get("a")], [200, 200]),
        ([token("a", expires_in="3600"), get("a"), get("a")], [200, 200]),
        ([token("a"), get("a", 401), token("b"), get("b"), get("b")], [200, 200]),
        # Once: a token that is refused although it is new is not renewed for ever.
        ([token("a"), get("a", 401), token("b"), get("b", 401)], [401]),
        # One that lasts no longer than the margin is used, and soon asked for again.
        ([token("a", expires_in=30), get("a")], [200]),
    ],
)
def test_a_token_is_fetched_once_and_renewed_once_after_a_refusal(
    talk: list[Mapping[str, Any]], statuses: list[int]
) -> None:
    script = Script(talk)
    with played(script) as url:
        asks = client(url)
        assert [asks.request("GET", "/me", operation="me").status for _ in statuses] == statuses
    assert script.wrong == []
    assert script.is_over


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        ({"status": 400, "body": {"error": "invalid_grant"}}, AccessRefused, "invalid_grant"),
        ({"status": 400, "body": {"error": SECRET + " is bad"}}, AccessRefused, "HTTP 400"),
        ({"status": 200, "body": {"token": "x"}}, AccessRefused, "HTTP 200"),
        ({"status": 200, "body": {"access_token": "two\nlines"}}, AccessRefused, "HTTP 200"),
    ],
)
def test_no_token_stops_the_run_with_the_reason_and_without_the_secret(
    answer: Mapping[str, Any], error: type[Exception], told: str
) -> None:
    script = Script([{"asked": "POST /token", "answer": answer}])
    with played(script) as url, pytest.raises(error) as refused:
        client(url).request("POST", "/members", operation="members", json={})
    assert told in str(refused.value)
    assert "make a new refresh token" in str(refused.value)
    assert SECRET not in str(refused.value)


def test_no_answer_about_a_token_means_that_nothing_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script([{"asked": "POST /token", "answer": {"status": 503}}] * 3)
    with played(script) as url:
        asks = client(url)
        asks._sign_in._http._first_backoff_s = 0.001  # type: ignore[union-attr]
        with pytest.raises(NotApplied):
            asks.request("POST", "/members", operation="members", json={})
    assert script.is_over


def test_simulated_tokens_say_who_holds_them_and_end() -> None:
    answer = granted(form_of(b"grant_type=refresh_token&refresh_token=r%C3%A9"), 100.5, lasts_s=10)
    held = answer.body["access_token"]
    assert holder_of(held, 109) == "ré"
    assert holder_of(held, 111) is None
    assert holder_of("nonsense", 0) is None
    assert granted({"grant_type": "refresh_token", "refresh_token": "revoked-1"}, 0).body["error"] == "invalid_grant"
    assert granted({"grant_type": "password"}, 0).status == 400
