"""Klaviyo's errors: a list of JSON:API error objects.

Shape and the words for a bad key, a missing scope, a throttled call and a refused row: Klaviyo's OpenAPI description, its page
on errors, and answers that people have published. The words for what nobody has published are ours.
"""

from __future__ import annotations

import uuid
from typing import Any

from audience_syncs.simulators.platform import Answer


class Refused(Exception):
    """A request Klaviyo answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def problem(status: int, code: str, title: str, detail: str, pointer: str = "/data/") -> dict[str, Any]:
    """One error object."""
    return {
        "id": str(uuid.uuid4()),
        "status": status,
        "code": code,
        "title": title,
        "detail": detail,
        "source": {"pointer": pointer},
        "links": {},
        "meta": {},
    }


def errors(*problems: dict[str, Any]) -> Answer:
    return Answer(problems[0]["status"], {"errors": [*problems]})


def invalid(detail: str, pointer: str = "/data/") -> dict[str, Any]:
    return problem(400, "invalid", "Invalid input.", detail, pointer)


def not_found(what: str, name: str) -> Answer:
    return errors(problem(404, "not_found", "Not found.", f"A {what} with id {name} does not exist."))


def no_such_path() -> Answer:
    return errors(problem(404, "not_found", "Not found.", "The requested resource could not be found."))


def no_key() -> Answer:
    text = "Missing or invalid authorization scheme. Please use Klaviyo-API-Key."
    return errors(problem(401, "not_authenticated", "Authentication credentials were not provided.", text))


def bad_key() -> Answer:
    text = "Incorrect authentication credentials."
    return errors(problem(401, "authentication_failed", text, text))


def not_permitted() -> Answer:
    text = "You do not have permission to perform this action."
    return errors(problem(403, "permission_denied", text, text))


def throttled(wait_s: float | None) -> Answer:
    text = f"Request was throttled. Expected available in {wait_s or 1:g} seconds."
    return errors(problem(429, "throttled", "Request was throttled.", text))
