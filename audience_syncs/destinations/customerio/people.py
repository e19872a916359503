"""Customer.io's people: sent in batches of the Track API, which carries them out a little later, and looked up by the App API.

The Track API answers when it has taken an operation, not when it has done it, and says nothing of what it then leaves undone:
a person who is suppressed is not made, and whoever is not a person is not put into a segment. So nobody is put into a segment
before the App API tells that they are a person, with their ``cio_id``, which stays with them whatever their other identifiers become.

Facts: Customer.io's descriptions of its APIs (2026-10) and its own client, 3.2.0: operations of a batch, 500 KB, 32 KB each, errors
by ``batch_index`` while the others are accepted; ``_update`` makes nobody; people looked up by 100 ids, those that there are not are
left out. [unsure], and what is done about it: how long an operation takes (who is not there at first is looked for again, and comes
again in the next run); that an empty value removes an attribute of a person (so it is said of objects).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.destinations.customerio.calls import App, Track, errors_of, items, rejection_of
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.errors import NoAnswer
from audience_syncs.model.values import Batch, Outgoing, Verdict, VerdictKind

ID, CIO_ID = "id", "cio_id"
MOST_BYTES = 450_000
MOST_BYTES_EACH = 32_000
_LOOK_UP = 100
NEVER_CLEARED = frozenset({"id", "email", "phone"})
"""By which workspaces may find people."""
TOO_LARGE = Verdict(VerdictKind.REJECTED, "TOO_LARGE", "is more than the 32 KB that Customer.io takes of one person")

Operation = dict[str, Any]


class People:
    """The people of one workspace. Thread-safe."""

    def __init__(self, track: Track, app: App, longest_wait_s: float) -> None:
        self._track = track
        self._app = app
        self._longest_wait_s = longest_wait_s
        self.first_pause_s = 0.5
        self.longest_pause_s = 8.0

    def send(self, operations: Sequence[Operation]) -> dict[int, Verdict]:
        """Those that are refused, by their place. Raises BatchRefused, NotApplied, NoAnswer."""
        refused: dict[int, Verdict] = {}
        for places in _portions(operations, refused):
            answer = self._track.send(
                "/api/v2/batch", {"batch": [operations[place] for place in places]}, operation="people.batch"
            )
            if answer.status >= 400:
                self._track.raise_refusal(answer, "write people")
            if answer.status != 207:
                continue
            named = {}
            for error in errors_of(answer):
                place = error.get("batch_index")
                if not isinstance(place, int) or not 0 <= place < len(places):
                    raise NoAnswer("customerio people.batch: an error is about nobody")
                named[places[place]] = rejection_of(error)
            if not named:
                raise NoAnswer("customerio people.batch: errors are told of, and none is named")
            refused |= named
        return refused

    def found(self, ids: Iterable[str], kind: str = ID) -> dict[str, str]:
        """id -> cio_id of those who are people. Raises NotApplied."""
        wanted = list(dict.fromkeys(ids))
        there: dict[str, str] = {}
        for start in range(0, len(wanted), _LOOK_UP):
            some = wanted[start : start + _LOOK_UP]
            answer = self._app.read(
                "POST", "/v1/customers/attributes", {"ids": some}, operation="people.find", params={"id_type": kind}
            )
            if answer.status >= 400:
                self._app.raise_refusal(answer, "look people up")
            for each in items(answer, "customers"):
                person = each.get("customer", each)
                told = _identifiers(person) if isinstance(person, Mapping) else {}
                if told.get(kind) in some and told.get(CIO_ID):
                    there[told[kind]] = told[CIO_ID]
        return there

    def arrived(self, ids: Sequence[str]) -> dict[str, str]:
        """As ``found``, after a while for those who are not there at once. Raises NotApplied."""
        there: dict[str, str] = {}
        missing, wait = list(ids), self.waiting()
        while missing:
            there |= self.found(missing)
            missing = [each for each in missing if each not in there]
            if not missing or not wait.goes_on():
                break
        return there

    def waiting(self) -> Waiting:
        """For what Customer.io has taken and not yet done."""
        return Waiting(self._longest_wait_s, self.first_pause_s, self.longest_pause_s)


class Waiting:
    """Pauses that grow, up to a time after which there is no further one."""

    def __init__(self, longest_s: float, first_pause_s: float, longest_pause_s: float) -> None:
        self._until = time.monotonic() + longest_s
        self._pause_s = first_pause_s
        self._longest_pause_s = longest_pause_s

    def goes_on(self) -> bool:
        """Waits; False where it was long enough, or the run is being stopped."""
        if time.monotonic() + self._pause_s > self._until or not rest(self._pause_s):
            return False
        self._pause_s = min(self._longest_pause_s, self._pause_s * 2)
        return True


def people_of(batch: Batch) -> dict[str, dict[str, Any]]:
    """The attributes of the members, by id: those who share one are one person, with the last one's attributes."""
    found: dict[str, dict[str, Any]] = {}
    for member in batch.members:
        own = next(iter(ids_of(member)), None)
        if own is not None:
            attributes = found.setdefault(own, {})
            attributes |= {name: value for name, value in member.fields.items() if name != ID}
            attributes |= {**member.objects, **dict.fromkeys(member.clears, "")}
    return found


def ids_of(member: Outgoing) -> list[str]:
    value = member.fields.get(ID, "")
    return [text for text in ([value] if isinstance(value, str) else value) if text]


def named(member: Outgoing) -> list[tuple[str, str]]:
    """All that the member may be known by: kind and value."""
    return [*((ID, each) for each in ids_of(member)), *([(CIO_ID, member.remote_id)] if member.remote_id else [])]


def identify(kind: str, value: str, attributes: Mapping[str, Any], *, update: bool = False) -> Operation:
    """``update``: only of somebody who is there."""
    return {
        "type": "person",
        "identifiers": {kind: value},
        "action": "identify",
        "attributes": {**attributes, **({"_update": True} if update else {})},
    }


def delete(kind: str, value: str) -> Operation:
    return {"type": "person", "identifiers": {kind: value}, "action": "delete"}


def _portions(operations: Sequence[Operation], refused: dict[int, Verdict]) -> Iterator[list[int]]:
    """Places of operations that fit into one call; those that are too large are refused."""
    places: list[int] = []
    size = 0
    for place, operation in enumerate(operations):
        needs = len(orjson.dumps(operation)) + 1
        if needs > MOST_BYTES_EACH:
            refused[place] = TOO_LARGE
            continue
        if places and size + needs > MOST_BYTES:
            yield places
            places, size = [], 0
        places.append(place)
        size += needs
    if places:
        yield places


def _identifiers(person: Mapping[str, Any]) -> dict[str, str]:
    """``id`` and ``cio_id``, which are told beside the person, among their identifiers or their attributes."""
    found: dict[str, str] = {}
    for place in (person.get("attributes"), person.get("identifiers"), person):
        for name in (ID, CIO_ID):
            value = place.get(name) if isinstance(place, Mapping) else None
            if isinstance(value, str) and value:
                found[name] = value
    return found
