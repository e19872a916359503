"""What somebody would write by hand in Dagster for the same assets, checks, jobs and schedules: the measure of `many_syncs`.

Only Dagster is imported. Names, texts and figures of what is shown are of the size of ours; the assets do nothing. How
many of each comes from the environment, so that the twin always has exactly what the project beside it has.
"""

import json
import os
from dataclasses import dataclass

import dagster as dg


@dataclass(frozen=True)
class Size:
    """How many of each. Checks stand on each audience or each sync: with a function of their own, or on the asset."""

    audiences: int = 3
    syncs_per_audience: int = 2
    checks_per_audience: int = 0
    checks_on_audience: int = 0
    checks_per_sync: int = 1
    checks_on_sync: int = 0
    audience_jobs: bool = True


SQL = """
WITH clock AS (SELECT now FROM shop.clock),
carted AS (
  SELECT e.user_id, max(e.ts) AS carted_at
  FROM shop.events e
  JOIN shop.products p USING (product_id), clock
  WHERE e.event = 'add_to_cart' AND p.category = 'Category {number}'
    AND e.ts >= clock.now - interval '7 days' AND e.ts < clock.now
  GROUP BY e.user_id
)
SELECT u.user_id, u.email, u.phone, u.first_name, u.last_name, u.country
FROM carted c
JOIN shop.users u USING (user_id)
WHERE u.ads_consent AND u.marketing_consent
"""

FIELDS = ("EMAIL", "PHONE", "FN", "LN", "COUNTRY", "EXTERN_ID")


class RunOptions(dg.Config):
    """What may be asked of one run."""

    approve: str | None = None
    retry_rejected: bool = False
    full_resync: bool = False
    new_list: bool = False
    dry_run: bool = False
    limit: int | None = None
    day: str | None = None


def check_specs(key: dg.AssetKey, count: int) -> list[dg.AssetCheckSpec]:
    return [
        dg.AssetCheckSpec(f"figure_{number}", asset=key, description="Compares a figure of the run with its limit.")
        for number in range(count)
    ]


def checks(key: dg.AssetKey, count: int) -> list[dg.AssetChecksDefinition]:
    def one(number: int) -> dg.AssetChecksDefinition:
        @dg.asset_check(asset=key, name=f"audit_{number}", description="Reads the list back and compares it.")
        def audit() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=True)

        return audit

    return [one(number) for number in range(count)]


def audience(name: str, number: int, size: Size) -> dg.AssetsDefinition:
    key = dg.AssetKey(["audiences", name])

    @dg.asset(
        key=key,
        group_name=name,
        kinds={"postgres", "sql"},
        description=f"**Audience {number}**\n\nOne member per `user_id`.\n\n```sql{SQL.format(number=number)}```",
        owners=["team:crm"],
        tags={"campaign": "win_back"},
        check_specs=check_specs(key, size.checks_on_audience),
    )
    def evaluate(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        return dg.MaterializeResult()

    return evaluate


def sync(name: str, destination: str, size: Size) -> dg.AssetsDefinition:
    key = dg.AssetKey(["syncs", name, destination])
    fields = "\n".join(f"- `{field}` from `{field.lower()}`" for field in FIELDS)

    @dg.asset(
        key=key,
        deps=[dg.AssetKey(["audiences", name])],
        group_name=name,
        kinds={"facebook"},
        description=f"**{name}** to {destination}.\n\nMode `mirror`; who leaves the audience is removed.\n\n{fields}",
        owners=["team:crm"],
        tags={"campaign": "win_back"},
        pool=f"sync__{name}__{destination}",
        check_specs=check_specs(key, size.checks_on_sync),
    )
    def deliver(context: dg.AssetExecutionContext, config: RunOptions) -> dg.MaterializeResult:
        return dg.MaterializeResult()

    return deliver


def build(size: Size) -> dg.Definitions:
    assets: list[dg.AssetsDefinition] = []
    asset_checks: list[dg.AssetChecksDefinition] = []
    jobs = []
    schedules = []
    for number in range(size.audiences):
        name = f"audience_{number}"
        evaluate = audience(name, number, size)
        assets.append(evaluate)
        asset_checks += checks(evaluate.key, size.checks_per_audience)
        if size.audience_jobs:
            jobs.append(
                dg.define_asset_job(
                    f"audience__{name}",
                    selection=[evaluate.key],
                    description=f"Evaluates {name}.",
                    executor_def=dg.in_process_executor,
                )
            )
        for position in range(size.syncs_per_audience):
            destination = ("meta_ads", "hubspot_crm")[position]
            deliver = sync(name, destination, size)
            assets.append(deliver)
            own = checks(deliver.key, size.checks_per_sync)
            asset_checks += own
            job = dg.define_asset_job(
                f"sync__{name}__{destination}",
                selection=dg.AssetSelection.assets(deliver.key) - dg.AssetSelection.checks(*own)
                if own
                else dg.AssetSelection.assets(deliver.key),
                description=f"Brings {destination} in step with {name}.",
                tags={"team": "crm", "sync": f"{name}/{destination}"},
                executor_def=dg.in_process_executor,
            )
            jobs.append(job)
            schedules.append(
                dg.ScheduleDefinition(
                    name=f"schedule__{name}__{destination}",
                    job=job,
                    cron_schedule="*/15 * * * *" if position == 0 else "30 6 * * 1-5",
                    execution_timezone="Europe/Berlin",
                    default_status=dg.DefaultScheduleStatus.RUNNING,
                    description=f"{name} to {destination}. Switch it off to pause the sync.",
                )
            )
    overview = dg.AssetSpec(
        "syncs_overview",
        description="Every sync.",
        group_name="overview",
        deps=[asset.key for asset in assets if asset.key.path[0] == "syncs"],
    )

    @dg.sensor(minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING)
    def sync_health(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        return dg.SkipReason("nothing to do")

    return dg.Definitions(
        assets=[*assets, overview],
        asset_checks=asset_checks,
        jobs=jobs,
        schedules=schedules,
        sensors=[sync_health],
        executor=dg.in_process_executor,
    )


defs = build(Size(**json.loads(os.environ.get("BARE_TWIN", "{}"))))
