"""Many audiences and syncs: what loading them costs, beside the same number of bare, hand-written Dagster assets.

    python benchmarks/many_syncs.py [--audiences N] [--repeat N]

Writes a project of N audiences with two syncs each into a temporary folder, as YAML, as a user has it; beside it stands
`bare_twin.py` with exactly as many assets, checks, jobs and schedules. Each is loaded in fresh processes, in turn, as
Dagster's code server loads it: the definitions, every job, and the description that the webserver and the daemon ask
for. Times are of this machine; compare ours with bare.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

AUDIENCE = """\
type: audience_syncs.components.Audience
attributes:
  name: audience_{number}
  title: Audience {number}
  description: Put something of category {number} into the cart in the last 7 days.
  source: shop
  primary_key: user_id
  owners: ["team:crm"]
  tags: {{campaign: win_back}}
  personal: [email, phone, first_name, last_name]
  sql: |
    WITH clock AS (SELECT now FROM shop.clock),
    carted AS (
      SELECT e.user_id, max(e.ts) AS carted_at
      FROM shop.events e
      JOIN shop.products p USING (product_id), clock
      WHERE e.event = 'add_to_cart' AND p.category = 'Category {number}'
        AND e.ts >= clock.now - interval '7 days' AND e.ts < clock.now
      GROUP BY e.user_id
    )
    SELECT u.user_id, u.email, u.phone, u.first_name, u.last_name, u.country
    FROM carted c
    JOIN shop.users u USING (user_id)
    WHERE u.ads_consent AND u.marketing_consent
  syncs:
    - destination: meta_ads
      list: {{name: "Shop: audience {number}"}}
      mapping:
        EMAIL: email
        PHONE: {{column: phone, region: country}}
        FN: first_name
        LN: last_name
        COUNTRY: country
        EXTERN_ID: user_id
      schedule: {{every: 15 minutes}}
    - destination: hubspot_crm
      list: {{name: "Shop: audience {number}"}}
      mapping:
        email: email
        firstname: first_name
        lastname: last_name
        phone: {{column: phone, region: country}}
        country: country
      schedule: {{cron: "30 6 * * 1-5", timezone: Europe/Berlin}}
"""

OTHERS = {
    "sources/shop": "type: audience_syncs.components.Source\nattributes: {name: shop, url: {env: SHOP_URL}}\n",
    "destinations/meta_ads": """\
type: audience_syncs.components.Destination
attributes:
  name: meta_ads
  platform: meta
  credentials: {access_token: {env: META_ACCESS_TOKEN}}
  settings: {ad_account_id: "1201201201201", base_url_env: META_BASE_URL}
""",
    "destinations/hubspot_crm": """\
type: audience_syncs.components.Destination
attributes:
  name: hubspot_crm
  platform: hubspot
  credentials: {access_token: {env: HUBSPOT_ACCESS_TOKEN}}
  settings: {portal_id: "4242424", base_url_env: HUBSPOT_BASE_URL}
""",
}


def write_project(folder: Path, audiences: int) -> Path:
    """The folder of definitions: one file for each audience with its two syncs."""
    files = OTHERS | {f"audiences/audience_{number}": AUDIENCE.format(number=number) for number in range(audiences)}
    for place, text in files.items():
        (folder / "defs" / place).mkdir(parents=True)
        (folder / "defs" / place / "defs.yaml").write_text(text)
    return folder / "defs"


@dataclasses.dataclass(frozen=True)
class Loading:
    """What one process measured. Seconds are CPU time, which other work on the machine disturbs least."""

    import_s: float
    definitions_s: float
    description_s: float
    elapsed_s: float
    peak_mb: float
    description_mb: float
    counts: dict[str, int]

    @property
    def cpu_s(self) -> float:
        return self.import_s + self.definitions_s + self.description_s


def load_here(module: str) -> Loading:
    """Loads a module as Dagster's code server does, in this process, which must be fresh."""
    elapsed, began = time.monotonic(), time.process_time()
    from dagster._core.origin import DEFAULT_DAGSTER_ENTRY_POINT
    from dagster._core.remote_representation.external_data import RepositorySnap
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
    from dagster._grpc.server import LoadedRepositories
    from dagster._serdes import serialize_value

    imported = time.process_time()
    origin = LoadableTargetOrigin(executable_path=sys.executable, module_name=module, working_directory=str(HERE))
    loaded = LoadedRepositories(origin, None, DEFAULT_DAGSTER_ENTRY_POINT, None)
    defined = time.process_time()
    [repository] = loaded.definitions_by_name.values()
    snap = RepositorySnap.from_def(repository, defer_snapshots=True)
    described = len(serialize_value(snap))
    done = time.process_time()
    return Loading(
        import_s=imported - began,
        definitions_s=defined - imported,
        description_s=done - defined,
        elapsed_s=time.monotonic() - elapsed,
        peak_mb=peak_memory_mb(),
        description_mb=described / 1e6,
        counts={
            "assets": len(snap.asset_nodes),
            "checks": len(snap.asset_check_nodes or ()),
            "jobs": len(snap.job_refs or ()),
            "schedules": len(snap.schedules),
            "sensors": len(snap.sensors),
        },
    )


def peak_memory_mb() -> float:
    """The most this process ever held, from the operating system."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audiences", type=int, default=500, help="each has two syncs")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--load", metavar="MODULE", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(json.dumps(dataclasses.asdict(load_here(options.load))))


if __name__ == "__main__":
    main()
