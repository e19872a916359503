"""One call to Braze: its limits, and what its errors mean, without anybody's address in them.

Facts: Braze's documentation (read 2026-11): every answer tells the limit's window in ``X-RateLimit-Remaining`` and
``X-RateLimit-Reset`` (seconds since the epoch); 400 for what is in a request, 413 above 4 MB, 401 for a bad key. Answers of a real
workspace that others have published (2026-09): a 401 repeats the key in its message, so that its words are never shown.
[unsure]: with which status a missing permission is answered; 401, 403 and the 404 of older pages are all taken as refused access.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, HttpClient, Outcome, Reading, Retry, default_reading, retry_after
from audience_syncs.destinations.own_endpoint import without_people
from audience_syncs.model.errors import AccessRefused, DestinationError, NoAnswer, NotApplied

_LONGEST_WINDOW_S = 3_600.0
_NUMBER = re.compile(r"\d{1,12}", re.ASCII)


def reading(answer: Answer) -> Reading:
    """As HTTP says; all good answers are objects; when to come back is told in the window's headers."""
    found = default_reading(answer)
    if isinstance(found, Retry) and answer.status == 429:
        after_s = retry_after(answer)
        return Retry(_window_left_s(answer) if after_s is None else after_s, maybe_applied=False)
    if found is Outcome.OK and not isinstance(answer.body, dict):
        return Retry(None, maybe_applied=True)
    return found


class Calls:
    """Calls one account, at the pace that its answers ask for."""

    def __init__(self, http: HttpClient) -> None:
        self.http = http

    def get(self, path: str, params: Mapping[str, str | int] | None = None, *, operation: str) -> Answer:
        """Raises NotApplied where there is no answer: reading changes nothing."""
        try:
            return self.http.request("GET", path, operation=operation, params=params)
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def look_up(self, path: str, body: Any, *, operation: str) -> Answer:
        """A question that is asked by POST. Raises NotApplied where there is no answer."""
        try:
            return self.http.request("POST", path, operation=operation, json=body, reads=True)
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def change(self, path: str, body: Any, *, operation: str) -> Answer:
        answer = self.http.request("POST", path, operation=operation, json=body)
        if answer.headers.get("X-RateLimit-Remaining", "").strip() == "0":
            self.http.pace.hold_off(_window_left_s(answer) or 0.0)
        return answer


def raise_refusal(answer: Answer, doing: str, permission: str) -> NoReturn:
    """The error for a final refusal that is not about what is in the request."""
    if answer.status in (401, 403, 404):
        raise AccessRefused(
            f"Braze does not let this API key {doing} (HTTP {answer.status})",
            remedy=f"does the key exist, of the workspace at this `instance`, with the permission {permission}? "
            "See Settings, APIs and Identifiers",
        )
    raise DestinationError(
        f"Braze refused to {doing}: HTTP {answer.status} {words_of(answer)}".rstrip(),
        remedy="see Braze's page on API errors and responses",
    )


def words_of(answer: Answer) -> str:
    """Braze's own words, short, without people."""
    message = answer.body.get("message") if isinstance(answer.body, dict) else None
    return without_people(message) if isinstance(message, str) else ""


def _window_left_s(answer: Answer) -> float | None:
    told = answer.headers.get("X-RateLimit-Reset", "").strip()
    if _NUMBER.fullmatch(told) is None:
        return None
    return min(_LONGEST_WINDOW_S, max(0.0, float(told) - time.time()))
