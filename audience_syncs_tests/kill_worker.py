"""The process that ``test_kill`` kills: one run of one sync, which tells on standard output where it is."""

from __future__ import annotations

import dataclasses
import json
import sys
import uuid

from audience_syncs.destinations.contract import Account
from audience_syncs.destinations.meta import Meta
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig, GuardConfig, SyncConfig
from audience_syncs.model.errors import AudienceSyncsError
from audience_syncs.model.values import Progress
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs_tests.history_world import Unpaced

BATCH_SIZE = 500
CONCURRENCY = 4


def audience() -> AudienceConfig:
    sync = SyncConfig.model_validate(
        {
            "destination": "ads",
            "list": {"name": "Crowd"},
            "mapping": {"EMAIL": "email", "PHONE": "phone"},
            "guard": GuardConfig(max_drop_percent=100).model_dump(),
        }
    )
    sql = "SELECT id, email, phone FROM people"
    return AudienceConfig(name="crowd", source="shop", primary_key="id", sql=sql, syncs=[sync])


def destination(simulators: str) -> Meta:
    settings = {"ad_account_id": "1", "base_url": f"{simulators}/meta", "timeout_s": 2, "attempts": 3}
    meta = Meta(Account("ads", {"access_token": "token"}, settings), {})
    meta._http._first_backoff_s = 0.01
    meta._http.pace = Unpaced()
    meta.spec = dataclasses.replace(meta.spec, batch_size=BATCH_SIZE, concurrency=CONCURRENCY)
    return meta


def main() -> None:
    database, simulators = sys.argv[1:3]
    crowd = audience()
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
                crowd, crowd.syncs[0], destination(simulators), warehouse, run_id=str(uuid.uuid4()), progress=tell
            )
    except AudienceSyncsError as error:
        sys.stdout.write(f"error {error.code}\n")
        sys.exit(3)
    sys.stdout.write("report " + json.dumps(report.to_json(), default=str) + "\n")


if __name__ == "__main__":
    main()
