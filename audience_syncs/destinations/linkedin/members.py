"""Members as elements of a batch, and one verdict for each from LinkedIn's answers by position.

Facts: LinkedIn's page on segment users (5,000 elements second-hand; 201 also for an id that is there already, or gone already);
since version 202502 each element is checked by itself, and has a status of its own. Ids are opaque, each of a type.

Somebody with several addresses is several elements: nothing says that one element may have two ids of one type. Text that goes
along and is longer than LinkedIn takes (35 letters of a name, 50 of title and company) is left out, so that it rejects nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.linkedin.calls import reason_of
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
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
NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no value that LinkedIn could find a person by")
PARTLY = Verdict(
    VerdictKind.UNKNOWN, "PARTLY_APPLIED", "LinkedIn took some of this member's identifiers, and not the others"
)

Element = dict[str, Any]
Send = Callable[[Sequence[Element]], Answer]
"""Sends elements. The answer is a good one: everything else raises."""


def deliver(members: Sequence[Outgoing], send: Send, *, adding: bool) -> list[Verdict]:
    """One verdict per member. Raises what ``send`` raises for as long as nothing was applied."""
    verdicts = [NO_IDENTIFIER if adding else ACCEPTED] * len(members)
    applied = False
    for places, elements in _portions(members, adding=adding):
        try:
            answers = _verdicts(send(elements), len(elements))
        except (BatchRefused, NotApplied, NoAnswer) as error:
            if not applied:
                raise
            kind = VerdictKind.UNKNOWN if isinstance(error, NoAnswer) else VerdictKind.RETRYABLE
            reason = error.reason if isinstance(error, BatchRefused) else error.message
            answers = [Verdict(kind, error.code, reason)] * len(elements)
        except DestinationError:
            if applied:
                may_have_been_applied()
            raise
        else:
            applied = True
        start = 0
        for place, count in places:
            verdicts[place] = _of_member(answers[start : start + count], adding=adding)
            start += count
    return verdicts


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


def _portions(members: Sequence[Outgoing], *, adding: bool) -> Iterator[tuple[list[tuple[int, int]], list[Element]]]:
    """Members who have identifiers in portions that fit into one request: places with counts of elements, and these."""
    places: list[tuple[int, int]] = []
    elements: list[Element] = []
    for place, member in enumerate(members):
        found = elements_of(member, adding=adding)
        if not found:
            continue
        if places and len(elements) + len(found) > MOST_ELEMENTS:
            yield places, elements
            places, elements = [], []
        places.append((place, len(found)))
        elements += found
    if places:
        yield places, elements


def _verdicts(answer: Answer, sent: int) -> list[Verdict]:
    """One per element, by position. Raises NoAnswer where the answer does not tell of each."""
    told = answer.body.get("elements") if isinstance(answer.body, dict) else None
    if not isinstance(told, list) or len(told) != sent:
        raise NoAnswer("linkedin users.batch: the answer does not tell of each element")
    return [_verdict(each) for each in told]


def _verdict(told: object) -> Verdict:
    status = told.get("status") if isinstance(told, Mapping) else None
    if not isinstance(status, int) or isinstance(status, bool):
        return Verdict(VerdictKind.UNKNOWN, "NO_STATUS", "LinkedIn does not say what became of this member")
    if 200 <= status < 300:
        return ACCEPTED
    code, words = reason_of(told.get("error") if isinstance(told, Mapping) else None, status)
    if status in (401, 403, 408, 425, 429):
        return Verdict(VerdictKind.RETRYABLE, code, words)
    return Verdict(VerdictKind.REJECTED if 400 <= status < 500 else VerdictKind.UNKNOWN, code, words)


def _of_member(answers: Sequence[Verdict], *, adding: bool) -> Verdict:
    """Of several verdicts on one member: nobody is called rejected who is in by one of their identifiers."""
    kinds = {verdict.kind: verdict for verdict in reversed(answers)}
    if len(kinds) == 1:
        return answers[0]
    if VerdictKind.UNKNOWN in kinds:
        return kinds[VerdictKind.UNKNOWN]
    if adding and VerdictKind.ACCEPTED in kinds:
        return PARTLY
    return kinds.get(VerdictKind.RETRYABLE) or kinds[VerdictKind.REJECTED]


def _values(value: FieldValue) -> list[str]:
    return [text for text in ([value] if isinstance(value, str) else value) if text]
