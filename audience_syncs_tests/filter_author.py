"""Who writes random filters: every kind of condition with every operator, about values that the data has.

Kinds fit: wrong ones are refused when definitions load, and are not drawn here.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from audience_syncs.model.kinds import Kind
from audience_syncs.model.schema import Aggregation
from audience_syncs_tests.filter_data import Data, one_of

LENGTHS = ("1 hour", "30 minutes", "6 hours", "1 day", "2 days", "1 week", "24 hours", "90 minutes")
DAYS = ("1 day", "2 days", "1 week", "3 days")
"""Lengths that dates are compared with."""
RELATIVE_DAYS = ("today", "yesterday", "tomorrow", "2 days ago", "1 week ago", "in 1 day", "start of month")
RELATIVE_INSTANTS = ("now", "6 hours ago", "1 hour ago", "in 30 minutes", "30 minutes ago", "in 1 hour")
EXPRESSIONS = (
    *("^[A-Z]", "e$", "[0-9]+", "(de|fr)", "O'?N", r"a\\b", "0%", "^$", r"\.", "^.{2}$", "é", "[^a-zA-Z]", "^d"),
    *("(?:x|;)", "^ ", "D[A-E]", ":n", "本", "ü", r"\$1"),
)
"""Regular expressions that PostgreSQL, RE2 and Python read the same way."""
PERCENTS = (10, 25, 50, 33.3, 7, 66.6, 100, 0.5, 80)


@dataclass(frozen=True)
class Author:
    """Writes filters whose days begin in a zone, as they stand in YAML."""

    draw: st.DrawFn
    data: Data
    zone: ZoneInfo

    def one_of(self, *choices: Any) -> Any:
        return one_of(self.draw, choices)

    def one_in(self, number: int) -> bool:
        return self.one_of(*range(number)) == number - 1  # type: ignore[no-any-return]

    def number_of(self, least: int, most: int) -> int:
        return self.one_of(*range(least, most + 1))  # type: ignore[no-any-return]

    # People ----------------------------------------------------------------------------------------------------------

    def condition(self, depth: int) -> dict[str, Any]:
        if depth > 0:
            kind = self.one_of("all", "any", "none", "any", "all", "among")
            if kind == "among":
                rank = {**self.rank(), "among": self.condition(depth - 1)}
                return {"top": rank}
            most = {"all": 2, "any": 3, "none": 2}[kind]
            count = self.number_of(1, most)
            return {kind: [self.condition(depth - 1) for _ in range(count)]}
        kinds = ("property", "trait", "did", "did_not", "has", "has_no", "sequence", "in_audience", "top", "sample")
        kind = self.one_of(*kinds, *("property",) * 3, "trait", "trait", "did", "did", "has", "sequence")
        return getattr(self, f"_{kind}")()

    def _property(self) -> dict[str, Any]:
        return self.property_of("people")

    def property_of(self, part: str) -> dict[str, Any]:
        columns = {column: self.data.schema.kind(part, column) for column in self.data.schema.columns[part]}
        # Days in other zones, and texts, go wrong most easily.
        moments = [column for column, kind in columns.items() if kind in (Kind.TIMESTAMP, Kind.INSTANT)]
        texts = [column for column, kind in columns.items() if kind is Kind.TEXT]
        column = self.one_of(*(self.one_of(columns, moments, texts) or columns))
        kind = columns[column]
        assert kind is not None
        return {"property": column, **self.comparison(kind, self.data.values(part, column))}

    def _trait(self) -> dict[str, Any]:
        name = self.one_of(*self.data.people.traits)
        trait = self.data.people.traits[name]
        if trait.take in (Aggregation.COUNT, Aggregation.COUNT_DISTINCT):
            return {"trait": name, **self.comparison(Kind.INTEGER, [0, 1, 2, 3])}
        assert trait.column is not None
        part = f"people.{trait.of}"
        values = self.data.values(part, trait.column)
        kind = self.data.schema.kind(part, trait.column)
        assert kind is not None
        if trait.take in (Aggregation.SUM, Aggregation.AVG):
            kind, values = Kind.NUMBER, [*values, *(2 * value for value in values), sum(values)]
        return {"trait": name, **self.comparison(kind, values)}

    def _in_audience(self) -> dict[str, Any]:
        return {self.one_of("in_audience", "not_in_audience"): self.one_of(*self.data.schema.audiences)}

    def _top(self) -> dict[str, Any]:
        return {"top": self.rank()}

    def rank(self) -> dict[str, Any]:
        people = self.data.tables["people"].columns
        names = [column for column in people if self.ranks(self.data.schema.kind("people", column))]
        for name, trait in self.data.people.traits.items():
            counted = trait.take in (Aggregation.COUNT, Aggregation.COUNT_DISTINCT)
            if counted or self.ranks(self.data.schema.kind(f"people.{trait.of}", trait.column or "")):
                names.append(name)
        size = {"count": self.number_of(1, 5)} if self.one_in(2) else {"percent": self.one_of(*PERCENTS)}
        lowest = {"lowest": True} if self.one_in(2) else {}
        return {**size, "by": self.one_of(*names), **lowest}

    def ranks(self, kind: Kind | None) -> bool:
        return kind is not None and (kind.is_number or kind.is_time)

    def _sample(self) -> dict[str, Any]:
        seed = self.one_of({}, {"seed": "other"}, {"seed": "ü 50%:x"})
        return {"sample": {"percent": self.one_of(50, 33.3, 66.6, 80), **seed}}

    # Rows ------------------------------------------------------------------------------------------------------------

    def _did(self) -> dict[str, Any]:
        return {"did": (name := self.event()), **self.counted(), **self.limited(name), **self.anchored(name)}

    def _did_not(self) -> dict[str, Any]:
        return {"did_not": (name := self.event()), **self.limited(name), **self.anchored(name)}

    def _has(self) -> dict[str, Any]:
        return {"has": (name := self.one_of(*self.data.people.related)), **self.counted(), **self.limited(name)}

    def _has_no(self) -> dict[str, Any]:
        return {"has_no": (name := self.one_of(*self.data.people.related)), **self.limited(name)}

    def event(self) -> str:
        return self.one_of(*self.data.people.events)  # type: ignore[no-any-return]

    def counted(self) -> dict[str, Any]:
        counts = (
            *({"at_least": 2}, {"at_least": 1}, {"at_most": 1}, {"at_most": 0}, {"exactly": 1}, {"exactly": 2}),
            *({"exactly": 0}, {"at_least": 0}, {"at_least": 1, "at_most": 2}, {"at_least": 0, "at_most": 1}),
        )
        return {"count": self.one_of(*counts)} if self.one_in(2) else {}

    def limited(self, name: str) -> dict[str, Any]:
        """Which rows count: ``where`` and ``within``, each or none."""
        found: dict[str, Any] = {}
        if self.one_in(3):
            found["where"] = self.where(name)
        if self.time_kind(name) is not None and self.one_in(2):
            found["within"] = self.window(self.time_kind(name))
        return found

    def time_kind(self, name: str) -> Kind | None:
        rows = self.data.people.rows(name)
        assert rows is not None
        return None if rows.timestamp is None else self.data.schema.kind(f"people.{name}", rows.timestamp)

    def window(self, kind: Kind | None) -> Any:
        if self.one_in(2):
            return self.length(kind)
        start, end = {"from": self.moment(kind)}, {"to": self.moment(kind)}
        return self.one_of(start, end, {**start, **end})

    def where(self, name: str) -> Any:
        part = f"people.{name}"
        if self.one_in(2):
            return [self.row_condition(part, 2) for _ in range(self.number_of(1, 2))]
        columns = [column for column, values in self.equal_values(part).items() if values]
        if not columns:
            return [self.row_condition(part, 0)]
        column = self.one_of(*columns)
        values = self.equal_values(part)[column]
        several = self.one_in(2)
        return {column: [self.one_of(*values) for _ in range(2)] if several else self.one_of(*values)}

    def equal_values(self, part: str) -> dict[str, list[Any]]:
        """Column -> values that rows are asked to equal: not of moments."""
        kinds = {column: self.data.schema.kind(part, column) for column in self.data.schema.columns[part]}
        return {
            column: [self.plain(value) for value in self.data.values(part, column)]
            for column, kind in kinds.items()
            if kind not in (Kind.TIMESTAMP, Kind.INSTANT)
        }

    def row_condition(self, part: str, depth: int) -> dict[str, Any]:
        if depth == 0 or self.one_in(2):
            return self.property_of(part)
        return {
            self.one_of("all", "any", "none"): [
                self.row_condition(part, depth - 1) for _ in range(self.number_of(1, 2))
            ]
        }

    # Events ----------------------------------------------------------------------------------------------------------

    def days_if_any(self, *events: str) -> Kind | None:
        """Kind of the lengths and bounds that suit all of these events: days, where one of them has dates."""
        return Kind.DATE if any(self.time_kind(event) is Kind.DATE for event in events) else None

    def anchored(self, name: str) -> dict[str, Any]:
        found = {}
        for _ in range(self.one_of(0, 0, 1, 1, 2)):
            event = self.event()
            anchor = {self.one_of("first", "last", "any"): event, **self.limited(event)}
            if self.one_in(2):
                anchor["at_most_apart"] = self.length(self.days_if_any(name, event))
            found[self.one_of("since", "after", "until", "before")] = anchor
        return found

    def _sequence(self) -> dict[str, Any]:
        first = self.event()
        steps = [{"did": first, **self.step_where(first)}]
        for _ in range(self.one_of(1, 1, 2)):
            event = self.event()
            step = {"did": event, **self.step_where(event)}
            if self.one_in(2):
                step["within_after"] = self.length(self.days_if_any(*(one["did"] for one in steps), event))
            steps.append(step)
        kind = self.days_if_any(*(step["did"] for step in steps))
        within = {"within": self.window(kind)} if self.one_in(4) else {}
        return {"sequence": steps, **within}

    def step_where(self, name: str) -> dict[str, Any]:
        return {"where": self.where(name)} if self.one_in(4) else {}

    # Traits ----------------------------------------------------------------------------------------------------------

    def trait(self) -> dict[str, Any]:
        of = self.one_of(*self.data.people.related, *self.data.people.events)
        columns = self.data.schema.columns[f"people.{of}"]
        column = self.one_of(*columns)
        kind = self.data.schema.kind(f"people.{of}", column)
        assert kind is not None
        takes = [Aggregation.COUNT_DISTINCT, Aggregation.MOST_FREQUENT]
        takes += [Aggregation.SUM, Aggregation.AVG] if kind.is_number else []
        takes += [Aggregation.MIN, Aggregation.MAX] if kind is not Kind.BOOLEAN else []
        takes += [Aggregation.FIRST, Aggregation.LAST] if self.time_kind(of) is not None else []
        take = self.one_of(Aggregation.COUNT, *takes)
        found: dict[str, Any] = {"of": of, "take": str(take), **self.limited(of)}
        return found if take is Aggregation.COUNT else {**found, "column": column}

    # Comparisons -----------------------------------------------------------------------------------------------------

    def comparison(self, kind: Kind, values: list[Any]) -> dict[str, Any]:
        """One operator that suits the kind, and what it compares with: mostly a value that there is."""
        if not values or self.one_in(10):
            return {"is_null": self.one_of(True, False)}
        if kind is Kind.TEXT:
            return self.text(values)
        if kind.is_number:
            return self.number(values)
        if kind is Kind.BOOLEAN:
            return self.equality(values)
        if kind is Kind.DATE and self.one_in(4):
            return self.equality(values)
        return self.time(kind)

    def equality(self, values: list[Any]) -> dict[str, Any]:
        operator = self.one_of("equals", "not_equals", "in", "not_in")
        if operator in ("equals", "not_equals"):
            return {operator: self.plain(self.one_of(*values))}
        return {operator: [self.plain(self.one_of(*values)) for _ in range(self.number_of(1, 3))]}

    def plain(self, value: Any) -> Any:
        """A value as YAML has it."""
        if isinstance(value, date):
            return str(value)
        if not isinstance(value, Decimal):
            return value
        return int(value) if value == int(value) and self.one_in(2) else float(value)

    def text(self, values: list[str]) -> dict[str, Any]:
        case = {"ignore_case": True} if self.one_in(2) else {}
        if self.one_in(3):
            return {**self.equality([self.cased(value, bool(case)) for value in values]), **case}
        operator = self.one_of("contains", "not_contains", "starts_with", "ends_with", "matches", "not_matches")
        if operator in ("matches", "not_matches"):
            return {operator: self.one_of(*EXPRESSIONS), **case}
        value = self.one_of(*values, "%", "_", "\\")
        half = max(1, len(value) // 2)
        piece = self.one_of(value, value[:half], value[-half:]) or "e"
        return {operator: self.cased(piece, bool(case)), **case}

    def cased(self, value: str, other_case: bool) -> str:
        return value.swapcase() if other_case else value

    def number(self, values: list[Any]) -> dict[str, Any]:
        operator = self.one_of(
            *("equals", "greater_than", "at_least", "less_than", "at_most", "between", "not_between", "equality")
        )
        if operator in ("equals", "equality"):
            return self.equality(values)
        if operator not in ("between", "not_between"):
            return {operator: self.plain(self.one_of(*values))}
        low, high = sorted((self.one_of(*values), self.one_of(*values)))
        return {operator: [self.plain(low), self.plain(high)]}

    def time(self, kind: Kind) -> dict[str, Any]:
        operator = self.one_of("before", "after", "on", "in_last", "not_in_last", "in_next", "between", "not_between")
        if operator in ("in_last", "not_in_last", "in_next"):
            return {operator: self.length(kind)}
        if operator == "on":
            return {operator: self.moment(Kind.DATE)}
        if operator in ("between", "not_between"):
            of = self.one_of(kind, Kind.DATE)
            days = of is Kind.DATE
            return {operator: [self.day() if days else self.instant() for _ in range(2)]}
        return {operator: self.moment(kind)}

    def length(self, kind: Kind | None) -> str:
        return self.one_of(*(DAYS if kind is Kind.DATE else LENGTHS))  # type: ignore[no-any-return]

    def moment(self, kind: Kind | None) -> str:
        return self.instant() if kind is not Kind.DATE and self.one_in(3) else self.day()

    def day(self) -> str:
        return self.one_of(*RELATIVE_DAYS) if self.one_in(3) else str(self.local().date())  # type: ignore[no-any-return]

    def instant(self) -> str:
        if self.one_in(3):
            return self.one_of(*RELATIVE_INSTANTS)  # type: ignore[no-any-return]
        if self.one_in(2):
            return self.local().isoformat(" ")[:19]
        time = self.one_of(*self.data.times)
        return self.one_of(time.isoformat(), time.isoformat().replace("+00:00", "Z"))  # type: ignore[no-any-return]

    def local(self) -> datetime:
        """One of the common moments on the filter's clock."""
        time: datetime = self.one_of(*self.data.times)
        return time.astimezone(self.zone).replace(tzinfo=None)
