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
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.values import Batch, MatchedUsers, RemoteList, Verdict


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """A field of the destination that a column can be mapped to.

    ``rule`` names the normalisation rule in ``identifiers.RULES``. An ``identifier`` field finds a person by itself;
    other fields only go along with one. ``multiple``: a member may have several values (an array column).
    """

    name: str
    rule: str
    identifier: bool = False
    multiple: bool = False
    personal: bool = True
    description: str = ""


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
    docs: str = ""

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
class TellsMatchedUsers(Protocol):
    """Platforms that tell how many people of the list they recognise."""

    def matched_users(self, list_id: str) -> MatchedUsers: ...


@dataclass(frozen=True, slots=True)
class Account:
    """What a platform's class is made from: resolved secrets and settings."""

    name: str
    credentials: Mapping[str, str] = field(repr=False)
    settings: Mapping[str, str | int | float | bool | None] = field(default_factory=dict)
