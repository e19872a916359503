"""Random models with their tables, drawn by hypothesis: what random filters are asked about.

Nulls, duplicates, hostile texts and names, and times at the very edges: of the windows, of days in several zones, of the
hours that daylight saving time repeats or leaves out. Everything is drawn from small pools, so that rows meet each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.kinds import Kind, kind_of
from audience_syncs.model.schema import ModelConfig, Schema
from audience_syncs.project.inheritance import from_model

EDGES = {
    "Europe/Berlin": ("2026-03-29T01:00", "2026-10-25T01:00"),
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Asia/Kolkata": ("2026-05-01T18:30",),
    "UTC": ("2026-02-28T23:00",),
    # Has no 30 December 2011, and daylight saving time until 2021.
    "Pacific/Apia": ("2011-12-30T10:00", "2021-04-03T14:00"),
    # Daylight saving time began at midnight: that day has no first hour.
    "America/Sao_Paulo": ("2018-11-04T03:00", "2018-02-18T02:00"),
}
"""Time zone -> moments (UTC) at which its clock is put forward or back, or a month ends."""
MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

TEXTS = (
    *("DE", "de", "FR", "AT", "", " de", "O'Neil", "100%", "10_0", "a\\b", "É", "é", "e\u0301", "日本"),
    *("Ürün", "ürün", ":name", "%s", "x;--", '"q"', "A.b", "{0}", "$1", "?", "DE FR"),
)
NUMBERS = tuple(Decimal(text) for text in ("0.00", "19.99", "-19.99", "5.00", "5.25", "100.00", "0.10", "0.01"))
VALUES: dict[Kind, tuple[Any, ...]] = {
    Kind.TEXT: TEXTS,
    Kind.INTEGER: (0, 1, 2, 3, 5, -1, 40, 2**31 - 1),
    Kind.NUMBER: NUMBERS,
    Kind.BOOLEAN: (True, False),
}
DYADIC = (0.0, 0.5, -0.25, 1.5, 3.0, 1024.125)
"""What a double holds exactly."""
INTEGER_KEYS = (1, 2, 3, 7, 10, 11, -4, 2**53 + 1, 2**62, 9)
TEXT_KEYS = ("a", "A", "b", "B", "10", "9", "é", "z", "o'x", "%", "a\\", "日")

PEOPLE = {
    "country": "text",
    "Note %s": "text",
    "visits": "bigint",
    "balance": "numeric(12, 2)",
    "score": "double precision",
    "select": "boolean",
    "born": "date",
    "signed up": "timestamp",
    "last:seen": "timestamp with time zone",
}
ROWS = {
    "kind": "text",
    'the "text"': "text",
    "pieces": "integer",
    "amount": "numeric(12, 2)",
    "weight": "double precision",
    "paid": "boolean",
    "day": "date",
    "made": "timestamp",
    "seen": "timestamp with time zone",
}


@cache
def _below(limit: int) -> st.SearchStrategy[int]:
    return st.integers(0, limit - 1)


def one_of(draw: st.DrawFn, choices: Sequence[Any]) -> Any:
    """One of them. As ``sampled_from``, and several times as fast: a strategy is made once for each length."""
    return choices[draw(_below(len(choices)))]


def some_of(draw: st.DrawFn, choices: Sequence[Any], least: int, most: int) -> list[Any]:
    """A few of them, each once, in a random order."""
    left = list(choices)
    least = min(least, len(left))
    count = least + draw(_below(min(most, len(left)) - least + 1))
    return [left.pop(draw(_below(len(left)))) for _ in range(count)]


@dataclass(frozen=True)
class Table:
    """A table of the warehouse, with all of its rows."""

    name: str
    columns: dict[str, str]
    rows: list[tuple[Any, ...]]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Data:
    """Models, their tables, and now."""

    now: datetime
    wall: str
    """The models' time zone."""
    zones: tuple[str, ...]
    times: tuple[datetime, ...]
    """Moments that rows and filters have in common."""
    schema: Schema
    tables: dict[str, Table]
    """Part of a model (``ModelConfig.parts``) -> table."""
    keys: dict[str, list[Any]]
    """Audience with SQL -> what its query returns."""
    models: dict[str, ModelConfig]
    """The schema's own; traits are added to it once there are rows to make them from."""

    @property
    def people(self) -> ModelConfig:
        return self.models["people"]

    def values(self, part: str, column: str) -> list[Any]:
        """What there is in a column, each once."""
        return list(dict.fromkeys(row[column] for row in self.tables[part].records if row[column] is not None))


@dataclass(frozen=True)
class _Moments:
    now: datetime
    wall: str
    zones: tuple[str, ...]
    times: tuple[datetime, ...]


@st.composite
def moments(draw: st.DrawFn) -> _Moments:
    """Now, near an edge of a time zone, and moments at distances that filters ask about."""
    zone = one_of(draw, sorted(EDGES))
    edge = datetime.fromisoformat(one_of(draw, EDGES[zone])).replace(tzinfo=UTC)
    after = one_of(draw, (0.5, 0, 1, 1.5, 2.5, 12, 25, 49, -0.5, 24, 160))
    now = edge + after * HOUR
    other = one_of(draw, sorted(EDGES))
    wall = one_of(draw, (zone, other))
    pool = [now + sign * apart for apart in (0 * HOUR, MICROSECOND, HOUR / 2, HOUR, 6 * HOUR) for sign in (1, -1)]
    pool += [now + days * DAY + late for days in (-7, -2, -1, 1) for late in (0 * HOUR, -MICROSECOND)]
    pool += [edge + late for late in (0 * HOUR, -MICROSECOND, HOUR / 2, -HOUR / 2, HOUR, -HOUR)]
    starts = []
    for name in (zone, other):
        today = now.astimezone(ZoneInfo(name)).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        for days in (-2, -1, 0, 1):
            start = (today + days * DAY).replace(tzinfo=ZoneInfo(name)).astimezone(UTC)
            starts += [start, start - MICROSECOND, start + HOUR / 2]
    past = [time for time in sorted({*pool, *starts}) if time < now]
    times = [
        *some_of(draw, past, 4, 7),
        *some_of(draw, sorted(set(pool)), 1, 3),
        *some_of(draw, sorted(set(starts)), 2, 4),
    ]
    return _Moments(now, wall, (zone, other), tuple(dict.fromkeys(times)))


class _Many(tuple[Any, ...]):
    """Values of which a column has many."""


def _cells(type_name: str, when: _Moments) -> tuple[Any, ...]:
    """What a column of a type may hold."""
    kind = kind_of(type_name)
    if kind is Kind.INSTANT:
        return _Many(when.times)
    walls = _Many(dict.fromkeys(time.astimezone(ZoneInfo(when.wall)).replace(tzinfo=None) for time in when.times))
    if kind is Kind.TIMESTAMP:
        return walls
    if kind is Kind.DATE:
        return _Many(dict.fromkeys(wall.date() for wall in walls))
    return DYADIC if type_name.startswith("double") else VALUES[kind]


def _rows(draw: st.DrawFn, columns: Sequence[tuple[Any, ...]], least: int, most: int) -> list[tuple[Any, ...]]:
    """Rows of nullable columns. A column has a few of its values only, so that there are equals and duplicates; one of keys or
    times has more."""
    some = [some_of(draw, every, *((3, 8) if isinstance(every, _Many) else (1, 4))) for every in columns]
    cells = [[*values, *values, *values, None] for values in some]
    count = least + draw(_below(most - least + 1))
    return [tuple(one_of(draw, values) for values in cells) for _ in range(count)]


def _some_columns(draw: st.DrawFn, columns: dict[str, str], least: int) -> dict[str, str]:
    return {name: columns[name] for name in some_of(draw, sorted(columns), least, 6)}


def _origin(draw: st.DrawFn, table: str) -> dict[str, str]:
    """A table, or a query that says the same."""
    if draw(_below(5)):
        return {"table": f"shop.{table}"}
    return {"sql": f"SELECT * FROM shop.{table} WHERE '100% :now' <> '?' -- all"}


@st.composite
def data(draw: st.DrawFn) -> Data:
    """A parent model with related rows and events, another model, and audiences of all forms to refer to."""
    when = draw(moments())
    key_type = one_of(draw, ("bigint", "text"))
    pool = INTEGER_KEYS if key_type == "bigint" else TEXT_KEYS
    keys = some_of(draw, pool, 4, 9)
    key = one_of(draw, ("id", "Person Id"))
    joins = {"household": "bigint", "code": "text"}
    join_cells: list[tuple[Any, ...]] = [(1, 2, 3), ("x", "X", "ü")]
    own_columns = _some_columns(draw, PEOPLE, 3)
    columns = {**own_columns, **joins}
    cells = [*(_cells(name, when) for name in own_columns.values()), *join_cells]
    rows = _rows(draw, cells, len(keys), len(keys))
    tables = {
        "people": Table(
            "people", {key: key_type, **columns}, [(one, *row) for one, row in zip(keys, rows, strict=True)]
        )
    }
    model: dict[str, Any] = {
        "name": "people",
        "source": "warehouse",
        "primary_key": key,
        "timezone": when.wall,
        "related": {},
        "events": {},
        **_origin(draw, "people"),
    }

    def add(name: str, event: bool) -> None:
        columns = _some_columns(draw, ROWS, 2)
        definition = _origin(draw, name)
        timestamp = one_of(draw, ("seen", "seen", "made", "made", "day") if event else ("made", "day", None))
        if timestamp is not None:
            definition["timestamp"] = timestamp
            columns[timestamp] = ROWS[timestamp]
        own = [_cells(name, when) for name in columns.values()]
        link = {"person": (key_type, _Many(keys)), "household": ("bigint", (1, 2, 3)), "code": ("text", ("x", "X"))}
        if draw(_below(4 if event else 3)):
            of = one_of(draw, (("person",), ("person",), ("household",), ("household", "code")))
            definition["join"] = {key if column == "person" else column: column for column in of}
            columns = {**{column: link[column][0] for column in of}, **columns}
            own = [*(link[column][1] for column in of), *own]
        else:
            of = one_of(draw, (("person",), ("household",), ("household", "code")))
            between = {**{column: link[column][0] for column in of}, "row id": "integer"}
            definition["through"] = {
                **_origin(draw, f"{name}_link"),
                "parent": {key if column == "person" else column: column for column in of},
                "related": {"row id": "number"},
            }
            linked = _rows(draw, [*(link[column][1] for column in of), (1, 2, 3)], 0, 10)
            tables[f"people.{name}.through"] = Table(f"{name}_link", between, linked)
            columns = {"number": "integer", **columns}
            own = [(1, 2, 3, 4), *own]
        tables[f"people.{name}"] = Table(name, columns, _rows(draw, own, 8 if event else 4, 18))
        model["events" if event else "related"][name] = definition

    add("views", True)
    add("buys", True)
    add("orders", False)
    add("tags", False)
    others = _rows(draw, [(1, 2, 3)], 0, 6)
    model_rows = [(one, *row) for one, row in zip(some_of(draw, pool, 6, 6), others, strict=False)]
    tables["leads"] = Table("leads", {key: key_type, "stage": "bigint"}, model_rows)
    leads = {"name": "leads", "source": "warehouse", "primary_key": key, "table": "shop.leads"}
    listed = _rows(draw, [_Many(keys), _Many(when.times)], 0, 5)
    tables["listed"] = Table("listed", {"member": key_type, "since": "timestamp with time zone"}, listed)
    columns_of = {part: table.columns for part, table in tables.items()}
    models = {name: ModelConfig.model_validate(config) for name, config in (("people", model), ("leads", leads))}
    audiences: dict[str, AudienceConfig] = {}
    schema = Schema(models, columns_of, audiences)
    for config in _audiences(key):
        audience = AudienceConfig.model_validate(config)
        audiences[audience.name] = from_model(audience, schema)
    before = [member for member, since in listed if since is not None and since < when.now]
    answers = {"listed": [member for member, _ in listed], "listed_before": before}
    return Data(when.now, when.wall, when.zones, when.times, schema, tables, answers, models)


def _audiences(key: str) -> list[dict[str, Any]]:
    """Other audiences: with SQL, with and without a moment, and with filters, one of which refers to another."""
    member, origin = {"source": "warehouse", "primary_key": "member"}, "FROM shop.listed"
    return [
        {"name": "listed", "sql": f"SELECT member {origin} WHERE 'a%b:c' <> '%s'", **member},
        {"name": "listed_before", "sql": f"SELECT member, since {origin} WHERE since < :as_of", **member},
        {"name": "staged", "model": "leads", "filter": {"property": "stage", "at_least": 2}},
        {
            "name": "viewers",
            "model": "people",
            "timezone": "Asia/Kolkata",
            "filter": {"any": [{"did": "views", "within": {"from": "today"}}, {"in_audience": "listed_before"}]},
        },
    ]
