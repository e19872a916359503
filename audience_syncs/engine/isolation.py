"""Who is at fault when a platform refuses a whole batch: found, so that the others get through."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from audience_syncs.destinations.doubt import watch
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import Batch, Verdict, VerdictKind

Call = Callable[[Batch], Sequence[Verdict]]
"""Delivers a batch: one verdict per member."""


class Isolation:
    """Sends a batch; one that is refused as a whole is split until the members at fault are alone.

    A platform that names the member at fault costs one more request for each, one that does not some 2 log2(n). The
    larger groups go first, so that the good ones are through before the bad ones are narrowed down. Where nothing at all
    is accepted after ``SUSPICIOUS`` refusals, some members are tried alone. If none of them is accepted either, the fault
    is not theirs, and the search ends: the others are not called rejected, but come back in the next run.

    A member who was in a request without an answer is accepted or *unknown*, whatever the last answer says: that first
    request may have been applied. The next run sends them again, and gets to know.
    """

    SUSPICIOUS = 30
    PROBES = 20

    def __init__(self, call: Call, size: int) -> None:
        self.verdicts: list[Verdict | None] = [None] * size
        self._call = call
        self._refusals = 0
        self._hopeless_at: float = float("inf")
        self._answered = False
        self._doubtful: set[int] = set()

    def send(self, batch: Batch) -> None:
        """Fills in ``verdicts``. What raises (access refused, list gone) leaves those open that certainly were not applied."""
        try:
            self._send(batch)
        except DestinationError as error:
            still_open = [position for position in self._doubtful if self.verdicts[position] is None]
            self._give(still_open, Verdict(VerdictKind.UNKNOWN, error.code, error.message))
            raise

    def _send(self, batch: Batch) -> None:
        groups: deque[tuple[Batch, Sequence[int]]] = deque([(batch, range(len(batch)))])
        probed = False
        while groups:
            if self._refusals >= self.SUSPICIOUS and not self._answered and not probed:
                probed = True
                # By chance, but the same every time: bad members may come at regular distances.
                chosen = random.Random(len(batch)).sample(range(len(batch)), min(self.PROBES, len(batch)))
                groups.extendleft((replace(batch, members=[batch.members[at]]), [at]) for at in chosen)
                self._hopeless_at = self._refusals + len(chosen)
            group, positions = groups.popleft()
            try:
                verdicts = self._tried(group, positions)
            except NotApplied as error:
                self._give(positions, Verdict(VerdictKind.RETRYABLE, error.code, error.message))
            except NoAnswer as error:
                self._give(positions, Verdict(VerdictKind.UNKNOWN, error.code, error.message))
            except BatchRefused as refused:
                groups.extend(self._divided(group, positions, refused))
            else:
                self._answered = True
                for position, verdict in zip(positions, verdicts, strict=True):
                    self._give([position], verdict)

    def _tried(self, group: Batch, positions: Sequence[int]) -> Sequence[Verdict]:
        with watch() as doubt:
            try:
                return self._call(group)
            finally:
                if doubt.arose:
                    self._doubtful.update(positions)

    def _divided(
        self, group: Batch, positions: Sequence[int], refused: BatchRefused
    ) -> list[tuple[Batch, Sequence[int]]]:
        """The groups to be tried instead of one that was refused."""
        self._refusals += 1
        if len(positions) == 1:
            self._give(positions, Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason))
            return []
        if self._refusals > self._hopeless_at and not self._answered:
            self._give(positions, Verdict(VerdictKind.RETRYABLE, refused.reason_code, refused.reason))
            return []
        at_fault = refused.position
        if at_fault is not None and 0 <= at_fault < len(positions):
            self._give(
                positions[at_fault : at_fault + 1], Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason)
            )
            members = [*group.members[:at_fault], *group.members[at_fault + 1 :]]
            return [(replace(group, members=members), [*positions[:at_fault], *positions[at_fault + 1 :]])]
        middle = len(positions) // 2
        return [
            (replace(group, members=group.members[:middle]), positions[:middle]),
            (replace(group, members=group.members[middle:]), positions[middle:]),
        ]

    def _give(self, positions: Sequence[int], verdict: Verdict) -> None:
        for position in positions:
            doubtful = position in self._doubtful and verdict.kind is not VerdictKind.ACCEPTED
            self.verdicts[position] = replace(verdict, kind=VerdictKind.UNKNOWN) if doubtful else verdict
