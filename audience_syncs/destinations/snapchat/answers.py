"""Snap's envelope: a ``request_status`` for the request, a ``sub_request_status`` for each thing in it, and what its errors mean.

Facts: Snap's page on API patterns (envelope, paging). From answers that others have published (2026): E3003 is a resource that is
not there, E3002 a permission that is missing, a 401 is the bare word ``unauthorized``; the case of the statuses varies; a
refused part has ``sub_request_error_reason``. Nothing of Snap's words is kept but its code: they may quote what was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, Outcome, Reading, Retry, default_reading, retry_after
from audience_syncs.model.errors import AccessRefused, DestinationError, NotApplied

NO_PERMISSION = "E3002"
NOT_FOUND = "E3003"
NO_CODE = "REFUSED"
_CODE = re.compile(r"E\d{4}", re.ASCII)
_TRACE = re.compile(r"[\w-]{1,200}", re.ASCII)


def reading(answer: Answer) -> Reading:
    """As HTTP says; and every good answer is an object with a status of its own."""
    if answer.status < 400 and not _status(answer.body, "request_status"):
        return Retry(retry_after(answer), maybe_applied=True)
    return default_reading(answer) if answer.status >= 400 else Outcome.OK


def is_refused(answer: Answer) -> bool:
    """Whether the request as such was refused, by HTTP or in the envelope."""
    return answer.status >= 400 or _status(answer.body, "request_status") != "success"


def parts(answer: Answer, plural: str) -> list[Mapping[str, Any]]:
    """The envelopes of the things in an answer. Raises NotApplied where it has none: that is not the same as nothing."""
    found = answer.body.get(plural) if isinstance(answer.body, Mapping) else None
    if not isinstance(found, list) or not all(isinstance(each, Mapping) for each in found):
        raise NotApplied(f"snapchat: the answer has no {plural}")
    return found


def is_done(part: Mapping[str, Any]) -> bool:
    return _status(part, "sub_request_status") == "success"


def things(answer: Answer, plural: str, singular: str) -> Iterator[Mapping[str, Any]]:
    """Those of the things that were found, without their envelopes."""
    for part in parts(answer, plural):
        found = part.get(singular)
        if is_done(part) and isinstance(found, Mapping):
            yield found


def code_of(answer: Answer) -> str:
    """Snap's code for what is wrong: of the request, or of the first part that was refused; else the HTTP status."""
    if isinstance(answer.body, Mapping):
        told = [answer.body.get("error_code")]
        for found in answer.body.values():
            for part in found if isinstance(found, list) else ():
                told.append(part.get("sub_request_error_reason") if isinstance(part, Mapping) else None)
        for text in told:
            match = _CODE.match(text) if isinstance(text, str) else None
            if match is not None:
                return match[0]
    return f"HTTP {answer.status}" if answer.status >= 400 else NO_CODE


def raise_refusal(answer: Answer, doing: str, where: str) -> NoReturn:
    """The error for a final refusal that is not about single members."""
    code = code_of(answer)
    told = answer.body.get("request_id") if isinstance(answer.body, Mapping) else None
    trace = f", request {told}" if isinstance(told, str) and _TRACE.fullmatch(told) else ""
    if answer.status == 401:
        raise AccessRefused(
            f"Snapchat does not accept the access token{trace}",
            where=where,
            remedy="is the clock right? Else sign in to the OAuth app again and set the new refresh token",
        )
    if answer.status == 403 or code == NO_PERMISSION:
        raise AccessRefused(
            f"Snapchat does not allow this user to {doing}: {code}{trace}",
            where=where,
            remedy="give the user who signed in the role Data Manager (or Account Admin) on the ad account, and check "
            "`ad_account_id`",
        )
    raise DestinationError(
        f"Snapchat refused to {doing}: {code}{trace}",
        where=where,
        remedy="Snap's support finds the request by its id; a refusal that is no JSON comes from something in between",
    )


def _status(body: object, name: str) -> str:
    """Lower case: Snap writes ``SUCCESS`` and ``success``."""
    found = body.get(name) if isinstance(body, Mapping) else None
    return found.lower() if isinstance(found, str) else ""
