"""What a database's error means for a batch; never with a value of a row, the address or its password in it.

Until the commit nothing is applied, whatever happens: a connection lost before it is ``NotApplied``, one lost during it
``NoAnswer``.
"""

from __future__ import annotations

import re
from typing import Any

import sqlalchemy as sa

from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DestinationError,
    NoAnswer,
    NotApplied,
)

_AGAIN = {"40001", "40P01", "55P03", "1205", "1213"}
"""Serialization failure, deadlock, lock not available: PostgreSQL's and MySQL's codes."""
_REFUSED = {"28000", "28P01", "3D000", "42501", "1044", "1045", "1049", "1142"}
_REFUSED_WORDS = ("authentication failed", "pg_hba.conf", "permission denied", "access denied", "does not exist")
_REMEDY = "check the URL in its environment variable, and what its user may do"


def code_of(error: sa.exc.DBAPIError) -> str:
    """The database's code: PostgreSQL's SQLSTATE, MySQL's number, SQLite's name; empty where it has none."""
    origin: Any = error.orig
    code = getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None)
    code = code or getattr(origin, "sqlite_errorname", None)
    arguments: tuple[Any, ...] = origin.args if isinstance(origin, BaseException) else ()
    if code is None and arguments and isinstance(arguments[0], int):
        code = arguments[0]
    return str(code or "")


def worth_repeating(error: sa.exc.DBAPIError) -> bool:
    """Two transactions stood in each other's way: the one that gave way may simply come again."""
    code = code_of(error)
    return code in _AGAIN or code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))


def words_of(error: sa.exc.DBAPIError) -> str:
    """The database's words, where they are known to quote no row; else the kind of error."""
    primary = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    if primary:
        # `invalid input syntax for type integer: "..."` quotes a row.
        return re.sub(r': ".*', "", str(primary), flags=re.DOTALL)
    if code_of(error).startswith("SQLITE_"):
        return str(error.orig)
    return f"{type(error.orig).__name__} {code_of(error)}".strip()


def when_connecting(error: sa.exc.DBAPIError, where: str) -> AudienceSyncsError:
    """Nothing was sent."""
    text = str(error.orig).lower()
    if code_of(error) in _REFUSED or any(words in text for words in _REFUSED_WORDS):
        return AccessRefused("the database refuses the connection", where=where, remedy=_REMEDY)
    return NotApplied("no connection to the database")


def before_commit(error: sa.exc.DBAPIError, where: str) -> AudienceSyncsError:
    """Nothing is applied."""
    if error.connection_invalidated:
        return NotApplied("the connection to the database was lost before the commit")
    if code_of(error) in _REFUSED:
        return AccessRefused(f"the database refuses: {words_of(error)}", where=where, remedy=_REMEDY)
    if isinstance(error, (sa.exc.DataError, sa.exc.IntegrityError)):
        return BatchRefused(words_of(error), reason_code=code_of(error) or type(error).__name__)
    if isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError)):
        return NotApplied(f"the database failed: {words_of(error)}")
    return DestinationError(
        f"the database refuses the statement: {words_of(error)}", where=where, remedy="check the table's columns"
    )


def at_commit(error: sa.exc.DBAPIError) -> AudienceSyncsError:
    """Whether it is applied is not known, unless the database itself says that it is not."""
    if isinstance(error, sa.exc.IntegrityError) and not error.connection_invalidated:
        return BatchRefused(words_of(error), reason_code=code_of(error) or "INTEGRITY")  # a deferred constraint
    return NoAnswer("the connection to the database was lost during the commit")
