"""One database: a list is a table in it, a batch one transaction.

A row is in the list while its column ``_synced_row`` says so: ``made`` by the sync, or ``joined``, because it was there before.
Rows without that mark are somebody else's: they are not counted, not adopted and never removed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.destinations import keyed
from audience_syncs.destinations.contract import DestinationSpec, ListMember, ListRequest
from audience_syncs.destinations.sql_table import statements
from audience_syncs.destinations.sql_table.database import Database
from audience_syncs.destinations.sql_table.declaration import ORIGIN, SYNCED_AT, ColumnType, SqlTableSettings
from audience_syncs.destinations.sql_table.values import (
    KEY_COLUMN,
    NEW_COLUMN,
    Convert,
    converter,
    key_converter,
    key_text,
)
from audience_syncs.model.config import Mode
from audience_syncs.model.errors import DefinitionError, DestinationError, ListMissing
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, RemoteList, Verdict, VerdictKind

NOT_FOUND = Verdict(VerdictKind.REJECTED, "NOT_FOUND", "the table has no row with this key")


class SqlTable:
    """A database."""

    def __init__(self, spec: DestinationSpec, url: str, settings: SqlTableSettings, where: str) -> None:
        self.spec = spec
        self._settings = settings
        self._key = settings.key
        self._where = where
        self._database = Database(url, where, settings.timeout_s)
        self._lock = threading.Lock()
        self._tables: dict[str, sa.Table] = {}

    @property
    def requests_sent(self) -> int:
        """Transactions."""
        return self._database.transactions

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """The table of that name, made if there is none.

        Raises DestinationError where a table that is there has no unique key, or not the columns that mark its rows.
        """
        name = wanted.id or wanted.name
        self._refuse_name(name)
        table = self._reflected(name)
        if table is None:
            if wanted.id is not None:
                raise self._missing(name)
            columns = [
                sa.Column(self._key, self._key_type(), primary_key=True, autoincrement=False),
                sa.Column(SYNCED_AT, NEW_COLUMN[ColumnType.TIMESTAMP]),
                sa.Column(ORIGIN, sa.String(10)),
            ]
            new = sa.Table(name, sa.MetaData(), *columns, schema=self._settings.table_schema)
            self._database.transact(lambda connection: new.create(connection, checkfirst=True))
            return RemoteList(name, name, created=True)
        self._require_key(table)
        self._require_marks(table)
        return RemoteList(name, name)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._write(self._list(list_id, batch), batch, statements.put_into_list)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._take_out(list_id, batch, statements.take_out)

    def clear_fields(self, list_id: str, batch: Batch, fields: Sequence[str]) -> Sequence[Verdict]:
        def clear(connection: sa.Connection, table: sa.Table, key: str, keys: Sequence[Any]) -> None:
            statements.take_out_and_clear(connection, table, key, keys, fields)

        return self._take_out(list_id, batch, clear)

    def delete_records(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._take_out(list_id, batch, statements.delete)

    def records(self) -> RemoteList:
        name = self._settings.records_table or ""
        return RemoteList(name, name)

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        table = self._reflected(self._settings.records_table or "")
        if table is None:
            raise self._missing(self._settings.records_table or "")
        self._require_key(table)
        lacking = sorted(_columns_of(batch) - set(table.c.keys()))
        if lacking:
            raise DestinationError(
                f"the table has no column {', '.join(map(repr, lacking))}",
                where=self._where,
                remedy="add it to the table, or take it out of the mapping: a table of records is never changed",
            )
        if mode is Mode.UPDATE:
            return self._write(table, batch, statements.update, or_else=NOT_FOUND)
        return self._write(table, batch, statements.upsert if mode is Mode.UPSERT else statements.insert)

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        """The keys of the rows that are in the list."""
        table = self._known(list_id)
        column = table.c[self._key]
        query = sa.select(column).where(table.c[ORIGIN].is_not(None))
        for page in self._database.pages(query, table):
            yield [ListMember({self._key: key_text(value)}) for value in page]

    def matched_users(self, list_id: str) -> MatchedUsers:
        """The rows that are in the list, counted."""
        table = self._known(list_id)
        query = sa.select(sa.func.count()).select_from(table).where(table.c[ORIGIN].is_not(None))
        count = int(self._database.transact(lambda connection: connection.scalar(query), table) or 0)
        return MatchedUsers(count, count, datetime.now(UTC), exact=True)

    # Rows

    def _write(
        self,
        table: sa.Table,
        batch: Batch,
        statement: Callable[[sa.Connection, sa.Table, str, Sequence[statements.Row]], set[Any] | None],
        or_else: Verdict = ACCEPTED,
    ) -> list[Verdict]:
        """``or_else``: the verdict of those whose key is not among those the statement returns, where it returns any."""
        columns = sorted(_columns_of(batch) - {self._key})
        key = key_converter(table.c[self._key])
        converters = {name: converter(table.c[name]) for name in columns}
        rows: dict[Any, statements.Row] = {}
        keys: list[Any] = []
        verdicts: list[Verdict] = []
        for member in batch.members:
            row, verdict = self._row(member.everything, key, converters)
            verdicts.append(verdict)
            keys.append(row.get(self._key))
            if verdict is ACCEPTED:
                rows[row[self._key]] = row  # of two members with one key, the last
        found = None
        if rows:
            in_order = [rows[key] for key in sorted(rows)]
            found = self._database.transact(lambda connection: statement(connection, table, self._key, in_order), table)
        if found is None:
            return verdicts
        return [
            or_else if verdict is ACCEPTED and key not in found else verdict
            for key, verdict in zip(keys, verdicts, strict=True)
        ]

    def _row(
        self, fields: Mapping[str, Any], key: Convert, converters: Mapping[str, Convert]
    ) -> tuple[statements.Row, Verdict]:
        row: statements.Row = {}
        for name, convert in {self._key: key, **converters}.items():
            value = fields.get(name)
            try:
                row[name] = None if value is None else convert(value)
            except (ValueError, OverflowError):
                reason = f"the column {name!r} takes no such value"
                return {}, Verdict(VerdictKind.REJECTED, "WRONG_TYPE", reason)
        return row, ACCEPTED

    def _take_out(
        self,
        list_id: str,
        batch: Batch,
        statement: Callable[[sa.Connection, sa.Table, str, Sequence[Any]], None],
    ) -> list[Verdict]:
        table = self._known(list_id)
        convert = key_converter(table.c[self._key])
        keys: set[Any] = set()
        for member in batch.members:
            for text in keyed.keys_of(member.fields, self._key, self._where):
                try:
                    keys.add(convert(text))
                except (ValueError, OverflowError):
                    continue  # a key that the column does not take is in no row
        self._database.transact(lambda connection: statement(connection, table, self._key, sorted(keys)), table)
        return [ACCEPTED] * len(batch)

    # Tables

    def _list(self, name: str, batch: Batch) -> sa.Table:
        """The list's table, with all columns that are written; those it lacks are added."""
        columns = _columns_of(batch)
        ours = columns & {SYNCED_AT, ORIGIN}
        if ours:
            raise DestinationError(
                f"the mapping writes the column {min(ours)!r}, which is ours",
                where=self._where,
                remedy="map that field under another name",
            )
        with self._lock:
            table = self._tables.get(name)
            if table is None or columns - set(table.c.keys()):
                table = self._reflected(name)
                if table is None:
                    raise self._missing(name)
                lacking = sorted(columns - set(table.c.keys()))
                for column in lacking:
                    self._refuse_name(column)
                    self._add_column(table, column)
                grown = self._reflected(name) if lacking else None
                table = table if grown is None else grown
                self._tables[name] = table
            return table

    def _add_column(self, table: sa.Table, name: str) -> None:
        column = sa.Column(name, NEW_COLUMN[self._settings.columns.get(name, ColumnType.TEXT)])
        new = statements.AddColumn(sa.Table(table.name, sa.MetaData(), column, schema=table.schema), column)
        self._database.transact(lambda connection: connection.execute(new), table)

    def _known(self, name: str) -> sa.Table:
        with self._lock:
            table = self._tables.get(name)
            if table is None:
                table = self._reflected(name)
            if table is None:
                raise self._missing(name)
            self._tables[name] = table
            return table

    def _reflected(self, name: str) -> sa.Table | None:
        return self._database.reflected(name, self._settings.table_schema)

    def _require_key(self, table: sa.Table) -> None:
        """Raises unless the key has a column of its own that is unique."""
        if self._key in table.c:
            uniques = self._database.uniques(table)
            if [self._key] in uniques:
                return
        raise DestinationError(
            f"the table {table.name!r} has no unique column {self._key!r}, by which rows are found",
            where=self._where,
            code="TABLE_WITHOUT_KEY",
            remedy="make it the primary key or give it a unique index, or name another column in the setting `key`",
        )

    def _require_marks(self, table: sa.Table) -> None:
        lacking = [name for name in (SYNCED_AT, ORIGIN) if name not in table.c]
        if not lacking:
            return
        types = {SYNCED_AT: "timestamp with time zone", ORIGIN: "varchar(10)"}
        add = ", ".join(f"ADD COLUMN {name} {types[name]}" for name in lacking)
        raise DestinationError(
            f"there is a table {table.name!r} that no sync made: it lacks the columns that tell our rows from others",
            where=self._where,
            code="TABLE_NOT_OURS",
            remedy=f"give the sync's `list` another name; or, to keep the list in this table, add them: ALTER TABLE ... {add}",
        )

    def _key_type(self) -> sa.types.TypeEngine[Any]:
        kind = self._settings.columns.get(self._key, ColumnType.TEXT)
        return KEY_COLUMN if kind is ColumnType.TEXT else NEW_COLUMN[kind]

    def _refuse_name(self, name: str) -> None:
        longest = self._database.longest_name
        if not name.strip() or "\0" in name or len(name.encode()) > longest:
            raise DefinitionError(
                f"{name[:30]!r} cannot be the name of a table or column here",
                where=self._where,
                remedy=f"use at most {longest} letters and digits; a sync's table is named by `list: {{name: ...}}`",
            )

    def _missing(self, name: str) -> ListMissing:
        return ListMissing(f"there is no table {name!r}", where=self._where)


def _columns_of(batch: Batch) -> set[str]:
    """All that is written: the mapping's fields, also where no member of the batch has them."""
    return {name for member in batch.members for name in member.everything} | set(batch.fields)
