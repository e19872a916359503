"""How warehouses differ in what filters and splits ask of them: regular expressions, hashes, the order of texts.

Everything else that a filter is compiled to is plain SQL. A new warehouse is a new class here; a test compares its answers
with an evaluator that knows no SQL.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Protocol, cast

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGDialect

from audience_syncs.warehouse.layout import laid_out

SHARES = 16**13
"""A hash's first 13 hexadecimal digits: as many as fit exactly into a float."""


AVERAGE_DIGITS = 9
"""Decimals of an average: where one warehouse divides decimals and another floats, they agree so far."""


class Expressions(Protocol):
    """What filters need beyond plain SQL."""

    name: str

    def matches(self, text: sa.ColumnElement[Any], pattern: str, *, ignore_case: bool) -> sa.ColumnElement[bool]:
        """Whether a regular expression is found anywhere in a text."""
        ...

    def share(self, salt: str, key: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
        """A number from 0 up to ``SHARES``, by MD5 of ``salt:key``: the same on every warehouse."""
        ...

    def in_order(self, text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A text, to be sorted by its bytes whatever the language of the database."""
        ...

    def out_of_order(self, text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A text chosen by that order, as any other text again: what is done to it next must not go by bytes."""
        ...

    def average(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """Aggregate: the average of a column of numbers, rounded to ``AVERAGE_DIGITS`` decimals."""
        ...

    def dialect(self) -> sa.Dialect:
        """SQLAlchemy's dialect to write a statement for people, with its values in it."""
        ...

    def driver_dialect(self) -> sa.Dialect:
        """SQLAlchemy's dialect to write a statement for the driver, where there is no engine."""
        ...


def as_text(value: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    """A value as the warehouse writes it."""
    return sa.cast(value, sa.Text)


class PostgreSQLExpressions:
    """PostgreSQL 13 and later."""

    name = "postgresql"

    def matches(self, text: sa.ColumnElement[Any], pattern: str, *, ignore_case: bool) -> sa.ColumnElement[bool]:
        return text.regexp_match(sa.literal(_as_elsewhere(pattern), sa.Text), flags="i" if ignore_case else None)

    def share(self, salt: str, key: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
        digits = sa.func.substr(sa.func.md5(sa.literal(f"{salt}:", sa.Text).concat(as_text(key))), 1, 13)
        return sa.cast(sa.cast(sa.literal("x", sa.Text).concat(digits), _Bits()), sa.BigInteger)

    def in_order(self, text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.collate(text, "C")

    def out_of_order(self, text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        # In the order "C", only A to Z have small letters.
        return sa.collate(text, "default")

    def average(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.round(sa.func.avg(sa.cast(column, sa.Numeric())), AVERAGE_DIGITS)

    def dialect(self) -> sa.Dialect:
        return _readable()

    def driver_dialect(self) -> sa.Dialect:
        return _postgresql("pyformat")


class DuckDBExpressions:
    """DuckDB, whose SQL is nearly PostgreSQL's."""

    name = "duckdb"

    def matches(self, text: sa.ColumnElement[Any], pattern: str, *, ignore_case: bool) -> sa.ColumnElement[bool]:
        # `~` asks here whether the whole text matches.
        options = [sa.literal("i", sa.Text)] if ignore_case else []
        return sa.func.regexp_matches(text, sa.literal(pattern, sa.Text), *options, type_=sa.Boolean)

    def share(self, salt: str, key: sa.ColumnElement[Any]) -> sa.ColumnElement[int]:
        digits = sa.func.substr(sa.func.md5(sa.literal(f"{salt}:", sa.Text).concat(as_text(key))), 1, 13)
        return sa.cast(sa.literal("0x", sa.Text).concat(digits), sa.BigInteger)

    def in_order(self, text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return text

    def out_of_order(self, text: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return text

    def average(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        # Its NUMERIC has three decimals.
        return sa.func.round(sa.func.avg(sa.cast(column, sa.Double())), AVERAGE_DIGITS)

    def dialect(self) -> sa.Dialect:
        return _readable()

    def driver_dialect(self) -> sa.Dialect:
        return _postgresql("numeric_dollar")


EXPRESSIONS: dict[str, Expressions] = {
    expressions.name: expressions for expressions in (PostgreSQLExpressions(), DuckDBExpressions())
}
"""By the name of the warehouse's dialect."""


def rendered(statement: sa.Select[Any], expressions: Expressions) -> tuple[str, Sequence[Any] | dict[str, Any]]:
    """The statement and its parameters as the warehouse's driver takes them, for where there is no engine."""
    compiled = statement.compile(dialect=expressions.driver_dialect())
    if compiled.positional:
        assert compiled.positiontup is not None
        return compiled.string, [compiled.params[name] for name in compiled.positiontup]
    return compiled.string, dict(compiled.params)


def readable(statement: sa.Select[Any], expressions: Expressions) -> str:
    """The statement with its values written into it: to be read, and to be pasted into a SQL client."""
    return laid_out(str(statement.compile(dialect=expressions.dialect(), compile_kwargs={"literal_binds": True})))


def _as_elsewhere(pattern: str) -> str:
    """A pattern that means to PostgreSQL what it means to Python, DuckDB and most others.

    Its own ``\\b`` is a backspace and its ``\\B`` a backslash, where others mean the edge of a word; and its ``.`` is also the
    end of a line, unless an option says otherwise (https://www.postgresql.org/docs/current/functions-matching.html).
    """
    edges = re.sub(
        r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", lambda found: _EDGES.get(found[0], found[0]), pattern, flags=re.DOTALL
    )
    return edges if edges.startswith("(?") and edges[2:3].isalpha() else f"(?p){edges}"


_EDGES = {r"\b": r"\y", r"\B": r"\Y"}


def _readable() -> sa.Dialect:
    dialect: Any = _postgresql("named")
    # What a connection would say: a backslash in a text is a backslash.
    dialect._backslash_escapes = False
    return cast(sa.Dialect, dialect)


def _postgresql(paramstyle: str) -> sa.Dialect:
    make: Any = PGDialect
    return cast(sa.Dialect, make(paramstyle=paramstyle))


class _Bits(sa.types.UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "bit(52)"
