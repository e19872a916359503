"""The tables of alerts, and of the messages that are to be sent."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from audience_syncs.warehouse.connection import Warehouse
from audience_syncs.warehouse.state import newest_of

KEEP_MESSAGES = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class Message:
    """One message for one channel."""

    sync: str
    channel: str
    kind: str
    severity: str
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A message that is not sent yet, or was given up."""

    id: int
    message: Message
    created_at: datetime
    attempts: int
    next_attempt_at: datetime | None
    error: str


@contextmanager
def alerts_locked(warehouse: Warehouse) -> Iterator[sa.Connection]:
    """A transaction in which nobody else changes alerts, committed at its end."""
    with warehouse.connect() as connection:
        warehouse.dialect.lock_for_transaction(connection, f"{warehouse.tables.schema} alerts")
        yield connection
        connection.commit()


def read_alerts(connection: sa.Connection, warehouse: Warehouse) -> list[Mapping[str, Any]]:
    """All rows of ``alerts``."""
    return [dict(row) for row in connection.execute(sa.select(warehouse.tables.alerts)).mappings()]


def keep_alerts(connection: sa.Connection, warehouse: Warehouse, rows: Collection[Mapping[str, Any]]) -> None:
    """Writes these rows over those of the same syncs."""
    table = warehouse.tables.alerts
    if rows:
        connection.execute(sa.delete(table).where(table.c.sync.in_([row["sync"] for row in rows])))
        connection.execute(sa.insert(table), [dict(row) for row in rows])


def sizes_before(connection: sa.Connection, warehouse: Warehouse, syncs: Collection[str]) -> dict[str, int]:
    """Sync -> the audience's size in the last good run before its latest run, where there was one."""
    runs = warehouse.tables.sync_runs
    other = runs.alias("other")
    latest = sa.select(sa.func.max(other.c.id))
    before = newest_of(
        syncs,
        lambda sync: (
            sa.select(runs.c.in_audience)
            .where(
                runs.c.sync == sync,
                runs.c.status.in_(["succeeded", "warning"]),
                runs.c.id < latest.where(other.c.sync == sync).scalar_subquery(),
            )
            .order_by(runs.c.id.desc())
            .limit(1)
        ),
    )
    query = sa.select(before).where(before.c.newest.is_not(None))
    return {sync: int(size) for sync, size in connection.execute(query)}


def queue_messages(connection: sa.Connection, warehouse: Warehouse, messages: Iterable[Message], now: datetime) -> None:
    """Puts messages where they are sent from; and forgets those of long ago."""
    table = warehouse.tables.alert_messages
    rows = [
        {name: getattr(message, name) for name in Message.__slots__} | {"created_at": now, "next_attempt_at": now}
        for message in messages
    ]
    if rows:
        connection.execute(sa.insert(table), rows)
        connection.execute(sa.delete(table).where(table.c.created_at < now - KEEP_MESSAGES))


@contextmanager
def next_message(warehouse: Warehouse, now: datetime) -> Iterator[tuple[sa.Connection, WaitingMessage] | None]:
    """The message that has been due longest and that nobody else is sending; held until the transaction ends.

    Never one before an older one about the same sync to the same channel: a recovery does not come before the failure.
    """
    table = warehouse.tables.alert_messages
    older = table.alias("older")
    waits = sa.exists().where(
        older.c.sync == table.c.sync,
        older.c.channel == table.c.channel,
        older.c.next_attempt_at.is_not(None),
        older.c.id < table.c.id,
    )
    query = (
        sa.select(table)
        .where(table.c.next_attempt_at <= now, ~waits)
        .order_by(table.c.next_attempt_at, table.c.id)
        .limit(1)
        .with_for_update(skip_locked=True, of=table)
    )
    with warehouse.connect() as connection:
        row = connection.execute(query).mappings().one_or_none()
        yield None if row is None else (connection, _waiting(row))
        connection.commit()


def book_attempt(
    connection: sa.Connection,
    warehouse: Warehouse,
    message: int,
    *,
    sent_at: datetime | None,
    next_attempt_at: datetime | None,
    error: str,
) -> None:
    """What came of one attempt to send it."""
    table = warehouse.tables.alert_messages
    connection.execute(
        sa.update(table)
        .where(table.c.id == message)
        .values(attempts=table.c.attempts + 1, sent_at=sent_at, next_attempt_at=next_attempt_at, error=error)
    )


def unsent_messages(connection: sa.Connection, warehouse: Warehouse, *, since: datetime) -> list[WaitingMessage]:
    """Messages that could not be sent at the first attempt and are not sent yet, or were given up since then."""
    table = warehouse.tables.alert_messages
    query = (
        sa.select(table)
        .where(table.c.sent_at.is_(None), table.c.attempts > 0)
        .where(sa.or_(table.c.next_attempt_at.is_not(None), table.c.created_at >= since))
        .order_by(table.c.id)
    )
    return [_waiting(row) for row in connection.execute(query).mappings()]


def _waiting(row: sa.RowMapping) -> WaitingMessage:
    message = Message(**{name: row[name] for name in Message.__slots__})
    return WaitingMessage(row["id"], message, row["created_at"], row["attempts"], row["next_attempt_at"], row["error"])
