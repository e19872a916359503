"""What a sync becomes in Dagster: an asset downstream of its audience, a job, and a schedule.

The job refreshes the audience first; materialising the sync's asset alone delivers the latest snapshot there is. The
schedule's switch in Dagster is how a sync is paused: there is no other.
"""

# Without postponed annotations: Dagster reads those of asset functions.

import os
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from pydantic import Field

from audience_syncs.components.audience_assets import audience_key
from audience_syncs.components.figures import ProgressLog, reported_to_dagster, sync_metadata
from audience_syncs.components.sync_checks import build_audit
from audience_syncs.model.config import (
    AudienceConfig,
    Cron,
    DestinationConfig,
    Interval,
    SourceConfig,
    SyncConfig,
    interval_to_cron,
    sync_id,
)
from audience_syncs.model.values import RunOptions


class SyncRunConfig(dg.Config):
    """What may be asked of one run, in Dagster's launchpad."""

    approve: str | None = Field(
        default=None,
        description="Digest of a plan that the guard blocked, from the failed run: exactly this plan may be sent.",
    )
    retry_rejected: bool = Field(
        default=False, description="Try members again that the platform rejected, although nothing about them changed."
    )
    full_resync: bool = Field(
        default=False,
        description="Send everybody again, and remove who should not be there. The list is never empty in between.",
    )
    new_list: bool = Field(
        default=False,
        description="Only when the list is gone at the platform: make another one and send everybody to it.",
    )

    def options(self, run_id: str) -> RunOptions:
        """What this asks of the engine."""
        return RunOptions(
            approve=self.approve,
            approved_by=f"Dagster run {run_id}",
            retry_rejected=self.retry_rejected,
            full_resync=self.full_resync,
            new_list=self.new_list,
        )


@dataclass(frozen=True)
class SyncDefinitions:
    """A sync's asset, its checks, job and schedule; a manual sync has no schedule, one without a list no audit."""

    asset: dg.AssetsDefinition
    checks: list[dg.AssetChecksDefinition]
    job: UnresolvedAssetJobDefinition
    schedule: dg.ScheduleDefinition | None


def sync_key(audience: str, sync: str) -> dg.AssetKey:
    """The sync's asset."""
    return dg.AssetKey(["syncs", audience, sync])


def job_name(audience: str, sync: str) -> str:
    """The job that refreshes the audience and runs the sync."""
    return f"sync__{audience}__{sync}"


def schedule_name(audience: str, sync: str) -> str:
    """The sync's schedule; its switch pauses and resumes the sync."""
    return f"schedule__{audience}__{sync}"


def pool_name(audience: str, sync: str) -> str:
    """The sync's pool: with the default limit of 1 (``dagster.yaml``), runs of one sync wait for each other."""
    return f"sync__{audience}__{sync}"


def build_sync(
    audience: AudienceConfig, sync: SyncConfig, source: SourceConfig, destination: DestinationConfig
) -> SyncDefinitions:
    """The asset ``syncs/<audience>/<sync>``, the job ``sync__<audience>__<sync>`` and its schedule."""
    from audience_syncs.destinations.registry import spec_of

    spec = spec_of(destination.platform)
    key = sync_key(audience.name, sync.key)

    @dg.asset(
        key=key,
        deps=[audience_key(audience.name)],
        group_name=audience.name,
        kinds={spec.kind},
        description=_description(audience, sync, destination, spec.title),
        owners=audience.owners,
        tags=audience.tags,
        pool=pool_name(audience.name, sync.key),
    )
    def deliver(context: dg.AssetExecutionContext, config: SyncRunConfig) -> dg.MaterializeResult[None]:
        # Imported late: definitions load without drivers and HTTP.
        from audience_syncs.destinations.registry import open_destination
        from audience_syncs.engine import run_sync
        from audience_syncs.warehouse import open_warehouse

        with reported_to_dagster(sync), open_warehouse(source, os.environ) as warehouse:
            report = run_sync(
                audience,
                sync,
                open_destination(destination, os.environ),
                warehouse,
                run_id=context.run_id,
                options=config.options(context.run_id),
                progress=ProgressLog(context.log.info),
            )
        return dg.MaterializeResult(metadata=sync_metadata(report, sync))

    job = dg.define_asset_job(
        job_name(audience.name, sync.key),
        selection=dg.AssetSelection.assets(audience_key(audience.name), key).without_checks(),
        description=f"Evaluates {audience.label}, then brings {destination.name} in step with it.",
        tags={"audience_syncs/audience": audience.name, "audience_syncs/sync": sync_id(audience, sync)},
        executor_def=dg.in_process_executor,
    )
    checks = [build_audit(key, audience, sync, source, destination)] if sync.mode.family.has_list else []
    return SyncDefinitions(deliver, checks, job, _schedule(audience, sync, job))


def _schedule(
    audience: AudienceConfig, sync: SyncConfig, job: UnresolvedAssetJobDefinition
) -> dg.ScheduleDefinition | None:
    if isinstance(sync.schedule, Interval):
        cron, timezone = interval_to_cron(sync.schedule.every), "UTC"
    elif isinstance(sync.schedule, Cron):
        cron, timezone = sync.schedule.cron, sync.schedule.timezone
    else:
        return None
    return dg.ScheduleDefinition(
        name=schedule_name(audience.name, sync.key),
        job=job,
        cron_schedule=cron,
        execution_timezone=timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"{audience.label} to {sync.destination}, {sync.frequency}. Switch it off to pause the sync.",
    )


def _description(audience: AudienceConfig, sync: SyncConfig, destination: DestinationConfig, platform: str) -> str:
    wanted = (
        f"the list with the id `{sync.list.id}`" if sync.list.id else f"the list **{sync.list.name or audience.label}**"
    )
    leaves = {"remove": "is removed", "clear_fields": "has its fields cleared", "delete_record": "is deleted"}
    parts = [f"**{audience.label}** to {platform} (`{destination.name}`), {wanted}, {sync.frequency}."]
    if sync.description:
        parts.append(sync.description.strip())
    parts.append(f"Mode `{sync.mode.value}`; who leaves the audience {leaves.get(sync.removal.value, 'stays')}.")
    fields = (
        f"- `{name}` from {f'`{field.column}`' if field.column is not None else 'a constant'}"
        for name, field in sync.mapping.items()
    )
    parts.append("\n".join(fields))
    return "\n\n".join(parts)
