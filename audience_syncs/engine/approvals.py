"""The gate between a plan and its delivery: the guard's objection, and a person's approval of exactly that plan.

An approval names a plan by its digest, which changes with everything that would be sent. It is recorded with who gave
it and when, and lasts a day unless said otherwise.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import sqlalchemy as sa

from audience_syncs.engine.guard import Figures, objection
from audience_syncs.engine.plan import Plan
from audience_syncs.model.config import SyncConfig
from audience_syncs.model.errors import GuardBlocked
from audience_syncs.model.values import RunOptions
from audience_syncs.warehouse.connection import Warehouse

LASTS = timedelta(hours=24)
"""How long an approval is good for."""


def record_approval(
    connection: sa.Connection,
    warehouse: Warehouse,
    sync_name: str,
    digest: str,
    *,
    by: str,
    now: datetime,
    lasts: timedelta = LASTS,
) -> None:
    """Records that somebody lets exactly this plan pass; the caller commits."""
    connection.execute(
        sa.insert(warehouse.tables.approvals).values(
            sync=sync_name, digest=digest, approved_by=by, approved_at=now, expires_at=now + lasts
        )
    )


def pass_guard(
    connection: sa.Connection,
    warehouse: Warehouse,
    plan: Plan,
    sync: SyncConfig,
    figures: Figures,
    options: RunOptions,
    *,
    run_id: str,
    now: datetime,
    undoing: str | None = None,
) -> None:
    """Lets the plan through, or raises GuardBlocked with the figures and with how to approve exactly this plan.

    ``undoing``: the run this plan undoes, for the words. Where it raises, the transaction with the plan was rolled
    back; where an approval is what let it through, its use is recorded in that transaction.
    """
    reason = objection(sync.guard, figures)
    if reason is None:
        return
    if options.approve == plan.digest:
        record_approval(
            connection, warehouse, plan.sync, plan.digest, by=options.approved_by or f"run {run_id}", now=now
        )
    if _use_approval(connection, warehouse, plan, run_id, now):
        return
    connection.rollback()
    if options.approve is not None and options.approve != plan.digest:
        reason = (
            f"the plan is now {plan.digest}, not the approved {options.approve}: the audience or the list changed "
            f"since; {reason}"
        )
    command = (
        f"audience-syncs approve {plan.sync} {plan.digest}"
        if undoing is None
        else f"audience-syncs undo {plan.sync} --run {undoing} --approve {plan.digest}"
    )
    in_dagster = f", or run config `approve: {plan.digest}`" if undoing is None else ""
    raise GuardBlocked(
        f"nothing was sent: {reason}. Planned: {plan.counts.in_words()}",
        digest=plan.digest,
        where=f"sync {plan.sync}",
        remedy=f"check the audience's query; if this is what you want, approve exactly this plan: {command}{in_dagster}",
    )


def _use_approval(connection: sa.Connection, warehouse: Warehouse, plan: Plan, run_id: str, now: datetime) -> bool:
    approvals = warehouse.tables.approvals
    valid = sa.and_(approvals.c.sync == plan.sync, approvals.c.digest == plan.digest, approvals.c.expires_at > now)
    if not connection.scalar(sa.select(sa.exists().where(valid))):
        return False
    connection.execute(
        sa.update(approvals).where(valid, approvals.c.used_at.is_(None)).values(used_at=now, run_id=run_id)
    )
    return True
