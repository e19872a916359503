"""The series of matched users."""

from __future__ import annotations

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
