"""Mailchimp's errors: problem documents (RFC 7807), and what stands among the ``errors`` of a batch.

Shape and titles: Mailchimp's page on errors; the words about addresses, compliance, deleted contacts, archived ones and segments:
answers of real accounts that people have published. The words for what nobody has published are ours.
"""

from __future__ import annotations

import uuid
from typing import Any

from audience_syncs.simulators.platform import Answer

TYPE = "https://mailchimp.com/developer/marketing/docs/errors/"
HEADERS = {"Content-Type": "application/problem+json; charset=utf-8"}


class Refused(Exception):
    """A request Mailchimp answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def problem(status: int, title: str, detail: str, *fields: tuple[str, str]) -> Answer:
    body: dict[str, Any] = {
        "type": TYPE,
        "title": title,
        "status": status,
        "detail": detail,
        "instance": str(uuid.uuid4()),
    }
    if fields:
        body["errors"] = [{"field": field, "message": message} for field, message in fields]
    return Answer(status, body, HEADERS)


def invalid(detail: str, *fields: tuple[str, str]) -> Answer:
    return problem(400, "Invalid Resource", detail, *fields)


def schema(field: str, message: str) -> Answer:
    text = "The resource submitted could not be validated. For field-specific details, see the 'errors' array."
    return invalid(text, (field, message))


def not_found() -> Answer:
    return problem(404, "Resource Not Found", "The requested resource could not be found.")


def bad_key() -> Answer:
    text = "Your API key may be invalid, or you've attempted to access the wrong datacenter."
    return problem(401, "API Key Invalid", text)


def no_key() -> Answer:
    return problem(401, "API Key Missing", "Your request did not include an API key.")


def not_permitted() -> Answer:
    return problem(403, "Forbidden", "You are not permitted to access this resource.")


def throttled() -> Answer:
    text = "You have exceeded the limit of 10 simultaneous connections."
    return problem(429, "Too Many Requests", text)


def broken() -> Answer:
    text = "A deep, internal error has occurred during the processing of your request. Please contact support."
    return problem(500, "Internal Server Error", text)


def of_member(
    email: str, error: str, code: str = "ERROR_GENERIC", field: str = "", message: str = ""
) -> dict[str, Any]:
    """One of the ``errors`` of a batch."""
    return {
        "email_address": email,
        "error": error,
        "error_code": code,
        "field": field,
        "field_message": message,
    }
