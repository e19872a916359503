"""Whom of an audience one sync sends: the members of its snapshot whom nothing keeps out.

Decided once, before anything is planned, and written down in temporary tables of the run's connection: a suppression list
that changes, or an audience that is evaluated meanwhile, changes nothing within a run, and everything that counts "in
audience" counts the same people. A person is counted at the first reason that applies: exclusions in the order of the
destination's definition, then the audiences that go first, then the groups of the split.

A run that sends an old day goes by what is known now as well: who is excluded by the newest snapshot is excluded on every
day.

What cannot be decided keeps everybody out: a column that is missing, a query that fails, an audience that was never
evaluated raise AudienceError, and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa
from sqlalchemy.schema import CreateTableAs

from audience_syncs.audiences.keys import MEMBER_KEY
from audience_syncs.model.admission import Admission, Exclusion
from audience_syncs.model.comparisons import Scalar
from audience_syncs.model.errors import AudienceError
from audience_syncs.model.kinds import Kind, kind_of
from audience_syncs.model.splits import GROUP
from audience_syncs.model.values import Snapshot
from audience_syncs.warehouse.connection import Warehouse, words_of
from audience_syncs.warehouse.state import latest_snapshot
from audience_syncs.warehouse.tables import snapshot_table

OTHER_GROUPS = "other groups"
"""The reason of who is in a group of the split that goes elsewhere, or nowhere."""

_WITHHELD, _EXCLUDED, _LISTED = "as_withheld", "as_excluded", "as_suppressed"
_BLANKS = " \t\r\n\f\v\u00a0"


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who is sent. Without anything that keeps people out: everybody, and there are no tables."""

    members: int
    """Of the snapshot: those who are sent."""
    withheld: Mapping[str, int] = field(default_factory=dict)
    """Of the snapshot: those who are not, by the first reason that applies (reasons without anybody, too)."""
    has_exclusions: bool = False
    _withheld: sa.TableClause | None = None
    _excluded: sa.TableClause | None = None

    def kept_out(self, member_key: sa.ColumnElement[str]) -> sa.ColumnElement[bool] | None:
        """Whether a member of the snapshot is not sent; None where nobody is kept out."""
        return None if self._withheld is None else _is_in(self._withheld, member_key)

    def excluded(self, member_key: sa.ColumnElement[str]) -> sa.ColumnElement[bool] | None:
        """Whether a member of the snapshot, or somebody the sync once sent, must be in no list of the destination; None
        where it excludes nobody."""
        return None if self._excluded is None else _is_in(self._excluded, member_key)


def admit(
    connection: sa.Connection,
    warehouse: Warehouse,
    admission: Admission,
    snapshot: Snapshot,
    *,
    sync: str,
    newest: Snapshot | None = None,
    before: datetime | None = None,
) -> Admitted:
    """Decides it for one run of a sync; the caller commits, so that the tables outlive the transaction.

    For a run that sends an old day, ``newest`` is the audience's newest snapshot, and ``before``: the audiences that go
    first as they were before that moment.
    """
    if not admission:
        return Admitted(snapshot.members)
    return _Gate(connection, warehouse, snapshot, newest, sync).decide(admission, before)


def _is_in(table: sa.TableClause, member_key: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return sa.exists().where(table.c.member_key == member_key)


class _Members:
    """The rows of a snapshot."""

    def __init__(self, warehouse: Warehouse, snapshot: Snapshot, alias: str) -> None:
        self.kinds = {column.name: kind_of(column.type) for column in snapshot.columns}
        self.rows = snapshot_table(warehouse.schema, snapshot.table, (*self.kinds, GROUP)).alias(alias)
        self.key = self.rows.c[MEMBER_KEY]


class _Gate:
    """The questions on the way, each one statement."""

    def __init__(
        self,
        connection: sa.Connection,
        warehouse: Warehouse,
        snapshot: Snapshot,
        newest: Snapshot | None,
        sync: str,
    ) -> None:
        self._connection = connection
        self._warehouse = warehouse
        self._snapshot = snapshot
        self._sync = sync
        self._where = f"sync {sync}"
        self._members = _Members(warehouse, snapshot, "members")
        self._newest = None if newest is None else _Members(warehouse, newest, "newest")
        self._from: sa.FromClause = self._members.rows
        if self._newest is not None:
            # Both: of who has left since, only the old day knows.
            self._from = self._from.outerjoin(self._newest.rows, self._newest.key == self._members.key)
        self._reasons: list[tuple[str, sa.ColumnElement[bool]]] = []
        self._gone: list[sa.Select[Any]] = []
        """Who was sent once, is excluded, and need not be in the audience any more."""

    def decide(self, admission: Admission, before: datetime | None) -> Admitted:
        self._warehouse.dialect.tune_for_set_work(self._connection)
        for number, exclusion in enumerate(admission.exclusions):
            listed = self._listed(f"{_LISTED}_{number}", exclusion)
            excludes = self._excludes(exclusion, self._members, listed)
            if self._newest is not None:
                # Null where they are not in it: then it says nothing.
                now = sa.and_(self._newest.key.is_not(None), self._excludes(exclusion, self._newest, listed))
                excludes = sa.or_(excludes, now)
            self._reasons.append((exclusion.name, excludes))
        exclusions = len(self._reasons)
        for name in admission.before:
            self._reasons.append((f"in {name}", self._goes_first(name, before)))
        if admission.groups is not None:
            self._reasons.append((OTHER_GROUPS, self._in_other_groups(admission.groups)))
        place = sa.case(*((holds, number) for number, (_, holds) in enumerate(self._reasons)))
        found = sa.select(self._members.key.label("member_key"), place.label("reason")).select_from(self._from)
        inner = found.subquery("decided")
        withheld = self._make(_WITHHELD, sa.select(inner).where(inner.c.reason.is_not(None)))
        excluded = None
        if exclusions:
            of_snapshot = sa.select(withheld.c.member_key).where(withheld.c.reason < exclusions)
            if self._newest is not None:
                self._gone.append(self._excluded_by_newest(admission.exclusions))
            excluded = self._make(_EXCLUDED, sa.union(of_snapshot, *self._gone) if self._gone else of_snapshot)
        counts = self._counts(withheld)
        members = self._snapshot.members - sum(counts.values())
        return Admitted(members, counts, bool(exclusions), withheld, excluded)

    def _excluded_by_newest(self, exclusions: Sequence[Exclusion]) -> sa.Select[Any]:
        """Who is not in the old snapshot, was sent once, and is excluded by the newest one."""
        assert self._newest is not None
        self._from, before = self._newest.rows, self._from
        listed = [
            None if exclusion.sql is None else sa.table(f"{_LISTED}_{number}", sa.column("value", sa.Text))
            for number, exclusion in enumerate(exclusions)
        ]
        holds = [
            self._excludes(exclusion, self._newest, found) for exclusion, found in zip(exclusions, listed, strict=True)
        ]
        found = sa.select(self._newest.key.label("member_key")).select_from(self._from).where(sa.or_(*holds))
        self._from = before
        return found

    def _counts(self, withheld: sa.TableClause) -> dict[str, int]:
        query = sa.select(withheld.c.reason, sa.func.count()).group_by(withheld.c.reason)
        by_reason = {int(reason): int(count) for reason, count in self._connection.execute(query)}
        counts: dict[str, int] = {}
        for number, (name, _) in enumerate(self._reasons):
            counts[name] = counts.get(name, 0) + by_reason.get(number, 0)
        return counts

    def _excludes(
        self, exclusion: Exclusion, members: _Members, listed: sa.TableClause | None
    ) -> sa.ColumnElement[bool]:
        """Whether a row of the members is excluded; never null."""
        column = self._column(exclusion, members, exclusion.column or exclusion.match or self._snapshot.primary_key)
        if listed is not None:
            values = listed.alias(f"{listed.name}_of_{members.rows.name}")
            self._from = self._from.outerjoin(
                values, values.c.value == _text(column, ignore_case=exclusion.ignore_case)
            )
            return values.c.value.is_not(None)
        one_of = self._is_one_of(exclusion, members, column, exclusion.unless or exclusion.when or ())
        is_one = sa.func.coalesce(one_of, sa.false())
        return sa.not_(is_one) if exclusion.unless is not None else is_one

    def _column(self, exclusion: Exclusion, members: _Members, name: str) -> sa.ColumnElement[Any]:
        if name not in members.kinds:
            raise AudienceError(
                f"the audience has no column {name!r}, which the exclusion {exclusion.name!r} of the destination needs; "
                "nothing was sent",
                where=self._where,
                code="AUDIENCE_MISSING_COLUMN",
                remedy=f"select it in the audience; it has: {', '.join(members.kinds)}",
            )
        return members.rows.c[name]

    def _is_one_of(
        self, exclusion: Exclusion, members: _Members, column: sa.ColumnElement[Any], values: Sequence[Scalar]
    ) -> sa.ColumnElement[bool]:
        kind = members.kinds[str(exclusion.column)]
        compared = [_equals(column, kind, value) for value in values]
        for value, comparison in zip(values, compared, strict=True):
            if comparison is None:
                raise AudienceError(
                    f"the exclusion {exclusion.name!r} compares the column {exclusion.column!r} with {value!r}, and that "
                    f"column holds values of the kind {kind.value}; nothing was sent",
                    where=self._where,
                    remedy="write a value of that kind, e.g. `true`" if kind is Kind.BOOLEAN else "write a number",
                )
        return sa.or_(*(comparison for comparison in compared if comparison is not None))

    def _listed(self, name: str, exclusion: Exclusion) -> sa.TableClause | None:
        """The values of a suppression list, each once, as text in a temporary table; None for an exclusion by column."""
        if exclusion.sql is None:
            return None
        self._fill(name, exclusion, exclusion.sql.strip().rstrip(";"))
        self._warehouse.dialect.analyze(self._connection, name)
        listed = sa.table(name, sa.column("value", sa.Text))
        if exclusion.match is None or exclusion.match == self._snapshot.primary_key:
            ledger = self._warehouse.tables.ledger
            key = _text(ledger.c.member_key, ignore_case=exclusion.ignore_case)
            self._gone.append(
                sa.select(ledger.c.member_key).join(listed, listed.c.value == key).where(ledger.c.sync == self._sync)
            )
        return listed

    def _fill(self, name: str, exclusion: Exclusion, sql: str) -> None:
        connection = self._connection
        text = _text(sa.column("v", sa.Text), ignore_case=exclusion.ignore_case).compile(
            dialect=connection.dialect, compile_kwargs={"literal_binds": True}
        )
        self._drop(name)
        try:
            # Without parameters, so that a % or a : in the user's query means what it means in SQL.
            plain: dict[str, Any] = {"no_parameters": True}
            result = connection.exec_driver_sql(f"SELECT q.* FROM (\n{sql}\n) AS q LIMIT 0", execution_options=plain)
            columns = list(result.keys())
            result.close()
            if len(columns) == 1:
                connection.exec_driver_sql(
                    f"CREATE TEMPORARY TABLE {name} AS SELECT DISTINCT {text} AS value FROM (\n{sql}\n) AS q (v) "
                    "WHERE v IS NOT NULL",
                    execution_options=plain,
                )
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            raise AudienceError(
                f"the warehouse refused the SQL of the exclusion {exclusion.name!r}: {words_of(error)}; nothing was sent",
                where=self._where,
                remedy="run that SQL in your warehouse to see where it stops",
            ) from None
        if len(columns) != 1:
            raise AudienceError(
                f"the SQL of the exclusion {exclusion.name!r} returns {len(columns)} columns; nothing was sent",
                where=self._where,
                remedy="select the one column with the values of those who are excluded",
            )

    def _goes_first(self, name: str, before: datetime | None) -> sa.ColumnElement[bool]:
        """Joins the snapshot of an audience that goes first: of the same day, where both have days."""
        first = self._snapshot_of(name, before)
        if first is None:
            on = f" on {self._snapshot.partition}" if self._snapshot.partition is not None else ""
            then = " then" if before is not None else ""
            raise AudienceError(
                f"the audience {name!r} goes before this one, and it is not known who is in it{on}{then}; nothing was sent",
                where=self._where,
                remedy=f"only its last evaluations are kept (`keep_snapshots` of {name})"
                if before is not None
                else f"materialise the asset audiences/{name} first",
            )
        rows = snapshot_table(self._warehouse.schema, first.table, ()).alias(f"first_{len(self._reasons)}")
        self._from = self._from.outerjoin(rows, rows.c[MEMBER_KEY] == self._members.key)
        return rows.c[MEMBER_KEY].is_not(None)

    def _snapshot_of(self, name: str, before: datetime | None) -> Snapshot | None:
        snapshots, day = self._warehouse.tables.snapshots, self._snapshot.partition
        newest = sa.select(snapshots.c.partition_key.is_not(None)).where(snapshots.c.audience == name)
        # Whether it has days: definitions are not known here, and may have changed since an older evaluation.
        has_days = bool(self._connection.scalar(newest.order_by(snapshots.c.id.desc()).limit(1)))
        return latest_snapshot(
            self._connection,
            self._warehouse.tables,
            name,
            partitioned=has_days,
            day=day if has_days else None,
            before=before if not has_days else None,
        )

    def _in_other_groups(self, groups: Sequence[str]) -> sa.ColumnElement[bool]:
        known = self._snapshot.split.groups if self._snapshot.split is not None else {}
        unknown = [name for name in groups if name not in known]
        if unknown or self._snapshot.split is None:
            raise AudienceError(
                "the audience was evaluated before its split was what it is now: nobody is known to be in "
                f"{', '.join(unknown or ['a group'])}; nothing was sent",
                where=self._where,
                remedy=f"materialise the asset audiences/{self._snapshot.audience} again",
            )
        return self._members.rows.c[GROUP].not_in(groups) if groups else sa.true()

    def _make(self, name: str, query: sa.SelectBase) -> sa.TableClause:
        self._drop(name)
        self._connection.execute(CreateTableAs(query, name, temporary=True))
        self._warehouse.dialect.analyze(self._connection, name)
        return sa.table(name, sa.column("member_key", sa.Text), sa.column("reason", sa.Integer))

    def _drop(self, name: str) -> None:
        self._connection.exec_driver_sql(f"DROP TABLE IF EXISTS pg_temp.{name}")


def _equals(column: sa.ColumnElement[Any], kind: Kind, value: Scalar) -> sa.ColumnElement[bool] | None:
    """Whether the column has this value; null for null. None where a column of this kind never has such a value."""
    if kind is Kind.BOOLEAN:
        wanted = _truth(value)
        return None if wanted is None else column == sa.literal(wanted)
    if kind.is_number:
        number = _number(value)
        return None if number is None else sa.cast(column, sa.Numeric) == sa.literal(number, sa.Numeric)
    if isinstance(value, bool):
        return _text(column, ignore_case=True) == str(value).lower()
    whole = isinstance(value, float) and value.is_integer()
    return _text(column) == str(int(value) if whole else value)


def _truth(value: Scalar) -> bool | None:
    return {"true": True, "false": False, "1": True, "0": False}.get(str(value).strip().lower())


def _number(value: Scalar) -> Decimal | None:
    try:
        number = Decimal(int(value) if isinstance(value, bool) else str(value).strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _text(value: sa.ColumnElement[Any], *, ignore_case: bool = False) -> sa.ColumnElement[str]:
    """A value as it is compared: its text, in one collation whatever the collations of the columns are."""
    text: sa.ColumnElement[Any] = sa.cast(value, sa.Text)
    if ignore_case:
        # In the collation "C", lower() knows ASCII only.
        text = sa.func.lower(sa.func.btrim(sa.collate(text, "default"), _BLANKS))
    return sa.collate(text, "C")
