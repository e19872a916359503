"""Value objects that travel between the rooms: members on their way out, verdicts, plans, reports. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from audience_syncs.model.reach import Reach
from audience_syncs.model.sizes import Overlap, Step


class VerdictKind(StrEnum):
    """The destination's answer for one member."""

    ACCEPTED = "accepted"
    """The platform said so."""
    REJECTED = "rejected"
    """Will not succeed by itself; tried again when the row, the mapping or a rule changes."""
    RETRYABLE = "retryable"
    """Certainly not applied; comes back in the next run."""
    UNKNOWN = "unknown"
    """No answer: may have been applied."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One member's verdict. ``reason`` is the platform's words without any identifier of the person."""

    kind: VerdictKind
    reason_code: str = ""
    reason: str = ""
    remote_id: str | None = None
    """The platform's own id of the person, where it tells one (HubSpot: the contact's record id)."""


ACCEPTED = Verdict(VerdictKind.ACCEPTED)

FieldValue = str | list[str]
"""A field as the platform wants it: normalised and, where the platform wants that, hashed. A list holds several
identifiers of one person."""
JsonObject = dict[str, Any]
"""A field made of several values, for platforms that take nested ones: names to text, numbers, booleans, lists, objects."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One member as sent. For a removal, ``fields`` holds only identifiers, as they were sent when added.

    ``new``: nothing of them was accepted before, as far as we know. ``objects`` and ``clears`` (fields to be emptied, as the row
    has nothing for them) are only ever filled for destinations whose declaration says that they take such.
    """

    fields: Mapping[str, FieldValue]
    remote_id: str | None = None
    new: bool = False
    objects: Mapping[str, JsonObject] = field(default_factory=dict)
    clears: tuple[str, ...] = ()

    @property
    def everything(self) -> dict[str, Any]:
        """All fields for a platform that takes JSON: objects are nested, and null empties."""
        return {**self.fields, **self.objects, **dict.fromkeys(self.clears)}


class JobNotes(Protocol):
    """Remembers work that a platform only queued, so that a run which follows a killed one waits for it."""

    def note(self, job_id: str) -> None:
        """The platform works on this job; remembered when this returns."""
        ...

    def done(self, job_id: str) -> None:
        """The job is over."""
        ...


class NoJobs:
    """Forgets: for calls outside of a run."""

    def note(self, job_id: str) -> None:
        return

    def done(self, job_id: str) -> None:
        return


@dataclass(frozen=True, slots=True)
class Batch:
    """Members for one delivery call. ``number`` counts from 1 to ``of`` within one phase (removals or additions).

    ``session`` is a positive 63-bit integer, the same for all batches of a phase, for platforms that group uploads;
    ``total`` is the number of members in the phase. ``jobs`` is where a platform that works on them later has its jobs
    remembered (``ResumesJobs``). ``fields`` are all fields of the sync's mapping: one that a member
    who is added lacks is null, or could not be made out.
    """

    members: Sequence[Outgoing]
    number: int = 1
    of: int = 1
    session: int = 1
    total: int = 0
    fields: Sequence[str] = ()
    jobs: JobNotes = field(default=NoJobs(), compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.members)


@dataclass(frozen=True, slots=True)
class RemoteList:
    """A list, segment or audience at the platform."""

    id: str
    name: str
    url: str | None = None
    created: bool = False


@dataclass(frozen=True, slots=True)
class MatchedUsers:
    """How many people the platform says it recognised: approximate, late, dated.

    ``lower`` equals ``upper`` where the platform gives one number. ``None`` bounds: not computed yet.
    """

    lower: int | None
    upper: int | None
    as_of: datetime
    exact: bool = False
    note: str = ""


class ChangeKind(StrEnum):
    """What a plan row does."""

    ADD = "add"
    UPDATE = "update"
    REMOVE = "remove"
    RETRACT = "retract"
    """Removes identifiers a staying member no longer has (a changed email); goes before the member's update."""
    REFRESH = "refresh"
    """Sends an unchanged member again, because one who shares an identifier is removed by another identifier."""
    RESEND = "resend"
    """Sends an unchanged member again, because a full resync was asked for."""
    ADOPT = "adopt"
    """Is in the list already, which the sync takes over: booked, never sent."""
    UNCHANGED = "unchanged"
    """The row changed, what would be sent did not: booked, never sent."""
    UNUSABLE = "unusable"
    """No usable identifier: rejected by us, never sent."""
    LAPSE = "lapse"
    """Left the audience without ever having been delivered: forgotten, nothing to send."""


@dataclass(frozen=True, slots=True)
class PlanCounts:
    """How many members a plan adds, updates and removes. A changed email counts once, as an update.

    ``resent``: unchanged members sent again, by a full resync or because they share an identifier with a leaver.
    ``adopted``: members who were in the list before the sync took it over.
    """

    added: int = 0
    updated: int = 0
    removed: int = 0
    unusable: int = 0
    unchanged: int = 0
    resent: int = 0
    adopted: int = 0

    @property
    def sent(self) -> int:
        """Members of whom anything is sent."""
        return self.added + self.updated + self.removed + self.resent

    def in_words(self) -> str:
        """``1,204 to add, 3 to update, 80 to remove``."""
        words = f"{self.added:,} to add, {self.updated:,} to update, {self.removed:,} to remove"
        return words + (f", {self.resent:,} to send again" if self.resent else "")


@dataclass(frozen=True, slots=True)
class RejectionCount:
    """Members rejected for one reason."""

    reason_code: str
    reason: str
    members: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a long step has come; ``total`` is None where it is not known."""

    step: str
    done: int
    total: int | None = None


class RunStatus(StrEnum):
    """How a sync run ended."""

    SUCCEEDED = "succeeded"
    WARNING = "warning"
    """Finished, but some members were rejected or must be sent again."""
    BLOCKED = "blocked"
    FAILED = "failed"
    RUNNING = "running"
    CANCELLED = "cancelled"
    """A person stopped it; what was answered is booked, and the next run goes on."""
    INTERRUPTED = "interrupted"
    """Its process died; the next run settles what it left."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What one run of a sync did, with the four numbers. All counts are members."""

    sync: str
    run_id: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime
    snapshot_id: int
    plan_digest: str
    # the four numbers, after the run
    in_audience: int
    """Members of the snapshot whom this sync sends: nothing keeps them out (``withheld``)."""
    delivered: int
    """Of the audience: handed to the platform, whatever it answered."""
    accepted: int
    """Of the audience: acknowledged by the platform."""
    matched: MatchedUsers | None
    # what this run did: planned, and what came of it
    planned: PlanCounts
    added: int = 0
    updated: int = 0
    removed: int = 0
    resent: int = 0
    adopted: int = 0
    rejected: int = 0
    retryable: int = 0
    unknown: int = 0
    recovered: int = 0
    """Members of an earlier, unfinished run whose outcome was settled first."""
    rejections: Sequence[RejectionCount] = field(default_factory=tuple)
    """All members now rejected, by reason, most frequent first."""
    dropped_values: Sequence[RejectionCount] = field(default_factory=tuple)
    """Single values left out of what was sent in this run because they could not be normalised, by field and reason."""
    requests: int = 0
    list: RemoteList | None = None
    error: str = ""
    reach: Reach | None = None
    """How much of the audience the platform can find; None where nothing was planned from it."""
    withheld: Mapping[str, int] = field(default_factory=dict)
    """Members of the snapshot who are not sent, by the reason; ``in_audience`` are the others."""

    @property
    def duration_s(self) -> float:
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def rejected_now(self) -> int:
        """Members of the audience who are rejected, in this run or an earlier one."""
        return sum(reason.members for reason in self.rejections)

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``--json``: counts, ISO times, no personal data."""
        reach = self.reach.to_json() if self.reach is not None else None
        return {**asdict(self), "duration_s": self.duration_s, "reach": reach}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of an audience, with the warehouse's name for its type."""

    name: str
    type: str
    personal: bool = False


@dataclass(frozen=True, slots=True)
class SplitSizes:
    """How the members of a snapshot were divided."""

    salt: str
    stratify: Sequence[str]
    groups: Mapping[str, int]
    """Group -> members, in the order of the definition."""

    @property
    def division(self) -> tuple[str, bool]:
        """What a member's place in the split depends on: with another, everybody gets another place."""
        return self.salt, bool(self.stratify)

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        # A list: JSON of some warehouses does not keep the order of keys.
        groups = [{"name": name, "members": members} for name, members in self.groups.items()]
        return {"salt": self.salt, "stratify": list(self.stratify), "groups": groups}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> SplitSizes:
        """Reads what ``to_json`` wrote."""
        groups = {group["name"]: group["members"] for group in stored["groups"]}
        return cls(stored["salt"], tuple(stored["stratify"]), groups)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One evaluation of an audience: immutable, counted, identified."""

    id: int
    audience: str
    evaluated_at: datetime
    members: int
    entered: int
    """Members who were not in the snapshot before."""
    exited: int
    """Members of the snapshot before who are not in this one."""
    columns: Sequence[Column]
    primary_key: str
    sql: str
    table: str
    """Its table in the state schema."""
    partition: str | None = None
    """The day it is of, for a partitioned audience: ``2026-11-23``."""
    source_as_of: datetime | None = None
    """The time of the newest data behind it, where the audience's ``freshness_sql`` tells."""
    duration_s: float = 0.0
    split: SplitSizes | None = None
    """How its members were divided into groups (column ``_group``); None without a split."""
    reused: bool = False
    """Whether it was there already when it was asked for."""
    preview: Sequence[Mapping[str, str]] = field(default_factory=tuple)
    """A few rows, personal columns masked; filled by the evaluation only, never stored, as is all that follows."""
    people: int = 0
    """Of the model; 0 for an audience with SQL."""
    funnel: Sequence[Step] = field(default_factory=tuple)
    """What each condition of the filter leaves."""
    overlaps: Sequence[Overlap] = field(default_factory=tuple)
    """With other audiences, by their last snapshots."""


@dataclass(frozen=True, slots=True)
class SyncRun:
    """One row of the table ``sync_runs``: a run of a sync, under way or ended."""

    sync: str
    run_id: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None
    in_audience: int
    delivered: int
    accepted: int
    added: int
    updated: int
    removed: int
    rejected: int
    matched_lower: int | None
    matched_upper: int | None
    list_id: str | None
    list_name: str | None
    list_url: str | None
    plan_digest: str | None
    error: str
    matched_as_of: datetime | None = None
    last_good_at: datetime | None = None
    """When a run of this sync last ended that changed or confirmed the list."""
    retryable: int = 0
    unknown: int = 0
    requests: int = 0
    reach: Reach | None = None
    """How much of the audience the platform could find; None where nothing was planned from it."""
    withheld: Mapping[str, int] = field(default_factory=dict)
    """Members of the snapshot who were not sent, by the reason."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a person may ask of one run, beside the sync's definition."""

    approve: str | None = None
    """Digest of a plan the guard blocked: exactly this plan may be sent."""
    approved_by: str = ""
    """Who approves it; recorded."""
    retry_rejected: bool = False
    """Try rejected members again although nothing changed."""
    full_resync: bool = False
    """Send everybody again, and remove who should not be there."""
    day: str | None = None
    """Send the audience as it was on that day, ``2026-11-23``, instead of the latest."""
    limit: int | None = None
    """Send at most so many additions: a test."""
    new_list: bool = False
    """The list is gone at the platform: make another one and send everybody to it."""
    wait_s: float = 0.0
    """How long to wait for another run of the sync, before this one is refused."""
