"""A model as commented YAML: every key with what it is, optional ones commented out, ready to be used.

The comments are the fields' own descriptions, the same that editors show: they cannot go stale.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from enum import Enum

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from audience_syncs.project.scaffolds.examples import example

WIDTH = 110

Value = str | Sequence[str]
"""A value as YAML: text for one line, lines for a block below the key."""
Written = Mapping[str, Value]

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_ ./-]*(?<! )")
_NOT_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def commented(
    model: type[BaseModel], written: Written, *, indent: int, first: Sequence[str] = (), offered: Written | None = None
) -> list[str]:
    """The lines of a model's keys. ``first``: keys that stand before the others, in this order. ``offered``: what optional
    keys could say here, where that is more than their example."""
    names = [*first, *(name for name in model.model_fields if name not in first)]
    lines: list[str] = []
    for name in names:
        field = model.model_fields[name]
        key = field.alias or name
        if name in written:
            lines += comment(described(field), indent)
            lines += entry(key, written[name], indent)
        else:
            lines += comment(f"Optional. {described(field)}".rstrip(), indent)
            value = (offered or {}).get(name) or example(model, name)
            lines += [f"{' ' * indent}# {line}" for line in entry(key, value, 0)]
    return lines


def entry(key: str, value: Value, indent: int) -> list[str]:
    """One key with its value; text of several lines as a block that keeps them."""
    before = " " * indent
    if isinstance(value, str):
        head, *rest = value.split("\n")
        return [f"{before}{key}: {head}", *(f"{before}  {line}" if line else "" for line in rest)]
    return [f"{before}{key}:", *(f"{before}  {line}" for line in value)]


def as_item(lines: Sequence[str], indent: int) -> list[str]:
    """Lines at ``indent`` as one item of a list, whose dash stands two columns before."""
    number = next(i for i, line in enumerate(lines) if not line.lstrip().startswith("#"))
    comments = [f"{' ' * (indent - 2)}{line.lstrip()}" for line in lines[:number]]
    return [*comments, f"{' ' * (indent - 2)}- {lines[number].lstrip()}", *lines[number + 1 :]]


def described(field: FieldInfo) -> str:
    """What a field is: its description, or what its type says of itself."""
    if field.description:
        return field.description
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, (BaseModel, Enum)):
        return (kind.__doc__ or "").strip().partition("\n\n")[0].replace("\n", " ")
    return ""


def text(value: str) -> str:
    """Text as a YAML scalar: plain where it stays text, else in double quotes."""
    if _PLAIN.fullmatch(value) and value.lower() not in _NOT_TEXT and len(value) < WIDTH:
        return value
    # JSON's escapes are YAML's; characters that YAML does not print are escaped by their number.
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(c if c.isprintable() else _escaped(c) for c in quoted)


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def comment(words: str, indent: int = 0, *, hang: int = 0) -> list[str]:
    """Words as comment lines; those after the first begin ``hang`` columns later."""
    before = f"{' ' * indent}# "
    return textwrap.wrap(
        " ".join("".join(c if c.isprintable() else " " for c in words).split()),
        WIDTH,
        initial_indent=before,
        subsequent_indent=before + " " * hang,
        break_long_words=False,
        break_on_hyphens=False,
    )
