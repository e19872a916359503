"""What only shows when everything is known: names of others, what destinations can do, circles between audiences."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from audience_syncs.model.admission import PriorityConfig
from audience_syncs.model.alerts import AlertsConfig
from audience_syncs.model.config import AudienceConfig, DestinationConfig
from audience_syncs.model.kinds import Kind
from audience_syncs.model.schema import ModelConfig, Schema
from audience_syncs.model.sequences import SequenceConfig
from audience_syncs.project.audience_references import check_cycles, check_one_priority, check_priority
from audience_syncs.project.mapping import kinds_of
from audience_syncs.project.members import check_exclusions, surprises
from audience_syncs.project.models import check_model
from audience_syncs.project.people import check_people
from audience_syncs.project.problems import shown_path
from audience_syncs.project.reading import Reading
from audience_syncs.project.rules import (
    check_audience,
    check_channels,
    check_destination,
    check_name,
    check_sequence,
    check_shared_lists,
    check_template_references,
)


def check_references(reading: Reading) -> None:
    """What only shows when everything is known: names of others, and what destinations can do."""
    broken: set[int] = set()
    known_channels = _check_alerts(reading)
    schema = Schema(reading.models, reading.columns if reading.with_columns else {}, reading.audiences)
    for number, (kind, document, attributes, config) in enumerate(reading.found):
        before = len(reading.problems)
        if isinstance(config, DestinationConfig):
            reading.problems += check_destination(document, config)
            reading.problems += check_exclusions(document, config)
        elif isinstance(config, ModelConfig):
            sources = reading.named["Source"]
            reading.problems += check_model(
                document, config, schema, sources=sources, with_columns=reading.with_columns
            )
            if len(reading.problems) > before:
                reading.drop(kind, document, config)  # now: what is about it is not looked at then
        elif kind == "SyncTemplate":
            reading.problems += check_template_references(document, attributes, reading.named["Destination"])
        elif kind == "Audience":
            reading.problems += check_audience(
                document,
                attributes,
                sources=reading.named["Source"],
                models=reading.named["Model"],
                destination_names=reading.named["Destination"],
                destinations=reading.destinations,
                kinds=_kinds_of(reading, attributes),
            )
            audience = config if isinstance(config, AudienceConfig) else None
            reading.problems += check_people(
                document, attributes, audience, schema, reading.destinations, reading.named
            )
            if audience is not None:
                reading.notes += surprises(document, audience, schema)
            if audience is not None and audience.model is not None and audience.model not in reading.models:
                broken.add(number)  # it has nobody to choose from; reported with the model
        elif isinstance(config, PriorityConfig):
            reading.problems += check_name(document, ("attributes", "name"), config.name)
            reading.problems += check_priority(document, config, schema, reading.named["Audience"])
        elif isinstance(config, SequenceConfig):
            reading.problems += check_sequence(document, config, reading.audiences, reading.named["Audience"])
        if known_channels is not None:
            reading.problems += check_channels(document, attributes, known_channels)
        if kind == "SyncTemplate":
            reading.of_templates.update(reading.problems[before:])
        if len(reading.problems) > before:
            broken.add(number)
    whole = [(document, config) for _, document, _, config in reading.found if isinstance(config, AudienceConfig)]
    reading.problems += check_shared_lists(whole)
    lists = [(document, config) for _, document, _, config in reading.found if isinstance(config, PriorityConfig)]
    reading.problems += check_one_priority(lists)
    for cycle, problem in check_cycles(whole):
        reading.problems.append(problem)
        broken |= {
            number
            for number, (_, _, _, config) in enumerate(reading.found)
            if getattr(config, "name", "") in cycle and isinstance(config, AudienceConfig)
        }
    for number in broken:
        kind, document, _, config = reading.found[number]
        if config is not None:
            reading.drop(kind, document, config)


def _kinds_of(reading: Reading, audience: Mapping[str, Any]) -> dict[str, Kind]:
    """The kinds of an audience's columns, as far as they are recorded."""
    name, model, columns = (audience.get(key) for key in ("name", "model", "columns"))
    return kinds_of(
        Schema(reading.models, reading.columns),
        audience=name if isinstance(name, str) else "",
        model=None if model is None else str(model),
        columns=columns if isinstance(columns, list) else None,
    )


def _check_alerts(reading: Reading) -> Collection[str] | None:
    """There is one definition of alerts at most. Answers the channels' names; None where it has mistakes."""
    found = [(document, config) for kind, document, _, config in reading.found if kind == "Alerts"]
    for document, _ in found[1:]:
        line, _ = found[0][0].position(("type",))
        message = f"the project's alerts are defined twice; the other is at {shown_path(found[0][0].file)}:{line}"
        reading.problems.append(document.problem(("type",), message, "put everything into one of them"))
    if not found:
        return ()
    config = found[0][1]
    return config.channels if isinstance(config, AlertsConfig) else None
