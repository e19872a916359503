"""The series of matched users."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa

from audience_syncs.model.values import MatchedUsers
from audience_syncs.warehouse.connection import Warehouse


def keep_matched(
    connection: sa.Connection, warehouse: Warehouse, sync: str, matched: MatchedUsers, accepted: int
) -> None:
    """Adds a point to the series of matched users."""
    table = warehouse.tables.matched_users
    connection.execute(sa.delete(table).where(table.c.sync == sync, table.c.as_of == matched.as_of))
    connection.execute(
        sa.insert(table).values(
            sync=sync,
            as_of=matched.as_of,
            lower=matched.lower,
            upper=matched.upper,
            exact=matched.exact,
            accepted=accepted,
            note=matched.note,
        )
    )
    connection.commit()


def match_rates(
    connection: sa.Connection, warehouse: Warehouse, syncs: Collection[str], *, since: datetime
) -> dict[str, list[float]]:
    """Sync -> its match rates since then in percent, the latest last: matched by the platform's lower bound, of accepted."""
    table = warehouse.tables.matched_users
    query = (
        sa.select(table.c.sync, table.c.lower, table.c.accepted)
        .where(table.c.sync.in_(syncs), table.c.as_of >= since, table.c.lower.is_not(None), table.c.accepted > 0)
        .order_by(table.c.sync, table.c.as_of)
    )
    rates: dict[str, list[float]] = {}
    for sync, lower, accepted in connection.execute(query):
        rates.setdefault(sync, []).append(100 * min(lower, accepted) / accepted)
    return rates
