"""Pinterest's errors: a number and a message. The numbers and words that nobody has published are ours."""

from __future__ import annotations

from audience_syncs.simulators.platform import Answer


class Refused(Exception):
    """A request Pinterest answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def error(status: int, code: int, message: str) -> Answer:
    return Answer(status, {"code": code, "message": message})


def invalid(message: str) -> Answer:
    return error(400, 1, f"Invalid request: {message}")


def unauthorized() -> Answer:
    return error(401, 2, "Authentication failed.")


def not_permitted() -> Answer:
    return error(403, 29, "You are not permitted to access that resource.")


def not_found(what: str) -> Answer:
    return error(404, 50, f"{what} not found.")


def throttled() -> Answer:
    return error(429, 8, "You have exceeded your rate limit. Try again later.")


def broken(status: int) -> Answer:
    return error(status, 0, "Internal server error.")
