"""Where compiled filters are run: real PostgreSQL, and DuckDB in memory, each with the tables of one case at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol

import duckdb
import sqlalchemy as sa

from audience_syncs.audiences.compile import compile_audience
from audience_syncs.model.config import AudienceConfig
from audience_syncs.warehouse.expressions import DuckDBExpressions, Expressions, PostgreSQLExpressions
from audience_syncs_tests.filter_data import Data, Table

Compile = Callable[[AudienceConfig, Expressions, datetime], Any]

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

    def __init__(self, url: str, compile: Compile = compile_audience) -> None:
        self._engine = sa.create_engine(url)
        self._connection = self._engine.connect()
        self._compile = compile

    def load(self, data: Data) -> None:
        # All in one transaction that is never committed: making and dropping tables costs next to nothing then.
        self._connection.rollback()
        unbound = self._connection.execution_options(no_parameters=True)
        unbound.exec_driver_sql(f"SET LOCAL TimeZone = '{ODD_ZONE}'; SET LOCAL jit = off; CREATE SCHEMA shop")
        unbound.exec_driver_sql(";".join(map(_create, data.tables.values())))
        for table in data.tables.values():
            if table.rows:
                values = _values(table, "%s")
                self._connection.exec_driver_sql(f"INSERT INTO shop.{table.name} VALUES {values}", _flat(table.rows))

    def answer(self, audience: AudienceConfig, now: datetime) -> list[dict[str, Any]]:
        statement = self._compile(audience, PostgreSQLExpressions(), now)
        return [dict(row) for row in self._connection.execute(statement).mappings()]

    def sql(self, audience: AudienceConfig, now: datetime) -> str:
        statement = self._compile(audience, PostgreSQLExpressions(), now)
        return str(statement.compile(self._connection, compile_kwargs={"literal_binds": True}))

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()


class OnDuckDB:
    name = "DuckDB"

    def __init__(self, compile: Compile = compile_audience) -> None:
        self._connection = duckdb.connect(config={"threads": 1})
        self._connection.execute(f"SET TimeZone = '{ODD_ZONE}'; CREATE SCHEMA shop")
        self._compile = compile

    def load(self, data: Data) -> None:
        self._connection.execute("DROP SCHEMA shop CASCADE; CREATE SCHEMA shop")
        self._connection.execute(";".join(map(_create, data.tables.values())))
        for table in data.tables.values():
            if table.rows:
                values = _values(table, "?")
                self._connection.execute(f"INSERT INTO shop.{table.name} VALUES {values}", _flat(table.rows))

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
