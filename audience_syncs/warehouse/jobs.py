"""Jobs that a platform has queued: one row each, from when it said so until it was done.

A run that is killed leaves its rows behind, and the next one waits for what they name. Written from the delivery's threads,
each by a small commit of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import sqlalchemy as sa

from audience_syncs.warehouse.connection import Warehouse

log = logging.getLogger("audience_syncs.jobs")


class Jobs:
    """The jobs of one sync. Thread-safe."""

    def __init__(self, warehouse: Warehouse, sync: str) -> None:
        self._warehouse = warehouse
        self._table = warehouse.tables.jobs
        self._sync = sync

    def note(self, job_id: str) -> None:
        """Remembered when this returns. Where the warehouse cannot be reached, that is logged: the job is under way anyway,
        and whoever noted it goes on to wait for it."""
        try:
            with self._warehouse.engine.begin() as connection:
                connection.execute(sa.insert(self._table).values(sync=self._sync, job_id=job_id))
        except sa.exc.IntegrityError:
            return  # it was noted before: platforms give a repeated request the same job
        except sa.exc.SQLAlchemyError as error:
            log.warning("%s: a job of the platform could not be noted: %s", self._sync, type(error).__name__)

    def done(self, job_id: str) -> None:
        try:
            self.forget([job_id])
        except sa.exc.SQLAlchemyError as error:
            log.warning("%s: the next run asks for a job that is over: %s", self._sync, type(error).__name__)

    def left(self) -> list[str]:
        """Those that were never done, the oldest first."""
        query = sa.select(self._table.c.job_id).where(self._table.c.sync == self._sync).order_by(self._table.c.noted_at)
        with self._warehouse.connect() as connection:
            return list(connection.scalars(query))

    def forget(self, job_ids: Sequence[str]) -> None:
        mine = sa.and_(self._table.c.sync == self._sync, self._table.c.job_id.in_(job_ids))
        with self._warehouse.engine.begin() as connection:
            connection.execute(sa.delete(self._table).where(mine))
