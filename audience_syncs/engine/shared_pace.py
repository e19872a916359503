"""Runs to one account keep its pace together, though each is a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from audience_syncs.destinations.contract import Destination, KeepsPace
from audience_syncs.destinations.pacing import Drawn, Pace
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.paces import SharedPace


class _AccountBudget:
    """The account's row in the warehouse, as a ``Budget``."""

    def __init__(self, row: SharedPace) -> None:
        self._row = row

    def draw(self, count: int, pace: Pace) -> Drawn | None:
        drawn = self._row.draw(count, pace.requests_per_s, pace.burst)
        return None if drawn is None else Drawn(*drawn)

    def hold_off(self, seconds: float) -> None:
        self._row.hold_off(seconds)


@contextmanager
def pace_shared(destination: Destination, warehouse: Warehouse) -> Iterator[None]:
    """Meanwhile, the destination draws its requests from what all runs to its account share in this warehouse."""
    if not isinstance(destination, KeepsPace):
        yield
        return
    pace = destination.pace
    with SharedPace(warehouse, pace.account) as row, pace.shared(_AccountBudget(row)):
        yield
