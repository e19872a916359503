"""Whether the simulated platforms hold exactly the audiences: worked out without engine, ledger or normaliser.

From each audience's snapshot the email addresses are taken as they are, trimmed, lower-cased and, where the platform
is sent hashes, hashed here. Members without a usable address cannot be checked that way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.values import RejectionCount
from audience_syncs.project import Project
from audience_syncs.warehouse import Warehouse, open_warehouse
from audience_syncs.warehouse.state import State
from audience_syncs.warehouse.tables import snapshot_table

_ADDRESS = re.compile(r"[^@\s]{1,64}@([^@\s.]+\.)+[^@\s.]+")
_EMAIL_FIELD = {"meta": "EMAIL", "hubspot": "email"}
_HASHED = {"meta"}


@dataclass(frozen=True, slots=True)
class ListCheck:
    """One list, compared with its audience. ``missing`` and ``extra`` count email addresses."""

    sync: str
    in_audience: int
    delivered: int
    accepted: int
    rejected: tuple[RejectionCount, ...]
    list_id: str
    list_size: int
    expected_emails: int
    missing: int
    extra: int
    duration_s: float

    @property
    def equal(self) -> bool:
        return not self.missing and not self.extra and bool(self.list_id)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "equal": self.equal}


def check_lists(project: Project, variables: Mapping[str, str], simulators_url: str) -> list[ListCheck]:
    """Compares every list at the demo's simulated platforms with its audience's latest snapshot; others are passed over."""
    checks: list[ListCheck] = []
    for audience in project.audiences.values():
        with open_warehouse(project.sources[audience.source], variables) as warehouse:
            for sync in audience.syncs:
                platform = project.destinations[sync.destination].platform
                if platform in _EMAIL_FIELD:
                    checks.append(_check(audience, sync, platform, warehouse, simulators_url))
    return checks


def _check(
    audience: AudienceConfig, sync: SyncConfig, platform: str, warehouse: Warehouse, simulators_url: str
) -> ListCheck:
    import requests

    name = sync_id(audience, sync)
    runs = State(warehouse).runs(name, limit=1)
    run = runs[0] if runs else None
    field = _EMAIL_FIELD[platform]
    expected = set(_expected_emails(audience, sync, field, warehouse))
    if platform in _HASHED:
        expected = {hashlib.sha256(email.encode()).hexdigest() for email in expected}
    held: set[str] = set()
    size = 0
    if run is not None and run.list_id is not None:
        address = f"{simulators_url}/_simulator/{platform}/lists/{run.list_id}/members"
        answer = requests.get(address, params={"field": field}, timeout=60)
        answer.raise_for_status()
        held = {email for email in answer.json() if email}
        lists = requests.get(f"{simulators_url}/_simulator/{platform}/lists", timeout=60).json()
        size = next((entry["size"] for entry in lists if str(entry["id"]) == run.list_id), 0)
    return ListCheck(
        sync=name,
        in_audience=run.in_audience if run else 0,
        delivered=run.delivered if run else 0,
        accepted=run.accepted if run else 0,
        rejected=State(warehouse).rejections(name),
        list_id=(run.list_id if run else None) or "",
        list_size=size,
        expected_emails=len(expected),
        missing=len(expected - held),
        extra=len(held - expected),
        duration_s=(run.finished_at - run.started_at).total_seconds() if run and run.finished_at else 0.0,
    )


def _expected_emails(audience: AudienceConfig, sync: SyncConfig, field: str, warehouse: Warehouse) -> Iterator[str]:
    """The addresses of the snapshot's members, but those who were named as rejected."""
    snapshot = State(warehouse).latest_snapshot(audience.name)
    column = sync.mapping[field].column
    if snapshot is None or column is None:
        return
    table = snapshot_table(warehouse.schema, snapshot.table, (column,))
    rejections = warehouse.tables.rejections
    rejected = sa.exists().where(
        rejections.c.sync == sync_id(audience, sync), rejections.c.member_key == table.c["_member_key"]
    )
    query = sa.select(table.c[column]).where(~rejected).execution_options(stream_results=True, yield_per=10_000)
    with warehouse.connect() as connection:
        for (value,) in connection.execute(query):
            email = str(value or "").strip().lower()
            if _ADDRESS.fullmatch(email):
                yield email
