"""`alerts`, `alerts test`, `mute` and `unmute`: which syncs are in trouble, and who is told of it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from audience_syncs.cli.local import environment
from audience_syncs.cli.show import print_json, print_table, when
from audience_syncs.cli.syncs import Json, SyncName, opened
from audience_syncs.model.config import sync_id
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.limits import Severity
from audience_syncs.model.schedules import duration
from audience_syncs.project import default_defs_dir, load_project

app = typer.Typer(help="Which syncs are in trouble, and what could not be said.", no_args_is_help=False)


@app.callback(invoke_without_command=True)
def show(context: typer.Context, json: Json = False) -> None:
    """Show the syncs that are in trouble or muted, since when and why, and the messages that could not be sent."""
    if context.invoked_subcommand is not None:
        return
    from audience_syncs.health.outbox import alert_from_row
    from audience_syncs.warehouse import open_warehouse
    from audience_syncs.warehouse.alerts import read_alerts, unsent_messages
    from audience_syncs.warehouse.state import State

    at = datetime.now(UTC)
    alerts, unsent = [], []
    with environment() as variables:
        project = load_project(default_defs_dir(), variables).require_sound()
        for source in project.sources.values():
            known = set(project.sync_ids(source.name))
            with open_warehouse(source, variables) as warehouse:
                if not State(warehouse).exists():
                    continue
                State(warehouse).prepare()
                with warehouse.connect() as connection:
                    alerts += [
                        alert_from_row(row) for row in read_alerts(connection, warehouse) if row["sync"] in known
                    ]
                    unsent += unsent_messages(connection, warehouse, since=at - timedelta(days=7))
    shown = [alert for alert in alerts if alert.severity is not Severity.OK or alert.is_muted(at)]
    shown.sort(key=lambda alert: (-alert.severity.rank, alert.sync))
    if json:
        waiting = [{"sync": w.message.sync, "channel": w.message.channel, "title": w.message.title, "attempts": w.attempts,
                    "next_attempt_at": w.next_attempt_at, "error": w.error} for w in unsent]  # fmt: skip
        rows = [{"sync": a.sync, "severity": a.severity.value, "since": a.since, "reasons": list(a.reasons),
                 "muted_until": a.muted_until if a.is_muted(at) else None} for a in shown]  # fmt: skip
        print_json({"alerts": rows, "messages_not_sent": waiting})
        return
    if not shown:
        typer.echo(
            "No alerts, as of the last look of the sensor sync_health. `audience-syncs status` shows the syncs as they are now."
        )
    else:
        print_table(
            "Alerts",
            ("Sync", "Severity", "Since", "Reasons", "Muted until"),
            [
                (
                    alert.sync,
                    alert.severity.value,
                    when(alert.since) if alert.since else "",
                    "\n".join(reason.text.partition("\n")[0] for reason in alert.reasons),
                    f"{alert.muted_until:%Y-%m-%d %H:%M} ({alert.muted_by})" if alert.is_muted(at) else "",
                )
                for alert in shown
            ],
        )
    for waiting_message in unsent:
        again = waiting_message.next_attempt_at
        next_ = f"next attempt {again.astimezone(UTC):%H:%M} UTC" if again else "given up"
        message = waiting_message.message
        typer.echo(f"Not sent to {message.channel}: {message.title} ({next_}): {waiting_message.error}")


@app.command("test")
def try_channels(
    channel: Annotated[str | None, typer.Argument(help="Name of a channel; default: all of them.")] = None,
    json: Json = False,
) -> None:
    """Send a test message through a channel, or through all, and say what happened."""
    from audience_syncs.health.channels import send

    with environment() as variables:
        channels = load_project(default_defs_dir(), variables).require_sound().alerts.channels
        if not channels:
            raise DefinitionError(
                "no channel is defined",
                remedy="write a defs.yaml with `type: audience_syncs.components.Alerts` and its `channels`",
            )
        if channel is not None and channel not in channels:
            raise DefinitionError(f"there is no channel {channel!r}", remedy=f"one of: {', '.join(sorted(channels))}")
        body = "This is a test of Audience Syncs: messages about syncs in trouble come here. Nothing is wrong."
        errors = {
            name: send(config, "Test of Audience Syncs", body, variables)
            for name, config in channels.items()
            if channel in (None, name)
        }
    if json:
        print_json([{"channel": name, "sent": not error, "error": error} for name, error in errors.items()])
    else:
        for name, error in errors.items():
            typer.echo(f"{name}: {error or 'sent'}")
    raise typer.Exit(1 if any(errors.values()) else 0)


def mute(
    sync: SyncName,
    for_: Annotated[str, typer.Option("--for", help="How long: `2 hours`, `3 days`.")],
    reason: Annotated[str, typer.Option(help="Why; shown to others.")] = "",
    json: Json = False,
) -> None:
    """Tell nobody of a sync for a while. What is wrong at its end is said then."""
    at = datetime.now(UTC)
    try:
        until = at + duration(for_)
    except (ValueError, OverflowError) as error:
        raise DefinitionError(str(error), where="--for", remedy="write e.g. --for '2 days'") from None
    by = f"{getpass.getuser()}{f': {reason}' if reason else ''}"
    name = _mute(sync, until, by, at)
    if json:
        print_json({"sync": name, "muted_until": until, "muted_by": by})
    else:
        typer.echo(f"{name} is muted until {until:%Y-%m-%d %H:%M} UTC.")


def unmute(sync: SyncName, json: Json = False) -> None:
    """Tell people of a sync again; what is wrong is said with the next tick of the sensor."""
    name = _mute(sync, None, "", datetime.now(UTC))
    if json:
        print_json({"sync": name, "muted_until": None})
    else:
        typer.echo(f"{name} is not muted.")


def _mute(name: str, until: datetime | None, by: str, at: datetime) -> str:
    with opened(name) as (_, audience, config, warehouse, _variables):
        from audience_syncs.health import outbox
        from audience_syncs.warehouse.state import State

        State(warehouse).prepare()
        return outbox.mute(warehouse, sync_id(audience, config), until, by, at=at).sync
