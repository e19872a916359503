"""LinkedIn's errors: ``status``, ``serviceErrorCode``, ``code``, ``message``.

As real accounts were answered, where others have published it: a version that has ended, a missing permission, a day's quota,
an expired and a revoked token. The words for a segment or an element that cannot be are ours.
"""

from __future__ import annotations

from typing import Any

from audience_syncs.simulators.platform import Answer


class Refused(Exception):
    """A request LinkedIn answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def problem(status: int, message: str, code: str = "", number: int | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"status": status, "message": message}
    return found | ({"code": code} if code else {}) | ({"serviceErrorCode": number} if number is not None else {})


def error(status: int, message: str, code: str = "", number: int | None = None) -> Answer:
    return Answer(status, problem(status, message, code, number))


def wrong(message: str) -> Refused:
    return Refused(error(400, message, "VALIDATION_ERROR"))


def no_token() -> Answer:
    return error(401, "Empty oauth2_access_token", number=401)


def bad_token(code: str = "REVOKED_ACCESS_TOKEN") -> Answer:
    if code == "EXPIRED_ACCESS_TOKEN":
        return error(401, "The token used in the request has expired", code, 65602)
    return error(401, "The token used in the request has been revoked by the user", code, 65601)


def not_permitted(path: str, method: str) -> Answer:
    return error(403, f"Not enough permissions to access: {method} {path}", "ACCESS_DENIED", 100)


def ended_version(version: str) -> Answer:
    return error(426, f"Requested version {version}01 is not active", "NONEXISTENT_VERSION")


def not_found(what: str) -> Answer:
    return error(404, f"{what} not found", "NOT_FOUND")


def throttled() -> Answer:
    return error(429, "Resource level throttle limit for calls to this resource is reached.", "TOO_MANY_REQUESTS", 101)


def broken() -> Answer:
    return error(500, "Internal Server Error", "INTERNAL_SERVER_ERROR")
