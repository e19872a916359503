"""Braze's answers: a message, and errors if there are any.

Documented: ``success`` with errors for what was refused, another message where all was. Published from real workspaces: the words
about a missing identifier, about a blocked user and about a bad key (which repeat the key), and that errors name the object by
``index`` within ``input_array``. The words for what nobody has published are ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from audience_syncs.simulators.platform import Answer

NO_DATA = "Valid data must be provided in the 'attributes', 'events', or 'purchases' fields."
NO_IDENTIFIER = "'external_id', 'braze_id', 'user_alias', 'email' or 'phone' is required"
BLOCKED = "provided external_id is blacklisted and disallowed"


class Refused(Exception):
    """A request that Braze refuses as a whole."""

    def __init__(self, status: int, message: str, errors: Sequence[dict[str, Any]] = ()) -> None:
        self.answer = refusal(status, message, errors)
        super().__init__(message)


def refusal(status: int, message: str, errors: Sequence[dict[str, Any]] = ()) -> Answer:
    return Answer(status, {"message": message, **({"errors": list(errors)} if errors else {})})


def problem(index: int, words: str) -> dict[str, Any]:
    return {"type": words, "input_array": "attributes", "index": index}
