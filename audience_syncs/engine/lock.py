"""One run of a sync at a time, across processes and machines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from audience_syncs.model.errors import SyncLocked
from audience_syncs.warehouse.connection import Warehouse, lost


@contextmanager
def locked(connection: sa.Connection, warehouse: Warehouse, name: str) -> Iterator[None]:
    """One run of a sync at a time, across processes and machines. The lock dies with the connection.

    It is held by the connection that also writes everything else: who loses it can book nothing any more.
    """
    lock = f"{warehouse.schema} sync {name}"
    if not warehouse.dialect.try_lock(connection, lock):
        raise SyncLocked(
            "another run of this sync is under way",
            where=f"sync {name}",
            remedy="wait for it to end, or cancel it; a run whose process died frees the sync by itself",
        )
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
