"""Sends changes of users to Braze, and reads what became of each.

Facts: Braze's documentation of /users/track: 75 objects a request (50 by some contracts); ``success`` says that what is not named
among the errors was taken, and is applied some moments later; 202 ``queued``, in times of maintenance, that nothing was looked at
yet. Which objects were refused is told by ``index`` within ``input_array``, which Braze does not document: measured at a real
workspace by others (2026-09-15). Requests that come apart are applied in no promised order (Braze's page on race
conditions), normally within 100 ms.
[unsure], and what is done about it: an error that names no object leaves all in doubt who are not named, and so do fewer
objects taken than sent (but of users who leave: whether those are counted who are none is not known); a 400 that names some
objects is taken to have applied nothing, and the others are sent again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from audience_syncs.destinations.braze.calls import Calls, raise_refusal, words_of
from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.own_endpoint import without_people
from audience_syncs.destinations.portions import in_portions
from audience_syncs.model.errors import BatchRefused
from audience_syncs.model.values import ACCEPTED, Verdict, VerdictKind

TRACK = "/users/track"
_OF_CONTENT = (400, 413, 422)
_CODES = (
    ("is required", "MISSING_IDENTIFIER"),
    ("blacklisted", "BLOCKED_USER"),
    ("blocklisted", "BLOCKED_USER"),
    ("disallowed", "BLOCKED_USER"),
    ("must be", "INVALID_VALUE"),
    ("valid", "INVALID_VALUE"),
)
QUEUED = Verdict(VerdictKind.UNKNOWN, "QUEUED", "Braze is in maintenance, and has put the request aside unread")
NOT_MENTIONED = Verdict(VerdictKind.UNKNOWN, "NOT_MENTIONED", "Braze tells of failures without saying whose")


class Track:
    """Changes of users of one account. Thread-safe."""

    def __init__(self, calls: Calls, most: int) -> None:
        self._calls = calls
        self._most = most

    def send(self, objects: Sequence[Mapping[str, Any]], *, counted: bool = True) -> list[Verdict]:
        """A verdict for each object. Raises BatchRefused where Braze took nothing of all this, and names nobody.

        ``counted``: all of them must be among those that Braze counts as taken.
        """
        return in_portions(objects, self._most, partial(self._some, counted=counted))

    def _some(self, objects: Sequence[Mapping[str, Any]], *, counted: bool) -> list[Verdict]:
        answer = self._calls.change(TRACK, {"attributes": list(objects)}, operation="users.track")
        if answer.status in _OF_CONTENT:
            named, _ = _refused(answer, objects)
            if not named:
                words = _without_values(words_of(answer), objects[0]) or f"HTTP {answer.status}"
                raise BatchRefused(words, reason_code=_code(words))
            others = [place for place in range(len(objects)) if place not in named]
            if others:
                named |= zip(others, self._some([objects[place] for place in others], counted=counted), strict=True)
            return [named[place] for place in range(len(objects))]
        if answer.status >= 400:
            raise_refusal(answer, "change users", "users.track")
        return _outcome(answer, objects, counted=counted)


def _outcome(answer: Answer, objects: Sequence[Mapping[str, Any]], *, counted: bool) -> list[Verdict]:
    if answer.status == 202 or answer.body.get("message") == "queued":
        return [QUEUED] * len(objects)
    named, strays = _refused(answer, objects)
    taken = answer.body.get("attributes_processed")
    is_short = counted and isinstance(taken, int) and taken < len(objects) - len(named)
    is_sure = not strays and not is_short
    other = ACCEPTED if is_sure else NOT_MENTIONED
    return [named.get(place, other) for place in range(len(objects))]


def _refused(answer: Answer, objects: Sequence[Mapping[str, Any]]) -> tuple[dict[int, Verdict], int]:
    """The objects that the errors are about, by place; and how many errors do not say."""
    told = answer.body.get("errors") if isinstance(answer.body, dict) else None
    named: dict[int, Verdict] = {}
    strays = 0
    for error in told if isinstance(told, list) else []:
        index = error.get("index") if isinstance(error, dict) and error.get("input_array") == "attributes" else None
        if not isinstance(index, int) or not 0 <= index < len(objects):
            strays += 1
            continue
        words = error.get("type")
        words = words if isinstance(words, str) else ""
        shown = _without_values(without_people(words), objects[index])
        named[index] = Verdict(VerdictKind.REJECTED, _code(words), shown or "refused by Braze")
    return named, strays


def _code(words: str) -> str:
    folded = words.casefold()
    return next((code for sign, code in _CODES if sign in folded), "REFUSED")


def _without_values(words: str, sent: Mapping[str, Any]) -> str:
    """Braze's words may quote what they are about."""
    texts = [each for value in sent.values() for each in (value if isinstance(value, list) else [value])]
    texts += [each for value in sent.values() if isinstance(value, dict) for each in value.values()]
    for text in sorted({text for text in texts if isinstance(text, str) and len(text) > 2}, key=len, reverse=True):
        words = words.replace(text, "...")
    return words
