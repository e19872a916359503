"""The first mapping of a new sync: fields of the destination from columns that are called like them (``suggestions``)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from audience_syncs.destinations.contract import DestinationSpec, FieldSpec
from audience_syncs.destinations.suggestions import as_yaml, suggest_mapping
from audience_syncs.model.kinds import Kind
from audience_syncs.project.scaffolds.commented import comment, text


def mapping_lines(
    spec: DestinationSpec, columns: Collection[str] | Mapping[str, Kind | None], primary_key: str = ""
) -> list[str]:
    """The block below ``mapping:``. Without columns to go by, the fields that are needed are mapped to columns called
    like them, and all others are offered in comments."""
    kinds = columns if isinstance(columns, Mapping) else dict.fromkeys(columns)
    suggested = as_yaml(suggest_mapping(spec, kinds, primary_key or None))
    for name in _needed(spec, suggested):
        suggested.setdefault(name, _guess(name, columns, primary_key))
    lines: list[str] = []
    for field in spec.fields:
        lines += comment(_about(field, field.name in spec.required_fields))
        if field.name in suggested:
            lines.append(f"{text(field.name)}: {_written(suggested[field.name])}")
        else:
            lines.append(f"# {text(field.name)}: {text(_column_like(field.name))}")
    if spec.open_fields is not None:
        lines += comment(f"Any other field: {spec.open_fields.description}")
    return lines


def _written(mapped: Any) -> str:
    """A mapped field on one line: a column, or `{column: phone, region: country}`."""
    if not isinstance(mapped, dict):
        return text(mapped)
    return "{" + ", ".join(f"{name}: {text(value)}" for name, value in mapped.items()) + "}"


def _needed(spec: DestinationSpec, suggested: Mapping[str, Any]) -> Iterable[str]:
    """Fields without which nobody could be found, and that nothing was suggested for."""
    if spec.required_fields:
        return [field.name for field in spec.fields if field.name in spec.required_fields]
    identifiers = [field.name for field in spec.fields if field.identifier]
    return [] if set(identifiers) & set(suggested) else identifiers[:1]


def _guess(field: str, columns: Collection[str], primary_key: str) -> str:
    if primary_key and _bare(field) in ("id", "externid", "externalid"):
        return primary_key
    return next((column for column in columns if _bare(field) in _bare(column)), _column_like(field))


def _about(field: FieldSpec, required: bool) -> str:
    words = ["Needed." if required else "", "Finds a person." if field.identifier else "", field.description]
    return " ".join(word for word in words if word)


def _column_like(field: str) -> str:
    """``FirstName`` -> ``first_name``."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field)
    return re.sub(r"[^a-z0-9]+", "_", parted.lower()).strip("_") or "column"


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
