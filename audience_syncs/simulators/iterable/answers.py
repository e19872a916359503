"""Iterable's answers: ``{"msg", "code", "params"}``, also for what is wrong; text where a call says so.

Published: the codes and their statuses (page on response codes); that a bad key is told with the caller's address; the shape of a
refusal for types of fields, with the value; the word for a list that is not there. The words for what nobody has published are ours.
"""

from __future__ import annotations

from typing import Any

from audience_syncs.simulators.platform import Answer

TEXT = {"content-type": "text/plain; charset=utf-8"}


class Refused(Exception):
    """A request that Iterable refuses as a whole."""

    def __init__(self, status: int, code: str, message: str, params: Any = None) -> None:
        self.answer = envelope(status, code, message, params)
        super().__init__(message)


def envelope(status: int, code: str, message: str = "", params: Any = None) -> Answer:
    return Answer(status, {"msg": message, "code": code, "params": params})


def text(told: str) -> Answer:
    """Text as it is."""
    return Answer(200, told.encode(), TEXT)


def no_list(number: object) -> Refused:
    return Refused(400, "Success", f"error.lists.invalidListId: {number}")


def bad_key() -> Answer:
    params = {"ip": "203.0.113.7", "endpoint": "/api", "apiKeyIdentifier": None, "apiKeyType": None}
    return envelope(401, "BadApiKey", "Invalid API key", params)
