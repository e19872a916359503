"""Google's errors: ``google.rpc.Status`` as JSON, with ``ErrorInfo``, ``BadRequest``, ``RequestInfo``.

Shape: AIP-193 and the Data Manager API's guide *Understand API errors*; a violation's ``field`` is a path in snake case with
indices. The words of a throttled call and of a refused token are those of Google's APIs in general.
"""

from __future__ import annotations

import uuid
from typing import Any

from audience_syncs.simulators.platform import Answer

DOMAIN = "datamanager.googleapis.com"
STATUS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    409: "ALREADY_EXISTS",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
Violation = dict[str, str]


class Refused(Exception):
    """A request Google answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def violation(field: str, reason: str, description: str = "There was a problem with the request.") -> Violation:
    return {"field": field, "description": description, "reason": reason}


def error(
    status: int,
    reason: str,
    message: str,
    *violations: Violation,
    metadata: dict[str, str] | None = None,
    domain: str = DOMAIN,
) -> Answer:
    details: list[dict[str, Any]] = [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": reason,
            "domain": domain,
            **({"metadata": metadata} if metadata else {}),
        },
        {"@type": "type.googleapis.com/google.rpc.RequestInfo", "requestId": f"t-{uuid.uuid4()}"},
    ]
    if violations:
        details.append({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [*violations]})
    named = STATUS.get(status, "UNKNOWN")
    return Answer(status, {"error": {"code": status, "message": message, "status": named, "details": details}})


def invalid(*violations: Violation) -> Answer:
    """The whole request is refused for these fields."""
    return error(400, "INVALID_ARGUMENT", "There was a problem with the request.", *violations)


def unreadable(problem: str, field: str = "") -> Answer:
    """What the JSON of the request cannot be."""
    text = f"Invalid JSON payload received. {problem}"
    return Answer(
        400,
        {
            "error": {
                "code": 400,
                "message": text,
                "status": "INVALID_ARGUMENT",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.BadRequest",
                        "fieldViolations": [{"field": field, "description": text}],
                    }
                ],
            }
        },
    )


def no_list(name: str) -> Answer:
    return error(404, "NOT_FOUND", f"Resource not found: userLists/{name}")


def no_access() -> Answer:
    return error(403, "PERMISSION_DENIED", "The user does not have permission or the resource is not found.")


def bad_token() -> Answer:
    text = "Request had invalid authentication credentials. Expected OAuth 2 access token."
    return error(401, "ACCESS_TOKEN_EXPIRED", text, domain="googleapis.com")


def no_scope() -> Answer:
    text = "Request had insufficient authentication scopes."
    return error(403, "ACCESS_TOKEN_SCOPE_INSUFFICIENT", text, domain="googleapis.com")
