"""A webhook of one's own: what a team's chat receives, over real HTTP."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self


@dataclass(frozen=True)
class Received:
    """One message, as apprise's ``json://`` sends it."""

    title: str
    body: str


class Webhook:
    """A server on loopback. ``answers``: the status codes it gives next; 200 when there are none left."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answers: list[int] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = outer.answers.pop(0) if outer.answers else 200
                if status == 200:
                    outer.received.append(Received(body["title"], body["message"]))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """What the channel's environment variable holds; with a secret in it, as such addresses have."""
        return f"json://127.0.0.1:{self._server.server_address[1]}/hook/secret-part-of-the-url"

    def take(self) -> list[Received]:
        """What came since the last call."""
        found, self.received = self.received, []
        return found

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
