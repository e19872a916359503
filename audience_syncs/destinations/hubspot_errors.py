"""What HubSpot's errors mean, and its words without anybody's address in them.

Facts: HubSpot's error-handling and usage guidelines (read 2026-09).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, Reading, Retry, default_reading, retry_after
from audience_syncs.destinations.pacing import Pacer
from audience_syncs.model.errors import AccessRefused, BatchRefused, DestinationError

NOT_THERE = "OBJECT_NOT_FOUND"
"""HubSpot's category for a record it does not have, or no longer."""
_NO_CONTENT = 204
_TOO_MANY, _LOCKED, _MIGRATING = 429, 423, 477
_A_LONG_TIME_S = 3_600.0
_CATEGORY = re.compile(r"[A-Z][A-Z0-9_]{0,60}")
_TRACE = re.compile(r"[0-9a-zA-Z-]{1,60}")
_ERROR_CODE = re.compile(r'"(?:error|code)"\s*:\s*"([A-Z][A-Z0-9_]*)"')
_PROPERTY = re.compile(r'"name"\s*:\s*"([a-z][a-z0-9_]*)"')


def reading(answer: Answer) -> Reading:
    """As HTTP says, and: 423 locked (wait at least two seconds), 477 the account is being moved.

    A spent day's budget is not waited for; that of the current window is, when HubSpot says how long the window is.
    """
    if answer.status == _TOO_MANY:
        spent_for_today = isinstance(answer.body, dict) and answer.body.get("policyName") == "DAILY"
        window_s = (_count(answer, "X-HubSpot-RateLimit-Interval-Milliseconds") or 0) / 1000
        hint = retry_after(answer)
        return Retry(_A_LONG_TIME_S if spent_for_today else hint if hint is not None else window_s or None, False)
    if answer.status < 400 and answer.status != _NO_CONTENT and not isinstance(answer.body, dict):
        return Retry(None, maybe_applied=True)  # all good answers we ask for are objects, or nothing
    if answer.status == _LOCKED:
        return Retry(max(2.0, retry_after(answer) or 0.0), maybe_applied=False)
    if answer.status == _MIGRATING:
        return Retry(retry_after(answer) or 30.0, maybe_applied=False)
    return default_reading(answer)


def keep_to_limit(pace: Pacer, answer: Answer) -> None:
    """Follows the limit that HubSpot's headers tell: nine tenths of it, and less when little of the window is left."""
    most, left = (_count(answer, f"X-HubSpot-RateLimit-{name}") for name in ("Max", "Remaining"))
    window_ms = _count(answer, "X-HubSpot-RateLimit-Interval-Milliseconds")
    if not most or left is None or not window_ms:
        return
    pace.set_rate(0.9 * most / (window_ms / 1000))
    pace.slow_down(1.0 if left * 5 > most else max(0.1, left * 5 / most))


def list_is_missing(answer: Answer) -> bool:
    return answer.status == 404


def row_reason(error: Mapping[str, Any]) -> tuple[str, str]:
    """Code and words for one contact that was refused; HubSpot's message quotes the value, so only its code is kept."""
    message = str(error.get("message", ""))
    category = _category(error) or "REFUSED"
    code = _ERROR_CODE.search(message)
    about = _PROPERTY.search(message)
    words = (code.group(1) if code else category).lower().replace("_", " ")
    return (code.group(1) if code else category), f"{about.group(1)}: {words}" if about else words


def raise_refusal(answer: Answer, doing: str, *, per_batch: bool = False) -> NoReturn:
    """The error for a final refusal. ``per_batch``: a request with people, whose content may be what is refused."""
    body = answer.body if isinstance(answer.body, dict) else {}
    category = _category(body) or f"HTTP {answer.status}"
    correlation = str(body.get("correlationId", ""))
    trace = f" (request {correlation})" if _TRACE.fullmatch(correlation) else ""
    if answer.status == 401:
        raise AccessRefused(
            f"HubSpot refuses the access token{trace}",
            remedy="was the private app deleted or its token rotated? Set the new token in the destination's variable",
        )
    if answer.status == 403:
        scopes = sorted(_required_scopes(body))
        raise AccessRefused(
            f"HubSpot does not allow this token to {doing}: {category}{trace}",
            remedy=f"give the app the scopes {', '.join(scopes or ['crm.objects.contacts.write, crm.lists.write'])}",
        )
    code, words = row_reason(body) if body else (category, category)
    if per_batch and (answer.status in (400, 409, 413, 422) or (answer.status == 404 and category == NOT_THERE)):
        raise BatchRefused(words, reason_code=code)
    raise DestinationError(f"HubSpot refused to {doing}: {words}{trace}", remedy="see HubSpot's error categories")


def _category(error: Mapping[str, Any]) -> str:
    found = error.get("category")
    return found if isinstance(found, str) and _CATEGORY.fullmatch(found) else ""


def _required_scopes(body: Mapping[str, Any]) -> set[str]:
    errors = body.get("errors")
    contexts = [error.get("context") for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    listed = [context.get("requiredScopes") for context in contexts if isinstance(context, dict)]
    return {scope for scopes in listed if isinstance(scopes, list) for scope in scopes if isinstance(scope, str)}


def _count(answer: Answer, header: str) -> int | None:
    text = answer.headers.get(header, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None
