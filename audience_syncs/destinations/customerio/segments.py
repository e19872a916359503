"""Manual segments of a Customer.io workspace.

Facts: Customer.io's descriptions of both APIs (2026-10): made, told and counted by the App API; filled and emptied by the Track API,
1,000 ids a call, which must all be of the kind ``id_type``, others are ignored; removing needs people who have an ``id``; members are
told up to 30,000 a page. The same page says that these calls "do not yet support workspaces that use both email and id", while
Customer.io's own client for Go got ``id_type`` in 2026-05: people are named by ``id`` here, and removed by ``cio_id`` beside it.
[unsure], and what is done about it: what is answered for a segment that is gone (it is asked for before each call); whether names
are unique (of several the oldest is taken).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from audience_syncs.destinations.contract import ListMember
from audience_syncs.destinations.customerio.calls import App, Track, items
from audience_syncs.destinations.customerio.people import CIO_ID, ID, Waiting
from audience_syncs.model.errors import DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import FieldValue

MOST = 1_000
_PAGE = 10_000


class Segments:
    """The manual segments of one workspace. Thread-safe."""

    def __init__(self, track: Track, app: App, where: str) -> None:
        self._track = track
        self._app = app
        self._where = where

    def get(self, segment: str) -> Mapping[str, Any]:
        """Raises ListMissing."""
        answer = self._app.read("GET", f"/v1/segments/{segment}", operation="segments.get")
        if answer.status == 404:
            raise ListMissing(
                f"the Customer.io segment {segment} no longer exists",
                where=self._where,
                remedy="deleted segments cannot be restored: give the sync another `name` to fill a new one",
            )
        if answer.status >= 400:
            self._app.raise_refusal(answer, "read the segment")
        found = _segment_in(answer.body)
        if found is None:
            raise NotApplied("customerio segments.get: the answer has no segment")
        if found.get("type", "manual") != "manual":
            raise DestinationError(
                f"the Customer.io segment {segment} is not a manual one: Customer.io fills it by conditions",
                where=self._where,
                code="NOT_MANUAL",
                remedy="give the sync the id of a manual segment, or a `name` of its own",
            )
        return found

    def named(self, name: str) -> Mapping[str, Any] | None:
        answer = self._app.read("GET", "/v1/segments", operation="segments.find")
        if answer.status >= 400:
            self._app.raise_refusal(answer, "find the segment")
        found = [
            each
            for each in items(answer, "segments")
            if each.get("name") == name and each.get("type", "manual") == "manual" and each.get("id")
        ]
        return min(found, key=lambda each: str(each["id"]).zfill(20), default=None)

    def make(self, name: str, description: str) -> tuple[Mapping[str, Any], bool]:
        """The segment, and whether this made it."""
        told = {"name": name, **({"description": description} if description else {})}
        try:
            answer = self._app.make("/v1/segments", {"segment": told}, operation="segments.create")
        except NoAnswer:
            found = self.named(name)
            if found is not None:
                return found, False
            raise
        if answer.status in (400, 409, 422):
            found = self.named(name)
            if found is not None:
                return found, False
        if answer.status >= 400:
            self._app.raise_refusal(answer, "make the segment")
        made = _segment_in(answer.body)
        if made is None:
            raise NoAnswer("customerio segments.create: the answer has no segment")
        # Another sync may have made one at the same moment: both take the older one.
        oldest = self.named(name) or made
        return oldest, oldest["id"] == made["id"]

    def add(self, segment: str, kind: str, ids: Sequence[str]) -> None:
        """Raises BatchRefused, NotApplied, NoAnswer."""
        self._change(segment, "add_customers", kind, ids)

    def remove(self, segment: str, kind: str, ids: Sequence[str]) -> None:
        self._change(segment, "remove_customers", kind, ids)

    def _change(self, segment: str, path: str, kind: str, ids: Sequence[str]) -> None:
        answer = self._track.send(
            f"/api/v1/segments/{segment}/{path}",
            {"ids": list(ids)},
            operation=f"segments.{path.partition('_')[0]}",
            params={"id_type": kind},
        )
        if answer.status == 404:
            self.get(segment)
        if answer.status >= 400:
            self._track.raise_refusal(answer, "change who is in the segment")

    def settled(self, segment: str, cio_id: str, inside: bool, *, wait: Waiting) -> bool:
        """Whether a call is seen to be carried out: by one who was in it, as it is one operation. Raises NotApplied.

        They are named by Customer.io's own id, as it stands in the address, which libraries log.
        """
        while self._holds(segment, cio_id) is not inside:
            if not wait.goes_on():
                return False
        return True

    def _holds(self, segment: str, cio_id: str) -> bool:
        path = f"/v1/customers/{quote(cio_id, safe='')}/segments"
        answer = self._app.read("GET", path, operation="people.segments", params={"id_type": CIO_ID})
        if answer.status == 404:
            return False
        if answer.status >= 400:
            self._app.raise_refusal(answer, "read a person's segments")
        return any(str(each.get("id")) == segment for each in items(answer, "segments"))

    def count(self, segment: str) -> int | None:
        answer = self._app.read("GET", f"/v1/segments/{segment}/customer_count", operation="segments.count")
        if answer.status == 404:
            self.get(segment)
        if answer.status >= 400:
            self._app.raise_refusal(answer, "count the segment")
        found = answer.body.get("count") if isinstance(answer.body, dict) else None
        return found if isinstance(found, int) else None

    def members(self, segment: str) -> Iterator[Sequence[ListMember]]:
        """Everybody; who has no id only with their ``cio_id``."""
        self.get(segment)
        start, seen = "", {""}
        while True:
            params: dict[str, str | int] = {"limit": _PAGE, **({"start": start} if start else {})}
            answer = self._app.read(
                "GET", f"/v1/segments/{segment}/membership", operation="members.read", params=params
            )
            if answer.status >= 400:
                self._app.raise_refusal(answer, "read the segment's members")
            found = items(answer, "identifiers")
            if found:
                yield [_as_member(each) for each in found]
            start = answer.body.get("next") or ""
            if not start:
                return
            if start in seen:
                raise NotApplied("customerio members.read: the pages go round in circles")
            seen.add(start)


def portions(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), MOST):
        yield ids[start : start + MOST]


def _segment_in(body: object) -> Mapping[str, Any] | None:
    found = body.get("segment") if isinstance(body, dict) else None
    return found if isinstance(found, dict) and found.get("id") else None


def _as_member(told: Mapping[str, Any]) -> ListMember:
    own, cio = told.get(ID), told.get(CIO_ID)
    fields: dict[str, FieldValue] = {ID: own} if isinstance(own, str) and own else {}
    return ListMember(fields, cio if isinstance(cio, str) and cio else None)
