"""Which function of the destination delivers a phase of a plan: the sync's mode and removal, put into calls."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from audience_syncs.destinations.contract import ClearsFields, DeletesRecords, Destination, WritesRecords
from audience_syncs.engine.isolation import Call
from audience_syncs.engine.phases import REMOVALS, SENDING
from audience_syncs.model.config import ModeFamily, Removal, SyncConfig
from audience_syncs.model.errors import DefinitionError


def calls(destination: Destination, list_id: str, sync: SyncConfig, removal: Removal) -> Callable[[int], Call]:
    """What delivers a batch of each phase. ``removal``: what is done with members who leave.

    Definitions that ask for what a destination cannot do do not load; this raises DefinitionError for those that never
    were checked.
    """

    def of_phase(phase: int) -> Call:
        if phase in SENDING:
            return _sending(destination, list_id, sync)
        # A retraction takes an old identifier out of the list; its member stays, and so does their record.
        return _removing(destination, list_id, sync, removal if phase == REMOVALS else Removal.REMOVE)

    return of_phase


def _sending(destination: Destination, list_id: str, sync: SyncConfig) -> Call:
    if sync.mode.family is ModeFamily.LIST:
        return partial(destination.add, list_id)
    if sync.mode.family is ModeFamily.OUT_OF_LIST:
        return partial(destination.remove, list_id)
    if isinstance(destination, WritesRecords):
        return partial(destination.write, mode=sync.mode)
    raise _cannot(destination, f"mode `{sync.mode}`")


def _removing(destination: Destination, list_id: str, sync: SyncConfig, removal: Removal) -> Call:
    if removal is Removal.CLEAR_FIELDS:
        if not isinstance(destination, ClearsFields):
            raise _cannot(destination, f"removal `{removal}`")
        identifiers = {field.name for field in destination.spec.fields if field.identifier}
        return partial(
            destination.clear_fields, list_id, fields=[name for name in sync.mapping if name not in identifiers]
        )
    if removal is Removal.DELETE_RECORD:
        if not isinstance(destination, DeletesRecords):
            raise _cannot(destination, f"removal `{removal}`")
        return partial(destination.delete_records, list_id)
    return partial(destination.remove, list_id)


def _cannot(destination: Destination, what: str) -> DefinitionError:
    return DefinitionError(
        f"{destination.spec.title} cannot do {what}", remedy="run `audience-syncs check`: it says what it can do"
    )
