"""A platform's fields, secrets and settings as its page shows them.

``python -m audience_syncs.destinations.in_words docs/destinations`` rewrites them in all pages that have the marks.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from audience_syncs.destinations.contract import DestinationSpec, Empties, FieldSpec
from audience_syncs.destinations.registry import spec_of

BEGIN, END = "<!-- {platform}: written by audience_syncs.destinations.in_words -->", "<!-- /{platform} -->"
_MARK = re.compile(r"<!-- (\w+): written by audience_syncs\.destinations\.in_words -->")


def in_words(spec: DestinationSpec) -> str:
    """Three tables: fields, secrets, settings; and what a null does to a field."""
    fields = [(f"`{field.name}`", field.description + _role(field, spec) + _takes(field)) for field in spec.fields]
    if spec.open_fields is not None:
        fields.append(("any other", spec.open_fields.description + _takes(spec.open_fields)))
    secrets = [(f"`{name}`", "needed") for name in spec.credentials]
    secrets += [(f"`{name}`", "where it is needed") for name in spec.optional_credentials]
    settings = [
        (f"`{name}`", text + (" Needed." if name in spec.required_settings else ""))
        for name, text in spec.settings.items()
    ]
    nulls = f"What a null does: {spec.empties.value}." + _never_emptied(spec)
    tables = [_table("field", fields), _table("secret", secrets), _table("setting", settings)]
    return "\n\n".join(part for part in (tables[0], nulls, *tables[1:]) if part)


def rewritten(page: str) -> str:
    """The page with the tables of today between its marks; a page without marks as it is."""
    found = _MARK.search(page)
    if found is None:
        return page
    platform = found[1]
    begin, end = BEGIN.format(platform=platform), END.format(platform=platform)
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{in_words(spec_of(platform))}\n\n{end}{after}"


def _role(field: FieldSpec, spec: DestinationSpec) -> str:
    needed = field.name in spec.required_fields
    if field.identifier:
        return " Finds the member; needed." if needed else " Finds the member."
    return " Needed." if needed else ""


def _takes(field: FieldSpec) -> str:
    several = " Takes several values." if field.multiple else ""
    return several + (" Takes an object." if field.nested else "")


def _never_emptied(spec: DestinationSpec) -> str:
    stay = [field.name for field in spec.fields if not spec.can_empty(field)]
    if spec.empties is not Empties.ASKED:
        return ""
    return f" Never emptied: {', '.join(f'`{name}`' for name in stay)}."


def _table(name: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    return "\n".join(
        [f"| {name} | |", "|---|---|", *(f"| {first} | {text.replace('|', '/')} |" for first, text in rows)]
    )


if __name__ == "__main__":
    for file in sorted(Path(sys.argv[1]).glob("*.md")):
        file.write_text(rewritten(file.read_text(encoding="utf-8")), encoding="utf-8")
