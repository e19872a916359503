"""One call to LinkedIn's versioned API: its headers, its limits, and what its errors mean.

Facts (read 2026-11): LinkedIn's pages on error handling (``message``, ``serviceErrorCode``, ``status``), on rate limits (429; a
day's quota for the app and for each member, which begins anew at midnight UTC; 600 requests a minute for a member to
``/users``) and on versions (each lives about a year); 426 with ``NONEXISTENT_VERSION``, 403 with ``ACCESS_DENIED`` and code 100,
as real accounts were answered.

A spent day's quota is worded *Resource level throttle APPLICATION DAY limit for calls to this resource is reached*, as others have
published it. No 429 says when to come back: who has asked too often in a minute rests for one.

[unsure]: how refused terms are worded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, HttpClient, Reading, Retry, default_reading, retry_after
from audience_syncs.destinations.plain_words import plain_words
from audience_syncs.model.errors import AccessRefused, BatchRefused, DestinationError, NoAnswer, NotApplied

PROTOCOL = "2.0.0"
OF_PEOPLE = (400, 413, 422)
"""Refusals that may be for who is in a request."""
_CODE = re.compile(r"[A-Z][A-Z0-9_]{0,60}")
_OF_A_DAY = re.compile(r"\bDAY\b|\bdaily\b", re.IGNORECASE)


class Read:
    """As HTTP says; and every good answer to a question is an object. ``throttled_s``: how long to rest where a limit does not
    say so, as LinkedIn's do not: that of a minute is the shortest there is."""

    def __init__(self) -> None:
        self.throttled_s = 60.0

    def __call__(self, answer: Answer) -> Reading:
        hint = retry_after(answer)
        if answer.status == 429:
            is_of_a_day = _OF_A_DAY.search(_text(answer.body, "message")) is not None
            untold = _until_midnight_s(datetime.now(UTC)) if is_of_a_day else self.throttled_s
            return Retry(untold if hint is None else hint, maybe_applied=False)
        if answer.status == 200 and not isinstance(answer.body, dict):
            return Retry(hint, maybe_applied=True)
        return default_reading(answer)


def reason_of(told: object, status: int) -> tuple[str, str]:
    """LinkedIn's code, or the status, and its words, which name nobody."""
    code = _text(told, "code")
    words = plain_words(_text(told, "message"))
    shown = code if _CODE.fullmatch(code) else f"HTTP_{status}"
    return shown, words or shown.replace("_", " ").lower()


class Calls:
    """Calls to one ad account."""

    def __init__(self, http: HttpClient, version: str, where: str) -> None:
        self.http = http
        self.version = version
        self.where = where

    def get(self, path: str, params: Mapping[str, str | int] | None = None, *, operation: str) -> Answer:
        """Raises NotApplied where there is no answer that can be read: reading changes nothing."""
        try:
            answer = self.http.request("GET", path, operation=operation, params=params)
        except NoAnswer as error:
            raise NotApplied(error.message) from error
        if answer.status < 400 and not isinstance(answer.body, dict):
            raise NotApplied(f"linkedin {operation}: the answer holds nothing")
        return answer

    def create(self, path: str, body: Any, *, operation: str) -> Answer:
        return self.http.request("POST", path, operation=operation, json=body, idempotent=False)

    def batch(self, path: str, elements: Any, *, operation: str) -> Answer:
        return self.http.request(
            "POST",
            path,
            operation=operation,
            json={"elements": elements},
            headers=lambda body: {"X-RestLi-Method": "BATCH_CREATE"},
        )

    def refuse(self, answer: Answer, doing: str, *, of_people: bool = False) -> NoReturn:
        """Raises the error of a final refusal. ``of_people``: who is in the request may be what is refused."""
        code, words = reason_of(answer.body, answer.status)
        shown = f"HTTP {answer.status}: {words}"
        if answer.status == 401:
            raise AccessRefused(
                f"LinkedIn does not accept the access token ({shown})",
                where=self.where,
                remedy="access tokens end after 60 days, refresh tokens after a year, and both when the member withdraws them: "
                "have a member of the ad account authorize the app again, and put the new token into its variable",
            )
        if answer.status == 426:
            raise DestinationError(
                f"LinkedIn has ended version {self.version} of its API, or does not know it ({shown})",
                where=self.where,
                code="API_VERSION",
                remedy="set `api_version` to one that LinkedIn's page on versioning lists, or remove it to take our default",
            )
        if answer.status == 403:
            wants_terms = any(word in words.lower() for word in ("terms", "agreement"))
            raise AccessRefused(
                f"LinkedIn does not allow this token to {doing} ({shown})",
                where=self.where,
                remedy="accept the terms for matched audiences in Campaign Manager, Audiences"
                if wants_terms
                else "check that the app is approved for the Audiences programme, that the token has the scope rw_dmp_segments, "
                "that `source_platform` is the one LinkedIn gave the app, and that the member may do more than view "
                "the ad account",
            )
        if of_people and answer.status in OF_PEOPLE:
            raise BatchRefused(words, reason_code=code)
        raise DestinationError(
            f"LinkedIn refused to {doing} ({shown})",
            where=self.where,
            remedy="check `ad_account_id` and `source_platform`; LinkedIn's page on error handling explains the status",
        )


def _until_midnight_s(now: datetime) -> float:
    tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (tomorrow - now).total_seconds()


def _text(told: object, name: str) -> str:
    found = told.get(name) if isinstance(told, Mapping) else None
    return found if isinstance(found, str) else ""
