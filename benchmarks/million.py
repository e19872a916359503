"""A million members from an empty list, then one per cent changed: time and memory of the run's own process.

    python benchmarks/million.py [--members N] [--destination meta|hubspot] [--dagster]

With ``--dagster`` each of our runs is a Dagster run (in its own process, with Dagster's storage on PostgreSQL), as in
production: its memory includes Dagster.

Everything is real: embedded PostgreSQL, the platform's simulator over HTTP, each sync run in a process of its own whose
resident memory is read from the operating system. Beside it, in the same session, a baseline that does what a script
would: pandas, a pickle of the last state, requests. Times are of this machine; compare within one table.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from audience_syncs.model.config import AudienceConfig, DestinationConfig, SyncConfig
from audience_syncs.model.names import Secret

DESTINATIONS = {
    "meta": (
        {"ad_account_id": "1"},
        {
            "EMAIL": "email",
            "PHONE": "phone",
            "FN": "first_name",
            "LN": "last_name",
            "COUNTRY": "country",
            "EXTERN_ID": "id",
        },
    ),
    "hubspot": (
        {"requests_per_s": 1000},
        {"email": "email", "phone": "phone", "firstname": "first_name", "lastname": "last_name", "country": "country"},
    ),
}


def audience(platform: str) -> AudienceConfig:
    return AudienceConfig(
        name="everybody",
        source="shop",
        primary_key="id",
        sql="SELECT id, email, phone, first_name, last_name, country FROM people",
        syncs=[SyncConfig.model_validate({"destination": platform, "mapping": DESTINATIONS[platform][1]})],
    )


def timed_booking() -> Callable[[], float]:
    """Times what the write-ahead record costs beside delivery: noting a batch as sent, and booking its answer."""
    from audience_syncs.engine.deliver import _Booker

    spent = [0.0]

    def timed(method: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object) -> None:
            began = time.monotonic()
            method(*arguments)
            spent[0] += time.monotonic() - began

        return call

    _Booker.note_sent = timed(_Booker.note_sent)  # type: ignore[method-assign]
    _Booker.book = timed(_Booker.book)  # type: ignore[method-assign]
    _Booker.commit = timed(_Booker.commit)  # type: ignore[method-assign]
    return lambda: spent[0]


def run_once(database: str, simulators: str, platform: str) -> None:
    """In a process of its own: evaluate the audience, run the sync, print what it took."""
    from audience_syncs.audiences import evaluate_audience
    from audience_syncs.destinations.registry import open_destination
    from audience_syncs.engine import run_sync
    from audience_syncs.warehouse import open_warehouse_at

    settings = DESTINATIONS[platform][0] | {"base_url": f"{simulators}/{platform}"}
    config = DestinationConfig(
        name=platform, platform=platform, credentials={"access_token": Secret(env="TOKEN")}, settings=settings
    )
    everybody = audience(platform)
    steps: dict[str, float] = {}
    last = ["evaluate", time.monotonic()]

    def follow(progress: object) -> None:
        step = str(getattr(progress, "step", ""))
        if step != last[0]:
            now = time.monotonic()
            steps[str(last[0])] = round(steps.get(str(last[0]), 0.0) + now - float(last[1]), 2)
            last[:] = [step, now]

    booking_s = timed_booking()
    started, cpu = time.monotonic(), time.process_time()
    with open_warehouse_at(database) as warehouse:
        evaluate_audience(everybody, warehouse, run_id="bench")
        evaluated = time.monotonic()
        last[:] = ["start", evaluated]
        report = run_sync(
            everybody,
            everybody.syncs[0],
            open_destination(config, {"TOKEN": "t"}),
            warehouse,
            run_id="bench",
            progress=follow,
        )
    follow(None)
    print(
        json.dumps(
            {
                "evaluate_s": round(evaluated - started, 1),
                "sync_s": round(time.monotonic() - evaluated, 1),
                "cpu_s": round(time.process_time() - cpu, 1),
                "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                "accepted": report.accepted,
                "sent": report.added + report.updated + report.removed,
                "requests": report.requests,
                "steps_s": steps,
                "booking_s": round(booking_s(), 2),
            }
        )
    )


def run_dagster(database: str, simulators: str, platform: str) -> None:
    """The same as a Dagster run in this process."""
    with tempfile.TemporaryDirectory(prefix="as_bench_dagster_") as folder:
        settings = DESTINATIONS[platform][0] | {"base_url": f"{simulators}/{platform}"}
        documents = {
            "Source": {"name": "shop", "url": {"env": "SHOP"}},
            "Destination": {
                "name": platform,
                "platform": platform,
                "credentials": {"access_token": {"env": "TOKEN"}},
                "settings": settings,
            },
            "Audience": audience(platform).model_dump(mode="json", exclude_defaults=True),
        }
        for kind, attributes in documents.items():
            place = Path(folder) / "defs" / kind.lower()
            place.mkdir(parents=True)
            document = {"type": f"audience_syncs.components.{kind}", "attributes": attributes}
            (place / "defs.yaml").write_text(json.dumps(document))
        shutil.copy(Path(__file__).parent.parent / "dagster.yaml", folder)
        os.environ.update(
            AUDIENCE_SYNCS_DEFS=f"{folder}/defs",
            SHOP=database,
            TOKEN="t",
            AUDIENCE_SYNCS_PG_URL=database,
            DAGSTER_HOME=folder,
        )
        import dagster as dg

        from audience_syncs.definitions import defs

        started, cpu = time.monotonic(), time.process_time()
        with dg.DagsterInstance.get() as instance:
            job = defs.resolve_job_def(f"sync__everybody__{platform}")
            result = job.execute_in_process(instance=instance)
        [event] = result.asset_materializations_for_node(f"syncs__everybody__{platform}")
        figures = {name: event.metadata[name].value for name in ("accepted", "added", "updated", "removed", "requests")}
        print(
            json.dumps(
                {
                    "run_s": round(time.monotonic() - started, 1),
                    "cpu_s": round(time.process_time() - cpu, 1),
                    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
                }
                | figures
            )
        )


BASELINE = """
import json, pickle, resource, sys, time, hashlib
import pandas as pd, requests, sqlalchemy as sa
database, simulators, state = sys.argv[1:4]
started, cpu = time.monotonic(), time.process_time()
people = pd.read_sql("SELECT id, email, phone, first_name, last_name, country FROM people", sa.create_engine(database))
sha = lambda column: people[column].fillna("").map(lambda v: hashlib.sha256(v.strip().lower().encode()).hexdigest())
rows = pd.DataFrame({"EMAIL": sha("email"), "PHONE": sha("phone"), "FN": sha("first_name"), "LN": sha("last_name"),
                     "COUNTRY": sha("country"), "EXTERN_ID": people.id.astype(str)})
try:
    old, target = pickle.load(open(state, "rb"))
except FileNotFoundError:
    old, target = rows.iloc[0:0], None
session = requests.Session(); session.headers["Authorization"] = "Bearer t"
if target is None:
    target = session.post(f"{simulators}/meta/v26.0/act_2/customaudiences", json={"name": "baseline", "subtype": "CUSTOM",
        "customer_file_source": "USER_PROVIDED_ONLY"}).json()["id"]
both = old.merge(rows, how="outer", on=list(rows.columns), indicator=True)
sent = 0
for side, method in (("left_only", "DELETE"), ("right_only", "POST")):
    part = both[both._merge == side][list(rows.columns)]
    for start in range(0, len(part), 10_000):
        chunk = part.iloc[start:start + 10_000]
        sent += len(chunk)
        session.post(f"{simulators}/meta/v26.0/{target}/users", json={"method": method,
            "payload": {"schema": list(rows.columns), "data": chunk.values.tolist()}}).raise_for_status()
pickle.dump((rows, target), open(state, "wb"))
print(json.dumps({"evaluate_s": 0, "sync_s": round(time.monotonic() - started, 1), "cpu_s": round(time.process_time() - cpu, 1),
    "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "sent": sent}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=1_000_000)
    parser.add_argument("--destination", choices=sorted(DESTINATIONS), default="meta")
    parser.add_argument("--dagster", action="store_true", help="through Dagster")
    parser.add_argument("--run", nargs=2, metavar=("DATABASE", "SIMULATORS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        (run_dagster if options.dagster else run_once)(*options.run, options.destination)
        return
    from audience_syncs.demo.postgres import EmbeddedPostgres
    from audience_syncs.simulators import SimulatorServer

    with tempfile.TemporaryDirectory(prefix="as_bench_", ignore_cleanup_errors=True) as folder:
        with EmbeddedPostgres(Path(folder) / "postgres") as postgres, SimulatorServer() as simulators:
            database = postgres.create_database("bench")
            _fill(database, options.members)
            _measure("from an empty list", database, simulators.url, options.destination, folder, options.dagster)
            _change(database, options.members)
            _measure("1 % changed", database, simulators.url, options.destination, folder, options.dagster)
            _measure("nothing changed", database, simulators.url, options.destination, folder, options.dagster)


def _measure(what: str, database: str, simulators: str, platform: str, folder: str, dagster: bool) -> None:
    ours = [sys.executable, __file__, "--destination", platform, "--run", database, simulators]
    ours += ["--dagster"] if dagster else []
    print(f"{what:20} audience-syncs  {_output(ours)}", flush=True)
    if platform == "meta":
        script = [sys.executable, "-c", BASELINE, database, simulators, f"{folder}/state.pickle"]
        print(f"{what:20} pandas script   {_output(script)}", flush=True)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _fill(database: str, members: int) -> None:
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE people (id bigint PRIMARY KEY, email text, phone text, first_name text, last_name text, country text)"
        )
        connection.exec_driver_sql(
            "INSERT INTO people SELECT g, 'Person.' || g || '@Example.com', '+49151' || (1000000 + g), "
            f"'Vorname ' || mod(g, 500), 'Müller-' || mod(g, 9000), 'DE' FROM generate_series(1, {members}) g"
        )
    engine.dispose()


def _change(database: str, members: int) -> None:
    """A third of a per cent each leaves, changes email, and is new."""
    each = members // 300
    engine = sa.create_engine(database)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM people WHERE id <= {each}")
        connection.exec_driver_sql(f"UPDATE people SET email = 'neu.' || id || '@example.org' WHERE id <= {2 * each}")
        connection.exec_driver_sql(
            "INSERT INTO people SELECT g, 'new.' || g || '@example.net', NULL, 'Neu', 'Neu', 'FR' "
            f"FROM generate_series({members + 1}, {members + each}) g"
        )
    engine.dispose()


if __name__ == "__main__":
    main()
