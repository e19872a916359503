"""What a sync has from its templates: raw YAML put together before it is checked, with the origin of each value.

A later template goes before an earlier one, and the sync itself before all. Sections (``mapping``, ``guard``, ...) are merged
key by key, everything else is replaced as a whole. What a template locks keeps its value; a lock holds for what comes after
the template that has it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audience_syncs.model.config import SyncConfig
from audience_syncs.model.placeholders import PLACEHOLDERS, UnknownPlaceholder, filled
from audience_syncs.model.templates import ALTERNATIVES, LATER_THAN_MODE, PARTS, SECTIONS, SyncTemplateConfig
from audience_syncs.project.explain import accepts_null
from audience_syncs.project.origins import Layer, MergedDocument, Part, SyncOrigins
from audience_syncs.project.problems import Problem, YamlPath, choose_from
from audience_syncs.project.yaml_documents import Document

NO_TEMPLATE = "there is none yet; define it in a defs.yaml with `type: audience_syncs.components.SyncTemplate`"
_WITH_PLACEHOLDERS: tuple[Part, ...] = (("list", "name"), ("list", "description"), ("description",))


@dataclass(frozen=True, slots=True)
class Combined:
    """An audience's attributes with what its syncs have from templates."""

    document: MergedDocument
    attributes: dict[str, Any]
    problems: list[Problem]
    lacking: frozenset[str]
    """Paths of what a sync lacks because a template is not there: told of already."""


def combine(document: Document, attributes: Mapping[str, Any], templates: Mapping[str, Layer], source: str) -> Combined:
    """The audience with its syncs made whole. ``templates``: all there are, also those with mistakes of their own;
    ``source``: the audience's, for placeholders."""
    problems: list[Problem] = []
    origins: dict[int, SyncOrigins] = {}
    lacking: set[str] = set()
    written = attributes.get("syncs")
    syncs: Any = list(written) if isinstance(written, list) else written
    for number, values in enumerate(written if isinstance(written, list) else ()):
        if not isinstance(values, dict):
            continue
        own = Layer(document, ("attributes", "syncs", number), values)
        merging = _Merging(own)
        used, whole = merging.chosen(templates)
        for position, layer in used:
            merging.add_template(position, layer)
        merging.add_own()
        merging.settle_removal()
        syncs[number] = merging.values
        key = merging.values.get("name") or merging.values.get("destination")
        origins[number] = SyncOrigins(f"{attributes.get('name')}/{key}", own, merging.given, merging.locks)
        problems += merging.problems
        if not whole:
            required = (name for name, info in SyncConfig.model_fields.items() if info.is_required())
            lacking |= {f"attributes.syncs[{number}].{name}" for name in required if name not in merging.values}
    merged = MergedDocument(document.file, document.index, document.value, document.node, origins)
    combined = {**attributes, "syncs": syncs} if "syncs" in attributes else dict(attributes)
    for number in origins:
        problems += _fill(merged, number, combined, source)
    return Combined(merged, combined, problems, frozenset(lacking))


def check_template(document: Document, template: SyncTemplateConfig) -> Iterator[Problem]:
    """What is wrong with a template's locks: parts that there are not, or that it does not set."""
    written = template.model_fields_set
    for number, text in enumerate(template.locked):
        path: YamlPath = ("attributes", "locked", number)
        name, _, key = text.partition(".")
        if name not in PARTS:
            message = f"a template gives no `{name}` to its syncs, so it cannot be locked"
            yield document.problem(path, message, choose_from(name, PARTS, none=""))
            continue
        value = document.value["attributes"].get(name)
        if name not in written:
            remedy = f"set `{name}` in this template, or take it out of `locked`"
            yield document.problem(path, f"the template does not set `{name}`, so there is nothing to lock", remedy)
        elif key and name not in SECTIONS:
            yield document.problem(path, f"`{name}` is locked as a whole", f"write `{name}`")
        elif key and key not in (value or {}):
            remedy = f"set it, take it out of `locked`, or lock a key that is there: {_listed(name, value)}"
            yield document.problem(path, f"the template does not set `{text}`, so there is nothing to lock", remedy)


def template_layer(document: Document, attributes: Mapping[str, Any]) -> Layer:
    """What a template, whole or not, gives to the syncs that use it."""
    locked = attributes.get("locked")
    parts = {
        tuple(text.split(".", 1)) for text in (locked if isinstance(locked, list) else ()) if isinstance(text, str)
    }
    values = {name: attributes[name] for name in PARTS if name in attributes}
    return Layer(document, ("attributes",), values, str(attributes.get("name")), frozenset(parts))


@dataclass(slots=True)
class _Merging:
    """One sync, while its layers are put on each other."""

    own: Layer
    values: dict[str, Any] = field(default_factory=dict)
    given: dict[Part, Layer] = field(default_factory=dict)
    locks: dict[Part, Layer] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    order: list[Layer] = field(default_factory=list)

    def chosen(self, templates: Mapping[str, Layer]) -> tuple[list[tuple[int, Layer]], bool]:
        """The templates that the sync names, with their place in its list; and whether that is all of them."""
        named = self.own.values.get("templates")
        names = named if isinstance(named, list) else []
        found: list[tuple[int, Layer]] = []
        whole = True
        for position, name in enumerate(names):
            path: YamlPath = (*self.own.at, "templates", position)
            if not isinstance(name, str):
                whole = False  # reported with the types of the rest
            elif name not in templates:
                whole = False
                remedy = choose_from(name, sorted(templates), none=NO_TEMPLATE)
                self._note(path, f"there is no sync template `{name}`", remedy)
            elif name in names[:position]:
                self._note(path, f"the template `{name}` is named twice", "remove one of them; a later one goes first")
            else:
                found.append((position, templates[name]))
        return found, whole

    def add_template(self, position: int, layer: Layer) -> None:
        self._add(layer, position)
        for part in layer.locked:
            if part in self.given or any(given[:1] == part for given in self.given):
                self.locks.setdefault(part, layer)

    def add_own(self) -> None:
        self._add(self.own, None)

    def settle_removal(self) -> None:
        """A removal is meant for the mode it is written with: with one that never removes, which somebody gives who comes
        later, it is no mistake of anybody, and means nothing."""
        removal, mode = self.given.get((LATER_THAN_MODE,)), self.given.get(("mode",))
        if (
            removal is None
            or mode is None
            or (LATER_THAN_MODE,) in self.locks
            or not isinstance(self.values["mode"], str)
        ):
            return
        # Imported late: the registry brings the platforms' modules.
        from audience_syncs.destinations.registry import NEVER_REMOVING

        never_removes = self.values["mode"] in {str(word) for word in NEVER_REMOVING}
        if self.order.index(removal) < self.order.index(mode) and never_removes:
            del self.values[LATER_THAN_MODE], self.given[(LATER_THAN_MODE,)]

    def _add(self, layer: Layer, position: int | None) -> None:
        self.order.append(layer)
        for name, value in layer.values.items():
            before = self.values.get(name)
            if name in SECTIONS and isinstance(value, dict) and (before is None or isinstance(before, dict)):
                if before is None:
                    self.values[name] = {}
                    self.given.pop((name,), None)
                section = self.values[name]
                for key, inner in value.items():
                    self._put(layer, position, (name, key), section, inner)
            else:
                self._put(layer, position, (name,), self.values, value)

    def _put(self, layer: Layer, position: int | None, part: Part, into: dict[str, Any], value: Any) -> None:
        key = part[-1]
        lock = self._lock_on(part, into, value)
        if lock is not None:
            self._refuse(layer, position, part, *lock)
            return
        has_before = key in into
        if value is None and layer.template is None and has_before and not accepts_null(SyncConfig, part):
            if len(part) == 2 and part[0] == "mapping":
                del into[key], self.given[part]  # the way to leave out a field that the template maps
                return
            self._refuse_null(part)
            return
        other = ALTERNATIVES.get(part)
        if other is not None and other in self.given and self.given[other] is not layer:
            del into[other[-1]], self.given[other]
        if len(part) == 1:
            for inner in [known for known in self.given if known[0] == part[0]]:
                del self.given[inner]
        into[key] = value
        self.given[part] = layer

    def _lock_on(self, part: Part, into: Mapping[str, Any], value: Any) -> tuple[Part, Layer] | None:
        """The lock that giving this value would break."""
        locked = self.locks
        if len(part) == 1:
            inner = next((lock for lock in locked if len(lock) == 2 and lock[0] == part[0]), None)
            if inner is not None:
                return inner, locked[inner]
        for lock in (part, part[:1]):
            if lock in locked and not (part[-1] in into and _same(part, into[part[-1]], value)):
                return lock, locked[lock]
        other = ALTERNATIVES.get(part)
        return (other, locked[other]) if other in locked else None

    def _refuse(self, layer: Layer, position: int | None, part: Part, lock: Part, by: Layer) -> None:
        text, locked = ".".join(part), ".".join(lock)
        place = by.place(lock if lock in self.given else (lock[0],))
        if position is None:
            path: YamlPath = (*self.own.at, *part)
            message = f"`{text}` cannot be changed: the template `{by.template}` locks `{locked}` ({place})"
            remedy = "remove it here; what the template says holds. Or take "
        else:
            path = (*self.own.at, "templates", position)
            message = (
                f"the template `{layer.template}` changes `{text}` ({layer.place(part)}), and the template "
                f"`{by.template}` before it locks `{locked}` ({place})"
            )
            remedy = f"leave one of the two out, or take `{text}` out of `{layer.template}`; or take "
        self._note(path, message, f"{remedy}`{locked}` out of `locked` in `{by.template}`", of_key=position is None)

    def _refuse_null(self, part: Part) -> None:
        name = ".".join(part)
        given = self.given.get(part) or next(layer for known, layer in self.given.items() if known[0] == part[0])
        message = f"null does not take back the `{name}` of the template `{given.template}` ({given.place(part)})"
        default = SyncConfig.model_fields[part[0]].get_default(call_default_factory=True) if len(part) == 1 else None
        example = f", e.g. the default `{name}: {default}`" if isinstance(default, (str, int)) else ""
        remedy = f"write what should hold instead{example}; or leave the line out, and the template's holds"
        self._note((*self.own.at, *part), message, remedy)

    def _note(self, path: YamlPath, message: str, remedy: str, *, of_key: bool = False) -> None:
        self.problems.append(self.own.document.problem(path, message, remedy, of_key=of_key))


def _same(part: Part, one: Any, other: Any) -> bool:
    """Whether two values mean the same: of a mapping, a column may be named by itself."""
    if part[0] == "mapping" and len(part) == 2:
        one, other = ({"column": value} if isinstance(value, str) else value for value in (one, other))
    return type(one) is type(other) and bool(one == other)


def _listed(name: str, value: Any) -> str:
    return ", ".join(f"`{name}.{key}`" for key in value or {})


def _fill(document: MergedDocument, number: int, attributes: Mapping[str, Any], source: str) -> Sequence[Problem]:
    """Replaces the placeholders in the texts of a sync; what is wrong with them."""
    sync: dict[str, Any] = attributes["syncs"][number]
    name, title = attributes.get("name"), attributes.get("title")
    known = {
        "audience": name,
        "audience_title": title or name,
        "sync": sync.get("name") or sync.get("destination"),
        "destination": sync.get("destination"),
        "source": source,
    }
    # Of what is not text, something is wrong that is told of elsewhere.
    values = {key: value if isinstance(value, str) else "" for key, value in known.items()}
    problems: list[Problem] = []
    for part in _WITH_PLACEHOLDERS:
        holder = sync if len(part) == 1 else sync.get(part[0])
        text = holder.get(part[-1]) if isinstance(holder, dict) else None
        if not isinstance(text, str) or not ("{" in text or "}" in text):
            continue
        try:
            replaced = filled(text, values)
        except UnknownPlaceholder as unknown:
            path: YamlPath = ("attributes", "syncs", number, *part)
            problems.append(document.problem(path, str(unknown), _remedy(unknown)))
            continue
        if len(part) == 1:
            sync[part[0]] = replaced
        else:
            sync[part[0]][part[1]] = replaced
    return problems


def _remedy(unknown: UnknownPlaceholder) -> str:
    literal = "write `{{ '{{' }}` and `{{ '}}' }}` for braces that are meant as such"
    if unknown.name is None:
        return literal
    return f"{choose_from(unknown.name, PLACEHOLDERS, none='')}; or {literal}"
