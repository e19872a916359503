"""Dagster components: the YAML under ``defs/`` becomes assets, jobs and schedules.

With ``health``, all that knows Dagster:

    Source, Destination, Audience    the component types, for ``defs.yaml``
    loading                          a folder of definitions -> Dagster's definitions
    audience_assets, sync_assets     what an audience and a sync become
    figures                          snapshots, reports and errors as Dagster metadata
    storage                          Dagster's own storage, its address from the environment
"""

from audience_syncs.components.component_types import Audience, Destination, Source

__all__ = ["Audience", "Destination", "Source"]
