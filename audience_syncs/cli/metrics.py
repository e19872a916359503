"""`metrics`: every sync's figures, times and states for Prometheus, printed once or served."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from audience_syncs.cli.local import LocalError, dagster_home, environment, read_local_environment
from audience_syncs.cli.show import say
from audience_syncs.project import default_defs_dir, load_project

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

CONNECT_SECONDS = "3"
"""A database that does not answer must not use up the scrape's time (10 seconds, by Prometheus' own default)."""


def metrics(
    serve: Annotated[bool, typer.Option("--serve", help="Serve them until interrupted, read anew each time.")] = False,
    port: Annotated[int, typer.Option(help="With --serve: the port.")] = 9464,
    host: Annotated[str, typer.Option(help="With --serve: the address; `0.0.0.0` inside a container.")] = "127.0.0.1",
) -> None:
    """Print the metrics of every sync in the OpenMetrics format, or serve them for Prometheus."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.openmetrics.exposition import generate_latest

    from audience_syncs.health.metrics import DagsterSwitches, SyncCollector, read

    os.environ.setdefault("PGCONNECT_TIMEOUT", CONNECT_SECONDS)
    with ExitStack() as opened:
        variables = opened.enter_context(environment())
        project = load_project(default_defs_dir(), variables).require_sound()
        folder = variables.get("DAGSTER_HOME") or (str(dagster_home()) if read_local_environment() else "")
        switches = DagsterSwitches(project, Path(folder) if folder else None)
        opened.callback(switches.close)
        registry = CollectorRegistry()
        registry.register(SyncCollector(lambda: read(project, variables, switches), say))
        if serve:
            _serve(registry, host, port)
        else:
            sys.stdout.write(generate_latest(registry).decode())  # type: ignore[no-untyped-call]


def _serve(registry: CollectorRegistry, host: str, port: int) -> None:
    """Serves until Ctrl-C or SIGTERM, which a container's first process would otherwise not heed."""
    from prometheus_client import start_http_server

    waited = (signal.SIGINT, signal.SIGTERM)
    # Before there is another thread: it takes this over.
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    try:
        server, thread = start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        raise LocalError(
            f"cannot listen on {host}:{port}: {error.strerror or type(error).__name__}",
            remedy="choose another --port, or end what listens there",
        ) from None
    say(f"metrics on http://{host}:{server.server_port}/metrics")
    signal.sigwait(waited)
    server.shutdown()
    server.server_close()
    thread.join()
