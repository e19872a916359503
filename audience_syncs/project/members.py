"""What is wrong with how members are described, divided and sent: columns that they have not, groups without place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from audience_syncs.model.admission import Exclusion
from audience_syncs.model.config import AudienceConfig, DestinationConfig, ModeFamily, SyncConfig
from audience_syncs.model.mapping import MappedField
from audience_syncs.model.row_templates import columns_of
from audience_syncs.model.schema import ModelConfig, Schema
from audience_syncs.model.splits import GROUP
from audience_syncs.project.comparisons import value_misfit
from audience_syncs.project.parts import Part, members, people
from audience_syncs.project.problems import Problem, YamlPath, choose_from
from audience_syncs.project.yaml_documents import Document

_TOP: YamlPath = ("attributes",)


def check_members(
    document: Document,
    attributes: Mapping[str, Any],
    audience: AudienceConfig,
    schema: Schema,
    destinations: Mapping[str, DestinationConfig],
) -> Iterator[Problem]:
    """All that is wrong with an audience's columns, its split, and the columns that its syncs and their destinations need."""
    model = schema.models.get(audience.model or "")
    if model is not None:
        yield from _check_chosen_columns(document, audience, model, schema)
    part = members(audience, schema)
    if model is None:
        yield from part.missing(document, (*_TOP, "primary_key"), audience.primary_key)
    for number, column in enumerate(audience.personal):
        yield from _missing(document, (*_TOP, "personal", number), column, part, audience, model)
    yield from _check_split(document, audience, model, part)
    for number, sync in enumerate(audience.syncs):
        path: YamlPath = (*_TOP, "syncs", number)
        written = attributes["syncs"][number]["mapping"]
        for field in sync.mapping:
            for at, column in _mapped_columns((*path, "mapping", field), sync.mapping[field], written[field]):
                if column != GROUP or audience.split is None:
                    yield from _missing(document, at, column, part, audience, model)
        destination = destinations.get(sync.destination)
        # Whom a destination excludes may well be taken out of a list.
        excludes = sync.mode.family is not ModeFamily.OUT_OF_LIST
        for exclusion in destination.exclude if destination is not None and excludes else ():
            yield from _check_exclusion(document, path, exclusion, part, sync)


def check_exclusions(document: Document, destination: DestinationConfig) -> Iterator[Problem]:
    """Exclusions of one destination that have the same name: their counts could not be told apart."""
    names = [exclusion.name for exclusion in destination.exclude]
    for number, name in enumerate(names):
        if name in names[:number]:
            message = f"there are two exclusions called `{name}`"
            yield document.problem((*_TOP, "exclude", number, "name"), message, "give one of them another name")


def surprises(document: Document, audience: AudienceConfig, schema: Schema) -> Iterator[Problem]:
    """What is right about an audience and may not be what is expected."""
    model = schema.models.get(audience.model or "")
    if model is not None and model.now_sql is not None and audience.partitions is not None:
        message = f"the `now_sql` of `{model.name}` is not used: of a partitioned audience, now is the end of the day"
        yield document.problem((*_TOP, "partitions"), message, "nothing, if that is meant", of_key=True)


def _check_chosen_columns(
    document: Document, audience: AudienceConfig, model: ModelConfig, schema: Schema
) -> Iterator[Problem]:
    known = people(model, schema)
    for number, name in enumerate(audience.columns or ()):
        path = (*_TOP, "columns", number)
        if name in (audience.columns or ())[:number]:
            yield document.problem(path, f"`{name}` is named twice", "remove one of them")
        elif known.columns and name not in known.columns and name not in model.traits:
            message = f"the people of `{model.name}` have neither a column nor a trait `{name}`"
            what = "is an event" if name in model.events else "are related rows" if name in model.related else ""
            hint = f"`{name}` {what}; make a trait of it in the model, e.g. `take: count`" if what else ""
            remedy = hint or choose_from(name, [*known.columns, *model.traits], none="")
            yield document.problem(path, message, remedy)


def _missing(
    document: Document, path: YamlPath, column: str, part: Part, audience: AudienceConfig, model: ModelConfig | None
) -> Iterator[Problem]:
    """A column that members have not: perhaps the model has it, and it is not among those chosen."""
    hint = ""
    if model is not None and column in model.traits:
        given = (
            "add it to `columns`" if audience.columns is not None else "name it, and all other columns, in `columns`"
        )
        hint = f"`{column}` is a trait; {given}"
    elif model is not None and audience.columns is not None and column not in audience.columns:
        hint = f"add it to the audience's `columns`, or map one of {', '.join(f'`{name}`' for name in part.columns)}"
    yield from part.missing(document, path, column, hint=hint)


def _mapped_columns(path: YamlPath, mapped: MappedField, written: Any) -> Iterator[tuple[YamlPath, str]]:
    """The columns behind one field of a mapping, each with its place. ``written``: short, `EMAIL: email`, or a mapping."""
    is_short = isinstance(written, str)
    if mapped.column is not None:
        yield (path if is_short else (*path, "column")), mapped.column
    if mapped.template is not None:
        for column in columns_of(mapped.template):
            yield (*path, "template"), column
    if mapped.region is not None:
        yield (*path, "region"), mapped.region
    for name, part in (mapped.object or {}).items():
        yield from _mapped_columns((*path, "object", name), part, written["object"][name])


def _check_split(
    document: Document, audience: AudienceConfig, model: ModelConfig | None, part: Part
) -> Iterator[Problem]:
    split = audience.split
    if split is None:
        return
    path = (*_TOP, "split")
    known = [sync.key for sync in audience.syncs]
    for number, group in enumerate(split.groups):
        for at, name in enumerate(group.syncs):
            if name not in known:
                remedy = choose_from(name, known, none="the audience has no sync; define it under `syncs`")
                place = (*path, "groups", number, "syncs", at)
                yield document.problem(place, f"the audience has no sync `{name}`", remedy)
    named = {name for group in split.groups for name in group.syncs}
    for number, name in enumerate(known):
        if name not in named:
            message = f"no group of the split names the sync `{name}`: it would be sent nobody"
            remedy = f"add it to the `syncs` of a group: {', '.join(f'`{group.name}`' for group in split.groups)}"
            yield document.problem((*_TOP, "syncs", number), message, remedy)
    for number, column in enumerate(split.stratify):
        yield from _missing(document, (*path, "stratify", number), column, part, audience, model)
    for name, conversion in split.conversions.items():
        if conversion.event is not None:
            yield from _check_event(document, (*path, "conversions", name, "event"), conversion.event, audience, model)


def _check_event(
    document: Document, path: YamlPath, event: str, audience: AudienceConfig, model: ModelConfig | None
) -> Iterator[Problem]:
    if audience.model is None:
        remedy = "write `sql` instead of `event`: one SELECT of the key and the time of who converted"
        yield document.problem(path, "an audience with `sql` has no events", remedy)
    elif model is not None and event not in model.events:
        none = f"the model `{model.name}` has none yet; define it under `events`"
        message = f"there is no event `{event}` in the model `{model.name}`"
        yield document.problem(path, message, choose_from(event, list(model.events), none=none))


def _check_exclusion(
    document: Document, path: YamlPath, exclusion: Exclusion, part: Part, sync: SyncConfig
) -> Iterator[Problem]:
    """What an exclusion of the sync's destination cannot ask of the members."""
    column = exclusion.column or exclusion.match
    if column is None or not part.columns:
        return
    about = f"the exclusion `{exclusion.name}` of `{sync.destination}`"
    if column not in part.columns:
        message = f"{about} needs a column `{column}`, which {part.what} have not: nobody could be sent"
        yield document.problem((*path, "destination"), message, f"add `{column}` to the audience")
        return
    kind, values = part.kind(column), [*(exclusion.unless or ()), *(exclusion.when or ())]
    if kind is not None and any(value_misfit(value, kind) for value in values):
        message = f"{about} compares `{column}` with a value it never has: it is {part.words(column)}"
        remedy = "give the exclusion values of this kind, or the audience a column of the other"
        yield document.problem((*path, "destination"), message, remedy)
