"""The text of a new definition, by kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from audience_syncs.destinations import registry
from audience_syncs.destinations.platforms import PLATFORMS
from audience_syncs.model.config import Mode, Removal, SyncConfig
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.names import NAME
from audience_syncs.project.components import COMPONENTS, MODELS
from audience_syncs.project.load import Project
from audience_syncs.project.problems import choose_from
from audience_syncs.project.scaffolds.commented import Value, as_item, comment, commented, entry, text
from audience_syncs.project.scaffolds.examples import ALSO_NEEDED, setting_example
from audience_syncs.project.scaffolds.files import schema_address
from audience_syncs.project.scaffolds.mappings import mapping_lines
from audience_syncs.project.scaffolds.references import chosen

FOLDERS: Mapping[str, str] = {
    "Source": "sources",
    "Destination": "destinations",
    "Model": "models",
    "Audience": "audiences",
    "SyncTemplate": "templates",
    "Priority": "priorities",
    "Sequence": "sequences",
    "Alerts": "alerts",
}
"""Component -> the folder, below that of the definitions, where new ones go."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What was asked for beside the name; what was not is chosen from the project, or stands for itself."""

    source: str | None = None
    platform: str | None = None
    table: str | None = None
    model: str | None = None
    primary_key: str | None = None
    asset: str | None = None
    destinations: Sequence[str] = ()
    audiences: Sequence[str] = ()
    steps: Sequence[str] = ()
    title: str | None = None


@dataclass(frozen=True)
class _New:
    name: str
    wishes: Wishes
    project: Project
    written: dict[str, Value] = field(default_factory=dict)
    offered: dict[str, Value] = field(default_factory=dict)


def scaffold(kind: str, name: str, wishes: Wishes, project: Project, file: Path) -> str:
    """The YAML of a new definition of a kind (``Audience``), to be written to ``file``.

    Raises DefinitionError where the name cannot be one, is taken, or refers to something that is not there.
    """
    if kind not in MODELS:
        raise DefinitionError(f"there is no component `{kind}`", remedy=choose_from(kind, list(MODELS), none=""))
    model = MODELS[kind]
    new = _New(name, wishes, project)
    has_name = "name" in model.model_fields
    if has_name:
        _check_name(kind, name, project)
        new.written["name"] = name
    elif any(located.kind == kind for located in project.files.values()):
        raise DefinitionError(f"the project's {kind.lower()} are defined already", remedy="change that definition")
    if wishes.title is not None and "title" in model.model_fields:
        new.written["title"] = text(wishes.title)
    _WRITE.get(kind, _nothing_more)(new)
    about = (model.__doc__ or "").strip().partition("\n\n")[0]
    return "\n".join(
        [
            f"# yaml-language-server: $schema={schema_address(kind, file)}",
            *comment(about),
            f"type: {COMPONENTS}.{kind}",
            "attributes:",
            *commented(model, new.written, indent=2, first=["name"] if has_name else [], offered=new.offered),
            "",
        ]
    )


def sync_lines(
    key: str | None, destination: str, columns: Sequence[str], primary_key: str, project: Project
) -> list[str]:
    """A new sync as an item of ``syncs``, at column 0."""
    spec = registry.spec_for(project.destinations[destination])
    written: dict[str, Value] = {
        "destination": destination,
        "mapping": mapping_lines(spec, columns, primary_key),
    }
    if key is not None:
        written["name"] = key
    if Mode.MIRROR not in spec.modes:
        written["mode"] = min(spec.modes & {Mode.ADD, Mode.UPSERT} or spec.modes).value
    offered = {"mode": _or(Mode.MIRROR, spec.modes), "removal": _or(Removal.REMOVE, spec.removals)}
    return as_item(commented(SyncConfig, written, indent=2, first=["destination", "mapping"], offered=offered), 2)


def _or(default: StrEnum, words: Collection[StrEnum]) -> str:
    """The default, with the other words the destination knows beside it."""
    others = ", ".join(sorted(word.value for word in words if word is not default))
    return f"{default.value}  # or {others}" if others else default.value


def columns_of(project: Project, audience: str, model: str | None) -> list[str]:
    """Columns that the members of an audience have, as far as they were recorded."""
    own = project.columns.get(audience) or (project.columns.get(model, {}) if model else {})
    traits = list(project.models[model].traits) if model in project.models else []
    return [*own, *traits]


def require_name(name: str) -> None:
    """Raises DefinitionError for what cannot be the name of a definition or a sync."""
    if not NAME.fullmatch(name) or "__" in name or len(name) > 60:
        raise DefinitionError(
            f"`{name}` cannot be a name",
            remedy="lower-case letters, digits and single underscores, starting with a letter, at most 60",
        )


def _check_name(kind: str, name: str, project: Project) -> None:
    require_name(name)
    for located in project.files.values():
        if located.kind == kind and getattr(located.config, "name", None) == name:
            raise DefinitionError(
                f"there is a {kind.lower()} `{name}` already, in {located.document.file}", remedy="take another name"
            )


def _nothing_more(new: _New) -> None:
    """Kinds whose only required key is the name."""


def _source(new: _New) -> None:
    new.written["url"] = f"{{env: {new.name.upper()}_URL}}"


def _destination(new: _New) -> None:
    platform = new.wishes.platform
    if platform is None:
        raise DefinitionError(
            "which platform the destination is on must be said",
            remedy=f"name it with --platform: {', '.join(sorted(PLATFORMS))}",
        )
    spec = registry.spec_of(platform)
    new.written["platform"] = platform
    secrets = comment(f"Where they come from: {spec.docs}") if spec.docs else []
    for name in (*spec.credentials, *spec.optional_credentials):
        # Where none is always needed, all are offered alike: which go together is the platform's own matter.
        needed = name in spec.credentials or not spec.credentials
        line = f"{name}: {{env: {new.name.upper()}_{name.upper()}}}"
        secrets += [line] if needed else [*comment("Optional, or instead of another."), f"# {line}"]
    (new.written if spec.credentials else new.offered)["credentials"] = secrets
    settings: list[str] = []
    needed_settings = spec.required_settings | ALSO_NEEDED.get(platform, frozenset())
    for name, description in spec.settings.items():
        if name in needed_settings:
            settings += [*comment(f"To be filled in. {description}"), *entry(name, setting_example(platform, name), 0)]
        else:
            line = f"{name}: ..."
            settings += [*comment(f"Optional. {description}"), f"# {line}" if needed_settings else line]
    (new.written if needed_settings else new.offered)["settings"] = settings


def _model(new: _New) -> None:
    new.written["source"] = chosen("source", new.wishes.source, new.project.sources, "--source")
    new.written["table"] = text(new.wishes.table or new.name)
    new.written["primary_key"] = text(new.wishes.primary_key or "id")
    if new.wishes.asset is not None:
        new.written["asset"] = text(new.wishes.asset)


def _audience(new: _New) -> None:
    wishes, project = new.wishes, new.project
    primary_key = wishes.primary_key or "id"
    columns: list[str] = []
    if wishes.model is not None:
        model = chosen("model", wishes.model, project.models, "--model")
        primary_key = project.models[model].primary_key
        columns = columns_of(project, new.name, model)
        new.written["model"] = model
    else:
        table = wishes.table or "customers"
        new.written["source"] = chosen("source", wishes.source, project.sources, "--source")
        new.written["primary_key"] = text(primary_key)
        new.written["sql"] = f"|\nSELECT {primary_key}, email\nFROM {table}"
        columns = [primary_key, "email"]
    syncs: list[str] = []
    for destination in wishes.destinations:
        name = chosen("destination", destination, project.destinations, "--destination")
        syncs += sync_lines(None, name, columns, primary_key, project)
    if syncs:
        new.written["syncs"] = syncs


def _template(new: _New) -> None:
    for destination in new.wishes.destinations[:1]:
        name = chosen("destination", destination, new.project.destinations, "--destination")
        new.written["destination"] = name
        new.written["mapping"] = mapping_lines(registry.spec_for(new.project.destinations[name]), ())


def _priority(new: _New) -> None:
    taken = {name for listed in new.project.priorities.values() for name in listed.audiences}
    free = [name for name in new.project.audiences if name not in taken]
    if new.wishes.audiences:
        names = [chosen("audience", name, new.project.audiences, "--audience") for name in new.wishes.audiences]
    else:
        names = free[:2]
    if len(names) < 2:
        raise DefinitionError(
            "a priority list needs two audiences that are in no other such list",
            remedy="name them with --audience A --audience B, or make them first: `audience-syncs new audience NAME`",
        )
    others = [name for name in free if name not in names]
    new.written["audiences"] = [*(f"- {name}" for name in names), *(f"# - {name}" for name in others)]


def _sequence(new: _New) -> None:
    known = [f"{a.name}/{sync.key}" for a in new.project.audiences.values() for sync in a.syncs if not sync.partitioned]
    if new.wishes.steps:
        steps = [chosen("sync", step, known, "--step") for step in new.wishes.steps]
    elif known:
        steps = known[:1]
    else:
        raise DefinitionError(
            "there is no sync yet", remedy="make one first: `audience-syncs new sync AUDIENCE DESTINATION`"
        )
    others = [name for name in known if name not in steps]
    new.written["steps"] = [*(f"- {name}" for name in steps), *(f"# - {name}" for name in others)]


def _alerts(new: _New) -> None:
    new.written["limits"] = "{rejected_percent: {warning: 1, critical: 10}}"


_WRITE: Mapping[str, Callable[[_New], None]] = {
    "Source": _source,
    "Destination": _destination,
    "Model": _model,
    "Audience": _audience,
    "SyncTemplate": _template,
    "Priority": _priority,
    "Sequence": _sequence,
    "Alerts": _alerts,
}
"""What each kind needs beside its name. A kind that is not here needs nothing more."""
