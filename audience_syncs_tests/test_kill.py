"""Nothing is lost and next to nothing repeated when processes are killed: ours, the database's, the platform's.

200,000 members go to the Meta simulator, and some thousand to each other kind of destination, under faults, while real processes
are ended with SIGKILL at random moments, of which some are aimed at each step of a run. Between two kills the audience changes,
so that there is always work. What may be repeated is what was in flight.
"""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import psutil
import pytest
import requests
import sqlalchemy as sa

from audience_syncs.audiences import evaluate_audience
from audience_syncs.demo.postgres import EmbeddedPostgres
from audience_syncs.destinations.contract import ListRequest
from audience_syncs.model.values import Batch, Outgoing
from audience_syncs.simulators import SimulatorServer
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs_tests.kill_worker import CONCURRENCY, audience, destination
from audience_syncs_tests.platforms import HARNESSES

STRANGER = "stranger@example.com"
MEMBERS = {"meta": 200_000}
FEWER_MEMBERS = 8_000
TARGETS = ("worker", "worker", "worker", "database", "simulator")
FEWER_TARGETS = ("worker", "database", "simulator")
AIMS = ["deliver", "deliver", "deliver", "plan", "settle", "start"]
"""At which step of the run the killer waits, before it lets a random moment pass."""
FAULTS: list[dict[str, Any]] = [
    {"kind": "rate_limit", "rate": 0.05, "retry_after_s": 0.02},
    {"kind": "server_error", "rate": 0.03},
    {"kind": "server_error_after", "rate": 0.02},
    {"kind": "reset_after", "rate": 0.02},
    {"kind": "reset_before", "rate": 0.02},
    {"kind": "malformed", "rate": 0.02},
    {"kind": "timeout_after", "rate": 0.3, "skip": 20, "count": 1, "delay_s": 2.5},
    {"kind": "slow", "rate": 0.3, "delay_s": 0.02},
]
SENT_TWICE = """
WITH ordered AS (SELECT id, lead(id) OVER (ORDER BY id) AS next_id FROM audience_syncs.plans),
answered AS (
    SELECT p.plan_id, p.member_key, max(p.payload_digest::text) AS payload_digest, bool_or(p.kind = 'remove') AS removed
    FROM audience_syncs.plan p
    LEFT JOIN audience_syncs.batches b USING (plan_id, phase, batch)
    LEFT JOIN audience_syncs.verdicts v USING (plan_id, seq)
    WHERE p.kind IN ('add', 'update', 'remove', 'retract')
    GROUP BY 1, 2
    HAVING bool_and(p.phase = 0 OR (b.booked_at IS NOT NULL AND coalesce(v.verdict, 'accepted') = 'accepted'))
)
SELECT count(*) FROM answered a
JOIN ordered o ON o.id = a.plan_id
JOIN audience_syncs.plan n ON n.plan_id = o.next_id AND n.member_key = a.member_key AND n.phase > 0
WHERE (n.kind IN ('add', 'update') AND n.payload_digest::text = a.payload_digest) OR (a.removed AND n.kind = 'remove')
"""
"""Members whose every row of a plan was accepted, and who are sent the same again by the next plan."""


class Site:
    """The database, the platform, the process that syncs; and what kills them."""

    def __init__(self, platform: str, folder: Path, members: int, seed: int) -> None:
        self.platform = platform
        self.harness = HARNESSES[platform]
        self.folder = folder
        self.chance = random.Random(seed)
        self.postgres = EmbeddedPostgres(folder / "pg").start()
        self.database = self.postgres.create_database("kill")
        self.simulators = SimulatorServer(folder / "simulators").start()
        self.in_flight: list[int] = []
        self.landed: Counter[str] = Counter()
        self.members = members
        self.execute("CREATE TABLE people (id int PRIMARY KEY, email text, phone text)")
        self.execute(
            "INSERT INTO people SELECT g, 'p' || g || '@example.com', CASE WHEN g % 3 = 0 THEN '+49151' || 10000000 + g END "
            f"FROM generate_series(1, {members}) g"
        )
        # One in a hundred shares an email with somebody else.
        self.execute("UPDATE people SET email = 'p' || id + 1 || '@example.com' WHERE id % 100 = 7")
        self.address = {"sql_table": self.database, "files": str(folder / "files")}.get(platform, self.simulators.url)
        self.put_stranger()

    def put_stranger(self) -> None:
        opened = destination(self.platform, self.address)
        list_id = opened.ensure_list(ListRequest("Crowd")).id
        if self.platform == "sql_table":
            self.execute(f"INSERT INTO \"Crowd\" (email) VALUES ('{STRANGER}')")
        elif self.platform in ("webhook", "braze"):
            # Their lists come into being with the first member.
            opened.add(list_id, Batch([Outgoing({self.harness.email: STRANGER})]))
        elif self.harness.has_simulator:
            stranger = {self.harness.name_of_email: self.harness.on_wire(STRANGER)}
            assert requests.post(self.list_url(), json={"members": [stranger]}, timeout=60).ok

    def list_url(self) -> str:
        inspection = f"{self.simulators.url}/_simulator/{self.harness.simulated_as}/lists"
        (found,) = requests.get(inspection, timeout=60).json()
        return f"{inspection}/{found['id']}/members"

    def listed(self) -> list[str]:
        """Emails in the list, as they were sent; each as often as it is there."""
        if self.platform == "sql_table":
            engine = sa.create_engine(self.database, poolclass=sa.pool.NullPool)
            with engine.connect() as connection:
                return list(connection.scalars(sa.text('SELECT email FROM "Crowd"')))
        if self.platform == "files":
            shown = json.loads((Path(self.address) / "Crowd" / "manifest.json").read_text())
            texts = [(Path(self.address) / "Crowd" / file["path"]).read_text() for file in shown["members"]["files"]]
            return [row["email"] for text in texts for row in csv.DictReader(io.StringIO(text))]
        found: list[str] = requests.get(
            self.list_url(), params={"field": self.harness.name_of_email}, timeout=120
        ).json()
        return found

    def execute(self, statement: str) -> None:
        self.scalar(statement, fetch=False)

    def scalar(self, statement: str, *, fetch: bool = True) -> Any:
        engine = sa.create_engine(self.database, poolclass=sa.pool.NullPool)
        with engine.begin() as connection:
            result = connection.execute(sa.text(statement.replace(":", "\\:")))
            return result.scalar() if fetch else None

    def change_people(self, turn: int) -> None:
        """A fifth of the crowd: some leave, some come back, some change their email."""
        self.execute(f"DELETE FROM people WHERE id % 20 = {turn % 20}")
        self.execute(
            f"INSERT INTO people SELECT g, 'p' || g || '@example.com', NULL FROM generate_series(1, {self.members}) g "
            f"WHERE g % 20 = {(turn + 10) % 20} ON CONFLICT DO NOTHING"
        )
        self.execute(f"UPDATE people SET email = 'q{turn}-' || id || '@example.com' WHERE id % 20 = {(turn + 5) % 20}")

    def evaluate(self) -> None:
        with open_warehouse_at(self.database) as warehouse:
            evaluate_audience(audience(self.platform), warehouse, run_id="kill")

    def post_faults(self) -> None:
        if not self.harness.has_simulator:
            return
        for fault in FAULTS:
            seeded = {"platform": self.harness.simulated_as, "seed": self.chance.randrange(1000)} | fault
            assert requests.post(f"{self.simulators.url}/_simulator/faults", json=seeded, timeout=60).ok

    def heal(self) -> None:
        requests.delete(f"{self.simulators.url}/_simulator/faults", timeout=60)

    def start_worker(self) -> Worker:
        return Worker(self.database, self.platform, self.address)

    def kill(self, target: str, worker: Worker) -> None:
        if target == "worker" or (target == "simulator" and not self.harness.has_simulator):
            worker.process.kill()
            worker.process.wait()
        elif target == "database":
            self.kill_database()
            worker.process.wait(timeout=60)  # it ends by itself: without its connection it may book nothing
            self.postgres = EmbeddedPostgres(self.folder / "pg").start()
        else:
            self.simulators.kill()
            time.sleep(self.chance.uniform(0, 0.3))
            self.simulators.start()
            self.post_faults()
            time.sleep(self.chance.uniform(0, 0.5))
            worker.process.kill()
            worker.process.wait()

    def kill_database(self) -> None:
        pid = int((self.folder / "pg" / "postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(pid)
        processes = [postmaster, *postmaster.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=20)

    def note_where_it_landed(self) -> None:
        """What the state tables say of the moment: which step was cut, how many batches were in flight."""
        plan = self.scalar("SELECT max(id) FROM audience_syncs.plans WHERE status = 'sealed'")
        if plan is None:
            self.landed["before sealing, or after settling"] += 1
            return
        flying = int(
            self.scalar(f"SELECT count(*) FROM audience_syncs.batches WHERE plan_id = {plan} AND booked_at IS NULL")
        )
        sent = int(self.scalar(f"SELECT count(*) FROM audience_syncs.batches WHERE plan_id = {plan}"))
        planned = int(
            self.scalar(
                f"SELECT count(*) FROM (SELECT DISTINCT phase, batch FROM audience_syncs.plan WHERE plan_id = {plan} AND phase > 0) x"
            )
        )
        self.in_flight.append(flying)
        if flying:
            self.landed["batches in flight"] += 1
        elif sent < planned:
            self.landed["between two batches"] += 1
        else:
            self.landed["all answered, not settled"] += 1


class Worker:
    """A run in a process of its own, and the steps it tells of."""

    def __init__(self, database: str, platform: str, address: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "audience_syncs_tests.kill_worker", database, platform, address],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.strip())
        self.lines.put("")

    def wait_for(self, step: str) -> bool:
        """Until the run is at that step; False if it ended before."""
        if step == "start":
            return True
        while True:
            try:
                line = self.lines.get(timeout=120)
            except Empty:
                return False
            if line == f"step {step}":
                return True
            if not line:
                return False

    def finish(self) -> str:
        """The last line it wrote."""
        self.process.wait(timeout=300)
        last = ""
        while (line := self.lines.get(timeout=30)) != "":
            last = line
        return last


@pytest.fixture
def folder() -> Iterator[Path]:
    # A short path: a Unix socket's is limited to some 100 characters.
    folder = Path(tempfile.mkdtemp(prefix="as_kill_"))
    folder.chmod(0o755)  # as root, PostgreSQL runs as a user of its own
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("platform", HARNESSES)
def test_the_list_is_the_audience_after_any_process_was_killed_at_any_moment(
    platform: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    kills = request.config.getoption("--kills") or HARNESSES[platform].kills
    members = request.config.getoption("--kill-members") or MEMBERS.get(platform, FEWER_MEMBERS)
    began = time.monotonic()
    site = Site(platform, folder, members, seed=kills)
    try:
        targets = Counter[str]()
        for turn in range(kills):
            target = TARGETS[turn % len(TARGETS)] if platform == "meta" else FEWER_TARGETS[turn % len(FEWER_TARGETS)]
            if turn:
                site.change_people(turn)
            site.evaluate()
            site.post_faults()
            worker = site.start_worker()
            worker.wait_for(AIMS[turn % len(AIMS)])
            time.sleep(site.chance.uniform(0, 1.2 if members > 100_000 else 0.3))
            site.kill(target, worker)
            targets[target] += 1
            site.heal()
            site.note_where_it_landed()
        site.evaluate()
        last = site.start_worker().finish()
        assert last.startswith("report "), last
        check(site)
        seconds = time.monotonic() - began
        sys.stdout.write(
            f"{platform}: {members:,} members, {kills} kills in {seconds:.0f} s: {dict(targets)}; landed: {dict(site.landed)}; "
            f"batches in flight when killed: {sum(site.in_flight)}, at most {max(site.in_flight, default=0)} at once\n"
        )
        assert platform != "meta" or site.landed["batches in flight"] >= kills / 5, "the kills hit hardly anything"
    finally:
        site.simulators.stop()
        site.postgres.stop()


def check(site: Site) -> None:
    """List = audience = ledger; the stranger is there; nothing was repeated but what was in flight."""
    on_wire = site.harness.on_wire
    strangers = set() if site.platform == "files" else {on_wire(STRANGER)}
    listed = site.listed()
    engine = sa.create_engine(site.database, poolclass=sa.pool.NullPool)
    with engine.begin() as connection:
        wanted = {on_wire(email) for email in connection.scalars(sa.text("SELECT email FROM people"))}
        ledger = set(
            connection.scalars(
                sa.text(
                    "SELECT substr(i, length(:name) + 2) FROM audience_syncs.ledger, unnest(identifiers) i "
                    "WHERE starts_with(i, :name || ':') AND state = 'accepted'"
                ),
                {"name": site.harness.email},
            )
        )
        people = connection.scalar(sa.text("SELECT count(*) FROM people"))
        accepted = connection.scalar(sa.text("SELECT count(*) FROM audience_syncs.ledger WHERE state = 'accepted'"))
        unsettled = connection.scalar(sa.text("SELECT count(*) FROM audience_syncs.plans WHERE status <> 'settled'"))
    assert len(listed) == len(set(listed))
    assert set(listed) - wanted == strangers, "somebody is there who should not be, or the stranger is gone"
    assert wanted <= set(listed), "somebody is missing"
    assert ledger == wanted
    assert (accepted, unsettled) == (people, 0)
    assert max(site.in_flight, default=0) <= CONCURRENCY
    assert site.scalar(SENT_TWICE) == 0, "members were sent again whose acceptance had been booked"
    before = batches_of(site)
    assert site.start_worker().finish().startswith("report ")
    assert batches_of(site) == before, "a run without changes sent something"


def batches_of(site: Site) -> tuple[int, int]:
    """Batches that were ever sent, by our own account; and calls that change lists, by the platform's."""
    sent = int(site.scalar("SELECT count(*) FROM audience_syncs.batches"))
    if site.platform != "meta":
        return sent, 0
    found = requests.get(f"{site.simulators.url}/_simulator/meta/requests", timeout=120).json()
    entries = found["requests"] if isinstance(found, dict) else found
    return sent, sum(entry["operation"].startswith("users.") for entry in entries)
