"""One call to TikTok's API for Business: what its answers mean, without anything of anybody in them.

Nearly every answer is HTTP 200, with ``code`` 0 where all is well. The codes: TikTok's own client (PyPI
tiktok-business-api-sdk-official 1.1.3, ``tiktok_code``); their words: answers that others have published (read 2026-11), such as
"App reaches the QPS limit", "Please retry in some time", "Access token is incorrect or has been revoked".

[unsure]: a permission that is missing has been seen as 40002, which is about parameters, so the words count, too; how
terms that nobody accepted are worded. Any code that is none of these may have been applied. TikTok says nowhere how long
to wait after 40100: a second, then longer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audience_syncs.destinations.http import (
    Answer,
    HttpClient,
    Outcome,
    Reading,
    Retry,
    default_reading,
    retry_after,
)
from audience_syncs.destinations.plain_words import plain_words
from audience_syncs.model.errors import AccessRefused, BatchRefused, DestinationError, NoAnswer, NotApplied

VERSION = "/open_api/v1.3"
THROTTLED = frozenset({40100, 40132})
TOKEN = frozenset({*range(40101, 40111), 40114})
PERMISSION = frozenset(
    {40001, 40003, 40113, 40117, 40118, 40124, 40125, 40130, 40131, 40300, 40301, 40302, 40309, 41000}
)
"""Of the app, of who authorized it, or for this ad account; 40118: not on the list of those who may use this."""
PARAMETERS = frozenset({40000, 40002, 40007, 40011, 40061, 40062, 40700})
"""Refusals that may be about who is in a request, or about the audience: 40007 no such object, 40061 too large a batch, 40062 no
hash."""
WRITE_CONFLICT = 40202
BREATHER_S = 1.0
"""TikTok's limits are of requests a second."""
_REQUEST = re.compile(r"[0-9A-Za-z]{1,60}")


@dataclass(frozen=True, slots=True)
class Refusal:
    """What TikTok says where it does not do what was asked. ``words`` name nobody."""

    code: int
    words: str
    request: str

    @property
    def shown(self) -> str:
        asked = f", request {self.request}" if self.request else ""
        return f"error {self.code}{asked}" + (f": {self.words}" if self.words else "")

    @property
    def is_of_permissions(self) -> bool:
        return self.code in PERMISSION or "permission" in self.words.lower()

    @property
    def is_of_terms(self) -> bool:
        words = self.words.lower()
        return "terms" in words or "agreement" in words


def code_of(answer: Answer) -> int | None:
    """The code; None where the answer is not in TikTok's form."""
    found = answer.body.get("code") if isinstance(answer.body, dict) else None
    if isinstance(found, str) and re.fullmatch(r"[0-9]{1,9}", found):
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def refusal_of(answer: Answer) -> Refusal | None:
    code = code_of(answer)
    if not code:
        return None
    request = answer.body.get("request_id")
    known = isinstance(request, str) and _REQUEST.fullmatch(request) is not None
    return Refusal(code, plain_words(answer.body.get("message")), str(request) if known else "")


def reading(answer: Answer) -> Reading:
    code = code_of(answer)
    if code is None:
        if answer.status < 400:
            return Retry(retry_after(answer), maybe_applied=True)  # every good answer has a code
        return default_reading(answer)
    if code in THROTTLED:
        asked = retry_after(answer)
        return Retry(BREATHER_S if asked is None else asked, maybe_applied=False)
    if code == 0 or (40_000 <= code < 50_000 and code != WRITE_CONFLICT):
        found = default_reading(answer)
        return found if code == 0 or isinstance(found, Retry) else Outcome.REFUSED
    return Retry(retry_after(answer), maybe_applied=True)


class Calls:
    """Calls of one advertiser."""

    def __init__(self, http: HttpClient, where: str) -> None:
        self.http = http
        self.where = where

    def get(self, path: str, params: Mapping[str, str | int], *, operation: str) -> Answer:
        """Raises NotApplied where there is no answer: reading changes nothing."""
        try:
            return self.http.request("GET", f"{VERSION}{path}", operation=operation, params=params)
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def change(self, path: str, body: Any, *, operation: str, idempotent: bool = True) -> Answer:
        return self.http.request("POST", f"{VERSION}{path}", operation=operation, json=body, idempotent=idempotent)

    def data_of(self, answer: Answer, doing: str) -> Mapping[str, Any]:
        """What an answer holds. Raises the error of a refusal, and NotApplied where it holds nothing that can be read."""
        self.check(answer, doing)
        found = answer.body.get("data")
        if not isinstance(found, dict):
            raise NotApplied(f"tiktok: the answer to `{doing}` has no data")
        return found

    def check(self, answer: Answer, doing: str, *, of_people: bool = False) -> None:
        """Raises the error of a refusal. ``of_people``: who is in the request may be what is refused."""
        refusal = refusal_of(answer)
        if refusal is None and answer.status < 400:
            return
        if of_people and answer.status == 413:
            raise BatchRefused("the request is too large", reason_code="HTTP_413")
        if refusal is None:
            raise DestinationError(
                f"the request to {doing} was refused with HTTP {answer.status}, not in TikTok's form",
                where=self.where,
                remedy="check `base_url`, and any proxy or firewall on the way to TikTok",
            )
        if refusal.code in TOKEN:
            raise AccessRefused(
                f"TikTok does not accept the access token ({refusal.shown})",
                where=self.where,
                remedy="was the app's authorization withdrawn? Authorize it again for this advertiser, and put the new access "
                "token, without `Bearer`, into the variable that `access_token` names",
            )
        if refusal.is_of_terms:
            raise AccessRefused(
                f"TikTok wants terms to be accepted before it lets anybody {doing} ({refusal.shown})",
                where=self.where,
                remedy="an admin of the ad account opens Assets, Audiences in TikTok Ads Manager and accepts its terms",
            )
        if refusal.is_of_permissions:
            raise AccessRefused(
                f"TikTok does not allow this token to {doing} ({refusal.shown})",
                where=self.where,
                remedy="check `advertiser_id`, that the app has the scope Audience Management, that who authorized it may manage "
                "this ad account, and that TikTok has opened its streaming API (segments) to the app: ask your representative",
            )
        if of_people and refusal.code in PARAMETERS:
            raise BatchRefused(refusal.words or "TikTok refuses the request", reason_code=str(refusal.code))
        raise DestinationError(
            f"TikTok refused to {doing} ({refusal.shown})",
            where=self.where,
            remedy="look the code up among the return codes in TikTok's API for Business; its support can find the request",
        )
