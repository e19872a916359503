"""Snap's envelope. Every answer has a ``request_status`` and a ``request_id``; each thing in it a ``sub_request_status``.

Read from Snap's pages on API patterns and errors, and from answers that others have published: E3003 with its words (a 404),
E3002 (no permission), a 401 that is the bare word ``unauthorized``. The other codes and words are ours. No header says when to
come back after a 429: Snap documents none.
"""

from __future__ import annotations

import secrets
from typing import Any

from audience_syncs.simulators.platform import Answer


class Refused(Exception):
    """A request Snapchat answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def success(plural: str, singular: str, found: list[dict[str, Any]], **more: Any) -> Answer:
    """The things asked for, each in an envelope of its own."""
    parts = [{"sub_request_status": "SUCCESS", singular: each} for each in found]
    return Answer(200, {"request_status": "SUCCESS", "request_id": _request_id(), **more, plural: parts})


def part_refused(plural: str, reason: str) -> Answer:
    """The request was read, and the one thing in it was not done."""
    part = {"sub_request_status": "ERROR", "sub_request_error_reason": reason}
    return Answer(200, {"request_status": "SUCCESS", "request_id": _request_id(), plural: [part]})


def error(status: int, code: str, debug: str, display: str) -> Answer:
    return Answer(
        status,
        {
            "request_status": "ERROR",
            "request_id": _request_id(),
            "debug_message": debug,
            "display_message": display,
            "error_code": code,
        },
    )


def invalid(debug: str) -> Answer:
    return error(400, "E1001", debug, "We're sorry, but the data provided in the request is incomplete or incorrect")


def not_found() -> Answer:
    display = "We're sorry, but the requested resource is not available at this time"
    return error(404, "E3003", "Resource can not be found", display)


def not_permitted() -> Answer:
    display = "We're sorry, but you do not have permission to do this"
    return error(403, "E3002", "User does not have the required role on the ad account", display)


def unauthorized() -> Answer:
    return Answer(401, "unauthorized")


def throttled() -> Answer:
    return error(429, "E1009", "Too Many Requests", "You are sending too many requests")


def broken(status: int) -> Answer:
    return error(status, "E1000", "Internal error", "We're sorry, but something went wrong on our side")


def _request_id() -> str:
    return secrets.token_hex(24)
