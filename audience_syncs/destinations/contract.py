"""What a destination is: a declaration and a few functions.

A platform's module holds a ``DestinationSpec`` (fields with their normalisation rule, limits, what it can do) and a
class with the functions below. Optional abilities are protocols of their own, so that "can it?" is ``isinstance``,
checked when definitions load.

Verdicts are addressed by position: ``add`` and ``remove`` return one verdict per member of the batch, in its order.
Adds and removes must be safe to repeat. They raise (``model.errors``):

    BatchRefused    the platform refused the whole batch for what is in it; nothing of it was applied
    NotApplied      certainly nothing was applied (throttled, connection refused)
    NoAnswer        may have been applied (time-out, reset, unreadable answer, 5xx after all retries)
    AccessRefused   token revoked, scope missing, terms not accepted: stops the run
    ListMissing     the list is gone at the platform: stops the run

A destination that repeats requests by itself says so where one was not answered (``doubt.may_have_been_applied``), as the
common HTTP client does: a refusal after that is not the whole truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from audience_syncs.destinations.pacing import Pacer
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.strict import Config
from audience_syncs.model.values import Batch, FieldValue, MatchedUsers, Outgoing, RemoteList, Verdict


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """A field of the destination that a column can be mapped to.

    ``rule`` names the normalisation rule in ``identifiers.RULES``. An ``identifier`` field finds a person by itself;
    other fields only go along with one. ``multiple``: a member may have several values (an array column). ``nested``: an object may
    be mapped; it is sent as it is, but for an identifier, which its rule makes of it.
    """

    name: str
    rule: str
    identifier: bool = False
    multiple: bool = False
    personal: bool = True
    description: str = ""
    nested: bool = False


class Empties(StrEnum):
    """What a platform does where a member has nothing for a mapped field."""

    NEVER = "a null leaves the field as it is"
    """It has no way to empty a field, or none that is documented."""
    ASKED = "`nulls: clear` empties the field"
    ALWAYS = "a null is always sent as one: rows are written as they are"


class Tells(StrEnum):
    """Whether a platform tells something."""

    YES = "yes"
    NO = "no"
    DEPENDS = "where its settings say how"


@dataclass(frozen=True, slots=True)
class DestinationSpec:
    """The declarative part of a platform's module."""

    platform: str
    title: str
    kind: str
    """Dagster's name for the platform's icon, e.g. ``facebook``."""
    fields: tuple[FieldSpec, ...]
    credentials: tuple[str, ...]
    """Names of the secrets it needs."""
    settings: Mapping[str, str]
    """Settings it understands, name -> description. Those in ``required_settings`` must be given."""
    required_settings: frozenset[str]
    modes: frozenset[Mode]
    removals: frozenset[Removal]
    batch_size: int
    """Members per call of ``add`` or ``remove``."""
    concurrency: int
    """Calls that may be under way at the same time."""
    open_fields: FieldSpec | None = None
    """Platforms with fields of the customer's own (HubSpot properties): any other name is a field like this."""
    required_fields: frozenset[str] = frozenset()
    """Fields that every mapping must have."""
    reads_members: bool = False
    """Whether the platform tells who is in a list (``ReadsMembers``): needed to adopt a list and for an exact audit."""
    tells_matched_users: Tells = Tells.NO
    """Whether the platform tells how many people of a list it recognises (``TellsMatchedUsers``)."""
    docs: str = ""
    sizes_every: timedelta = timedelta(hours=1)
    """How often it is worth asking for matched users: no platform counts at once."""
    refresh_after: timedelta | None = None
    """Platforms that forget members after a while: who was accepted so long ago is sent again. Well before the platform's own
    time is over, as a run may be late."""
    settings_model: type[Config] | None = None
    """The settings' types, where single values do not do: nested ones, words of a closed list. Its fields are ``settings``."""
    optional_credentials: tuple[str, ...] = ()
    """Names of secrets that may be given, beside those it needs."""
    requests_per_s: float | None = None
    """How fast an account is called where its settings do not say; None: as ``settings_model`` says, or not limited."""
    empties: Empties = Empties.NEVER
    """What a null does; where asked, ``Outgoing.clears`` names the fields that ``add`` and ``write`` empty."""
    never_emptied: frozenset[str] = frozenset()
    """Fields that stay, beside identifiers and needed ones: what people are found or reached by."""

    def can_empty(self, field: FieldSpec) -> bool:
        """Whether `nulls: clear` is something for this field."""
        stays = field.identifier or field.name in self.required_fields or field.name in self.never_emptied
        return self.empties is not Empties.NEVER and not stays

    def field(self, name: str) -> FieldSpec | None:
        """The field of that name, or None where the platform has none."""
        for spec in self.fields:
            if spec.name == name:
                return spec
        if self.open_fields is None:
            return None
        return FieldSpec(
            name=name,
            rule=self.open_fields.rule,
            identifier=False,
            multiple=self.open_fields.multiple,
            personal=self.open_fields.personal,
            description=self.open_fields.description,
            nested=self.open_fields.nested,
        )


@dataclass(frozen=True, slots=True)
class ListRequest:
    """The list a sync wants: by ``id`` if it is known or given, else by ``name``, created if there is none."""

    name: str
    id: str | None = None
    description: str = ""


class Destination(Protocol):
    """An account on a platform, ready for use. Thread-safe: ``add`` and ``remove`` are called from several threads."""

    spec: DestinationSpec

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """The list, found by id or name, or created. Raises ListMissing when an id is given that no longer exists.

        Safe to repeat: a list that was created by a call whose answer was lost is found by its name.
        """
        ...

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """Adds or updates the members. One verdict per member."""
        ...

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """Removes the members by their identifiers as sent. Somebody who is not in the list is accepted."""
        ...

    @property
    def requests_sent(self) -> int:
        """HTTP requests made so far, retries included."""
        ...


@runtime_checkable
class KeepsPace(Protocol):
    """Platforms that limit how fast an account may be called: nearly all that are called over HTTP."""

    @property
    def pace(self) -> Pacer:
        """The account's budget of requests; the engine shares it with the runs of other syncs to the account."""
        ...


@runtime_checkable
class TellsMatchedUsers(Protocol):
    """Platforms that tell how many people of the list they recognise."""

    def matched_users(self, list_id: str) -> MatchedUsers: ...


@dataclass(frozen=True, slots=True)
class ListMember:
    """Somebody who is in a list, as the platform tells: identifiers by field, in the form in which they are sent."""

    fields: Mapping[str, FieldValue]
    remote_id: str | None = None


@runtime_checkable
class ReadsMembers(Protocol):
    """Platforms that tell who is in a list; those whose ``spec.reads_members`` is true."""

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        """Everybody in the list, page by page, also those whom others put there. Raises as ``add`` does."""
        ...


@runtime_checkable
class Publishes(Protocol):
    """Destinations whose list is put together when a run is over, of what was delivered: files with a manifest."""

    def publish(self, list_id: str, fields: Sequence[str], members: Iterator[Sequence[Outgoing]] | None) -> None:
        """Makes what was delivered so far visible, at once; also what a run delivered that died before this.

        Called at the end of every run, when its answers are settled, also of one that had nothing to deliver: where
        nothing was delivered since the last time there is nothing to do. ``members``: everybody who is or may be in the
        list, by their identifiers' order, page by page, to be read once if at all; None where the sync keeps no list of
        its own. Who is no longer in the audience (``removal: keep``) comes with identifiers only. Raises as ``add`` does.
        """
        ...


@runtime_checkable
class ResumesJobs(Protocol):
    """Platforms that only queue what they are sent, and do not tell which jobs they have: ours are noted.

    ``add`` and ``remove`` note each job (``batch.jobs.note``) before they wait for it, and that it is over
    (``batch.jobs.done``).
    """

    def resume(self, list_id: str, job_ids: Sequence[str]) -> None:
        """Waits until none of these jobs, left by runs that ended before them, can change the list any more.

        Called before anything else is sent: else an old addition could come after a new removal. A job that the platform
        does not know any more is over. Raises NotApplied where one is still under way after the usual time.
        """
        ...


@runtime_checkable
class WritesRecords(Protocol):
    """Platforms that keep records of people outside of any list: modes ``upsert``, ``update`` and ``insert``."""

    def records(self) -> RemoteList:
        """What is written to, in place of a list: its name and address are shown."""
        ...

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        """Writes records, touching no list. One verdict per member.

        ``upsert``: made or updated. ``update``: only where there is one; who has none is rejected with the reason code
        ``NOT_FOUND``. ``insert``: only where there is none; an existing record is left as it is, and accepted.
        """
        ...


@runtime_checkable
class ClearsFields(Protocol):
    """Platforms that can do removal ``clear_fields``."""

    def clear_fields(self, list_id: str, batch: Batch, fields: Sequence[str]) -> Sequence[Verdict]:
        """Takes the members out of the list and empties these fields of their records. Who is not there is accepted."""
        ...


@runtime_checkable
class DeletesRecords(Protocol):
    """Platforms that can do removal ``delete_record``."""

    def delete_records(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """Takes the members out of the list and deletes their records. Who is not there is accepted."""
        ...


@dataclass(frozen=True, slots=True)
class Account:
    """What a platform's class is made from: resolved secrets and settings."""

    name: str
    credentials: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Single values; for a platform with a ``settings_model``, what that model takes."""
