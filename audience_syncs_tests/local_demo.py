"""A demo of one's own for a test: in a temporary folder, as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import requests

COMMAND = [sys.executable, "-m", "audience_syncs"]
LOCAL = ("AUDIENCE_SYNCS_", "META_", "HUBSPOT_", "DAGSTER_")


class LocalDemo:
    """Commands of `audience-syncs` in one folder of state."""

    def __init__(self, home: Path) -> None:
        self.home = home
        # Nothing of the developer's own environment.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(LOCAL)}
        self.environment = clean | {"AUDIENCE_SYNCS_HOME": str(home), "COLUMNS": "200"}
        self.ui = ""
        self._process: subprocess.Popen[str] | None = None

    def run(self, *arguments: str, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Runs a command to its end; ``code``: the exit code it must have."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        if code is not None:
            assert done.returncode == code, (
                f"{arguments}: {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
            )
        return done

    def answer(self, *arguments: str, code: int | None = 0) -> Any:
        """What a command answers with ``--json``."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def start(self, *arguments: str) -> None:
        """Starts `demo` and waits until it says where its UI is."""
        self._process = subprocess.Popen(
            [*COMMAND, "demo", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=(self.home.parent / "demo.err").open("w"),
            text=True,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("http://127.0.0.1:"):
                self.ui = line.strip()
                return
        raise AssertionError((self.home.parent / "demo.err").read_text()[-4000:])

    @property
    def processes(self) -> list[psutil.Process]:
        """Everything that runs with this demo's folder."""
        found = []
        for process in psutil.process_iter():
            try:
                if str(self.home) in " ".join(process.cmdline()) or process.environ().get("AUDIENCE_SYNCS_HOME") == str(
                    self.home
                ):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
                continue
        return found

    def stop(self, with_signal: signal.Signals = signal.SIGINT) -> None:
        """Ends the demo as Ctrl-C does, and waits."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(with_signal)
        process.wait(60)
        if process.stdout is not None:
            process.stdout.close()

    @property
    def simulators(self) -> str:
        variables = dict(line.split("=", 1) for line in (self.home / "local.env").read_text().splitlines())
        return variables["META_BASE_URL"].removesuffix("/meta")

    def graphql(self, query: str, **variables: Any) -> Any:
        """The UI's own GraphQL."""
        answer = requests.post(f"{self.ui}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def materialise(self, job: str, *assets: list[str]) -> str:
        """What the button Materialize does; returns the run's status when it has ended."""
        launched = self.graphql(
            """mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
                 __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }""",
            p={
                "selector": {
                    "repositoryName": "__repository__",
                    "repositoryLocationName": "audience_syncs",
                    "jobName": job,
                    "assetSelection": [{"path": path} for path in assets],
                },
                "runConfigData": {},
                "mode": "default",
            },
        )["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id = launched["run"]["runId"]
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            found = self.graphql("query($r: ID!) { runOrError(runId: $r) { ... on Run { status } } }", r=run_id)
            status: str = found["runOrError"]["status"]
            if status in ("SUCCESS", "FAILURE", "CANCELED"):
                return status
            time.sleep(0.5)
        raise AssertionError(f"run {run_id} did not end: {status}")
