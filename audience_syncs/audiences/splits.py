"""Splits: every member of an audience in one named group, and in the same one as long as the percentages stay.

A member has a place between 0 and 1; the groups follow each other there with their percentages. So a change of percentages
moves those between the old and the new border, and nobody else.

Without `stratify`, the place is a salted hash of the key: nothing has to be remembered, and the place is the same whenever,
wherever and in which company it is worked out. The groups have their percentages as closely as chance gives them.

With `stratify`, the places of a stratum follow each other by the golden ratio from a start of its own (an additive recurrence,
the sequence of lowest discrepancy of its kind), in the order of the members' hashes: however many they are, each part of the
line from 0 to 1 has its share of them, to within a few people. Places are kept for ever in ``split_positions``: whoever
leaves and comes back has their own, and new members continue the sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.audiences.keys import MEMBER_KEY
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError
from audience_syncs.model.splits import GROUP, Split
from audience_syncs.model.values import Snapshot, SplitSizes
from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.expressions import EXPRESSIONS, SHARES

_STEP, _WHOLE = 2654435769, 2**32
"""2^32 divided by the golden ratio: odd, so that 2^32 places are all different. Whole numbers, so that no warehouse rounds."""


def salt_of(audience: AudienceConfig) -> str:
    """What is hashed with the keys."""
    return (audience.split.salt if audience.split is not None else None) or audience.name


def place_by_hash(warehouse: Warehouse, salt: str, text: sa.ColumnElement[str]) -> sa.ColumnElement[float]:
    """A place by the first 13 hexadecimal digits of MD5 of ``salt:text``, as a part of 16^13: as many as a floating-point
    number holds exactly."""
    share = EXPRESSIONS[warehouse.dialect.name].share(salt, text)
    return sa.type_coerce(sa.cast(share, sa.Double) / sa.literal(float(SHARES), sa.Double), sa.Double)


def group_at(split: Split, place: sa.ColumnElement[float]) -> sa.ColumnElement[str]:
    """The group that has this place."""
    *ends, (last, _) = borders(split)
    return sa.case(*((place < sa.literal(end, sa.Double), sa.literal(name)) for name, end in ends), else_=last)


def borders(split: Split) -> Iterator[tuple[str, float]]:
    """Each group with the place where it ends; the last ends at 1."""
    percent = 0.0
    for group in split.groups:
        percent += group.percent
        yield group.name, round(percent, 9) / 100


def group_column(audience: AudienceConfig, warehouse: Warehouse) -> str:
    """The column ``_group`` as SQL, for the statement that makes a snapshot of a query ``q``. Of a stratified split it is empty
    until ``assign`` fills it."""
    split = audience.split
    assert split is not None
    group: sa.ColumnElement[Any] = sa.cast(sa.null(), sa.Text)
    if not split.stratify:
        key = sa.table("q", sa.column(audience.primary_key)).c[audience.primary_key]
        group = sa.cast(group_at(split, place_by_hash(warehouse, salt_of(audience), key)), sa.Text)
    dialect = EXPRESSIONS[warehouse.dialect.name].dialect()
    return f"{group.compile(dialect=dialect, compile_kwargs={'literal_binds': True})} AS {GROUP}"


def check_columns(split: Split, names: list[str], where: str) -> None:
    """AudienceError where the audience lacks a column of ``stratify``, or has one that is called as ours."""
    missing = [name for name in split.stratify if name not in names]
    if missing:
        raise AudienceError(
            f"the query has no column {missing[0]!r}, which `split.stratify` names",
            where=where,
            code="AUDIENCE_MISSING_COLUMN",
            remedy=f"it has: {', '.join(names)}",
        )
    if GROUP in names:
        raise AudienceError(
            f"the query has a column {GROUP!r}, a name that the audience's split needs",
            where=where,
            remedy="give that column another name with AS",
        )


def assign(
    connection: sa.Connection, warehouse: Warehouse, audience: AudienceConfig, table: sa.TableClause, at: datetime
) -> SplitSizes:
    """Counts the members of each group of a snapshot's ``table``; of a stratified split, gives them their places first."""
    split = audience.split
    assert split is not None
    if split.stratify:
        _add_places(connection, warehouse, audience, split, table, at)
        places = warehouse.tables.split_positions
        connection.execute(
            sa.update(table)
            .where(_of(places, audience), places.c.member_key == table.c[MEMBER_KEY])
            .values({GROUP: group_at(split, places.c.position)})
        )
    group = table.c[GROUP]
    counted = {
        str(name): int(members)
        for name, members in connection.execute(sa.select(group, sa.func.count()).group_by(group))
    }
    sizes = {group.name: counted.get(group.name, 0) for group in split.groups}
    return SplitSizes(salt_of(audience), tuple(split.stratify), sizes)


def _of(places: sa.Table, audience: AudienceConfig) -> sa.ColumnElement[bool]:
    return sa.and_(places.c.audience == audience.name, places.c.salt == salt_of(audience))


def _add_places(
    connection: sa.Connection,
    warehouse: Warehouse,
    audience: AudienceConfig,
    split: Split,
    table: sa.TableClause,
    at: datetime,
) -> None:
    """Gives places to the members who have none yet."""
    dialect, places, salt = warehouse.dialect, warehouse.tables.split_positions, salt_of(audience)
    key = table.c[MEMBER_KEY]
    stratum = dialect.text_of_row([table.c[name] for name in split.stratify])
    known = sa.exists().where(_of(places, audience), places.c.member_key == key)
    new = sa.select(key.label("member_key"), stratum.label("stratum")).where(~known).subquery("new")
    # Not how many there are: somebody who was forgotten leaves a gap.
    taken = (
        sa.select(places.c.stratum, (sa.func.max(places.c.number) + 1).label("next"))
        .where(_of(places, audience))
        .group_by(places.c.stratum)
        .subquery("taken")
    )
    order = sa.func.row_number().over(
        partition_by=new.c.stratum, order_by=[place_by_hash(warehouse, salt, new.c.member_key), new.c.member_key]
    )
    numbered = (
        sa.select(
            new.c.member_key,
            new.c.stratum,
            (sa.func.coalesce(taken.c.next, 0) + order - 1).label("number"),
        )
        .select_from(new.outerjoin(taken, taken.c.stratum == new.c.stratum))
        .subquery("numbered")
    )
    start = sa.cast(
        sa.func.floor(place_by_hash(warehouse, salt, numbered.c.stratum) * sa.literal(float(_WHOLE), sa.Double)),
        sa.BigInteger,
    )
    step = sa.literal(_STEP, sa.BigInteger)
    # Of the number only what is below 2^32 counts; the product would be too large for 64 bits otherwise.
    place = (start + (numbered.c.number % sa.literal(2**31, sa.BigInteger)) * step) % sa.literal(_WHOLE, sa.BigInteger)
    query = sa.select(
        sa.literal(audience.name),
        sa.literal(salt),
        numbered.c.member_key,
        numbered.c.stratum,
        numbered.c.number,
        sa.cast(place, sa.Double) / sa.literal(float(_WHOLE), sa.Double),
        sa.literal(at, sa.DateTime(timezone=True)),
    )
    columns = ["audience", "salt", "member_key", "stratum", "number", "position", "assigned_at"]
    if connection.execute(sa.insert(places).from_select(columns, query)).rowcount:
        dialect.analyze(connection, f"{places.schema}.{places.name}")


def columns_of(snapshot: Snapshot) -> list[str]:
    """The columns of a snapshot that may be mapped: the audience's own, and the group where there is one."""
    return [*(column.name for column in snapshot.columns), *([GROUP] if snapshot.split is not None else [])]
