"""Members as rows of identifiers, and what becomes of them.

A row has a place for each kind of identifier that the request names; an empty object where there is none, as Segment's
adapter sends it. Every identifier is mapped to the audience by itself, so somebody with three addresses is three rows. TikTok
answers for the whole request: nothing is said of single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from audience_syncs.destinations.portions import in_portions
from audience_syncs.destinations.verdicts import worst
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

PARTLY = Verdict(
    VerdictKind.UNKNOWN, "PARTLY_APPLIED", "TikTok took some of this member's identifiers, and not the others"
)

Row = tuple[str, ...]
"""Identifiers in the order of ``SCHEMA``; empty where there is none."""
Send = Callable[[Sequence[str], Sequence[Sequence[Any]]], None]
"""Sends rows: the kinds of identifiers, and the rows, ready for the wire. Raises where they were not taken."""


def deliver(members: Sequence[Outgoing], list_id: str, send: Send, *, adding: bool) -> list[Verdict]:
    """One verdict per member. Raises as ``in_portions`` does."""

    def taken(rows: Sequence[Row]) -> list[Verdict]:
        send(*_on_wire(rows, list_id))
        return [ACCEPTED] * len(rows)

    rows_by_member = [rows_of(member) for member in members]
    rows = list(dict.fromkeys(row for of_one in rows_by_member for row in of_one))
    verdicts = dict(zip(rows, in_portions(rows, MOST_ROWS, taken), strict=True))
    return [_of_member([verdicts[row] for row in of_one], adding=adding) for of_one in rows_by_member]


def _of_member(verdicts: Sequence[Verdict], *, adding: bool) -> Verdict:
    """Nobody is called rejected, or not applied, who is in by one of their identifiers."""
    if not verdicts:
        return NO_IDENTIFIER if adding else ACCEPTED
    found = worst(verdicts)
    partly = adding and found.kind in (VerdictKind.REJECTED, VerdictKind.RETRYABLE) and ACCEPTED in verdicts
    return PARTLY if partly else found


def rows_of(member: Outgoing) -> list[Row]:
    """As many rows as the field with most values has."""
    columns = [_values(member.fields.get(name, "")) for name in SCHEMA]
    return [
        tuple(column[number] if number < len(column) else "" for column in columns)
        for number in range(max(map(len, columns)))
    ]


def _on_wire(rows: Sequence[Row], list_id: str) -> tuple[list[str], list[list[dict[str, Any]]]]:
    """The kinds that occur in these rows, and the rows with these alone."""
    used = [column for column in range(len(SCHEMA)) if any(row[column] for row in rows)]
    kinds = list(SCHEMA.values())
    return [kinds[column] for column in used], [
        [{"id": row[column], "audience_ids": [list_id]} if row[column] else {} for column in used] for row in rows
    ]


def _values(value: FieldValue) -> list[str]:
    return [text for text in ([value] if isinstance(value, str) else value) if text]
