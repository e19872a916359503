"""Dagster components: the YAML under ``defs/`` becomes assets, jobs and schedules.

With ``health``, all that knows Dagster:

    Source, Destination, Model, SyncTemplate, Audience, Priority, Sequence, Alerts
                                                    the component types, for ``defs.yaml``
    loading                                         a folder of definitions -> Dagster's definitions
    audience_assets, sync_assets, sequence_jobs     what an audience, a sync and a sequence become
    figures                                         snapshots, reports and errors as Dagster metadata
    storage                                         Dagster's own storage, its address from the environment
"""

from audience_syncs.components.component_types import (
    Alerts,
    Audience,
    Destination,
    Model,
    Priority,
    Sequence,
    Source,
    SyncTemplate,
)

__all__ = ["Alerts", "Audience", "Destination", "Model", "Priority", "Sequence", "Source", "SyncTemplate"]
