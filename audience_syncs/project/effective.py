"""The effective configuration of a sync: all its values, also the defaults and what it inherits, and where each comes from."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from pydantic import BaseModel

from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.project.load import Project
from audience_syncs.project.origins import SyncOrigins
from audience_syncs.project.problems import YamlPath, path_text, shown_path
from audience_syncs.project.reading import Located

DEFAULT = "default"
_INHERITED = ("limits", "notify")
_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class Effective:
    """What holds for one sync. ``origins``: path of a value -> where it comes from, in words."""

    sync: str
    values: Mapping[str, Any]
    origins: Mapping[YamlPath, str]

    def to_yaml(self, *, with_origins: bool = False) -> str:
        """As YAML; with the origin of each value as a comment behind it."""
        lines = list(_lines(self.values, (), self.origins))
        if not with_origins:
            return "".join(f"{text}\n" for text, _ in lines)
        width = min(60, max(len(text) for text, _ in lines))
        return "".join(f"{text:<{width}}  # {origin}\n" if origin else f"{text}\n" for text, origin in lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values, for machines."""
        origins = {path_text(path): origin for path, origin in self.origins.items()}
        return {"sync": self.sync, "values": dict(self.values), "origins": origins}


def effective(project: Project, audience: AudienceConfig, sync: SyncConfig) -> Effective:
    """The effective configuration of a sync of a project without mistakes."""
    name = sync_id(audience, sync)
    written = project.origins[name]
    places = _Places(project, audience, sync)
    values: dict[str, Any] = {"sync": name, "templates": list(sync.templates)}
    origins: dict[YamlPath, str] = {}
    if sync.templates:
        origins[("templates",)] = _of(written.own.document.file, places.line(written, ("templates",)))
    for field in SyncConfig.model_fields:
        if field == "templates" or (field == "name" and sync.name is None):
            continue
        values[field] = _plain(getattr(sync, field), leave_out_nulls=field == "mapping")
        for path in _leaves(values[field], (field,)):
            origins[path] = places.origin(written, path)
    admission = _admission(project, audience, sync)
    if admission:
        values["admission"] = {key: value for key, (value, _) in admission.items()}
        origins |= {("admission", key): origin for key, (_, origin) in admission.items()}
    return Effective(name, values, origins)


class _Places:
    """Where the values of one sync come from."""

    def __init__(self, project: Project, audience: AudienceConfig, sync: SyncConfig) -> None:
        self._inherits: list[tuple[str, Located, BaseModel]] = []
        for kind, config, label in (
            ("Audience", audience, f"audience {audience.name}"),
            ("Destination", project.destinations.get(sync.destination), f"destination {sync.destination}"),
            ("Alerts", project.alerts, "alerts"),
        ):
            located = find(project, kind, getattr(config, "name", None))
            if located is not None and config is not None:
                self._inherits.append((label, located, config))

    def line(self, written: SyncOrigins, path: YamlPath) -> int:
        return written.own.document.position((*written.own.at, *path), of_key=True)[0]

    def origin(self, written: SyncOrigins, path: YamlPath) -> str:
        found = written.of(path)
        if found is not None:
            return str(found)
        if path[0] in _INHERITED and len(path) > 1:
            for label, located, config in self._inherits:
                section = getattr(config, str(path[0]))
                if path[1] in section.model_fields_set:
                    line, _ = located.document.position(("attributes", *path[:2]), of_key=True)
                    return f"{label} at {_of(located.document.file, line)}"
        return DEFAULT


def find(project: Project, kind: str, name: str | None) -> Located | None:
    """A definition with its place; of the project's alerts, which have no name, the one there is."""
    for located in project.files.values():
        if located.kind == kind and getattr(located.config, "name", None) == name:
            return located
    return None


def _admission(project: Project, audience: AudienceConfig, sync: SyncConfig) -> dict[str, tuple[Any, str]]:
    """Whom the sync does not send, and who says so."""
    found: dict[str, tuple[Any, str]] = {}
    if sync.admission.exclusions:
        excluded = [exclusion.model_dump(mode="json", exclude_none=True) for exclusion in sync.admission.exclusions]
        place = _place(project, "Destination", sync.destination, "exclude")
        found["exclude"] = excluded, f"destination {sync.destination}{place}"
    for priority in project.priorities.values():
        if audience.name in priority.audiences:
            place = _place(project, "Priority", priority.name, "audiences")
            found["after"] = list(sync.admission.before), f"priority {priority.name}{place}"
    if sync.admission.groups is not None:
        found["groups"] = (
            list(sync.admission.groups),
            f"split of the audience{_place(project, 'Audience', audience.name, 'split')}",
        )
    return found


def _place(project: Project, kind: str, name: str, key: str) -> str:
    located = find(project, kind, name)
    if located is None:
        return ""
    line, _ = located.document.position(("attributes", key), of_key=True)
    return f" at {_of(located.document.file, line)}"


def _of(file: Any, line: int) -> str:
    return f"{shown_path(file)}:{line}"


def _plain(value: Any, *, leave_out_nulls: bool = False) -> Any:
    """A value as it would be written in YAML."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", exclude_none=leave_out_nulls)
    if isinstance(value, dict):
        return {key: _plain(inner, leave_out_nulls=leave_out_nulls) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return str(value) if isinstance(value, str) else value


def _leaves(value: Any, path: YamlPath) -> Iterator[YamlPath]:
    """The paths of what is shown on a line of its own."""
    if isinstance(value, dict) and value and len(path) < _depth(path):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    else:
        yield path


def _depth(path: YamlPath) -> int:
    # A mapped field, a limit and a schedule read best on one line each.
    return 2 if path[0] != "schedule" else 1


def _lines(value: Mapping[str, Any], path: YamlPath, origins: Mapping[YamlPath, str]) -> Iterable[tuple[str, str]]:
    for key, inner in value.items():
        at = (*path, key)
        indent = "  " * len(path)
        if isinstance(inner, Mapping) and inner and at not in origins:
            yield f"{indent}{_flow(key)}:", ""
            yield from _lines(inner, at, origins)
        else:
            yield f"{indent}{_flow(key)}: {_flow(inner)}", origins.get(at, "")


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=_WIDTH, sort_keys=False)
    text = text.removesuffix("...\n").strip()
    # A text of several lines would be several lines; JSON is YAML, too.
    return json.dumps(value, ensure_ascii=False) if "\n" in text else text
