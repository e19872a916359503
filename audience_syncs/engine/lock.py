"""One run of a sync at a time, across processes and machines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from audience_syncs.model.errors import SyncLocked
from audience_syncs.warehouse.connection import Warehouse, lost

POLL_S = 1.0


@contextmanager
def locked(
    connection: sa.Connection,
    warehouse: Warehouse,
    name: str,
    *,
    patience_s: float = 0.0,
    waits: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """One run of a sync at a time, across processes and machines. The lock dies with the connection.

    It is held by the connection that also writes everything else: who loses it can book nothing any more. Another run is
    waited for as long as ``patience_s`` says; ``waits`` is told when that begins.
    """
    lock = warehouse.lock_of(name)
    until = time.monotonic() + patience_s
    told = False
    while not warehouse.dialect.try_lock(connection, lock):
        connection.rollback()
        if time.monotonic() >= until:
            raise SyncLocked(
                "another run of this sync is under way",
                where=f"sync {name}",
                remedy="wait for it to end, or cancel it; a run whose process died frees the sync by itself",
            )
        if not told:
            waits()
            told = True
        time.sleep(POLL_S)
    connection.commit()
    try:
        yield
    finally:
        if not lost(connection):
            try:
                connection.rollback()
                warehouse.dialect.unlock(connection, lock)
                connection.commit()
            except sa.exc.DBAPIError:
                connection.invalidate()
