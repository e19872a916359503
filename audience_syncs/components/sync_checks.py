"""Checks of a sync's asset."""

# Without postponed annotations: Dagster reads those of check functions.

import os

import dagster as dg

from audience_syncs.components.figures import audit_metadata, reported_to_dagster
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SourceConfig, SyncConfig


def build_audit(
    key: dg.AssetKey, audience: AudienceConfig, sync: SyncConfig, source: SourceConfig, destination: DestinationConfig
) -> dg.AssetChecksDefinition:
    """The check ``destination_audit``: the list as the platform tells it, against the ledger.

    A warning, never an error: the list may have been changed by somebody who was free to do so, and a platform may take
    a while to tell of what it accepted. Reading a long list takes long, so the sync's own job leaves it out.
    """

    @dg.asset_check(
        asset=key,
        name="destination_audit",
        description="Reads the list back from the platform and compares it with what it has accepted.",
    )
    def audit() -> dg.AssetCheckResult:
        from audience_syncs.destinations.registry import open_destination
        from audience_syncs.engine.audit import audit_sync
        from audience_syncs.warehouse import open_warehouse

        with reported_to_dagster(sync), open_warehouse(source, os.environ) as warehouse:
            report = audit_sync(audience, sync, open_destination(destination, os.environ), warehouse)
        return dg.AssetCheckResult(
            passed=report.passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=report.difference or "The list is what the platform accepted.",
            metadata=audit_metadata(report),
        )

    return audit
