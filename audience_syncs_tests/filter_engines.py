"""Where compiled filters are run: real PostgreSQL, and DuckDB in memory, each with the tables of one case at a time."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Protocol

import duckdb
import sqlalchemy as sa

from audience_syncs.audiences.compile import compile_audience
from audience_syncs.audiences.query import execute_user_sql, query_of
from audience_syncs.model.config import AudienceConfig
from audience_syncs.warehouse.expressions import (
    DuckDBExpressions,
    readable,
    rendered,
)
from audience_syncs_tests.filter_data import Data, Table

ODD_ZONE = "Pacific/Chatham"
"""Of the sessions: what a filter means must not depend on it."""


class Engine(Protocol):
    name: str

    def load(self, data: Data) -> None:
        """Makes the tables of a case, and forgets those of the one before."""
        ...

    def answer(self, audience: AudienceConfig, now: datetime) -> list[dict[str, Any]]:
        """The rows that the compiled audience returns."""
        ...

    def sql(self, audience: AudienceConfig, now: datetime) -> str:
        """The compiled audience, with its values."""
        ...


class OnPostgreSQL:
    name = "PostgreSQL"

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)
        self._connection = self._engine.connect()

    def load(self, data: Data) -> None:
        # All in one transaction that is never committed: making and dropping tables costs next to nothing then.
        self._connection.rollback()
        create = ";".join(map(_create, data.tables.values()))
        execute_user_sql(
            self._connection,
            f"SET LOCAL TimeZone = '{ODD_ZONE}'; SET LOCAL jit = off; CREATE SCHEMA shop; {create}",
            "the tables of a case",
        )
        for table in data.tables.values():
            if table.rows:
                values = _values(table, "%s")
                self._connection.exec_driver_sql(f"INSERT INTO shop.{table.name} VALUES {values}", _flat(table.rows))

    def answer(self, audience: AudienceConfig, now: datetime) -> list[dict[str, Any]]:
        # As an evaluation does it.
        query = query_of(self._connection, audience, now, "a case")
        return [dict(row) for row in query.execute(self._connection, "SELECT q.* FROM {query}").mappings()]

    def sql(self, audience: AudienceConfig, now: datetime) -> str:
        return query_of(self._connection, audience, now, "a case").shown

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


class OnDuckDB:
    name = "DuckDB"

    def __init__(self) -> None:
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute(f"SET TimeZone = '{ODD_ZONE}'; CREATE SCHEMA shop")

    def load(self, data: Data) -> None:
        self._connection.execute("DROP SCHEMA shop CASCADE; CREATE SCHEMA shop")
        self._connection.execute(";".join(map(_create, data.tables.values())))
        for table in data.tables.values():
            if table.rows:
                values = _values(table, "?")
                self._connection.execute(f"INSERT INTO shop.{table.name} VALUES {values}", _flat(table.rows))

    def answer(self, audience: AudienceConfig, now: datetime) -> list[dict[str, Any]]:
        text, parameters = rendered(compile_audience(audience, DuckDBExpressions(), now), DuckDBExpressions())
        result = self._connection.execute(text, parameters)
        names = [column[0] for column in result.description or ()]
        return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    def sql(self, audience: AudienceConfig, now: datetime) -> str:
        return readable(compile_audience(audience, DuckDBExpressions(), now), DuckDBExpressions())

    def close(self) -> None:
        self._connection.close()


def _create(table: Table) -> str:
    columns = (f'"{name.replace(chr(34), chr(34) * 2)}" {type_name}' for name, type_name in table.columns.items())
    return f"CREATE TABLE shop.{table.name} ({', '.join(columns)})"


def _values(table: Table, placeholder: str) -> str:
    row = f"({', '.join(placeholder for _ in table.columns)})"
    return ", ".join(row for _ in table.rows)


def _flat(rows: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    return tuple(value for row in rows for value in row)
