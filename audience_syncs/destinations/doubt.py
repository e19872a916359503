"""What an attempt without an answer leaves behind: doubt, also when a later attempt of the same call is answered.

A batch is sent, applied, and its answer lost; sent again, it is refused. Whoever was in it may be in the list, though the
platform's last word is no. So whatever repeats a request says when an attempt ``may_have_been_applied``, and who
delivers a batch listens (``watch``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Doubt:
    """Whether something was sent of which nobody knows if it was applied."""

    arose: bool = False


_watched: ContextVar[Doubt | None] = ContextVar("audience_syncs_doubt", default=None)


@contextmanager
def watch() -> Iterator[Doubt]:
    """The doubt that arises inside, in this thread."""
    doubt = Doubt()
    token = _watched.set(doubt)
    try:
        yield doubt
    finally:
        _watched.reset(token)


def may_have_been_applied() -> None:
    """A request that changes something was sent, and no answer says whether it did."""
    doubt = _watched.get()
    if doubt is not None:
        doubt.arose = True
