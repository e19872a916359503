"""Members as rows of identifiers, and what becomes of them.

A row has a place for each kind of identifier that the request names; an empty object where there is none, as Segment's
adapter sends it. Every identifier is mapped to the audience by itself, so somebody with three addresses is three rows. TikTok
answers for the whole request: nothing is said of single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, FieldValue, Outgoing, Verdict, VerdictKind

SCHEMA: Mapping[str, str] = {
    "email": "EMAIL_SHA256",
    "phone": "PHONE_SHA256",
    "idfa": "IDFA_SHA256",
    "aaid": "AAID_SHA256",
}
"""Field -> how TikTok calls the kind of identifier."""
MOST_ROWS = 10_000
NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no value that TikTok could find a person by")

Row = tuple[str, ...]
"""Identifiers in the order of ``SCHEMA``; empty where there is none."""
Send = Callable[[Sequence[str], Sequence[Sequence[Any]]], None]
"""Sends rows: the kinds of identifiers, and the rows, ready for the wire."""


def deliver(members: Sequence[Outgoing], list_id: str, send: Send, *, adding: bool) -> list[Verdict]:
    """One verdict per member. Raises what ``send`` raises for as long as nothing was applied.

    Later, who was not sent, or was refused with all others of a request, comes back in the next run.
    """
    nothing_to_send = NO_IDENTIFIER if adding else ACCEPTED
    verdicts = [nothing_to_send] * len(members)
    applied = False
    for places, rows in _portions(members):
        try:
            send(*_on_wire(rows, list_id))
        except (BatchRefused, NotApplied, NoAnswer) as error:
            if not applied:
                raise
            kind = VerdictKind.UNKNOWN if isinstance(error, NoAnswer) else VerdictKind.RETRYABLE
            reason = error.reason if isinstance(error, BatchRefused) else error.message
            verdict = Verdict(kind, error.code, reason)
        except DestinationError:
            if applied:
                may_have_been_applied()
            raise
        else:
            applied, verdict = True, ACCEPTED
        for place in places:
            verdicts[place] = verdict
    return verdicts


def rows_of(member: Outgoing) -> list[Row]:
    """As many rows as the field with most values has."""
    columns = [_values(member.fields.get(name, "")) for name in SCHEMA]
    return [
        tuple(column[number] if number < len(column) else "" for column in columns)
        for number in range(max(map(len, columns)))
    ]


def _portions(members: Sequence[Outgoing]) -> Iterator[tuple[list[int], list[Row]]]:
    """Members who have identifiers, by their places, in portions that fit into one request; each with its rows, once."""
    places: list[int] = []
    rows: dict[Row, None] = {}
    for place, member in enumerate(members):
        found = rows_of(member)
        if not found:
            continue
        if places and len(rows) + len(found) > MOST_ROWS:
            yield places, list(rows)
            places, rows = [], {}
        places.append(place)
        rows.update(dict.fromkeys(found))
    if places:
        yield places, list(rows)


def _on_wire(rows: Sequence[Row], list_id: str) -> tuple[list[str], list[list[dict[str, Any]]]]:
    """The kinds that occur in these rows, and the rows with these alone."""
    used = [column for column in range(len(SCHEMA)) if any(row[column] for row in rows)]
    kinds = list(SCHEMA.values())
    return [kinds[column] for column in used], [
        [{"id": row[column], "audience_ids": [list_id]} if row[column] else {} for column in used] for row in rows
    ]


def _values(value: FieldValue) -> list[str]:
    return [text for text in ([value] if isinstance(value, str) else value) if text]
