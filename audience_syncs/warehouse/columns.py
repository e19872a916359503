"""The columns of a table or a query, as the warehouse names their types."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from audience_syncs.model.schema import Rows


def columns_of(connection: sa.Connection, rows: Rows) -> dict[str, str]:
    """The columns of a table or a query, in their order, and the warehouse's names of their types. Reads no row."""
    origin = rows.table if rows.sql is None else f"(\n{rows.sql}\n) AS q"
    statement = f"SELECT * FROM {origin}"
    if connection.dialect.name == "duckdb":
        rows_of = connection.exec_driver_sql(f"DESCRIBE {statement}")
        return {str(row[0]): str(row[1]) for row in rows_of}
    # psycopg2 would take a percent sign for a parameter.
    result = connection.execute(sa.text((statement + " LIMIT 0").replace(":", "\\:")))
    cursor: Any = result.cursor
    described = [(column.name, column.type_code, column.precision, column.scale) for column in cursor.description]
    result.close()
    names: dict[int, str] = dict(
        connection.execute(
            sa.text("SELECT oid, format_type(oid, NULL) FROM pg_type WHERE oid = ANY(:oids)"),
            {"oids": [code for _, code, _, _ in described]},
        )
        .tuples()
        .all()
    )
    return {name: names[code] for name, code, _, _ in described}
