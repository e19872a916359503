"""What ``deploy/`` describes, run without containers: code location, both webservers, the proxy, and the warehouse's roles."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa
import yaml

from audience_syncs.health.metrics import read
from audience_syncs.model.config import AudienceConfig, SourceConfig
from audience_syncs.model.errors import SourceError
from audience_syncs.project import Project
from audience_syncs.warehouse import open_warehouse_at
from audience_syncs.warehouse.state import State
from audience_syncs_tests.sync_bench import Bench, email_hash

ROOT = Path(__file__).absolute().parent.parent
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "docker/compose.yaml").read_text())["services"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        try:
            if requests.get(url, timeout=5, verify=False).status_code < 500:
                return
        except requests.ConnectionError:
            time.sleep(0.2)
    raise AssertionError(log.read_text()[-4000:])


class Deployment:
    """The services of the Compose file as processes on this machine, with ports of their own."""

    def __init__(self, folder: Path, pg_url: str) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in ("code", "webserver", "webserver_read_only")}
        workspace = yaml.safe_load((DEPLOY / "docker/workspace.yaml").read_text())
        workspace["load_from"][0]["grpc_server"] |= {"host": "127.0.0.1", "port": self.ports["code"]}
        (folder / "workspace.yaml").write_text(yaml.safe_dump(workspace))
        (folder / "home").mkdir()
        shutil.copy(ROOT / "dagster.yaml", folder / "home")
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith(("AUDIENCE_SYNCS_", "DAGSTER"))
        }
        self.environment = {
            **clean,
            "DAGSTER_HOME": str(folder / "home"),
            "AUDIENCE_SYNCS_PG_URL": pg_url,
            "PATH": path,
        }
        self.processes: list[subprocess.Popen[bytes]] = []

    def url(self, service: str) -> str:
        return f"http://127.0.0.1:{self.ports[service]}"

    def start(self, service: str, port_in_file: str) -> None:
        """The service's own command, on loopback and its own port."""
        here = {"0.0.0.0": "127.0.0.1", port_in_file: str(self.ports[service])}
        command = [
            " ".join(here.get(word, word) for word in part.split(" ")) if " " in part else here.get(part, part)
            for part in SERVICES[service]["command"]
        ]
        assert str(self.ports[service]) in " ".join(command)
        with (self.folder / f"{service}.log").open("wb") as log:
            self.processes.append(
                subprocess.Popen(
                    command, cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
                )
            )

    def is_healthy(self, service: str, port_in_file: str) -> bool:
        """By the service's own health check."""
        test = [
            str(self.ports[service]) if word == port_in_file else word
            for word in SERVICES[service]["healthcheck"]["test"][1:]
        ]
        test = [word.replace(f":{port_in_file}/", f":{self.ports[service]}/") for word in test]
        return subprocess.run(test, env=self.environment, capture_output=True, timeout=60, check=False).returncode == 0

    def stop(self) -> None:
        for process in reversed(self.processes):
            os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory, postgres_url: str) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path_factory.mktemp("deployed"), postgres_url)
    try:
        deployment.start("code", "4000")
        deadline = time.monotonic() + 90
        while not deployment.is_healthy("code", "4000"):
            assert time.monotonic() < deadline, (deployment.folder / "code.log").read_text()[-4000:]
        for service in ("webserver", "webserver_read_only"):
            deployment.start(service, "3000")
        for service in ("webserver", "webserver_read_only"):
            wait_for(f"{deployment.url(service)}/server_info", deployment.folder / f"{service}.log")
        yield deployment
    finally:
        deployment.stop()


def ask(url: str, query: str, **more: Any) -> Any:
    answer = requests.post(f"{url}/graphql", json={"query": query}, timeout=60, **more)
    assert answer.status_code == 200, answer.status_code
    return answer.json()["data"]


PERMISSIONS = (
    "{ workspaceOrError { ... on Workspace { locationEntries { name loadStatus permissions { permission value } "
    "locationOrLoadError { __typename } } } } permissions { permission value } }"
)


def test_both_webservers_show_the_code_location_and_only_one_changes_anything(deployment: Deployment) -> None:
    may = {}
    for service in ("webserver", "webserver_read_only"):
        assert deployment.is_healthy(service, "3000")
        found = ask(deployment.url(service), PERMISSIONS)
        (entry,) = found["workspaceOrError"]["locationEntries"]
        assert (entry["name"], entry["locationOrLoadError"]["__typename"]) == ("audience_syncs", "RepositoryLocation")
        may[service] = {row["permission"] for row in [*found["permissions"], *entry["permissions"]] if row["value"]}
    assert {"launch_pipeline_execution", "start_schedule", "edit_sensor"} <= may["webserver"]
    assert may["webserver_read_only"] == set()


def test_the_read_only_webserver_refuses_a_run(deployment: Deployment) -> None:
    launch = (
        'mutation { launchRun(executionParams: {selector: {repositoryName: "__repository__", repositoryLocationName: '
        '"audience_syncs", pipelineName: "sync__cart_abandoners__meta_ads"}}) { __typename } }'
    )
    answer = ask(deployment.url("webserver_read_only"), launch)
    assert answer["launchRun"]["__typename"] == "UnauthorizedError"
    runs = ask(deployment.url("webserver"), "{ runsOrError { ... on Runs { results { id } } } }")
    assert runs["runsOrError"]["results"] == []


@pytest.fixture
def proxy(deployment: Deployment, tmp_path: Path) -> Iterator[dict[str, str]]:
    """nginx with our file; answers the address of each door."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("nginx or openssl is not installed: `apt-get install nginx-light openssl`")
    # The workers read the files of passwords; as root, nginx would give them to somebody who may not.
    who = "user root;" if os.getuid() == 0 else ""
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-keyout", str(tmp_path / "tls_key"), "-out", str(tmp_path / "tls_certificate")],
        check=True, capture_output=True,
    )  # fmt: skip
    (tmp_path / "engineers").write_text("eve:{PLAIN}e-word\n")
    (tmp_path / "marketers").write_text("max:{PLAIN}m-word\n")
    doors = {"8443": free_port(), "8444": free_port()}
    text = (DEPLOY / "docker/proxy.conf").read_text().replace("/run/secrets/", f"{tmp_path}/")
    for inside, outside in doors.items():
        text = text.replace(f"listen {inside} ", f"listen 127.0.0.1:{outside} ")
    for service in ("webserver_read_only", "webserver"):
        text = text.replace(f"{service}:3000", f"127.0.0.1:{deployment.ports[service]}")
    (tmp_path / "proxy.conf").write_text(text)
    paths = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"{who} daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}} "
        f"http {{ access_log off; {paths} include {tmp_path}/proxy.conf; }}"
    )
    process = subprocess.Popen([nginx, "-e", f"{tmp_path}/error.log", "-c", str(tmp_path / "nginx.conf")])
    try:
        for port in doors.values():
            wait_for(f"https://127.0.0.1:{port}/", tmp_path / "error.log")
        yield {inside: f"https://127.0.0.1:{outside}" for inside, outside in doors.items()}
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_the_proxy_asks_who_you_are_and_lets_each_through_their_own_door(proxy: dict[str, str]) -> None:
    eve, max_ = ("eve", "e-word"), ("max", "m-word")
    for door in proxy.values():
        for nobody in (None, ("eve", "m-word"), ("", "")):
            for path in ("/server_info", "/graphql", "/"):
                assert requests.get(f"{door}{path}", auth=nobody, timeout=20, verify=False).status_code == 401
    assert requests.get(f"{proxy['8443']}/server_info", auth=max_, timeout=20, verify=False).status_code == 401
    assert requests.get(f"{proxy['8444']}/server_info", auth=eve, timeout=20, verify=False).status_code == 401
    may = {
        door: {
            row["permission"]
            for row in ask(proxy[door], PERMISSIONS, auth=who, verify=False)["permissions"]
            if row["value"]
        }
        for door, who in (("8443", eve), ("8444", max_))
    }
    assert may["8443"]
    assert not may["8444"]


# --- the warehouse's roles -------------------------------------------------------------------------------------------


def execute(url: str, statement: str) -> None:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    engine.dispose()


ROLES = ("audience_syncs_monitoring", "audience_syncs")


@pytest.fixture
def granted(fresh_postgres_url: str) -> Iterator[dict[str, str]]:
    """A warehouse with somebody's tables, where ``runs.sql`` was run; answers the address for each role."""
    execute(fresh_postgres_url, "CREATE SCHEMA shop; CREATE SCHEMA hr; CREATE TABLE hr.salaries (id text)")
    # Nobody may do anything that was not granted, as where administrators are careful.
    database = sa.make_url(fresh_postgres_url).database
    execute(
        fresh_postgres_url, f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC'
    )
    execute(fresh_postgres_url, (DEPLOY / "sql/runs.sql").read_text())
    url = sa.make_url(fresh_postgres_url)
    yield {
        "administrator": fresh_postgres_url,
        **{role: url.set(username=role).render_as_string(hide_password=False) for role in ROLES},
    }
    # Roles belong to the whole server, which the other tests use as well.
    for role in ROLES:
        drop = f"EXECUTE 'DROP OWNED BY {role} CASCADE'; EXECUTE 'DROP ROLE {role}';"
        execute(
            fresh_postgres_url,
            f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN {drop} END IF; END $$",
        )


class GrantedBench(Bench):
    """The bench, with the people in a table that an administrator made after the grants."""

    def __init__(self, url: str, administrator: str) -> None:
        execute(administrator, "CREATE TABLE shop.people (id text, email text, phone text, first_name text)")
        self.administrator = administrator
        super().__init__(url)
        self.sql = "SELECT id, email, phone, first_name FROM shop.people"

    def execute(self, statement: str) -> None:
        if not statement.startswith("CREATE TABLE people"):
            execute(self.administrator, statement)


def test_a_sync_runs_with_the_grants_of_runs_sql_and_can_do_nothing_else(granted: dict[str, str]) -> None:
    bench = GrantedBench(granted["audience_syncs"], granted["administrator"])
    bench.execute("INSERT INTO shop.people VALUES ('1', 'a@example.com'), ('2', 'b@example.com')")
    assert bench.run().added == 2
    bench.execute("DELETE FROM shop.people WHERE id = '1'; INSERT INTO shop.people VALUES ('3', 'c@example.com')")
    report = bench.run()
    assert (report.added, report.removed) == (1, 1)
    assert bench.list.emails() == {email_hash("b@example.com"), email_hash("c@example.com")}
    bench.warehouse.close()
    for forbidden in (
        "DELETE FROM shop.people",
        "SELECT * FROM hr.salaries",
        "CREATE TABLE shop.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "CREATE SCHEMA mine",
    ):
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            execute(granted["audience_syncs"], forbidden)


def test_without_a_schema_of_its_own_the_error_says_what_to_grant(granted: dict[str, str]) -> None:
    execute(granted["administrator"], "DROP SCHEMA audience_syncs")
    with open_warehouse_at(granted["audience_syncs"]) as warehouse, pytest.raises(SourceError) as refused:
        State(warehouse).prepare()
    assert "CREATE SCHEMA audience_syncs AUTHORIZATION" in str(refused.value)


def test_the_monitoring_role_reads_metrics_and_sees_no_people(granted: dict[str, str]) -> None:
    bench = GrantedBench(granted["audience_syncs"], granted["administrator"])
    bench.execute("INSERT INTO shop.people VALUES ('1', 'a@example.com')")
    bench.run()
    bench.warehouse.close()
    execute(granted["administrator"], (DEPLOY / "sql/monitoring.sql").read_text())
    people = AudienceConfig(name="people", source="shop", sql="SELECT 1", primary_key="id", syncs=[bench.sync])
    source = SourceConfig.model_validate({"name": "shop", "url": {"env": "SHOP_URL"}})
    project = Project(sources={"shop": source}, audiences={"people": people})
    reading = read(project, {"SHOP_URL": granted["audience_syncs_monitoring"]}, dict)
    assert reading.errors == ()
    (sync,) = reading.syncs
    assert sync.good is not None
    assert sync.good.accepted == 1
    tables = ("ledger", "membership", "plan", "rejections", "snapshots", "snapshot_1", "verdicts")
    for table in tables:
        with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
            execute(granted["audience_syncs_monitoring"], f"SELECT * FROM audience_syncs.{table}")
    with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
        execute(granted["audience_syncs_monitoring"], "DELETE FROM audience_syncs.sync_runs")
