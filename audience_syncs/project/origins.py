"""Where the values of a sync stand: in its audience's file, or in a template's. A mistake is shown there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from audience_syncs.project.problems import Problem, YamlPath, shown_path
from audience_syncs.project.yaml_documents import Document

Part = tuple[str, ...]
"""A part of a sync, or one key of it: ``("removal",)``, ``("mapping", "EMAIL")``."""


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What is written about a sync in one place: a template, or the sync itself."""

    document: Document
    at: YamlPath
    """Where in the document its values stand."""
    values: Mapping[str, Any]
    template: str | None = None
    """The template's name; None for the sync itself."""
    locked: frozenset[Part] = frozenset()

    def place(self, part: Part) -> str:
        """``file:line`` of a part."""
        line, _ = self.document.position((*self.at, *part), of_key=True)
        return f"{shown_path(self.document.file)}:{line}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value comes from."""

    file: Path
    line: int
    template: str | None = None
    locked: bool = False
    """Whether the template locks it."""

    def __str__(self) -> str:
        place = f"{shown_path(self.file)}:{self.line}"
        if self.template is None:
            return place
        return f"template {self.template} at {place}" + (" (locked)" if self.locked else "")


@dataclass(frozen=True, slots=True)
class SyncOrigins:
    """Where everything about one sync was written."""

    sync: str
    """``audience/sync``, for people."""
    own: Layer
    given: Mapping[Part, Layer]
    """Part -> who gives it; a part that is merged key by key has no entry of its own, but its keys have."""
    locks: Mapping[Part, Layer] = field(default_factory=dict)

    def layer(self, path: YamlPath) -> tuple[Part, Layer] | None:
        """The written part that a path is in, with who wrote it; None for what nobody wrote."""
        for depth in (2, 1):
            part = tuple(str(step) for step in path[:depth])
            if len(part) == depth and part in self.given:
                return part, self.given[part]
        return None

    def of(self, path: YamlPath) -> Origin | None:
        """The origin of a value; None for a default, and for a section whose keys have origins of their own."""
        found = self.layer(path)
        if found is None:
            return None
        _, layer = found
        line, _ = layer.document.position((*layer.at, *path), of_key=True)
        locked = layer.template is not None and any(tuple(path[:depth]) in self.locks for depth in (1, 2))
        return Origin(layer.document.file, line, layer.template, locked)

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates that give it something that holds, in their order."""
        return tuple(dict.fromkeys(layer.template for layer in self.given.values() if layer.template is not None))


@dataclass(frozen=True, slots=True)
class MergedDocument(Document):
    """An audience's document, in which what a sync has from a template stands in the template's file."""

    syncs: Mapping[int, SyncOrigins] = field(default_factory=dict)
    """Number of the sync in its audience -> its origins."""
    told: dict[Problem, tuple[str, list[str]]] = field(default_factory=dict, compare=False, repr=False)
    """Problems that are shown in a template: its name, and the syncs that have them."""

    @property
    def templates(self) -> set[str]:
        """The templates that give its syncs something."""
        return {name for origins in self.syncs.values() for name in origins.templates}

    def problem(self, path: YamlPath, message: str, remedy: str = "", *, of_key: bool = False) -> Problem:
        """A problem where the value at this path stands."""
        number = path[2] if path[:2] == ("attributes", "syncs") and len(path) > 3 else None
        if isinstance(number, int) and number in self.syncs:
            within = path[3:]
            found = self.syncs[number].layer(within)
            if found is not None and found[1].template is not None:
                layer = found[1]
                problem = layer.document.problem((*layer.at, *within), message, remedy, of_key=of_key)
                self.told.setdefault(problem, (found[1].template, []))[1].append(self.syncs[number].sync)
                return problem
        return Document.problem(self, path, message, remedy, of_key=of_key)


def told_once(
    problems: Iterable[Problem],
    of_templates: Collection[Problem],
    documents: Iterable[MergedDocument],
    sound: Collection[str],
) -> Iterator[Problem]:
    """The problems, in which one that stands in a template and shows in the syncs that use it is told once, with the syncs.

    ``of_templates``: those that templates have by themselves. While a template has any (it is not among the ``sound``), what
    else its syncs have of it says nothing new.
    """
    shown: dict[Problem, list[str]] = {}
    follows: set[Problem] = set()
    for document in documents:
        for problem, (template, syncs) in document.told.items():
            shown.setdefault(problem, []).extend(syncs)
            if template not in sound:
                follows.add(problem)
    for problem in dict.fromkeys(problems):
        if problem in of_templates or problem not in shown:
            yield problem
        elif problem not in follows:
            first, *others = dict.fromkeys(shown[problem])
            more = f" and {len(others)} more" if others else ""
            yield replace(problem, message=f"{problem.message} (in the sync {first}{more})")
