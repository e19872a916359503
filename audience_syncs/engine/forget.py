"""Taking forgotten people out of one sync's list now, instead of in its next run.

The request (``warehouse.forgotten.request_forgetting``) is what binds: from then on no plan has that person, and every
run of a sync that still holds them takes them out, whatever its mode.
"""

from __future__ import annotations

from audience_syncs.engine.plan import Basis, Plan, PlanWriter, staged
from audience_syncs.warehouse.forgotten import is_forgotten


def plan_forgetting(basis: Basis) -> Plan:
    """Plans the removal of every forgotten person the sync holds, and of nobody else."""
    writer = PlanWriter(basis)
    key = basis.warehouse.tables.ledger.c.member_key
    writer.take_out(is_forgotten(basis.warehouse, basis.snapshot.primary_key, key), staged(basis))
    return writer.close()
