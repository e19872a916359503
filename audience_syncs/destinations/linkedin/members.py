"""Members as elements of a batch, and one verdict for each from LinkedIn's answers by position.

Facts: LinkedIn's page on segment users (5,000 elements second-hand; 201 also for an id that is there already, or gone already);
since version 202502 each element is checked by itself, and has a status of its own. Ids are opaque, each of a type.

Somebody with several addresses is several elements: nothing says that one element may have two ids of one type. Text that goes
along and is longer than LinkedIn takes (35 letters of a name, 50 of title and company) is left out, so that it rejects nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.linkedin.calls import reason_of
from audience_syncs.destinations.portions import in_portions
from audience_syncs.destinations.verdicts import worst
from audience_syncs.model.errors import NoAnswer
from audience_syncs.model.values import ACCEPTED, FieldValue, Outgoing, Verdict, VerdictKind

ID_TYPES: Mapping[str, str] = {"email": "SHA256_EMAIL", "google_aid": "GOOGLE_AID"}
"""Field -> how LinkedIn calls the type of id."""
GOES_ALONG: Mapping[str, tuple[str, int]] = {
    "first_name": ("firstName", 35),
    "last_name": ("lastName", 35),
    "title": ("title", 50),
    "company": ("company", 50),
    "country": ("country", 2),
}
"""Field -> LinkedIn's name, and how long it may be."""
MOST_ELEMENTS = 5_000
OF_NOBODY = (403, 404, 426)
"""Statuses that cannot be about one element, where all have them."""
NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no value that LinkedIn could find a person by")
PARTLY = Verdict(
    VerdictKind.UNKNOWN, "PARTLY_APPLIED", "LinkedIn took some of this member's identifiers, and not the others"
)

Element = dict[str, Any]
Send = Callable[[Sequence[Element]], Answer]
"""Sends elements. The answer is a good one: everything else raises."""


def deliver(members: Sequence[Outgoing], send: Send, *, adding: bool) -> list[Verdict]:
    """One verdict per member. Raises as ``in_portions`` does."""
    by_member = [elements_of(member, adding=adding) for member in members]
    elements = [element for of_one in by_member for element in of_one]
    verdicts = iter(in_portions(elements, MOST_ELEMENTS, lambda some: _verdicts(send(some), len(some), adding=adding)))
    return [_of_member(list(islice(verdicts, len(of_one))), adding=adding) for of_one in by_member]


def elements_of(member: Outgoing, *, adding: bool) -> list[Element]:
    """As many as the type of id with most values has."""
    columns = [[(kind, value) for value in _values(member.fields.get(name, ""))] for name, kind in ID_TYPES.items()]
    along: dict[str, str] = {}
    for name, (theirs, longest) in GOES_ALONG.items() if adding else ():
        text = next(iter(_values(member.fields.get(name, ""))), "")
        if text and len(text) <= longest:
            along[theirs] = text
    return [
        {
            "action": "ADD" if adding else "REMOVE",
            "userIds": [
                {"idType": column[number][0], "idValue": column[number][1]}
                for column in columns
                if number < len(column)
            ],
            **along,
        }
        for number in range(max(map(len, columns)))
    ]


def _verdicts(answer: Answer, sent: int, *, adding: bool) -> list[Verdict]:
    """One per element, by position. Raises NoAnswer where the answer does not tell of each."""
    told = answer.body.get("elements") if isinstance(answer.body, dict) else None
    if not isinstance(told, list) or len(told) != sent:
        raise NoAnswer("linkedin users.batch: the answer does not tell of each element")
    if any(_misplaced(each, place) for place, each in enumerate(told)):
        raise NoAnswer("linkedin users.batch: the answers are not in the order of the elements")
    return [_verdict(each, adding=adding) for each in told]


def refused_alike(answer: Answer, sent: int) -> Answer:
    """The answer, or, where every element was refused for what is none's fault, the one answer that says so: the segment is
    gone, the token may not, the version has ended."""
    told = answer.body.get("elements") if isinstance(answer.body, dict) else None
    elements = [each for each in (told if isinstance(told, list) else ()) if isinstance(each, Mapping)]
    statuses = {each.get("status") if isinstance(each.get("status"), int) else None for each in elements}
    alike = next((status for status in OF_NOBODY if statuses == {status}), None)
    if len(elements) != sent:
        return answer  # of some nothing is told: they may be in
    return answer if alike is None else replace(answer, status=alike, body=elements[0].get("error"))


def _misplaced(told: object, place: int) -> bool:
    """LinkedIn's errors say which element they are about, since version 202502."""
    error = told.get("error") if isinstance(told, Mapping) else None
    index = error.get("batchIndex") if isinstance(error, Mapping) else None
    return isinstance(index, int) and index != place


def _verdict(told: object, *, adding: bool) -> Verdict:
    status = told.get("status") if isinstance(told, Mapping) else None
    if not isinstance(status, int) or isinstance(status, bool):
        return Verdict(VerdictKind.UNKNOWN, "NO_STATUS", "LinkedIn does not say what became of this member")
    if 200 <= status < 300:
        return ACCEPTED
    if status == 404 and not adding:
        return ACCEPTED  # the segment is there, or the run would have stopped; so whom it is about is not in it
    code, words = reason_of(told.get("error") if isinstance(told, Mapping) else None, status)
    if status in (401, 403, 404, 408, 425, 426, 429):
        return Verdict(VerdictKind.RETRYABLE, code, words)
    return Verdict(VerdictKind.REJECTED if 400 <= status < 500 else VerdictKind.UNKNOWN, code, words)


def _of_member(verdicts: Sequence[Verdict], *, adding: bool) -> Verdict:
    """Nobody is called rejected, or not applied, who is in by one of their identifiers."""
    if not verdicts:
        return NO_IDENTIFIER if adding else ACCEPTED
    found = worst(verdicts)
    partly = adding and found.kind in (VerdictKind.REJECTED, VerdictKind.RETRYABLE) and ACCEPTED in verdicts
    return PARTLY if partly else found


def _values(value: FieldValue) -> list[str]:
    return [text for text in ([value] if isinstance(value, str) else value) if text]
