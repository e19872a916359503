"""Where the rows of a filter come from: people, and what belongs to them, each row with the primary key of its person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.elements import quoted_name

from audience_syncs.audiences.comparisons import Value, equal, is_equal_as_it_is, value_of
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.kinds import Kind, kind_of
from audience_syncs.model.schema import ModelConfig, Rows, Schema

From = sa.FromClause
_LONGEST = 56
"""Characters of an alias, without its number."""


def raw_sql(sql: str) -> sa.TextClause:
    """A query as its author wrote it: a colon or a percent sign in it means what it means in SQL."""
    return sa.text(sql.replace(":", "\\:"))


@dataclass(frozen=True, slots=True)
class Origin:
    """A table or query in FROM, by an alias of its own."""

    part: str
    source: From
    columns: Mapping[str, str]

    def value(self, name: str) -> Value:
        """One of its columns. DefinitionError where none of that name is recorded."""
        type_name = self.columns.get(name)
        if type_name is None:
            raise DefinitionError(
                f"{self.part} has no column {name!r}",
                remedy="correct the name, or run `audience-syncs columns` if the warehouse has it by now",
            )
        return value_of(self.source.c[name], kind_of(type_name), type_name)


@dataclass(frozen=True, slots=True)
class PersonRows:
    """Rows of people: ``key`` is the primary key of the person a row belongs to, ``at`` its time where it has one."""

    origin: Origin
    source: From
    key: sa.ColumnElement[Any]
    at: Value | None


class Origins:
    """Makes origins of one model, each with a name of its own within a statement."""

    def __init__(self, model: ModelConfig, schema: Schema) -> None:
        self.model = model
        self._schema = schema
        self._used: set[str] = set()

    def people(self) -> Origin:
        """The parent's rows."""
        return self._origin(self.model, self.model.name, "people")

    def key_of(self, people: Origin) -> Value:
        return people.value(self.model.primary_key)

    def rows(self, name: str) -> PersonRows:
        """Related rows or events. DefinitionError where the model has none of that name."""
        config = self.model.rows(name)
        if config is None:
            known = ", ".join([*self.model.events, *self.model.related]) or "none"
            raise DefinitionError(f"the model {self.model.name} has no rows {name!r}", remedy=f"it has: {known}")
        origin = self._origin(config, f"{self.model.name}.{name}", name)
        at = None if config.timestamp is None else origin.value(config.timestamp)
        if config.through is None:
            joined = {
                parent: (origin.source.c[own], origin.columns[own]) for parent, own in (config.join or {}).items()
            }
            source, key = self._of_person(origin.source, joined)
            return PersonRows(origin, source, key, at)
        part = f"{self.model.name}.{name}.through"
        link = self._origin(config.through, part, f"{name}_link")
        used = [*config.through.parent.values(), *config.through.related]
        # A pair that is there twice counts once.
        pairs = (
            sa.select(*(link.source.c[column] for column in dict.fromkeys(used))).distinct().subquery(self.name(name))
        )
        matched = sa.and_(
            *(
                equal(pairs.c[own], link.columns[own], origin.source.c[other], origin.columns[other])
                for own, other in config.through.related.items()
            )
        )
        joined = {parent: (pairs.c[own], link.columns[own]) for parent, own in config.through.parent.items()}
        source, key = self._of_person(origin.source.join(pairs, matched), joined)
        return PersonRows(origin, source, key, at)

    def _of_person(
        self, source: From, joined: Mapping[str, tuple[sa.ColumnElement[Any], str]]
    ) -> tuple[From, sa.ColumnElement[Any]]:
        """With the person's primary key: the joining column itself, where it is of the same type, or by way of the parent.

        ``joined``: column of the parent -> the column it is joined with, and the type of that.
        """
        own_types = self._schema.columns[self.model.name]
        if list(joined) == [self.model.primary_key]:
            column, type_name = joined[self.model.primary_key]
            if is_equal_as_it_is(own_types[self.model.primary_key], type_name):
                return source, column
        people = self.people()
        matched = sa.and_(
            *(
                equal(people.source.c[parent], own_types[parent], column, type_name)
                for parent, (column, type_name) in joined.items()
            )
        )
        return source.join(people.source, matched), people.source.c[self.model.primary_key]

    def _origin(self, rows: Rows, part: str, name: str) -> Origin:
        columns = self._schema.columns.get(part)
        if not columns:
            raise DefinitionError(
                f"the columns of {part} are not known", remedy="run `audience-syncs columns`: it asks the warehouse"
            )
        alias = self.name(name)
        source = _source(rows.table, rows.sql, tuple(columns.items()))
        named = source.alias(alias) if isinstance(source, sa.TableClause) else source.subquery(alias)
        return Origin(part, named, columns)

    def name(self, wanted: str) -> str:
        """An alias that nothing else in the statement has. A long one is cut: PostgreSQL's have 63 characters at most."""
        alias, number = wanted[:_LONGEST], 1
        while alias in self._used:
            number += 1
            alias = f"{wanted[:_LONGEST]}_{number}"
        self._used.add(alias)
        return alias


# The same for all audiences of a model: half the time of compiling many is in the making of columns.
@lru_cache(maxsize=1000)
def _source(
    table: str | None, sql: str | None, columns: tuple[tuple[str, str], ...]
) -> sa.TableClause | sa.TextualSelect:
    """A table or a query with its recorded columns, without an alias."""
    known = [sa.column(column, _TYPES.get(kind_of(type_name))) for column, type_name in columns]
    if table is not None and "%" not in table:
        # As its author would write it in SQL, with a schema or not.
        return sa.table(quoted_name(table, quote=False), *known)
    # A percent sign is doubled for the driver within a query, and not in a name that is taken as it is.
    query = sql if sql is not None else f"SELECT * FROM {table}"
    return raw_sql(f"\n{query}\n").columns(*known)


_TYPES: dict[Kind, sa.types.TypeEngine[Any]] = {
    Kind.TEXT: sa.Text(),
    Kind.INTEGER: sa.BigInteger(),
    Kind.NUMBER: sa.Numeric(),
    Kind.BOOLEAN: sa.Boolean(),
    Kind.DATE: sa.Date(),
    Kind.TIMESTAMP: sa.DateTime(),
    Kind.INSTANT: sa.DateTime(timezone=True),
}
"""What SQLAlchemy must know of a column, so that operators on it are written right."""
