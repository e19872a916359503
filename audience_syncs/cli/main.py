"""The command `audience-syncs`: every verb in one place. The work is in the modules beside this one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from audience_syncs.cli import (
    alerts,
    columns,
    configuration,
    corrections,
    demo,
    destinations,
    imports,
    metrics,
    new,
    orphans,
    size,
    splits,
    sql,
    suggest,
    switch,
    syncs,
)
from audience_syncs.model.errors import AudienceSyncsError

app = typer.Typer(
    help="Audiences from your warehouse, kept in step with the tools where marketers use them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("check")(syncs.check)
app.command("columns")(columns.columns)
app.command("list")(syncs.list_)
app.command("destinations")(destinations.destinations)
app.command("suggest")(suggest.suggest)
app.command("status")(syncs.status)
app.command("show")(configuration.show)
app.command("sql")(sql.sql)
app.command("size")(size.size)
app.command("splits")(splits.splits)
app.command("lift")(splits.lift)
app.command("plan")(syncs.plan)
app.command("run")(syncs.run)
app.command("runs")(corrections.runs)
app.command("approve")(corrections.approve)
app.command("retry")(corrections.retry)
app.command("resync")(corrections.resync)
app.command("undo")(corrections.undo)
app.command("forget")(corrections.forget)
app.command("audit")(corrections.audit)
app.command("metrics")(metrics.metrics)
app.command("end-orphaned-runs")(orphans.end_orphaned_runs)
app.command("pause")(switch.pause)
app.command("resume")(switch.resume)
app.command("mute")(alerts.mute)
app.command("unmute")(alerts.unmute)
app.add_typer(new.app, name="new")
app.add_typer(imports.app, name="import")
app.add_typer(alerts.app, name="alerts")
app.add_typer(demo.app, name="demo")


@app.command()
def simulators(
    port: Annotated[int, typer.Option(help="Port on the loopback interface.")] = 8765,
    state_dir: Annotated[Path | None, typer.Option(help="Where to keep their state; default: nowhere.")] = None,
) -> None:
    """Serve the platform simulators until interrupted."""
    from audience_syncs.simulators.server import serve

    serve(port=port, state_dir=state_dir)


def main() -> None:
    """Runs the command; an error of ours is a message, not a traceback."""
    try:
        app()
    except AudienceSyncsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
