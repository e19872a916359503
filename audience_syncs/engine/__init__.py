"""One sync run: stage, recover, plan, guard, deliver, book, settle. Knows no Dagster and no platform.

run        what can be done with a sync       flow       how a run goes
prepare    a row of the audience -> what is sent
plan       what has to change, sealed          leaving    who leaves, with which identifiers
adopt      who is in the list already          undo, forget    other things to plan
guard      limits beyond which nothing is sent  approvals  a person lets one plan pass
lists      the list at the platform            calls      mode and removal -> the destination's functions
deliver    batches out, verdicts in            isolation  who is at fault in a refused batch
outcome    plan rows with their verdicts       settle     verdicts -> ledger
rejections who could not be delivered, and why
records    the run's own record, the list, the four numbers
audit      the list as the platform tells it, against the ledger
"""

from audience_syncs.engine.run import PlanPreview, forget_in_sync, plan_sync, run_sync, undo_run

__all__ = ["PlanPreview", "forget_in_sync", "plan_sync", "run_sync", "undo_run"]
