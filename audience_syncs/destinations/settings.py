"""Settings of a platform that are more than single values: a model of their own, and what is wrong with them in words.

Nothing here repeats a value: it may be a secret that somebody wrote into the wrong place.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from audience_syncs.destinations.problems import Problem, choose_from
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.strict import Config

Settings = TypeVar("Settings", bound=Config)


class ApiSettings(Config):
    """What can be set for every platform that is reached over HTTP. ``requests_per_s`` has each platform's own default."""

    requests_per_s: float = Field(default=10, ge=0.1, le=1_000, description="Requests a second. Default: 10.")
    timeout_s: float = Field(default=60, ge=0.1, le=600, description="Seconds to wait for an answer. Default: 60.")
    attempts: int = Field(default=5, ge=1, le=20, description="How often one request is tried. Default: 5.")
    base_url: str | None = Field(default=None, description="Another address of the API.")
    base_url_env: str | None = Field(
        default=None, description="Environment variable that holds another address of the API, when it is set."
    )

    def address(self, environ: Mapping[str, str], default: str) -> str:
        """Where the API is."""
        return self.base_url or environ.get(self.base_url_env or "", "").strip() or default


def descriptions(model: type[BaseModel]) -> dict[str, str]:
    """The settings that a model has, name -> description."""
    return {name: field.description or "" for name, field in model.model_fields.items()}


def required(model: type[BaseModel]) -> frozenset[str]:
    """The settings that must be given."""
    return frozenset(name for name, field in model.model_fields.items() if field.is_required())


def read(model: type[Settings], settings: Mapping[str, Any], where: str) -> Settings:
    """The settings, typed. Raises DefinitionError with the first thing that is wrong."""
    for problem in settings_problems(model, settings):
        place = ".".join(str(part) for part in problem.path)
        raise DefinitionError(f"{place}: {problem.message}", where=where, remedy=problem.remedy)
    return model.model_validate(settings)


def settings_problems(
    model: type[Config], settings: Mapping[str, Any], reported: Collection[str] = frozenset()
) -> Iterator[Problem]:
    """All that is wrong with the settings. ``reported``: settings whose absence has been told of already."""
    try:
        model.model_validate(settings)
    except ValidationError as error:
        seen: set[tuple[str | int, ...]] = set()
        for detail in error.errors(include_url=False):
            path = _path(detail, settings)
            is_told = detail["type"] == "missing" and len(path) == 1 and path[0] in reported
            if path not in seen and not is_told:
                seen.add(path)
                yield Problem(("settings", *path), *_words(detail, path, model))


def _path(detail: ErrorDetails, settings: Any) -> tuple[str | int, ...]:
    """The error's path in the YAML: pydantic puts the branches of unions in between."""
    path: list[str | int] = []
    node = settings
    for place, part in enumerate(detail["loc"]):
        if (isinstance(node, Mapping) and part in node) or (
            isinstance(node, list) and isinstance(part, int) and part < len(node)
        ):
            node = node[part]  # type: ignore[index]
            path.append(part)
        elif detail["type"] == "missing" and place == len(detail["loc"]) - 1:
            path.append(part)
    return tuple(path)


def _words(detail: ErrorDetails, path: tuple[str | int, ...], model: type[Config]) -> tuple[str, str]:
    """Message and remedy."""
    name = path[-1] if path else "settings"
    kind, context = detail["type"], detail.get("ctx", {})
    described = _description(model, path)
    if kind == "missing":
        return f"the key `{name}` is missing", f"add `{name}: ...`" + (f": {described}" if described else "")
    if kind == "extra_forbidden":
        return f"unknown key `{name}`", choose_from(str(name), _keys_at(model, path[:-1]))
    if kind == "value_error":
        message, _, remedy = str(context.get("error", "")).partition("; ")
        return message, remedy or described
    if kind in ("enum", "literal_error"):
        return f"`{name}` must be {context.get('expected', 'one of its words')}", described
    words = detail["msg"].removeprefix("Input ").removeprefix("String ")
    return f"`{name}` {words[:1].lower()}{words[1:]}", described


def _keys_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[str]:
    return [name for found in _types_at(model, path) if _is_model(found) for name in found.model_fields]


def _description(model: type[BaseModel], path: tuple[str | int, ...]) -> str:
    """Of the key at a path, or of the nearest above it that has one."""
    for depth in range(len(path), 0, -1):
        for above in _types_at(model, path[: depth - 1]):
            field = above.model_fields.get(str(path[depth - 1])) if _is_model(above) else None
            if field is not None and field.description:
                return str(field.description)
    return ""


def _types_at(model: type[BaseModel], path: tuple[str | int, ...]) -> list[Any]:
    found: list[Any] = [model]
    for part in path:
        below: list[Any] = []
        for kind in found:
            if _is_model(kind):
                field = kind.model_fields.get(str(part))
                below += [] if field is None else _branches(field.annotation)
            elif get_origin(kind) in (dict, list):
                below += _branches(get_args(kind)[-1])
        found = below
    return found


def _branches(annotation: Any) -> list[Any]:
    """The plain types an annotation allows."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _branches(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [branch for part in get_args(annotation) for branch in _branches(part)]
    return [annotation]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
