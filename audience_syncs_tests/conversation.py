"""A platform that says what a file says: each request must be the one that is expected next, and gets its answer.

A conversation is data: what a destination is asked to do, what goes over the wire, what becomes of each member.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
import yaml

FOLDER = Path(__file__).parent / "data" / "conversations"


def conversations(platform: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((FOLDER / f"{platform}.yaml").read_text(encoding="utf-8"))
    return found


def _holds(body: Any, part: Any) -> bool:
    """Whether a body has all of a part; beside that, other keys."""
    if isinstance(part, Mapping):
        return isinstance(body, Mapping) and all(name in body and _holds(body[name], part[name]) for name in part)
    return bool(body == part)


class Script:
    """What is expected, what has been said; ``wrong`` says where they differ."""

    def __init__(self, talk: Sequence[Mapping[str, Any]]) -> None:
        self._left = list(talk)
        self.wrong: list[str] = []

    def answer(self, asked: str, headers: Mapping[str, str], body: Any) -> tuple[int, Mapping[str, str], bytes]:
        if not self._left:
            self.wrong.append(f"nothing more was expected, and {asked} came")
            return 501, {}, b"{}"
        expected = self._left.pop(0)
        if asked != expected["asked"]:
            self.wrong.append(f"expected {expected['asked']}, and {asked} came")
        if "body" in expected and body != expected["body"]:
            self.wrong.append(f"{asked}: expected the body {expected['body']}, and {body} came")
        if "body_has" in expected and not _holds(body, expected["body_has"]):
            self.wrong.append(f"{asked}: expected a body with {expected['body_has']}, and {body} came")
        for name, value in expected.get("headers", {}).items():
            if headers.get(name) != value:
                self.wrong.append(f"{asked}: expected the header {name}: {value}, and {headers.get(name)} came")
        answer = expected.get("answer", {})
        told = answer.get("body")
        content = b"" if told is None else told.encode() if isinstance(told, str) else orjson.dumps(told)
        return answer.get("status", 200), answer.get("headers", {}), content

    @property
    def is_over(self) -> bool:
        return not self._left


def spoken(content: bytes) -> Any:
    """JSON; what is none, as text."""
    try:
        return orjson.loads(content or b"null")
    except orjson.JSONDecodeError:
        return content.decode("utf-8", "replace")


@contextmanager
def played(script: Script) -> Iterator[str]:
    """The address at which the script is answered."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one packet: else every answer waits for the kernel's delayed ACK

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = spoken(self.rfile.read(length))
            parts = urlsplit(self.path)
            path = unquote(parts.path) + (f"?{unquote(parts.query.replace('+', ' '))}" if parts.query else "")
            status, headers, content = script.answer(f"{self.command} {path}", self.headers, body)  # type: ignore[arg-type]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, str(value))
            if status != 204:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if status != 204:
                self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer

        def log_message(self, format: str, *args: object) -> None:
            """Not to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
