"""Taking over an existing list: members of the audience who are in it already are booked, not sent again.

Only possible where the platform tells who is in a list. People in it who are not in the audience were put there by
somebody else, and stay: an audit names how many they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from audience_syncs.destinations.contract import ListMember
from audience_syncs.engine.phases import ADDITIONS
from audience_syncs.model.values import ChangeKind
from audience_syncs.warehouse.connection import Warehouse

_LISTED = sa.Table(
    "as_listed",
    sa.MetaData(),
    sa.Column("person", sa.BigInteger),
    sa.Column("identifier", sa.Text),
    sa.Column("remote_id", sa.Text),
    prefixes=["TEMPORARY"],
)
"""Who is in the list: one row per identifier, or one with none where the platform tells only its own id."""


def stage_listed(connection: sa.Connection, warehouse: Warehouse, pages: Iterable[Sequence[ListMember]]) -> sa.Table:
    """Writes the list's members into a temporary table (``person``, ``identifier``, ``remote_id``), page by page."""
    connection.exec_driver_sql(f"DROP TABLE IF EXISTS pg_temp.{_LISTED.name}")
    _LISTED.create(connection)
    person = 0
    for page in pages:
        rows: list[tuple[int, str | None, str | None]] = []
        for member in page:
            person += 1
            found = [
                f"{field}:{text}"
                for field, value in member.fields.items()
                for text in ([value] if isinstance(value, str) else value)
            ]
            nothing: list[str | None] = [None]
            rows.extend((person, text, member.remote_id) for text in found or nothing)
        warehouse.dialect.copy_rows(connection, _LISTED, ("person", "identifier", "remote_id"), rows)
    warehouse.dialect.analyze(connection, _LISTED.name)
    return _LISTED


def adopt_held(connection: sa.Connection, warehouse: Warehouse, sync_name: str, plan_id: int, batch_size: int) -> int:
    """Turns additions of people who are in the list (``stage_listed``) with all their identifiers into adoptions.

    Returns how many additions are left; their batches are numbered anew.
    """
    plan = warehouse.tables.plan
    of_plan = sa.and_(plan.c.sync == sync_name, plan.c.plan_id == plan_id)
    identifier = sa.func.unnest(plan.c.identifiers).table_valued("identifier").render_derived("each_one")
    held = (
        sa.select(plan.c.seq, sa.func.min(_LISTED.c.remote_id).label("remote_id"))
        .select_from(
            plan.join(identifier, sa.true()).outerjoin(_LISTED, _LISTED.c.identifier == identifier.c.identifier)
        )
        .where(of_plan, plan.c.kind == ChangeKind.ADD)
        .group_by(plan.c.seq)
        # All in the list, and all of one person there.
        .having(sa.func.bool_and(_LISTED.c.person.is_not(None)), sa.func.count(_LISTED.c.person.distinct()) == 1)
        .subquery("held")
    )
    connection.execute(
        sa.update(plan)
        .where(of_plan, plan.c.seq == held.c.seq)
        .values(kind=ChangeKind.ADOPT.value, phase=0, batch=0, payload=None, remote_id=held.c.remote_id)
    )
    place = sa.func.row_number().over(order_by=plan.c.seq) - 1
    left = (
        sa.select(plan.c.seq, (place // batch_size + 1).label("batch"))
        .where(of_plan, plan.c.phase == ADDITIONS)
        .subquery("left_over")
    )
    return connection.execute(
        sa.update(plan).where(of_plan, plan.c.seq == left.c.seq).values(batch=left.c.batch)
    ).rowcount
