"""Running the simulators: in this process (``serve``), or in a child that a test can kill (``SimulatorServer``)."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from audience_syncs.simulators.app import create_app
from audience_syncs.simulators.connections import TrackedProtocol

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
PACKAGE_PARENT = Path(__file__).resolve().parents[2]


def serve(
    host: str = LOOPBACK, port: int = 8765, state_dir: Path | None = None, *, end_with_stdin: bool = False
) -> None:
    """Serve until interrupted. Port 0 takes a free one; the address is the first line on standard output.

    With ``end_with_stdin`` the server ends when its standard input does, that is when its parent process is gone.
    """
    listener = socket.create_server((host, port))
    config = uvicorn.Config(
        create_app(state_dir),
        http=TrackedProtocol,
        loop="asyncio",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    if end_with_stdin:
        threading.Thread(target=_end_with_stdin, args=(server,), daemon=True).start()
    sys.stdout.write(f"http://{host}:{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    server.run(sockets=[listener])


class SimulatorError(RuntimeError):
    """The simulator process did not come up."""


class SimulatorServer:
    """The simulators in a child process, on a free loopback port that stays the same over restarts.

    ``kill()`` then ``start()`` is a crash and a restart; with a ``state_dir`` the state is that of the last answered
    request. Without one the state ends with the process.
    """

    def __init__(self, state_dir: Path | None = None, port: int = 0) -> None:
        self._state_dir = state_dir
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where the simulators are: ``{url}/meta``, ``{url}/hubspot``, ``{url}/_simulator``."""
        return f"http://{LOOPBACK}:{self._port}"

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self) -> Self:
        """Start the process and wait until it answers."""
        if self._process is not None:
            raise SimulatorError("the simulator is running already")
        command = [sys.executable, "-m", "audience_syncs.simulators", "--port", str(self._port), "--end-with-stdin"]
        if self._state_dir is not None:
            command += ["--state-dir", str(self._state_dir)]
        paths = [str(PACKAGE_PARENT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        self._process = process
        address = process.stdout.readline().decode().strip() if process.stdout else ""
        if not address:
            self.kill()
            raise SimulatorError(f"the simulator ended before it listened; its port was {self._port or 'any'}")
        self._port = int(address.rpartition(":")[2])
        self._wait_until_healthy(process)
        return self

    def stop(self) -> None:
        """End the process in good order. No effect when it does not run."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
        _release(process)

    def kill(self) -> None:
        """End the process with SIGKILL, as a crash does. No effect when it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            _release(process)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_healthy(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/_simulator/health", timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, TimeoutError, ConnectionError):
                time.sleep(0.02)
        self.kill()
        raise SimulatorError(f"the simulator did not answer at {self.url} within {START_TIMEOUT_S:g} s")


def _end_with_stdin(server: uvicorn.Server) -> None:
    sys.stdin.buffer.read()
    server.should_exit = True


def _release(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
