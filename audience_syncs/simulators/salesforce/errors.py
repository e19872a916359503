"""Salesforce's errors: an array of codes and messages for a whole request; one record's own in the answer for it.

Shapes and words: REST API Developer Guide (status codes and error responses; sObject Collections), and answers that people
have published.
"""

from __future__ import annotations

from typing import Any

from audience_syncs.simulators.platform import Answer


class Refused(Exception):
    """A request Salesforce answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


class BadRecord(Exception):
    """One record that Salesforce refuses."""

    def __init__(self, code: str, message: str, *fields: str) -> None:
        self.code, self.message, self.fields = code, message, list(fields)
        super().__init__(code)

    def as_json(self) -> dict[str, Any]:
        return {"statusCode": self.code, "message": self.message, "fields": self.fields}

    def in_csv(self) -> str:
        """As results of jobs tell it."""
        return f"{self.code}:{self.message}:{','.join(self.fields)} --"


def error(status: int, code: str, message: str) -> Answer:
    return Answer(status, [{"message": message, "errorCode": code}])


def expired() -> Answer:
    return error(401, "INVALID_SESSION_ID", "Session expired or invalid")


def not_found(message: str = "The requested resource does not exist") -> Answer:
    return error(404, "NOT_FOUND", message)


def no_such_field(name: str, kind: str) -> Answer:
    text = f"No such column '{name}' on sobject of type {kind}"
    return error(400, "INVALID_FIELD", text)


def no_such_object(name: str) -> Answer:
    return error(400, "INVALID_TYPE", f"sObject type '{name}' is not supported.")


def malformed_query(message: str) -> Answer:
    return error(400, "MALFORMED_QUERY", message)


def throttled() -> Answer:
    return error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")


def forbidden() -> Answer:
    return error(403, "INSUFFICIENT_ACCESS", "insufficient access rights on object id")


def broken(status: int) -> Answer:
    text = "An unexpected error occurred. Please include this ErrorId if you contact support: 1234567890-12345 (-12345)"
    return error(status, "UNKNOWN_EXCEPTION", text)
