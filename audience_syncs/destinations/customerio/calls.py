"""One call to Customer.io: the Track API that writes and the App API that reads, and what their errors mean.

Facts: Customer.io's descriptions of both APIs (as published in 2026-10). Errors of the Track API's second version: ``reason``,
``field``, ``message``, in a batch with ``batch_index``; of its first: ``meta.errors``, texts. The App API allows ten requests a
second; the Track API advises a hundred. Messages may quote a value, so only the reason and the field are kept.
[unsure]: how the App API words a refused key, and whether 429 comes with Retry-After; the status alone is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, HttpClient, Reading, Retry, default_reading, retry_after
from audience_syncs.model.errors import AccessRefused, BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import Verdict, VerdictKind

_WORDS = re.compile(r"[a-z][a-z0-9_ ]{0,40}")
_FIELD = re.compile(r"[\w.\[\]]{1,60}")
_REFUSED = (400, 413, 422)


def reading(answer: Answer) -> Reading:
    """As HTTP says; and a good answer is an object, which may be left out where it is empty."""
    if answer.status < 400 and answer.body is not None and not isinstance(answer.body, dict):
        return Retry(retry_after(answer), maybe_applied=True)
    return default_reading(answer)


class Track:
    """Calls that write."""

    def __init__(self, http: HttpClient, where: str) -> None:
        self._http = http
        self._where = where

    def send(self, path: str, body: Any, *, operation: str, params: Mapping[str, str | int] | None = None) -> Answer:
        """The final answer. Raises AccessRefused, NotApplied, NoAnswer."""
        answer = self._http.request("POST", path, operation=operation, json=body, params=params)
        if answer.status in (401, 403):
            raise AccessRefused(
                f"Customer.io refuses the site id and the Track API key (HTTP {answer.status})",
                where=self._where,
                remedy="are both of the workspace's *Track API keys* (Settings, API credentials), and is `region` the account's?",
            )
        return answer

    def raise_refusal(self, answer: Answer, doing: str) -> NoReturn:
        if answer.status in _REFUSED:
            code, words = reason_of(next(errors_of(answer), {}))
            raise BatchRefused(words, reason_code=code)
        raise DestinationError(
            f"Customer.io refused to {doing}: HTTP {answer.status}",
            where=self._where,
            remedy="see Customer.io's description of the Track API",
        )


class App:
    """Calls that read; and the one that makes a segment."""

    def __init__(self, http: HttpClient, where: str) -> None:
        self._http = http
        self._where = where

    def read(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        operation: str,
        params: Mapping[str, str | int] | None = None,
    ) -> Answer:
        """Raises AccessRefused, and NotApplied where there is no answer: reading changes nothing."""
        try:
            answer = self._http.request(method, path, operation=operation, json=body, params=params, reads=True)
        except NoAnswer as error:
            raise NotApplied(error.message) from error
        return self._let_in(answer)

    def make(self, path: str, body: Any, *, operation: str) -> Answer:
        return self._let_in(self._http.request("POST", path, operation=operation, json=body, idempotent=False))

    def raise_refusal(self, answer: Answer, doing: str) -> NoReturn:
        raise DestinationError(
            f"Customer.io refused to {doing}: HTTP {answer.status}",
            where=self._where,
            remedy="see Customer.io's description of the App API",
        )

    def _let_in(self, answer: Answer) -> Answer:
        if answer.status in (401, 403):
            raise AccessRefused(
                f"Customer.io refuses the App API key (HTTP {answer.status})",
                where=self._where,
                remedy="is it one of the workspace's *App API keys* (Settings, API credentials), with a scope that reads people "
                "and makes segments, and is `region` the account's?",
            )
        return answer


def items(answer: Answer, name: str) -> list[Mapping[str, Any]]:
    """The objects under ``name``. Raises NotApplied where it cannot be read: that is not the same as nobody."""
    found = answer.body.get(name) if isinstance(answer.body, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise NotApplied(f"customerio: the answer has no {name}")
    return found


def errors_of(answer: Answer) -> Iterator[Mapping[str, Any]]:
    found = answer.body.get("errors") if isinstance(answer.body, dict) else None
    yield from (each for each in (found if isinstance(found, list) else []) if isinstance(each, Mapping))


def rejection_of(error: Mapping[str, Any]) -> Verdict:
    return Verdict(VerdictKind.REJECTED, *reason_of(error))


def reason_of(error: Mapping[str, Any]) -> tuple[str, str]:
    """Code and words, without any value."""
    told, field = error.get("reason"), error.get("field")
    words = told if isinstance(told, str) and _WORDS.fullmatch(told) else "refused"
    named = f"{field}: " if isinstance(field, str) and _FIELD.fullmatch(field) else ""
    return words.upper().replace(" ", "_"), f"{named}{words}"
