"""The audit: the list as the platform tells it, against the ledger.

Where the platform tells who is in a list, the answer is exact: who is missing, and how many others are there. Where it
tells a size only, it is compared with what was accepted, as far as an approximate number allows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from audience_syncs.destinations.contract import Destination, ReadsMembers, TellsMatchedUsers
from audience_syncs.engine.adopt import stage_listed
from audience_syncs.engine.lists import ListKeeper
from audience_syncs.engine.lock import locked
from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.errors import DefinitionError, ListMissing
from audience_syncs.model.values import MatchedUsers
from audience_syncs.warehouse.connection import Warehouse, in_words
from audience_syncs.warehouse.state import State

EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What an audit found. Counts are members; ``None`` where the platform does not tell."""

    sync: str
    at: datetime
    exact: bool
    """Whether the platform told who is in the list, not only how many."""
    accepted: int
    """Members the ledger holds as accepted."""
    listed: int | None
    """People in the list."""
    missing: int | None
    """Accepted by the platform once, and not in the list now."""
    others: int | None
    """In the list, not put there by this sync (or not known to it any more)."""
    missing_keys: tuple[str, ...] = ()
    """Some of the missing members, by primary key; empty where the key is personal data."""
    matched: MatchedUsers | None = None
    difference: str = ""
    """In words; empty where nothing speaks against the ledger."""

    @property
    def passed(self) -> bool:
        return not self.difference

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed}


def audit_sync(
    audience: AudienceConfig, sync: SyncConfig, destination: Destination, warehouse: Warehouse
) -> AuditReport:
    """Compares the list with the ledger. Changes nothing.

    Raises SyncLocked while a run of the sync is under way, DefinitionError where there is no list to compare with, and
    DestinationError where the platform refuses.
    """
    name = sync_id(audience, sync)
    State(warehouse).prepare()
    with in_words(f"sync {name}"), warehouse.connect() as connection, locked(connection, warehouse, name):
        keeper = ListKeeper(connection, warehouse, audience, sync)
        if keeper.known is None:
            raise DefinitionError(
                "this sync keeps no list that could be compared",
                where=f"sync {name}",
                remedy="run the sync first" if sync.mode.family.has_list else f"mode `{sync.mode}` has no list",
            )
        accepted = _accepted(connection, warehouse, name)
        try:
            if isinstance(destination, ReadsMembers):
                stage_listed(connection, warehouse, destination.members(keeper.known.id))
                report = _exact(connection, warehouse, audience, name, accepted)
                connection.rollback()
                return report
            if isinstance(destination, TellsMatchedUsers):
                return _by_size(name, accepted, destination.matched_users(keeper.known.id))
        except ListMissing as missing:
            raise keeper.with_way_out(missing) from None
    raise DefinitionError(
        f"{destination.spec.title} tells neither who is in a list nor how many", where=f"sync {name}", remedy="none"
    )


def _accepted(connection: sa.Connection, warehouse: Warehouse, name: str) -> int:
    ledger = warehouse.tables.ledger
    count = connection.scalar(
        sa.select(sa.func.count()).select_from(ledger).where(ledger.c.sync == name, ledger.c.state == "accepted")
    )
    return int(count or 0)


def _exact(
    connection: sa.Connection, warehouse: Warehouse, audience: AudienceConfig, name: str, accepted: int
) -> AuditReport:
    ledger = warehouse.tables.ledger
    listed = sa.table("as_listed", sa.column("person"), sa.column("identifier"), sa.column("remote_id"))
    held = (
        sa.select(
            ledger.c.member_key, ledger.c.state, warehouse.dialect.unnest(ledger.c.identifiers).label("identifier")
        )
        .where(ledger.c.sync == name)
        .subquery("held")
    )
    by_identifier = sa.select(held.c.member_key, listed.c.person).join(listed, listed.c.identifier == held.c.identifier)
    by_id = (
        sa.select(ledger.c.member_key, listed.c.person)
        .join(listed, listed.c.remote_id == ledger.c.remote_id)
        .where(ledger.c.sync == name)
    )
    found = sa.union(by_identifier, by_id).subquery("found")
    absent = (
        sa.select(ledger.c.member_key)
        .where(ledger.c.sync == name, ledger.c.state == "accepted")
        .where(~sa.exists().where(found.c.member_key == ledger.c.member_key))
    )
    people = int(connection.scalar(sa.select(sa.func.count(listed.c.person.distinct()))) or 0)
    known = int(connection.scalar(sa.select(sa.func.count(found.c.person.distinct()))) or 0)
    missing = int(connection.scalar(sa.select(sa.func.count()).select_from(absent.subquery())) or 0)
    personal = audience.primary_key in audience.personal
    keys = connection.scalars(absent.order_by(ledger.c.member_key).limit(EXAMPLES)).all() if missing else []
    shown = () if personal or any("@" in key for key in keys) else tuple(keys)
    words = []
    if missing:
        words.append(
            f"{missing:,} of {accepted:,} accepted members are not in the list; somebody or something else took them out. "
            f"`audience-syncs resync {name}` puts them back"
        )
    others = people - known
    return AuditReport(
        sync=name,
        at=datetime.now(UTC),
        exact=True,
        accepted=accepted,
        listed=people,
        missing=missing,
        others=others,
        missing_keys=shown,
        difference="; ".join(words),
    )


def _by_size(name: str, accepted: int, matched: MatchedUsers) -> AuditReport:
    """A platform that recognises more people than were ever accepted holds others; fewer is normal."""
    more = matched.lower is not None and matched.lower > accepted and not matched.note
    return AuditReport(
        sync=name,
        at=datetime.now(UTC),
        exact=False,
        accepted=accepted,
        listed=None,
        missing=None,
        others=None,
        matched=matched,
        difference=(
            f"the platform counts at least {matched.lower:,} people, and this sync put {accepted:,} there: others are in "
            "the list, too"
            if more
            else ""
        ),
    )
