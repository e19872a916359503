"""`audience-syncs demo`: the whole thing on this machine, with nothing set up: database, shop, platforms, Dagster."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from audience_syncs.cli import local
from audience_syncs.cli.show import print_json, print_statuses, print_table, progress_bar, say
from audience_syncs.cli.syncs import read_statuses
from audience_syncs.demo.postgres import EmbeddedPostgres
from audience_syncs.model.values import Progress
from audience_syncs.project import configured_defs_dir, load_project

app = typer.Typer(invoke_without_command=True, no_args_is_help=False)

DEFAULT_UI_PORT = 3000
UI_TIMEOUT_S = 240
STOP_TIMEOUT_S = 30


@app.callback()
def demo(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Materialise everything, print the table, and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="With --once: answer in JSON, for machines.")] = False,
    users: Annotated[int, typer.Option(min=100, help="Users of the shop, when it is made.")] = 50_000,
    port: Annotated[int, typer.Option(help="Port of the UI; another where it is taken.")] = DEFAULT_UI_PORT,
) -> None:
    """Start the demo: a shop in PostgreSQL, simulated ad platforms, Dagster. Ctrl-C stops everything it started."""
    if context.invoked_subcommand is not None:
        return
    _end_on_signals()
    with ExitStack() as running:
        running.enter_context(local.only_demo())
        simulators_url = _start_services(running, users)
        variables = dict(os.environ)
        say("materialising every audience and sync")
        _materialise_everything()
        _end_on_signals()  # executing a run, Dagster sets handlers of its own, and leaves them
        project = load_project(configured_defs_dir(), variables).require_sound()
        from audience_syncs.cli.verify import check_lists

        checks = check_lists(project, variables, simulators_url)
        if not json:
            print_statuses(read_statuses(project, variables))
            print_table(
                "The platforms' lists, compared with the audiences",
                ("Sync", "List", "Size", "Emails expected", "Missing", "Extra", "Equal"),
                [(c.sync, c.list_id, c.list_size, c.expected_emails, c.missing, c.extra, c.equal) for c in checks],
            )
        if once:
            if json:
                print_json([check.to_json() for check in checks])
            raise typer.Exit(0 if checks and all(check.equal for check in checks) else 1)
        _end_runs_of_before()
        ui = _start_dagster(running, port)
        say("")
        say(f"  Dagster's UI     {ui}")
        say(f"  The platforms    {simulators_url}/_simulator/meta/lists  (what the simulated platforms hold)")
        say("  Let time pass    audience-syncs demo tick --hours 24")
        say("  Stop             Ctrl-C; starting again continues where it was")
        sys.stdout.write(f"{ui}\n")
        sys.stdout.flush()
        while True:
            time.sleep(3600)


@app.command()
def tick(
    hours: Annotated[int, typer.Option(min=1, max=24 * 366, help="How much time passes in the shop.")] = 24,
    json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")] = False,
) -> None:
    """Let time pass in the demo shop: people enter, leave, change email, are deleted, order again."""
    import sqlalchemy as sa

    from audience_syncs.demo import shop

    with local.environment() as variables:
        engine = sa.create_engine(_shop_url(variables))
        with progress_bar("time passes") as bar:
            counts = shop.tick(engine, hours=hours, progress=lambda step, done, total: bar(Progress(step, done, total)))
        engine.dispose()
    if json:
        print_json(counts)
    else:
        typer.echo(f"{hours} hours have passed: {counts}")


@app.command()
def load(
    path: Annotated[Path, typer.Argument(help="A folder of Parquet or CSV files; each becomes a table.")],
    schema: Annotated[str, typer.Option(help="The schema to load into.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace tables that are there.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")] = False,
) -> None:
    """Load a folder of Parquet or CSV files into the warehouse, one table per file."""
    import sqlalchemy as sa

    from audience_syncs.demo.load import load_folder

    with local.environment() as variables:
        engine = sa.create_engine(_shop_url(variables))
        with progress_bar("load") as bar:
            tables = load_folder(
                engine,
                path,
                schema=schema,
                replace=replace,
                progress=lambda step, done, total: bar(Progress(step, done, total)),
            )
        engine.dispose()
    if json:
        print_json(tables)
        return
    print_table("Loaded", ("Table", "Rows"), [(f"{schema}.{table.name}", table.rows) for table in tables])


def _shop_url(variables: Mapping[str, str]) -> str:
    import sqlalchemy as sa

    address = variables.get("AUDIENCE_SYNCS_SHOP_URL", "")
    if not address:
        raise local.LocalError(
            "AUDIENCE_SYNCS_SHOP_URL is not set, and there is no local demo here",
            remedy="start the demo first (audience-syncs demo), or set it to a PostgreSQL's address",
        )
    url = sa.make_url(address)
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername="postgresql+psycopg2")
    return url.render_as_string(hide_password=False)


def _start_services(running: ExitStack, users: int) -> str:
    """PostgreSQL with the shop in it, and the simulators; sets the environment for them. Returns their address."""
    from audience_syncs.simulators.server import SimulatorServer

    say("starting PostgreSQL (embedded)")
    postgres = EmbeddedPostgres(local.home() / "postgres").start()
    # Whoever started it: a demo that was killed may have left it running, and this one holds the folder.
    running.callback(postgres.stop)
    say("starting the simulated platforms")
    port = _port_of_last_time() or _free_port(local.DEFAULT_SIMULATOR_PORT)
    simulators = running.enter_context(SimulatorServer(local.home() / "simulators", port=_free_port(port)))
    variables = local.local_environment(postgres, simulators.url)
    local.write_local_environment(variables)
    os.environ.update(variables)
    os.environ["DAGSTER_HOME"] = str(local.dagster_home())
    _fill_shop(variables, users)
    return simulators.url


def _fill_shop(variables: Mapping[str, str], users: int) -> None:
    import sqlalchemy as sa

    from audience_syncs.demo import shop

    engine = sa.create_engine(variables["AUDIENCE_SYNCS_SHOP_URL"])
    if not shop.shop_exists(engine):
        say(f"filling the demo shop with {users:,} users")
        with progress_bar("demo shop") as bar:
            shop.create_shop(engine, users=users, progress=lambda step, done, total: bar(Progress(step, done, total)))
    engine.dispose()


def _materialise_everything() -> None:
    """Every audience and sync once, as one Dagster run in this process; it is there to be looked at in the UI.

    Those with a partition for each day are left to backfills.
    """
    from dagster import DagsterInstance

    from audience_syncs.definitions import defs

    with DagsterInstance.get() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        with _quiet_logs(local.home() / "materialise.log"):
            graph = job.asset_layer.asset_graph
            whole = [key for key in graph.executable_asset_keys if graph.get(key).partitions_def is None]
            job.execute_in_process(instance=instance, asset_selection=whole, raise_on_error=False)


def _end_runs_of_before() -> None:
    """Runs that were killed together with the demo."""
    from dagster import DagsterInstance

    from audience_syncs.components.orphans import end_orphaned_runs

    with DagsterInstance.get() as instance:
        end_orphaned_runs(instance, "audience_syncs")


@contextmanager
def _quiet_logs(file: Path) -> Iterator[None]:
    """Dagster logs every step to standard error; here that goes to a file."""
    sys.stderr.flush()
    kept = os.dup(2)
    with file.open("a") as log:
        os.dup2(log.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _start_dagster(running: ExitStack, wanted_port: int) -> str:
    """The webserver and the daemon; returns the UI's address when it answers."""
    port = _free_port(wanted_port)
    workspace = str(local.project_root() / "workspace.yaml")
    say("starting Dagster's webserver and daemon")
    binaries = Path(sys.executable).parent
    web = [str(binaries / "dagster-webserver"), "-w", workspace, "-h", "127.0.0.1", "-p", str(port)]
    daemon = [str(binaries / "dagster-daemon"), "run", "-w", workspace]
    webserver = _start(running, web, local.home() / "webserver.log")
    _start(running, daemon, local.home() / "daemon.log")
    ui = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + UI_TIMEOUT_S
    while time.monotonic() < deadline:
        if webserver.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{ui}/server_info", timeout=2):
                return ui
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.3)
    raise local.LocalError(
        "Dagster's webserver did not come up",
        where=str(local.home() / "webserver.log"),
        remedy="the end of that file says why",
    )


def _start(running: ExitStack, command: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A child process in a group of its own, which is ended as a whole."""
    with log.open("ab") as opened:
        process = subprocess.Popen(
            command,
            stdout=opened,
            stderr=opened,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    running.callback(_stop, process)
    return process


def _end_with_parent() -> None:
    """On Linux, a child ends when the demo is killed and cannot end it."""
    if sys.platform == "linux":
        import ctypes

        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sent)
        except ProcessLookupError:
            return
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            continue
        if sent == signal.SIGTERM:
            # The leader is gone; whoever of its group is left, goes now.
            time.sleep(0.2)


def _end_on_signals() -> None:
    """SIGTERM and a closed terminal end the demo as Ctrl-C does; Ctrl-C also where a shell had it ignored."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def _port_of_last_time() -> int | None:
    address = local.read_local_environment().get("META_BASE_URL", "")
    try:
        return int(address.split(":")[2].split("/")[0])
    except (IndexError, ValueError):
        return None


def _free_port(wanted: int) -> int:
    """That port where it is free, else any that is."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise local.LocalError("no free port on 127.0.0.1", remedy="end something that listens there")
