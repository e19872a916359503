"""What runs on this machine without anybody having set up anything: PostgreSQL, simulators, their addresses.

Everything is kept in one folder (``.audience_syncs`` where the command is given, or ``AUDIENCE_SYNCS_HOME``). The demo
writes the variables it runs with to ``local.env`` there, so that other commands in the same folder find it. What is set
in the environment always wins.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from audience_syncs.demo.postgres import EmbeddedPostgres
from audience_syncs.model.errors import AudienceSyncsError

HOME_VARIABLE = "AUDIENCE_SYNCS_HOME"
DEFAULT_SIMULATOR_PORT = 8765

LOCAL_VARIABLES = (
    "AUDIENCE_SYNCS_PG_URL",
    "AUDIENCE_SYNCS_SHOP_URL",
    "META_ACCESS_TOKEN",
    "META_BASE_URL",
    "HUBSPOT_ACCESS_TOKEN",
    "HUBSPOT_BASE_URL",
)


class LocalError(AudienceSyncsError):
    """Something is missing on this machine."""

    code = "LOCAL"


def home() -> Path:
    """The folder of local state."""
    return Path(os.environ.get(HOME_VARIABLE) or ".audience_syncs").absolute()


def project_root() -> Path:
    """The folder with ``workspace.yaml`` and ``dagster.yaml``: here, or where the package was installed from."""
    for folder in (Path.cwd(), Path(__file__).absolute().parents[2]):
        if (folder / "workspace.yaml").is_file() and (folder / "dagster.yaml").is_file():
            return folder
    raise LocalError(
        "there is no workspace.yaml and dagster.yaml here",
        where=str(Path.cwd()),
        remedy="run the command in the project's folder (a clone of the repository)",
    )


def local_environment(postgres: EmbeddedPostgres, simulators_url: str) -> dict[str, str]:
    """The variables of a local run: embedded PostgreSQL, simulators instead of the platforms, made-up tokens."""
    return {
        "AUDIENCE_SYNCS_PG_URL": postgres.create_database("dagster"),
        "AUDIENCE_SYNCS_SHOP_URL": postgres.create_database("warehouse"),
        "META_ACCESS_TOKEN": "demo-meta-token",
        "META_BASE_URL": f"{simulators_url}/meta",
        "HUBSPOT_ACCESS_TOKEN": "demo-hubspot-token",
        "HUBSPOT_BASE_URL": f"{simulators_url}/hubspot",
    }


def write_local_environment(variables: Mapping[str, str]) -> None:
    """Keeps them for other commands, readable by this user only."""
    file = home() / "local.env"
    file.touch(mode=0o600)
    file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))


def read_local_environment() -> dict[str, str]:
    """What the demo last ran with; empty when it never did."""
    file = home() / "local.env"
    if not file.is_file():
        return {}
    pairs = (line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
    return {name: value for name, value in pairs if name in LOCAL_VARIABLES}


def dagster_home() -> Path:
    """A folder for Dagster with the project's ``dagster.yaml`` in it, brought up to date."""
    folder = home() / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(project_root() / "dagster.yaml", folder / "dagster.yaml")
    return folder


def demo_is_running() -> bool:
    """Whether a demo holds this folder."""
    file = home() / "demo.lock"
    if not file.exists():
        return False
    with file.open("a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        return False


@contextmanager
def only_demo() -> Iterator[None]:
    """Holds the folder for one demo; the lock dies with the process."""
    home().mkdir(parents=True, exist_ok=True)
    with (home() / "demo.lock").open("a") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LocalError(
                "a demo is already running in this folder",
                where=str(home()),
                remedy="use that one, stop it with Ctrl-C, or give this one a folder of its own: "
                f"{HOME_VARIABLE}=/tmp/other audience-syncs demo",
            ) from None
        yield


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """The variables a command runs with: the environment's, else the local demo's.

    Where the demo's database is needed and not running, it is started for the time of the command.
    """
    given = dict(os.environ)
    local = {name: value for name, value in read_local_environment().items() if not given.get(name)}
    if not local:
        yield given
        return
    sys.stderr.write(f"using the local demo in {home()} for {', '.join(sorted(local))}\n")
    os.environ.update(local)
    postgres: EmbeddedPostgres | None = None
    if "AUDIENCE_SYNCS_SHOP_URL" in local or "AUDIENCE_SYNCS_PG_URL" in local:
        postgres = EmbeddedPostgres(home() / "postgres").start()
    try:
        yield {**given, **local}
    finally:
        if postgres is not None and postgres.started_here and not demo_is_running():
            postgres.stop()
