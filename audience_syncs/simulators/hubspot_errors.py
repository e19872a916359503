"""HubSpot's error envelope and the errors the simulator gives.

Shapes: HubSpot's published OpenAPI (``Error``, ``StandardError``, ``ErrorDetail``) and its error-handling and usage
guidelines pages. The texts of validation errors are those HubSpot is known to answer.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import orjson

from audience_syncs.simulators.platform import Answer

PORTAL = 12345678


class Refused(Exception):
    """A request HubSpot answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def error(
    status: int,
    category: str,
    message: str,
    *,
    sub_category: str | None = None,
    context: dict[str, list[str]] | None = None,
    errors: Sequence[dict[str, Any]] = (),
    headers: dict[str, str] | None = None,
) -> Answer:
    """One error in HubSpot's envelope."""
    body: dict[str, Any] = {
        "status": "error",
        "message": message,
        "correlationId": str(uuid.uuid4()),
        "category": category,
    }
    if sub_category is not None:
        body["subCategory"] = sub_category
    if context:
        body["context"] = context
    if errors:
        body["errors"] = list(errors)
    return Answer(status, body, headers or {})


def invalid(message: str, *, sub_category: str | None = None, context: dict[str, list[str]] | None = None) -> Answer:
    return error(400, "VALIDATION_ERROR", message, sub_category=sub_category, context=context)


def not_json(detail: str) -> Answer:
    return invalid(f"Invalid input JSON on line 1, column 1: {detail}")


def bad_token() -> Answer:
    return error(
        401,
        "INVALID_AUTHENTICATION",
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find more "
        "details at https://developers.hubspot.com/docs/methods/auth/oauth-overview",
    )


def missing_scopes(scopes: Sequence[str]) -> Answer:
    message = (
        "This app hasn't been granted all required scopes to make this call. Read more about required scopes here: "
        "https://developers.hubspot.com/scopes."
    )
    detail = {"message": "One or more of the following scopes are required.", "context": {"requiredScopes": [*scopes]}}
    return error(403, "MISSING_SCOPES", message, errors=[detail])


def no_such_path() -> Answer:
    return Answer(404, None)


def no_such_list(list_id: str) -> Answer:
    return error(404, "OBJECT_NOT_FOUND", f"List does not exist with ID {list_id}.", sub_category="ILS.LIST_NOT_FOUND")


def row_error(category: str, message: str, context: dict[str, list[str]]) -> dict[str, Any]:
    """One failed input of a batch, as it stands in ``errors`` of a 207."""
    return {
        "status": "error",
        "category": category,
        "message": message,
        "context": context,
        "errors": [],
        "links": {},
    }


def not_valid(name: str, code: str, text: str) -> str:
    """HubSpot's message about a property value: a sentence with JSON inside."""
    detail = {
        "isValid": False,
        "message": text,
        "error": code,
        "name": name,
        "localizedErrorMessage": text,
        "portalId": PORTAL,
    }
    return f"Property values were not valid: {orjson.dumps([detail]).decode()}"
