"""How much of an audience a platform can find, field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class FieldReach:
    """What became of one mapped field in an audience, in members."""

    field: str
    identifier: bool
    """Whether members are found by it."""
    missing: int
    """Null. Counted for identifiers only."""
    refused: Mapping[str, int]
    """Refused by the platform's rules, by the reason's code."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How much of an audience a platform can find, before anything is sent. Counts are members."""

    members: int
    unreachable: int
    """Without any usable identifier."""
    fields: Sequence[FieldReach]

    @property
    def unreachable_percent(self) -> float:
        return self._percent(self.unreachable)

    def usable(self, field: FieldReach) -> int:
        """Members with a usable value; of a field that is no identifier, those whose value was not refused."""
        return self.members - field.missing - sum(field.refused.values())

    def refused_percent(self, field: FieldReach) -> float:
        """Of the members that have a value, how many have one that is refused."""
        given = self.members - field.missing
        return 100 * sum(field.refused.values()) / given if given else 0.0

    def usable_percent(self, field: FieldReach) -> float:
        return self._percent(self.usable(field))

    def to_json(self) -> dict[str, Any]:
        """As it is stored and printed."""
        return {
            "members": self.members,
            "unreachable": self.unreachable,
            "fields": {
                field.field: {
                    "identifier": field.identifier,
                    "usable": self.usable(field),
                    "missing": field.missing,
                    "refused": dict(field.refused),
                }
                for field in self.fields
            },
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Reach:
        """Reads what ``to_json`` wrote."""
        fields = [
            FieldReach(name, field["identifier"], field["missing"], field["refused"])
            for name, field in stored["fields"].items()
        ]
        return cls(stored["members"], stored["unreachable"], fields)

    def _percent(self, count: int) -> float:
        return 100 * count / self.members if self.members else 0.0
