"""Many values of one field at once: the same rules and the same results as one by one, at several times the speed.

What is alike is made once: first names, cities and countries repeat, and so do the reasons of refusal. Addresses that are
clean already need no more than their hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from audience_syncs.identifiers.rule import LONGEST_CLEAN, Rule
from audience_syncs.identifiers.rules import rule_of
from audience_syncs.identifiers.unusable import UnusableIdentifier

_REMEMBERED = 50_000
"""Distinct texts of which the result is kept."""


@dataclass(frozen=True, slots=True)
class Hashed:
    """``values``: one for each that was given, in order; None where it is unusable, for the reason in ``reasons``."""

    values: list[str | None]
    reasons: dict[int, UnusableIdentifier]


def hash_identifiers(
    platform: str, field: str, values: Iterable[object], *, default_country: str | None = None
) -> Hashed:
    """``hash_identifier`` of each value; what that would raise stands in ``reasons``, by position."""
    rule = rule_of(platform, field)
    if rule.hashed and rule.clean is not None:
        return _mostly_clean(rule, values, default_country)
    return _repeating(rule, values, default_country)


def _mostly_clean(rule: Rule, values: Iterable[object], country: str | None) -> Hashed:
    assert rule.clean is not None
    is_clean, sha256, long_way = rule.clean.fullmatch, hashlib.sha256, replace(rule, clean=None).to_send
    results: list[str | None] = []
    reasons: dict[int, UnusableIdentifier] = {}
    add = results.append
    for value in values:
        if type(value) is str and len(value) < LONGEST_CLEAN:
            text = value.strip().lower()
            if is_clean(text):
                add(sha256(text.encode()).hexdigest())
                continue
        try:
            add(long_way(value, country))
        except UnusableIdentifier as unusable:
            reasons[len(results)] = unusable
            add(None)
    return Hashed(results, reasons)


def _repeating(rule: Rule, values: Iterable[object], country: str | None) -> Hashed:
    results: list[str | None] = []
    reasons: dict[int, UnusableIdentifier] = {}
    # Only texts: 1, 1.0 and True are the same key, and different values.
    seen: dict[str, str | UnusableIdentifier] = {}
    for value in values:
        found = seen.get(value) if type(value) is str else None
        if found is None:
            try:
                found = rule.to_send(value, country)
            except UnusableIdentifier as unusable:
                found = unusable
            if type(value) is str and len(seen) < _REMEMBERED:
                seen[value] = found
        if isinstance(found, UnusableIdentifier):
            reasons[len(results)] = found
            results.append(None)
        else:
            results.append(found)
    return Hashed(results, reasons)
