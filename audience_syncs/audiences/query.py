"""What an audience asks the warehouse at one moment: its own SQL, or its filter compiled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from audience_syncs.audiences.as_of import with_as_of
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import AudienceError
from audience_syncs.warehouse.connection import words_of
from audience_syncs.warehouse.expressions import EXPRESSIONS, readable

_OWN_SQL = "run the audience's SQL in your warehouse to see where it stops"
_FILTER = (
    "run what `audience-syncs sql {name}` prints in your warehouse to see where it stops; if columns have changed there, "
    "`audience-syncs columns` records them anew"
)


@dataclass(frozen=True, slots=True)
class Query:
    """A SELECT of an audience's members."""

    sql: str
    """As the driver takes it."""
    parameters: dict[str, Any] | None
    """None for the audience's own SQL, in which a % or a : means what it means in SQL."""
    shown: str
    """To be read by people: with its values in it."""
    where: str
    remedy: str

    def execute(self, connection: sa.Connection, around: str) -> sa.CursorResult[Any]:
        """Executes a statement with the query in the place of ``{query}``. AudienceError where the warehouse refuses it."""
        statement = around.replace("{query}", f"(\n{self.sql}\n) AS q")
        return _execute(connection, statement, self.parameters, self.where, self.remedy)

    def column_names(self, connection: sa.Connection) -> list[str]:
        """The query's columns, without running it to the end."""
        result = self.execute(connection, "SELECT q.* FROM {query} LIMIT 0")
        names = list(result.keys())
        result.close()
        return names

    def create_table(
        self, connection: sa.Connection, what: str, primary_key: str, member_key: str, columns: str
    ) -> None:
        """Makes a table of the members: their key as text, and columns. ``what``: ``TABLE name`` or ``TEMP TABLE name``."""
        key = '"' + primary_key.replace('"', '""') + '"'
        # In a statement that has parameters, a percent sign is doubled for the driver.
        if self.parameters is not None:
            key, columns = key.replace("%", "%%"), columns.replace("%", "%%")
        self.execute(
            connection,
            f'CREATE {what} AS SELECT CAST(q.{key} AS text) COLLATE "C" AS {member_key}{columns} FROM {{query}}',
        )


def query_of(connection: sa.Connection, audience: AudienceConfig, as_of: datetime, where: str) -> Query:
    """The audience's query as of a moment. Raises AudienceError where the model's ``now_sql`` does not tell the time."""
    if audience.sql is not None:
        sql = with_as_of(audience.sql, as_of)
        return Query(sql, None, sql, where, _OWN_SQL)
    # Imported late: an audience with SQL needs none of it.
    from audience_syncs.audiences.compile import compile_audience

    expressions = EXPRESSIONS[connection.dialect.name]
    statement = compile_audience(audience, expressions, now_of(connection, audience, as_of, where))
    compiled = statement.compile(dialect=connection.dialect, compile_kwargs={"render_postcompile": True})
    return Query(
        compiled.string,
        dict(compiled.params),
        readable(statement, expressions),
        where,
        _FILTER.format(name=audience.name),
    )


def now_of(connection: sa.Connection, audience: AudienceConfig, as_of: datetime, where: str) -> datetime:
    """What counts as now in the audience's filter: of a partitioned audience the end of its day, else what the model's
    ``now_sql`` says, else the moment itself."""
    model = audience.refers_to.models[audience.model or ""]
    if model.now_sql is None or audience.partitions is not None:
        return as_of
    place = f"{where}, now_sql of the model {model.name}"
    remedy = "return one timestamp, e.g. SELECT max(loaded_at) FROM shop.events; or leave `now_sql` out"
    found = time_of(connection, model.now_sql, place, remedy)
    return found if found.tzinfo is not None else found.replace(tzinfo=ZoneInfo(model.timezone)).astimezone(UTC)


def time_of(connection: sa.Connection, sql: str, where: str, remedy: str) -> datetime:
    """The one time that a query returns; AudienceError for anything else."""
    rows = execute_user_sql(connection, sql.strip().rstrip(";"), where).fetchmany(2)
    value = rows[0][0] if len(rows) == 1 and len(rows[0]) == 1 else None
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, datetime.min.time())
    if not isinstance(value, datetime):
        found = "no time, as its table is empty" if value is None and len(rows) == 1 else "no single time"
        raise AudienceError(
            f"the query returns {found}: how old the audience's data is cannot be told", where=where, remedy=remedy
        )
    return value


def execute_user_sql(connection: sa.Connection, statement: str, where: str) -> sa.CursorResult[Any]:
    """Executes SQL as its author wrote it. AudienceError where the warehouse refuses it."""
    return _execute(connection, statement, None, where, _OWN_SQL)


def _execute(
    connection: sa.Connection, statement: str, parameters: dict[str, Any] | None, where: str, remedy: str
) -> sa.CursorResult[Any]:
    try:
        if parameters is None:
            # Without parameters, so that a % or a : in the user's query means what it means in SQL.
            return connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
        return connection.exec_driver_sql(statement, parameters)
    except sa.exc.DBAPIError as error:
        raise AudienceError(f"the warehouse refused the query: {words_of(error)}", where=where, remedy=remedy) from None
