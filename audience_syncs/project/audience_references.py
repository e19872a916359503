"""Other audiences that filters and priority lists name: whether they are there, and whether their members can be compared."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audience_syncs.model.admission import PriorityConfig
from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.filters import InAudience, NotInAudience
from audience_syncs.model.kinds import Kind
from audience_syncs.model.schema import Schema
from audience_syncs.project.filters import places
from audience_syncs.project.models import comparable
from audience_syncs.project.parts import members
from audience_syncs.project.problems import Problem, YamlPath, choose_from, shown_path
from audience_syncs.project.yaml_documents import Document

_FILTER: YamlPath = ("attributes", "filter")


@dataclass(frozen=True, slots=True)
class Reference:
    """Another audience that a filter names, and where."""

    audience: str
    path: YamlPath


def references(condition: Any) -> list[Reference]:
    """The other audiences that a filter asks about, each time it does."""
    found = []
    for path, inside in places(_FILTER, condition):
        if isinstance(inside, InAudience):
            found.append(Reference(inside.in_audience, (*path, "in_audience")))
        elif isinstance(inside, NotInAudience):
            found.append(Reference(inside.not_in_audience, (*path, "not_in_audience")))
    return found


def check_other_audiences(
    document: Document, name: str, model: str, condition: Any, schema: Schema, named: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with the audiences that the filter of an audience names, except for cycles. ``named``: all that there
    are, also those with mistakes of their own."""
    for reference in references(condition):
        if reference.audience == name:
            message = "an audience cannot be chosen by who is in it"
            yield document.problem(reference.path, message, "name another audience, or remove this condition")
        elif reference.audience not in named:
            remedy = choose_from(reference.audience, sorted(set(named) - {name}), none="there is no other yet")
            yield document.problem(reference.path, f"there is no audience `{reference.audience}`", remedy)
        elif reference.audience in schema.audiences:
            yield from _check_comparable(document, reference, model, schema)


def _check_comparable(document: Document, reference: Reference, model: str, schema: Schema) -> Iterator[Problem]:
    other, own = schema.audiences[reference.audience], schema.models[model]
    source = source_of(other, schema)
    if source is not None and source != own.source:
        message = f"`{other.name}` is in the source `{source}`, and `{model}` in `{own.source}`"
        yield document.problem(reference.path, message, "name an audience of the same source; others cannot be asked")
        return
    kind, others = schema.kind(model, own.primary_key), _key_kind(other, schema)
    if kind is not None and others is not None and not comparable(kind, others):
        message = f"the people of `{other.name}` have another kind of key: {others}, and those of `{model}` {kind}"
        remedy = f"cast the key of `{other.name}` in its SQL" if other.sql else "name an audience of the same model"
        yield document.problem(reference.path, message, remedy)


def source_of(audience: AudienceConfig, schema: Schema) -> str | None:
    """The source of an audience, its own or its model's; None where that has mistakes."""
    if audience.model is None:
        return audience.source
    model = schema.models.get(audience.model)
    return None if model is None else model.source


def _key_kind(audience: AudienceConfig, schema: Schema) -> Kind | None:
    model = schema.models.get(audience.model or "")
    return members(audience, schema).kind(audience.primary_key if model is None else model.primary_key)


def check_cycles(audiences: Sequence[tuple[Document, AudienceConfig]]) -> Iterator[tuple[list[str], Problem]]:
    """Audiences that are chosen by each other, so that none can be evaluated first: each such cycle once, where it begins."""
    documents = {audience.name: document for document, audience in audiences}
    graph = {audience.name: references(audience.filter) for _, audience in audiences if audience.filter is not None}
    for cycle in _cycles({name: [reference.audience for reference in found] for name, found in graph.items()}):
        path = next(reference.path for reference in graph[cycle[0]] if reference.audience == cycle[1 % len(cycle)])
        shown = " -> ".join(f"`{name}`" for name in (*cycle, cycle[0]))
        message = f"a cycle: {shown}; none of them can be evaluated first"
        yield cycle, documents[cycle[0]].problem(path, message, "take one of these conditions out")


def _cycles(graph: Mapping[str, Sequence[str]]) -> Iterator[list[str]]:
    """The cycles that a search meets; every audience that is in one is in one of these. A reference to itself is none."""
    done: set[str] = set()
    for start in graph:
        if start in done:
            continue
        trail = [start]
        pending = [iter(graph[start])]
        while trail:
            following = next(pending[-1], None)
            if following is None:
                done.add(trail.pop())
                pending.pop()
            elif following in trail:
                cycle = trail[trail.index(following) :]
                if len(cycle) > 1:
                    yield cycle
            elif following in graph and following not in done:
                trail.append(following)
                pending.append(iter(graph[following]))


def check_priority(
    document: Document, priority: PriorityConfig, schema: Schema, named: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with the audiences of a priority list."""
    first: tuple[str, str] | None = None
    for number, name in enumerate(priority.audiences):
        path: YamlPath = ("attributes", "audiences", number)
        if name not in named:
            remedy = choose_from(name, sorted(named), none="there is none yet")
            yield document.problem(path, f"there is no audience `{name}`", remedy)
            continue
        source = source_of(schema.audiences[name], schema) if name in schema.audiences else None
        if source is None:
            continue
        first = first or (name, source)
        if source != first[1]:
            message = f"`{name}` is in the source `{source}`, and `{first[0]}` in `{first[1]}`"
            yield document.problem(path, message, "make one list for each source; people of two cannot be compared")


def check_one_priority(priorities: Sequence[tuple[Document, PriorityConfig]]) -> Iterator[Problem]:
    """Audiences that are in two priority lists: it would not be known which one goes first."""
    listed: dict[str, tuple[Document, int, str]] = {}
    for document, priority in priorities:
        for number, name in enumerate(priority.audiences):
            other, at, other_name = listed.setdefault(name, (document, number, priority.name))
            if other_name != priority.name:
                line, _ = other.position(("attributes", "audiences", at))
                message = f"`{name}` is in the priority list `{other_name}` too ({shown_path(other.file)}:{line})"
                remedy = "remove it from one of them, or make one list of both"
                yield document.problem(("attributes", "audiences", number), message, remedy)
