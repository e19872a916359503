"""Sends rows in portions that a platform takes at once, and divides those it refuses without naming anybody.

For platforms whose requests hold fewer rows than a batch may come to (a member who leaves may have several identifiers), and
for refusals of one portion after others were taken: then the engine can no longer divide the batch itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.verdicts import unsure
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import Verdict, VerdictKind

Row = TypeVar("Row")


def in_portions(rows: Sequence[Row], most: int, send: Callable[[Sequence[Row]], Sequence[Verdict]]) -> list[Verdict]:
    """A verdict for each row. ``send`` raises as ``add`` does, where nothing of its portion was applied but by NoAnswer.

    Raises BatchRefused where the only portion is refused as a whole, so that the engine divides it, and DestinationError.
    """
    verdicts: list[Verdict] = []
    waiting = [rows[start : start + most] for start in range(0, len(rows), most)][::-1]
    while waiting:
        some = waiting.pop()
        try:
            verdicts += send(some)
        except BatchRefused as refused:
            if len(some) == 1:
                verdicts.append(Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason))
            elif len(some) == len(rows):
                raise
            else:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
        except (NotApplied, NoAnswer) as error:
            verdicts += [unsure(error)] * len(some)
        except DestinationError:
            if _any_may_be_there(verdicts):
                may_have_been_applied()
            raise
    return verdicts


def _any_may_be_there(verdicts: Iterable[Verdict]) -> bool:
    return any(verdict.kind in (VerdictKind.ACCEPTED, VerdictKind.UNKNOWN) for verdict in verdicts)
