"""The files of an export, each key with its position; what is used of them is ticked off, and the rest is listed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audience_syncs.model.errors import DefinitionError
from audience_syncs.project.problems import Problem, YamlPath, path_text, shown_path
from audience_syncs.project.yaml_documents import Document, read_documents

KINDS = {"models": "model", "syncs": "sync", "sources": "source", "destinations": "destination"}
"""Folder of an export -> what is in it."""
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True, order=True)
class Note:
    """Something of the export that is not in the result, or not as it was: where, and why."""

    file: Path
    line: int
    column: int
    path: str
    reason: str

    @property
    def place(self) -> str:
        return f"{shown_path(self.file)}:{self.line}"

    def __str__(self) -> str:
        return f"{self.place}: {self.path}: {self.reason}" if self.path else f"{self.place}: {self.reason}"


@dataclass
class Resource:
    """One model, sync, source or destination, as it was exported."""

    kind: str
    slug: str
    document: Document
    top: YamlPath = ()
    """Where it stands in its file: a manifest has several."""
    notes: list[Note] = field(default_factory=list)
    used: set[YamlPath] = field(default_factory=set)

    @property
    def value(self) -> Any:
        value = self.document.value
        for part in self.top:
            value = value[part]
        return value

    def get(self, *path: str | int) -> Any:
        """The value at a path, None where there is nothing; not ticked off."""
        value = self.value
        for part in path:
            if isinstance(value, Mapping):
                value = value.get(part)
            elif isinstance(value, list) and isinstance(part, int) and part < len(value):
                value = value[part]
            else:
                return None
        return value

    def take(self, *path: str | int) -> Any:
        """The value at a path, which is used, with all below it."""
        self.used.add(path)
        return self.get(*path)

    def text(self, *paths: str | YamlPath) -> str | None:
        """The first of these that has text (or a number); used. One with anything else is left, and so listed."""
        for path in paths:
            at = (path,) if isinstance(path, str) else path
            found = self.get(*at)
            if isinstance(found, (str, int, float)) and not isinstance(found, bool) and str(found).strip():
                self.used.add(at)
                return str(found)
        return None

    def note(self, reason: str, *path: str | int, whole: bool = True) -> None:
        """Lists what stands at a path; ``whole``: with all that is below it."""
        if whole:
            self.used.add(path)
        line, column = self.document.position((*self.top, *path), of_key=bool(path))
        self.notes.append(Note(self.document.file, line, column, path_text(path), reason))

    def refuse(self, objection: str) -> None:
        """Lists it as a whole: it is not imported, whatever else was to be said of it."""
        self.notes.clear()
        self.note(f"not imported: {objection}")

    def note_leftovers(self, reason: str, reasons: Mapping[str, str]) -> None:
        """Lists every key that was not used. ``reasons``: what is known of some, by the last key of their path."""
        for path in list(self._unused((), self.value)):
            named = next((str(part) for part in reversed(path) if isinstance(part, str)), "")
            self.note(reasons.get(named, reason), *path)

    def _unused(self, path: YamlPath, value: Any) -> Iterator[YamlPath]:
        """The highest paths of which nothing was used."""
        if path in self.used and path:
            return
        below = [used for used in self.used if len(used) > len(path) and used[: len(path)] == path]
        if not below and path:
            if value not in (None, "", [], {}):
                yield path
            return
        children = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            yield from self._unused((*path, key), child)


@dataclass
class Export:
    """All that an export has, by kind and slug, in the order of the files."""

    resources: dict[str, dict[str, Resource]] = field(default_factory=lambda: {kind: {} for kind in KINDS.values()})
    notes: list[Note] = field(default_factory=list)

    def add(self, resource: Resource) -> None:
        known = self.resources[resource.kind].get(resource.slug)
        if known is None:
            self.resources[resource.kind][resource.slug] = resource
        else:
            line, _ = known.document.position(known.top)
            resource.note(
                f"there are two {resource.kind}s `{resource.slug}`; the other: {known.document.file.name}:{line}"
            )
            self.notes += resource.notes

    def all(self) -> Iterator[Resource]:
        for of_kind in self.resources.values():
            yield from of_kind.values()


def read_export(folder: Path) -> Export:
    """Reads an export. Raises DefinitionError where the folder has none; what cannot be read is noted."""
    if not any((folder / name).is_dir() for name in ("models", "syncs")):
        raise DefinitionError(
            f"{shown_path(folder)} has neither a folder `models` nor `syncs`",
            remedy="name the folder that Hightouch's Git Sync writes to: the repository, or its path in it",
        )
    export = Export()
    for name, kind in KINDS.items():
        for file in _files(folder / name):
            _read_file(export, kind, folder / name, file)
    for file in _files(folder, deep=False):
        _read_manifest(export, file)
    return export


def _files(folder: Path, *, deep: bool = True) -> list[Path]:
    if not folder.is_dir():
        return []
    found = folder.rglob("*") if deep else folder.glob("*")
    return sorted(file for file in found if file.suffix.lower() in _SUFFIXES and file.is_file())


def _read_file(export: Export, kind: str, folder: Path, file: Path) -> None:
    documents, problems = read_documents(file)
    export.notes += [_as_note(problem) for problem in problems]
    slug = file.relative_to(folder).with_suffix("").as_posix()
    if not documents and not problems:
        export.notes.append(Note(file, 1, 1, "", "the file is empty"))
    for number, document in enumerate(documents):
        if isinstance(document.value, dict):
            export.add(Resource(kind, slug if number == 0 else f"{slug}-{number + 1}", document))
        else:
            line, column = document.position(())
            export.notes.append(Note(file, line, column, "", f"this is no {kind}: not a mapping"))


def _read_manifest(export: Export, file: Path) -> None:
    """Sources and destinations as a manifest lists them: by slug, or one by one with their slug."""
    documents, problems = read_documents(file)
    export.notes += [_as_note(problem) for problem in problems]
    for document in documents:
        value = document.value
        if not file.name.startswith("manifest") or not isinstance(value, dict):
            export.notes.append(Note(file, 1, 1, "", "this file is not read: only `manifest` and the folders are"))
            continue
        for name, listed in value.items():
            kind = KINDS.get(name)
            entries = (
                listed.items() if isinstance(listed, dict) else enumerate(listed) if isinstance(listed, list) else ()
            )
            for key, entry in entries if kind in ("source", "destination") else ():
                given = entry.get("slug") if isinstance(entry, dict) else None
                slug = str(given or (key if isinstance(key, str) else entry if isinstance(entry, str) else ""))
                if slug and slug not in export.resources[str(kind)]:
                    export.add(Resource(str(kind), slug, document, (name, key)))
            if kind is None:
                line, column = document.position((name,), of_key=True)
                export.notes.append(
                    Note(file, line, column, str(name), "not used: only its sources and destinations are")
                )


def _as_note(problem: Problem) -> Note:
    return Note(problem.file, problem.line, problem.column, problem.path, problem.message)
