"""Pydantic's errors in words for people who write YAML, each at its place.

Never quotes a value that may be a secret or personal: only names of keys and the words of closed lists are repeated.
"""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from audience_syncs.model.comparisons import OPERATORS
from audience_syncs.model.filters import CONDITION_KINDS
from audience_syncs.model.mapping import MappedField
from audience_syncs.project.problems import Problem, YamlPath, choose_from, nearest
from audience_syncs.project.yaml_documents import Document

_EXPECTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping (`key: value` lines)",
    "mapping_type": "a mapping (`key: value` lines)",
    "model_type": "a mapping (`key: value` lines)",
    "model_attributes_type": "a mapping (`key: value` lines)",
    "list_type": "a list (lines that start with `- `)",
}
_SCALAR_BRANCHES = {"str", "int", "float", "bool", "none"}
_SCHEDULE_KEYS = {"every": "Interval", "cron": "Cron", "times": "Calendar", "days": "Calendar", "after": "After"}
_SCHEDULE_BRANCHES = {*_SCHEDULE_KEYS.values(), "literal['manual']"}


def explain(
    error: ValidationError, model: type[BaseModel], value: Any, document: Document, prefix: YamlPath
) -> list[Problem]:
    """The problems behind a validation error of ``value``, which stands at ``prefix`` in the document."""
    problems: dict[tuple[YamlPath, str], Problem] = {}
    for detail in error.errors(include_url=False):
        path, branches = _real_path(detail, value)
        if detail["type"] == "key_missing":  # a model's own rule about which keys it needs
            path = (*path, detail["ctx"]["key"])
        if branches & _SCHEDULE_BRANCHES:
            path, wanted = _schedule_branch(path, detail, value)
            if wanted not in branches:
                continue
        at = (*prefix, *path)
        if branches & _SCALAR_BRANCHES:
            found = document.problem(at, f"must be {_scalars(model, path, value)}", _one_value(path))
        else:
            found = _problem(detail, model, path, value, document, at)
        problems.setdefault((at, found.message), found)
    return list(problems.values())


def accepts_null(model: type[BaseModel], path: YamlPath) -> bool:
    """Whether null may be written at a path."""
    annotations, _ = _types_at(model, path, None)
    return type(None) in annotations


def _problem(
    detail: ErrorDetails, model: type[BaseModel], path: YamlPath, value: Any, document: Document, at: YamlPath
) -> Problem:
    kind, context = detail["type"], detail.get("ctx", {})
    described = _description(model, path, value)
    given = _value_at(value, path)
    if kind == "condition_unknown":
        return _no_condition(model, path, value, document, at)
    if kind == "extra_forbidden":
        remedy = _another_condition(path, value) or choose_from(
            str(path[-1]), sorted(_known_keys(model, path[:-1], value)), none="remove it"
        )
        return document.problem(at, f"unknown key `{path[-1]}`", remedy, of_key=True)
    if kind == "missing" and isinstance(given, list):
        return document.problem(at, "a value is missing in the list", described)
    if kind in ("missing", "key_missing"):
        remedy = f"add `{path[-1]}: ...`" + (f": {_lower(described)}" if described else "")
        return document.problem(at, f"the key `{path[-1]}` is missing", remedy)
    if kind in ("enum", "literal_error"):
        words = _words(model, path, value)
        shown = f"`{given}` is none of its words" if isinstance(given, str) else f"{_named(given)} is none of its words"
        return document.problem(at, shown, choose_from(str(given), words, none=described))
    if kind == "value_error":
        message, _, remedy = str(context.get("error", detail["msg"])).partition("; ")
        if remedy and message.startswith(("write ", "give ", "use ")):
            message, remedy = remedy, message
        return document.problem(at, message, remedy or described)
    if kind in _EXPECTED:
        if kind == "string_type" and isinstance(given, (bool, int, float)):
            return document.problem(at, f"must be text, not {_named(given)}", "put quotes around it")
        if kind == "list_type" and isinstance(given, (str, int, float)):
            return document.problem(at, f"must be a list, not {_named(given)}", "put it into brackets: `[...]`")
        expected = "a column's name, or a mapping" if _is_mapped_field(model, path, value) else _EXPECTED[kind]
        return document.problem(at, f"must be {expected}, not {_named(given)}", described)
    if kind == "string_pattern_mismatch":
        return document.problem(at, "is not written as it must be", described or f"pattern: {context.get('pattern')}")
    if kind == "string_too_short" or (kind == "too_short" and not given):
        return document.problem(at, "must not be empty", described)
    words_of_pydantic = detail["msg"].removeprefix("Input ").removeprefix("String ")
    return document.problem(at, _lower(words_of_pydantic), described)


def _real_path(detail: ErrorDetails, value: Any) -> tuple[YamlPath, set[str]]:
    """The error's path in the YAML, and the branches of unions that pydantic put between."""
    path: list[str | int] = []
    branches: set[str] = set()
    node = value
    location = detail["loc"]
    for i, part in enumerate(location):
        in_mapping = isinstance(node, Mapping) and part in node
        if in_mapping or (isinstance(node, list) and isinstance(part, int) and part < len(node)):
            node = node[part]
            path.append(part)
        elif detail["type"] == "missing" and i == len(location) - 1 and isinstance(node, Mapping):
            path.append(part)
        else:
            branches.add(str(part))
    return tuple(path), branches


def _schedule_branch(path: YamlPath, detail: ErrorDetails, value: Any) -> tuple[YamlPath, str]:
    """Which kind of schedule was meant, by what stands there; and the path to complain about."""
    depth = next(i for i, part in enumerate(path) if part == "schedule") + 1
    schedule = _value_at(value, path[:depth])
    if isinstance(schedule, Mapping):
        return path, next((kind for key, kind in _SCHEDULE_KEYS.items() if key in schedule), "Interval")
    return path[:depth], "literal['manual']"


def _value_at(value: Any, path: YamlPath) -> Any:
    for part in path:
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list) and isinstance(part, int) and part < len(value):
            value = value[part]
        else:
            return None
    return value


def _named(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    if isinstance(value, Mapping):
        return "a mapping"
    return "a list" if isinstance(value, Sequence) else type(value).__name__


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[1:2].islower() else text


# What the model says about a path -----------------------------------------------------------------------------------


def _branches(annotation: Any) -> Iterator[Any]:
    """The plain types an annotation allows: unions and Annotated taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for branch in get_args(annotation):
            yield from _branches(branch)
    else:
        yield annotation


def _meant(annotations: Sequence[Any], value: Any) -> Sequence[Any]:
    """Of several models the one that a mapping is meant for: the first all of whose needed keys it has."""
    models = [branch for branch in annotations if _is_model(branch)]
    if len(models) > 1 and isinstance(value, Mapping):
        for model in models:
            needed = _needed_keys(model)
            if needed and all(key in value for key in needed):
                return [model]
    return annotations


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _needed_keys(model: type[BaseModel]) -> list[str]:
    return [_key(name, field) for name, field in model.model_fields.items() if field.is_required()]


def _key(name: str, field: FieldInfo) -> str:
    """How a field is written in YAML: `in`, where Python needs `in_`."""
    return field.alias or name


def _step(annotations: Iterable[Any], part: str | int) -> tuple[list[Any], FieldInfo | None]:
    """The types one step further down, and the field that leads there."""
    for annotation in annotations:
        origin = get_origin(annotation)
        if _is_model(annotation):
            for name, field in annotation.model_fields.items():
                if _key(name, field) == part:
                    return list(_branches(field.annotation)), field
        elif origin is dict if isinstance(part, str) else origin in (list, tuple):
            return list(_branches(get_args(annotation)[-1])), None
    return [], None


def _types_at(model: type[BaseModel], path: YamlPath, value: Any) -> tuple[Sequence[Any], FieldInfo | None]:
    """The types of what stands at a path, and its field; of several conditions the one that stands there."""
    annotations: Sequence[Any] = [model]
    field = None
    for depth, part in enumerate(path):
        annotations, field = _step(_meant(annotations, _value_at(value, path[:depth])), part)
    return _meant(annotations, _value_at(value, path)), field


def _known_keys(model: type[BaseModel], path: YamlPath, value: Any) -> set[str]:
    annotations, _ = _types_at(model, path, value)
    return {
        _key(name, field)
        for annotation in annotations
        if _is_model(annotation)
        for name, field in annotation.model_fields.items()
    }


def _description(model: type[BaseModel], path: YamlPath, value: Any) -> str:
    """Of the field at a path, or of the nearest above it that has one."""
    for depth in range(len(path), 0, -1):
        _, field = _types_at(model, path[:depth], value)
        if field is not None and field.description:
            return field.description
    return ""


def _is_mapped_field(model: type[BaseModel], path: YamlPath, value: Any) -> bool:
    annotations, _ = _types_at(model, path, value)
    return MappedField in annotations


def _scalars(model: type[BaseModel], path: YamlPath, value: Any) -> str:
    """What a single value may be, in words."""
    annotations = set(_types_at(model, path, value)[0]) - {types.NoneType}
    if annotations and annotations <= {int, float}:
        return "a number"
    if annotations == {int, float, str}:
        return "a number, a day or a moment"
    return "text, a number, true or false"


def _words(model: type[BaseModel], path: YamlPath, value: Any) -> list[str]:
    """The words a closed list allows; for the schedule also how the other kinds are written."""
    annotations, _ = _types_at(model, path, value)
    words: list[str] = []
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, Enum):
            words.extend(str(member.value) for member in annotation)
        elif get_origin(annotation) is Literal:
            words.extend(str(word) for word in get_args(annotation))
    if path and path[-1] == "schedule":
        words += ["{every: 1 hour}", "{cron: '0 6 * * *', timezone: Europe/Berlin}"]
    return words


# Conditions ---------------------------------------------------------------------------------------------------------

_OTHER_WORDS = {
    "and": "all",
    "or": "any",
    "not": "none",
    "nor": "none",
    "column": "property",
    "field": "property",
    "attribute": "property",
    "event": "did",
    "does": "did",
    "didnt": "did_not",
    "related": "has",
    "hasnt": "has_no",
    "audience": "in_audience",
}
"""What people write, and what it is called here."""


def _no_condition(model: type[BaseModel], path: YamlPath, value: Any, document: Document, at: YamlPath) -> Problem:
    """What stands where a condition belongs and begins with no kind's key: the key that was probably meant."""
    annotations, _ = _types_at(model, path, value)
    kinds = [key for branch in annotations if _is_model(branch) for key in _needed_keys(branch)]
    begin = f"begin a condition with one of {', '.join(f'`{kind}:`' for kind in kinds)}"
    given = _value_at(value, path)
    if not isinstance(given, Mapping):
        remedy = "write `all:` above it, and indent it" if isinstance(given, list) else begin
        return document.problem(at, f"must be a condition (`key: value` lines), not {_named(given)}", remedy)
    for key in given:
        if key in CONDITION_KINDS:
            message = f"`{key}` is about people, not about rows"
            remedy = f"of rows, conditions begin with {', '.join(f'`{kind}:`' for kind in kinds)}"
            return document.problem((*at, key), message, remedy, of_key=True)
        meant = _OTHER_WORDS.get(str(key).lower(), nearest(str(key), kinds))
        if meant in kinds:
            message = f"this is no condition: none begins with `{key}`"
            return document.problem((*at, key), message, f"did you mean `{meant}`? Or {begin}", of_key=True)
    if any(key in OPERATORS for key in given):
        return document.problem(at, "this compares nothing: it names no column", "add `property: ...`, a column's name")
    return document.problem(at, "this is no condition", begin)


def _another_condition(path: YamlPath, value: Any) -> str:
    """The remedy where two conditions were written into one mapping."""
    beside = _value_at(value, path[:-1])
    if path[-1] in CONDITION_KINDS and any(key in CONDITION_KINDS and key != path[-1] for key in beside):
        return f"`{path[-1]}` begins another condition; write both below `all:`, each after a `- `"
    return ""


def _one_value(path: YamlPath) -> str:
    several = {"equals": "in", "not_equals": "not_in"}.get(str(path[-1]))
    return f"write a single value; for several, `{several}: [...]`" if several else "write a single value"
