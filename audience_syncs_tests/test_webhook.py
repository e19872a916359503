"""A signed webhook: the receivers' own library accepts it, nothing is applied twice, and every answer becomes the right verdict."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import pytest
import requests
from standardwebhooks import Webhook as Verifier
from standardwebhooks.webhooks import WebhookVerificationError

from audience_syncs.destinations import pacing
from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.registry import check_destination, open_destination
from audience_syncs.destinations.webhook.account import Webhook
from audience_syncs.model.config import DestinationConfig
from audience_syncs.model.errors import (
    AccessRefused,
    BatchRefused,
    DefinitionError,
    DestinationError,
    NoAnswer,
    NotApplied,
)
from audience_syncs.model.values import Batch, Outgoing
from audience_syncs.simulators import SimulatorServer
from audience_syncs.simulators.webhook import secret_of

OLD = "whsec_" + base64.b64encode(b"the old secret, 24 bytes").decode()
NEW = "whsec_" + base64.b64encode(b"another secret of 32 bytes here!").decode()


class Receiver:
    """An endpoint that keeps what it got, byte by byte. ``answers``: status, body and headers it gives next."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, dict[str, str]]] = []
        self.answers: list[tuple[int, Any, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append((body, {name.lower(): value for name, value in self.headers.items()}))
                status, content, headers = outer.answers.pop(0) if outer.answers else (200, {}, {})
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/hooks/secret-part?tenant=7"

    def messages(self) -> list[Any]:
        return [json.loads(body) for body, _ in self.received]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    pacing._pacers.clear()
    with Receiver() as receiver:
        yield receiver


def config(**changes: Any) -> DestinationConfig:
    return DestinationConfig.model_validate(
        {"name": "hook", "platform": "webhook", "credentials": {"url": {"env": "URL"}, "secret": {"env": "NEW"}}}
        | changes
    )


def webhook_at(url: str, *, secret: str = NEW, previous: str | None = None, **settings: Any) -> Webhook:
    credentials = {"url": {"env": "URL"}, "secret": {"env": "NEW"}}
    if previous is not None:
        credentials["previous_secret"] = {"env": "OLD"}
    defaults = {"attempts": 2, "timeout_s": 1, "requests_per_s": 1000}
    opened = open_destination(
        config(credentials=credentials, settings=defaults | settings),
        {"URL": url, "NEW": secret, "OLD": previous or ""},
    )
    assert isinstance(opened, Webhook)
    opened._http._first_backoff_s = 0.01
    return opened


def batch(*members: dict[str, Any], fields: tuple[str, ...] = ("id", "email"), **more: Any) -> Batch:
    return Batch([Outgoing(member, new=member["id"] == "new") for member in members], fields=fields, **more)


def kinds(verdicts: Any) -> list[str]:
    return [verdict.kind.value for verdict in verdicts]


def test_the_receivers_own_library_accepts_what_is_sent_and_nothing_that_was_changed(receiver: Receiver) -> None:
    hook = webhook_at(receiver.url)
    assert kinds(hook.add("VIPs", batch({"id": "new", "email": "zoë@example.com"}, {"id": "2"}))) == ["accepted"] * 2
    assert kinds(hook.remove("VIPs", batch({"id": "3"}))) == ["accepted"]
    for body, headers in receiver.received:
        Verifier(NEW).verify(body, headers)
        with pytest.raises(WebhookVerificationError):
            Verifier(NEW).verify(body.replace(b"VIPs", b"VIPz"), headers)
        with pytest.raises(WebhookVerificationError):
            Verifier(OLD).verify(body, headers)
    added, removed = receiver.messages()
    assert added["type"] == "members.upserted"
    assert added["data"] == {
        "key": "id",
        "list": "VIPs",
        "members": [
            {"change": "added", "fields": {"id": "new", "email": "zoë@example.com"}},
            {"change": "updated", "fields": {"id": "2", "email": None}},
        ],
    }
    assert removed["type"] == "members.removed"
    assert removed["data"]["members"] == [{"change": "removed", "fields": {"id": "3"}}]


def test_while_a_secret_is_changed_either_one_verifies(receiver: Receiver) -> None:
    webhook_at(receiver.url, previous=OLD).remove("VIPs", batch({"id": "1"}))
    ((body, headers),) = receiver.received
    assert len(headers["webhook-signature"].split(" ")) == 2
    Verifier(NEW).verify(body, headers)
    Verifier(OLD).verify(body, headers)


def test_each_attempt_of_a_message_has_its_id_and_its_own_time_and_signature(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answers = [(503, {}, {}), (200, b"ok", {})]
    ticks = iter(range(100))
    now = time.time()
    monkeypatch.setattr("audience_syncs.destinations.webhook.account.time.time", lambda: now + next(ticks))
    hook = webhook_at(receiver.url)
    hook.add("VIPs", batch({"id": "1"}, session=5, number=2))
    hook.add("VIPs", batch({"id": "1"}, session=6, number=2))
    (first, retried, other) = receiver.received
    assert first[0] == retried[0]
    assert first[1]["webhook-id"] == retried[1]["webhook-id"] != other[1]["webhook-id"]
    assert "." not in first[1]["webhook-id"]
    assert first[1]["webhook-timestamp"] != retried[1]["webhook-timestamp"]
    for body, headers in receiver.received:
        Verifier(NEW).verify(body, headers)


def test_single_events_say_who_was_added_updated_and_removed(receiver: Receiver) -> None:
    hook = webhook_at(receiver.url, events="single")
    receiver.answers = [(200, {}, {}), (422, {"error": "no such plan for a@example.com"}, {}), (200, {}, {})]
    verdicts = hook.add("VIPs", batch({"id": "new"}, {"id": "2"}, {"id": "3"}))
    assert kinds(verdicts) == ["accepted", "rejected", "accepted"]
    assert (verdicts[1].reason_code, verdicts[1].reason) == ("HTTP 422", "no such plan for ...")
    hook.remove("VIPs", batch({"id": ["4", "5"]}))
    assert [(m["type"], m["data"]["fields"]["id"]) for m in receiver.messages()] == [
        ("member.added", "new"),
        ("member.updated", "2"),
        ("member.updated", "3"),
        ("member.removed", "4"),
        ("member.removed", "5"),
    ]
    # Once something was sent, what stops the run is the verdict of those left over.
    receiver.answers = [(200, {}, {}), (401, {}, {})]
    assert kinds(hook.add("VIPs", batch({"id": "1"}, {"id": "2"}, {"id": "3"}))) == [
        "accepted",
        "retryable",
        "retryable",
    ]


ANSWERS: list[tuple[int, Any, Any]] = [
    (200, {}, ["accepted", "accepted"]),
    (204, b"", ["accepted", "accepted"]),
    (202, b"<html>thanks</html>", ["accepted", "accepted"]),
    (200, {"rejected": [{"index": 1, "code": "NO", "reason": "not wanted"}]}, ["accepted", "rejected"]),
    (200, {"rejected": [{"index": 7}, {"index": -1}, {"index": True}, {"index": "0"}, 5]}, ["accepted", "accepted"]),
    (200, {"rejected": "all"}, ["accepted", "accepted"]),
    (200, [1], ["accepted", "accepted"]),
    (400, {"message": "x"}, BatchRefused),
    (413, {}, BatchRefused),
    (422, b"no json", BatchRefused),
    (401, {}, AccessRefused),
    (403, {}, AccessRefused),
    (404, {}, DestinationError),
    (410, {}, DestinationError),
    (302, {}, DestinationError),
    (429, {}, NotApplied),
    (500, {}, NoAnswer),
    (502, b"<html>", NoAnswer),
]


@pytest.mark.parametrize(("status", "body", "becomes"), ANSWERS)
def test_every_answer_becomes_what_it_means(status: int, body: Any, becomes: Any, receiver: Receiver) -> None:
    receiver.answers = [(status, body, {})] * 2
    hook = webhook_at(receiver.url)
    if isinstance(becomes, list):
        assert kinds(hook.add("VIPs", batch({"id": "1"}, {"id": "2"}))) == becomes
        return
    with pytest.raises(becomes) as raised:
        hook.add("VIPs", batch({"id": "1"}, {"id": "2"}))
    assert "secret-part" not in str(raised.value)


def test_the_receiver_says_when_to_come_back(receiver: Receiver) -> None:
    receiver.answers = [(429, {}, {"Retry-After": "1"})]
    began = time.monotonic()
    assert kinds(webhook_at(receiver.url).add("VIPs", batch({"id": "1"}))) == ["accepted"]
    assert 0.9 < time.monotonic() - began < 3


def test_an_answer_that_was_lost_does_not_apply_a_message_twice() -> None:
    pacing._pacers.clear()
    with SimulatorServer() as simulators:
        hook = webhook_at(f"{simulators.url}/webhook/acme", secret=secret_of("acme"))
        fault = {"platform": "webhook", "kind": "reset_after", "count": 1}
        requests.post(f"{simulators.url}/_simulator/faults", json=fault, timeout=10).raise_for_status()
        assert kinds(hook.add("VIPs", batch({"id": "1"}, {"id": "2"}))) == ["accepted", "accepted"]
        assert hook.requests_sent == 2
        (found,) = requests.get(f"{simulators.url}/_simulator/webhook/lists", timeout=10).json()
        assert (found["name"], found["size"]) == ("VIPs", 2)
        with pytest.raises(AccessRefused):
            webhook_at(f"{simulators.url}/webhook/acme", secret=secret_of("other")).add("VIPs", batch({"id": "1"}))
        old = secret_of("acme", previous=True)
        webhook_at(f"{simulators.url}/webhook/acme", secret=NEW, previous=old).remove("VIPs", batch({"id": "1"}))
        # What is older than five minutes is not taken: the signature holds the time of the attempt.
        requests.post(f"{simulators.url}/_simulator/clock", json={"advance_s": 400}, timeout=10)
        with pytest.raises(BatchRefused, match="too old"):
            hook.add("VIPs", batch({"id": "9"}))


@pytest.mark.parametrize(
    "secret", ["whsec_", "whsec_c2hvcnQ=", "short", "whsec_" + base64.b64encode(b"x" * 65).decode(), "ü" * 40]
)
def test_a_secret_that_is_too_short_or_none_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        webhook_at("https://example.com/", secret=secret)
    assert "openssl rand" in refused.value.remedy
    assert secret.removeprefix("whsec_") in ("", "short") or secret.removeprefix("whsec_") not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://hooks.example.com/secret-part", "ftp://x", "secret-part", "https://u:pw@host/x"]
)
def test_an_address_that_is_none_or_that_anybody_can_read_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(DefinitionError) as refused:
        webhook_at(url)
    assert "secret-part" not in str(refused.value)
    assert "pw" not in str(refused.value)
    if url.startswith("http:"):
        assert webhook_at(url, plain_http=True).ensure_list(ListRequest("VIPs")).id == "VIPs"


def test_settings_are_checked_and_decide_the_size_of_a_batch() -> None:
    assert webhook_at("https://example.com/x", members_per_request=7, concurrency=2).spec.batch_size == 7
    said = [problem.path for problem in check_destination(config(settings={"events": "all", "concurrency": 0}))]
    assert said == [("settings", "events"), ("settings", "concurrency")]
