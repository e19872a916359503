"""A sync's mappings, as ours: columns and constants; look-ups, variables and Liquid are listed."""

from __future__ import annotations

import re
from typing import Any

from audience_syncs.destinations.contract import DestinationSpec
from audience_syncs.imports.hightouch.export import Resource
from audience_syncs.imports.hightouch.platforms import field_of
from audience_syncs.project.problems import YamlPath

KEYS = (
    "externalIdMapping",
    "mappings",
    "identifierMappings",
    "customMappings",
    "columnMappings",
    "fieldMappings",
    "attributeMappings",
    "userMappings",
    "columns",
)
"""Keys of ``config`` under which mappings were seen, or may be."""

_ONE_COLUMN = re.compile(r"""\{\{\s*row(?:\.(\w+)|\[\s*(?:'([^']+)'|"([^"]+)")\s*\])\s*\}\}""")


def mapping_of(sync: Resource, spec: DestinationSpec, config: str) -> dict[str, Any]:
    """Field -> column's name or ``{constant: ...}``, as far as it can be said here."""
    mapping: dict[str, Any] = {}
    for key in KEYS:
        written = sync.get(config, key)
        if isinstance(written, list):
            entries: list[tuple[YamlPath, Any]] = [((config, key, i), entry) for i, entry in enumerate(written)]
        elif isinstance(written, dict) and "to" in written:
            entries = [((config, key), written)]
        elif isinstance(written, dict):
            # `columns: {warehouse column: field}`
            entries = [((config, key, column), {"from": column, "to": to}) for column, to in written.items()]
        else:
            continue
        for path, entry in entries:
            _add(mapping, sync, spec, path, entry)
    return mapping


def _add(mapping: dict[str, Any], sync: Resource, spec: DestinationSpec, path: YamlPath, entry: Any) -> None:
    to = entry.get("to") if isinstance(entry, dict) else None
    if not isinstance(to, str) or not to.strip():
        sync.note("there is no field it goes to", *path)
        return
    name = field_of(spec, to.strip())
    if name is None:
        sync.note(f"{spec.title} has no field `{to}` here", *path)
        return
    key, value, objection = _value(entry)
    field = spec.field(name)
    if objection is None and isinstance(value, dict) and field is not None and field.identifier:
        objection = "a constant would make all members the same person"
    if objection is not None:
        sync.note(objection, *path)
        return
    if mapping.get(name, value) != value:
        sync.note(f"`{name}` is mapped already, and has one value here", *path)
        return
    mapping[name] = value
    if isinstance(sync.get(*path), dict):
        for used in ("to", "type", key):
            sync.take(*path, used)
    else:
        sync.take(*path)


def _value(entry: dict[str, Any]) -> tuple[str, Any, str | None]:
    """The key it is under, and a column's name or a constant; or why it can be neither."""
    kind = str(entry.get("type") or "standard").lower()
    if kind == "standard":
        column = entry.get("from")
        if isinstance(column, str) and column.strip():
            return "from", column, None
        return "", None, "there is no single column it comes from"
    if kind in ("static", "constant"):
        key = "value" if "value" in entry else "from"
        if isinstance(entry.get(key), (str, int, float, bool)):
            return key, {"constant": entry[key]}, None
        return "", None, "its constant is no text, number, true or false"
    if kind == "template":
        template = str(entry.get("template") or "")
        one = _ONE_COLUMN.fullmatch(template.strip())
        if one is not None:
            return kind, next(name for name in one.groups() if name), None
        if template and "{{" not in template and "{%" not in template:
            return kind, {"constant": template}, None
        return "", None, "a Liquid template: make a column of it in the SQL, and map that"
    if kind == "variable":
        return "", None, "a variable of Hightouch's run: there is none here"
    if kind in ("reference", "lookup"):
        return "", None, "a look-up at the destination: put the value into the SQL"
    return "", None, f"a mapping of type `{kind}` is not known here"
