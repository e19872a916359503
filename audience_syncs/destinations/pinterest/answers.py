"""One call to Pinterest: its limits, and what its errors mean, without anybody's address in them.

Facts: Pinterest's OpenAPI description 5.28.0 (an error is a number and a message) and its page on rate limits (ads_read 1,000 and
other categories fewer calls a minute, for a user of an app; trial access 1,000 a day). Which headers tell of the limits is from
what others read in answers: ``x-ratelimit-...`` and the older ``x-userendpoint-ratelimit-...``; that the last of them counts
seconds is assumed, and more than a minute is not waited for. The numbers are not explained anywhere, so only the HTTP
status decides; the messages may quote what was sent, and are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, HttpClient, Reading, Retry, default_reading, retry_after
from audience_syncs.model.errors import AccessRefused, DestinationError, NoAnswer, NotApplied

PAGE = 250
_WINDOW_S = 60.0
_LIMITS = ("x-ratelimit", "x-userendpoint-ratelimit")
_BUSY = (409, 423)


def reading(answer: Answer) -> Reading:
    """As HTTP says; and all good answers we ask for are objects."""
    if answer.status == 429:
        return Retry(retry_after(answer) or _reset_of(answer), maybe_applied=False)
    if answer.status < 400 and not isinstance(answer.body, dict):
        return Retry(retry_after(answer), maybe_applied=True)
    return default_reading(answer)


class Calls:
    """Calls one account, at the pace that its answers ask for."""

    def __init__(self, http: HttpClient, where: str) -> None:
        self.http = http
        self.where = where

    def get(self, path: str, params: Mapping[str, str | int] | None = None, *, operation: str) -> Answer:
        """Raises NotApplied where there is no answer: reading changes nothing."""
        try:
            return self._within_limits(self.http.request("GET", path, operation=operation, params=params))
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def change(self, method: str, path: str, body: Any, *, operation: str, idempotent: bool = True) -> Answer:
        return self._within_limits(
            self.http.request(method, path, operation=operation, json=body, idempotent=idempotent)
        )

    def pages(self, path: str, *, operation: str, doing: str) -> Iterator[Mapping[str, Any]]:
        """All items, page by page, oldest first. Raises NotApplied for what cannot be read: that is not the same as none."""
        params: dict[str, str | int] = {"page_size": PAGE, "order": "ASCENDING"}
        seen: set[str] = set()
        while True:
            answer = self.get(path, params, operation=operation)
            if answer.status == 404:
                raise AccessRefused(
                    "Pinterest has no ad account of this `ad_account_id`, or does not show it to this user",
                    where=self.where,
                    remedy="it is the number after /advertiser/ in the address of Ads Manager",
                )
            if answer.status >= 400:
                raise_refusal(answer, doing, self.where)
            items = answer.body.get("items")
            if not isinstance(items, list) or not all(isinstance(each, dict) and each.get("id") for each in items):
                raise NotApplied(f"pinterest {operation}: the answer has no items", where=self.where)
            yield from items
            bookmark = answer.body.get("bookmark")
            if not isinstance(bookmark, str) or not bookmark or bookmark in seen:
                return
            seen.add(bookmark)
            params["bookmark"] = bookmark

    def _within_limits(self, answer: Answer) -> Answer:
        if any(answer.headers.get(f"{name}-remaining", "").strip() == "0" for name in _LIMITS):
            self.http.pace.hold_off(_reset_of(answer) or 1.0)
        return answer


def is_busy(answer: Answer) -> bool:
    """Whether the list takes no change while an earlier one is carried out. Nothing says that this happens."""
    told = answer.body.get("message") if isinstance(answer.body, dict) else None
    return answer.status in _BUSY or (answer.status == 400 and isinstance(told, str) and "processing" in told.lower())


def code_of(answer: Answer) -> str:
    """``400/2``: the HTTP status and Pinterest's number, where it tells one."""
    number = answer.body.get("code") if isinstance(answer.body, dict) else None
    is_number = isinstance(number, int) and not isinstance(number, bool)
    return f"{answer.status}/{number}" if is_number and number != answer.status else str(answer.status)


def raise_refusal(answer: Answer, doing: str, where: str) -> NoReturn:
    """The error for a final refusal that is not about single members."""
    if answer.status == 401:
        raise AccessRefused(
            f"Pinterest does not accept the access token ({code_of(answer)})",
            where=where,
            remedy="was the app deactivated, or its access taken away? Check it on Pinterest's page for developers",
        )
    if answer.status == 403:
        raise AccessRefused(
            f"Pinterest does not allow this account to {doing} ({code_of(answer)})",
            where=where,
            remedy="the token needs the scopes ads:read and ads:write, its user the permission `Audiences` (or Admin) on the "
            "ad account, and the ad account Pinterest's advertising terms",
        )
    raise DestinationError(
        f"Pinterest refused to {doing} ({code_of(answer)})",
        where=where,
        remedy="a refusal without a number after the slash comes from something in between; else ask Pinterest's support",
    )


def _reset_of(answer: Answer) -> float | None:
    for name in _LIMITS:
        text = answer.headers.get(f"{name}-reset", "").strip()
        if text.isascii() and text.isdigit():
            return min(_WINDOW_S, float(text))
    return None
