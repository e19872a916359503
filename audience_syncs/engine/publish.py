"""The end of a run for destinations that put their list together then: everybody whom the ledger holds, as they are now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from audience_syncs.destinations.contract import Destination, Publishes
from audience_syncs.engine.plan import Basis, in_chunks, staged
from audience_syncs.engine.prepare import fields_of, outgoing
from audience_syncs.model.config import ModeFamily
from audience_syncs.model.values import Outgoing, Progress


def publish(basis: Basis, destination: Destination, list_id: str) -> None:
    """Tells the destination that the run is over; nothing where it does not care. Raises what it raises."""
    if not isinstance(destination, Publishes) or not basis.sync.mode.family.has_list:
        return
    basis.progress(Progress("publish", 0))
    held = _held(basis) if basis.sync.mode.family is ModeFamily.LIST else None
    destination.publish(list_id, tuple(basis.sync.mapping), held)
    basis.connection.rollback()


def _held(basis: Basis) -> Iterator[Sequence[Outgoing]]:
    """Everybody who is or may be in the list: with the fields of their row, or by identifiers where it is gone."""
    ledger, stage = basis.warehouse.tables.ledger, staged(basis)
    columns = [column for column in stage.c if column.name not in ("member_key", "fingerprint")]
    query = (
        sa.select(ledger.c.identifiers, ledger.c.remote_id, stage.c.member_key.is_not(None), *columns)
        .select_from(ledger.outerjoin(stage, stage.c.member_key == ledger.c.member_key))
        .where(basis.of_ledger, ledger.c.identifiers != basis.warehouse.dialect.no_identifiers())
        .order_by(ledger.c.identifiers, ledger.c.member_key)
    )
    done = 0
    for chunk in in_chunks(basis.connection, query):
        members = []
        for identifiers, remote_id, is_there, *values in chunk:
            prepared = basis.preparer.prepare(values) if is_there else None
            usable = prepared is not None and prepared.identifiers
            members.append(
                outgoing(prepared.payload, remote_id)
                if prepared is not None and usable
                else Outgoing(fields_of(identifiers), remote_id)
            )
        done += len(members)
        basis.progress(Progress("publish", done))
        yield members
