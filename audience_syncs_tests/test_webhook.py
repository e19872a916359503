"""The signed webhook, over real HTTP to a receiver that verifies with the library receivers use."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks.webhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from audience_syncs.destinations.contract import Account
from audience_syncs.destinations.webhook import ADDED, Webhook
from audience_syncs.model.errors import (
    AccessRefused,
    AudienceSyncsError,
    BatchRefused,
    DefinitionError,
    DestinationError,
    ListMissing,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing, VerdictKind
from audience_syncs_tests.sync_bench import Bench, sync_config

OLD, NEW = "whsec_" + "b2xk" * 10, "whsec_" + "bmV3" * 10


class Receiver:
    """Keeps members by key. ``faults``: what it does with the next requests: a status, or ``lost`` (applied, no answer)."""

    def __init__(self) -> None:
        self.secret = NEW
        self.members: dict[str, dict[str, str]] = {"stranger": {"key": "stranger"}}
        self.ids: list[str] = []
        self.faults: list[int | str] = []
        self.refuses = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.ids.append(self.headers["webhook-id"])
                fault = outer.faults.pop(0) if outer.faults else 200
                if fault in (200, "lost"):
                    try:
                        fault = outer.receive(body, dict(self.headers)) if fault == 200 else fault
                        if fault == "lost":
                            outer.receive(body, dict(self.headers))
                    except WebhookVerificationError:
                        fault = 401
                if fault == "lost":
                    self.close_connection = True
                    return
                self.send_response(int(fault))
                self.send_header("Retry-After", "0")
                self.send_header("Content-Length", "4")
                self.end_headers()
                self.wfile.write(b"fine")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"

    def receive(self, body: bytes, headers: dict[str, str]) -> int:
        message = Verifier(self.secret).verify(body, headers)
        if self.refuses and self.refuses in json.dumps(message):
            return 422
        for member in message["data"]["members"]:
            if message["type"] == ADDED:
                self.members[member["key"]] = member
            else:
                self.members.pop(member["key"], None)
        return 200


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def opened(receiver: Receiver, secret: str = NEW, **settings: Any) -> Webhook:
    hook = Webhook(Account("hook", {"secret": secret}, {"url": receiver.url, "requests_per_s": 1000, **settings}), {})
    hook._http._first_backoff_s = 0.001
    return hook


def one(key: str = "a") -> Batch:
    return Batch([Outgoing({"key": key, "city": "Größe 🎉"})])


def test_the_receivers_own_library_verifies_and_either_secret_does_while_one_is_replaced(receiver: Receiver) -> None:
    assert opened(receiver).add("vips", one())[0].kind is VerdictKind.ACCEPTED
    assert receiver.members["a"]["city"] == "Größe 🎉"
    for receiver.secret in (OLD, NEW):
        opened(receiver, f"{OLD} {NEW}").add("vips", one())
    with pytest.raises(AccessRefused, match="same secret") as refused:
        opened(receiver, OLD).add("vips", one())
    assert OLD not in str(refused.value)


@pytest.mark.parametrize("fault", [408, 425, 429, 500, 503, "lost"])
def test_attempts_of_one_message_have_one_id_and_the_next_message_another(receiver: Receiver, fault: int | str) -> None:
    hook = opened(receiver)
    receiver.faults = [fault, fault]
    hook.add("vips", one())
    assert len(receiver.ids) == 3
    assert len(set(receiver.ids)) == 1
    hook.remove("vips", one())
    assert len(set(receiver.ids)) == 2
    assert set(receiver.members) == {"stranger"}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (400, BatchRefused),
        (413, BatchRefused),
        (403, AccessRefused),
        (404, DestinationError),
        (410, ListMissing),
        (429, NotApplied),
        (500, NoAnswer),
        ("lost", NoAnswer),
        (302, DestinationError),
    ],
)
def test_a_fault_that_stays_is_the_error_it_means(
    receiver: Receiver, fault: int | str, error: type[AudienceSyncsError]
) -> None:
    receiver.faults = [fault] * 2
    with pytest.raises(error) as raised:
        opened(receiver, attempts=2).add("vips", one("anna"))
    assert type(raised.value) is error
    assert "anna" not in str(raised.value)


@pytest.mark.parametrize("secret", ["hunter2", "whsec_hunter2", "whsec_" + "b2xk", f"{NEW} hunter2"])
def test_a_secret_that_is_none_is_refused_and_not_shown(receiver: Receiver, secret: str) -> None:
    with pytest.raises(DefinitionError, match="whsec_") as refused:
        opened(receiver, secret)
    assert secret not in str(refused.value)


def test_after_every_fault_the_receiver_has_the_audience_and_who_is_refused_is_named(
    bench: Bench, receiver: Receiver
) -> None:
    bench.sync = sync_config(
        mapping={"key": "email", "name": "first_name"}, guard={"allow_empty": True, "max_unusable_percent": 100}
    )
    faults: list[int | str] = [500, "lost", 429, 400, 401, 410, 404, "lost"]
    for first, fault in enumerate(faults):
        bench.people(*((str(n), f"p{n}@example.com") for n in range(first, first + 4)), ("x", f"x{first}@example.com"))
        bench.list = opened(receiver, attempts=1)  # type: ignore[assignment]
        receiver.faults = [fault] if first % 2 else [200, fault]
        with suppress(AudienceSyncsError):
            bench.run()
        receiver.faults = []
        receiver.refuses = "bad@example.com"
        bench.people(*((str(n), f"p{n}@example.com") for n in range(first, first + 4)), ("bad", "bad@example.com"))
        report = bench.run(retry_rejected=True)
        assert report.rejected == 1
        assert set(receiver.members) == {f"p{n}@example.com" for n in range(first, first + 4)} | {"stranger"}
