"""One sync run: stage, recover, plan, guard, deliver, book, settle. Knows no Dagster and no platform.

run        the flow
prepare    a row of the audience -> what is sent
plan       what has to change, sealed          leaving    who leaves, with which identifiers
guard      limits beyond which nothing is sent
deliver    batches out, verdicts in
settle     verdicts -> ledger                  rejections who could not be delivered, and why
records    the run's own record, the list, the four numbers
"""

from audience_syncs.engine.run import PlanPreview, plan_sync, run_sync

__all__ = ["PlanPreview", "plan_sync", "run_sync"]
