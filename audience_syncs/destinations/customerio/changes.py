"""Calls about a Customer.io segment, noted until they are seen to be done.

A call is answered when it is taken, and carried out later, without any job to follow. It is one operation, so one person of each
call is its witness: the call is done when the App API tells that they are in the segment, or not any more. Calls of which that is
not seen are noted, and the next run waits for them: no removal overtakes an addition of this or an earlier run.

[unsure], and what is done about it: whether a call whose answer was lost, and which so could not be noted, is carried out before
what comes after it (assumed: calls are taken in order).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from audience_syncs.destinations.customerio.people import People
from audience_syncs.destinations.customerio.segments import Segments
from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.model.errors import BatchRefused, NoAnswer, NotApplied
from audience_syncs.model.values import JobNotes

_FORGOTTEN_AFTER_S = 900
"""A call that was taken so long ago is not waited for: somebody else may have moved its witness since."""


class Changes:
    """Who comes into the segments of one workspace, and who goes. Thread-safe."""

    def __init__(self, segments: Segments, people: People) -> None:
        self._segments = segments
        self._people = people

    def carry_out(
        self,
        list_id: str,
        change: Callable[[str, str, Sequence[str]], None],
        calls: Sequence[tuple[str, Sequence[str], str | None]],
        notes: JobNotes,
        *,
        inside: bool,
    ) -> bool:
        """Whether all calls are seen to be done: kind, ids, and the ``cio_id`` of one of them, of each. Noted until they are.

        Once one of them was taken, an error of a later one no longer says that nothing has happened.
        """
        noted: list[str] = []
        begun = False
        try:
            for kind, ids, witness in calls:
                change(list_id, kind, ids)
                begun = True
                if witness is not None:
                    noted.append(job_of(witness, inside=inside))
                    notes.note(noted[-1])
        except NotApplied as error:
            if begun:
                raise NoAnswer(error.message) from error
            raise
        except BatchRefused:
            if begun:
                may_have_been_applied()
            raise
        try:
            under_way = self.under_way(list_id, noted)
        except NotApplied:
            return False
        for job in dict.fromkeys(noted):
            if job not in under_way:
                notes.done(job)
        return not under_way

    def under_way(self, list_id: str, jobs: Sequence[str]) -> list[str]:
        """Those that are not seen to be done in time. Raises NotApplied."""
        wait = self._people.waiting()
        left = []
        for job in dict.fromkeys(jobs):
            told = witness_of(job)
            if told is not None and not self._segments.settled(list_id, *told, wait=wait):
                left.append(job)
        return left


def job_of(cio_id: str, *, inside: bool) -> str:
    """A call that was taken, by its witness, and when."""
    return f"{'in' if inside else 'out'} {cio_id} {time.time():.0f}"


def witness_of(job: str) -> tuple[str, bool] | None:
    """The witness, and whether they are to be in the segment; None where the call was taken too long ago to be waited for."""
    way, _, rest = job.partition(" ")
    cio_id, _, taken = rest.rpartition(" ")
    if not taken.isdigit() or time.time() - int(taken) > _FORGOTTEN_AFTER_S:
        return None
    return cio_id, way == "in"
