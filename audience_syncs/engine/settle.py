"""Settling: folds a plan's verdicts into the ledger, in one transaction.

The same code settles a plan that was delivered, one that was stopped half-way, and one whose process died: a batch
that was never sent changes nothing, a batch that was sent without a booked answer is *unknown*. Unknown is neither
accepted nor forgotten: what may be at the destination stays in the ledger until a removal has been accepted.

What becomes of a member's identifiers (``old``: in the ledger, ``new``: in the plan row):

    accepted                                new, and old where retracting it was not accepted
    unknown                                 new, and old but what was certainly taken out
    rejected, retryable, never sent         old, without what was retracted
    all of them                             and what was inherited from a member who left
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateTableAs

from audience_syncs.engine.outcome import UNSENT, outcome_of
from audience_syncs.engine.rejections import book_rejections
from audience_syncs.model.values import ChangeKind
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.forgotten import note_forgotten

_OUTCOME, _RETRACTED = "as_outcome", "as_retracted"

_SENT_KINDS = (ChangeKind.ADD, ChangeKind.UPDATE, ChangeKind.REFRESH, ChangeKind.RESEND, ChangeKind.ADOPT)

HISTORY = timedelta(days=14)
"""How long the rows of settled plans and their verdicts can be looked up."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What a plan came to, in members."""

    added: int = 0
    updated: int = 0
    removed: int = 0
    resent: int = 0
    adopted: int = 0
    rejected: int = 0
    retryable: int = 0
    unknown: int = 0
    unsent: int = 0


def settle(
    connection: sa.Connection, warehouse: Warehouse, sync_name: str, plan_id: int, run_id: str, now: datetime
) -> Settled:
    """Folds the plan into the ledger and closes it, in one transaction that is committed here."""
    warehouse.dialect.tune_for_set_work(connection)
    fold = _Fold(connection, warehouse, sync_name, plan_id, run_id, now)
    settled = fold.counts()
    fold.keep_accepted_and_unknown()
    fold.keep_refused_and_unsent()
    fold.book_unchanged()
    fold.inherit_unsent()
    fold.settle_removals()
    book_rejections(connection, warehouse, fold.outcome, sync_name, now)
    note_forgotten(connection, warehouse, sync_name, now)
    fold.close()
    connection.commit()
    dialect = warehouse.dialect
    dialect.analyze(connection, dialect.partition_name(warehouse.tables.ledger, sync_name))
    connection.commit()
    return settled


class _Fold:
    """The statements of settling, each one question."""

    def __init__(
        self,
        connection: sa.Connection,
        warehouse: Warehouse,
        sync_name: str,
        plan_id: int,
        run_id: str,
        now: datetime,
    ) -> None:
        self._connection = connection
        self._dialect = warehouse.dialect
        self._tables = warehouse.tables
        self._sync_name = sync_name
        self._plan_id = plan_id
        self._run_id = run_id
        self._now = sa.cast(sa.literal(now, sa.DateTime(timezone=True)), sa.DateTime(timezone=True))
        self.outcome = self._make(_OUTCOME, outcome_of(self._tables, sync_name, plan_id))
        self._retracted = self._make(_RETRACTED, self._retractions())

    def _make(self, name: str, query: sa.SelectBase) -> sa.Table:
        self._connection.exec_driver_sql(f"DROP TABLE IF EXISTS pg_temp.{name}")
        created = CreateTableAs(query, name, temporary=True)
        self._connection.execute(created)
        self._dialect.analyze(self._connection, name)
        return created.table

    def _retractions(self) -> sa.Select[Any]:
        """member_key, done, disturbed, taken_out: of staying members whose old identifiers were to go."""
        outcome = self.outcome
        return sa.select(
            outcome.c.member_key,
            (outcome.c.verdict == "accepted").label("done"),
            outcome.c.verdict.in_(["accepted", "unknown"]).label("disturbed"),
            outcome.c.identifiers.label("taken_out"),
        ).where(outcome.c.kind == ChangeKind.RETRACT)

    def counts(self) -> Settled:
        """Members by what came of them; a member whose email changed counts once, as updated."""
        outcome = self.outcome
        rows = self._connection.execute(
            sa.select(outcome.c.kind, outcome.c.verdict, sa.func.count())
            .where(outcome.c.kind.not_in([ChangeKind.UNCHANGED, ChangeKind.LAPSE, ChangeKind.RETRACT]))
            .group_by(outcome.c.kind, outcome.c.verdict)
        ).all()
        found = {(kind, verdict): int(count) for kind, verdict, count in rows}

        def of_verdict(verdict: str) -> int:
            return sum(count for (_, given), count in found.items() if given == verdict)

        return Settled(
            added=found.get((ChangeKind.ADD, "accepted"), 0),
            updated=found.get((ChangeKind.UPDATE, "accepted"), 0),
            removed=found.get((ChangeKind.REMOVE, "accepted"), 0),
            resent=sum(found.get((kind, "accepted"), 0) for kind in (ChangeKind.RESEND, ChangeKind.REFRESH)),
            adopted=found.get((ChangeKind.ADOPT, "accepted"), 0),
            rejected=of_verdict("rejected"),
            retryable=of_verdict("retryable"),
            unknown=of_verdict("unknown"),
            unsent=of_verdict(UNSENT),
        )

    def keep_accepted_and_unknown(self) -> None:
        """Members who were, or may have been, added or updated."""
        outcome, retracted, ledger = self.outcome, self._retracted, self._tables.ledger
        accepted = outcome.c.verdict == "accepted"
        # While an old identifier may still be there, the fingerprint stays empty, so that the next run comes back.
        tidy = sa.and_(accepted, sa.func.coalesce(retracted.c.done, sa.true()))
        still_there = sa.case(
            (sa.and_(accepted, sa.func.coalesce(retracted.c.done, sa.true())), outcome.c.identifiers),
            # What passes to somebody else is not taken out. Until this member is known to be there by something else, a removal
            # of theirs may take out the other, too: both keep it.
            (
                retracted.c.done,
                self._dialect.union(
                    self._dialect.difference(ledger.c.identifiers, retracted.c.taken_out), outcome.c.identifiers
                ),
            ),
            (ledger.c.identifiers.is_(None), outcome.c.identifiers),
            else_=self._dialect.union(ledger.c.identifiers, outcome.c.identifiers),
        )
        source = (
            sa.select(
                outcome.c.member_key,
                sa.case((accepted, "accepted"), else_="unknown").label("state"),
                sa.case((tidy, outcome.c.fingerprint)).label("fingerprint"),
                sa.case((accepted, outcome.c.payload_digest)).label("payload_digest"),
                still_there.label("identifiers"),
                self._remote_id(tidy).label("remote_id"),
                outcome.c.lacks,
                sa.case((accepted, self._now)).label("accepted_at"),
            )
            .select_from(
                outcome.outerjoin(retracted, retracted.c.member_key == outcome.c.member_key).outerjoin(
                    ledger,
                    sa.and_(ledger.c.sync == self._sync_name, ledger.c.member_key == outcome.c.member_key),
                )
            )
            .where(outcome.c.kind.in_(_SENT_KINDS), outcome.c.verdict.in_(["accepted", "unknown"]))
        )
        self._upsert(source, delivered=True)

    def keep_refused_and_unsent(self) -> None:
        """Members whose addition was refused, or did not happen; they keep what of theirs was there before.

        A rejected member is remembered with the fingerprint it was rejected for, and not tried until that changes.
        """
        outcome, retracted, ledger = self.outcome, self._retracted, self._tables.ledger
        rejected = outcome.c.verdict == "rejected"
        inherited = sa.func.coalesce(outcome.c.inherited, self._dialect.no_identifiers())
        before = sa.func.coalesce(ledger.c.identifiers, self._dialect.no_identifiers())
        # As above: what passes to somebody else is not taken out, and stays with a member who is there by something else. Such a
        # member comes again in each run, so that it goes when the other one leaves.
        still = self._dialect.intersection(before, outcome.c.identifiers)
        passed_on = sa.and_(
            retracted.c.done,
            still != self._dialect.no_identifiers(),
            ~self._dialect.contains_all(retracted.c.taken_out, self._dialect.difference(before, still)),
        )
        kept = sa.case(
            (passed_on, self._dialect.difference(before, retracted.c.taken_out)),
            (retracted.c.done, still),
            else_=before,
        )
        # An unchanged member who should have been sent again may have been removed together with somebody else.
        disturbed = sa.or_(
            sa.func.coalesce(retracted.c.disturbed, sa.false()), outcome.c.kind == ChangeKind.REFRESH.value
        )
        source = (
            sa.select(
                outcome.c.member_key,
                sa.case((rejected, "rejected"), else_="unknown").label("state"),
                sa.case(
                    (passed_on, None),
                    (sa.and_(rejected, sa.func.coalesce(retracted.c.done, sa.true())), outcome.c.fingerprint),
                ).label("fingerprint"),
                sa.cast(sa.null(), outcome.c.payload_digest.type).label("payload_digest"),
                self._dialect.union(kept, inherited).label("identifiers"),
                self._remote_id(sa.false()).label("remote_id"),
                outcome.c.lacks,
                sa.cast(sa.null(), sa.DateTime(timezone=True)).label("accepted_at"),
            )
            .select_from(
                outcome.outerjoin(retracted, retracted.c.member_key == outcome.c.member_key).outerjoin(
                    ledger,
                    sa.and_(ledger.c.sync == self._sync_name, ledger.c.member_key == outcome.c.member_key),
                )
            )
            .where(outcome.c.kind.in_([*_SENT_KINDS, ChangeKind.UNUSABLE]))
            # Retryable and unsent members are left as they are, unless something of theirs was taken away.
            .where(sa.or_(rejected, sa.and_(outcome.c.verdict.in_(["retryable", UNSENT]), disturbed)))
        )
        self._upsert(source, delivered=False)

    def _remote_id(self, accepted: sa.ColumnElement[bool]) -> sa.ColumnElement[Any]:
        """The platform's id of the member: the one just learned, or the one known as long as it is the same person.

        Null where old and new identifiers may both be there: a removal must look them up then.
        """
        outcome, retracted, ledger = self.outcome, self._retracted, self._tables.ledger
        return sa.case(
            (sa.and_(accepted, outcome.c.remote_id.is_not(None)), outcome.c.remote_id),
            (retracted.c.member_key.is_(None), ledger.c.remote_id),
        )

    def _upsert(self, source: sa.Select[Any], *, delivered: bool) -> None:
        """Writes ledger rows: updates those that are there, inserts the others."""
        ledger = self._tables.ledger
        rows = self._make("as_fold", source)
        delivered_at = self._now if delivered else sa.cast(sa.null(), sa.DateTime(timezone=True))
        columns = ["state", "fingerprint", "payload_digest", "identifiers", "lacks"]
        self._connection.execute(
            sa.update(ledger)
            .where(ledger.c.sync == self._sync_name, ledger.c.member_key == rows.c.member_key)
            .values(
                {name: rows.c[name] for name in columns}
                | {
                    "remote_id": rows.c.remote_id,
                    "delivered_at": sa.func.coalesce(delivered_at, ledger.c.delivered_at),
                    "accepted_at": sa.func.coalesce(rows.c.accepted_at, ledger.c.accepted_at),
                    "run_id": self._run_id,
                }
            )
        )
        known = sa.exists().where(ledger.c.sync == self._sync_name, ledger.c.member_key == rows.c.member_key)
        self._connection.execute(
            sa.insert(ledger).from_select(
                ["sync", "member_key", *columns, "remote_id", "delivered_at", "accepted_at", "run_id"],
                sa.select(
                    sa.literal(self._sync_name),
                    rows.c.member_key,
                    *(rows.c[name] for name in columns),
                    rows.c.remote_id,
                    delivered_at,
                    rows.c.accepted_at,
                    sa.literal(self._run_id),
                ).where(~known),
            )
        )

    def book_unchanged(self) -> None:
        """Rows that changed without a change in what is sent: only the fingerprint moves on."""
        outcome, ledger = self.outcome, self._tables.ledger
        self._connection.execute(
            sa.update(ledger)
            .where(ledger.c.sync == self._sync_name, ledger.c.member_key == outcome.c.member_key)
            .where(outcome.c.kind == ChangeKind.UNCHANGED)
            .values(fingerprint=outcome.c.fingerprint, lacks=outcome.c.lacks)
        )

    def inherit_unsent(self) -> None:
        """A member who was to inherit an identifier but was not sent: is at the destination through it all the same."""
        outcome, ledger = self.outcome, self._tables.ledger
        heirs = self._make(
            "as_heirs",
            sa.select(outcome.c.member_key, outcome.c.inherited.label("identifiers")).where(
                outcome.c.verdict.in_(["retryable", UNSENT]), outcome.c.inherited.is_not(None)
            ),
        )
        of_heir = sa.and_(ledger.c.sync == self._sync_name, ledger.c.member_key == heirs.c.member_key)
        self._connection.execute(
            sa.update(ledger)
            .where(of_heir)
            .values(identifiers=self._dialect.union(ledger.c.identifiers, heirs.c.identifiers))
        )
        self._connection.execute(
            sa.insert(ledger).from_select(
                ["sync", "member_key", "state", "identifiers", "run_id"],
                sa.select(
                    sa.literal(self._sync_name),
                    heirs.c.member_key,
                    sa.literal("unknown"),
                    heirs.c.identifiers,
                    sa.literal(self._run_id),
                ).where(~sa.exists().where(of_heir)),
            )
        )

    def settle_removals(self) -> None:
        """Members who left: gone when that was accepted, else kept.

        A removal may be more than one step (out of the list, then the record's fields), so one that was refused may have
        been applied in part: whoever comes back is sent again.
        """
        outcome, ledger = self.outcome, self._tables.ledger
        of_member = sa.and_(ledger.c.sync == self._sync_name, ledger.c.member_key == outcome.c.member_key)
        gone = outcome.c.kind.in_([ChangeKind.REMOVE, ChangeKind.LAPSE])
        self._connection.execute(sa.delete(ledger).where(of_member, gone, outcome.c.verdict == "accepted"))
        self._connection.execute(
            sa.update(ledger)
            .where(of_member, gone, outcome.c.verdict.in_(["unknown", "rejected", "retryable"]))
            .values(
                state=sa.case((outcome.c.verdict == "retryable", ledger.c.state), else_="unknown"),
                fingerprint=None,
                payload_digest=None,
            )
        )

    def close(self) -> None:
        """Marks the plan settled, and forgets the rows of plans whose time is over."""
        plan, plans = self._tables.plan, self._tables.plans
        self._connection.execute(
            sa.update(plans).where(plans.c.id == self._plan_id).values(status="settled", settled_at=self._now)
        )
        over = sa.select(plans.c.id).where(
            plans.c.sync == self._sync_name, plans.c.settled_at < self._now - sa.literal(HISTORY, sa.Interval)
        )
        self._connection.execute(sa.delete(plan).where(plan.c.sync == self._sync_name, plan.c.plan_id.in_(over)))
        for table in (self._tables.verdicts, self._tables.batches):
            self._connection.execute(sa.delete(table).where(table.c.plan_id.in_(over)))
