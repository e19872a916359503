"""What the pages of Dagster's UI ask for, over a thousand syncs of ours and over the bare twin.

    python benchmarks/many_pages.py [--audiences N] [--repeat N] [--queries FILE]

Both have a webserver and a PostgreSQL database of their own, with the same history: materialisations with the figures of
a run, runs. Ours has in addition what the sensor `sync_health` shows. Chromium opens each page once; the queries that the
UI makes are kept (in FILE, if given) and put to both webservers again, in turn. Printed: each page's queries, ours beside
bare, in ms; the median of N answers.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from many_syncs import HERE, load_elsewhere, output, watched_world

PAGES = {
    "audience": "/assets/audiences/audience_7",
    "sync": "/assets/syncs/audience_7/meta_ads",
    "sync, events": "/assets/syncs/audience_7/meta_ads?view=events",
    "syncs_overview": "/assets/syncs_overview",
    "syncs_overview, events": "/assets/syncs_overview?view=events",
    "group": "/locations/__repository__@audience_syncs/asset-groups/audience_7",
    "assets": "/assets",
    "lineage": "/asset-groups",
    "jobs": "/jobs",
    "overview": "/overview/activity",
    "runs": "/runs",
    "automation": "/automation",
}
EVENTS_EACH = 20
OURS, BARE = "audience-syncs", "bare Dagster"
MODULES = {OURS: "audience_syncs.definitions", BARE: "bare_twin"}


def write_dagster_history(module: str) -> None:
    """In this process: one materialisation of each asset and two runs of each job, as a run of ours writes them."""
    import importlib
    import uuid

    import dagster as dg
    import sqlalchemy as sa
    from dagster._core.storage.dagster_run import DagsterRun, DagsterRunStatus

    repository = importlib.import_module(module).defs.get_repository_def()
    with dg.DagsterInstance.get() as instance:
        for key in sorted(repository.asset_graph.get_all_asset_keys()):
            if key.path != ["syncs_overview"]:
                instance.report_runless_asset_event(dg.AssetMaterialization(key, metadata=_figures()))
        for job in repository.get_all_jobs():
            for _ in range(2):
                tags = {"team": "crm", ".dagster/repository": "__repository__@audience_syncs"}
                run = DagsterRun(job.name, str(uuid.uuid4()), status=DagsterRunStatus.SUCCESS, tags=tags)
                instance.add_run(run)
        if module == MODULES[OURS]:
            sensor = repository.get_sensor_def("sync_health")
            with dg.build_sensor_context(instance=instance) as context:
                for event in sensor(context).asset_events:
                    instance.report_runless_asset_event(event)
    engine = sa.create_engine(os.environ["AUDIENCE_SYNCS_PG_URL"])
    with engine.begin() as connection:
        # As after a while: the same again, each some minutes older.
        connection.exec_driver_sql(
            "INSERT INTO event_logs (run_id, event, dagster_event_type, timestamp, asset_key) "
            "SELECT run_id, event, dagster_event_type, timestamp - make_interval(mins => 10 * age), asset_key "
            f"FROM event_logs, generate_series(1, {EVENTS_EACH - 1}) age WHERE asset_key IS NOT NULL"
        )
        connection.exec_driver_sql("ANALYZE")
    engine.dispose()


FIGURES = ("in_audience", "delivered", "accepted", "added", "updated", "removed", "resent", "rejected", "retryable")
FIGURES += ("unknown", "recovered", "requests", "snapshot", "matched_lower", "matched_upper")


def _figures() -> dict[str, Any]:
    """What a run shows: as many numbers and words as ours."""
    import dagster as dg

    words = {"status": "succeeded", "matched": "7,000-8,000 (approximate)", "frequency": "every 15 minutes"}
    words |= {"plan_digest": "0123456789abcdef", "list": "Shop: audience", "list_id": "120120120120"}
    return (
        {name: dg.MetadataValue.int(10_000) for name in FIGURES}
        | {name: dg.MetadataValue.text(word) for name, word in words.items()}
        | {"duration_s": dg.MetadataValue.float(4.2), "list_link": dg.MetadataValue.url("https://example.com/list/1")}
    )


def serve_here(module: str, port: int, asked: Path | None) -> None:
    """Dagster's webserver in this process; each query that is put to it is written to the file ``asked``."""
    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.context import WorkspaceProcessContext
    from dagster._core.workspace.load_target import ModuleTarget
    from dagster_webserver.app import create_app_from_workspace_process_context

    target = ModuleTarget(module, None, str(HERE), "audience_syncs")
    with DagsterInstance.get() as instance, WorkspaceProcessContext(instance, target) as workspace:
        app: Any = create_app_from_workspace_process_context(workspace)
        uvicorn.run(_written_down(app, asked) if asked else app, port=port, log_level="warning")


def _written_down(app: Any, file: Path) -> Any:
    async def wrapped(scope: Any, receive: Any, send: Any) -> None:
        body = b""

        async def heard() -> Any:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body") and body and scope["path"].endswith("/graphql"):
                with file.open("ab") as opened:
                    opened.write(body.replace(b"\n", b" ") + b"\n")
                body = b""
            return message

        await app(scope, heard if scope["type"] == "http" else receive, send)

    return wrapped


@contextlib.contextmanager
def webserver(module: str, world: dict[str, str], asked: Path | None = None) -> Iterator[str]:
    """The address of a webserver of its own process, once it answers with the definitions loaded."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-W", "ignore", __file__, "--serve", module, str(port), *([str(asked)] if asked else [])]
    process = subprocess.Popen(command, env=os.environ | world, cwd=HERE.parent, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{url}/server_info", timeout=60).ok:
                    break
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the webserver did not start")
            time.sleep(0.5)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def ask_as_the_ui(url: str, asked: Path) -> dict[str, list[dict[str, Any]]]:
    """Page -> the queries the UI makes on it, each once. Opens the pages in Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise RuntimeError("no Chromium is installed (Debian: apt-get install chromium)")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
    flags += ["--window-size=1500,2400", "--virtual-time-budget=20000", "--dump-dom"]
    queries = {}
    for page, path in PAGES.items():
        asked.write_bytes(b"")
        with tempfile.TemporaryDirectory(prefix="as_chromium_", ignore_cleanup_errors=True) as profile:
            command = [chromium, *flags, f"--user-data-dir={profile}", url + path]
            subprocess.run(command, capture_output=True, timeout=180, check=False)
        found = {}
        for line in asked.read_text().splitlines():
            query = json.loads(line)
            if not query["query"].lstrip().startswith("mutation"):
                found[json.dumps([query.get("operationName"), query.get("variables")])] = query
        queries[page] = list(found.values())
        print(f"{page}: {len(queries[page])} queries", file=sys.stderr)
    return queries


MOST_OF_A_KIND = 4


def measure(queries: dict[str, list[dict[str, Any]]], servers: dict[str, str], repeat: int) -> list[dict[str, Any]]:
    """Each query of each page, put to both in turn: the median of its answers in ms, and the answer's size.

    Of a query that a page asks for every schedule it shows, the first few.
    """
    rows = []
    for page, asked in queries.items():
        kinds = Counter(query.get("operationName") for query in asked)
        tried: Counter[str] = Counter()
        for query in asked:
            name = query.get("operationName")
            tried[name] += 1
            if tried[name] > MOST_OF_A_KIND:
                continue
            took: dict[str, list[float]] = {who: [] for who in servers}
            size = {}
            for turn in range(1 + repeat):
                for who, url in servers.items():
                    began = time.perf_counter()
                    answer = requests.post(f"{url}/graphql", json=query, timeout=120)
                    if turn:  # the first warms up
                        took[who].append(1000 * (time.perf_counter() - began))
                    size[who] = len(answer.content) / 1000
                    answer.raise_for_status()
            middle = {who: statistics.median(times) for who, times in took.items()}
            rows.append({"page": page, "query": name, "asked": kinds[name], "ms": middle, "kb": size})
    return rows


WORTH_A_LINE_MS = 100


def print_pages(rows: list[dict[str, Any]]) -> None:
    """One line for each kind of query that takes long enough to be felt, with the slowest of its kind; one for all."""
    print(f"{'page':24}{'query (times asked)':42}{'ours ms':>9}{'bare ms':>9}{'ratio':>7}{'ours kB':>9}{'bare kB':>9}")
    for page in dict.fromkeys(row["page"] for row in rows):
        mine = [row for row in rows if row["page"] == page]
        for name in dict.fromkeys(row["query"] for row in mine):
            slowest = max((row for row in mine if row["query"] == name), key=lambda row: max(row["ms"].values()))
            if max(slowest["ms"].values()) >= WORTH_A_LINE_MS:
                print(_line(page, f"{name} ({slowest['asked']})", [slowest]))
        print(_line(page, f"all {len(mine)} tried", mine), flush=True)


def _line(page: str, name: str, rows: list[dict[str, Any]]) -> str:
    ms, kb = ({who: sum(row[what][who] for row in rows) for who in (OURS, BARE)} for what in ("ms", "kb"))
    ratio = ms[OURS] / ms[BARE]
    return f"{page:24}{name:42}{ms[OURS]:9.0f}{ms[BARE]:9.0f}{ratio:7.2f}{kb[OURS]:9.0f}{kb[BARE]:9.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audiences", type=int, default=500, help="each has two syncs; at least 8")
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--queries", type=Path, help="keep the UI's queries here; read them where the file is there")
    parser.add_argument("--history", metavar="MODULE", help=argparse.SUPPRESS)
    parser.add_argument("--serve", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.history:
        write_dagster_history(options.history)
        return
    if options.serve:
        module, port, *asked = options.serve
        serve_here(module, int(port), Path(asked[0]) if asked else None)
        return
    with watched_world(options.audiences) as world, contextlib.ExitStack() as running:
        worlds = {OURS: world, BARE: world | {"AUDIENCE_SYNCS_PG_URL": world["BARE_TWIN_PG_URL"]}}
        loaded = load_elsewhere("audience_syncs.definitions", world)
        worlds[BARE]["BARE_TWIN"] = json.dumps(loaded.twin)
        for who, module in MODULES.items():
            output([sys.executable, "-W", "ignore", __file__, "--history", module], worlds[who])
        queries = None
        if options.queries and options.queries.is_file():
            queries = json.loads(options.queries.read_text())
        if queries is None:
            file = Path(world["DAGSTER_HOME"]) / "queries"
            with webserver(MODULES[OURS], worlds[OURS], file) as url:
                queries = ask_as_the_ui(url, file)
            if options.queries:
                options.queries.write_text(json.dumps(queries))
        servers = {who: running.enter_context(webserver(MODULES[who], worlds[who])) for who in MODULES}
        print_pages(measure(queries, servers, options.repeat))


if __name__ == "__main__":
    main()
