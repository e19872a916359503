"""The lift report: who of each group of a split converted since they were first in it.

Everybody counts who ever was in the audience with a group, by the history in ``membership``, also those who have left since:
who leaves early because of what they were sent belongs to their group's result. From the moment they first had a group, what
they do counts, for as long as the conversion's ``within`` says.

People who came into another group, because percentages were changed, count in the first they had (intention to treat). Leaving
them out would be wrong: only who is still in the audience can move. Where those who convert leave, as they do from abandoned
carts, leaving out who moved takes people who did not convert away from one group only, and shows a difference where there is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences.splits import salt_of
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError, DefinitionError
from audience_syncs.model.kinds import Kind
from audience_syncs.model.lift import Lift, compared
from audience_syncs.model.moments import length
from audience_syncs.model.splits import Conversion, Split
from audience_syncs.warehouse.connection import Warehouse, in_words, words_of
from audience_syncs.warehouse.expressions import as_text
from audience_syncs.warehouse.state import State

_INSTANT = sa.DateTime(timezone=True)


def lift_of(
    audience: AudienceConfig, warehouse: Warehouse, conversion: str | None = None, *, baseline: str | None = None
) -> Lift:
    """The rates of the groups, each compared with the holdout, or with the group named ``baseline``.

    ``conversion``: one of the split's; may be left out where there is one only. ``baseline`` may also be a group that is no
    longer defined and had people. Raises DefinitionError where there is no such split, conversion or group, and AudienceError
    where the audience was not evaluated yet with this split, or the conversion's query fails.
    """
    where = f"audience {audience.name}"
    split = split_of(audience)
    name, config = _conversion(split, conversion, where)
    State(warehouse).prepare()
    with in_words(where), warehouse.connect() as connection:
        warehouse.dialect.tune_for_set_work(connection)
        evaluated = connection.scalar(sa.select(_divided_so(warehouse, audience, split).exists()))
        found = _counts(connection, warehouse, audience, split, name, config) if evaluated else {}
        connection.rollback()
    if not evaluated:
        raise AudienceError(
            "the audience has not been evaluated since it has this split",
            where=where,
            remedy=f"materialise the asset audiences/{audience.name} first",
        )
    order = [group.name for group in split.groups]
    known = [*order, *sorted(set(found) - set(order))]
    base, note = _baseline(split, baseline, known, where)
    nobody = _Counted(0, 0, 0, None)
    counts = [(group, found.get(group, nobody).people, found.get(group, nobody).converted) for group in known]
    return Lift(
        audience=audience.name,
        conversion=name,
        within=config.within,
        baseline=base,
        groups=compared(counts, base),
        moved=sum(group.moved for group in found.values()),
        note=note,
        since=min((group.since for group in found.values() if group.since is not None), default=None),
    )


def split_of(audience: AudienceConfig) -> Split:
    """The audience's split; DefinitionError where it has none."""
    if audience.split is None:
        raise DefinitionError(
            "the audience has no split",
            where=f"audience {audience.name}",
            remedy="give it `split` with groups; docs/audiences.md shows how",
        )
    return audience.split


def _conversion(split: Split, name: str | None, where: str) -> tuple[str, Conversion]:
    known = list(split.conversions)
    if name is None and len(known) == 1:
        name = known[0]
    if name is None or name not in split.conversions:
        said = "name a conversion" if name is None and known else f"there is no conversion {name!r}"
        remedy = f"one of: {', '.join(known)}" if known else "add `conversions` to the audience's `split`"
        raise DefinitionError(said if known else "the split has no conversions", where=where, remedy=remedy)
    return name, split.conversions[name]


def _baseline(split: Split, name: str | None, known: list[str], where: str) -> tuple[str | None, str]:
    if name is not None:
        if name not in known:
            raise DefinitionError(f"there is no group {name!r}", where=where, remedy=f"one of: {', '.join(known)}")
        return name, ""
    holdouts = split.holdouts
    if len(holdouts) == 1:
        return holdouts[0], ""
    if holdouts:
        return (
            None,
            f"several groups are sent nowhere ({', '.join(holdouts)}): name one with --baseline to compare with it",
        )
    return None, (
        "there is no holdout: every group is sent somewhere, and what would have happened without is not known. Name a group "
        "with --baseline to compare the others with it"
    )


@dataclass(frozen=True, slots=True)
class _Counted:
    """The people of one group."""

    people: int
    converted: int
    moved: int
    since: datetime | None


def _counts(
    connection: sa.Connection,
    warehouse: Warehouse,
    audience: AudienceConfig,
    split: Split,
    name: str,
    conversion: Conversion,
) -> dict[str, _Counted]:
    """Group -> its people."""
    people = _members(warehouse, audience, split).cte("audience_syncs_people")  # a name that hides no table of the user
    events = _conversions(connection, audience, name, conversion)
    in_time = [events.c.at >= people.c.since]
    if conversion.within is not None:
        in_time.append(events.c.at < people.c.since + sa.literal(length(conversion.within), sa.Interval))
    did = (
        sa.select(people.c.member_key)
        .join(events, sa.and_(events.c.member_key == people.c.member_key, *in_time))
        .distinct()
        .subquery("did")
    )
    query = (
        sa.select(
            people.c.split_group,
            sa.func.count(),
            sa.func.count(did.c.member_key),
            sa.func.sum(sa.case((people.c.moved, 1), else_=0)),
            sa.func.min(people.c.since),
        )
        .select_from(people.outerjoin(did, did.c.member_key == people.c.member_key))
        .group_by(people.c.split_group)
    )
    try:
        return {
            str(group): _Counted(int(whole), int(part), int(moved), since.astimezone(UTC))
            for group, whole, part, moved, since in connection.execute(query)
        }
    except sa.exc.DBAPIError as error:
        raise _refused(name, error, audience) from None


def _members(warehouse: Warehouse, audience: AudienceConfig, split: Split) -> sa.Select[Any]:
    """member_key, split_group, since, moved: everybody who has had a group, as the split divides people now, with their first."""
    membership = warehouse.tables.membership
    divided = _divided_so(warehouse, audience, split).subquery("divided")
    of_member = membership.c.member_key
    order = sa.func.row_number().over(partition_by=of_member, order_by=[membership.c.at, membership.c.snapshot_id])
    least = sa.func.min(membership.c.split_group).over(partition_by=of_member)
    greatest = sa.func.max(membership.c.split_group).over(partition_by=of_member)
    events = (
        sa.select(
            of_member,
            membership.c.split_group,
            membership.c.at.label("since"),
            order.label("nth"),
            (least != greatest).label("moved"),
        )
        .join(divided, divided.c.id == membership.c.snapshot_id)
        .where(
            membership.c.audience == audience.name,
            membership.c.event.in_(["enter", "move"]),
            membership.c.split_group.is_not(None),
        )
        .subquery("with_group")
    )
    return sa.select(events.c.member_key, events.c.split_group, events.c.since, events.c.moved).where(events.c.nth == 1)


def _divided_so(warehouse: Warehouse, audience: AudienceConfig, split: Split) -> sa.Select[tuple[int]]:
    """The audience's snapshots that were divided as now: with another salt, everybody is in their group by another chance."""
    snapshots = warehouse.tables.snapshots
    strata = sa.func.json_array_length(snapshots.c.split["stratify"])
    return sa.select(snapshots.c.id).where(
        snapshots.c.audience == audience.name,
        snapshots.c.split["salt"].as_string() == salt_of(audience),
        strata > 0 if split.stratify else strata == 0,
    )


def _conversions(
    connection: sa.Connection, audience: AudienceConfig, name: str, conversion: Conversion
) -> sa.FromClause:
    """member_key, at: who converted, and when."""
    if conversion.event is not None:
        return _events(audience, conversion.event)
    assert conversion.sql is not None
    sql = conversion.sql.strip().rstrip(";")
    try:
        # Without parameters, so that a % or a : in the user's query means what it means in SQL.
        plain: dict[str, Any] = {"no_parameters": True}
        result = connection.exec_driver_sql(f"SELECT q.* FROM (\n{sql}\n) AS q LIMIT 0", execution_options=plain)
    except sa.exc.DBAPIError as error:
        raise _refused(name, error, audience) from None
    columns = list(result.keys())
    result.close()
    if len(columns) != 2:
        raise AudienceError(
            f"the query of the conversion {name!r} returns {len(columns)} columns",
            where=f"audience {audience.name}",
            remedy="select two: the primary key of who converted, and when",
        )
    from audience_syncs.audiences.origins import raw_sql

    rows = raw_sql(f"SELECT q.member_key, q.at FROM (\n{sql}\n) AS q (member_key, at)")
    found = rows.columns(sa.column("member_key"), sa.column("at")).subquery("converted")
    return sa.select(_key(found.c.member_key).label("member_key"), sa.cast(found.c.at, _INSTANT).label("at")).subquery(
        "events"
    )


def _events(audience: AudienceConfig, name: str) -> sa.FromClause:
    """An event of the model; times without a zone are in the model's."""
    if audience.model is None:
        raise DefinitionError(
            "an audience with `sql` has no events",
            where=f"audience {audience.name}",
            remedy="give the conversion `sql` instead of `event`",
        )
    # Imported late: a conversion with SQL needs none of it.
    from audience_syncs.audiences.origins import Origins

    model = audience.refers_to.models[audience.model]
    rows = Origins(model, audience.refers_to).rows(name)
    assert rows.at is not None
    at: sa.ColumnElement[Any] = rows.at.column
    if rows.at.kind is not Kind.INSTANT:
        at = sa.func.timezone(model.timezone, sa.cast(at, sa.DateTime()))
    found = sa.select(_key(rows.key).label("member_key"), sa.type_coerce(at, _INSTANT).label("at"))
    return found.select_from(rows.source).subquery("events")


def _key(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    return sa.collate(as_text(column), "C")


def _refused(name: str, error: sa.exc.DBAPIError, audience: AudienceConfig) -> Exception:
    if error.connection_invalidated:
        return error
    return AudienceError(
        f"the warehouse refused the query of the conversion {name!r}: {words_of(error)}",
        where=f"audience {audience.name}",
        remedy="it needs two columns: the primary key of who converted, and when; run it in your warehouse to see more",
    )
