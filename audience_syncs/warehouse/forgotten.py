"""People who must be forgotten: out of every list, out of every later plan, out of what we keep.

They are known by a digest of their key only. What remains is evidence: per destination, when it was asked for and when
the destination had acknowledged the removal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

import sqlalchemy as sa

from audience_syncs.model.config import AudienceConfig, sync_id
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.tables import snapshot_table


def is_forgotten(warehouse: Warehouse, primary_key: str, member_key: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """Whether the member of an audience with this primary key was forgotten."""
    forgotten = warehouse.tables.forgotten
    return sa.exists().where(
        forgotten.c.primary_key == primary_key, forgotten.c.key_digest == warehouse.dialect.key_digest(member_key)
    )


def key_digest(key: str) -> str:
    """How a forgotten person is known."""
    return hashlib.sha256(key.encode()).hexdigest()


def request_forgetting(
    connection: sa.Connection,
    warehouse: Warehouse,
    audiences: Mapping[str, AudienceConfig],
    primary_key: str,
    key: str,
    *,
    by: str,
    now: datetime,
) -> list[str]:
    """Records the request and erases the person from snapshots, history and splits; the caller commits.

    ``audiences``: those of the source with that primary key. Returns the syncs that hold the person, who stays in
    their ledger until the removal was acknowledged.
    """
    tables, digest = warehouse.tables, key_digest(key)
    known = sa.exists().where(tables.forgotten.c.primary_key == primary_key, tables.forgotten.c.key_digest == digest)
    if not connection.scalar(sa.select(known)):
        connection.execute(
            sa.insert(tables.forgotten).values(
                primary_key=primary_key, key_digest=digest, requested_at=now, requested_by=by
            )
        )
    _erase_from_snapshots(connection, warehouse, list(audiences), key)
    for table in (tables.membership, tables.split_positions):
        connection.execute(sa.delete(table).where(table.c.audience.in_(list(audiences)), table.c.member_key == key))
    ledger, forgetting = tables.ledger, tables.forgetting
    holding = []
    for audience in audiences.values():
        for sync in audience.syncs:
            name = sync_id(audience, sync)
            held = connection.scalar(sa.select(sa.exists().where(ledger.c.sync == name, ledger.c.member_key == key)))
            if held:
                holding.append(name)
            else:
                _erase_from_plans(connection, warehouse, name, digest)
            connection.execute(
                sa.delete(forgetting).where(forgetting.c.sync == name, forgetting.c.key_digest == digest)
            )
            connection.execute(
                sa.insert(forgetting).values(
                    sync=name,
                    key_digest=digest,
                    destination=sync.destination,
                    status="pending" if held else "not_held",
                    requested_at=now,
                    done_at=None if held else now,
                )
            )
    return holding


def note_forgotten(connection: sa.Connection, warehouse: Warehouse, sync_name: str, now: datetime) -> None:
    """After settling: evidence for whom the ledger no longer has, and nothing left of them."""
    forgetting, ledger = warehouse.tables.forgetting, warehouse.tables.ledger
    pending = list(
        connection.scalars(
            sa.select(forgetting.c.key_digest).where(forgetting.c.sync == sync_name, forgetting.c.status == "pending")
        )
    )
    for digest in pending:
        held = sa.exists().where(
            ledger.c.sync == sync_name, warehouse.dialect.key_digest(ledger.c.member_key) == digest
        )
        if connection.scalar(sa.select(held)):
            continue
        connection.execute(
            sa.update(forgetting)
            .where(forgetting.c.sync == sync_name, forgetting.c.key_digest == digest)
            .values(status="removed", done_at=now)
        )
        _erase_from_plans(connection, warehouse, sync_name, digest)


def evidence(connection: sa.Connection, warehouse: Warehouse, key: str) -> list[Mapping[str, object]]:
    """What became of a request, per destination."""
    forgetting = warehouse.tables.forgetting
    query = sa.select(forgetting).where(forgetting.c.key_digest == key_digest(key)).order_by(forgetting.c.sync)
    return [dict(row) for row in connection.execute(query).mappings()]


def _erase_from_snapshots(connection: sa.Connection, warehouse: Warehouse, audiences: list[str], key: str) -> None:
    snapshots = warehouse.tables.snapshots
    query = sa.select(snapshots.c.id, snapshots.c.table_name).where(
        snapshots.c.audience.in_(audiences), snapshots.c.table_name.is_not(None)
    )
    for snapshot_id, table_name in connection.execute(query).all():
        rows = snapshot_table(warehouse.schema, table_name, ())
        erased = connection.execute(sa.delete(rows).where(rows.c["_member_key"] == key)).rowcount
        connection.execute(
            sa.update(snapshots).where(snapshots.c.id == snapshot_id).values(members=snapshots.c.members - erased)
        )


def _erase_from_plans(connection: sa.Connection, warehouse: Warehouse, sync_name: str, digest: str) -> None:
    for table in (warehouse.tables.plan, warehouse.tables.rejections):
        connection.execute(
            sa.delete(table).where(
                table.c.sync == sync_name, warehouse.dialect.key_digest(table.c.member_key) == digest
            )
        )
