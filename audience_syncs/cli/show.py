"""How answers look in a terminal: tables for people, JSON for machines, progress bars while it takes long."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime
from typing import Any

from audience_syncs.health.status import SyncStatus
from audience_syncs.model.values import Progress

STYLES = {
    "active": "green",
    "succeeded": "green",
    "warning": "yellow",
    "pending": "dim",
    "paused": "dim",
    "failed": "red",
    "blocked": "red",
}


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False, indent=2) + "\n")


def _plain(value: object) -> Any:
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table as wide as it needs; numbers to the right. Without a terminal it is never cut."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 220)
    table = Table(title=title, title_justify="left", header_style="bold")
    numeric = [any(isinstance(row[i], int) for row in rows) for i in range(len(columns))]
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def _cell(value: object) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "[red]no[/red]"
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    return f"[{STYLES[text]}]{text}[/]" if text in STYLES else text


def when(moment: datetime | None) -> str:
    """A time as people say it."""
    if moment is None:
        return "never"
    seconds = (datetime.now(UTC) - moment).total_seconds()
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def print_statuses(statuses: Sequence[SyncStatus]) -> None:
    """The Syncs table."""
    columns = (
        "Audience",
        "Destination",
        "Status",
        "Last run",
        "Frequency",
        "In audience",
        "Accepted",
        "Rejected",
        "Matched (approx.)",
        "Last updated",
        "Note",
    )
    print_table(
        "Syncs",
        columns,
        [
            (
                s.audience,
                s.sync.partition("/")[2],
                s.status.value,
                when(s.last_run),
                s.frequency,
                s.in_audience,
                s.accepted,
                s.rejected,
                s.matched or "not known yet",
                when(s.last_updated),
                s.note if len(s.note) < 60 else "see below",
            )
            for s in statuses
        ],
    )
    for s in statuses:
        if s.error:
            sys.stdout.write(f"\n{s.sync}: {s.error}\n")


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[Progress], None]]:
    """A bar on standard error that follows ``Progress``; where that is no terminal, nothing."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    with Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task(label, total=None)

        def follow(progress: Progress) -> None:
            bar.update(task, description=f"{label}: {progress.step}", completed=progress.done, total=progress.total)

        yield follow


def say(text: str) -> None:
    """A line for people, on standard error, so that standard output stays the answer."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
