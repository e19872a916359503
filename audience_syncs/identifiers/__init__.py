"""Normalise and hash identifiers, each platform its own way: one table of rules, pure functions, no I/O.

    normalise("meta", "email", " Anna@Example.com ")                         -> "anna@example.com"
    hash_identifier("meta", "email", " Anna@Example.com ")                   -> SHA-256 of that, lower-case hex
    hash_identifier("google", "phone", "0151 1234567", default_country="DE") -> SHA-256 of "+491511234567"
    normalise("meta", "email", "not an address")                 -> raises UnusableIdentifier("INVALID_EMAIL", ...)
    hash_identifiers("meta", "email", [...])                     -> the same for many, with the reasons by position

``rules`` holds the table, made of the blocks in ``advertising`` and ``messaging``; ``text``, ``email``, ``phone``,
``plain`` and ``google_names`` are what they are built from. A rule has a version: raise it when what it returns changes,
and every member is looked at again (only those whose payload changes are sent).
"""

from audience_syncs.identifiers.batch import Hashed, hash_identifiers
from audience_syncs.identifiers.rule import Rule, Source, Sureness
from audience_syncs.identifiers.rules import RULES, hash_identifier, normalise, rule_of, rule_version
from audience_syncs.identifiers.unusable import NoSuchRule, UnusableIdentifier

__all__ = [
    "RULES",
    "Hashed",
    "NoSuchRule",
    "Rule",
    "Source",
    "Sureness",
    "UnusableIdentifier",
    "hash_identifier",
    "hash_identifiers",
    "normalise",
    "rule_of",
    "rule_version",
]
