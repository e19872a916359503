"""What is wrong with a definition, for whoever shows it beside the line where it stands."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a definition; ``path`` is within it: ``("mapping", "EMAIL")``."""

    path: tuple[str | int, ...]
    message: str
    remedy: str


def choose_from(word: str, known: Collection[str]) -> str:
    """A remedy: the nearest of the known names, then all of them."""
    if not known:
        return "remove it: there are none"
    by_folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), list(by_folded), n=1, cutoff=0.6)
    every = listed(known)
    return f"did you mean `{by_folded[near[0]]}`? Known: {every}" if near else f"known are {every}"


def listed(names: Iterable[str]) -> str:
    """The names, as code, in order."""
    return ", ".join(f"`{name}`" for name in sorted(names))
