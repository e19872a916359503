"""What a sync takes from its audience, its destination and the project, where it says nothing itself."""

from __future__ import annotations

from collections.abc import Mapping

from audience_syncs.model.alerts import AlertsConfig
from audience_syncs.model.config import AudienceConfig, DestinationConfig


def inherited(
    audience: AudienceConfig, destinations: Mapping[str, DestinationConfig], project: AlertsConfig
) -> AudienceConfig:
    """The audience, whose syncs have the limits and channels that hold for them."""
    syncs = []
    for sync in audience.syncs:
        destination = destinations.get(sync.destination)
        limits = [audience.limits, *([destination.limits] if destination else []), project.limits]
        notify = [audience.notify, *([destination.notify] if destination else []), project.notify]
        syncs.append(
            sync.model_copy(
                update={"limits": sync.limits.inheriting(*limits), "notify": sync.notify.inheriting(*notify)}
            )
        )
    return audience.model_copy(update={"syncs": syncs})
