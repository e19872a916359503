"""The columns of a table or a query, as the warehouse names their types."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from audience_syncs.model.errors import SourceError
from audience_syncs.model.schema import Rows


def columns_of(connection: sa.Connection, rows: Rows) -> dict[str, str]:
    """The columns of a table or a query, in their order, and the warehouse's names of their types; an enum's is ``enum``. Reads
    no row.

    Raises SourceError for a query that names a column twice; what the warehouse itself refuses is SQLAlchemy's error.
    """
    origin = rows.table if rows.sql is None else f"(\n{rows.sql}\n) AS q"
    found = _described(connection, f"SELECT * FROM {origin}")
    names = [name for name, _ in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise SourceError(
            f"the query names {', '.join(twice)} twice", remedy="give each column a name of its own, with AS"
        )
    return dict(found)


def _described(connection: sa.Connection, statement: str) -> list[tuple[str, str]]:
    # In a statement without parameters, a % or a : means what it means in SQL.
    as_it_is = {"no_parameters": True}
    if connection.dialect.name == "duckdb":
        described = connection.exec_driver_sql(f"DESCRIBE {statement}", execution_options=as_it_is)
        return [(str(row[0]), str(row[1])) for row in described]
    result = connection.exec_driver_sql(f"{statement} LIMIT 0", execution_options=as_it_is)
    cursor: Any = result.cursor
    columns = [(str(column[0]), int(column[1])) for column in cursor.description]
    result.close()
    types = sa.text(
        "SELECT oid, CASE typtype WHEN 'e' THEN 'enum' ELSE format_type(oid, NULL) END FROM pg_type WHERE oid = ANY(:oids)"
    )
    answer = connection.execute(types, {"oids": [oid for _, oid in columns]})
    names = {int(row[0]): str(row[1]) for row in answer}
    return [(name, names[oid]) for name, oid in columns]
