"""What a sequence becomes in Dagster: a job with one step for each sync, and what starts it by itself."""

# Without postponed annotations: Dagster reads those of step functions.

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import dagster as dg

from audience_syncs.components.names import (
    pool_name,
    queue_tags,
    sequence_job_name,
    sequence_trigger_name,
    sync_key,
)
from audience_syncs.components.sync_checks import log_check
from audience_syncs.components.sync_run import Evaluated, SyncEvent, SyncRun, SyncRunConfig
from audience_syncs.components.triggers import Starts, Trigger, build_trigger
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SourceConfig, SyncConfig, sync_id
from audience_syncs.model.sequences import SequenceConfig

FAILED_STEPS = "audience_syncs/failed_steps"
"""Tag of a run that went on after failures: its id, and the syncs that failed."""

_BEFORE = "before"


@dataclass(frozen=True)
class Step:
    """One sync of a sequence, with everything a run of it needs."""

    audience: AudienceConfig
    sync: SyncConfig
    source: SourceConfig
    destination: DestinationConfig
    identifiers: Mapping[str, Sequence[str]]
    first: Sequence[Evaluated] = ()
    """The audiences that go before it."""

    @property
    def name(self) -> str:
        return f"{self.audience.name}__{self.sync.key}"


@dataclass(frozen=True)
class SequenceDefinitions:
    """A sequence's job and its schedule or sensor."""

    job: dg.JobDefinition
    trigger: Trigger | None


def build_sequence(sequence: SequenceConfig, steps: list[Step]) -> SequenceDefinitions:
    """The job ``sequence__<name>``: its steps materialise the syncs' assets, in the pools of their
    destinations."""
    ops = [_op(sequence, step, first=number == 0) for number, step in enumerate(steps)]
    if not sequence.stop.failed:
        ops.append(_verdict())
    before: Mapping[str, Mapping[str, dg.DependencyDefinition]] = {
        later.name: {_BEFORE: dg.DependencyDefinition(earlier.name)} for earlier, later in pairwise(ops)
    }
    job = dg.GraphDefinition(
        sequence_job_name(sequence.name), node_defs=ops, dependencies=before, description=_description(sequence)
    ).to_job(
        # Of steps that differ, the most urgent and the most patient.
        tags={"audience_syncs/sequence": sequence.name}
        | queue_tags(max(step.sync.priority for step in steps), max(step.sync.retries for step in steps)),
        executor_def=dg.in_process_executor,
    )
    trigger = build_trigger(
        Starts(
            name=sequence_trigger_name(sequence.name),
            schedule=sequence.schedule,
            description=f"{sequence.label}, {sequence.frequency}. Switch it off to pause the sequence.",
            paused=sequence.paused,
        ),
        job,
    )
    return SequenceDefinitions(job, trigger)


def _op(sequence: SequenceConfig, step: Step, *, first: bool) -> dg.OpDefinition:
    name = sync_id(step.audience, step.sync)

    @dg.op(
        name=step.name,
        description=f"The sync {name}.",
        ins={} if first else {_BEFORE: dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
        pool=pool_name(step.destination.name),
    )
    def deliver(context: dg.OpExecutionContext, config: SyncRunConfig) -> None:
        run = SyncRun(
            context, config, step.audience, step.sync, step.source, step.destination, step.identifiers, step.first
        )
        try:
            for event in run.events():
                _log(context, step, event)
        except dg.Failure as failure:
            if sequence.stop.failed:
                raise
            context.log.error(f"{name} failed, and the sequence goes on: {failure.description}")
            _note_failed(context, name)
            return
        report = run.report
        objection = sequence.stop.objection(report.rejected_now, report.in_audience) if report is not None else None
        if objection is not None:
            raise dg.Failure(
                description=f"the sequence {sequence.name} stops after {name}: {objection}\n"
                "  What to do: see the table of rejections on the sync's page; what was accepted stays delivered",
                allow_retries=False,
            )

    return deliver


def _log(context: dg.OpExecutionContext, step: Step, event: SyncEvent) -> None:
    """Puts on the sync's page what a run of its own asset would."""
    if isinstance(event, dg.AssetCheckResult):
        log_check(context, event)
    else:
        key = sync_key(step.audience.name, step.sync.key)
        context.log_event(dg.AssetMaterialization(key, metadata=event.metadata or {}))


def _verdict() -> dg.OpDefinition:
    """The last step of a sequence that goes on after failures."""

    @dg.op(
        name="verdict",
        description="Fails if a step before failed.",
        ins={_BEFORE: dg.In(dg.Nothing)},
        out=dg.Out(dg.Nothing),
    )
    def verdict(context: dg.OpExecutionContext) -> None:
        failed = _failed(context)
        if failed:
            raise dg.Failure(
                description=f"these syncs failed, the others were delivered: {', '.join(failed)}", allow_retries=False
            )

    return verdict


def _failed(context: dg.OpExecutionContext) -> list[str]:
    """The syncs that failed in this run."""
    run = context.instance.get_run_by_id(context.run_id)
    run_id, _, names = (run.tags.get(FAILED_STEPS, "") if run is not None else "").partition(" ")
    # A run that is executed again inherits the tags of the first one.
    return names.split() if run_id == context.run_id else []


def _note_failed(context: dg.OpExecutionContext, name: str) -> None:
    # A tag: it is there for the last step also when the run's process is another by then.
    context.instance.add_run_tags(context.run_id, {FAILED_STEPS: " ".join([context.run_id, *_failed(context), name])})


def _description(sequence: SequenceConfig) -> str:
    parts = [f"**{sequence.label}**, {sequence.frequency}: one sync after the other."]
    if sequence.description:
        parts.append(sequence.description.strip())
    parts.append("\n".join(f"{number}. `{step}`" for number, step in enumerate(sequence.steps, 1)))
    stop = sequence.stop
    ends = ["fails or is blocked"] if stop.failed else []
    if stop.rejected is not None:
        ends.append(f"has more than {stop.rejected:,} members rejected")
    if stop.rejected_percent is not None:
        ends.append(f"has more than {stop.rejected_percent:g} % of its audience rejected")
    parts.append(f"Stops after a sync that {' or '.join(ends)}." if ends else "Goes on after a sync that fails.")
    return "\n\n".join(parts)
