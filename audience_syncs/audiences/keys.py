"""The primary key of an audience: one row per member, none without."""

from __future__ import annotations

import sqlalchemy as sa

from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError

MEMBER_KEY = "_member_key"
"""The primary key as text, the first column of every snapshot."""

_EXAMPLES = 5


def checked_count(connection: sa.Connection, table: sa.TableClause, audience: AudienceConfig, where: str) -> int:
    """Counts the members; refuses null, empty and duplicate keys, naming how many and some of them."""
    key = table.c[MEMBER_KEY]
    count, filled, empty, distinct = connection.execute(
        sa.select(
            sa.func.count(),
            sa.func.count(key),
            sa.func.count().filter(key == ""),
            sa.func.count(key.distinct()),
        ).select_from(table)
    ).one()
    if filled < count or empty:
        raise AudienceError(
            f"{count - filled + empty:,} of {count:,} rows have no {audience.primary_key!r} (null or empty)",
            where=where,
            code="AUDIENCE_NULL_KEY",
            remedy=f"add WHERE {audience.primary_key} IS NOT NULL, or choose another primary_key",
        )
    if distinct < count:
        repeated = (
            sa.select(key, sa.func.count().label("n"))
            .group_by(key)
            .having(sa.func.count() > 1)
            .order_by(sa.desc("n"), key)
        )
        keys = connection.scalar(sa.select(sa.func.count()).select_from(repeated.subquery()))
        examples = connection.execute(repeated.limit(_EXAMPLES)).all()
        named = ", ".join(f"{_shown_key(value, audience)} ({n:,} rows)" for value, n in examples)
        raise AudienceError(
            f"{keys:,} keys are used by more than one of the {count:,} rows, e.g. {named}",
            where=where,
            code="AUDIENCE_DUPLICATE_KEY",
            remedy=f"return one row per {audience.primary_key}: group by it, or use DISTINCT ON",
        )
    return int(count)


def _shown_key(value: str, audience: AudienceConfig) -> str:
    """A key in an error message; one that looks like personal data is only described."""
    if "@" in value or audience.primary_key in audience.personal or len(value) > 40:
        return f"a key of {len(value)} characters"
    return value
