"""TikTok's envelope: HTTP 200 whatever happened, with a code, a message, an id of the request, and data.

Codes are TikTok's own (its client for Python has a table of them); messages as others have published them, where there are any:
40001 (scope), 40100, 40105, 51010. The messages of 40002 are ours: nobody has published those about segments.
"""

from __future__ import annotations

import itertools

from audience_syncs.simulators.platform import Answer, Json

_NUMBERS = itertools.count(1)


class Refused(Exception):
    """A request TikTok does not carry out."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.body["code"]))


def ok(data: Json) -> Answer:
    return _answer(0, "OK", data)


def refusal(code: int, message: str) -> Answer:
    return _answer(code, message, {})


def wrong(message: str, code: int = 40002) -> Refused:
    """A parameter that cannot be."""
    return Refused(refusal(code, message))


def no_token() -> Answer:
    return refusal(40104, "Access token is empty. Please check your request.")


def bad_token() -> Answer:
    return refusal(40105, "Access token is incorrect or has been revoked.")


def no_scope() -> Answer:
    return refusal(40001, "Permission error: The access token lacks the required scope for endpoint.")


def throttled() -> Answer:
    return refusal(40100, "Too many requests. Please retry in some time.")


def broken() -> Answer:
    return refusal(51010, "Internal service timed out. Please retry in sometime.")


def _answer(code: int, message: str, data: Json) -> Answer:
    request = f"2026112614452101024513600{next(_NUMBERS):08d}"
    return Answer(200, {"code": code, "message": message, "request_id": request, "data": data})
