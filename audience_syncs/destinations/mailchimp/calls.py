"""One call to Mailchimp: its limits, and what its errors mean, without anybody's address in them.

Facts: Mailchimp's pages on fundamentals and errors (as read by others on 2026-08-13): ten connections at once for each user, no
headers about limits, 429 without Retry-After, and under great load a bare 403 without JSON, which is no refusal of access; a
request ends after 120 s; errors are problem documents (RFC 7807). The words about single addresses: answers of real accounts that
others have published. They quote the address, so that they are told apart here, and told in words of ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, HttpClient, Reading, Retry, default_reading, retry_after
from audience_syncs.model.errors import (
    AccessRefused,
    BatchRefused,
    DestinationError,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Verdict, VerdictKind

PAGE = 1_000
"""Items per page at most."""
_TITLE = re.compile(r"[A-Za-z][A-Za-z ]{0,60}")
_CODE = re.compile(r"[A-Z][A-Z_]{0,60}")
_INSTANCE = re.compile(r"[0-9a-zA-Z-]{1,60}")
_FIELD = re.compile(r"[\w ]{1,60}")
_REFUSED = (400, 413, 422)

_REASONS: Sequence[tuple[str, VerdictKind, str, str]] = (
    ("compliance state", VerdictKind.REJECTED, "COMPLIANCE_STATE", "unsubscribed, bounced or under compliance review"),
    (
        "permanently deleted",
        VerdictKind.REJECTED,
        "FORGOTTEN",
        "was permanently deleted at Mailchimp: only they themselves can come back, by a form",
    ),
    (
        "looks fake or invalid",
        VerdictKind.REJECTED,
        "FAKE_OR_INVALID",
        "the address looks fake or invalid to Mailchimp",
    ),
    ("portion of the email", VerdictKind.REJECTED, "FAKE_OR_INVALID", "the address looks fake or invalid to Mailchimp"),
    ("single @", VerdictKind.REJECTED, "FAKE_OR_INVALID", "the address looks fake or invalid to Mailchimp"),
    (
        "signed up to a lot of lists",
        VerdictKind.RETRYABLE,
        "TOO_MANY_SIGNUPS",
        "has signed up to many lists lately, so that Mailchimp takes no more for now",
    ),
)
EXISTS = "ERROR_CONTACT_EXISTS"


def reading(answer: Answer) -> Reading:
    """As HTTP says; a 403 that is not Mailchimp's own is a throttle; all good answers are objects, or 204 and nothing."""
    if answer.status == 403 and not isinstance(answer.body, dict):
        return Retry(retry_after(answer), maybe_applied=False)
    if answer.status < 400 and answer.status != 204 and not isinstance(answer.body, dict):
        return Retry(retry_after(answer), maybe_applied=True)
    return default_reading(answer)


class Calls:
    """Calls about one audience."""

    def __init__(self, http: HttpClient, audience: str, where: str) -> None:
        self._http = http
        self._audience = audience
        self._where = where

    def get(self, path: str, params: Mapping[str, str | int] | None = None, *, operation: str) -> Answer:
        """Of a path below the audience. Raises NotApplied where there is no answer: reading changes nothing."""
        try:
            return self._http.request("GET", f"/lists/{self._audience}{path}", operation=operation, params=params)
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def change(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        operation: str,
        params: Mapping[str, str | int] | None = None,
        idempotent: bool = True,
    ) -> Answer:
        return self._http.request(
            method,
            f"/lists/{self._audience}{path}",
            operation=operation,
            json=body,
            params=params,
            idempotent=idempotent,
        )

    def pages(
        self, path: str, name: str, params: Mapping[str, str | int], *, operation: str, doing: str
    ) -> Iterator[list[Mapping[str, Any]]]:
        """The items of all pages. An empty page is the last, whatever total is told. Raises NotApplied."""
        offset = 0
        while True:
            answer = self.get(path, {**params, "count": PAGE, "offset": offset}, operation=operation)
            if answer.status >= 400:
                self.raise_refusal(answer, doing)
            found = items(answer, name)
            if found:
                yield found
            offset += len(found)
            total = answer.body.get("total_items")
            if not found or (isinstance(total, int) and offset >= total):
                return

    def check_audience(self) -> Mapping[str, Any]:
        """The audience. Raises DestinationError where there is none of that id."""
        answer = self.get("", {"fields": "id,name,web_id"}, operation="audience.get")
        if answer.status == 404:
            raise DestinationError(
                "Mailchimp has no audience of the id in the setting `audience_id`",
                where=self._where,
                code="AUDIENCE_MISSING",
                remedy="see Mailchimp, Audience, Settings, *Audience name and defaults* for the audience's id",
            )
        if answer.status >= 400:
            self.raise_refusal(answer, "read the audience")
        found: Mapping[str, Any] = answer.body
        return found

    def raise_refusal(self, answer: Answer, doing: str, *, per_batch: bool = False) -> NoReturn:
        """The error for a final refusal. ``per_batch``: a request with people, whose content may be what is refused."""
        title, trace = title_of(answer), instance_of(answer)
        if answer.status == 401:
            raise AccessRefused(
                f"Mailchimp refuses the API key: {title}{trace}",
                where=self._where,
                remedy="was the key disabled? Make another (Profile, Extras, API keys), copy it whole with the `-us1` at its end, "
                "and set it in the destination's variable",
            )
        if answer.status == 403:
            raise AccessRefused(
                f"Mailchimp does not allow this key to {doing}: {title}{trace}",
                where=self._where,
                remedy="the key's user must be a manager, an admin or the owner, the account active, and its plan must allow it",
            )
        if per_batch and answer.status in _REFUSED:
            raise BatchRefused(title.lower(), reason_code=title.upper().replace(" ", "_"))
        raise DestinationError(
            f"Mailchimp refused to {doing}: {title}{trace}", where=self._where, remedy="see Mailchimp's page on errors"
        )


def items(answer: Answer, name: str) -> list[Mapping[str, Any]]:
    """The objects under ``name``. Raises NotApplied where it cannot be read: that is not the same as nobody."""
    found = answer.body.get(name) if isinstance(answer.body, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NotApplied(f"mailchimp: the answer has no {name}")
    return found


def title_of(answer: Answer) -> str:
    """The kind of problem: a few words that name nobody."""
    found = answer.body.get("title") if isinstance(answer.body, dict) else None
    return found if isinstance(found, str) and _TITLE.fullmatch(found) else f"HTTP {answer.status}"


def instance_of(answer: Answer) -> str:
    found = answer.body.get("instance") if isinstance(answer.body, dict) else None
    return f" (instance {found})" if isinstance(found, str) and _INSTANCE.fullmatch(found) else ""


def refusal_of(error: Mapping[str, Any]) -> Verdict:
    """What an error about one person means, in words without them: one of a batch, or a problem document."""
    told = f"{error.get('error', '')} {error.get('title', '')} {error.get('detail', '')}".lower()
    for words, kind, code, reason in _REASONS:
        if words in told:
            return Verdict(kind, code, reason)
    field = _field_of(error)
    if field:
        return Verdict(VerdictKind.REJECTED, "INVALID_FIELD", f"{field}: Mailchimp does not take this value")
    given = error.get("error_code")
    title = error.get("title")
    if isinstance(given, str) and _CODE.fullmatch(given):
        code = given
    elif isinstance(title, str) and _TITLE.fullmatch(title):
        code = title.upper().replace(" ", "_")
    else:
        code = "REFUSED"
    return Verdict(VerdictKind.REJECTED, code, code.lower().replace("_", " "))


def _field_of(error: Mapping[str, Any]) -> str:
    listed = error.get("errors")
    first = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], dict) else error
    field = first.get("field")
    return field if isinstance(field, str) and _FIELD.fullmatch(field) else ""
