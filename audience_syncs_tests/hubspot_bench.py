"""A HubSpot to try the destination on: the simulator with a list of its own, and a server that answers as a test says."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import requests

from audience_syncs.destinations.contract import Account, ListRequest
from audience_syncs.destinations.hubspot import HubSpot
from audience_syncs.model.values import Outgoing

TOKENS = itertools.count(1)
Reply = tuple[int, Any]


def opened(url: str, token: str = "", **settings: Any) -> HubSpot:
    """An account with a pace of its own: limits go by token."""
    defaults: dict[str, Any] = {
        "base_url": url,
        "requests_per_s": 1_000,
        "attempts": 2,
        "timeout_s": 1,
        "portal_id": "7",
    }
    credentials = {"access_token": token or f"pat-secret-{next(TOKENS)}"}
    return HubSpot(Account("crm", credentials, defaults | settings), {})


def person(number: int, **fields: str) -> Outgoing:
    return Outgoing({"email": f"p{number}@example.com", "firstname": "Zoë"} | fields)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


class World:
    """A list of its own at the simulator, which the tests of this file share."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.hubspot = opened(f"{url}/hubspot")
        self.list_id = self.hubspot.ensure_list(ListRequest(f"People {next(TOKENS)}")).id

    def fault(self, kind: str, **more: Any) -> None:
        asked = {"platform": "hubspot", "kind": kind, "rate": 1.0, "seed": 7} | more
        requests.post(f"{self.url}/_simulator/faults", json=asked, timeout=10).raise_for_status()

    def no_more_faults(self) -> None:
        requests.delete(f"{self.url}/_simulator/faults", timeout=10).raise_for_status()

    def members(self, list_id: str = "") -> dict[str, dict[str, str]]:
        path = f"{self.url}/_simulator/hubspot/lists/{list_id or self.list_id}/members"
        found = requests.get(path, params={"limit": 10_000}, timeout=10).json()["members"]
        return {member["email"]: member for member in found}

    def operations(self) -> list[str]:
        found: Any = requests.get(f"{self.url}/_simulator/hubspot/requests", timeout=10).json()
        return [entry["operation"] for entry in (found["requests"] if isinstance(found, dict) else found)]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": "Bearer somebody-else"}
        answer = requests.request(method, f"{self.url}/hubspot{path}", json=body, headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.json() if answer.content else None


class Odd:
    """A HubSpot that answers whatever the test says: ``(status, body)`` for an operation and the parsed request."""

    def __init__(self, reply: Callable[[str, Any], Reply]) -> None:
        self.calls: list[tuple[str, Any]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet: else every answer waits for the kernel's delayed ACK

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                asked = orjson.loads(self.rfile.read(length) or b"null")
                operation = "/".join(self.path.split("?")[0].split("/")[-2:])
                outer.calls.append((operation, asked))
                status, body = reply(operation, asked)
                content = body if isinstance(body, bytes) else orjson.dumps(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = answer

            def log_message(self, format: str, *args: object) -> None:
                """Not to standard error."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.hubspot = opened(f"http://127.0.0.1:{self._server.server_port}")

    def asked_for(self, operation: str) -> list[Any]:
        return [asked for found, asked in self.calls if found == operation]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
