"""The table of rules, and what is asked of it: normalise a value, hash it, which version a rule has.

The rules themselves stand in ``advertising`` and ``messaging``, one block for each platform.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from audience_syncs.identifiers.advertising import ADVERTISING
from audience_syncs.identifiers.messaging import MESSAGING
from audience_syncs.identifiers.rule import Rule
from audience_syncs.identifiers.unusable import NoSuchRule

RULES: Mapping[str, Rule] = {rule.name: rule for rule in (*ADVERTISING, *MESSAGING)}
"""``platform.field`` -> rule."""


def rule_of(platform: str, field: str) -> Rule:
    """The rule of a platform's field. Raises NoSuchRule, which names those there are."""
    rule = RULES.get(f"{platform}.{field}")
    if rule is not None:
        return rule
    fields = [known.field for known in RULES.values() if known.platform == platform]
    if fields:
        raise NoSuchRule(f"{platform} has no rule for {field!r}; it has: {', '.join(fields)}")
    platforms = sorted({known.platform for known in RULES.values()})
    raise NoSuchRule(f"there are no rules for the platform {platform!r}; there are for: {', '.join(platforms)}")


def normalise(platform: str, field: str, value: object, *, default_country: str | None = None) -> str:
    """The value in the platform's form, before it is hashed. What is a hash already comes back as it is.

    ``default_country``: ISO 3166 country of phone numbers without a country code. Raises UnusableIdentifier with the
    reason, and NoSuchRule.
    """
    return rule_of(platform, field).normalised(value, default_country)


def hash_identifier(platform: str, field: str, value: object, *, default_country: str | None = None) -> str:
    """What goes on the wire: as ``normalise``, and hashed where the platform hashes the field; never hashed twice."""
    return rule_of(platform, field).to_send(value, default_country)


def rule_version(names: Iterable[str]) -> str:
    """The versions of these rules in one text; it changes when any of them does."""
    return ",".join(f"{name}={RULES[name].version}" for name in sorted(names))
