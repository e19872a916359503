"""Rules that one field alone cannot tell: names of others, cron, owners and tags, and what a destination can do."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from audience_syncs.model.config import AudienceConfig, DestinationConfig, SyncConfig, sync_id
from audience_syncs.model.kinds import Kind
from audience_syncs.model.schedules import After, Cron
from audience_syncs.model.sequences import SequenceConfig
from audience_syncs.project import cron
from audience_syncs.project.problems import Problem, YamlPath, choose_from, shown_path
from audience_syncs.project.yaml_documents import Document

# Dagster's own rules for owners and tags; it would refuse others with a stack trace.
_EMAIL = re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,7}")
_TAG_KEY = re.compile(r"(?:[A-Za-z0-9_.-]{1,63}/|dagster/kind/)?[A-Za-z0-9_.-]{1,63}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")


def check_audience(
    document: Document,
    attributes: Mapping[str, Any],
    *,
    sources: Collection[str],
    models: Collection[str],
    destination_names: Collection[str],
    destinations: Mapping[str, DestinationConfig],
    kinds: Mapping[str, Kind],
) -> Iterator[Problem]:
    """All that is wrong with one audience beyond its fields' types; works also where some of those are wrong. ``kinds``: of its
    columns, as far as known."""
    # Imported late: the registry brings the platforms' modules.
    from audience_syncs.destinations import registry

    top: YamlPath = ("attributes",)
    if "model" in attributes:
        yield from check_reference(document, (*top, "model"), attributes["model"], "model", models)
    else:
        yield from check_reference(document, (*top, "source"), attributes.get("source"), "source", sources)
    yield from check_name(document, (*top, "name"), attributes.get("name"))
    yield from _check_owners(document, (*top, "owners"), attributes.get("owners"))
    yield from _check_tags(document, (*top, "tags"), attributes.get("tags"))
    syncs = attributes.get("syncs")
    for number, written in enumerate(syncs if isinstance(syncs, list) else ()):
        if not isinstance(written, dict):
            continue
        path: YamlPath = (*top, "syncs", number)
        yield from check_name(document, (*path, "name"), written.get("name"))
        yield from check_reference(
            document, (*path, "destination"), written.get("destination"), "destination", destination_names
        )
        yield from _check_cron(document, (*path, "schedule", "cron"), written.get("schedule"))
        try:
            sync = SyncConfig.model_validate(written)
        except ValidationError:
            continue  # reported with the rest of the audience
        destination = destinations.get(sync.destination)
        if destination is not None:
            for found in registry.check_sync(destination, sync, kinds):
                # A field of the mapping is wrong by its name.
                of_key = len(found.path) == 2 and found.path[0] == "mapping"
                yield document.problem((*path, *found.path), found.message, found.remedy, of_key=of_key)


def check_template_references(
    document: Document, attributes: Mapping[str, Any], destination_names: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with a sync template wherever it is used: names of others, cron."""
    top: YamlPath = ("attributes",)
    yield from check_name(document, (*top, "name"), attributes.get("name"))
    destination = attributes.get("destination")
    yield from check_reference(document, (*top, "destination"), destination, "destination", destination_names)
    yield from _check_cron(document, (*top, "schedule", "cron"), attributes.get("schedule"))


def check_destination(document: Document, destination: DestinationConfig) -> Iterator[Problem]:
    """What is wrong with a destination: an unknown platform, secrets and settings it does not know or needs."""
    from audience_syncs.destinations import registry

    for found in registry.check_destination(destination):
        # A secret or setting that is wrong is wrong by its name; its value is never shown.
        yield document.problem(("attributes", *found.path), found.message, found.remedy, of_key=len(found.path) >= 2)


def check_sequence(
    document: Document, sequence: SequenceConfig, audiences: Mapping[str, AudienceConfig], named: Collection[str]
) -> Iterator[Problem]:
    """What is wrong with a sequence: steps that are no syncs, or that it cannot run. ``named``: audiences there are, also
    those with mistakes of their own."""
    top: YamlPath = ("attributes",)
    yield from check_name(document, (*top, "name"), sequence.name)
    if isinstance(sequence.schedule, After) and sequence.schedule.is_audience:
        remedy = "name an asset: `{after: audiences/NAME}`"
        yield document.problem((*top, "schedule", "after"), "a sequence has no audience of its own", remedy)
    if isinstance(sequence.schedule, Cron):
        yield from _check_cron(document, (*top, "schedule", "cron"), {"cron": sequence.schedule.cron})
    known = {sync_id(audience, sync): sync for audience in audiences.values() for sync in audience.syncs}
    for number, step in enumerate(sequence.steps):
        path: YamlPath = (*top, "steps", number)
        if step in known:
            if known[step].partitioned:
                remedy = "leave it out, or take `partitioned` away: in a sequence a sync follows the latest day"
                yield document.problem(path, f"the sync {step} is partitioned", remedy)
        elif step.partition("/")[0] in audiences or step.partition("/")[0] not in named:
            remedy = choose_from(step, sorted(known), none="there is none yet; a sync is defined with its audience")
            yield document.problem(path, f"there is no sync `{step}`", remedy)


def check_channels(document: Document, attributes: Mapping[str, Any], known: Collection[str]) -> Iterator[Problem]:
    """Channels that are named and not there, in `notify` of the definition itself and of its syncs."""
    top: YamlPath = ("attributes",)
    syncs = attributes.get("syncs")
    places: list[tuple[YamlPath, Any]] = [(top, attributes)]
    places += [((*top, "syncs", number), sync) for number, sync in enumerate(syncs if isinstance(syncs, list) else ())]
    for path, written in places:
        notify = written.get("notify") if isinstance(written, dict) else None
        channels = notify.get("channels") if isinstance(notify, dict) else None
        for number, name in enumerate(channels if isinstance(channels, list) else ()):
            if isinstance(name, str) and name not in known:
                none = "there is none yet; define it under `channels` with `type: audience_syncs.components.Alerts`"
                remedy = choose_from(name, sorted(known), none=none)
                yield document.problem((*path, "notify", "channels", number), f"there is no channel `{name}`", remedy)


def check_shared_lists(audiences: Sequence[tuple[Document, AudienceConfig]]) -> Iterator[Problem]:
    """Two syncs must not keep one list: each would remove whom the other put there."""
    kept: dict[tuple[str, str], tuple[Document, YamlPath, str]] = {}
    for document, audience in audiences:
        for number, sync in enumerate(audience.syncs):
            if not sync.mode.family.has_list:
                continue
            wanted = sync.list.id or sync.list.name or audience.label
            path: YamlPath = ("attributes", "syncs", number)
            name = f"{audience.name}/{sync.key}"
            other = kept.setdefault((sync.destination, wanted), (document, path, name))
            if other[2] != name:
                line, _ = other[0].position(other[1])
                yield document.problem(
                    (*path, "list"),
                    f"this sync and {other[2]} ({shown_path(other[0].file)}:{line}) keep the same list at "
                    f"{sync.destination}; each would remove whom the other put there",
                    "give one of them a list of its own: `list: {name: ...}`",
                )


def check_reference(
    document: Document, path: YamlPath, name: Any, what: str, known: Collection[str]
) -> Iterator[Problem]:
    """A name that is not there: of a source, a model, a destination."""
    if isinstance(name, str) and name not in known:
        none = f"there is none yet; define it in a defs.yaml with `type: audience_syncs.components.{what.capitalize()}`"
        yield document.problem(path, f"there is no {what} `{name}`", choose_from(name, sorted(known), none=none))


def _check_cron(document: Document, path: YamlPath, schedule: Any) -> Iterator[Problem]:
    expression = schedule.get("cron") if isinstance(schedule, dict) else None
    # The number of fields is the model's rule.
    if isinstance(expression, str) and len(expression.split()) == 5:
        objection = cron.objection(expression)
        if objection:
            remedy = "minute, hour, day of month, month, day of week; e.g. `0 6 * * 1-5` for 6:00 on working days"
            yield document.problem(path, objection, remedy)


def check_name(document: Document, path: YamlPath, name: Any, *, of_key: bool = False) -> Iterator[Problem]:
    """A name with two underscores in a row. ``of_key``: the name is itself a key."""
    # Jobs are called sync__<audience>__<sync>: with two underscores inside a name, two syncs could share one.
    if isinstance(name, str) and "__" in name:
        yield document.problem(
            path, "a name must not contain two underscores in a row", "use a single one", of_key=of_key
        )


def _check_owners(document: Document, path: YamlPath, owners: Any) -> Iterator[Problem]:
    for number, owner in enumerate(owners if isinstance(owners, list) else ()):
        if isinstance(owner, str) and not (_EMAIL.fullmatch(owner) or (owner.startswith("team:") and len(owner) > 5)):
            yield document.problem((*path, number), "is not an owner", "write an email address, or `team:name`")


def _check_tags(document: Document, path: YamlPath, tags: Any) -> Iterator[Problem]:
    for key, value in tags.items() if isinstance(tags, dict) else ():
        if not _TAG_KEY.fullmatch(key):
            remedy = "letters, digits, `_`, `-`, `.`, at most 63; a namespace may stand before a `/`"
            yield document.problem((*path, key), "is not a tag's name in Dagster", remedy, of_key=True)
        if isinstance(value, str) and not _TAG_VALUE.fullmatch(value):
            remedy = "letters, digits, `_`, `-`, `.`, at most 63 characters, no spaces"
            yield document.problem((*path, key), "is not a tag's value in Dagster", remedy)
