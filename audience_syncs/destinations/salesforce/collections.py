"""sObject Collections: up to 200 records a call, each with an answer of its own, in the order in which they were sent.

Facts (REST API Developer Guide, sObject Collections, versions 58 to 66; read 2026-11): POST makes, PATCH updates (``Id`` in
each record), PATCH on ``/{object}/{external id field}`` makes or updates, DELETE takes ``ids``; ``allOrNone=false`` lets the
good ones through; results come "in the same order"; a request that is not well formed is a 400 as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.salesforce.calls import Calls, raise_refusal
from audience_syncs.destinations.salesforce.rows import Change, Row, Verb, refused
from audience_syncs.model.errors import NoAnswer
from audience_syncs.model.values import JobNotes, Verdict, VerdictKind

MOST = 200
_PATH = "/composite/sobjects"


class Collections:
    """Changes records call by call."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def portions(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        for start in range(0, len(rows), MOST):
            yield rows[start : start + MOST]

    def send(self, change: Change, rows: Sequence[Row], jobs: JobNotes) -> dict[str, Verdict]:
        """Raises as ``HttpClient`` does, and BatchRefused for all of them."""
        answer = self._sent(change, rows)
        if answer.status >= 400:
            raise_refusal(answer, f"{change.verb} {change.object} records", per_batch=True)
        told = answer.body
        if not isinstance(told, list) or len(told) != len(rows):
            raise NoAnswer(f"salesforce {change.object}.{change.verb}: the answer does not tell of each record")
        return {change.key_of(row): _verdict(each) for row, each in zip(rows, told, strict=True)}

    def _sent(self, change: Change, rows: Sequence[Row]) -> Answer:
        operation = f"{change.object}.{change.verb}"
        if change.verb is Verb.DELETE:
            params = {"ids": ",".join(str(row["Id"]) for row in rows), "allOrNone": "false"}
            return self._calls.change("DELETE", _PATH, operation=operation, params=params)
        records = [{"attributes": {"type": change.object}, **row} for row in rows]
        path = f"{_PATH}/{change.object}/{change.key}" if change.verb is Verb.UPSERT else _PATH
        return self._calls.change(
            "POST" if change.verb is Verb.INSERT else "PATCH",
            path,
            operation=operation,
            json={"allOrNone": False, "records": records},
            idempotent=change.repeatable,
        )


def _verdict(told: Any) -> Verdict:
    if not isinstance(told, Mapping) or not isinstance(told.get("success"), bool):
        return Verdict(VerdictKind.UNKNOWN, "NO_ANSWER", "Salesforce's answer cannot be read")
    if told["success"]:
        name = told.get("id")
        return Verdict(VerdictKind.ACCEPTED, remote_id=name if isinstance(name, str) and name else None)
    errors = told.get("errors")
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], Mapping) else {}
    fields = first.get("fields")
    return refused(str(first.get("statusCode", "")), fields if isinstance(fields, list) else ())
