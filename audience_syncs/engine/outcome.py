"""What came of a plan: every row with its verdict, from what was booked."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from audience_syncs.engine.phases import NOT_SENT
from audience_syncs.model.values import ChangeKind
from audience_syncs.warehouse.tables import StateTables

UNSENT = "unsent"


def outcome_of(tables: StateTables, sync_name: str, plan_id: int) -> sa.Select[Any]:
    """Every plan row with its verdict: accepted, rejected, retryable, unknown, or unsent.

    Rows with nothing to send have the verdict ``accepted``, except members without a usable identifier.
    """
    plan, batches, verdicts = tables.plan, tables.batches, tables.verdicts
    verdict = sa.case(
        (plan.c.kind == ChangeKind.UNUSABLE, "rejected"),
        (plan.c.phase == NOT_SENT, "accepted"),
        (batches.c.batch.is_(None), UNSENT),
        (batches.c.booked_at.is_(None), "unknown"),
        else_=sa.func.coalesce(verdicts.c.verdict, "accepted"),
    )
    of_batch = sa.and_(
        batches.c.plan_id == plan.c.plan_id, batches.c.phase == plan.c.phase, batches.c.batch == plan.c.batch
    )
    of_row = sa.and_(verdicts.c.plan_id == plan.c.plan_id, verdicts.c.seq == plan.c.seq)
    return (
        sa.select(
            plan.c.seq,
            plan.c.member_key,
            plan.c.kind,
            plan.c.phase,
            plan.c.fingerprint,
            plan.c.payload_digest,
            plan.c.identifiers,
            plan.c.inherited,
            plan.c.before,
            plan.c.lacks,
            sa.func.coalesce(verdicts.c.remote_id, plan.c.remote_id).label("remote_id"),
            verdict.label("verdict"),
            sa.func.coalesce(verdicts.c.reason_code, plan.c.reason_code).label("reason_code"),
            sa.func.coalesce(verdicts.c.reason, plan.c.reason).label("reason"),
        )
        .select_from(plan.outerjoin(batches, of_batch).outerjoin(verdicts, of_row))
        .where(plan.c.sync == sync_name, plan.c.plan_id == plan_id)
    )
