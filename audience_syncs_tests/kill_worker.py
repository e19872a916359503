"""The process that ``test_kill`` kills: one run of one sync, which tells on standard output where it is."""

from __future__ import annotations

import dataclasses
import json
import sys
import uuid
from typing import Any

from audience_syncs.destinations.contract import Destination
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig, GuardConfig, SyncConfig
from audience_syncs.model.errors import AudienceSyncsError
from audience_syncs.model.values import Progress
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs_tests.platforms import HARNESSES

BATCH_SIZE = 500
CONCURRENCY = 4


def audience(platform: str) -> AudienceConfig:
    harness = HARNESSES[platform]
    phone = {harness.phone: "phone"} if harness.phone else {}
    sync = SyncConfig.model_validate(
        {
            "destination": "ads",
            "list": {"name": "Crowd"},
            "mapping": {harness.email: "email", **phone},
            "guard": GuardConfig(max_drop_percent=100).model_dump(),
        }
    )
    sql = "SELECT id, email, phone FROM people"
    return AudienceConfig(name="crowd", source="shop", primary_key="id", sql=sql, syncs=[sync])


def destination(platform: str, address: str) -> Destination:
    """``address``: of the simulators, of the database for a table, of the folder for files."""
    harness = HARNESSES[platform]
    if harness.has_simulator:
        address, patience = f"{address}/{harness.simulated_as}", {"timeout_s": 2, "attempts": 3}
    else:
        patience = {"rows_per_file": 3_000} if platform == "files" else {}
    opened: Any = harness.open(address, account="1", **patience)
    concurrency = min(CONCURRENCY, opened.spec.concurrency)
    opened.spec = dataclasses.replace(opened.spec, batch_size=BATCH_SIZE, concurrency=concurrency)
    return opened  # type: ignore[no-any-return]


def main() -> None:
    database, platform, address = sys.argv[1:4]
    crowd = audience(platform)
    last = ""

    def tell(progress: Progress) -> None:
        nonlocal last
        if progress.step != last:
            last = progress.step
            sys.stdout.write(f"step {last}\n")
            sys.stdout.flush()

    try:
        with open_warehouse_at(database) as warehouse:
            report = run_sync(
                crowd,
                crowd.syncs[0],
                destination(platform, address),
                warehouse,
                run_id=str(uuid.uuid4()),
                progress=tell,
            )
    except AudienceSyncsError as error:
        sys.stdout.write(f"error {error.code}\n")
        sys.exit(3)
    sys.stdout.write("report " + json.dumps(report.to_json(), default=str) + "\n")


if __name__ == "__main__":
    main()
