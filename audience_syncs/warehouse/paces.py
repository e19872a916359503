"""The budgets of requests that the runs of several processes share, one row per account.

A row says when the account's next request may go; drawing some moves it on by what they take (the generic cell rate
algorithm). One small statement each, not waited for until it is on disk: after a crash of the database, an account has its
burst again, no more.
"""

from __future__ import annotations

import hashlib
import logging
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from audience_syncs.warehouse.connection import Warehouse, lost

log = logging.getLogger("audience_syncs.pace")


class SharedPace:
    """One account's row, through a connection of its own. A context manager; used by one thread at a time.

    Where the warehouse cannot be reached, it says so by answering None: keeping a pace must not end a run that could go on.
    """

    def __init__(self, warehouse: Warehouse, account: str) -> None:
        self._warehouse = warehouse
        self._table = warehouse.tables.paces
        # The account may hold something of a token.
        self._account = hashlib.sha256(account.encode()).hexdigest()[:32]
        self._connection: sa.Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def draw(self, count: int, requests_per_s: float, burst: int) -> tuple[float, float] | None:
        """Seconds until the first of these requests may go, and for how long the account is left alone; None: not known."""
        now = self._warehouse.dialect.seconds_now()
        pause, most_unused = 1 / requests_per_s, (burst - 1) / requests_per_s
        row = self._table.c
        begins = sa.func.greatest(row.free_at, row.not_before, now - most_unused)
        moved = (
            sa.update(self._table)
            .where(row.account == self._account)
            .values(free_at=begins + count * pause)
            .returning(row.free_at - count * pause - now, row.not_before - now)
        )
        return self._first(moved)

    def hold_off(self, seconds: float) -> None:
        """Nobody of this account sends for so long."""
        until = self._warehouse.dialect.seconds_now() + seconds
        row = self._table.c
        self._first(
            sa.update(self._table)
            .where(row.account == self._account)
            .values(not_before=sa.func.greatest(row.not_before, until))
            .returning(row.free_at, row.not_before)
        )

    def _first(self, statement: sa.Executable) -> tuple[float, float] | None:
        try:
            connection = self._open()
            found = connection.execute(statement).one_or_none()
            if found is None:
                self._make_row(connection)
                found = connection.execute(statement).one_or_none()
        except sa.exc.SQLAlchemyError as error:
            log.warning("the pace is not shared with other runs now: %s", type(error).__name__)
            self._connection = None
            return None
        return None if found is None else (float(found[0]), float(found[1]))

    def _open(self) -> sa.Connection:
        if self._connection is None or lost(self._connection):
            connection = self._warehouse.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self._warehouse.dialect.do_not_wait_for_disk(connection)
            self._connection = connection
        return self._connection

    def _make_row(self, connection: sa.Connection) -> None:
        try:
            connection.execute(sa.insert(self._table).values(account=self._account, free_at=0.0, not_before=0.0))
        except sa.exc.IntegrityError:
            return  # another process was first
