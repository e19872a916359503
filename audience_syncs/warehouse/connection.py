"""Connections to the user's warehouse."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from audience_syncs.model.config import SourceConfig
from audience_syncs.model.errors import MissingSecret, SourceError
from audience_syncs.warehouse.dialect import DIALECTS, Dialect
from audience_syncs.warehouse.tables import StateTables, state_tables


class Warehouse:
    """An open source: its engine, its dialect and our state tables in it. A context manager."""

    def __init__(self, name: str, engine: sa.Engine, dialect: Dialect, tables: StateTables) -> None:
        self.name = name
        self.engine = engine
        self.dialect = dialect
        self.tables = tables
        self.schema = tables.schema

    @contextmanager
    def connect(self) -> Iterator[sa.Connection]:
        """A connection; every failure to connect is a SourceError without the address in it."""
        try:
            connection = self.engine.connect()
        except sa.exc.OperationalError as error:
            raise SourceError(
                f"cannot connect to source {self.name!r}: {words_of(error)}",
                remedy="check that the server runs and that the source's URL (its environment variable) is right",
            ) from None
        with connection:
            yield connection

    def planning_apart(self, connection: sa.Connection) -> Warehouse:
        """This warehouse with tables for plans that only the connection sees, in its transaction: a plan that is only looked
        at then takes no lock that a run could wait for, and leaves nothing."""
        tables, apart = StateTables(self.schema), StateTables(self.dialect.temporary_schema)
        tables.plan, tables.plans = apart.plan, apart.plans
        for table in (tables.plan, tables.plans):
            table.create(connection, checkfirst=False)
        return Warehouse(self.name, self.engine, self.dialect, tables)

    def lock_of(self, sync: str) -> str:
        """The name of the lock that a run of the sync holds, for as long as its process lives."""
        return f"{self.schema} sync {sync}"

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_warehouse(source: SourceConfig, environ: Mapping[str, str] | None = None) -> Warehouse:
    """Opens a source; connects only when first used.

    Raises MissingSecret when the variable with its URL is not set, SourceError when the URL cannot be read or its
    warehouse is not supported.
    """
    variables = os.environ if environ is None else environ
    address = variables.get(source.url.env, "")
    if not address:
        raise MissingSecret(
            f"source {source.name!r} needs the environment variable {source.url.env}, which is not set",
            remedy=f"set {source.url.env} to the SQLAlchemy URL of the warehouse, e.g. postgresql://user:pw@host/db",
        )
    return open_warehouse_at(address, name=source.name, schema=source.state_schema)


def open_warehouse_at(address: str, *, name: str = "source", schema: str = "audience_syncs") -> Warehouse:
    """Opens a warehouse by its SQLAlchemy URL."""
    try:
        url = sa.make_url(address)
    except sa.exc.ArgumentError:
        raise SourceError(
            f"the URL of source {name!r} cannot be read",
            remedy="write it as SQLAlchemy does: postgresql://user:password@host:5432/database",
        ) from None
    backend = "postgresql" if url.get_backend_name() == "postgres" else url.get_backend_name()
    if backend not in DIALECTS:
        raise SourceError(
            f"source {name!r} is a {backend} warehouse, which is not supported yet",
            remedy=f"supported: {', '.join(sorted(DIALECTS))}",
        )
    dialect = DIALECTS[backend]()
    if url.drivername in ("postgres", "postgresql"):
        # SQLAlchemy 2.1 would take psycopg 3; we have psycopg2 anyway, through dagster-postgres.
        url = url.set(drivername="postgresql+psycopg2")
    engine = sa.create_engine(
        url,
        # A run holds one connection for as long as it lasts; a pool would only keep idle ones open.
        poolclass=NullPool,
        connect_args={
            "keepalives": 1,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        },
        hide_parameters=True,
    )

    @sa.event.listens_for(engine, "connect")
    def _prepare(dbapi_connection: Any, _record: Any) -> None:
        dialect.prepare_session(dbapi_connection)

    return Warehouse(name, engine, dialect, state_tables(schema))


def lost(connection: sa.Connection) -> bool:
    """Whether the connection broke. It must not be used any more then: SQLAlchemy would quietly open another one, which
    does not hold our lock."""
    return connection.closed or connection.invalidated


@contextmanager
def in_words(
    where: str, remedy: str = "look into the warehouse's own log at this time, and try again"
) -> Iterator[None]:
    """Turns a database error into a SourceError; its own text may hold rows."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        words = words_of(error) if isinstance(error, sa.exc.DBAPIError) else type(error).__name__
        raise SourceError(f"the warehouse failed: {words}", where=where, remedy=remedy) from None


def words_of(error: sa.exc.DBAPIError) -> str:
    """The warehouse's own words, without the address, the statement, or a value of a row."""
    diagnosis = getattr(getattr(error.orig, "diag", None), "message_primary", None)
    lines = (diagnosis or str(error.orig or "")).strip().splitlines()
    text = lines[0] if lines else type(error.orig).__name__
    if error.connection_invalidated or isinstance(error, sa.exc.OperationalError):
        return _connection_words(text) or text.partition('"')[0].strip() or "no answer"
    # `invalid input syntax for type integer: "..."` quotes a row; `column "..." does not exist` does not.
    head, quote, tail = text.partition(': "')
    return head if quote and "column" not in head and "relation" not in head else head + quote + tail


def _connection_words(text: str) -> str | None:
    for words in (
        "connection refused",
        "could not translate host name",
        "password authentication failed",
        "does not exist",
        "timeout expired",
        "no such file or directory",
        "too many clients",
        "starting up",
        "shutting down",
        "terminating connection",
        "server closed the connection",
    ):
        if words in text.lower():
            return words
    return None
