"""The process that ``test_kill`` kills: one run of one sync, which tells on standard output where it is."""

from __future__ import annotations

import dataclasses
import json
import sys
import uuid
from typing import Any

from audience_syncs.destinations.contract import Destination
from audience_syncs.destinations.registry import open_destination
from audience_syncs.engine import run_sync
from audience_syncs.model.config import AudienceConfig, DestinationConfig, GuardConfig, SyncConfig
from audience_syncs.model.errors import AudienceSyncsError
from audience_syncs.model.values import Progress
from audience_syncs.simulators.webhook import secret_of
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs_tests.history_places import house_api
from audience_syncs_tests.history_world import Unpaced

BATCH_SIZE = 500
CONCURRENCY = 4


MAPPINGS = {"meta": {"EMAIL": "email", "PHONE": "phone"}}
"""Of the others: by the email as their key."""


def audience(platform: str) -> AudienceConfig:
    sync = SyncConfig.model_validate(
        {
            "destination": "ads",
            "list": {"name": "Crowd"},
            "mapping": MAPPINGS.get(platform, {"email": "email", "phone": "phone"}),
            "guard": GuardConfig(max_drop_percent=100).model_dump(),
        }
    )
    sql = "SELECT id, email, phone FROM people"
    return AudienceConfig(name="crowd", source="shop", primary_key="id", sql=sql, syncs=[sync])


def destination(platform: str, address: str) -> Destination:
    """``address``: of the simulators, of the database for a table, of the folder for files."""
    impatient = {"timeout_s": 2, "attempts": 3}
    settings: dict[str, Any] = {"key": "email"}
    secrets = {"url": address}
    if platform == "meta":
        settings = {"ad_account_id": "1", "base_url": f"{address}/meta", **impatient}
        secrets = {"access_token": "token"}
    elif platform == "hubspot":
        settings, secrets = {"base_url": f"{address}/hubspot", **impatient}, {"access_token": "token"}
    elif platform == "files":
        settings, secrets = {"key": "email", "url": address, "rows_per_file": 3_000, "keep": 1_000}, {}
    elif platform == "webhook":
        settings |= impatient
        secrets = {"url": f"{address}/webhook/crowd", "secret": secret_of("crowd")}
    elif platform == "http_api":
        settings |= impatient | {"base_url": f"{address}/json_api", **house_api()}
        secrets = {"token": "crowd"}
    written = {
        "name": "ads",
        "platform": platform,
        "settings": settings,
        "credentials": {name: {"env": name.upper()} for name in secrets},
    }
    opened: Any = open_destination(
        DestinationConfig.model_validate(written), {name.upper(): value for name, value in secrets.items()}
    )
    if hasattr(opened, "_http"):
        opened._http._first_backoff_s = 0.01
        opened._http.pace = Unpaced()
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
