"""An export as a whole: names that collide, sources and destinations to go with it, files, and the summary."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from audience_syncs.destinations.contract import DestinationSpec
from audience_syncs.destinations.registry import spec_of
from audience_syncs.imports.hightouch.audiences import People, audience_attributes, model_attributes, people_of
from audience_syncs.imports.hightouch.export import Export, Note, Resource, read_export
from audience_syncs.imports.hightouch.platforms import REASONS, UNKNOWN_KEY, platform_of
from audience_syncs.imports.hightouch.syncs import Delivery, config_key, delivery_of
from audience_syncs.imports.yaml_text import definition_text
from audience_syncs.model.names import as_name
from audience_syncs.model.placeholders import literal
from audience_syncs.project import Problem, Project, load_project
from audience_syncs.project.files import definition_files
from audience_syncs.project.scaffolds import FOLDERS, place
from audience_syncs.project.scaffolds.examples import ALSO_NEEDED, setting_example

NOT_OURS_TO_SAY = {"accept_customer_match_terms"}
"""Settings that accept somebody's terms: a person writes them."""


@dataclass(frozen=True)
class Imported:
    """What came of an export."""

    syncs: int
    """Imported syncs, ..."""
    of: int
    """... of so many in the export."""
    audiences: int
    models: int
    files: Sequence[Path]
    """What was written; of a dry run, what would be."""
    notes: Sequence[Note]
    """All of the export that is not in the result, or not as it was."""
    problems: Sequence[Problem]
    """What `audience-syncs check` says of the files."""


@dataclass
class _Definition:
    kind: str
    attributes: dict[str, Any]
    comments: list[str] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    placeholders: set[str] = field(default_factory=set)
    """Settings that only stand there until they are filled in."""


def import_hightouch(export_dir: Path, into: Path, *, dry_run: bool = False) -> Imported:
    """Reads an export and writes what it can be here below a folder of definitions. Nothing that is there is overwritten: what
    has its name already is used, or left out and noted. Raises DefinitionError where there is no export."""
    export = read_export(export_dir)
    importing = _Importing(export, load_project(into, with_columns=False) if into.is_dir() else Project())
    importing.run()
    files = {
        into / FOLDERS[found.kind] / found.attributes["name"] / "defs.yaml": found for found in importing.definitions
    }
    free = {file: found for file, found in files.items() if not file.exists() and not file.with_suffix(".yml").exists()}
    for file in files.keys() - free.keys():
        importing.export.notes.append(Note(file, 1, 1, "", "this file is there already, and is left as it is"))
    notes = sorted({*export.notes, *(note for resource in export.all() for note in resource.notes)})
    problems = _write(free, into, dry_run)
    return Imported(
        sum(len(found.attributes.get("syncs", ())) for found in free.values()),
        len(export.resources["sync"]),
        sum(found.kind == "Audience" for found in free.values()),
        sum(found.kind == "Model" for found in free.values()),
        sorted(free),
        notes,
        problems,
    )


def _write(files: Mapping[Path, _Definition], into: Path, dry_run: bool) -> list[Problem]:
    """Writes the files, and answers what is wrong with them; of a dry run, in a copy that is thrown away."""
    if not dry_run:
        for file, found in files.items():
            place(file, _text(found, file))
        into.mkdir(parents=True, exist_ok=True)
        return [problem for problem in load_project(into).problems if problem.file in files]
    with tempfile.TemporaryDirectory(prefix="audience_syncs_") as folder:
        copy = Path(folder).resolve()
        for file in definition_files(into, []) if into.is_dir() else ():
            place(copy / file.relative_to(into), file.read_text(encoding="utf-8-sig"))
        for file, found in files.items():
            place(copy / file.relative_to(into), _text(found, file))
        problems = [_moved(problem, into / problem.file.relative_to(copy)) for problem in load_project(copy).problems]
    return [problem for problem in problems if problem.file in files]


def _moved(problem: Problem, file: Path) -> Problem:
    return Problem(file, problem.line, problem.column, problem.path, problem.message, problem.remedy)


def _text(found: _Definition, file: Path) -> str:
    comments = list(found.comments)
    if found.notes:
        comments.append("Not imported, or not as it was:")
        # One line for each: where, and why.
        comments += [f"- {_short(note)}" for note in sorted(set(found.notes))]
    return definition_text(found.kind, found.attributes, file, comments)


def _short(note: Note) -> str:
    place = f"{note.file.parent.name}/{note.file.name}:{note.line}"
    return f"{place}: {note.path}: {note.reason}" if note.path else f"{place}: {note.reason}"


class _Importing:
    """One import, from what stands alone to what refers to it."""

    def __init__(self, export: Export, project: Project) -> None:
        self.export = export
        self.project = project
        self.definitions: list[_Definition] = []
        self.sources: dict[str, str] = {}
        self.destinations: dict[str, _Definition] = {}
        self.audiences: dict[str, tuple[People, _Definition]] = {}
        self.lists: set[tuple[str, str]] = {
            (sync.destination, sync.list.id or sync.list.name or audience.label)
            for audience in project.audiences.values()
            for sync in audience.syncs
        }

    def run(self) -> None:
        for model in self.export.resources["model"].values():
            self.add_people(model)
        for sync in self.export.resources["sync"].values():
            objection = self.add_sync(sync)
            if objection is None:
                sync.note_leftovers(UNKNOWN_KEY, REASONS)
            else:
                sync.refuse(objection)
            audience = self.audiences.get(str(sync.get("model")))
            if audience is not None:
                audience[1].notes += sync.notes
            else:
                self.export.notes += sync.notes
        for kind in ("source", "destination"):
            for resource in self.export.resources[kind].values():
                for key in ("slug", "type", "name", "id"):
                    if resource.top == () or isinstance(resource.value, dict):
                        resource.take(key)
                if isinstance(resource.value, dict):
                    resource.note_leftovers(
                        "secrets and settings are written anew: see the file's `credentials`", REASONS
                    )
        self.finish()

    def add_people(self, model: Resource) -> None:
        people = people_of(model)
        if people is None:
            return
        kind = "Model" if people.is_parent else "Audience"
        taken = self.project.models if people.is_parent else self.project.audiences
        name = self.name_for(kind, model, taken)
        if name is None:
            return
        source = self.source_for(people)
        make = model_attributes if people.is_parent else audience_attributes
        model.note_leftovers(UNKNOWN_KEY, REASONS)
        origin = f"Imported from Hightouch: the model {model.slug}."
        found = _Definition(kind, make(people, name, source), [origin], model.notes.copy())
        self.definitions.append(found)
        self.audiences[model.slug] = (people, found)

    def name_for(self, kind: str, resource: Resource, existing: Mapping[str, Any]) -> str | None:
        """A name of its own; None where the project has one of that name, which is noted."""
        name = as_name(resource.slug)
        if name in existing:
            resource.note(f"not imported: there is a {kind.lower()} `{name}` already, which is left as it is")
            return None
        taken = {found.attributes["name"] for found in self.definitions if found.kind == kind} | set(existing)
        free = _free(name, taken)
        if free != name:
            resource.note(f"named `{free}`: another one became `{name}`")
        return free

    def source_for(self, people: People) -> str:
        slug = people.source
        if slug is None:
            known = [*self.export.resources["source"]]
            if len(known) == 1 or (not known and len(self.project.sources) == 1):
                slug = known[0] if known else next(iter(self.project.sources))
            else:
                slug = "warehouse"
            people.resource.note(f"its source is not told; written as `{as_name(slug)}`")
        if slug not in self.sources:
            name = as_name(slug)
            if name not in self.project.sources:
                taken = {found.attributes["name"] for found in self.definitions if found.kind == "Source"}
                name = _free(name, taken)
                told = self.export.resources["source"].get(slug)
                kind = told.text("type") if told is not None and isinstance(told.value, dict) else None
                comments = [
                    f"Imported from Hightouch: the source {slug}{f', of type {kind}' if kind else ''}.",
                    "To be filled in: the variable, with the SQLAlchemy URL of the warehouse.",
                ]
                attributes = {"name": name, "url": {"env": f"{name.upper()}_URL"}}
                self.definitions.append(_Definition("Source", attributes, comments))
            self.sources[slug] = name
        return self.sources[slug]

    def add_sync(self, sync: Resource) -> str | None:
        """Adds a sync to its audience; answers why not."""
        model, slug = sync.text("model", ("model", "slug")), sync.text("destination", ("destination", "slug"))
        if model is None or slug is None:
            return f"it names no {'model' if model is None else 'destination'}"
        told = self.export.resources["model"].get(model)
        if told is None:
            return f"there is no model `{model}` in the export"
        if model not in self.audiences:
            return f"its model `{model}` is not imported"
        people, audience = self.audiences[model]
        if people.is_parent:
            return f"`{model}` is a parent model: make an audience of it, with `model: {audience.attributes['name']}`"
        known = self.export.resources["destination"].get(slug)
        told_as = (
            [known.text("type"), known.text("name")] if known is not None and isinstance(known.value, dict) else []
        )
        platform = platform_of(*told_as, slug, str(sync.get(config_key(sync), "type") or ""))
        if platform is None:
            return f"no platform here is told by its destination `{slug}`{f' ({told_as[0]})' if any(told_as) else ''}"
        spec = spec_of(platform)
        delivery = delivery_of(sync, spec)
        if delivery.objection is not None:
            return delivery.objection
        name, objection = self.destination_for(slug, spec, delivery.settings)
        if objection is not None:
            return objection
        self.keep_sync(sync, delivery, audience, name)
        return None

    def keep_sync(self, sync: Resource, delivery: Delivery, audience: _Definition, destination: str) -> None:
        attributes: dict[str, Any] = {"destination": destination, **delivery.attributes}
        syncs: list[dict[str, Any]] = audience.attributes.setdefault("syncs", [])
        keys = {other.get("name", other["destination"]) for other in syncs}
        if destination in keys:
            name = _free(as_name(sync.slug.rpartition("/")[2]), keys)
            attributes = {"destination": destination, "name": name, **delivery.attributes}
        wanted = attributes.get("list")
        if wanted is not None:
            listed = (destination, wanted.get("id") or wanted["name"])
            if listed in self.lists and "name" in wanted:
                wanted["name"] = f"{wanted['name'][:150]} ({sync.slug.rpartition('/')[2][:40]})"
                sync.note(f"another sync keeps the list `{listed[1]}`; this one is given `{wanted['name']}`")
                listed = (destination, wanted["name"])
            self.lists.add(listed)
        syncs.append(attributes)

    def destination_for(self, slug: str, spec: DestinationSpec, settings: Mapping[str, Any]) -> tuple[str, str | None]:
        """The destination's name, and why a sync cannot be to it. Several syncs of one destination may say more of it, but not
        something else."""
        name = as_name(slug)
        existing = self.project.destinations.get(name)
        if existing is not None:
            if existing.platform != spec.platform:
                return name, f"there is a destination `{name}` already, on another platform"
            return name, None
        found = self.destinations.get(slug)
        if found is None:
            name = _free(name, {other.attributes["name"] for other in self.destinations.values()})
            found = self.destinations[slug] = _destination(slug, name, spec)
            self.definitions.append(found)
        name, written = str(found.attributes["name"]), found.attributes["settings"]
        told = {key: value for key, value in settings.items() if key in spec.settings}
        for key, value in told.items():
            if key in written and key not in found.placeholders and written[key] != value:
                return name, f"another sync says of its destination `{key}: {written[key]}`, this one `{value}`"
        written |= told
        found.placeholders -= told.keys()
        return name, None

    def finish(self) -> None:
        """Says what is still to be filled in, and what nothing was made of."""
        for found in self.definitions:
            for sync in found.attributes.get("syncs", ()):
                # Theirs have no placeholders.
                for holder in (sync, sync.get("list", {})):
                    holder |= {key: literal(holder[key]) for key in ("name", "description") if key in holder}
        for found in self.destinations.values():
            if not found.attributes["settings"]:
                del found.attributes["settings"]
            if found.placeholders:
                found.comments.append(f"To be filled in, as no sync says it: {', '.join(sorted(found.placeholders))}.")
        for slug, resource in self.export.resources["destination"].items():
            if slug not in self.destinations and as_name(slug) not in self.project.destinations:
                resource.note("no imported sync goes there")
        for slug, resource in self.export.resources["source"].items():
            if slug not in self.sources:
                resource.note("no imported model reads from it")


def _destination(slug: str, name: str, spec: DestinationSpec) -> _Definition:
    comments = [f"Imported from Hightouch: the destination {slug}.", f"Its secrets and settings: {spec.docs}"]
    attributes: dict[str, Any] = {"name": name, "platform": spec.platform}
    secrets = spec.credentials or spec.optional_credentials[:1]
    attributes["credentials"] = {secret: {"env": f"{name.upper()}_{secret.upper()}"} for secret in secrets}
    needed = sorted(spec.required_settings | ALSO_NEEDED.get(spec.platform, frozenset()))
    # What stands for a setting is one line here: those of a mapping have platforms that no export leads to.
    placeholders = {
        key: yaml.safe_load(str(setting_example(spec.platform, key))) for key in needed if key not in NOT_OURS_TO_SAY
    }
    for key in sorted(NOT_OURS_TO_SAY & set(needed)):
        comments.append(f"To be decided by you: {key}. {spec.settings[key]}")
    attributes["settings"] = placeholders
    return _Definition("Destination", attributes, comments, placeholders=set(placeholders))


def _free(name: str, taken: set[str] | Mapping[str, Any]) -> str:
    """The name, or the first of ``name_2``, ``name_3``, ... that is free."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name[: 59 - len(str(number))].rstrip('_')}_{number}"
    return free
