"""Many syncs that are due at the same minute: all finish, the urgent ones first, and no account is called faster than it may be.

    python benchmarks/many_due.py [--syncs N] [--people N]

A project of N syncs to two accounts, all with one minute of the clock as their schedule, in a real Dagster on PostgreSQL:
the daemon ticks, the queue starts runs, the simulated platforms note when they were called. Every fifth sync is urgent
(`priority: 10`). Most of the time is that of starting processes: each run is one, as Dagster's default launcher does it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ALLOWED = 190
"""Requests that the simulated HubSpot allows in ``WINDOW_S`` seconds, as the real one does."""
WINDOW_S = 10.0

SYNC = """
    - destination: {account}
      name: sync_{number}
      list: {{name: "Due {number}"}}
      mapping: {{email: email}}
      priority: {priority}
      schedule: {{cron: "{minute} {hour} * * *"}}"""

AUDIENCE = """\
type: audience_syncs.components.Audience
attributes:
  name: audience_{number}
  source: shop
  primary_key: id
  sql: SELECT id, 'p' || id || '_{number}@example.com' AS email FROM generate_series(1, {people}) id
  syncs:"""

DESTINATION = """\
type: audience_syncs.components.Destination
attributes:
  name: {account}
  platform: hubspot
  credentials: {{access_token: {{env: TOKEN_OF_{account}}}}}
  settings: {{portal_id: "{number}", requests_per_s: 19, base_url_env: URL_OF_{account}}}
"""

SOURCE = "type: audience_syncs.components.Source\nattributes: {name: shop, url: {env: SHOP_URL}}\n"
ACCOUNTS = ("crm_a", "crm_b")


def write_project(folder: Path, syncs: int, people: int, due: datetime) -> Path:
    """Audiences with ten syncs each, in turn to one account and the other."""
    files = {"sources/shop": SOURCE}
    for number, account in enumerate(ACCOUNTS):
        files[f"destinations/{account}"] = DESTINATION.format(account=account, number=number + 1)
    for first in range(0, syncs, 10):
        text = AUDIENCE.format(number=first, people=people)
        for number in range(first, min(first + 10, syncs)):
            text += SYNC.format(
                account=ACCOUNTS[number % 2],
                number=number,
                priority=10 if number % 5 == 0 else 0,
                minute=due.minute,
                hour=due.hour,
            )
        files[f"audiences/audience_{first}"] = text + "\n"
    for place, text in files.items():
        (folder / "defs" / place).mkdir(parents=True)
        (folder / "defs" / place / "defs.yaml").write_text(text)
    return folder / "defs"


@dataclass(frozen=True)
class Outcome:
    """What came of it. Seconds are since the minute the syncs were due."""

    syncs: int
    succeeded: int
    all_done_s: float
    urgent_started_s: float
    """When the last of the urgent ones began."""
    others_started_s: float
    """When the last of the others began."""
    urgent_before_others: float
    """Share of pairs of an urgent sync and another, of which the urgent one began first."""
    fastest: Mapping[str, int]
    """Account -> the most requests in any ``WINDOW_S`` seconds."""
    requests: int


def measure(syncs: int, people: int, patience_s: float = 3_600) -> Outcome:
    """Runs it once."""
    with world(syncs, people) as (due, environment, platforms):
        daemon = subprocess.Popen(
            [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-m", "audience_syncs.definitions"],
            env={**os.environ, **environment},
            cwd=HERE.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            runs = wait_for_runs(environment, syncs, due, patience_s)
        finally:
            daemon.terminate()
            daemon.wait(60)
        calls = calls_of(platforms)
    began = {bool(int(run.tags.get("dagster/priority", "0"))): [] for run, _, _ in runs}
    for run, start, _ in runs:
        began[bool(int(run.tags.get("dagster/priority", "0")))].append(start - due.timestamp())
    pairs = [urgent < other for urgent in began.get(True, []) for other in began.get(False, [])]
    return Outcome(
        syncs=syncs,
        succeeded=sum(run.status.value == "SUCCESS" for run, _, _ in runs),
        all_done_s=max(end for _, _, end in runs) - due.timestamp(),
        urgent_started_s=max(began.get(True, [0.0])),
        others_started_s=max(began.get(False, [0.0])),
        urgent_before_others=sum(pairs) / max(1, len(pairs)),
        fastest={account: fastest(times) for account, times in calls.items()},
        requests=sum(len(times) for times in calls.values()),
    )


@contextlib.contextmanager
def world(syncs: int, people: int) -> Iterator[tuple[datetime, dict[str, str], dict[str, str]]]:
    """When they are due, the environment, and the address of each account's platform."""
    from audience_syncs.demo.postgres import EmbeddedPostgres
    from audience_syncs.simulators import SimulatorServer

    folder = Path(tempfile.mkdtemp(prefix="as_due_"))
    folder.chmod(0o755)  # as root, PostgreSQL runs as a user of its own
    try:
        with EmbeddedPostgres(folder / "postgres") as postgres, contextlib.ExitStack() as platforms:
            # A platform for each account, so that each keeps a journal of its own.
            urls = {account: platforms.enter_context(SimulatorServer()).url for account in ACCOUNTS}
            home = folder / "dagster"
            home.mkdir()
            shutil.copy(HERE.parent / "dagster.yaml", home)
            # Time for the daemon to load the definitions before.
            due = (datetime.now(UTC) + timedelta(seconds=90 + syncs / 10)).replace(second=0, microsecond=0)
            due += timedelta(minutes=1)
            yield (
                due,
                {
                    "AUDIENCE_SYNCS_DEFS": str(write_project(folder, syncs, people, due)),
                    "AUDIENCE_SYNCS_PG_URL": postgres.create_database("dagster"),
                    "SHOP_URL": postgres.create_database("shop"),
                    "DAGSTER_HOME": str(home),
                    **{f"URL_OF_{account}": f"{url}/hubspot" for account, url in urls.items()},
                    **{f"TOKEN_OF_{account}": f"token-of-{account}" for account in ACCOUNTS},
                },
                urls,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_runs(
    environment: Mapping[str, str], syncs: int, due: datetime, patience_s: float
) -> list[tuple[Any, float, float]]:
    """The runs with their starts and ends, once all have ended."""
    os.environ.update(environment)
    import dagster as dg

    deadline = time.monotonic() + patience_s
    with dg.DagsterInstance.get() as instance:
        while time.monotonic() < deadline:
            records = instance.get_run_records(limit=2 * syncs)
            done = [record for record in records if record.dagster_run.is_finished]
            if sys.stderr.isatty():
                print(f"\r{len(done)} of {syncs} done, {len(records)} begun or waiting", end="", file=sys.stderr)
            if len(done) >= syncs:
                return [(record.dagster_run, record.start_time or 0.0, record.end_time or 0.0) for record in done]
            time.sleep(1)
    raise SystemExit(f"only {len(done)} of {syncs} runs ended in {patience_s:.0f} s after {due}")


def calls_of(platforms: Mapping[str, str]) -> dict[str, list[float]]:
    """Account -> when it was called, by the platform's own journal: its last 5,000 requests."""
    import requests

    found = {}
    for account, url in platforms.items():
        journal = requests.get(f"{url}/_simulator/hubspot/requests", timeout=60).json()
        entries = journal["requests"] if isinstance(journal, dict) else journal
        found[account] = [float(entry["at"]) for entry in entries]
    return found


def fastest(times: Sequence[float]) -> int:
    """The most calls in any window of time."""
    ordered = sorted(times)
    first, most = 0, 0
    for last, moment in enumerate(ordered):
        while moment - ordered[first] > WINDOW_S:
            first += 1
        most = max(most, last - first + 1)
    return most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--syncs", type=int, default=200)
    parser.add_argument("--people", type=int, default=300)
    options = parser.parse_args()
    found = measure(options.syncs, options.people)
    print(f"{found.succeeded} of {found.syncs} syncs succeeded, the last {found.all_done_s:.0f} s after they were due")
    print(
        f"the last urgent one began after {found.urgent_started_s:.0f} s, the last other after {found.others_started_s:.0f} s; "
    )
    print(f"of all pairs, the urgent one began first in {100 * found.urgent_before_others:.0f} %")
    print(f"{found.requests} requests; most in any {WINDOW_S:.0f} s, of {ALLOWED} that an account allows:")
    for account, most in found.fastest.items():
        print(f"  {account}: {most}")


if __name__ == "__main__":
    main()
