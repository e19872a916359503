"""Who leaves, and which identifiers leave with them.

A person is at the destination by their identifiers, and two members may share one (a household's phone, a reused
email). So this is decided per identifier, not per row:

- a leaving member's identifiers are removed, except those that a member who stays also has (``withheld``);
- a staying member whose email changed retracts the old one, in the same way;
- a withheld identifier that passes to a member who is only now being added is noted with that member (``inherited``):
  whatever becomes of their own addition, it is known to be at the destination through them and will leave with them;
- platforms recognise one *person* by any identifier. Removing a leaver by their phone may therefore remove the member
  who shares their email: those members are sent again, after the removals (``refresh``). A full resync, which sends
  most additions ahead of the removals, keeps back whoever may be hit by one.

Removals work from the ledger, where identifiers stand as they were sent: the row may be gone from the source, and
normalisation rules may have changed since.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateTableAs

from audience_syncs.engine.phases import ADDITIONS, EARLY_ADDITIONS, NOT_SENT, REMOVALS
from audience_syncs.model.values import ChangeKind
from audience_syncs.warehouse.connection import Warehouse

_TAKING_OUT = (ChangeKind.REMOVE, ChangeKind.RETRACT)
_LEAVING, _CANDIDATES, _KEPT, _REFRESH = "as_leaving", "as_candidates", "as_kept", "as_refresh"


def plan_leaving(
    connection: sa.Connection,
    warehouse: Warehouse,
    *,
    sync_name: str,
    plan_id: int,
    gone: sa.ColumnElement[bool],
    first_seq: int,
    first_addition: int,
    batch_size: int,
    retraction_phase: int,
    early: bool = False,
) -> tuple[int, int, sa.Table]:
    """Writes the removals and retractions into the plan, whose additions are already there.

    ``gone`` says which members of the ledger leave; ``early``: whether there are additions ahead of the removals. Returns
    how many rows it wrote, how many additions it moved behind the removals, and a temporary table (``member_key``) of
    the unchanged members who must be sent again.
    """
    step = _Step(connection, warehouse, sync_name, plan_id)
    leaving = step.make(_LEAVING, step.leaving(gone))
    candidates = step.make(_CANDIDATES, step.candidate_identifiers(leaving))
    kept = step.make(_KEPT, step.kept_identifiers(leaving, candidates))
    written = step.write_removals(leaving, kept, first_seq, batch_size, retraction_phase)
    step.note_inherited(kept)
    moved = step.keep_back(leaving, kept, first_addition, batch_size) if early else 0
    refresh = step.make(_REFRESH, step.to_refresh(leaving, kept))
    step.forget_unchanged(refresh)
    return written, moved, refresh


def plan_lapses(
    connection: sa.Connection,
    warehouse: Warehouse,
    *,
    sync_name: str,
    plan_id: int,
    gone: sa.ColumnElement[bool],
    first_seq: int,
) -> int:
    """For modes that take nobody out of a list: forgets those who left, unless the sync once put them into one."""
    ledger, plan = warehouse.tables.ledger, warehouse.tables.plan
    query = sa.select(
        sa.literal(sync_name),
        sa.literal(plan_id, sa.BigInteger),
        sa.literal(first_seq, sa.BigInteger) + sa.func.row_number().over(order_by=ledger.c.member_key) - 1,
        sa.literal(NOT_SENT),
        sa.literal(0),
        sa.literal(ChangeKind.LAPSE.value),
        ledger.c.member_key,
        ledger.c.identifiers,
        ledger.c.identifiers,
    ).where(ledger.c.sync == sync_name, gone, ledger.c.identifiers == warehouse.dialect.no_identifiers())
    columns = ["sync", "plan_id", "seq", "phase", "batch", "kind", "member_key", "identifiers", "before"]
    return connection.execute(sa.insert(plan).from_select(columns, query)).rowcount


class _Step:
    """The questions asked on the way, each one statement."""

    def __init__(self, connection: sa.Connection, warehouse: Warehouse, sync_name: str, plan_id: int) -> None:
        self._connection = connection
        self._dialect = warehouse.dialect
        self._plan = warehouse.tables.plan
        self._ledger = warehouse.tables.ledger
        self._sync_name = sync_name
        self._plan_id = plan_id
        self._of_plan = sa.and_(self._plan.c.sync == sync_name, self._plan.c.plan_id == plan_id)
        self._of_ledger = self._ledger.c.sync == sync_name

    def make(self, name: str, query: sa.SelectBase) -> sa.Table:
        """A temporary table of this transaction, with statistics."""
        self._connection.exec_driver_sql(f"DROP TABLE IF EXISTS pg_temp.{name}")
        created = CreateTableAs(query, name, temporary=True)
        self._connection.execute(created)
        self._dialect.analyze(self._connection, name)
        return created.table

    def leaving(self, leave: sa.ColumnElement[bool]) -> sa.SelectBase:
        """member_key, kind, identifiers to go, remote_id: of those who leave, and of those whose identifiers changed."""
        ledger, plan = self._ledger, self._plan
        none = self._dialect.no_identifiers()
        gone = sa.select(
            ledger.c.member_key,
            sa.case((ledger.c.identifiers == none, ChangeKind.LAPSE.value), else_=ChangeKind.REMOVE.value).label(
                "kind"
            ),
            ledger.c.identifiers,
            ledger.c.remote_id,
            ledger.c.identifiers.label("before"),
        ).where(self._of_ledger, leave)
        changed = (
            sa.select(
                ledger.c.member_key,
                sa.literal(ChangeKind.RETRACT.value),
                self._dialect.difference(ledger.c.identifiers, plan.c.identifiers),
                # The platform's id stands for the whole person: of no use to retract one identifier of several.
                sa.case(
                    (
                        self._dialect.intersection(ledger.c.identifiers, plan.c.identifiers) == none,
                        ledger.c.remote_id,
                    )
                ),
                ledger.c.identifiers,
            )
            .join(plan, plan.c.member_key == ledger.c.member_key)
            .where(
                self._of_ledger,
                self._of_plan,
                sa.not_(self._dialect.contains_all(plan.c.identifiers, ledger.c.identifiers)),
            )
        )
        return sa.union_all(gone, changed)

    def candidate_identifiers(self, leaving: sa.Table) -> sa.Select[Any]:
        return sa.select(self._dialect.unnest(leaving.c.identifiers).label("identifier")).distinct()

    def kept_identifiers(self, leaving: sa.Table, candidates: sa.Table) -> sa.SelectBase:
        """identifier, member_key, planned: candidates that a member who stays has, in the ledger or in this plan."""
        ledger, plan = self._ledger, self._plan
        staying = sa.select(
            self._dialect.unnest(ledger.c.identifiers).label("identifier"),
            ledger.c.member_key,
            sa.literal(False).label("planned"),
        ).where(
            self._of_ledger,
            # Nobody leaves: no need to look at the whole ledger.
            sa.exists().select_from(candidates),
            ~sa.exists().where(leaving.c.member_key == ledger.c.member_key),
            ~sa.exists().where(self._of_plan, plan.c.member_key == ledger.c.member_key),
        )
        planned = sa.select(
            self._dialect.unnest(plan.c.identifiers).label("identifier"), plan.c.member_key, sa.literal(True)
        ).where(self._of_plan, sa.exists().select_from(candidates))
        held = sa.union_all(staying, planned).subquery("held")
        return sa.select(held.c.identifier, held.c.member_key, held.c.planned).join(
            candidates, candidates.c.identifier == held.c.identifier
        )

    def write_removals(
        self, leaving: sa.Table, kept: sa.Table, first_seq: int, batch_size: int, retraction_phase: int
    ) -> int:
        """One plan row per leaving member; one whose identifiers are all withheld has nothing to send (phase 0)."""
        identifier = sa.func.unnest(leaving.c.identifiers).table_valued("identifier").render_derived("each_one")
        withheld = sa.select(kept.c.identifier).distinct().subquery("withheld")
        sorted_out = (
            sa.select(
                leaving.c.member_key,
                leaving.c.kind,
                leaving.c.before,
                # As above: while another member has one of the identifiers, the id may be theirs too.
                sa.case((sa.func.count(withheld.c.identifier) == 0, leaving.c.remote_id)).label("remote_id"),
                self._dialect.collect(
                    identifier.c.identifier,
                    sa.and_(identifier.c.identifier.is_not(None), withheld.c.identifier.is_(None)),
                ).label("to_send"),
            )
            .select_from(
                leaving.outerjoin(identifier, sa.true()).outerjoin(
                    withheld, withheld.c.identifier == identifier.c.identifier
                )
            )
            .group_by(leaving.c.member_key, leaving.c.kind, leaving.c.remote_id, leaving.c.before)
            .subquery("sorted_out")
        )
        phase = sa.case(
            (sorted_out.c.to_send == self._dialect.no_identifiers(), NOT_SENT),
            (sorted_out.c.kind == ChangeKind.RETRACT, retraction_phase),
            else_=REMOVALS,
        )
        in_phase = sa.func.row_number().over(partition_by=phase, order_by=sorted_out.c.member_key) - 1
        query = sa.select(
            sa.literal(self._sync_name),
            sa.literal(self._plan_id, sa.BigInteger),
            sa.literal(first_seq, sa.BigInteger) + sa.func.row_number().over(order_by=sorted_out.c.member_key) - 1,
            phase,
            sa.case((phase != NOT_SENT, in_phase // batch_size + 1), else_=0),
            sorted_out.c.kind,
            sorted_out.c.member_key,
            sorted_out.c.to_send,
            sorted_out.c.remote_id,
            sorted_out.c.before,
        )
        columns = [
            "sync",
            "plan_id",
            "seq",
            "phase",
            "batch",
            "kind",
            "member_key",
            "identifiers",
            "remote_id",
            "before",
        ]
        return self._connection.execute(sa.insert(self._plan).from_select(columns, query)).rowcount

    def note_inherited(self, kept: sa.Table) -> None:
        plan = self._plan
        handed_over = (
            sa.select(kept.c.member_key, self._dialect.collect(kept.c.identifier, sa.true()).label("identifiers"))
            .where(kept.c.planned)
            .group_by(kept.c.member_key)
            .subquery("handed_over")
        )
        self._connection.execute(
            sa.update(plan)
            .where(self._of_plan, plan.c.member_key == handed_over.c.member_key)
            .where(plan.c.kind.in_([ChangeKind.ADD, ChangeKind.UPDATE, ChangeKind.UNCHANGED, ChangeKind.RESEND]))
            .values(inherited=handed_over.c.identifiers)
        )

    def keep_back(self, leaving: sa.Table, kept: sa.Table, first: int, batch_size: int) -> int:
        """Moves additions that a removal may undo behind the removals; ``first``: the number of the first of them."""
        plan = self._plan
        entangled = sa.union(
            sa.select(kept.c.member_key).where(kept.c.planned),
            sa.select(leaving.c.member_key).where(leaving.c.kind == ChangeKind.RETRACT),
        ).subquery("entangled")
        place = sa.literal(first, sa.BigInteger) + sa.func.row_number().over(order_by=plan.c.seq) - 1
        moved = (
            sa.select(plan.c.seq, (place // batch_size + 1).label("batch"))
            .join(entangled, entangled.c.member_key == plan.c.member_key)
            .where(self._of_plan, plan.c.phase == EARLY_ADDITIONS)
            .subquery("moved")
        )
        return self._connection.execute(
            sa.update(plan)
            .where(self._of_plan, plan.c.seq == moved.c.seq)
            .values(
                phase=ADDITIONS,
                batch=moved.c.batch,
                kind=sa.case((plan.c.kind == ChangeKind.RESEND, ChangeKind.REFRESH.value), else_=plan.c.kind),
            )
        ).rowcount

    def to_refresh(self, leaving: sa.Table, kept: sa.Table) -> sa.Select[Any]:
        """Unchanged members who share an identifier with one who is being removed by another identifier."""
        plan = self._plan
        shared = sa.func.unnest(leaving.c.identifiers).table_valued("identifier").render_derived("shared")
        sent = sa.exists().where(
            self._of_plan,
            plan.c.kind.in_(_TAKING_OUT),
            plan.c.phase != NOT_SENT,
            plan.c.member_key == leaving.c.member_key,
        )
        booked = plan.alias("booked")
        unsent = sa.exists().where(
            booked.c.sync == self._sync_name,
            booked.c.plan_id == self._plan_id,
            booked.c.kind == ChangeKind.UNCHANGED,
            booked.c.member_key == kept.c.member_key,
        )
        return (
            sa.select(kept.c.member_key)
            .select_from(leaving.join(shared, sa.true()).join(kept, kept.c.identifier == shared.c.identifier))
            .where(sa.or_(~kept.c.planned, unsent), sent)
            .distinct()
        )

    def forget_unchanged(self, refresh: sa.Table) -> None:
        """Who is sent again is no longer only booked."""
        plan = self._plan
        again = sa.exists().where(refresh.c.member_key == plan.c.member_key)
        self._connection.execute(sa.delete(plan).where(self._of_plan, plan.c.kind == ChangeKind.UNCHANGED, again))
