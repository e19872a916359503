"""The simulators keep what they acknowledged, take large uploads quickly, and import nothing of ours."""

from __future__ import annotations

import ast
import hashlib
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import requests

import audience_syncs.simulators
from audience_syncs.simulators import SimulatorServer

HEADERS = {"Authorization": "Bearer good", "Content-Type": "application/json"}


def sha(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def new_audience(url: str) -> str:
    new = {"name": "x", "subtype": "CUSTOM", "customer_file_source": "USER_PROVIDED_ONLY"}
    return str(
        requests.post(f"{url}/meta/v26.0/act_1/customaudiences", json=new, headers=HEADERS, timeout=20).json()["id"]
    )


def upload(url: str, audience: str, people: list[str]) -> requests.Response:
    body = orjson.dumps({"payload": {"schema": ["EMAIL", "EXTERN_ID"], "data": [[sha(who), who] for who in people]}})
    return requests.post(f"{url}/meta/v26.0/{audience}/users", data=body, headers=HEADERS, timeout=60)


def held(url: str, audience: str, wanted: str = "EXTERN_ID") -> list[str]:
    answer = requests.get(f"{url}/_simulator/meta/lists/{audience}/members?field={wanted}", timeout=60)
    return list(answer.json())


@pytest.fixture(scope="module")
def server() -> Iterator[SimulatorServer]:
    with SimulatorServer() as simulator:
        yield simulator


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_state_survives_a_restart_and_sigkill(tmp_path: Path, end: str) -> None:
    simulator = SimulatorServer(tmp_path).start()
    try:
        url = simulator.url
        audience = new_audience(url)
        upload(url, audience, ["a", "b"]).raise_for_status()
        new = {"name": "x", "objectTypeId": "0-1", "processingType": "MANUAL"}
        hubspot = f"{url}/hubspot/crm"
        list_id = requests.post(f"{hubspot}/lists/2026-09", json=new, headers=HEADERS, timeout=20).json()["list"][
            "listId"
        ]
        upsert = {"inputs": [{"id": "a@example.com", "idProperty": "email", "properties": {}}]}
        answer = requests.post(
            f"{hubspot}/objects/2026-09/contacts/batch/upsert", json=upsert, headers=HEADERS, timeout=20
        )
        contact = answer.json()["results"][0]["id"]
        requests.put(f"{hubspot}/lists/2026-09/{list_id}/memberships/add", json=[contact], headers=HEADERS, timeout=20)
        requests.post(f"{url}/_simulator/meta/tokens/revoke", json={"token": "old"}, timeout=20).raise_for_status()
        getattr(simulator, end)()
        simulator.start()
        assert simulator.url == url
        assert held(url, audience) == ["a", "b"]
        members = requests.get(f"{url}/_simulator/hubspot/lists/{list_id}/members", timeout=20).json()["members"]
        assert members == [{"id": contact, "email": "a@example.com"}]
        old = {"Authorization": "Bearer old"}
        assert requests.get(f"{url}/meta/v26.0/{audience}", headers=old, timeout=20).status_code == 401
        body = {"payload": {"schema": "EXTERN_ID", "data": ["a"]}}
        requests.delete(f"{url}/meta/v26.0/{audience}/users", json=body, headers=HEADERS, timeout=20).raise_for_status()
        assert held(url, audience) == ["b"]
    finally:
        simulator.stop()


def test_a_kill_in_the_middle_of_uploads_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    simulator = SimulatorServer(tmp_path).start()
    audience = new_audience(simulator.url)
    acknowledged: set[str] = set()
    sent: set[str] = set()

    def uploading(worker: int) -> None:
        for number in range(1_000):
            batch = [f"{worker}-{number}-{row}" for row in range(50)]
            sent.update(batch)
            try:
                answer = upload(simulator.url, audience, batch)
            except requests.exceptions.ConnectionError:
                return
            if answer.status_code == 200:
                acknowledged.update(batch)

    workers = [threading.Thread(target=uploading, args=(number,)) for number in range(3)]
    for worker in workers:
        worker.start()
    deadline = time.monotonic() + 20
    while len(acknowledged) < 1_000 and time.monotonic() < deadline:
        time.sleep(0.01)
    simulator.kill()
    for worker in workers:
        worker.join()
    try:
        simulator.start()
        found = held(simulator.url, audience)
        assert len(found) == len(set(found))
        assert acknowledged
        assert acknowledged <= set(found) <= sent
    finally:
        simulator.stop()


def test_100_000_rows_are_taken_quickly_and_by_several_connections_at_once(server: SimulatorServer) -> None:
    audience = new_audience(server.url)
    batches = [[f"m{number}" for number in range(start, start + 10_000)] for start in range(0, 100_000, 10_000)]
    started = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        for answer in pool.map(lambda batch: upload(server.url, audience, batch), batches):
            answer.raise_for_status()
    took = time.monotonic() - started
    assert sorted(held(server.url, audience)) == sorted(who for batch in batches for who in batch)
    assert took < 20, f"100,000 rows took {took:.1f} s; about 1 s is normal on an idle machine"


def test_members_are_paged_in_the_order_they_came(server: SimulatorServer) -> None:
    audience = new_audience(server.url)
    people = [f"p{number}" for number in range(25)]
    upload(server.url, audience, people).raise_for_status()
    found: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        path = f"{server.url}/_simulator/meta/lists/{audience}/members?limit=10&after={after}"
        page = requests.get(path, timeout=20).json()
        assert page["total"] == 25
        found += page["members"]
        after = page["next"]
    assert [each["EXTERN_ID"] for each in found] == people
    assert found[0]["EMAIL"] == sha("p0")


def test_other_peoples_rows_can_be_put_into_a_list_and_a_list_deleted_by_hand(server: SimulatorServer) -> None:
    audience = new_audience(server.url)
    path = f"{server.url}/_simulator/meta/lists/{audience}"
    put = requests.post(f"{path}/members", json={"members": [{"EMAIL": "other@example.com"}]}, timeout=20)
    assert put.json() == {"added": 1}
    assert held(server.url, audience, "EMAIL") == [sha("other@example.com")]
    (shown,) = [
        each
        for each in requests.get(f"{server.url}/_simulator/meta/lists", timeout=20).json()
        if each["id"] == audience
    ]
    assert shown == {"id": audience, "name": "x", "account": "act_1", "size": 1}
    assert requests.post(f"{path}/delete", timeout=20).status_code == 204
    assert upload(server.url, audience, ["a"]).json()["error"]["error_subcode"] == 33
    assert requests.get(f"{path}/members", timeout=20).status_code == 404
    assert requests.get(f"{server.url}/_simulator/myspace/lists", timeout=20).status_code == 404


def test_reset_forgets_everything(tmp_path: Path) -> None:
    with SimulatorServer(tmp_path) as simulator:
        audience = new_audience(simulator.url)
        upload(simulator.url, audience, ["a"]).raise_for_status()
        requests.post(
            f"{simulator.url}/_simulator/faults", json={"kind": "server_error"}, timeout=20
        ).raise_for_status()
        requests.post(f"{simulator.url}/_simulator/reset", timeout=20).raise_for_status()
        for path in ("meta/lists", "faults", "meta/requests"):
            assert requests.get(f"{simulator.url}/_simulator/{path}", timeout=20).json() == []
        again = new_audience(simulator.url)
        upload(simulator.url, again, ["b"]).raise_for_status()
        assert held(simulator.url, again) == ["b"]


def test_the_server_listens_on_the_loopback_only_and_ends_with_its_parent(server: SimulatorServer) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    assert server.pid is not None
    listening = [
        each.laddr.ip for each in psutil.Process(server.pid).net_connections() if each.status == psutil.CONN_LISTEN
    ]
    assert listening == ["127.0.0.1"]
    other = SimulatorServer().start()
    assert other.pid is not None
    process = psutil.Process(other.pid)
    assert other._process is not None
    assert other._process.stdin is not None
    other._process.stdin.close()
    process.wait(10)
    other.kill()


def test_the_simulators_import_nothing_of_ours() -> None:
    room = Path(str(audience_syncs.simulators.__file__)).parent
    for file in sorted(room.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            ours = [name for name in names if name.startswith("audience_syncs")]
            assert all(name.startswith("audience_syncs.simulators") for name in ours), f"{file.name}: {ours}"
