"""How large an audience is, what each condition of its filter leaves, and whom it shares with others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """An audience as it is now against its last snapshot, in members."""

    before: int
    entered: int
    exited: int


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many members of one audience are in another one too."""

    audience: str
    members: int
    """Of the other audience."""
    both: int


@dataclass(frozen=True, slots=True)
class Step:
    """One condition of a filter, in people."""

    condition: str
    """In words."""
    alone: int
    """Who meet it, of all people of the model."""
    left: int
    """Who meet it and all conditions before it."""


@dataclass(frozen=True, slots=True)
class Size:
    """An audience as it would be now."""

    members: int
    people: int
    """Of the model; of an audience with SQL, its members."""
    funnel: tuple[Step, ...]
    """Of a filter's conditions, in their order; empty for an audience with SQL."""
    change: Change | None
    """Against the last snapshot; None where there is none."""
    matrix: dict[str, dict[str, int]]
    """Audience -> audience -> people in both; with itself, how many are in it."""
