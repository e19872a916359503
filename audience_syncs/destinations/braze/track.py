"""Sends changes of users to Braze, and reads what became of each.

Facts: Braze's documentation of /users/track: 75 objects a request (50 by some contracts); ``success`` says that what is not named
among the errors was taken, and is applied some moments later; 202 ``queued``, in times of maintenance, that nothing was looked at
yet. Which objects were refused is told by ``index`` within ``input_array``, which Braze does not document: measured at a real
workspace by others (2026-09-15), in code as in words. Requests that come apart are applied in no promised order (Braze's page
on race conditions), normally within 100 ms.
[unsure], and what is done about it: an error that names no object leaves all in doubt who are not named, and so do fewer
objects taken than sent; a 400 that names some objects is taken to have applied nothing, and the others are sent again.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from audience_syncs.destinations.braze.calls import Calls, raise_refusal, words_of
from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.own_endpoint import without_people
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.errors import AudienceSyncsError, BatchRefused, DestinationError, NoAnswer, NotApplied
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

    def send(self, objects: Sequence[Mapping[str, Any]]) -> list[Verdict]:
        """A verdict for each object. Raises BatchRefused where Braze took nothing of all this, and names nobody."""
        verdicts: dict[int, Verdict] = {}
        for start in range(0, len(objects), self._most):
            places = range(start, min(len(objects), start + self._most))
            try:
                self._some(list(places), objects, verdicts)
            except DestinationError:
                if _any_may_be_there(verdicts):
                    may_have_been_applied()
                raise
        return [verdicts[place] for place in range(len(objects))]

    def _some(self, places: list[int], objects: Sequence[Mapping[str, Any]], verdicts: dict[int, Verdict]) -> None:
        """Settles these places."""
        while places:
            body = {"attributes": [objects[place] for place in places]}
            try:
                answer = self._calls.change(TRACK, body, operation="users.track")
            except (NotApplied, NoAnswer) as error:
                verdicts.update(dict.fromkeys(places, unsure(error)))
                return
            if answer.status not in _OF_CONTENT:
                break
            named = {place: refused for place, refused in _refused(answer, places, objects) if place is not None}
            verdicts.update(named)
            if not named:
                self._refused_as_a_whole(answer, places, objects, verdicts)
                return
            places = [place for place in places if place not in named]
        else:
            return
        if answer.status >= 400:
            raise_refusal(answer, "change users", "users.track")
        verdicts.update(_outcome(answer, places, objects))

    def _refused_as_a_whole(
        self,
        answer: Answer,
        places: list[int],
        objects: Sequence[Mapping[str, Any]],
        verdicts: dict[int, Verdict],
    ) -> None:
        words = _without_values(words_of(answer), objects[places[0]]) or f"HTTP {answer.status}"
        code = _code(words)
        if len(places) == 1:
            verdicts[places[0]] = Verdict(VerdictKind.REJECTED, code, words)
            return
        if not _any_may_be_there(verdicts) and len(places) == len(objects):
            raise BatchRefused(words, reason_code=code)
        middle = len(places) // 2
        self._some(places[:middle], objects, verdicts)
        self._some(places[middle:], objects, verdicts)


class Order:
    """Keeps requests about the same user apart, that say opposite things of the same audience. Thread-safe."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._lock = threading.Lock()
        self._since: dict[tuple[str, str], tuple[float, bool]] = {}
        self._ages: deque[tuple[float, tuple[str, str]]] = deque()

    @contextmanager
    def kept(self, audience: str, keys: Collection[str], member: bool) -> Iterator[None]:
        """Inside, this is said of these users, when what was last said of them has settled.

        Raises NotApplied when the run is being stopped before that.
        """
        self._wait_for(audience, keys, member)
        try:
            yield
        finally:
            self._note(audience, keys, member)

    def _wait_for(self, audience: str, keys: Collection[str], member: bool) -> None:
        with self._lock:
            said = [self._since.get((audience, key)) for key in keys]
            latest = max((at for at, was in filter(None, said) if was is not member), default=None)
        pause = 0.0 if latest is None else latest + self._settle_s - time.monotonic()
        if pause > 0 and not rest(pause):
            raise NotApplied("braze: the run is being stopped")

    def _note(self, audience: str, keys: Collection[str], member: bool) -> None:
        now = time.monotonic()
        with self._lock:
            for key in keys:
                self._since[audience, key] = (now, member)
                self._ages.append((now, (audience, key)))
            while self._ages and self._ages[0][0] < now - self._settle_s:
                _, old = self._ages.popleft()
                if old in self._since and self._since[old][0] < now - self._settle_s:
                    del self._since[old]


def unsure(error: AudienceSyncsError) -> Verdict:
    kind = VerdictKind.RETRYABLE if isinstance(error, NotApplied) else VerdictKind.UNKNOWN
    return Verdict(kind, error.code, error.message)


def _outcome(answer: Answer, places: Sequence[int], objects: Sequence[Mapping[str, Any]]) -> dict[int, Verdict]:
    if answer.status == 202 or answer.body.get("message") == "queued":
        return dict.fromkeys(places, QUEUED)
    named: dict[int, Verdict] = {}
    strays = 0
    for place, refused in _refused(answer, places, objects):
        if place is None:
            strays += 1
        else:
            named[place] = refused
    others = [place for place in places if place not in named]
    taken = answer.body.get("attributes_processed")
    is_sure = not strays and not (isinstance(taken, int) and taken < len(others))
    return {**named, **dict.fromkeys(others, ACCEPTED if is_sure else NOT_MENTIONED)}


def _refused(
    answer: Answer, places: Sequence[int], objects: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[int | None, Verdict]]:
    """The objects that the errors are about; None where one does not say."""
    told = answer.body.get("errors") if isinstance(answer.body, dict) else None
    for error in told if isinstance(told, list) else []:
        place, words = None, ""
        if isinstance(error, dict):
            index = error.get("index")
            if error.get("input_array") == "attributes" and isinstance(index, int) and 0 <= index < len(places):
                place = places[index]
            found = error.get("type")
            words = found if isinstance(found, str) else ""
        shown = _without_values(without_people(words), objects[place]) if place is not None else ""
        yield place, Verdict(VerdictKind.REJECTED, _code(words), shown or "refused by Braze")


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


def _any_may_be_there(verdicts: Mapping[int, Verdict]) -> bool:
    return any(verdict.kind in (VerdictKind.ACCEPTED, VerdictKind.UNKNOWN) for verdict in verdicts.values())
