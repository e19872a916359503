"""What Meta's errors mean: which are worth another try, which stop the run, which refuse a batch.

Codes: Marketing API, error handling, rate limiting and the Custom Audiences guide (read 2026-09). The HTTP status is not relied
upon: Meta answers most errors, throttling included, with 400.
"""

from __future__ import annotations

import json
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, Outcome, Reading, Retry, default_reading, retry_after
from audience_syncs.model.errors import AccessRefused, BatchRefused, DestinationError

_THROTTLED = {4, 17, 32, 613, 80000, 80003, 80004, 80014}
_TRANSIENT = {1, 2}
_REPLACING = {(2650, 1870145), (2650, 1870148)}
_TOKEN = {102, 190, 463, 467}
_NOT_ALLOWED = {10, 200, 294, 299, 368}
_TERMS = {1870090, 1870050}
_GONE = {(100, 33), (803, None)}
_OLD_VERSION = 2635


def reading(answer: Answer) -> Reading:
    """Whether to try again: throttled (not applied), a passing error (may have been applied), or final."""
    code, subcode = _codes(answer)
    if code in _THROTTLED:
        return Retry(_wait(answer), maybe_applied=False)
    if (code, subcode) in _REPLACING:
        return Retry(30.0, maybe_applied=False)
    if code in _TRANSIENT or _error(answer).get("is_transient") is True:
        return Retry(retry_after(answer), maybe_applied=True)
    return Outcome.REFUSED if code is not None else default_reading(answer)


def list_is_missing(answer: Answer) -> bool:
    code, subcode = _codes(answer)
    return (code, subcode) in _GONE or code == 803


def raise_refusal(answer: Answer, doing: str, *, per_batch: bool = False) -> NoReturn:
    """The error for a final refusal. ``per_batch``: a request with people, whose content may be what is refused."""
    code, subcode = _codes(answer)
    error = _error(answer)
    name = f"{code}/{subcode}" if subcode is not None else str(code or f"HTTP {answer.status}")
    trace = f" (request {error['fbtrace_id']})" if error.get("fbtrace_id") else ""
    if code in _TOKEN or (code is None and answer.status == 401):
        raise AccessRefused(
            f"Meta refuses the access token, error {name}{trace}",
            remedy="make a new system-user token with ads_management, and set it in the destination's variable",
        )
    if subcode in _TERMS:
        raise AccessRefused(
            f"Meta wants the Custom Audience terms accepted for this ad account, error {name}{trace}",
            remedy="accept the terms in Ads Manager, under Audiences, once per account",
        )
    if code in _NOT_ALLOWED or (code is None and answer.status == 403):
        raise AccessRefused(
            f"Meta does not allow this token to {doing}, error {name}{trace}",
            remedy="give the token's user the ad account and the permission ads_management",
        )
    if code == _OLD_VERSION:
        raise DestinationError(
            f"Meta no longer serves this version of its API, error {name}{trace}",
            remedy="raise `api_version` in the destination's settings",
        )
    words = _words(error)
    if per_batch and 400 <= answer.status < 500:
        raise BatchRefused(words, reason_code=name)
    raise DestinationError(f"Meta refused to {doing}: {words}, error {name}{trace}", remedy="see Meta's error codes")


def usage_percent(answer: Answer) -> float:
    """How much of the account's budget is used, by the fullest of Meta's meters; 0 where it does not say."""
    meters = [
        float(entry.get(meter, 0) or 0)
        for entry in _usage(answer)
        for meter in ("call_count", "total_cputime", "total_time")
    ]
    return max(meters, default=0.0)


def _wait(answer: Answer) -> float | None:
    """Seconds until Meta says access is regained."""
    minutes = [float(entry.get("estimated_time_to_regain_access", 0) or 0) for entry in _usage(answer)]
    longest = max(minutes, default=0.0)
    return longest * 60 if longest else retry_after(answer)


def _usage(answer: Answer) -> list[dict[str, Any]]:
    """Entries of X-Business-Use-Case-Usage: per account a list of meters in per cent."""
    try:
        accounts = json.loads(answer.headers.get("X-Business-Use-Case-Usage") or "{}")
    except json.JSONDecodeError:
        return []
    entries = accounts.values() if isinstance(accounts, dict) else []
    return [entry for listed in entries if isinstance(listed, list) for entry in listed if isinstance(entry, dict)]


def _error(answer: Answer) -> dict[str, Any]:
    found = answer.body.get("error") if isinstance(answer.body, dict) else None
    return found if isinstance(found, dict) else {}


def _codes(answer: Answer) -> tuple[int | None, int | None]:
    error = _error(answer)
    code, subcode = error.get("code"), error.get("error_subcode")
    return (code if isinstance(code, int) else None, subcode if isinstance(subcode, int) else None)


def _words(error: dict[str, Any]) -> str:
    """Meta's title of the error. Its detailed texts may quote what was sent, so they are left out."""
    title = str(error.get("error_user_title") or error.get("type") or "refused")
    return "".join(c for c in title if c.isalpha() or c in " -,.'")[:100].strip() or "refused"
