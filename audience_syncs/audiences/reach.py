"""How many members have no identifier at all for a sync: counted in the warehouse, before anything is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from audience_syncs.model.values import Snapshot
from audience_syncs.warehouse.connection import Warehouse


def without_identifier(
    warehouse: Warehouse, snapshot: Snapshot, identifiers: Mapping[str, Sequence[str]]
) -> dict[str, int]:
    """Sync -> members of the snapshot whose identifying columns are all null, blank or an empty array.

    ``identifiers``: the columns of each sync. What is there but cannot be normalised only shows when it is sent.
    """
    known = {column.name for column in snapshot.columns}
    # A column that is missing is the sync's own error, with words of its own.
    usable = {sync: [name for name in names if name in known] for sync, names in identifiers.items()}
    columns = sorted({column for names in usable.values() for column in names})
    if not columns:
        return dict.fromkeys(identifiers, 0)
    table = sa.table(snapshot.table, *(sa.column(name) for name in columns), schema=warehouse.schema)

    def is_blank(name: str) -> sa.ColumnElement[bool]:
        text = sa.func.trim(sa.cast(table.c[name], sa.Text))
        return sa.func.coalesce(text, "").in_(["", "{}"])

    counts = [
        sa.func.count().filter(sa.and_(*(is_blank(name) for name in names))).label(sync)
        for sync, names in usable.items()
        if names
    ]
    with warehouse.connect() as connection:
        row = connection.execute(sa.select(*counts).select_from(table)).mappings().one()
    return {sync: int(row.get(sync, 0)) for sync in identifiers}
