"""People are told when a sync gets into trouble and when it is over: once each, through their channels, and nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import requests
import sqlalchemy as sa
from typer.testing import CliRunner

from audience_syncs.cli.main import app
from audience_syncs.components.loading import load_definitions
from audience_syncs.health.alerts import Alert, Facts, Reason, Rule, Told, next_alert, reasons_of
from audience_syncs.health.channels import send
from audience_syncs.health.match_rate import MatchRate
from audience_syncs.health.outbox import GIVE_UP_AFTER, send_messages, watch_alerts
from audience_syncs.health.status import sync_statuses
from audience_syncs.model.alerts import ChannelConfig
from audience_syncs.model.limits import LimitsConfig, Severity
from audience_syncs.model.names import Secret
from audience_syncs.model.reach import FieldReach, Reach
from audience_syncs.model.values import RunStatus, SyncRun
from audience_syncs.project import Project, load_project
from audience_syncs.simulators import SimulatorServer
from audience_syncs.warehouse import Warehouse, open_warehouse_at
from audience_syncs.warehouse.state import State
from audience_syncs_tests.test_health import HOURLY, LONG_AGO, NOW, observed, project, run, tick
from audience_syncs_tests.test_project import AUDIENCE, destination_yaml, sound, write
from audience_syncs_tests.webhook import Webhook

ALERTS = """\
type: audience_syncs.components.Alerts
attributes:
  channels:
    crm_team: {url: {env: CRM_TEAM_URL}}
    on_call: {url: {env: ON_CALL_URL}, minimum: critical}
  limits:
    removals: {warning: 100}
"""
MINUTE = timedelta(minutes=1)


# --- what is wrong ---------------------------------------------------------------------------------------------------


def reasons(limits: dict[str, Any], last: SyncRun | None, before: tuple[Reason, ...] = (), **facts: Any) -> list[str]:
    (status,) = sync_statuses(project(HOURLY), {"people/ads": last} if last else {}, now=NOW)
    known = Facts(status, last, facts.get("size_before"), facts.get("rate"))
    found = reasons_of(LimitsConfig.model_validate(limits), known, before, NOW)
    return [f"{reason.severity}: {reason.rule}: {reason.text}" for reason in found]


FAILED = run(RunStatus.FAILED, error="[ACCESS_REFUSED] the token was revoked")
REJECTING = run(in_audience=1000, rejected=120)


@pytest.mark.parametrize(
    ("limits", "last", "facts", "expected"),
    [
        ({}, None, {}, []),
        ({}, run(), {}, []),
        ({}, FAILED, {}, ["critical: failed: the last run failed: [ACCESS_REFUSED] the token was revoked"]),
        ({"failed": "warning"}, FAILED, {}, ["warning: failed: the last run failed: [ACCESS_REFUSED] the token was revoked"]),
        ({"failed": "ok"}, FAILED, {}, []),
        ({}, run(RunStatus.INTERRUPTED), {},
         ["critical: failed: the last run failed: the run's process died; the next run goes on from there"]),
        ({}, run(RunStatus.BLOCKED, error="80,331 to remove"), {},
         ["critical: blocked: the guard stopped the plan, nothing was sent: 80,331 to remove"]),
        ({}, REJECTING, {}, ["critical: rejected_percent: 120 of 1,000 members are rejected: 12.0 % (limit 10 %)"]),
        ({"rejected": {"warning": 119}, "rejected_percent": {}}, REJECTING, {},
         ["warning: rejected: 120 of 1,000 members are rejected (limit 119)"]),
        # On the limit is within it.
        ({"rejected": {"warning": 120}, "rejected_percent": {}}, REJECTING, {}, []),
        ({"removals": {"critical": 10}}, run(removed=11), {},
         ["critical: removals: 11 members were removed in one run (limit 10)"]),
        ({}, run(in_audience=400), {"size_before": 1000},
         ["warning: audience_change_percent: the audience went from 1,000 to 400 members: -60.0 % (limit 50 %)"]),
        ({}, run(in_audience=1600), {"size_before": 1000},
         ["warning: audience_change_percent: the audience went from 1,000 to 1,600 members: +60.0 % (limit 50 %)"]),
        ({}, run(reach=Reach(100, 6, [FieldReach("EMAIL", True, 6, {})])), {},
         ["warning: unreachable_percent: 6 of 100 members have no usable identifier: 6.0 % (limit 5 %)"]),
        ({}, run(reach=Reach(100, 0, [FieldReach("EMAIL", True, 90, {"TOO_LONG": 5}), FieldReach("FN", False, 0, {"A": 80})])), {},
         ["warning: refused_percent: 50.0 % of the values of EMAIL are refused (limit 10 %)"]),
        # Three people instead of one are no event.
        ({}, run(in_audience=3), {"size_before": 1}, []),
        ({}, run(in_audience=3000), {"size_before": 0}, []),
        ({}, run(), {"rate": MatchRate(30.0, 60.0)},
         ["warning: match_rate_drop_percent: the match rate is 30 %, usual is 60 %: 50 % lower (limit 20 %)"]),
        ({}, run(), {"rate": MatchRate(30.0, None)}, []),
        ({"duration_minutes": {"warning": 60}}, run(RunStatus.RUNNING, LONG_AGO, finished_at=None), {},
         ["warning: duration_minutes: the run has been going on for 180 minutes (limit 60 minutes)"]),
        ({"duration_minutes": {"warning": 5}}, run(finished_at=NOW + 6 * MINUTE), {},
         ["warning: duration_minutes: the run took 6 minutes (limit 5 minutes)"]),
        ({}, run(started=LONG_AGO), {},
         ["warning: late_minutes: a run was due at 2026-11-24 12:00 UTC and has not begun (limit 0 minutes)"]),
        ({"late_minutes": {"critical": 20}}, run(started=LONG_AGO), {},
         ["critical: late_minutes: a run was due at 2026-11-24 12:00 UTC and has not begun (limit 20 minutes)"]),
    ],
)  # fmt: skip
def test_every_rule_names_its_figures_and_its_limit(
    limits: dict[str, Any], last: SyncRun | None, facts: dict[str, Any], expected: list[str]
) -> None:
    assert reasons(limits, last, **facts) == expected


BROKEN = Reason(Rule.FAILED, Severity.CRITICAL, "it failed")
REJECTED = Reason(Rule.REJECTED_PERCENT, Severity.WARNING, "some are rejected")
DROPPED = Reason(Rule.MATCH_RATE_DROP_PERCENT, Severity.WARNING, "it dropped")


@pytest.mark.parametrize(
    ("last", "before", "stays"),
    [
        # A run that is under way, or was cancelled, has not said anything yet.
        (run(RunStatus.RUNNING), (BROKEN, REJECTED), ["failed", "rejected_percent"]),
        (run(RunStatus.CANCELLED), (BROKEN,), ["failed"]),
        # A failed run leaves the list as it was.
        (FAILED, (REJECTED,), ["failed", "rejected_percent"]),
        (run(), (BROKEN, REJECTED), []),
        # Only the platform can say that it matches more again.
        (run(), (DROPPED,), ["match_rate_drop_percent"]),
    ],
)
def test_what_is_wrong_stays_until_something_says_otherwise(
    last: SyncRun, before: tuple[Reason, ...], stays: list[str]
) -> None:
    assert [line.split(": ")[1] for line in reasons({}, last, before)] == stays


# --- when people are told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "remind", "told"),
    [
        ([(), (BROKEN,), (BROKEN,), (BROKEN,), (), ()], None, ["raised", "recovered"]),
        ([(REJECTED,), (BROKEN,), (REJECTED,), ()], None, ["raised", "raised", "eased", "recovered"]),
        (
            [(REJECTED,), (REJECTED, DROPPED), (REJECTED, DROPPED), (DROPPED,), (REJECTED, DROPPED)],
            None,
            ["raised", "also"],
        ),
        ([(BROKEN,)] * 5, "2 hours", ["raised", "reminder", "reminder"]),
        # It flaps: each change is told once, and never a state that people know.
        ([(BROKEN,), (), (BROKEN,), ()], None, ["raised", "recovered", "raised", "recovered"]),
    ],
)
def test_people_are_told_of_changes_and_not_of_runs(
    steps: list[tuple[Reason, ...]], remind: str | None, told: list[str]
) -> None:
    alert, found = Alert("people/ads"), []
    for hour, what in enumerate(steps):
        alert, why = next_alert(alert, what, NOW + timedelta(hours=hour), remind)
        found += [why.value] if why else []
    assert found == told


def test_what_happens_while_a_sync_is_muted_is_said_at_the_end_of_the_muting_if_it_still_holds() -> None:
    muted = Alert("people/ads", muted_until=NOW + timedelta(hours=2), muted_by="ann")
    alert, why = next_alert(muted, [BROKEN], NOW)
    assert (why, alert.severity, alert.since) == (None, Severity.CRITICAL, NOW)
    assert next_alert(alert, [], NOW + timedelta(hours=3))[1] is None, "over before the muting was"
    alert, why = next_alert(alert, [BROKEN], NOW + timedelta(hours=3))
    assert (why, alert.muted_until, alert.muted_by) == (Told.RAISED, None, "")
    assert next_alert(alert, [BROKEN], NOW + timedelta(hours=4))[1] is None
    known = replace(alert, muted_until=NOW + timedelta(hours=5))
    assert next_alert(known, [], NOW + timedelta(hours=4))[1] is None
    assert next_alert(known, [BROKEN], NOW + timedelta(hours=6))[1] is Told.REMINDER
    assert (
        next_alert(next_alert(known, [], NOW + timedelta(hours=4))[0], [], NOW + timedelta(hours=6))[1]
        is Told.RECOVERED
    )


# --- who is told -----------------------------------------------------------------------------------------------------


def test_limits_and_channels_are_inherited_from_the_audience_the_destination_and_the_project(tmp_path: Path) -> None:
    meta = (
        destination_yaml() + "  notify: {remind_every: 1 day}\n  limits: {removals: {warning: 50}, failed: warning}\n"
    )
    carts = AUDIENCE.replace(
        "  syncs:\n", "  limits: {rejected: {critical: 7}}\n  notify: {channels: [on_call]}\n  syncs:\n"
    )
    second = (
        carts
        + "    - destination: meta_ads\n      name: other\n      list: {name: other}\n      mapping: {EMAIL: email}\n"
    )
    second += "      limits: {failed: critical}\n      notify: {channels: []}\n"
    found = load_project(sound(tmp_path, alerts=ALERTS, meta_ads=meta, carts=second), environ={}).require_sound()
    first, other = (found.audiences["carts"].sync(name) for name in ("meta_ads", "other"))
    assert (first.limits.removals.warning, first.limits.failed, first.limits.rejected.critical) == (
        50,
        Severity.WARNING,
        7,
    )
    assert (first.notify.channels, first.notify.remind_every) == (["on_call"], "1 day")
    assert (other.limits.removals.warning, other.limits.failed, other.limits.rejected.critical) == (
        50,
        Severity.CRITICAL,
        7,
    )
    assert (other.notify.channels, other.notify.remind_every) == ([], "1 day")


@pytest.mark.parametrize(
    ("files", "message", "remedy"),
    [
        (
            {"carts": AUDIENCE + "      notify: {channels: [crm_teem]}\n"},
            "there is no channel `crm_teem`",
            "did you mean `crm_team`",
        ),
        ({"alerts": ALERTS.replace("{env: CRM_TEAM_URL}", "slack://token")}, "", "{env: NAME_OF_VARIABLE}"),
        ({"alerts": ALERTS.replace("minimum: critical", "minimum: ok")}, "", "write `warning` or `critical`"),
        ({"alerts": ALERTS.replace("removals:", "removal:")}, "unknown key `removal`", "did you mean `removals`"),
        ({"alerts": ALERTS.replace("{warning: 100}", "{warning: 100, critical: 1}")}, "", ""),
        ({"again": ALERTS}, "the project's alerts are defined twice", "put everything into one"),
    ],
)
def test_mistakes_in_alerts_are_shown_where_they_stand(
    tmp_path: Path, files: dict[str, str], message: str, remedy: str
) -> None:
    problems = load_project(sound(tmp_path, **({"alerts": ALERTS} | files)), environ={}).problems
    assert len(problems) == 1, problems
    shown = f"{problems[0].message} {problems[0].remedy}"
    assert message in shown
    assert remedy in shown
    assert problems[0].line > 1 or "twice" in message


# --- through a real webhook ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def simulators() -> Iterator[SimulatorServer]:
    with SimulatorServer() as server:
        yield server


@pytest.fixture
def chat() -> Iterator[Webhook]:
    with Webhook() as webhook:
        yield webhook


@pytest.fixture
def defs_dir(
    tmp_path: Path, fresh_postgres_url: str, simulators: SimulatorServer, chat: Webhook, monkeypatch: pytest.MonkeyPatch
) -> Path:
    engine = sa.create_engine(fresh_postgres_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE customers (customer_id int, email text)")
        connection.exec_driver_sql("INSERT INTO customers VALUES (1, 'ann@example.com'), (2, 'bo@example.com')")
    engine.dispose()
    requests.post(f"{simulators.url}/_simulator/reset", timeout=20)
    for name, value in {
        "META_BASE_URL": f"{simulators.url}/meta",
        "META_ADS_ACCESS_TOKEN": "a-token",
        "SHOP_URL": fresh_postgres_url,
        "CRM_TEAM_URL": chat.url,
        "ON_CALL_URL": chat.url + "?+x-who=on-call",
        "AUDIENCE_SYNCS_DEFS": str(tmp_path / "defs"),
        "AUDIENCE_SYNCS_DAGSTER_URL": "https://dagster.example.com/",
    }.items():
        monkeypatch.setenv(name, value)
    meta = destination_yaml().replace("settings:\n", "settings:\n    base_url_env: META_BASE_URL\n")
    return sound(
        tmp_path / "defs",
        carts=AUDIENCE,
        meta_ads=meta,
        alerts=ALERTS.replace("    on_call: {url: {env: ON_CALL_URL}, minimum: critical}\n", ""),
    )


def test_a_failure_is_said_once_with_audience_destination_figures_reason_and_link_and_so_is_its_end(
    defs_dir: Path, fresh_postgres_url: str, chat: Webhook, simulators: SimulatorServer
) -> None:
    definitions = load_definitions(defs_dir)
    job = definitions.resolve_job_def("sync__carts__meta_ads")
    with dg.instance_for_test() as instance:
        assert job.execute_in_process(instance=instance).success
        cursor = tick(definitions, instance, None).cursor
        assert chat.take() == []
        fault = {"platform": "meta", "kind": "forbidden", "operation": "users.add"}
        requests.post(f"{simulators.url}/_simulator/faults", json=fault, timeout=20).raise_for_status()
        engine = sa.create_engine(fresh_postgres_url)
        with engine.begin() as connection:
            connection.exec_driver_sql("INSERT INTO customers VALUES (3, 'cy@example.com')")
        engine.dispose()
        failed = job.execute_in_process(instance=instance, raise_on_error=False)
        assert not failed.success
        first = tick(definitions, instance, cursor)
        (message,) = chat.take()
        assert message.title == "CRITICAL: Verlassene Körbe 🛒 to meta_ads: failed"
        assert "critical: the last run failed: [ACCESS_REFUSED]" in message.body
        assert "in audience 3, accepted 2, rejected 0" in message.body
        assert f"Run: https://dagster.example.com/runs/{failed.run_id}" in message.body
        assert "In Dagster: https://dagster.example.com/assets/syncs/carts/meta_ads" in message.body
        for personal in ("ann@", "bo@", 'example.com"', "a-token"):
            assert personal not in message.body
        assert observed(first)["syncs_overview"]["alerts"] == "1 critical"
        assert not job.execute_in_process(instance=instance, raise_on_error=False).success
        second = tick(definitions, instance, first.cursor)
        assert chat.take() == [], "it is known"
        requests.delete(f"{simulators.url}/_simulator/faults", timeout=20)
        assert job.execute_in_process(instance=instance).success
        third = tick(definitions, instance, second.cursor)
        (message,) = chat.take()
        assert message.title == "OK: Verlassene Körbe 🛒 to meta_ads"
        assert "is all right again after 1 minute" in message.body
        assert observed(third)["syncs_overview"]["alerts"] == "none"
        assert not tick(definitions, instance, third.cursor).asset_events
        assert chat.take() == []


@pytest.fixture
def trouble(defs_dir: Path, fresh_postgres_url: str) -> Iterator[tuple[Project, Warehouse]]:
    """A project whose only sync has failed, and nobody has been told yet."""
    found = load_project(defs_dir).require_sound()
    with open_warehouse_at(fresh_postgres_url) as warehouse:
        State(warehouse).prepare()
        yield found, warehouse


def watch(trouble: tuple[Project, Warehouse], last: SyncRun, at: datetime = NOW) -> None:
    found, warehouse = trouble
    last = replace(last, sync="carts/meta_ads")
    runs = {"carts/meta_ads": last}
    watch_alerts(found, warehouse, sync_statuses(found, runs, now=at), runs, {}, at=at)


def test_a_message_that_cannot_be_sent_waits_is_visible_is_tried_again_and_keeps_its_order(
    trouble: tuple[Project, Warehouse], chat: Webhook
) -> None:
    found, warehouse = trouble
    at = datetime.now(UTC)
    chat.answers = [500, 503]
    watch(trouble, replace(FAILED, started_at=at), at)
    (failure,) = send_messages(found, warehouse, clock=lambda: at)
    assert "a message about carts/meta_ads could not be sent to crm_team" in failure
    assert "500" in failure
    assert "secret-part-of-the-url" not in failure
    watch(trouble, run(started=at), at + MINUTE)
    assert send_messages(found, warehouse, clock=lambda: at + 0.5 * MINUTE) == [], "not before its time"
    shown = CliRunner().invoke(app, ["alerts"]).output
    assert chat.take() == []
    assert "Not sent to crm_team: CRITICAL: Verlassene Körbe" in shown
    assert "No alerts, as of the last look" in shown
    assert len(send_messages(found, warehouse, clock=lambda: at + 2 * MINUTE)) == 1
    assert send_messages(found, warehouse, clock=lambda: at + 10 * MINUTE) == []
    assert [message.title.partition(":")[0] for message in chat.take()] == ["CRITICAL", "OK"]
    assert "Not sent" not in CliRunner().invoke(app, ["alerts"]).output


def test_a_message_that_never_arrives_is_given_up_and_stays_visible(
    trouble: tuple[Project, Warehouse], chat: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, warehouse = trouble
    at = datetime.now(UTC)
    watch(trouble, replace(FAILED, started_at=at), at)
    monkeypatch.delenv("CRM_TEAM_URL")
    (failure,) = send_messages(found, warehouse, clock=lambda: at)
    assert "the environment variable CRM_TEAM_URL is not set" in failure
    (failure,) = send_messages(found, warehouse, clock=lambda: at + GIVE_UP_AFTER)
    assert "given up" in failure
    assert send_messages(found, warehouse, clock=lambda: at + 2 * GIVE_UP_AFTER) == []
    answer = CliRunner().invoke(app, ["alerts"]).output
    assert "given up" in answer


def test_two_watches_at_once_say_it_once(
    trouble: tuple[Project, Warehouse], fresh_postgres_url: str, chat: Webhook
) -> None:
    found, _ = trouble
    at = datetime.now(UTC)

    def both() -> None:
        with open_warehouse_at(fresh_postgres_url) as own:
            watch((found, own), replace(FAILED, started_at=at), at)
            send_messages(found, own, clock=lambda: at)

    threads = [threading.Thread(target=both) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [message.title for message in chat.take()] == ["CRITICAL: Verlassene Körbe 🛒 to meta_ads: failed"]


def test_muting_and_testing_from_the_terminal(
    trouble: tuple[Project, Warehouse], defs_dir: Path, chat: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, warehouse = trouble
    terminal = CliRunner()
    done = terminal.invoke(app, ["mute", "carts/meta_ads", "--for", "2 hours", "--reason", "token is being renewed"])
    assert done.exit_code == 0, done.output
    at = datetime.now(UTC)
    watch(trouble, replace(FAILED, started_at=at), at)
    assert send_messages(found, warehouse) == []
    assert chat.take() == []
    shown = terminal.invoke(app, ["alerts"], env={"COLUMNS": "250"}).output
    assert "token is being renewed" in shown
    assert "critical" in shown
    assert terminal.invoke(app, ["unmute", "carts/meta_ads"]).exit_code == 0
    watch(trouble, replace(FAILED, started_at=at), datetime.now(UTC))
    assert send_messages(found, warehouse) == []
    assert [message.title.partition(":")[0] for message in chat.take()] == ["CRITICAL"]
    wrong = terminal.invoke(app, ["mute", "carts/meta_ads", "--for", "soon"])
    assert "write e.g. --for '2 days'" in str(wrong.exception)
    tested = terminal.invoke(app, ["alerts", "test"])
    assert (tested.exit_code, tested.output.strip()) == (0, "crm_team: sent")
    assert [message.title for message in chat.take()] == ["Test of Audience Syncs"]
    chat.answers = [403]
    refused = terminal.invoke(app, ["alerts", "test", "crm_team"])
    assert refused.exit_code == 1
    assert "403" in refused.output
    unknown = terminal.invoke(app, ["alerts", "test", "crm"])
    assert "one of: crm_team" in str(unknown.exception)


def test_only_what_is_critical_goes_to_a_channel_that_asks_for_that(
    tmp_path: Path, fresh_postgres_url: str, defs_dir: Path, chat: Webhook
) -> None:
    write(defs_dir, alerts=ALERTS.replace("    crm_team: {url: {env: CRM_TEAM_URL}}\n", ""))
    found = load_project(defs_dir).require_sound()
    at = datetime.now(UTC)
    with open_warehouse_at(fresh_postgres_url) as warehouse:
        State(warehouse).prepare()
        for last in (
            run(started=at, removed=101),
            replace(FAILED, started_at=at),
            run(started=at, removed=101),
            run(started=at),
        ):
            watch((found, warehouse), last, at)
            send_messages(found, warehouse, clock=lambda: at)
    # The end of what was critical is said there, too; a warning's end is not.
    assert [message.title.partition(":")[0] for message in chat.take()] == ["CRITICAL", "WARNING"]


@pytest.mark.parametrize("url", ["", "nonsense", "nonsense://x", "json://127.0.0.1:1/token-abc", "slack://short"])
def test_a_channel_that_is_wrong_says_so_without_its_secret(url: str) -> None:
    channel = ChannelConfig(url=Secret(env="TEAM_URL"))
    error = send(channel, "title", "body", {"TEAM_URL": url})
    assert error
    assert "token-abc" not in error


def test_the_documentation_tells_the_limits_as_they_are_and_its_example_is_sound(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "alerts.md").read_text(encoding="utf-8")
    example = text.partition("```yaml\n")[2].partition("```")[0]
    assert load_project(sound(tmp_path, alerts=example), environ={}).problems == []
    rows = {cells[1].strip(" `"): cells for line in text.splitlines() if len(cells := line.split("|")) == 6}
    defaults = LimitsConfig()
    for name in LimitsConfig.model_fields:
        limit, told = getattr(defaults, name), rows[name][3].strip()
        levels = (
            {"critical": limit}
            if isinstance(limit, Severity)
            else {"warning": limit.warning, "critical": limit.critical}
        )
        written = [f"{level} {value:g}" for level, value in levels.items() if isinstance(value, float)]
        assert told == (limit.value if isinstance(limit, Severity) else ", ".join(written) or "none"), name
