"""From an answer of the 200s to a verdict for each member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audience_syncs.destinations import own_endpoint
from audience_syncs.destinations.http_api import json_path, templates
from audience_syncs.destinations.http_api.declaration import Answers
from audience_syncs.model.errors import NoAnswer
from audience_syncs.model.values import ACCEPTED, Verdict, VerdictKind

NOT_TOLD = Verdict(VerdictKind.UNKNOWN, "NOT_TOLD", "the answer does not tell of this member")


def verdicts(answers: Answers, body: Any, keys: Sequence[Sequence[str]]) -> list[Verdict]:
    """``keys``: those of each member of the request, in its order.

    Raises NoAnswer where the answer is not in the form that was described: nobody knows then what was applied.
    """
    items = json_path.at(body, answers.results)
    if items is None and answers.only_failures and isinstance(body, dict):
        items = []  # many APIs leave an empty list out
    if not isinstance(items, list):
        raise NoAnswer(f"the answer has no list at `{answers.results}`")
    found: list[Verdict | None] = [None] * len(keys)
    of_key: dict[str, list[int]] = {}
    for place, those in enumerate(keys):
        for key in those:
            of_key.setdefault(key, []).append(place)
    for number, item in enumerate(items):
        verdict = _verdict(answers, item)
        for place in _places(answers, item, number, of_key):
            if not 0 <= place < len(keys):
                raise NoAnswer("the answer tells of a member that was not sent")
            # Of several words about one member, the worst counts.
            if found[place] in (None, ACCEPTED):
                found[place] = verdict
    untold = ACCEPTED if answers.only_failures else NOT_TOLD
    return [verdict or untold for verdict in found]


def _places(answers: Answers, item: Any, number: int, of_key: Mapping[str, Sequence[int]]) -> Sequence[int]:
    """The members an item is about. Raises NoAnswer where that cannot be read."""
    if answers.key is not None:
        places = of_key.get(str(json_path.at(item, answers.key)))
        if places is None:
            raise NoAnswer("the answer tells of a member that was not sent")
        return places
    if answers.index is None:
        return [number]
    index = json_path.at(item, answers.index)
    if isinstance(index, str) and index.isascii() and index.isdigit():
        index = int(index)
    if not isinstance(index, int) or isinstance(index, bool):
        raise NoAnswer("the answer does not tell which member it is about")
    return [index]


def _verdict(answers: Answers, item: Any) -> Verdict:
    if answers.accepted is not None:
        try:
            accepted = templates.fill(answers.accepted, {"item": item})
        except templates.TemplateFailed as failed:
            raise NoAnswer(str(failed)) from None
        if accepted is True:
            return ACCEPTED
    code, reason = json_path.at(item, answers.code), json_path.at(item, answers.reason)
    kind = VerdictKind.REJECTED
    if code is not None and str(code) in {str(known) for known in answers.retry_codes}:
        kind = VerdictKind.RETRYABLE
    shown = own_endpoint.without_people(str(code)) if isinstance(code, (str, int)) else "REJECTED"
    words = own_endpoint.without_people(reason) if isinstance(reason, str) else "the API rejects this member"
    return Verdict(kind, shown, words)
