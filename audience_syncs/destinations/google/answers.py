"""What Google's answers mean: which to try again, which stop the run, and which refuse single members.

Facts: *Understand API errors* (a ``google.rpc.Status`` with ``ErrorInfo``, ``BadRequest`` and ``RequestInfo``; one bad record fails
the whole request, and nothing of it is processed), the enum ``ErrorReason``, and *Limits and quotas* (429 with the name of the
limit in ``metadata.quota_limit``: ``...PerMinutePerProject`` or ``...PerDayPerProject``). Observed by others at the real API in 2026:
the place is written ``audience_members[17]`` or ``audience_members.audience_members[17]``; a list of the wrong kind is told as a
violation at ``audience_members[0]``, so what a reason is about counts for more than its place; and a valid request is now and then
refused with a place, the words "There was a problem with the request." and no more, and taken when it is sent again.

No words of Google's go into an error: they may quote what was sent. Its reasons are words of a fixed list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from audience_syncs.destinations.http import Answer, Reading, Retry, default_reading, retry_after
from audience_syncs.model.errors import AccessRefused, DestinationError

_WORD = re.compile(r"[A-Z][A-Z0-9_]{2,100}", re.ASCII)
_MEMBER = re.compile(r"(?:^|\.)audience_?[mM]embers\[(\d{1,6})\](?P<below>\.[\w.\[\]]{1,120})?$", re.ASCII)
_DELAY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s", re.ASCII)
_TRACE = re.compile(r"[\w:./-]{1,80}", re.ASCII)
A_MINUTES_QUOTA_S = 15.0
A_DAYS_QUOTA_S = 3_600.0
ABOUT_A_MEMBER = frozenset(
    {
        "REQUIRED_FIELD_MISSING",
        "INVALID_FORMAT",
        "INVALID_HEX_ENCODING",
        "INVALID_BASE64_ENCODING",
        "INVALID_SHA256_FORMAT",
        "INVALID_POSTAL_CODE",
        "INVALID_COUNTRY_CODE",
        "INVALID_REGION_CODE",
        "INVALID_ENUM_VALUE",
        "INVALID_AUDIENCE_MEMBER",
        "TOO_MANY_USER_IDENTIFIERS",
        "NO_IDENTIFIERS_PROVIDED",
        "FIELD_VALUE_TOO_LONG",
        "FIELD_VALUE_TOO_SHORT",
        "TOO_MANY_ELEMENTS",
        "TOO_FEW_ELEMENTS",
        "INVALID_ARGUMENT",
    }
)
"""Reasons that are about one member, where a violation names one."""
VAGUE = frozenset({"", "INVALID_ARGUMENT", "ERROR_REASON_UNSPECIFIED"})
TOO_MUCH = frozenset({"TOO_MANY_AUDIENCE_MEMBERS", "TOO_MANY_ELEMENTS"})
_REMEDIES: Mapping[str, tuple[str, str]] = {
    "TERMS_AND_CONDITIONS_NOT_SIGNED": (
        "the Customer Match terms are not accepted for this account",
        "an admin of the account accepts them in Google Ads: Tools, Audience manager, upload a customer list once",
    ),
    "EU_POLITICAL_ADVERTISING_DECLARATION_REQUIRED": (
        "the account has campaigns without the EU political advertising declaration",
        "declare for every campaign, in Google Ads, whether it has EU political ads",
    ),
    "NOT_ALLOWLISTED": (
        "this account may not use Customer Match",
        "see Google's Customer Match policy: it wants a good history of payments and of compliance; Google's support can tell",
    ),
    "ADVERTISER_NOT_ALLOWLISTED_FOR_UPLOADED_DATA": (
        "this account may not use lists of uploaded data",
        "see Google's Customer Match policy; Google's support can tell why",
    ),
    "DESTINATION_ACCOUNT_TYPE_MISMATCH": (
        "the account is of another kind than `account_type` says",
        "set `account_type` to what the account is",
    ),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (
        "the token lacks the scope of the Data Manager API",
        "sign in again with the scope https://www.googleapis.com/auth/datamanager, and set the new refresh token",
    ),
    "SERVICE_DISABLED": (
        "the Data Manager API is not enabled in the Google Cloud project",
        "enable datamanager.googleapis.com in the project of the credentials (or of `quota_project`), and wait some minutes",
    ),
}
_SECOND_NAMES = {"ADVERTISER_TOS_NOT_ACCEPTED": "TERMS_AND_CONDITIONS_NOT_SIGNED"}
_ACCESS = frozenset({*_REMEDIES, *_SECOND_NAMES, "PERMISSION_DENIED", "USER_PROJECT_DENIED"})


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with one field. ``member``: whose it is, by position; ``vague``: not more than that something is."""

    reason: str
    member: int | None
    field: str

    @property
    def vague(self) -> bool:
        return not self.field and self.reason in VAGUE

    @property
    def in_words(self) -> str:
        words = (self.reason or "INVALID_ARGUMENT").replace("_", " ").lower()
        return f"{self.field}: {words}" if self.field else words


@dataclass(frozen=True, slots=True)
class Refusal:
    """Google's error, without its words."""

    http: int
    status: str
    reasons: tuple[str, ...]
    violations: tuple[Violation, ...]
    quota: str
    delay_s: float | None
    trace: str

    @property
    def reason(self) -> str:
        """The most telling one."""
        telling = [reason for reason in self.reasons if reason not in VAGUE and reason != self.status]
        return (telling or [*self.reasons, self.status or f"HTTP {self.http}"])[0]

    def has(self, *reasons: str) -> bool:
        return bool({self.status, *self.reasons} & set(reasons))


def reading(answer: Answer) -> Reading:
    """Whether an answer is final. A quota tells when to come back: a minute's soon, a day's not in this run."""
    if answer.status == 429:
        refusal = refusal_of(answer)
        hint = retry_after(answer)
        if hint is None:
            hint = refusal.delay_s
        if "PerDay" in refusal.quota:
            hint = max(hint or 0.0, A_DAYS_QUOTA_S)
        elif hint is None and "PerMinute" in refusal.quota:
            hint = A_MINUTES_QUOTA_S
        return Retry(hint, maybe_applied=False)
    if answer.status < 400 and not isinstance(answer.body, dict):
        return Retry(None, maybe_applied=True)  # every good answer is an object
    return default_reading(answer)


def refusal_of(answer: Answer) -> Refusal:
    """What a refusal says, as far as it can be read."""
    body = answer.body if isinstance(answer.body, dict) else {}
    error = body.get("error")
    error = error if isinstance(error, dict) else {}
    violations, reasons, quota, delay_s, trace = [], [], "", None, ""
    for detail in _dicts(error.get("details")):
        kind = str(detail.get("@type", "")).rpartition(".")[2]
        if kind == "ErrorInfo":
            reasons.append(_word(detail.get("reason")))
            metadata = detail.get("metadata")
            quota = _text(metadata.get("quota_limit")) if isinstance(metadata, dict) else quota
        elif kind == "BadRequest":
            violations += [_violation(each) for each in _dicts(detail.get("fieldViolations"))]
        elif kind == "RetryInfo":
            found = _DELAY.fullmatch(_text(detail.get("retryDelay")))
            delay_s = float(found[1]) if found else delay_s
        elif kind == "RequestInfo":
            trace = _text(detail.get("requestId"))
    found_reasons = [*(violation.reason for violation in violations), *reasons]
    return Refusal(
        http=answer.status,
        status=_word(error.get("status")),
        reasons=tuple(dict.fromkeys(reason for reason in found_reasons if reason)),
        violations=tuple(violations),
        quota=quota,
        delay_s=delay_s,
        trace=trace if _TRACE.fullmatch(trace) else "",
    )


def members_at_fault(refusal: Refusal, sent: int) -> dict[int, Violation]:
    """The members for whom an upload is refused, with what is wrong. Empty where it is refused for anything else."""
    found: dict[int, Violation] = {}
    for violation in refusal.violations if refusal.http == 400 else ():
        about_member = violation.member is not None and violation.member < sent
        if not about_member or violation.reason not in ABOUT_A_MEMBER | VAGUE:
            return {}
        assert violation.member is not None
        known = found.get(violation.member)
        if known is None or known.vague:
            found[violation.member] = violation
    return found


def stopping_error(refusal: Refusal, doing: str, where: str) -> DestinationError:
    """The error for a refusal that nothing about the members can change."""
    asked = f" (request {refusal.trace})" if refusal.trace else ""
    reason = refusal.reason
    message, remedy = _REMEDIES.get(_SECOND_NAMES.get(reason, reason), ("", ""))
    if message:
        return AccessRefused(f"Google refused to {doing}: {message}: {reason}{asked}", where=where, remedy=remedy)
    if refusal.http == 401:
        return AccessRefused(
            f"Google does not accept the access token: {reason}{asked}",
            where=where,
            remedy="sign in again, and set the new secrets in the destination's variables",
        )
    if refusal.http == 403 or reason in _ACCESS:
        return AccessRefused(
            f"Google does not allow these credentials to {doing}: {reason}{asked}",
            where=where,
            remedy="check `customer_id`; the credentials' Google account must be a user of it, with standard access or more, or of "
            "a manager account that is named in `login_account`",
        )
    if refusal.http == 404 or refusal.http < 400 or not refusal.status:
        return DestinationError(
            f"Google's answer to {doing} is not one of the Data Manager API: HTTP {refusal.http}{asked}",
            where=where,
            remedy="check `base_url`, and any proxy on the way to Google",
        )
    return DestinationError(
        f"Google refused to {doing}: {reason}{asked}",
        where=where,
        remedy="look the reason up in the Data Manager API's reference, ErrorReason; Google's support can find the request",
    )


def _violation(found: Mapping[str, Any]) -> Violation:
    place = _MEMBER.search(_text(found.get("field")))
    if place is None:
        return Violation(_word(found.get("reason")), None, "")
    below = re.sub(r"\[\d*\]", "", place["below"] or "").strip(".").rpartition(".")[2]
    return Violation(_word(found.get("reason")), int(place[1]), below.replace("_", " "))


def _dicts(found: object) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in (found if isinstance(found, list) else ()) if isinstance(each, dict))


def _word(found: object) -> str:
    return found if isinstance(found, str) and _WORD.fullmatch(found) else ""


def _text(found: object) -> str:
    return found if isinstance(found, str) else ""
