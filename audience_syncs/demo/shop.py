"""The demo shop: believable people, visits and orders in PostgreSQL, made in seconds and the same every time.

What it is made of stands in ``shop.sql``, what a passing day does to it in ``tick.sql``. All people are made up: addresses are at
example domains or of a pattern nobody has, phone numbers from ranges set aside for fiction where there are any.

A schema ``shop`` that we did not make is never touched: the address may be that of somebody's own warehouse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files

import sqlalchemy as sa

from audience_syncs.model.errors import AudienceSyncsError

DEFAULT_USERS = 50_000
DEFAULT_NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
"""The shop's own time when it opens; it moves by ``tick`` only, so that a demo is the same every day."""

MARK = "The demo shop of Audience Syncs"
"""Comment of the schema: how we know it for ours."""

Progress = Callable[[str, int, int | None], None]


class ShopError(AudienceSyncsError):
    """The shop is not there, cannot be made here, or is asked for what makes no sense."""

    code = "DEMO_SHOP"


@dataclass(frozen=True, slots=True)
class ShopCounts:
    """Rows of the shop's tables."""

    users: int
    products: int
    events: int
    orders: int


@dataclass(frozen=True, slots=True)
class TickCounts:
    """What happened while time passed, in people."""

    signed_up: int
    visited: int
    changed_email: int
    changed_phone: int
    changed_name: int
    changed_consent: int
    deleted: int

    def __str__(self) -> str:
        return ", ".join(f"{getattr(self, name):,} {name.replace('_', ' ')}" for name in self.__slots__)


def create_shop(
    engine: sa.Engine,
    *,
    users: int = DEFAULT_USERS,
    seed: int = 7,
    now: datetime = DEFAULT_NOW,
    progress: Progress | None = None,
) -> ShopCounts:
    """Makes the schema ``shop`` anew, in one transaction: it is there whole, or as it was before.

    ``now`` is when the shop's own time begins. Raises ShopError where there is a schema ``shop`` that we did not make, for a
    time without zone, and for numbers out of range.
    """
    if users < 1:
        raise ShopError(f"a shop of {users} users cannot be made", remedy="give a number of at least 1")
    if not 0 <= seed < 2**31:
        raise ShopError(f"the seed {seed} is out of range", remedy="give a number from 0 to 2147483647")
    if now.tzinfo is None:
        raise ShopError("the shop's time has no zone", remedy="give e.g. datetime(2026, 11, 1, 12, tzinfo=UTC)")
    steps = list(_steps("shop.sql"))
    moment = now.astimezone(UTC).isoformat()
    values = {"seed": str(int(seed)), "users": str(int(users)), "now": f"'{moment}'::timestamptz", "mark": MARK}
    with engine.begin() as connection:
        _refuse_schema_of_others(connection)
        connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
        connection.exec_driver_sql("SET LOCAL work_mem = '128MB'")
        # A day is 24 hours, wherever the server is.
        connection.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")
        # Functions speak of tables that are made after them, and of a temporary one.
        connection.exec_driver_sql("SET LOCAL check_function_bodies = off")
        connection.exec_driver_sql("DROP SCHEMA IF EXISTS shop CASCADE")
        for number, (name, statement) in enumerate(steps):
            if progress is not None:
                progress(name, number, len(steps))
            _execute(connection, statement, values)
        counts = [
            int(connection.scalar(sa.text(f"SELECT count(*) FROM shop.{table}")) or 0)
            for table in ("users", "products", "events", "orders")
        ]
    if progress is not None:
        progress("done", len(steps), len(steps))
    return ShopCounts(*counts)


def shop_exists(engine: sa.Engine) -> bool:
    """Whether there is a schema ``shop`` that we made; it is whole, as it was made in one transaction."""
    with engine.connect() as connection:
        comment = connection.scalar(
            sa.text("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'shop'")
        )
    return bool(comment == MARK)


def shop_now(engine: sa.Engine) -> datetime:
    """The shop's own time."""
    with engine.connect() as connection:
        moment: datetime = connection.execute(sa.text("SELECT now FROM shop.clock")).scalar_one()
    return moment


def tick(engine: sa.Engine, *, hours: int = 24, progress: Progress | None = None) -> TickCounts:
    """Lets time pass, in one transaction: people sign up, visit, order, change email, phone, name and consent, and leave.

    Raises ShopError where there is no shop, and for less than an hour: time does not go back.
    """
    if hours < 1:
        raise ShopError(f"{hours} hours cannot pass", remedy="give a number of at least 1")
    if not shop_exists(engine):
        raise ShopError("there is no demo shop in this database", remedy="make it: audience-syncs demo --once")
    steps = list(_steps("tick.sql"))
    counts: dict[str, int] = {}
    with engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL TimeZone = 'UTC'")
        # Locked: of two at once, the second lives the hours after the first's.
        began = connection.execute(sa.text("SELECT now FROM shop.clock FOR UPDATE")).scalar_one()
        # Each hour has purposes of its own; they stay clear of those of shop.sql.
        moment = int(began.timestamp() // 3600) % 1_000_000 * 100
        values = {"hours": str(int(hours)), "moment": str(moment)}
        for number, (name, statement) in enumerate(steps):
            if progress is not None:
                progress(name.replace("_", " "), number, len(steps))
            counts[name] = _execute(connection, statement, values)
    del counts["clock"]
    return TickCounts(**counts)


def _refuse_schema_of_others(connection: sa.Connection) -> None:
    found = connection.execute(
        sa.text(
            "SELECT obj_description(n.oid, 'pg_namespace'), (SELECT count(*) FROM pg_class WHERE relnamespace = n.oid) "
            "FROM pg_namespace n WHERE nspname = 'shop'"
        )
    ).first()
    if found is not None and found[0] != MARK and found[1] > 0:
        raise ShopError(
            "this database has a schema `shop` that is not the demo's; making the demo shop would drop it",
            remedy="use another database, or rename or drop the schema yourself",
        )


def _steps(file: str) -> Iterator[tuple[str, str]]:
    """Name and SQL of each step."""
    text = files("audience_syncs.demo").joinpath(file).read_text(encoding="utf-8")
    for part in text.split("\n------------------------------------------------------------------------ ")[1:]:
        name, _, statement = part.partition("\n")
        yield name.strip(), statement


def _execute(connection: sa.Connection, statement: str, values: dict[str, str]) -> int:
    """Runs the statements of a step; the number the last one answers with, if it answers."""
    for name, value in values.items():
        statement = statement.replace(f":{name}", value)
    result = connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    row = result.first() if result.returns_rows else None
    return 0 if row is None else int(row[0])
