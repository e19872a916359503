"""The list a sync keeps at the platform: found or made, remembered by its id, never changed for another in silence."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from audience_syncs.destinations.contract import Destination, ListRequest, ReadsMembers, WritesRecords
from audience_syncs.engine import records
from audience_syncs.engine.adopt import stage_listed
from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.errors import DefinitionError, ListMissing
from audience_syncs.model.values import RemoteList
from audience_syncs.warehouse.connection import Warehouse


class ListKeeper:
    """The list of one sync."""

    def __init__(
        self, connection: sa.Connection, warehouse: Warehouse, audience: AudienceConfig, sync: SyncConfig
    ) -> None:
        self._connection = connection
        self._warehouse = warehouse
        self._audience = audience
        self._sync = sync
        self._name = sync_id(audience, sync)
        self.has_list = sync.mode.family.has_list
        known = records.known_list(connection, warehouse, self._name) if self.has_list else None
        connection.rollback()
        self._wanted_before = known.wanted if known is not None else ""
        self.known: RemoteList | None = known.list if known is not None else None

    @property
    def wanted(self) -> str:
        """The id or name that the definitions give."""
        return self._sync.list.id or self._sync.list.name or self._audience.label

    def refuse_another(self) -> None:
        """The ledger tells of one list. A definition that now names another would leave people in the old one for ever:
        raises DefinitionError."""
        if self.known is None or self._wanted_before == self.wanted or self.known.id == self._sync.list.id:
            return
        raise DefinitionError(
            f"this sync keeps the list {self._wanted_before!r} (id {self.known.id}); its definition now names "
            f"{self.wanted!r}",
            where=f"sync {self._name}",
            code="LIST_CHANGED",
            remedy=f'to rename the list, rename it there and write `list: {{id: "{self.known.id}"}}`; to fill '
            "another list, give the sync another `name`",
        )

    def find(self, destination: Destination, now: datetime) -> RemoteList:
        """The list at the platform, made if there is none; or what is written to, for modes without a list."""
        if not self.has_list:
            if not isinstance(destination, WritesRecords):
                raise DefinitionError(f"{destination.spec.title} cannot do mode `{self._sync.mode}`")
            return destination.records()
        wanted = ListRequest(
            name=self._sync.list.name or self._audience.label,
            id=self.known.id if self.known is not None else self._sync.list.id,
            description=self._sync.list.description or self._audience.description,
        )
        try:
            found = destination.ensure_list(wanted)
        except ListMissing as missing:
            raise self.with_way_out(missing) from None
        records.keep_list(self._connection, self._warehouse, self._name, self.wanted, found, now)
        self.known = found
        return found

    def adopt(self, destination: Destination, now: datetime) -> bool:
        """Reads who is in the list, once, before the sync sends anything; whether there was a list to take over."""
        ledger = self._warehouse.tables.ledger
        begun = self._connection.scalar(sa.select(sa.exists().where(ledger.c.sync == self._name)))
        self._connection.rollback()
        if begun:
            return False
        if not isinstance(destination, ReadsMembers):
            raise DefinitionError(
                f"{destination.spec.title} does not tell who is in a list, so none can be adopted",
                where=f"sync {self._name}",
                remedy="leave `adopt` out: the first run sends everybody, which changes nothing for those who are there",
            )
        found = self.find(destination, now)
        stage_listed(self._connection, self._warehouse, destination.members(found.id))
        return True

    def give_up_missing(self, destination: Destination) -> None:
        """Forgets a list that is gone at the platform, with all that was booked for it; the caller commits.

        Raises DefinitionError while the list is still there.
        """
        if self.known is None:
            return
        try:
            destination.ensure_list(ListRequest(name=self.known.name, id=self.known.id))
        except ListMissing:
            pass
        else:
            raise DefinitionError(
                f"the list {self.known.name!r} (id {self.known.id}) is still there",
                where=f"sync {self._name}",
                remedy="leave `new_list` out; to fill another list, give the sync another `name`",
            )
        tables = self._warehouse.tables
        for table in (tables.ledger, tables.rejections, tables.lists):
            self._connection.execute(sa.delete(table).where(table.c.sync == self._name))
        self.known = None

    def with_way_out(self, missing: ListMissing) -> ListMissing:
        """The same error, with what can be done about it here."""
        if self.known is None:
            return missing  # the definition names an id that never was
        return ListMissing(
            missing.message,
            where=f"sync {self._name}",
            remedy="nothing of what we know is lost. If it can be restored at the platform, do that and run again; "
            f"otherwise `audience-syncs resync {self._name} --new-list` makes another one and sends everybody to it",
        )
