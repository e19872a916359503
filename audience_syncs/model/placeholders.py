"""``{audience}`` in a list's name: what a text says differently for each sync."""

from __future__ import annotations

import re
from collections.abc import Mapping

PLACEHOLDERS = ("audience", "audience_title", "sync", "destination", "source")
"""Names of the audience, its title, the sync within its audience, its destination, and the audience's source."""

_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class UnknownPlaceholder(ValueError):
    """``name``: what stands between the braces; None where a brace stands alone."""

    def __init__(self, name: str | None) -> None:
        super().__init__("a brace stands alone" if name is None else f"there is no placeholder {{{name}}}")
        self.name = name


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its placeholders replaced. A doubled brace is a brace; what is put in is never looked at again.

    Raises UnknownPlaceholder for what is not among the values.
    """

    def value(token: re.Match[str]) -> str:
        found = token.group()
        if found in ("{{", "}}"):
            return found[0]
        name = token.group(1)
        if name is None or name not in values:
            raise UnknownPlaceholder(name)
        return values[name]

    return _TOKEN.sub(value, text)


def literal(text: str) -> str:
    """The text, written so that ``filled`` gives it back as it is: every brace doubled."""
    return text.replace("{", "{{").replace("}", "}}")
