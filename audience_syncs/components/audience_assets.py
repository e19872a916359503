"""What an audience becomes in Dagster: an asset that evaluates it, and a job to do so."""

# Without postponed annotations: Dagster reads those of asset functions.

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from audience_syncs.components.figures import ProgressLog, reported_to_dagster, snapshot_metadata
from audience_syncs.components.names import audience_key
from audience_syncs.components.selection import OneAsset
from audience_syncs.components.sync_checks import audience_checks, broken_key, checks_of
from audience_syncs.model.config import AudienceConfig, SourceConfig
from audience_syncs.model.errors import AudienceError
from audience_syncs.model.filter_words import reasons
from audience_syncs.model.filters import audiences_in

DAYS_PER_RUN = 30


@dataclass(frozen=True)
class AudienceDefinitions:
    """An audience's asset and job."""

    asset: dg.AssetsDefinition
    job: UnresolvedAssetJobDefinition


def partitions_of(audience: AudienceConfig) -> dg.DailyPartitionsDefinition | None:
    """The audience's days, where it has any."""
    if audience.partitions is None:
        return None
    return dg.DailyPartitionsDefinition(
        start_date=audience.partitions.start.isoformat(), timezone=audience.partitions.timezone
    )


def build_audience(
    audience: AudienceConfig, source: SourceConfig, identifiers: Mapping[str, Sequence[str]]
) -> AudienceDefinitions:
    """The asset ``audiences/<name>`` and the job ``audience__<name>``.

    ``identifiers``: the identifying columns of each of its syncs (``identifier_columns``).
    """
    key = audience_key(audience.name)
    spec = dg.AssetSpec(
        key,
        deps=_upstream(audience),
        group_name=audience.name,
        kinds={"postgres", "sql"},
        description=_description(audience, source),
        owners=audience.owners,
        tags=audience.tags,
        partitions_def=partitions_of(audience),
    )

    @dg.multi_asset(
        specs=[spec],
        check_specs=audience_checks(key, audience),
        name="__".join(key.path),
        # Many days in one run, or a run for each: both come to the same.
        backfill_policy=dg.BackfillPolicy.multi_run(DAYS_PER_RUN) if audience.partitions else None,
        # So that an evaluation that ends before its checks are answered is no error of its own.
        can_subset=True,
    )
    def evaluate(
        context: dg.AssetExecutionContext,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        # Imported late: definitions load without drivers.
        from audience_syncs.audiences import evaluate_audience
        from audience_syncs.warehouse import open_warehouse

        days: list[str | None] = sorted(context.partition_keys) if audience.partitions else [None]
        checks: list[dg.AssetCheckResult] = []
        with reported_to_dagster(), open_warehouse(source, os.environ) as warehouse:
            for day in days:
                try:
                    snapshot = evaluate_audience(
                        audience, warehouse, run_id=context.run_id, day=day, progress=ProgressLog(context.log.info)
                    )
                except AudienceError as error:
                    failed = broken_key(key, error)
                    if failed is not None:
                        yield failed
                    raise
                # Shown on each day by itself, however many come in one run.
                context.add_asset_metadata(snapshot_metadata(snapshot), asset_key=key, partition_key=day)
                # The checks are those of the latest day.
                checks = checks_of(key, audience, snapshot, warehouse, identifiers)
        yield dg.MaterializeResult(asset_key=key)
        yield from checks

    job = dg.define_asset_job(
        f"audience__{audience.name}",
        selection=OneAsset.of(evaluate),
        description=f"Evaluates {audience.label}.",
        tags={"audience_syncs/audience": audience.name},
        executor_def=dg.in_process_executor,
    )
    return AudienceDefinitions(evaluate, job)


def _upstream(audience: AudienceConfig) -> list[dg.AssetKey]:
    """The assets that make its model's tables, and the audiences its filter asks about."""
    if audience.model is None:
        return []
    model = audience.refers_to.models[audience.model]
    tables = [dg.AssetKey(asset.split("/")) for asset in model.assets]
    others = audiences_in(audience.filter) if audience.filter is not None else []
    return [*tables, *(audience_key(name) for name in others)]


def _description(audience: AudienceConfig, source: SourceConfig) -> str:
    parts = [f"**{audience.label}**"]
    if audience.description:
        parts.append(audience.description.strip())
    parts.append(f"One member per `{audience.primary_key}`, from the source `{source.name}`.")
    if audience.filter is not None:
        parts.append("\n".join(f"- {reason}" for reason in reasons(audience.filter)))
    if audience.sql is not None:
        parts.append(f"```sql\n{audience.sql.strip()}\n```")
    return "\n\n".join(parts)
