"""Rows that change records, and what Salesforce says of one.

Facts: SOAP API Developer Guide, ``StatusCode`` (REST and Bulk API use the same codes). Its messages quote values and are in
the user's language, so only the code and the names of fields are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from audience_syncs.destinations.salesforce.calls import code_of
from audience_syncs.model.values import Verdict, VerdictKind

Row = Mapping[str, str | None]
"""Fields of a record; None empties one. ``Id`` where the record is there already."""
_FIELD = re.compile(r"[A-Za-z]\w{0,79}", re.ASCII)
GONE = frozenset({"ENTITY_IS_DELETED", "INVALID_CROSS_REFERENCE_KEY", "NOT_FOUND"})
"""What is said of a record that is no longer there."""
ALREADY_THERE = "DUPLICATE_VALUE"
NOT_WRITABLE = "INVALID_FIELD_FOR_INSERT_UPDATE"
"""A field that our user may not write: with every row."""
_COMES_AGAIN = frozenset(
    {
        "UNABLE_TO_LOCK_ROW",
        "REQUEST_LIMIT_EXCEEDED",
        "SERVER_UNAVAILABLE",
        "QUERY_TIMEOUT",
        "UNKNOWN_EXCEPTION",
        "STORAGE_LIMIT_EXCEEDED",
        "LIMIT_EXCEEDED",
        "PROCESSING_HALTED",
        "ALL_OR_NONE_OPERATION_ROLLED_BACK",
        "INTERNAL_ERROR",
        # The next run finds the contact that it has become.
        "CANNOT_UPDATE_CONVERTED_LEAD",
    }
)
_WORDS = {
    "REQUIRED_FIELD_MISSING": "a record that is made needs these fields (see the setting `defaults`)",
    "DUPLICATES_DETECTED": "a duplicate rule of the org takes it for somebody it has already",
    "FIELD_CUSTOM_VALIDATION_EXCEPTION": "a validation rule of the org refuses it",
    "CANNOT_UPDATE_CONVERTED_LEAD": "the lead has been converted since",
}


class Verb(StrEnum):
    INSERT = "insert"
    UPDATE = "update"
    UPSERT = "upsert"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to many records of one object. ``key``: the field that tells the rows apart, in the answers of jobs too;
    of an upsert it is the external id."""

    verb: Verb
    object: str
    key: str
    repeatable: bool = True
    """Whether doing it twice is the same as once: making contacts is not."""

    def key_of(self, row: Row) -> str:
        return str(row[self.key])


def is_gone(verdict: Verdict) -> bool:
    """Whether the record itself is no longer there; the same code names a field that refers to one that is not."""
    _, colon, named = verdict.reason.rpartition(": ")
    return verdict.reason_code in GONE and (not colon or named == "Id")


def refused(code: str, fields: Sequence[object] = ()) -> Verdict:
    """What a row's error means. Whatever is refused was not applied."""
    known = code_of(code) or "REFUSED"
    named = ", ".join(str(name) for name in fields if _FIELD.fullmatch(str(name)) is not None)
    words = _WORDS.get(known, known.lower().replace("_", " "))
    kind = VerdictKind.RETRYABLE if known in _COMES_AGAIN else VerdictKind.REJECTED
    return Verdict(kind, known, f"{words}: {named}" if named else words)
