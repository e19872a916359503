"""The first mapping of a new sync: fields of the destination from columns that are called alike."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from audience_syncs.destinations.contract import DestinationSpec, FieldSpec
from audience_syncs.project.scaffolds.commented import comment, text


def mapping_lines(spec: DestinationSpec, columns: Collection[str], primary_key: str = "") -> list[str]:
    """The block below ``mapping:``. Without columns to go by, the fields that are needed are mapped to columns called
    like them, and all others are offered in comments."""
    suggested = suggested_columns(spec, columns)
    for name in _needed(spec, suggested):
        suggested.setdefault(name, _guess(name, columns, primary_key))
    lines: list[str] = []
    for field in spec.fields:
        lines += comment(_about(field, field.name in spec.required_fields))
        if field.name in suggested:
            lines.append(f"{text(field.name)}: {text(suggested[field.name])}")
        else:
            lines.append(f"# {text(field.name)}: {text(_column_like(field.name))}")
    if spec.open_fields is not None:
        lines += comment(f"Any other field: {spec.open_fields.description}")
    return lines


def suggested_columns(spec: DestinationSpec, columns: Collection[str]) -> dict[str, str]:
    """Field -> the column that is called like it."""
    by_name = {_bare(column): column for column in reversed(list(columns))}
    return {field.name: by_name[_bare(field.name)] for field in spec.fields if _bare(field.name) in by_name}


def _needed(spec: DestinationSpec, suggested: Mapping[str, str]) -> Iterable[str]:
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
