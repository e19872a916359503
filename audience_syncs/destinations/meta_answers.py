"""What Meta's answers mean: which to try again, which stop the run, which refuse a batch; and how busy the account is.

Graph API errors come in an envelope with a code and a subcode, and the HTTP status says little: a throttled request is
a 400. Sources: Graph API error handling, Marketing API rate limiting and error codes, Customer File Custom Audiences
guide (documentation of v25.0, read 2026-09). [mem]: from memory of the platform, not from its documentation.

No text of Meta's goes into an error or a verdict before ``without_identifiers``: its messages may quote what was sent.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from audience_syncs.destinations.http import Answer, Outcome, Reading, Retry, default_reading, retry_after
from audience_syncs.model.errors import AccessRefused, DestinationError

THROTTLED = frozenset({4, 17, 32, 613, 80000, 80003, 80004, 80014})
TEMPORARY = frozenset({1, 2})
UPDATING = (2650, 1870145)
"""A replacement of the audience's members is under way: nothing else is taken meanwhile."""
NOT_FULLY_UPDATED = (2650, 1870148)
SESSION_OVER = frozenset({(2650, 1870158), (2650, 1870159)})
"""The upload session timed out, or has had its last batch."""

TOKEN = frozenset({102, 190, 463, 467})
PERMISSION = frozenset({3, 10, 104, 368, *range(200, 300)})
TERMS = 1870090
INTEGRITY = frozenset({1713230})
NOT_ABOUT_PEOPLE = frozenset({105, 194, 2500})
"""Codes about how we ask, not about whom: no smaller batch would do better."""

BUSY_PERCENT = 75.0
SLOWEST = 0.05

_IDENTIFIERS = (
    re.compile(r"\S+@\S+"),
    re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{13,}"),
    re.compile(r"\b\w{20,}\b"),
    re.compile(r"\+?\d[\d\s()./-]{4,}\d"),
    re.compile(r"'[^']*'|\"[^\"]*\"|«[^»]*»|“[^”]*”"),
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Meta's error envelope."""

    code: int
    subcode: int
    message: str
    title: str
    detail: str
    transient: bool
    trace: str

    @property
    def reason_code(self) -> str:
        """``100/33``, or ``100`` where there is no subcode."""
        return f"{self.code}/{self.subcode}" if self.subcode else str(self.code)

    @property
    def reason(self) -> str:
        """The platform's short words, free of identifiers."""
        return without_identifiers(self.title) or "the platform refused the request"

    @property
    def is_of_missing_object(self) -> bool:
        return self.code == 100 and (self.subcode == 33 or "does not exist" in self.message)


def refusal_of(answer: Answer) -> Refusal | None:
    """The error an answer carries; None where it carries none."""
    envelope = answer.body.get("error") if isinstance(answer.body, dict) else None
    if not isinstance(envelope, dict):
        return None
    return Refusal(
        code=number(envelope.get("code")) or 0,
        subcode=number(envelope.get("error_subcode")) or 0,
        message=_text(envelope.get("message")),
        title=_text(envelope.get("error_user_title")),
        detail=_text(envelope.get("error_user_msg")),
        transient=envelope.get("is_transient") is True,
        trace=_text(envelope.get("fbtrace_id")) or answer.request_id,
    )


def reading(answer: Answer) -> Reading:
    """Whether an answer is final, and otherwise when to ask again and whether the request may have been applied."""
    refusal = refusal_of(answer)
    if refusal is None:
        if answer.status < 400 and not isinstance(answer.body, dict):
            return Retry(None, maybe_applied=True)  # every good answer of the Graph API is an object
        return default_reading(answer)
    kind = (refusal.code, refusal.subcode)
    if refusal.code in THROTTLED or kind == UPDATING:
        return Retry(_seconds_to_wait(answer), maybe_applied=False)
    if refusal.code in TEMPORARY or refusal.transient or kind == NOT_FULLY_UPDATED:
        return Retry(retry_after(answer), maybe_applied=True)
    known = refusal.code in TOKEN or refusal.code in PERMISSION
    read = default_reading(answer)
    return read if isinstance(read, Retry) and not known else Outcome.REFUSED


def stopping_error(refusal: Refusal, where: str) -> DestinationError | None:
    """The error for a refusal that nothing about the members can change; None where it may be about them.

    A missing object is left to the caller, who knows whether it is the list or the account.
    """
    asked = f" ({_trace(refusal)})" if refusal.trace else ""
    if refusal.code in TOKEN:
        return AccessRefused(
            f"Meta does not accept the access token, error {refusal.reason_code}{asked}",
            where=where,
            remedy="make a new system-user token with the permission ads_management, and put it into the environment "
            "variable that the destination's `access_token` names",
        )
    if refusal.subcode == TERMS or "terms" in refusal.title.lower():
        return AccessRefused(
            f"the Custom Audience terms are not accepted for this ad account, error {refusal.reason_code}{asked}",
            where=where,
            remedy="an admin of the ad account accepts them in Meta's Business settings or Ads Manager, Audiences",
        )
    if refusal.code == 368:
        return AccessRefused(
            f"Meta blocks this account's actions for now, error {refusal.reason_code}{asked}",
            where=where,
            remedy="see Account Quality in Meta's Business settings; the next run tries again",
        )
    if refusal.code in PERMISSION:
        return AccessRefused(
            f"the access token lacks a permission, error {refusal.reason_code}{asked}: {refusal.reason}",
            where=where,
            remedy="give the token's user the ad account with `Manage campaigns`, and the token the permission "
            "ads_management",
        )
    if refusal.subcode in INTEGRITY:
        return DestinationError(
            f"Meta has blocked uploads to this audience for what its name or description suggests, error "
            f"{refusal.reason_code}{asked}",
            where=where,
            code="LIST_BLOCKED",
            remedy="see the audience in Ads Manager; give it a neutral name, without health or financial terms",
        )
    if refusal.code == 2635:
        return DestinationError(
            f"Meta has ended this version of its API, error {refusal.reason_code}{asked}",
            where=where,
            remedy="raise `api_version` in the destination's settings, or remove it to take our default",
        )
    if refusal.code in NOT_ABOUT_PEOPLE:
        return request_refused(refusal, where)
    return None


def request_refused(refusal: Refusal, where: str) -> DestinationError:
    """For a request that is refused for none of the reasons we know."""
    words = [without_identifiers(text) for text in (refusal.title, refusal.detail)]
    said = ": ".join(dict.fromkeys(text for text in words if text)) or "without a reason"
    trace = f" ({_trace(refusal)})" if refusal.trace else ""
    return DestinationError(
        f"Meta refused the request, error {refusal.reason_code}{trace}: {said}",
        where=where,
        remedy="look up the code in Meta's Marketing API error reference; Meta's support can find the trace",
    )


def share_of_pace(answer: Answer, account_id: str) -> float:
    """Which part of the full pace the account's usage headers leave: 1 below ``BUSY_PERCENT``, little near 100 %."""
    used = max((percent for percent, _ in _usage(answer, account_id)), default=0.0)
    if used <= BUSY_PERCENT:
        return 1.0
    return max(SLOWEST, (100.0 - used) / (100.0 - BUSY_PERCENT))


def without_identifiers(text: str) -> str:
    """Text without anything that looks like an address, a hash, an id or a number of somebody's; at most 200 letters."""
    for pattern in _IDENTIFIERS:
        text = pattern.sub("...", text)
    return " ".join(text.split())[:200]


def number(value: Any) -> int | None:
    """A whole number, which the Graph API writes as a number or as text."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        return int(value)
    return None


def _seconds_to_wait(answer: Answer) -> float | None:
    """What the platform asks for; None where it gives no time."""
    minutes = max((minutes for _, minutes in _usage(answer, "")), default=0.0)
    asked = retry_after(answer)
    return max(minutes * 60.0, asked or 0.0) or asked


def _usage(answer: Answer, account_id: str) -> Iterator[tuple[float, float]]:
    """Used percentage and minutes until access is regained, of all that the usage headers count.

    ``X-Business-Use-Case-Usage`` is keyed by account; that of ``account_id`` is looked at where there is one.
    """
    by_account = _header(answer, "X-Business-Use-Case-Usage")
    groups = [by_account[account_id]] if account_id in by_account else list(by_account.values())
    for group in groups:
        for usage in group if isinstance(group, list) else ():
            if isinstance(usage, Mapping):
                shares = (usage.get(name) for name in ("call_count", "total_cputime", "total_time"))
                yield max(map(_amount, shares)), _amount(usage.get("estimated_time_to_regain_access"))
    of_ads = _header(answer, "X-Ad-Account-Usage")
    if of_ads:
        yield _amount(of_ads.get("acc_id_util_pct")), 0.0


def _header(answer: Answer, name: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(answer.headers.get(name, "{}"))
    except orjson.JSONDecodeError:
        return {}  # a hint that cannot be read is no hint
    return found if isinstance(found, dict) else {}


def _amount(value: Any) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    return float(value) if usable else 0.0


def _trace(refusal: Refusal) -> str:
    return f"trace {refusal.trace}" if re.fullmatch(r"[\w-]{1,60}", refusal.trace) else "no trace"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
