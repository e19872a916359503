"""Undoing a run: the inverse of the changes the destination accepted in it, as a plan like any other.

    added       is removed again
    removed     is added again, with what was last sent for the member
    updated     gets back what was sent before

What was sent before is known for as long as plans are kept (``settle.HISTORY``); of somebody whose addition is older, the
identifiers are known, and only those come back. Members who changed again since are left alone, and nobody is sent whom the
sync keeps out now; where the destination has exclusions, somebody who is not in the audience any more is not known to be
allowed. The audience is not changed by this: the sync's next run does again what its definition says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateTableAs

from audience_syncs.engine.outcome import outcome_of
from audience_syncs.engine.phases import ADDITIONS
from audience_syncs.engine.plan import Basis, Plan, PlanWriter, in_chunks, staged
from audience_syncs.engine.prepare import prepared_from
from audience_syncs.model.config import ModeFamily
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.values import ChangeKind
from audience_syncs.warehouse.tables import snapshot_table

_UNDONE, _SENT_BEFORE = "as_undone", "as_sent_before"
_SENT = (ChangeKind.ADD, ChangeKind.UPDATE, ChangeKind.RESEND, ChangeKind.REFRESH, ChangeKind.ADOPT)


def plan_undo(basis: Basis, run: str) -> Plan:
    """Plans the inverse of what the destination accepted in a run (its id, or the beginning of it).

    Raises DefinitionError where there is no such run, where nothing of it is known any more, or where the sync's mode
    has no inverse.
    """
    where = f"sync {basis.sync_name}"
    if basis.sync.mode.family is not ModeFamily.LIST:
        raise DefinitionError(
            f"a run in mode `{basis.sync.mode}` cannot be undone: what was there before it is not known",
            where=where,
            remedy="undo works for the modes that keep a list, `mirror` and `add`",
        )
    plan_id = _plan_of(basis, run, where)
    undone = _make(basis, _UNDONE, _undoable(basis, plan_id))
    before = _make(basis, _SENT_BEFORE, _last_sent(basis, undone, plan_id))
    writer = PlanWriter(basis)
    query = (
        sa.select(undone.c.member_key, undone.c.kind, undone.c.before, before.c.payload)
        .select_from(undone.outerjoin(before, before.c.member_key == undone.c.member_key))
        .where(undone.c.kind.in_([ChangeKind.REMOVE, ChangeKind.UPDATE]), *_may_be_sent(basis, undone.c.member_key))
    )
    for chunk in in_chunks(basis.connection, query):
        writer.write([_restoring(writer, row) for row in chunk])
    writer.analyze()
    ledger = basis.warehouse.tables.ledger
    added = sa.exists().where(undone.c.kind == ChangeKind.ADD, undone.c.member_key == ledger.c.member_key)
    writer.take_out(added, staged(basis))
    return writer.close()


def _may_be_sent(basis: Basis, member_key: sa.ColumnElement[str]) -> list[sa.ColumnElement[bool]]:
    """Conditions for a member to be sent again; none where everybody may be."""
    kept_out = basis.admitted.kept_out(member_key)
    if kept_out is None:
        return []
    if not basis.admitted.has_exclusions:
        return [~kept_out]
    rows = snapshot_table(basis.warehouse.schema, basis.snapshot.table, ())
    return [~kept_out, sa.exists().where(rows.c["_member_key"] == member_key)]


def _restoring(writer: PlanWriter, row: Sequence[Any]) -> tuple[Any, ...]:
    """Back to what was sent before; without a fingerprint, so that the next run looks at the member again."""
    member_key, kind, before, payload = row
    removed = kind == ChangeKind.REMOVE
    prepared = prepared_from(payload, before)
    return writer.row(
        ADDITIONS,
        ChangeKind.ADD if removed else ChangeKind.UPDATE,
        member_key,
        None,
        prepared,
        None if removed else before,
    )


def _plan_of(basis: Basis, run: str, where: str) -> int:
    plans, plan = basis.warehouse.tables.plans, basis.warehouse.tables.plan
    found = basis.connection.execute(
        sa.select(plans.c.id, plans.c.run_id)
        .where(
            plans.c.sync == basis.sync_name,
            plans.c.status == "settled",
            plans.c.run_id.startswith(run, autoescape=True),
        )
        .order_by(plans.c.id.desc())
    ).all()
    if not found:
        raise DefinitionError(
            f"this sync has no run {run!r} that sent anything",
            where=where,
            remedy=f"see its runs: audience-syncs runs {basis.sync_name}",
        )
    if len({run_id for _, run_id in found}) > 1:
        raise DefinitionError(
            f"several runs of this sync begin with {run!r}", where=where, remedy="give more of the run's id"
        )
    plan_id = int(found[0][0])
    known = sa.select(sa.exists().where(plan.c.sync == basis.sync_name, plan.c.plan_id == plan_id))
    if not basis.connection.scalar(known):
        raise DefinitionError(
            f"what run {run!r} changed is not known any more, or it changed nothing",
            where=where,
            remedy="changes are kept for 14 days; correct the audience and run the sync instead",
        )
    return plan_id


def _make(basis: Basis, name: str, query: sa.SelectBase) -> sa.Table:
    basis.connection.exec_driver_sql(f"DROP TABLE IF EXISTS pg_temp.{name}")
    created = CreateTableAs(query, name, temporary=True)
    basis.connection.execute(created)
    basis.warehouse.dialect.analyze(basis.connection, name)
    return created.table


def _undoable(basis: Basis, plan_id: int) -> sa.SelectBase:
    """member_key, kind, before: accepted changes of the plan, of members of whom nothing was sent since."""
    tables = basis.warehouse.tables
    outcome = outcome_of(tables, basis.sync_name, plan_id).subquery("outcome")
    later, ledger = tables.plan.alias("later"), tables.ledger
    since = sa.exists().where(
        later.c.sync == basis.sync_name,
        later.c.plan_id > plan_id,
        later.c.member_key == outcome.c.member_key,
        later.c.kind.not_in([ChangeKind.UNCHANGED, ChangeKind.LAPSE]),
    )
    held = sa.exists().where(basis.of_ledger, ledger.c.member_key == outcome.c.member_key)
    return sa.select(outcome.c.member_key, outcome.c.kind, outcome.c.before).where(
        outcome.c.verdict == "accepted",
        sa.or_(
            sa.and_(outcome.c.kind.in_([ChangeKind.ADD, ChangeKind.UPDATE]), held),
            sa.and_(outcome.c.kind == ChangeKind.REMOVE, ~held),
        ),
        ~since,
    )


def _last_sent(basis: Basis, undone: sa.Table, plan_id: int) -> sa.SelectBase:
    """member_key, payload: what was last sent for the member before, if it is what the ledger held then."""
    plan, dialect = basis.warehouse.tables.plan, basis.warehouse.dialect
    newest = sa.func.row_number().over(partition_by=plan.c.member_key, order_by=plan.c.plan_id.desc())
    ranked = (
        sa.select(plan.c.member_key, plan.c.payload, newest.label("age"))
        .join(undone, undone.c.member_key == plan.c.member_key)
        .where(
            plan.c.sync == basis.sync_name,
            plan.c.plan_id < plan_id,
            plan.c.payload.is_not(None),
            plan.c.kind.in_(_SENT),
            dialect.contains_all(plan.c.identifiers, undone.c.before),
            dialect.contains_all(undone.c.before, plan.c.identifiers),
        )
        .subquery("ranked")
    )
    return sa.select(ranked.c.member_key, ranked.c.payload).where(ranked.c.age == 1)
