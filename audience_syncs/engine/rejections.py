"""The table ``rejections``: who could not be delivered and why, in the destination's words."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from audience_syncs.model.values import ChangeKind
from audience_syncs.warehouse.connection import Warehouse

_REMOVING = (ChangeKind.REMOVE, ChangeKind.RETRACT)


def book_rejections(
    connection: sa.Connection, warehouse: Warehouse, outcome: sa.Table, sync_name: str, now: datetime
) -> None:
    """Notes the members rejected now, and forgets those who have been accepted or have left."""
    rejections = warehouse.tables.rejections
    at = sa.literal(now, sa.DateTime(timezone=True))
    of_member = sa.and_(rejections.c.sync == sync_name, rejections.c.member_key == outcome.c.member_key)
    resolved = sa.and_(
        outcome.c.verdict == "accepted",
        outcome.c.kind.in_([ChangeKind.ADD, ChangeKind.UPDATE, ChangeKind.REMOVE, ChangeKind.LAPSE]),
    )
    connection.execute(sa.delete(rejections).where(of_member, resolved))
    # A member may be rejected twice in one plan (old identifier, new identifier); the addition tells more.
    ranked = (
        sa.select(
            outcome,
            sa.func.row_number().over(partition_by=outcome.c.member_key, order_by=outcome.c.phase.desc()).label("rank"),
        )
        .where(outcome.c.verdict == "rejected")
        .subquery()
    )
    refused = (
        sa.select(
            ranked.c.member_key,
            sa.case((ranked.c.kind.in_(_REMOVING), "remove"), else_="add").label("change"),
            sa.func.coalesce(ranked.c.reason_code, "REJECTED").label("reason_code"),
            sa.func.coalesce(ranked.c.reason, "").label("reason"),
        )
        .where(ranked.c.rank == 1)
        .subquery("refused")
    )
    connection.execute(
        sa.update(rejections)
        .where(rejections.c.sync == sync_name, rejections.c.member_key == refused.c.member_key)
        .values(
            change=refused.c.change,
            reason_code=refused.c.reason_code,
            reason=refused.c.reason,
            last_at=at,
            attempts=rejections.c.attempts + 1,
        )
    )
    known = sa.exists().where(rejections.c.sync == sync_name, rejections.c.member_key == refused.c.member_key)
    connection.execute(
        sa.insert(rejections).from_select(
            ["sync", "member_key", "change", "reason_code", "reason", "first_at", "last_at", "attempts"],
            sa.select(
                sa.literal(sync_name),
                refused.c.member_key,
                refused.c.change,
                refused.c.reason_code,
                refused.c.reason,
                at,
                at,
                sa.literal(1),
            ).where(~known),
        )
    )
