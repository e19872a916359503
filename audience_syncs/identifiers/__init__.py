"""Normalise and hash identifiers, each platform its own way: one table of rules, pure functions, no I/O.

    normalise("meta.email", " Anna@Example.com ")         -> SHA-256 of "anna@example.com", lower-case hex
    normalise("meta.phone", "0151 1234567", region="DE")  -> SHA-256 of "491511234567"
    normalise("meta.email", "not an address")             -> raises Unusable("INVALID_EMAIL", ...)

``rules`` holds the table; ``text``, ``email``, ``phone`` and ``plain`` the building blocks. A rule has a version: raise
it when what it returns changes, and every member is looked at again (only those whose payload changes are sent).
"""

from audience_syncs.identifiers.rules import RULES, Rule, normalise, rule_version
from audience_syncs.identifiers.unusable import Unusable

__all__ = ["RULES", "Rule", "Unusable", "normalise", "rule_version"]
