"""A predicate with its reason beside it, as a comment in the SQL that people read."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles


class _Annotated(sa.ColumnElement[bool]):
    inherit_cache = False
    type = sa.Boolean()

    def __init__(self, predicate: sa.ColumnElement[bool], reason: str) -> None:
        self.predicate = predicate
        self.reason = reason

    def self_group(self, against: Any = None) -> sa.ColumnElement[Any]:
        # A group of its own: what is inside needs no other.
        return self

    @property
    def _from_objects(self) -> Any:
        return self.predicate._from_objects


def annotated(predicate: sa.ColumnElement[bool], reason: str) -> sa.ColumnElement[bool]:
    """The same predicate, written with its reason on a line before it."""
    return _Annotated(predicate, reason)


def comment(reason: str) -> sa.TextClause:
    """The reason alone, as a line of SQL: to be put before what a SELECT selects."""
    return sa.text(f"{_line(reason)}\n ".replace(":", "\\:"))


@compiles(_Annotated)
def _write(element: _Annotated, compiler: Any, **options: Any) -> str:
    inside = compiler.process(element.predicate, **options)
    return f"(\n  {_line(element.reason)}\n{_indented(inside)}\n)"


def _line(reason: str) -> str:
    # Whatever is in it, it ends where the line ends.
    return f"-- {' '.join(reason.replace(chr(0), ' ').split())}"


def _indented(sql: str) -> str:
    """With blanks before each line; left as it is where a line may end within a text."""
    lines = sql.split("\n")
    open_text = False
    for line in lines[:-1]:
        open_text ^= line.count("'") % 2 == 1
        if open_text:
            return sql
    return "\n".join(f"  {line}" for line in lines)
