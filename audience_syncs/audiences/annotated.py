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
    return f"(\n{_line(element.reason)}\n{compiler.process(element.predicate, **options)}\n)"


def _line(reason: str) -> str:
    # Whatever is in it, it ends where the line ends.
    return f"-- {' '.join(reason.replace(chr(0), ' ').split())}"
