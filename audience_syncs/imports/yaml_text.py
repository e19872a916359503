"""Definitions as YAML text, with comments: what an import writes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from audience_syncs.project import COMPONENTS
from audience_syncs.project.scaffolds.commented import comment, text
from audience_syncs.project.scaffolds.files import schema_address

_ALWAYS_BLOCKS = ("mapping:", "settings:", "credentials:")
_MARKS = re.compile(r"\{\{|\{%|\{#")
_BLOCK = re.compile(r"[^\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]*")


def definition_text(kind: str, attributes: Mapping[str, Any], file: Path, comments: Sequence[str] = ()) -> str:
    """The YAML of one definition, to be written to ``file``; the comments stand above it."""
    lines = [f"# yaml-language-server: $schema={schema_address(kind, file)}"]
    for words in comments:
        lines += comment(words, hang=2 if words.startswith("- ") else 0)
    return "\n".join([*lines, f"type: {COMPONENTS}.{kind}", "attributes:", *_mapping(attributes, 2), ""])


def _mapping(value: Mapping[str, Any], indent: int) -> list[str]:
    lines: list[str] = []
    for key, item in value.items():
        lines += _entry(f"{' ' * indent}{text(str(key))}:", item, indent + 2)
    return lines


def _entry(head: str, value: Any, indent: int) -> list[str]:
    if isinstance(value, Mapping) and value and (len(value) > 1 or head.strip() in _ALWAYS_BLOCKS):
        return [head, *_mapping(value, indent)]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        lines = [head]
        for item in value:
            first, *rest = _mapping(item, indent + 2)
            lines += [f"{' ' * indent}- {first.lstrip()}", *rest]
        return lines
    if isinstance(value, str) and ("\n" in value or head.strip() == "sql:"):
        return _block(head, _literal(value), indent)
    return [f"{head} {_inline(value)}"]


def _block(head: str, value: str, indent: int) -> list[str]:
    """Text of several lines as it is, where YAML can hold it so; else in quotes."""
    written = value.replace("\r\n", "\n").strip("\n")
    if not _BLOCK.fullmatch(written) or written[:1] in (" ", ""):
        return [f"{head} {text(value)}"]
    return [f"{head} |", *(f"{' ' * indent}{line}" if line else "" for line in written.split("\n"))]


def _inline(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_inline(item) for item in value)}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{text(str(key))}: {_inline(item)}' for key, item in value.items())}}}"
    return _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return text(_literal(value)) if isinstance(value, str) else str(value)


def _literal(value: str) -> str:
    """Text whose braces stay what they are: in our YAML they are templates."""
    return _MARKS.sub(lambda mark: f"{{{{ '{mark[0]}' }}}}", value)
