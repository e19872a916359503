"""One call to Microsoft Advertising's Campaign Management service, and what its errors mean.

Facts, of Microsoft's documentation (MicrosoftDocs/Advertising on GitHub, read 2026-11): the codes (operation error codes);
``PartialErrors`` name items by ``Index`` and the others are applied; everything else is a fault, ``AdApiFaultDetail`` with
``Errors`` or ``ApiFaultDetail`` with ``BatchErrors`` and ``OperationErrors``, and a ``TrackingId``. 117 means sixty seconds of
rest; 0 is an internal error.

[unsure], and what is done about it: with which HTTP status a fault comes over REST (it is 500 for all in SOAP): codes count,
not the status, and an expired token is renewed with either; 207 is documented for reports only: it means waiting, too; whether
a good answer always has ``PartialErrors``: an empty object is good, any other object without it says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from audience_syncs.destinations.http import Answer, HttpClient, Outcome, Reading, Retry, default_reading, retry_after
from audience_syncs.destinations.sign_in import Tokens
from audience_syncs.model.errors import AccessRefused, DestinationError, NoAnswer, NotApplied

THROTTLED = frozenset({117, 207})
TEMPORARY = frozenset({0, 202})
"""An internal error, and an operation that cannot be completed: perhaps it was."""
TOKEN_EXPIRED = 109
SIGN_IN = frozenset({105, 108, 109, *range(120, 127)})
"""Token, developer token, or the kind of user who signed in."""
NOT_ALLOWED = 106
HEADERS_MISSING = 116
VERSION_OVER = frozenset({205, 303})
NO_SUCH_LIST = frozenset({4835, 8000})
OTHER_KIND = 4861
NAME_TAKEN = 4853
TOO_MANY_LISTS = frozenset({4865, 4866})
BAD_DURATION = 4842
KIND_NOT_TAKEN = 8002
TERMS = 8003
_ABOUT_HOW_WE_ASK = frozenset({203, 204, 206, 208, 212, 8001, *VERSION_OVER})
_FINAL = frozenset({201, 210, 211, 6999, *_ABOUT_HOW_WE_ASK, *range(100, 117), *range(120, 127)})
_NO_CODE = -1
_WORDS = re.compile(r"[A-Za-z][A-Za-z0-9]{0,80}")
_TRACE = re.compile(r"[0-9a-zA-Z-]{1,60}")
_LOWER_THEN_UPPER = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


@dataclass(frozen=True, slots=True)
class Problem:
    """One of Microsoft's errors. Its message may quote what was sent, so only code and symbol are kept."""

    code: int
    symbol: str
    index: int | None

    @property
    def reason_code(self) -> str:
        return self.symbol or (f"ERROR_{self.code}" if self.code != _NO_CODE else "REFUSED")

    @property
    def reason(self) -> str:
        words = _LOWER_THEN_UPPER.sub(" ", self.symbol).lower() or "refused by Microsoft Advertising"
        return words if self.code == _NO_CODE else f"{words} ({self.code})"

    @property
    def is_about_members(self) -> bool:
        """Whether another batch, or a smaller one, could do better."""
        known = {*_ABOUT_HOW_WE_ASK, *SIGN_IN, *NO_SUCH_LIST, *TOO_MANY_LISTS, *THROTTLED}
        return self.code not in known | {NOT_ALLOWED, HEADERS_MISSING, OTHER_KIND, KIND_NOT_TAKEN, TERMS}


class Calls:
    """Calls one account."""

    def __init__(self, http: HttpClient, tokens: Tokens, where: str) -> None:
        self.where = where
        self._http = http
        self._tokens = tokens

    def read(self, path: str, body: Mapping[str, Any], *, operation: str) -> Answer:
        """Raises NotApplied where there is no answer: reading changes nothing."""
        try:
            return self._posted(path, body, operation=operation, reads=True)
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def change(self, path: str, body: Mapping[str, Any], *, operation: str, idempotent: bool = True) -> Answer:
        return self._posted(path, body, operation=operation, idempotent=idempotent)

    def _posted(self, path: str, body: Mapping[str, Any], **how: Any) -> Answer:
        answer = self._http.request("POST", path, json=body, **how)
        if answer.status != 401 and any(fault.code == TOKEN_EXPIRED for fault in faults_of(answer)):
            # The client renews after a 401 only, and this fault may come with another status. Nothing was applied.
            self._tokens.renew(self._tokens.headers())
            answer = self._http.request("POST", path, json=body, **how)
        return answer

    def stopping_error(self, problem: Problem, answer: Answer, doing: str) -> DestinationError | None:
        """The error for a problem that nothing about the members can change; None where it may be about them.

        A missing list is left to the caller, who knows which one.
        """
        told = f"{problem.reason}{trace_of(answer)}"
        if problem.code in SIGN_IN or (problem.code == _NO_CODE and answer.status == 401):
            return AccessRefused(
                f"Microsoft Advertising refuses the sign-in: {told}",
                where=self.where,
                remedy="check the developer token and the refresh token: both for this `environment`, the latter by the user "
                "whose account this is, with the scope msads.manage; sign in again, and set the new refresh token",
            )
        if problem.code == NOT_ALLOWED or (problem.code == _NO_CODE and answer.status == 403):
            return AccessRefused(
                f"the signed-in user may not {doing}: {told}",
                where=self.where,
                remedy="check `account_id` and `customer_id`, and give the user the role of a Super Admin, Advertiser "
                "Campaign Manager or Standard User of this account",
            )
        if problem.code == TERMS:
            return AccessRefused(
                f"the Customer Match terms are not accepted for this account: {told}",
                where=self.where,
                remedy="accept them on Microsoft Advertising's pages (Audiences, create a customer match list, I accept), or "
                "write `accept_customer_match_terms: true`, which accepts them on your behalf with each upload",
            )
        if problem.code == KIND_NOT_TAKEN:
            return DestinationError(
                f"this account takes no identifiers of that kind: {told}",
                where=self.where,
                code="KIND_NOT_TAKEN",
                remedy="take `crm_id` out of the mapping; email addresses are taken by every account",
            )
        if problem.is_about_members:
            return None
        return DestinationError(
            f"Microsoft Advertising refused to {doing}: {told}",
            where=self.where,
            remedy="see Microsoft Advertising's page on operation error codes",
        )

    def refusal(self, answer: Answer, doing: str) -> DestinationError:
        """The error for a final refusal of a request that has no members in it."""
        problem = next(faults_of(answer), None)
        if problem is None:
            return self.not_from_microsoft(answer)
        return self.stopping_error(problem, answer, doing) or DestinationError(
            f"Microsoft Advertising refused to {doing}: {problem.reason}{trace_of(answer)}",
            where=self.where,
            remedy="see Microsoft Advertising's page on operation error codes",
        )

    def not_from_microsoft(self, answer: Answer) -> DestinationError:
        """A refusal that is not in Microsoft's form says nothing about anybody, unless it is about who asks."""
        asks = self.stopping_error(Problem(_NO_CODE, "", None), answer, "use this account")
        return asks or DestinationError(
            f"the request was refused with HTTP {answer.status}, not in Microsoft Advertising's form",
            where=self.where,
            remedy="check `base_url`, and any proxy or firewall on the way to Microsoft",
        )


class Read:
    """Whether an answer is final. ``throttled_s``: how long to wait where Microsoft does not say, as it does not."""

    def __init__(self) -> None:
        self.throttled_s = 60.0

    def __call__(self, answer: Answer) -> Reading:
        codes = {fault.code for fault in faults_of(answer)}
        hint = retry_after(answer)
        if codes & THROTTLED or (answer.status == 429 and not codes):
            return Retry(self.throttled_s if hint is None else hint, maybe_applied=False)
        if codes & TEMPORARY or (answer.status < 400 and not isinstance(answer.body, dict)):
            return Retry(hint, maybe_applied=True)
        if codes and (answer.status < 500 or all(_is_final(code) for code in codes)):
            return Outcome.REFUSED
        return default_reading(answer)


def faults_of(answer: Answer) -> Iterator[Problem]:
    """Why a request was refused as a whole; nothing where it was not."""
    names = ("Errors", "OperationErrors", "BatchErrors", *(("PartialErrors",) if answer.status >= 400 else ()))
    for name in names:
        found = answer.body.get(name) if isinstance(answer.body, dict) else None
        yield from map(_problem, _entries(found))


def partial_errors(answer: Answer, operation: str) -> list[Problem]:
    """What was refused of a request that was accepted otherwise. Raises NoAnswer where the answer does not tell."""
    body = answer.body
    if not isinstance(body, dict) or (body and "PartialErrors" not in body):
        raise NoAnswer(f"microsoft {operation}: the answer does not say what was applied")
    found = body.get("PartialErrors") or []
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found if each is not None):
        raise NoAnswer(f"microsoft {operation}: the answer does not say what was applied")
    return list(map(_problem, _entries(found)))


def trace_of(answer: Answer) -> str:
    """Microsoft's id of the request, in parentheses, for its support."""
    told = answer.body.get("TrackingId") if isinstance(answer.body, dict) else None
    found = told if isinstance(told, str) and _TRACE.fullmatch(told) else answer.request_id
    return f" (tracking id {found})" if found else ""


def why_no_token(answer: Answer) -> str:
    """RFC 6749's code, and the number by which Microsoft's sign-in names the reason."""
    body = answer.body if isinstance(answer.body, dict) else {}
    error, numbers = body.get("error"), body.get("error_codes")
    words = error if isinstance(error, str) and re.fullmatch(r"[a-z_]{1,60}", error) else ""
    number = numbers[0] if isinstance(numbers, list) and numbers else None
    return " ".join([*([words] if words else []), *([f"AADSTS{number}"] if isinstance(number, int) else [])])


def _is_final(code: int) -> bool:
    return code in _FINAL or 4800 <= code < 4900 or 8000 <= code < 8200


def _entries(found: Any) -> Iterator[Mapping[str, Any]]:
    yield from (each for each in (found if isinstance(found, list) else []) if isinstance(each, Mapping))


def _problem(entry: Mapping[str, Any]) -> Problem:
    code, symbol = _whole(entry.get("Code")), entry.get("ErrorCode")
    named = symbol if isinstance(symbol, str) and _WORDS.fullmatch(symbol) else ""
    return Problem(_NO_CODE if code is None else code, named, _whole(entry.get("Index")))


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
