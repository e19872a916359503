"""JSON schemas of the YAML, for editors and for ``dg check yaml``.

``python -m audience_syncs.project.schemas`` writes them to ``audience_syncs/schemas/``; a test says when they are
stale. They are the model's own, with what it cannot tell: a mapped field may be just a column's name, a template
(``{{ env.NAME }}``) may stand for any value, and a sync that starts from sync templates need not be whole.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from audience_syncs.project.components import COMPONENTS, MODELS

SCHEMAS_DIR = Path(__file__).absolute().parent.parent / "schemas"

_TEMPLATE = r"\{\{.*\}\}"


def attributes_schema(component: str) -> dict[str, Any]:
    """The schema of what stands under ``attributes`` of a component (``Source``, ``Destination``, ``Audience``)."""
    schema = MODELS[component].model_json_schema()
    mapped = schema.get("$defs", {}).get("MappedField")
    tolerant: dict[str, Any] = _allow_templates(schema)
    if mapped is not None:
        short = {"type": "string", "minLength": 1, "description": "Name of a column of the audience."}
        tolerant["$defs"]["MappedField"] = {"anyOf": [short, _allow_templates(mapped)]}
    if component == "Destination":
        _add_settings(tolerant)
    if component == "Audience":
        _allow_parts(tolerant["$defs"]["SyncConfig"])
    return tolerant


def _allow_parts(sync: dict[str, Any]) -> None:
    """A sync with templates has from them what it lacks; and null leaves out a field that a template maps."""
    sync["anyOf"] = [{"required": sync.pop("required")}, {"required": ["templates"]}]
    mapping = sync["properties"]["mapping"]
    mapping["additionalProperties"] = {"anyOf": [mapping["additionalProperties"], {"type": "null"}]}
    # Merged with what a template maps, it may be empty here.
    mapping.pop("minProperties", None)


def _add_settings(schema: dict[str, Any]) -> None:
    """Each platform's settings, where its name stands: their types where they have a model, else their names."""
    # Imported late: the registry brings the platforms' modules.
    from audience_syncs.destinations.platforms import PLATFORMS
    from audience_syncs.destinations.registry import spec_of

    definitions = schema.setdefault("$defs", {})
    cases = []
    for name in sorted(PLATFORMS):
        spec = spec_of(name)
        if spec.settings_model is None:
            described = {key: {"description": text} for key, text in spec.settings.items()}
            settings: dict[str, Any] = {"properties": described, "additionalProperties": False}
        else:
            template = f"#/$defs/{name}_{{model}}"
            settings = _allow_templates(spec.settings_model.model_json_schema(ref_template=template))
            # A value of any kind is a template already.
            definitions |= {f"{name}_{key}": value for key, value in settings.pop("$defs", {}).items()}
        given = {"properties": {"platform": {"const": name}}, "required": ["platform"]}
        cases.append({"if": given, "then": {"properties": {"settings": settings}}})
    schema["allOf"] = cases


def file_schema(component: str) -> dict[str, Any]:
    """The schema of a whole ``defs.yaml`` with one component."""
    attributes = attributes_schema(component)
    definitions = attributes.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{component} of Audience Syncs",
        "type": "object",
        "properties": {
            "type": {"const": f"{COMPONENTS}.{component}", "description": "Which component this file defines."},
            "attributes": attributes,
            "requirements": {
                "type": "object",
                "description": "What must be there for this to load; `dg check yaml --validate-requirements` compares.",
                "properties": {
                    "env": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Environment variables that templates use.",
                    }
                },
                "additionalProperties": False,
            },
            "post_processing": {
                "type": "object",
                "description": "Dagster's changes to the assets made from this file.",
            },
        },
        "required": ["type", "attributes"],
        "additionalProperties": False,
        "$defs": definitions,
    }


def schema_text(component: str) -> str:
    """The schema file's content."""
    return json.dumps(file_schema(component), indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path = SCHEMAS_DIR) -> list[Path]:
    """Writes one file per component; returns them."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for component in MODELS:
        file = folder / f"{component.lower()}.json"
        file.write_text(schema_text(component), encoding="utf-8")
        written.append(file)
    return written


def _allow_templates(schema: Any) -> Any:
    """The schema, with a template allowed wherever it asks for anything but free text."""
    if isinstance(schema, list):
        return [_allow_templates(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {
        key: value if key in ("default", "enum", "const") else _allow_templates(value) for key, value in schema.items()
    }
    kind = inner.get("type")
    if kind == "string" and "pattern" in inner:
        return {**inner, "pattern": f"(?:{inner['pattern']})|{_TEMPLATE}"}
    if kind in ("integer", "number", "boolean") or "enum" in inner or "const" in inner:
        around = {key: inner.pop(key) for key in ("default", "description", "title") if key in inner}
        return {**around, "anyOf": [inner, {"type": "string", "pattern": _TEMPLATE}]}
    return inner


if __name__ == "__main__":
    write_schemas()
