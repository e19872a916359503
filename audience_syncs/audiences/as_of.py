"""``:as_of`` in a query: the moment it is evaluated for."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_AS_OF = re.compile(r"(?<![:\w]):as_of\b")


def with_as_of(sql: str, as_of: datetime) -> str:
    """The query with its ``:as_of`` as a timestamp; a cast to a type of that name stays."""
    return _AS_OF.sub(f"TIMESTAMPTZ '{as_of.astimezone(UTC).isoformat()}'", sql)
