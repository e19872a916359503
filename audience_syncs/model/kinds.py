"""What kind of value a column holds: the few kinds that filters, traits and mappings tell apart."""

from __future__ import annotations

import re
from enum import StrEnum
from functools import cache


class Kind(StrEnum):
    """The kind of a column's values."""

    TEXT = "text"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    DATE = "date"
    TIMESTAMP = "timestamp"
    """A wall-clock time without a zone."""
    INSTANT = "instant"
    """A moment: a timestamp with time zone."""
    ARRAY = "array"
    OTHER = "other"
    """JSON, geometry, bytes, intervals: it can be selected and asked for null, and nothing else."""

    @property
    def is_number(self) -> bool:
        return self in (Kind.INTEGER, Kind.NUMBER)

    @property
    def is_time(self) -> bool:
        return self in (Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT)


_NAMES: tuple[tuple[Kind, str], ...] = (
    (Kind.ARRAY, r".*\[\d*\]|array.*|_\w+"),
    (Kind.INSTANT, r"timestamptz|timestamp( ?\(\d+\))? with (local )?time zone|timestamp_(l?tz)"),
    (Kind.TIMESTAMP, r"timestamp|timestamp without time zone|timestamp_ntz|datetime\d?"),
    (Kind.DATE, r"date"),
    (Kind.BOOLEAN, r"bool(ean)?"),
    (Kind.INTEGER, r"(tiny|small|medium|big|huge|u)*int(eger)?\d*|long|(big|small)?serial"),
    (Kind.NUMBER, r"numeric|(big)?decimal|number|float\d*|double( precision)?|real|bignumeric|money"),
    (Kind.TEXT, r"text|(var)?char|character( varying)?|citext|string|n?varchar\d?|bpchar|name|uuid|enum"),
)
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _NAMES)


@cache
def kind_of(type_name: str) -> Kind:
    """The kind of a warehouse's type, by its name: ``NUMERIC(10, 2)``, ``timestamp with time zone``, ``VARCHAR(20)``."""
    name = type_name.strip().lower()
    if not name.endswith("]"):
        name = re.sub(r"\s*\([^)]*\)", "", name)
    return next((kind for kind, pattern in _PATTERNS if pattern.fullmatch(name)), Kind.OTHER)
