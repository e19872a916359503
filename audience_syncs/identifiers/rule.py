"""What a rule is: how one field of one platform is made from whatever a warehouse holds."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from audience_syncs.identifiers.unusable import UnusableIdentifier

HASH = re.compile(r"[0-9a-fA-F]{64}")
"""SHA-256 as text."""

LONGEST_CLEAN = 300
"""Characters with the white space around it. Far below the length at which ``apply`` refuses anything."""


class Sureness(StrEnum):
    """How far a rule can be trusted."""

    VECTOR = "vector"
    """The platform prints an input with its result, and ours is the same."""
    DOCUMENTED = "documented"
    """The platform's documentation or its own library says so."""
    UNSURE = "unsure"
    """From other vendors' adapters, or the platform's own pages disagree: only a real account could tell."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a rule is written."""

    text: str
    sureness: Sureness = Sureness.DOCUMENTED


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field of one platform is made.

    ``apply`` takes the value and the country of the person (for phones) and returns the normalised text, or raises
    UnusableIdentifier. ``version`` is raised whenever it would return something else. ``clean`` matches text that
    ``apply`` would return as it is: a short cut for the majority.
    """

    name: str
    version: int
    apply: Callable[[object, object], str]
    hashed: bool
    says: str
    """The rule in words, for the documentation."""
    source: Source = Source("")
    clean: re.Pattern[str] | None = None

    @property
    def platform(self) -> str:
        return self.name.partition(".")[0]

    @property
    def field(self) -> str:
        return self.name.partition(".")[2]

    def normalised(self, value: object, country: object = None, *, hashed: bool | None = None) -> str:
        """The text that is hashed, or sent. A SHA-256 hash for a hashed field comes back as it is, in lower case.

        ``hashed``: True refuses what is not a hash (NOT_HASHED), False what is one (ALREADY_HASHED).
        """
        return self._hash(value, hashed) or self._plain(value, country)

    def to_send(self, value: object, country: object = None, *, hashed: bool | None = None) -> str:
        """What goes on the wire: hashed where the platform hashes the field, never twice. ``hashed``: as above."""
        if not self.hashed:
            return self._plain(value, country)
        if hashed is not True and self.clean is not None and type(value) is str and len(value) < LONGEST_CLEAN:
            text = value.strip().lower()
            if self.clean.fullmatch(text) is not None:
                return hashlib.sha256(text.encode()).hexdigest()
        return self._hash(value, hashed) or hashlib.sha256(self.apply(value, country).encode()).hexdigest()

    def _plain(self, value: object, country: object) -> str:
        if self.clean is not None and type(value) is str and len(value) < LONGEST_CLEAN:
            text = value.strip().lower()
            if self.clean.fullmatch(text) is not None:
                return text
        return self.apply(value, country)

    def _hash(self, value: object, hashed: bool | None) -> str:
        """The value, if it is a hash already; hashing it again would silently match nobody."""
        if not self.hashed:
            return ""
        if isinstance(value, str) and len(value) >= 64 and HASH.fullmatch(value.strip()):
            if hashed is False:
                raise UnusableIdentifier("ALREADY_HASHED", "is a hash, and the mapping says that it is plain")
            return value.strip().lower()
        if hashed is True:
            if value is None:
                raise UnusableIdentifier("NULL", "is null")
            raise UnusableIdentifier("NOT_HASHED", "is not a SHA-256 hash, and the mapping says that it is one")
        return ""


def only(function: Callable[[object], str]) -> Callable[[object, object], str]:
    """A rule that does not look at the country."""
    return lambda value, _country: function(value)
