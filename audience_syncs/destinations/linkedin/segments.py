"""An ad account's DMP segments: found, made, read.

Facts: LinkedIn's pages on DMP segments; see ``account``. A segment that is younger than five seconds takes people and may
lose them, so nobody is put into it before.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

from audience_syncs.destinations.linkedin.calls import Calls
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.errors import DestinationError, ListMissing, NoAnswer, NotApplied

SEGMENTS = "/rest/dmpSegments"
PAGE = 100
USELESS = ("EXPIRED", "FAILED", "ERROR")
"""States in which no ad can use a segment any more (LinkedIn's questions and answers on matched audiences, 2026)."""


class Segments:
    """The segments of one ad account."""

    settles_s = 5.0
    """How old a segment must be before anybody is put into it."""

    def __init__(self, calls: Calls, urn: str) -> None:
        self._calls = calls
        self._urn = urn

    def get(self, list_id: str) -> Mapping[str, Any]:
        """Raises ListMissing."""
        self.check_id(list_id)
        answer = self._calls.get(f"{SEGMENTS}/{list_id}", operation="segments.get")
        if answer.status == 404:
            raise self._missing(list_id)
        if answer.status >= 400:
            self._calls.refuse(answer, "read the segment")
        if not answer.body.get("id"):
            raise NotApplied("linkedin segments.get: the answer has no segment")
        found: Mapping[str, Any] = answer.body
        return found

    def all(self) -> Iterator[Mapping[str, Any]]:
        """All segments of the ad account, page by page. Ends also where LinkedIn tells no total and passes over ``start``."""
        start = 0
        seen: set[str] = set()
        while True:
            params: dict[str, str | int] = {"q": "account", "account": self._urn, "start": start, "count": PAGE}
            answer = self._calls.get(SEGMENTS, params, operation="segments.find")
            if answer.status >= 400:
                self._calls.refuse(answer, "find the segment")
            found = answer.body.get("elements")
            if not isinstance(found, list):
                raise NotApplied("linkedin segments.find: the answer has no list of segments")
            new = [each for each in found if isinstance(each, dict) and each.get("id") and str(each["id"]) not in seen]
            yield from new
            seen.update(str(each["id"]) for each in new)
            start += len(found)
            paging = answer.body.get("paging")
            total = paging.get("total") if isinstance(paging, dict) else None
            if not new or (start >= total if isinstance(total, int) else len(found) < PAGE):
                return

    def oldest_named(self, name: str) -> Mapping[str, Any] | None:
        found = [
            each
            for each in self.all()
            if str(each.get("name", "")).strip() == name.strip()
            and each.get("type", "USER") == "USER"
            and in_linkedin(each).get("status") not in USELESS
        ]
        return min(found, key=lambda each: (_number(each.get("created")), _number(each["id"])), default=None)

    def make(self, name: str, description: str, source: str | None) -> tuple[Mapping[str, Any], bool]:
        """A new segment, and whether it is ours. Another sync may have made one at the same moment: both take the older."""
        body: dict[str, Any] = {
            "name": name,
            "account": self._urn,
            "type": "USER",
            "destinations": [{"destination": "LINKEDIN"}],
        }
        if description:
            body["description"] = description
        if source is not None:
            body["sourcePlatform"] = source
        try:
            answer = self._calls.create(SEGMENTS, body, operation="segments.create")
        except NoAnswer:
            found = self.oldest_named(name)
            if found is None:
                raise
            self.let_settle(found)
            return found, True
        if answer.status >= 400:
            self._calls.refuse(answer, "make a segment")
        made = str(answer.headers.get("x-restli-id") or answer.headers.get("x-linkedin-id") or "")
        if not is_id(made):
            raise NoAnswer("linkedin segments.create: the answer has no segment")
        rest(self.settles_s)
        oldest = self.oldest_named(name) or {"id": made, "name": name}
        return oldest, str(oldest["id"]) == made

    def let_settle(self, shown: Mapping[str, Any]) -> None:
        """An earlier run may have died right after it made the segment. LinkedIn's clock may be ahead of ours."""
        age_s = time.time() - _number(shown.get("created")) / 1_000
        if -60 <= age_s < self.settles_s:
            rest(min(self.settles_s, self.settles_s - age_s))

    def usable(self, list_id: str) -> Mapping[str, Any]:
        """The segment of that id. Raises ListMissing where ads cannot use it any more."""
        shown = self.get(list_id)
        kind, status = str(shown.get("type", "USER")), in_linkedin(shown).get("status")
        if kind != "USER":
            raise DestinationError(
                f"the segment {shown['id']} is of another type, which takes no people one by one",
                where=self._calls.where,
                remedy="leave `id` out to have a segment made, or name one of the type USER",
            )
        if status in USELESS:
            raise ListMissing(
                f"the segment {shown['id']} is {str(status).lower()} at LinkedIn: no ad can use it any more",
                where=self._calls.where,
                remedy="segments expire that no campaign uses; give the sync another `name`, or run it once with a new list",
            )
        return shown

    def check_id(self, list_id: str) -> None:
        if not is_id(list_id):
            raise self._missing(list_id[:30])

    def _missing(self, shown: str) -> ListMissing:
        return ListMissing(
            f"there is no segment {shown} at LinkedIn any more, or this token may not see it",
            where=self._calls.where,
            remedy="restore the member's access to the ad account; if the segment was deleted, give the sync another `name`: "
            "it then fills a new one",
        )


def in_linkedin(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is told of the segment's destination, which is LinkedIn."""
    destinations = shown.get("destinations")
    found = (each for each in (destinations if isinstance(destinations, list) else ()) if isinstance(each, dict))
    return next((each for each in found if each.get("destination", "LINKEDIN") == "LINKEDIN"), {})


def _number(value: object) -> float:
    if isinstance(value, bool):
        return 0.0
    if isinstance(value, int | float):
        return float(value)
    return float(value) if isinstance(value, str) and value.isascii() and value.isdigit() else 0.0


def is_id(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,30}", text) is not None
