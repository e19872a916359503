"""Many audiences and syncs: what loading and watching them costs, beside bare Dagster.

    python benchmarks/many_syncs.py load  [--audiences N] [--repeat N] [--no-audience-jobs]
    python benchmarks/many_syncs.py watch [--audiences N] [--repeat N]

`load` writes a project of N audiences with two syncs each into a temporary folder, as YAML, as a user has it; beside it
stands `bare_twin.py` with exactly as many assets, checks, jobs and schedules. Each is loaded in fresh processes, in turn,
as Dagster's code server loads it: the definitions, every job, and the description that the webserver and the daemon ask
for. Times are of this machine; compare ours with bare.

`watch` gives each sync a history in a real PostgreSQL and a real Dagster instance: 50 runs, 100 readings of matched
users, a switch and another one of a sync that is gone; then times ticks of the sensor `sync_health`, and
`audience-syncs status`. `many_pages.py` times the pages of the UI.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
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
    twin: dict[str, Any]
    """What the bare twin needs to have the same."""

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
    took = time.monotonic() - elapsed
    return Loading(
        import_s=imported - began,
        definitions_s=defined - imported,
        description_s=done - defined,
        elapsed_s=took,
        peak_mb=peak_memory_mb(),
        description_mb=described / 1e6,
        counts={
            "assets": len(snap.asset_nodes),
            "checks": len(snap.asset_check_nodes or ()),
            "jobs": len(snap.job_refs or ()),
            "schedules": len(snap.schedules),
            "sensors": len(snap.sensors),
        },
        twin=twin_of(repository),
    )


def twin_of(repository: Any) -> dict[str, Any]:
    """The size of the bare twin of a project of ours, all of whose audiences are alike."""
    functions: Counter[str] = Counter()
    on_assets: Counter[str] = Counter()
    for definition in repository.asset_graph.assets_defs:
        for spec in definition.check_specs:
            (on_assets if definition.keys else functions)[spec.asset_key.path[0]] += 1
    kinds = Counter(key.path[0] for key in repository.asset_graph.get_all_asset_keys())
    audiences, syncs = kinds["audiences"], kinds["syncs"]
    return {
        "audiences": audiences,
        "syncs_per_audience": syncs // max(audiences, 1),
        "checks_per_audience": functions["audiences"] // max(audiences, 1),
        "checks_on_audience": on_assets["audiences"] // max(audiences, 1),
        "checks_per_sync": functions["syncs"] // max(syncs, 1),
        "checks_on_sync": on_assets["syncs"] // max(syncs, 1),
    }


def peak_memory_mb() -> float:
    """The most this process ever held, from the operating system."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def measure_loading(audiences: int, repeat: int, *, audience_jobs: bool = True) -> dict[str, list[Loading]]:
    """Loads both, in turn, each time in a process of its own; the first time of each only warms the disk's cache."""
    with tempfile.TemporaryDirectory(prefix="as_many_") as folder:
        defs = write_project(Path(folder), audiences)
        ours = {"AUDIENCE_SYNCS_DEFS": str(defs)}
        warm = load_elsewhere("audience_syncs.definitions", ours)
        twin = {"BARE_TWIN": json.dumps(warm.twin | {"audience_jobs": audience_jobs})}
        load_elsewhere("bare_twin", twin)
        found: dict[str, list[Loading]] = {"audience-syncs": [], "bare Dagster": []}
        for _ in range(repeat):
            found["audience-syncs"].append(load_elsewhere("audience_syncs.definitions", ours))
            found["bare Dagster"].append(load_elsewhere("bare_twin", twin))
    return found


def load_elsewhere(module: str, environment: dict[str, str]) -> Loading:
    """Loads a module in a process of its own."""
    command = [sys.executable, "-W", "ignore", __file__, "here", module]
    return Loading(**json.loads(output(command, environment).splitlines()[-1]))


def print_loading(found: dict[str, list[Loading]]) -> None:
    names = ("cpu_s", "import_s", "definitions_s", "description_s", "elapsed_s", "peak_mb", "description_mb")
    for who, loadings in found.items():
        print(f"{who:16}{loadings[0].counts}")
    print(f"{'median':16}" + "".join(f"{name:>16}" for name in names))
    middle = {
        who: [statistics.median(getattr(loading, name) for loading in loadings) for name in names]
        for who, loadings in found.items()
    }
    for who, values in middle.items():
        print(f"{who:16}" + "".join(f"{value:16.2f}" for value in values))
    ours, bare = middle.values()
    print(f"{'ours / bare':16}" + "".join(f"{a / b:16.2f}" for a, b in zip(ours, bare, strict=True)))


RUNS_EACH = 50
READINGS_EACH = 100

HISTORY = f"""
INSERT INTO audience_syncs.sync_runs (sync, run_id, status, started_at, finished_at, snapshot_id, plan_digest, in_audience,
    delivered, accepted, added, updated, removed, requests, rejected, list_id, list_name, list_url, error)
SELECT s.sync, md5(s.sync || r), CASE WHEN r < {RUNS_EACH} OR s.n % 20 > 2 THEN 'succeeded' WHEN s.n % 20 = 0 THEN 'failed'
    WHEN s.n % 20 = 1 THEN 'blocked' ELSE 'warning' END, now() - make_interval(mins => 15 * ({RUNS_EACH} - r)),
    now() - make_interval(mins => 15 * ({RUNS_EACH} - r), secs => -40), r, md5(s.sync), 10000 + s.n, 10000 + s.n, 9900,
    100, 20, 80, 3, s.n % 20, 'list-' || s.n, 'Shop: audience ' || s.n,
    'https://business.facebook.com/adsmanager/audiences?act=1201201201201&selected_audience_ids=' || s.n,
    CASE WHEN r = {RUNS_EACH} AND s.n % 20 = 0 THEN '[ACCESS_REFUSED] meta_ads: the platform refused the token' ELSE '' END
FROM syncs s CROSS JOIN generate_series(1, {RUNS_EACH}) r ORDER BY r, s.sync;

INSERT INTO audience_syncs.matched_users (sync, as_of, lower, upper, exact, accepted)
SELECT s.sync, now() - make_interval(hours => 6 * ({READINGS_EACH} - r), mins => 10), 7000, 8000, false, 9900
FROM syncs s CROSS JOIN generate_series(1, {READINGS_EACH}) r;

INSERT INTO audience_syncs.lists (sync, list_id, wanted, name, url, created_by_us, first_used_at)
SELECT sync, 'list-' || n, 'Shop', 'Shop: audience ' || n, 'https://example.com/' || n, true, now() FROM syncs;

INSERT INTO audience_syncs.snapshots (audience, evaluated_at, members, entered, exited, primary_key, columns, sql,
    table_name, run_id, duration_s)
SELECT split_part(s.sync, '/', 1), now(), 10000, 100, 80, 'user_id', '[]', 'SELECT 1', 'snapshot_' || r, 'r', 1
FROM syncs s CROSS JOIN generate_series(1, 3) r WHERE s.sync LIKE '%/meta_ads';
"""


@contextlib.contextmanager
def watched_world(audiences: int) -> Iterator[dict[str, str]]:
    """A project with history, Dagster's storage beside it; the environment of what is to run in it."""
    from audience_syncs.demo.postgres import EmbeddedPostgres

    # A short path: a Unix socket's is limited to some 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="as_many_"))
    folder.chmod(0o755)  # as root, PostgreSQL runs as a user of its own
    try:
        with EmbeddedPostgres(folder / "postgres") as postgres:
            home = folder / "dagster"
            home.mkdir()
            shutil.copy(HERE.parent / "dagster.yaml", home)
            world = {
                "AUDIENCE_SYNCS_DEFS": str(write_project(folder, audiences)),
                "AUDIENCE_SYNCS_PG_URL": postgres.create_database("dagster"),
                "BARE_TWIN_PG_URL": postgres.create_database("dagster_of_twin"),
                "SHOP_URL": postgres.create_database("shop"),
                "DAGSTER_HOME": str(home),
                "META_ACCESS_TOKEN": "t",
                "HUBSPOT_ACCESS_TOKEN": "t",
            }
            write_history(world["SHOP_URL"], audiences)
            yield world
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_history(shop: str, audiences: int) -> None:
    """Runs, matched users, lists and snapshots of every sync."""
    import sqlalchemy as sa

    from audience_syncs.warehouse import open_warehouse_at
    from audience_syncs.warehouse.state import State

    with open_warehouse_at(shop) as warehouse:
        State(warehouse).prepare()
    engine = sa.create_engine(shop)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE syncs AS SELECT 'audience_' || a || '/' || d AS sync, row_number() OVER () AS n "
            f"FROM generate_series(0, {audiences - 1}) a, unnest(ARRAY['meta_ads', 'hubspot_crm']) d"
        )
        for statement in HISTORY.strip().split(";\n"):
            connection.exec_driver_sql(statement.replace("%", "%%"))
    engine.dispose()


def watch_here(repeat: int) -> dict[str, Any]:
    """Ticks of the sensor in this process, with the storing of what they show, as the daemon does it."""
    import dagster as dg

    from audience_syncs.definitions import defs

    repository = defs.get_repository_def()
    sensor = repository.get_sensor_def("sync_health")
    with dg.DagsterInstance.get() as instance:
        _write_switches(instance, repository)
        ticks = []
        cursor: str | None = None
        for _ in range(1 + repeat):
            began, cpu = time.monotonic(), time.process_time()
            with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
                result = sensor(context)
            ticked, used = time.monotonic(), time.process_time()
            assert isinstance(result, dg.SensorResult)
            for event in result.asset_events:
                instance.report_runless_asset_event(event)
            cursor = result.cursor
            ticks.append(
                {
                    "tick_s": round(ticked - began, 2),
                    "cpu_s": round(used - cpu, 2),
                    "events": len(result.asset_events),
                    "store_s": round(time.monotonic() - ticked, 2),
                    "largest_event_kb": max((_size_kb(event) for event in result.asset_events), default=0),
                    "cursor_kb": len(cursor or "") // 1024,
                }
            )
    return {"first": ticks[0], "steady": ticks[1:], "peak_mb": round(peak_memory_mb())}


def _size_kb(event: Any) -> int:
    from dagster._serdes import serialize_value

    return len(serialize_value(event)) // 1024


def _write_switches(instance: Any, repository: Any) -> None:
    """Every schedule switched on by somebody, and as many of schedules that are gone."""
    from dagster._core.remote_origin import (
        ManagedGrpcPythonEnvCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )
    from dagster._core.scheduler.instigation import (
        InstigatorState,
        InstigatorStatus,
        InstigatorType,
        ScheduleInstigatorData,
    )
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = ManagedGrpcPythonEnvCodeLocationOrigin(LoadableTargetOrigin(module_name="audience_syncs.definitions"))
    place = RemoteRepositoryOrigin(location, repository.name)
    for schedule in repository.schedule_defs:
        for name in (schedule.name, f"{schedule.name}_of_old"):
            origin = RemoteInstigatorOrigin(place, name)
            told = ScheduleInstigatorData(schedule.cron_schedule, start_timestamp=time.time() - 86_400)
            instance.add_instigator_state(
                InstigatorState(origin, InstigatorType.SCHEDULE, InstigatorStatus.RUNNING, told)
            )


def measure_watching(audiences: int, repeat: int) -> dict[str, Any]:
    """Ticks, and the command that shows the same, each in a process of its own."""
    with watched_world(audiences) as world:
        command = [sys.executable, "-W", "ignore", __file__, "ticks", str(repeat)]
        ticks = json.loads(output(command, world).splitlines()[-1])
        began = time.monotonic()
        shown = json.loads(output([sys.executable, "-m", "audience_syncs", "status", "--json"], world))
        return ticks | {"status_command_s": round(time.monotonic() - began, 2), "syncs": len(shown)}


def output(command: list[str], environment: dict[str, str]) -> str:
    """What a command says, run to its end with these variables beside the environment's."""
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, cwd=HERE.parent
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("load", "watch", "here", "ticks"))
    parser.add_argument("argument", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--audiences", type=int, default=500, help="each has two syncs")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--no-audience-jobs", action="store_true", help="the twin has a job for each sync only")
    options = parser.parse_args()
    if options.what == "here":
        print(json.dumps(dataclasses.asdict(load_here(options.argument))))
    elif options.what == "ticks":
        print(json.dumps(watch_here(int(options.argument))))
    elif options.what == "load":
        print_loading(measure_loading(options.audiences, options.repeat, audience_jobs=not options.no_audience_jobs))
    else:
        print(json.dumps(measure_watching(options.audiences, options.repeat), indent=2))


if __name__ == "__main__":
    main()
