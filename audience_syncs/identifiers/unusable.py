"""Why a value cannot be sent. Never carries the value."""

from __future__ import annotations


class Unusable(ValueError):
    """A value that no platform could match. ``reason_code`` is stable; ``reason`` is for people, without the value."""

    def __init__(self, reason_code: str, reason: str) -> None:
        self.reason_code = reason_code
        self.reason = reason
        super().__init__(f"{reason_code}: {reason}")
