"""Why a value cannot be sent. Never carries the value."""

from __future__ import annotations


class UnusableIdentifier(ValueError):
    """A value that no platform could match. ``reason_code`` is stable; ``reason`` is for people, without the value."""

    def __init__(self, reason_code: str, reason: str) -> None:
        self.reason_code = reason_code
        self.reason = reason
        super().__init__(f"{reason_code}: {reason}")


class NoSuchRule(LookupError):
    """A platform, or a field of it, that the table of rules does not know: a mistake of the caller, not of the data."""
