"""Meta's error envelope and the errors the simulator gives.

Shape and codes: Graph API error handling and the Custom Audiences guide. HTTP status: 400, except an invalidated token
(401; Meta has answered this with 400 too, so a client should go by code 190), permissions (403) and 5xx.
"""

from __future__ import annotations

import secrets
from typing import Any

from audience_syncs.simulators.platform import Answer


class Refused(Exception):
    """A request Meta answers with an error."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        super().__init__(str(answer.status))


def error(
    code: int,
    message: str,
    *,
    subcode: int | None = None,
    kind: str = "OAuthException",
    status: int = 400,
    transient: bool = False,
    title: str | None = None,
    detail: str | None = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One error in Meta's envelope."""
    envelope: dict[str, Any] = {"message": message, "type": kind, "code": code}
    if subcode is not None:
        envelope["error_subcode"] = subcode
    envelope["is_transient"] = transient
    if title is not None:
        envelope["error_user_title"] = title
    if detail is not None:
        envelope["error_user_msg"] = detail
    envelope["fbtrace_id"] = f"A{secrets.token_urlsafe(16)}"
    return Answer(status, {"error": envelope}, headers or {})


def invalid_parameter(detail: str, *, subcode: int | None = None) -> Answer:
    return error(100, "Invalid parameter", subcode=subcode, title="Invalid parameter", detail=detail)


def unknown_object(object_id: str, method: str) -> Answer:
    return error(
        100,
        f"Unsupported {method.lower()} request. Object with ID '{object_id}' does not exist, cannot be loaded due to "
        "missing permissions, or does not support this operation. Please read the Graph API documentation at "
        "https://developers.facebook.com/docs/graph-api",
        subcode=33,
        kind="GraphMethodException",
    )


def unknown_path(path: str) -> Answer:
    return error(2500, f"Unknown path components: /{path}")


def bad_token(token: str) -> Answer:
    if not token:
        return error(190, "An access token is required to request this resource.", status=401)
    return error(
        190,
        "Error validating access token: The session has been invalidated because the user changed their password or "
        "Facebook has changed the session for security reasons.",
        subcode=460,
        status=401,
    )


def replacing(subcode: int, detail: str, *, transient: bool = False) -> Answer:
    """Code 2650: an upload session that cannot take this batch."""
    return error(2650, "Failed to update the custom audience", subcode=subcode, transient=transient, detail=detail)
