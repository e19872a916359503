"""The HTTP client against a real, badly behaved server: what is tried again, when, and what is known after a failure."""

from __future__ import annotations

import logging
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from audience_syncs.destinations.http import (
    Answer,
    HttpClient,
    Outcome,
    Reading,
    Retry,
    default_reading,
    retry_after,
)
from audience_syncs.destinations.pacing import Pace, Pacer, pacer_of
from audience_syncs.destinations.stopping import stops_with
from audience_syncs.model.errors import AccessRefused, AudienceSyncsError, DestinationError, NoAnswer, NotApplied

TOKEN = "token-that-nobody-may-see"
PERSON = "anna@example.com"

Scene = bytes | str
"""What the server does with a request: bytes are its answer; else ``reset``, ``close``, ``silence`` or ``half``."""


def http(status: int, body: str = '{"ok": true}', **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"Content-Length: {len(body.encode())}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class BadServer:
    """Plays one scene for each request, in order; the last one for all that follow. Counts what it has read."""

    def __init__(self, scenes: list[Scene], context: ssl.SSLContext | None = None) -> None:
        self._scenes = scenes
        self._context = context
        self.requests: list[bytes] = []
        self.times: list[float] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http{'s' if self._context else ''}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with connection:
                while request := _read_request(connection):
                    if not self._play(connection, request):
                        return
        except OSError:
            return  # the client has gone, as it may

    def _play(self, connection: socket.socket, request: bytes) -> bool:
        with self._lock:
            scene = self._scenes[min(len(self.requests), len(self._scenes) - 1)]
            self.requests.append(request)
            self.times.append(time.monotonic())
        if isinstance(scene, bytes):
            connection.sendall(scene)
            return True
        if scene == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif scene == "silence":
            time.sleep(1.0)
        elif scene == "half":
            connection.sendall(b'HTTP/1.1 200 x\r\nContent-Length: 100\r\n\r\n{"ok": ')
        return False


def _read_request(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        if not piece:
            return b""
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    length = next((int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")), 0)
    while len(body) < length:
        body += connection.recv(65_536)
    return head + b"\r\n\r\n" + body


@pytest.fixture
def serve() -> Iterator[Any]:
    servers: list[BadServer] = []

    def start(*scenes: Scene) -> BadServer:
        servers.append(BadServer(list(scenes)))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def client_of(server: BadServer | str, **options: Any) -> HttpClient:
    url = server if isinstance(server, str) else server.url
    settings: dict[str, Any] = {
        "platform": "test",
        "account": url,
        "headers": {"Authorization": f"Bearer {TOKEN}"},
        "pace": Pace(1_000, burst=1_000),
        "first_backoff_s": 0.01,
        "read_timeout_s": 0.2,
        "connect_timeout_s": 0.5,
        "max_attempts": 3,
    }
    return HttpClient(url, **(settings | options))


def send(client: HttpClient, **options: Any) -> Answer:
    settings: dict[str, Any] = {"operation": "people.add", "json": {"email": PERSON}, "params": {"who": PERSON}}
    return client.request("POST", f"/lists/{PERSON}", **(settings | options))


def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


# What is sent


def test_a_request_carries_the_token_and_compact_json(serve: Any) -> None:
    server = serve(http(200, '{"größe": [1, null]}', X_Request_Id="req-1"))
    answer = send(client_of(server, request_id_header="x-request-id"), json={"name": "Zoë"})
    assert (answer.status, answer.body, answer.request_id) == (200, {"größe": [1, None]}, "req-1")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert f"Authorization: Bearer {TOKEN}".encode() in head
    assert b"Content-Type: application/json" in head
    assert body == '{"name":"Zoë"}'.encode()


def test_a_netrc_entry_of_the_same_host_does_not_replace_the_token(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server = serve(http(200))
    send(client_of(server))
    assert f"Bearer {TOKEN}".encode() in server.requests[0]


def test_connections_are_kept_and_used_again(serve: Any) -> None:
    server = serve(http(200))
    client = client_of(server)
    for _ in range(3):
        send(client)
    assert len(server.requests) == 3
    assert client.requests_sent == 3


# What is tried again


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520, 524, 529, 599])
def test_what_passes_is_tried_again_and_not_noticed(serve: Any, status: int) -> None:
    server = serve(http(status), http(status), http(200))
    client = client_of(server)
    assert send(client).status == 200
    assert client.requests_sent == len(server.requests) == 3


@pytest.mark.parametrize("scene", ["reset", "close", "silence", "half", b"not http at all\r\n\r\n", http(200, "{")])
def test_broken_connections_and_unreadable_answers_are_tried_again(serve: Any, scene: Scene) -> None:
    server = serve(scene, http(200))
    assert send(client_of(server)).body == {"ok": True}
    assert len(server.requests) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 418, 422, 501, 505])
def test_a_final_refusal_is_handed_over_after_one_request(serve: Any, status: int) -> None:
    server = serve(http(status, '{"error": 1}'))
    assert send(client_of(server)).status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize("body", ["", " \n"])
def test_an_empty_success_is_a_success(serve: Any, body: str) -> None:
    answer = send(client_of(serve(http(200, body))))
    assert (answer.body, answer.readable) == (None, True)


# What is known after a failure

CERTAINLY_NOT: list[Scene] = [http(429), http(408), http(425)]
MAYBE: list[Scene] = ["reset", "close", "silence", "half", http(500), http(503), http(200, "<html>"), http(200, '"')]


@pytest.mark.parametrize("scene", CERTAINLY_NOT)
def test_a_throttled_request_was_certainly_not_applied(serve: Any, scene: Scene) -> None:
    server = serve(scene)
    with pytest.raises(NotApplied, match="3 attempts"):
        send(client_of(server))
    assert len(server.requests) == 3


@pytest.mark.parametrize("scene", MAYBE)
def test_a_request_without_a_readable_answer_may_have_been_applied(serve: Any, scene: Scene) -> None:
    server = serve(scene)
    with pytest.raises(NoAnswer, match="3 attempts"):
        send(client_of(server))
    assert len(server.requests) == 3


def test_one_doubtful_attempt_is_not_forgotten_for_later_certain_ones(serve: Any) -> None:
    with pytest.raises(NoAnswer):
        send(client_of(serve("silence", http(429), http(429))))


def test_where_nobody_listens_nothing_was_applied() -> None:
    client = client_of(closed_port())
    with pytest.raises(NotApplied, match="no connection"):
        send(client)
    assert client.requests_sent == 3


def test_a_proxy_that_cannot_be_reached_means_nothing_was_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", closed_port())
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(NotApplied):
        send(client_of("http://platform.invalid"))


@pytest.mark.parametrize("scene", MAYBE)
def test_what_must_not_happen_twice_is_not_repeated_once_it_may_have_happened(serve: Any, scene: Scene) -> None:
    server = serve(scene, http(200))
    with pytest.raises(NoAnswer, match="1 attempt"):
        send(client_of(server), idempotent=False)
    assert len(server.requests) == 1


def test_what_must_not_happen_twice_is_repeated_while_it_certainly_has_not(serve: Any) -> None:
    server = serve(http(429), http(200))
    assert send(client_of(server), idempotent=False).status == 200
    assert len(server.requests) == 2


# How long is waited


@pytest.mark.parametrize("hint", ["0.3", " 0.3 "])
def test_the_server_is_left_alone_for_as_long_as_it_asks(serve: Any, hint: str) -> None:
    server = serve(http(429, Retry_After=hint), http(200))
    send(client_of(server))
    assert server.times[1] - server.times[0] >= 0.3


def test_other_threads_of_the_account_wait_as_well(serve: Any) -> None:
    server = serve(http(429, Retry_After="0.4"), http(200))
    first, second = client_of(server), client_of(server)
    thread = threading.Thread(target=send, args=(first,))
    thread.start()
    while not server.times:
        time.sleep(0.005)
    time.sleep(0.05)
    send(second)
    thread.join()
    assert server.times[1] - server.times[0] >= 0.39


def test_who_asks_for_too_long_is_not_waited_for_and_not_asked_again(serve: Any) -> None:
    server = serve(http(429, Retry_After="600"), http(200))
    started = time.monotonic()
    with pytest.raises(NotApplied):
        send(client_of(server, max_wait_s=1.0))
    # Other clients of the account do not even try.
    with pytest.raises(NotApplied, match="left alone"):
        send(client_of(server, max_wait_s=1.0))
    assert len(server.requests) == 1
    assert time.monotonic() - started < 1.0


def test_the_time_for_all_attempts_together_is_limited(serve: Any) -> None:
    server = serve("silence")
    started = time.monotonic()
    with pytest.raises(NoAnswer):
        send(client_of(server, max_wait_s=0.5, max_attempts=50))
    assert time.monotonic() - started < 1.0
    assert 2 <= len(server.requests) <= 4


def answer_with(**headers: str) -> Answer:
    return Answer(429, {name.replace("_", "-"): value for name, value in headers.items()}, None)


@pytest.mark.parametrize(
    "text", ["", "soon", "-5", "nan", "inf", "1e9", "12345678901", "٣", "Wed, 99 Foo 2026", "1" * 5_000]
)
def test_a_retry_after_that_cannot_be_read_is_no_hint(text: str) -> None:
    assert retry_after(answer_with(Retry_After=text)) is None


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000"])
def test_a_retry_after_may_be_a_date(zone: str) -> None:
    at = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True).replace("GMT", zone)
    seconds = retry_after(answer_with(Retry_After=at))
    assert seconds is not None
    assert 85 < seconds <= 90


def test_a_date_that_has_passed_means_now() -> None:
    assert retry_after(answer_with(Retry_After="Wed, 21 Oct 2015 07:28:00 GMT")) == 0


# What is never shown


@pytest.mark.parametrize(
    "scene", ["reset", "silence", http(500, PERSON), http(429, PERSON), http(302, Location=PERSON)]
)
def test_no_address_parameter_body_or_token_is_in_errors_or_logs(
    serve: Any, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(scene)
    with caplog.at_level(logging.INFO), pytest.raises(AudienceSyncsError) as raised:
        send(client_of(server, request_id_header="location"))
    shown = f"{raised.value} {raised.value!r} {caplog.text}"
    for secret in (TOKEN, PERSON, "lists", str(server.port)):
        assert secret not in shown
    assert "test" in str(raised.value)


def test_redirects_are_not_followed(serve: Any) -> None:
    elsewhere = serve(http(200))
    server = serve(http(307, Location=f"{elsewhere.url}/steal"))
    with pytest.raises(DestinationError, match="redirect"):
        send(client_of(server))
    assert elsewhere.requests == []


@pytest.mark.parametrize("token", ["with\nline break", "naïve", "tab\t", "\x00"])
def test_a_secret_that_cannot_be_a_token_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(AccessRefused, match="What to do") as refused:
        client_of("http://127.0.0.1:1", headers={"Authorization": f"Bearer {token}"})
    assert token not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "graph.example.com", "ftp://a.example", "http://", "https://a b", "https://u:p@a.example"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(DestinationError, match="base_url"):
        client_of(url)


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    command = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run([openssl, *command.split()], cwd=folder, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


def test_an_unknown_certificate_stops_the_run_before_anything_is_sent(own_certificate: ssl.SSLContext) -> None:
    server = BadServer([http(200)], own_certificate)
    with pytest.raises(DestinationError, match="certificate is not trusted") as raised:
        send(client_of(server))
    assert raised.value.code == "CERTIFICATE"
    assert server.requests == []
    server.close()


# How answers are read


def test_a_platform_reads_its_answers_its_own_way(serve: Any) -> None:
    def read(answer: Answer) -> Reading:
        throttled = answer.status == 400 and answer.body == {"code": 17}
        return Retry(0.05, maybe_applied=False) if throttled else default_reading(answer)

    server = serve(http(400, '{"code": 17}'), http(400, '{"code": 100}'))
    assert send(client_of(server, read=read)).body == {"code": 100}
    assert len(server.requests) == 2


def test_status_codes_mean_what_http_says() -> None:
    assert default_reading(Answer(200, {}, {})) is Outcome.OK
    assert default_reading(Answer(207, {}, {})) is Outcome.OK
    assert default_reading(Answer(404, {}, None)) is Outcome.REFUSED
    assert default_reading(Answer(200, {}, None, readable=False)) == Retry(None, maybe_applied=True)
    assert default_reading(Answer(503, {"Retry-After": "7"}, None)) == Retry(7.0, maybe_applied=True)


# The pace


def test_an_account_is_called_no_faster_than_its_pace_by_all_threads_together(serve: Any) -> None:
    server = serve(http(200))
    clients = [client_of(server, pace=Pace(40, burst=2)) for _ in range(3)]
    threads = [threading.Thread(target=lambda c: [send(c) for _ in range(4)], args=(client,)) for client in clients]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 12
    assert time.monotonic() - started >= 10 / 40 * 0.95
    assert sum(client.requests_sent for client in clients) == 12


def test_a_slowed_account_is_called_at_that_share_of_its_pace() -> None:
    pacer = Pacer(Pace(100, burst=1))
    pacer.wait()
    pacer.slow_down(0.1)
    started = time.monotonic()
    pacer.wait()
    assert time.monotonic() - started >= 0.09
    pacer.slow_down(1.0)
    started = time.monotonic()
    pacer.wait()
    assert time.monotonic() - started < 0.05


def test_accounts_do_not_wait_for_each_other() -> None:
    pacer_of("test", "held off", Pace(1_000, burst=1)).hold_off(5.0)
    started = time.monotonic()
    assert pacer_of("test", "other", Pace(1_000, burst=1)).wait()
    assert not pacer_of("test", "held off", Pace(1_000, burst=1)).wait(longest_hold_off_s=1.0)
    assert time.monotonic() - started < 0.5


def test_a_call_that_waits_to_be_tried_again_ends_at_once_when_the_run_is_stopped(serve: Any) -> None:
    server = serve(http(503, Retry_After="60"))
    stop, raised = threading.Event(), []

    def call() -> None:
        with stops_with(stop), pytest.raises(NoAnswer) as failed:
            send(client_of(server, max_wait_s=300))
        raised.append(str(failed.value))
        # And what is not sent yet is not sent any more.
        with stops_with(stop), pytest.raises(NotApplied) as refused:
            send(client_of(server))
        raised.append(str(refused.value))

    thread = threading.Thread(target=call)
    thread.start()
    while not server.requests:
        time.sleep(0.01)
    stopped_at = time.monotonic()
    stop.set()
    thread.join(10)
    assert time.monotonic() - stopped_at < 2
    assert len(raised) == 2
    assert all("the run is being stopped" in words for words in raised)
    assert len(server.requests) == 1
