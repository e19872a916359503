"""What an audience becomes in Dagster: an asset that evaluates it, and a job to do so."""

# Without postponed annotations: Dagster reads those of asset functions.

import os
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition

from audience_syncs.components.figures import ProgressLog, reported_to_dagster, snapshot_metadata
from audience_syncs.model.config import AudienceConfig, SourceConfig


@dataclass(frozen=True)
class AudienceDefinitions:
    """An audience's asset and job."""

    asset: dg.AssetsDefinition
    job: UnresolvedAssetJobDefinition


def audience_key(audience: str) -> dg.AssetKey:
    """The audience's asset."""
    return dg.AssetKey(["audiences", audience])


def build_audience(audience: AudienceConfig, source: SourceConfig) -> AudienceDefinitions:
    """The asset ``audiences/<name>`` and the job ``audience__<name>``."""

    @dg.asset(
        key=audience_key(audience.name),
        group_name=audience.name,
        kinds={"postgres", "sql"},
        description=_description(audience, source),
        owners=audience.owners,
        tags=audience.tags,
    )
    def evaluate(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
        # Imported late: definitions load without drivers.
        from audience_syncs.audiences import evaluate_audience
        from audience_syncs.warehouse import open_warehouse

        with reported_to_dagster(), open_warehouse(source, os.environ) as warehouse:
            snapshot = evaluate_audience(
                audience, warehouse, run_id=context.run_id, progress=ProgressLog(context.log.info)
            )
        return dg.MaterializeResult(metadata=snapshot_metadata(snapshot))

    job = dg.define_asset_job(
        f"audience__{audience.name}",
        selection=[audience_key(audience.name)],
        description=f"Evaluates {audience.label}.",
        tags={"audience_syncs/audience": audience.name},
        executor_def=dg.in_process_executor,
    )
    return AudienceDefinitions(evaluate, job)


def _description(audience: AudienceConfig, source: SourceConfig) -> str:
    parts = [f"**{audience.label}**"]
    if audience.description:
        parts.append(audience.description.strip())
    parts.append(f"One member per `{audience.primary_key}`, from the source `{source.name}`.")
    parts.append(f"```sql\n{audience.sql.strip()}\n```")
    return "\n\n".join(parts)
