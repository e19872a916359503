"""Real input: the orders of a marketplace (Olist), loaded by our command, synced for six consecutive midnights.

The data may not be copied into this project; where it is not beside the checkout, these tests skip and say so. The audience is
"placed an order and had none delivered in the 7 days before T" (half-open windows, UTC), worked out a second time with
pandas from the base tables.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import requests
import sqlalchemy as sa

from audience_syncs.audiences import evaluate_audience
from audience_syncs.destinations.registry import open_destination
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig, DestinationConfig, GuardConfig, SyncConfig
from audience_syncs.model.names import Secret
from audience_syncs.simulators import SimulatorServer
from audience_syncs.warehouse import Warehouse, open_warehouse_at

DATA = Path(os.environ.get("AUDIENCE_SYNCS_OLIST") or Path(__file__).parents[2] / "shared" / "data" / "olist")
MIDNIGHTS = pd.date_range("2018-08-15", "2018-08-20", tz="UTC")
WEEK = pd.Timedelta(days=7)

pytestmark = pytest.mark.skipif(
    not (DATA / "orders.parquet").is_file(), reason=f"the Olist data is not at {DATA} (set AUDIENCE_SYNCS_OLIST)"
)

AUDIENCE = AudienceConfig(
    name="waiting",
    source="shop",
    primary_key="user_id",
    sql="""
        SELECT e.user_id, e.user_id || '@olist.example' AS email
        FROM olist.events e, public.clock c
        WHERE e.ts >= c.midnight - interval '7 days' AND e.ts < c.midnight
          AND e.event IN ('order_placed', 'order_delivered')
        GROUP BY e.user_id
        HAVING bool_or(e.event = 'order_placed') AND NOT bool_or(e.event = 'order_delivered')
    """,
    syncs=[
        SyncConfig.model_validate(
            {
                "destination": "meta_ads",
                "mapping": {"EMAIL": "email", "EXTERN_ID": "user_id"},
                "list": {"name": "Waiting"},
            }
            | {"guard": GuardConfig(max_drop_percent=60).model_dump()}
        )
    ],
)


def expected_users(midnight: pd.Timestamp) -> set[str]:
    """The same, from the base table of orders, without SQL."""
    orders = pd.read_parquet(DATA / "orders.parquet", columns=["user_id", "purchased_at", "delivered_at"])
    placed = orders[(orders.purchased_at >= midnight - WEEK) & (orders.purchased_at < midnight)]
    delivered = orders[(orders.delivered_at >= midnight - WEEK) & (orders.delivered_at < midnight)]
    return set(placed.user_id) - set(delivered.user_id)


@pytest.fixture(scope="module")
def warehouse(postgres_url: str) -> Iterator[Warehouse]:
    loaded = subprocess.run(
        [sys.executable, "-m", "audience_syncs", "demo", "load", str(DATA), "--schema", "olist"],
        env={**os.environ, "AUDIENCE_SYNCS_SHOP_URL": postgres_url},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert loaded.returncode == 0, loaded.stderr
    with open_warehouse_at(postgres_url) as warehouse:
        with warehouse.engine.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE clock (midnight timestamptz)")
            connection.exec_driver_sql("INSERT INTO clock VALUES (NULL)")
        yield warehouse


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


def test_loading_changes_no_row_and_no_sum(warehouse: Warehouse) -> None:
    with warehouse.engine.connect() as connection:
        counts = {
            table: connection.scalar(sa.text(f"SELECT count(*) FROM olist.{table}"))
            for table in ("users", "orders", "order_items", "payments", "products", "sellers", "reviews", "events")
        }
        prices = connection.scalar(sa.text("SELECT sum(price) FROM olist.order_items"))
        zips = connection.scalar(sa.text("SELECT count(*) FROM olist.users WHERE zip_code_prefix LIKE '0%'"))
        kind = connection.scalar(
            sa.text(
                "SELECT data_type FROM information_schema.columns WHERE table_name = 'events' AND column_name = 'ts'"
            )
        )
    # As the data's README says.
    assert counts == {
        "users": 96_096,
        "orders": 99_441,
        "order_items": 112_650,
        "payments": 103_886,
        "products": 32_951,
        "sellers": 3_095,
        "reviews": 99_224,
        "events": 604_666,
    }
    assert str(prices) == "13591643.70"
    assert zips is not None
    assert zips > 0
    assert kind == "timestamp with time zone"


def test_six_midnights_each_send_exactly_who_entered_and_remove_exactly_who_left(
    warehouse: Warehouse, simulators: SimulatorServer
) -> None:
    destination = open_destination(
        DestinationConfig(
            name="meta_ads",
            platform="meta",
            credentials={"access_token": Secret(env="TOKEN")},
            settings={"ad_account_id": "1", "base_url": f"{simulators.url}/meta"},
        ),
        {"TOKEN": "token"},
    )
    before: set[str] = set()
    for midnight in MIDNIGHTS:
        with warehouse.engine.begin() as connection:
            connection.execute(sa.text("UPDATE clock SET midnight = :midnight"), {"midnight": midnight.to_pydatetime()})
        requests.delete(f"{simulators.url}/_simulator/meta/requests", timeout=10).raise_for_status()
        now = expected_users(midnight)
        snapshot = evaluate_audience(AUDIENCE, warehouse, run_id=str(midnight))
        report = run_sync(AUDIENCE, AUDIENCE.syncs[0], destination, warehouse, run_id=str(midnight))
        assert len(now) > 1_000
        assert (snapshot.members, snapshot.entered, snapshot.exited) == (len(now), len(now - before), len(before - now))
        assert (report.added, report.updated, report.removed) == (len(now - before), 0, len(before - now))
        assert report.accepted == len(now)
        assert sent(simulators, "users.add") == {hashed(user) for user in now - before}
        assert sent(simulators, "users.remove") == {hashed(user) for user in before - now}
        assert report.list is not None
        assert held(simulators, report.list.id) == {hashed(user) for user in now}
        before = now


def hashed(user: str) -> str:
    return hashlib.sha256(f"{user}@olist.example".encode()).hexdigest()


def held(simulators: SimulatorServer, list_id: str) -> set[str]:
    address = f"{simulators.url}/_simulator/meta/lists/{list_id}/members"
    return set(requests.get(address, params={"field": "EMAIL"}, timeout=30).json())


def sent(simulators: SimulatorServer, operation: str) -> set[str]:
    """The emails that were in the requests, as the platform received them."""
    journal: Any = requests.get(f"{simulators.url}/_simulator/meta/requests", params={"limit": 100}, timeout=30).json()
    entries = journal["requests"] if isinstance(journal, dict) else journal
    found: set[str] = set()
    for entry in entries:
        if entry["operation"] == operation:
            payload = entry["body"]["payload"]
            column = payload["schema"].index("EMAIL")
            assert len(payload["data"]) == entry["rows"], "the journal cut the body short"
            found |= {row[column] for row in payload["data"]}
    return found
