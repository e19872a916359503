"""Many records changed: 200 a call, or by a job; row by row to know what came of each.

A row that Salesforce could not lock (``UNABLE_TO_LOCK_ROW``: somebody else was writing the same campaign or account) is sent
again a few times. What is refused as a whole is divided, until those at fault are alone: other rows of the same delivery
may be in already, so that the whole delivery cannot be called refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.salesforce.bulk import Jobs
from audience_syncs.destinations.salesforce.calls import no_such_field
from audience_syncs.destinations.salesforce.collections import Collections
from audience_syncs.destinations.salesforce.rows import NOT_WRITABLE, Change, Row
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import Batch, JobNotes, Verdict, VerdictKind

_ROUNDS = 4
_REFUSALS = 30
"""After so many refusals of which none got anybody through, the fault is not in the rows."""
_ONE_CALL = 200


class Way(StrEnum):
    """How records are changed."""

    CALLS = "calls"
    JOBS = "jobs"


@dataclass(slots=True)
class _Division:
    """How the search for the rows at fault goes."""

    refusals: int = 0
    anybody: bool = False

    @property
    def is_hopeless(self) -> bool:
        return self.refusals >= _REFUSALS and not self.anybody


class Writes:
    """Changes records of one org. Thread-safe."""

    def __init__(self, collections: Collections, jobs: Jobs, bulk_above: int) -> None:
        self._collections = collections
        self._jobs = jobs
        self._bulk_above = bulk_above
        self.first_pause_s = 1.0

    def way(self, batch: Batch, rows: int) -> Way:
        """Jobs for many members, unless this is but one call of them."""
        total = max(batch.total, len(batch))
        return Way.JOBS if total > self._bulk_above and rows > min(self._bulk_above, _ONE_CALL) else Way.CALLS

    def carry_out(self, change: Change, rows: Sequence[Row], batch: Batch) -> dict[str, Verdict]:
        """The verdict of each row, by its key (``change.key``), which no two of them share; accepted with the record's id."""
        verdicts: dict[str, Verdict] = {}
        left, pause = list(rows), self.first_pause_s
        for turn in range(_ROUNDS):
            if not left or (turn and not rest(pause)):
                break
            pause *= 2 if turn else 1
            way = self.way(batch, len(left))
            try:
                self._divided(change, left, way, batch.jobs, verdicts, _Division())
            except DestinationError:
                if any(each.kind in (VerdictKind.ACCEPTED, VerdictKind.UNKNOWN) for each in verdicts.values()):
                    may_have_been_applied()
                raise
            self._check_rights(change, verdicts)
            left = [row for row in left if verdicts[change.key_of(row)].reason_code == "UNABLE_TO_LOCK_ROW"]
        return verdicts

    def _check_rights(self, change: Change, verdicts: Mapping[str, Verdict]) -> None:
        """A field that nobody's record takes from us is no fault of theirs. Raises DestinationError."""
        named = [verdict for verdict in verdicts.values() if verdict.reason_code == NOT_WRITABLE]
        if named and all(verdict.kind is VerdictKind.REJECTED for verdict in verdicts.values()):
            _, colon, field = named[0].reason.rpartition(": ")
            raise no_such_field(field if colon else "", f"{change.verb} {change.object} records")

    def _divided(
        self,
        change: Change,
        rows: Sequence[Row],
        way: Way,
        jobs: JobNotes,
        verdicts: dict[str, Verdict],
        division: _Division,
    ) -> None:
        transport = self._jobs if way is Way.JOBS else self._collections
        for some in transport.portions(rows):
            keys = [change.key_of(row) for row in some]
            if division.is_hopeless:
                verdicts.update(dict.fromkeys(keys, _HOPELESS))
                continue
            try:
                told: Mapping[str, Verdict] = transport.send(change, some, jobs)
            except NotApplied as error:
                told = dict.fromkeys(keys, Verdict(VerdictKind.RETRYABLE, error.code, error.message))
            except NoAnswer as error:
                told = dict.fromkeys(keys, Verdict(VerdictKind.UNKNOWN, error.code, error.message))
            except BatchRefused as refused:
                division.refusals += 1
                if len(some) == 1:
                    verdicts[keys[0]] = Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason)
                    continue
                middle = len(some) // 2
                for half in (some[:middle], some[middle:]):
                    self._divided(change, half, way, jobs, verdicts, division)
                continue
            verdicts.update(told)
            division.anybody |= any(each.kind is VerdictKind.ACCEPTED for each in told.values())


_HOPELESS = Verdict(VerdictKind.RETRYABLE, "REFUSED", "Salesforce refuses request after request, with whomever in it")
