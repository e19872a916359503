"""What an audience takes from its model, and a sync from its audience, its destination and the project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from audience_syncs.model.admission import Admission, PriorityConfig
from audience_syncs.model.alerts import AlertsConfig
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SyncConfig
from audience_syncs.model.schema import Schema


def from_model(audience: AudienceConfig, schema: Schema) -> AudienceConfig:
    """The audience with its model's source, key and personal columns; one with SQL has its own."""
    if audience.model is None:
        return audience.resolved(schema)
    model = schema.models[audience.model]
    personal = [*audience.personal, *(name for name in model.personal if name not in audience.personal)]
    return audience.resolved(schema, source=model.source, primary_key=model.primary_key, personal=personal)


def inherited(
    audience: AudienceConfig,
    destinations: Mapping[str, DestinationConfig],
    project: AlertsConfig,
    priorities: Iterable[PriorityConfig] = (),
) -> AudienceConfig:
    """The audience, whose syncs have the limits, channels and admission that hold for them."""
    before = next((_before(audience.name, listed) for listed in priorities if audience.name in listed.audiences), ())
    syncs = []
    for sync in audience.syncs:
        destination = destinations.get(sync.destination)
        limits = [audience.limits, *([destination.limits] if destination else []), project.limits]
        notify = [audience.notify, *([destination.notify] if destination else []), project.notify]
        admission = Admission(tuple(destination.exclude) if destination else (), before, _groups(audience, sync))
        syncs.append(
            sync.model_copy(
                update={"limits": sync.limits.inheriting(*limits), "notify": sync.notify.inheriting(*notify)}
            ).admitting(admission)
        )
    return audience.model_copy(update={"syncs": syncs})


def _before(audience: str, listed: PriorityConfig) -> tuple[str, ...]:
    return tuple(listed.audiences[: listed.audiences.index(audience)])


def _groups(audience: AudienceConfig, sync: SyncConfig) -> tuple[str, ...] | None:
    if audience.split is None:
        return None
    return tuple(group.name for group in audience.split.groups if sync.key in group.syncs)
