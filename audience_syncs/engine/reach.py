"""How much of the audience the platform can find: by field, and by why it cannot.

Planning notes of each member it looks at what came to nothing (``lacks``); who did not change has that note in the ledger. So
the whole audience is told of at each run, and only notes are read: of most members there is none.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import sqlalchemy as sa

from audience_syncs.destinations.contract import DestinationSpec
from audience_syncs.engine.plan import Basis, Plan, staged
from audience_syncs.engine.prepare import MISSING
from audience_syncs.model.reach import FieldReach, Reach
from audience_syncs.model.values import ChangeKind

_LEAVING = (ChangeKind.REMOVE, ChangeKind.RETRACT, ChangeKind.LAPSE)


def reach_of(basis: Basis, plan: Plan, spec: DestinationSpec) -> Reach:
    """The reach of a plan that was made from the audience, and not settled yet."""
    mapped = {name: field for name in basis.sync.mapping if (field := spec.field(name)) is not None}
    identifiers = {name for name, field in mapped.items() if field.identifier}
    counts: dict[str, Counter[str]] = {name: Counter() for name in mapped}
    unreachable = 0
    for note, members in basis.connection.execute(_notes(basis, plan)):
        found = dict(text.rsplit(":", 1) for text in note.split("\n"))
        unreachable += members if identifiers <= found.keys() else 0
        for name, code in found.items():
            if name in counts:
                counts[name][code] += members
    fields = [
        FieldReach(name, field.identifier, counts[name].pop(MISSING, 0), dict(counts[name].most_common()))
        for name, field in mapped.items()
    ]
    return Reach(basis.admitted.members, unreachable, fields)


def _notes(basis: Basis, plan: Plan) -> sa.Select[Any]:
    """Each note, with how many members of the audience have it."""
    planned, ledger, stage = basis.warehouse.tables.plan, basis.warehouse.tables.ledger, staged(basis)
    of_plan = sa.and_(planned.c.sync == plan.sync, planned.c.plan_id == plan.id)
    of_changed = sa.select(planned.c.lacks).where(
        of_plan, planned.c.kind.not_in(_LEAVING), planned.c.lacks.is_not(None)
    )
    of_others = sa.select(ledger.c.lacks).where(
        basis.of_ledger,
        ledger.c.lacks.is_not(None),
        ~sa.exists().where(of_plan, planned.c.kind.not_in(_LEAVING), planned.c.member_key == ledger.c.member_key),
        sa.exists().where(stage.c.member_key == ledger.c.member_key),
    )
    notes = sa.union_all(of_changed, of_others).subquery("notes")
    return sa.select(notes.c.lacks, sa.func.count()).group_by(notes.c.lacks)
