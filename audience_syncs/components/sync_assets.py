"""What a sync becomes in Dagster: an asset downstream of its audience, a job, and what starts it by itself.

The schedule's (or sensor's) switch in Dagster is how a sync is paused: there is no other.
"""

# Without postponed annotations: Dagster reads those of asset functions.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from audience_syncs.components.audience_assets import partitions_of
from audience_syncs.components.names import audience_key, job_name, pool_name, queue_tags, sync_key, trigger_name
from audience_syncs.components.selection import OneAsset
from audience_syncs.components.sync_checks import build_audit, sync_checks
from audience_syncs.components.sync_run import Evaluated, SyncEvent, SyncRun, SyncRunConfig
from audience_syncs.components.triggers import Starts, build_trigger
from audience_syncs.model.config import (
    AudienceConfig,
    DestinationConfig,
    ModeFamily,
    SourceConfig,
    SyncConfig,
    sync_id,
)


@dataclass(frozen=True)
class SyncDefinitions:
    """A sync's asset, its checks, its job, and what starts it by itself; a manual sync has none of that."""

    asset: dg.AssetsDefinition
    checks: list[dg.AssetChecksDefinition]
    job: UnresolvedAssetJobDefinition
    trigger: dg.ScheduleDefinition | dg.SensorDefinition | None


def build_sync(
    audience: AudienceConfig,
    sync: SyncConfig,
    source: SourceConfig,
    destination: DestinationConfig,
    identifiers: Mapping[str, Sequence[str]],
    first: Sequence[Evaluated] = (),
) -> SyncDefinitions:
    """The asset ``syncs/<audience>/<sync>``, the job ``sync__<audience>__<sync>``, and its schedule or sensor.

    ``identifiers``: the identifying columns of each sync of the audience (``identifier_columns``); ``first``: the audiences
    that go before it.
    """
    from audience_syncs.destinations.registry import spec_for

    spec = spec_for(destination)
    key = sync_key(audience.name, sync.key)

    spec_of_asset = dg.AssetSpec(
        key,
        deps=[_upstream(each, sync) for each in (audience, *(evaluated.audience for evaluated in first))],
        group_name=audience.name,
        kinds={spec.kind},
        description=_description(audience, sync, destination, spec.title),
        owners=audience.owners,
        tags=audience.tags,
        partitions_def=partitions_of(audience) if sync.partitioned else None,
        # A dry run does not materialise it.
        skippable=True,
    )

    @dg.multi_asset(
        specs=[spec_of_asset],
        check_specs=sync_checks(key, sync),
        name="__".join(key.path),
        pool=pool_name(destination.name),
        # One day after the other: each delivers on top of what the one before left.
        backfill_policy=dg.BackfillPolicy.single_run() if sync.partitioned else None,
        # So that a run that ends before its checks are answered is no error of its own.
        can_subset=True,
    )
    def deliver(context: dg.AssetExecutionContext, config: SyncRunConfig) -> Iterator[SyncEvent]:
        yield from SyncRun(context, config, audience, sync, source, destination, identifiers, first).events()

    audit = [build_audit(key, audience, sync, source, destination)] if sync.mode.family.has_list else []
    job = dg.define_asset_job(
        job_name(audience.name, sync.key),
        # The run evaluates the audience itself, so that syncs that are due together do it once.
        selection=OneAsset.of(deliver),
        description=f"Brings {destination.name} in step with {audience.label}.",
        tags={"audience_syncs/audience": audience.name, "audience_syncs/sync": sync_id(audience, sync)}
        | queue_tags(sync.priority, sync.retries),
        executor_def=dg.in_process_executor,
    )
    trigger = build_trigger(
        Starts(
            name=trigger_name(audience.name, sync.key),
            schedule=sync.schedule,
            description=f"{audience.label} to {sync.destination}, {sync.frequency}. Switch it off to pause the sync.",
            paused=sync.paused,
            audience=audience.name,
            days=audience.partitions if sync.partitioned else None,
        ),
        job,
    )
    return SyncDefinitions(deliver, audit, job, trigger)


def _upstream(audience: AudienceConfig, sync: SyncConfig) -> dg.AssetDep:
    """An audience that the sync needs: the same day of it, or the latest."""
    if audience.partitions is None:
        return dg.AssetDep(audience_key(audience.name))
    mapping = dg.IdentityPartitionMapping() if sync.partitioned else dg.LastPartitionMapping()
    return dg.AssetDep(audience_key(audience.name), partition_mapping=mapping)


def _description(audience: AudienceConfig, sync: SyncConfig, destination: DestinationConfig, platform: str) -> str:
    wanted = (
        f"the list with the id `{sync.list.id}`" if sync.list.id else f"the list **{sync.list.name or audience.label}**"
    )
    leaves = {"remove": "is removed", "clear_fields": "has its fields cleared", "delete_record": "is deleted"}
    parts = [f"**{audience.label}** to {platform} (`{destination.name}`), {wanted}, {sync.frequency}."]
    if sync.description:
        parts.append(sync.description.strip())
    parts.append(f"Mode `{sync.mode.value}`; who leaves the audience {leaves.get(sync.removal.value, 'stays')}.")
    kept_out = kept_out_in_words(sync)
    if kept_out:
        parts.append("\n".join(f"- {line}" for line in kept_out))
    fields = (f"- `{name}` from {field.in_words}" for name, field in sync.mapping.items())
    parts.append("\n".join(fields))
    return "\n\n".join(parts)


def kept_out_in_words(sync: SyncConfig) -> list[str]:
    """Whom the sync does not send, a line for each reason."""
    admission = sync.admission
    lines = []
    if sync.mode.family is not ModeFamily.OUT_OF_LIST:
        lines += [f"Excluded (`{exclusion.name}`): {exclusion.in_words()}." for exclusion in admission.exclusions]
    if admission.before:
        lines.append(f"Who is in {', '.join(f'`{name}`' for name in admission.before)} is sent there only.")
    if admission.groups is not None:
        lines.append(f"Only the groups {', '.join(f'`{name}`' for name in admission.groups) or 'none'} of the split.")
    return lines
