"""What a change of definitions would do, as a page: a table in a terminal, markdown for a pull request, JSON for machines.

Only counts, names of definitions and words of errors are on it; nothing of a person.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audience_syncs.engine.review import Review

MARKER = "<!-- audience-syncs plan -->"
"""First line of the markdown: a bot finds its comment by it."""
MOST_ROWS = 100
MOST_DETAILS = 30
MOST_CHARACTERS = 60_000
"""A comment at GitHub holds 65,536."""

HOW_TO_EMPTY = "to empty it, put the sync back for one run with an audience of nobody (`WHERE false`) and `guard: {allow_empty: true}`"

COLUMNS = ("Sync", "In audience", "In the list", "Added", "Removed", "Updated", "Requests", "Takes", "Note")


@dataclass(frozen=True, slots=True)
class Row:
    """One sync of the page."""

    review: Review
    destination: str
    platform: str
    templates: tuple[str, ...] = ()
    is_new: bool = False
    """Whether there was no such sync at the revision that is compared with."""
    makes_list: bool = False
    """Whether its list is yet to be made."""

    @property
    def deserves_attention(self) -> bool:
        review = self.review
        blocked = review.plan is not None and review.plan.blocked is not None
        return review.failure is not None or blocked or review.changes or self.is_new


@dataclass(frozen=True, slots=True)
class Gone:
    """A sync that is not defined any more."""

    sync: str
    list_name: str = ""
    members: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """The answer to `plan --all`, `--template` and `--changed-since`."""

    scope: str
    """Which syncs are on it, in words."""
    rows: Sequence[Row]
    gone: Sequence[Gone] = ()
    remark: str = ""

    @property
    def failed(self) -> list[Row]:
        return [row for row in self.rows if row.review.failure is not None]

    @property
    def blocked(self) -> list[Row]:
        return [row for row in self.rows if row.review.plan is not None and row.review.plan.blocked]

    @property
    def changing(self) -> list[Row]:
        return [row for row in self.rows if row.review.changes]


# JSON ---------------------------------------------------------------------------------------------------------------


def to_json(page: Page) -> dict[str, Any]:
    """Plain values. ``minutes`` is an estimate; null where nothing would be sent."""
    return {
        "scope": page.scope,
        "remark": page.remark,
        "failed": len(page.failed),
        "blocked": len(page.blocked),
        "syncs": [_row_json(row) for row in page.rows],
        "gone": [{"sync": gone.sync, "list": gone.list_name, "members": gone.members} for gone in page.gone],
    }


def _row_json(row: Row) -> dict[str, Any]:
    review, plan = row.review, row.review.plan
    found: dict[str, Any] = {
        "sync": review.sync,
        "destination": row.destination,
        "platform": row.platform,
        "templates": list(row.templates),
        "new": row.is_new,
        "list": review.list_name,
        "new_list": row.makes_list,
        "error": None,
    }
    if review.failure is not None:
        found["error"] = {
            "code": review.failure.code,
            "message": review.failure.message,
            "remedy": review.failure.remedy,
        }
    if plan is not None:
        found |= {
            "in_audience": plan.in_audience,
            "withheld": dict(plan.withheld),
            "in_list": plan.holding,
            "added": plan.counts.added,
            "removed": plan.counts.removed,
            "updated": plan.counts.updated,
            "resent": plan.counts.resent,
            "without_identifier": plan.counts.unusable,
            "requests": plan.requests,
            "minutes": None if review.seconds is None else round(review.seconds / 60, 2),
            "blocked": plan.blocked,
            "digest": plan.digest,
        }
    return found


# The table ----------------------------------------------------------------------------------------------------------


def table_rows(page: Page) -> list[tuple[object, ...]]:
    """The cells of the terminal's table, by ``COLUMNS``."""
    return [(*_figures(row), "; ".join(_notes(row))) for row in page.rows]


def gone_in_words(gone: Gone) -> str:
    """What becomes of the list of a sync that is not defined any more."""
    if not gone.list_name:
        return f"{gone.sync} is not defined any more; it never sent anything."
    return (
        f"{gone.sync} is not defined any more: its list {gone.list_name!r} stays as it is, with {gone.members:,} members who "
        f"are not removed; {HOW_TO_EMPTY}."
    )


def _figures(row: Row) -> tuple[object, ...]:
    plan = row.review.plan
    if plan is None:
        return (row.review.sync, "", "", "", "", "", "", "")
    counts = plan.counts
    return (
        row.review.sync,
        plan.in_audience,
        plan.holding,
        f"+{counts.added:,}" if counts.added else "0",
        f"-{counts.removed:,}" if counts.removed else "0",
        f"{counts.updated + counts.resent:,}",
        plan.requests,
        takes(row.review.seconds),
    )


def takes(seconds: float | None) -> str:
    """An estimate in words."""
    if seconds is None:
        return ""
    if seconds < 60:
        return "under 1 min"
    if seconds < 90 * 60:
        return f"about {math.ceil(seconds / 60)} min"
    return f"about {math.ceil(seconds / 3600)} h"


def _notes(row: Row) -> Iterator[str]:
    review, plan = row.review, row.review.plan
    if review.failure is not None:
        remedy = f"; what to do: {review.failure.remedy}" if review.failure.remedy else ""
        yield f"FAILS: {review.failure.message}{remedy}"
    if plan is not None and plan.blocked:
        yield f"THE GUARD WOULD BLOCK IT: {plan.blocked}"
    if plan is not None and any(plan.withheld.values()):
        yield "kept out: " + ", ".join(f"{reason} {members:,}" for reason, members in plan.withheld.items() if members)
    if row.is_new:
        yield "new sync"
    if row.makes_list and plan is not None:
        yield "new list"
    if plan is not None and plan.counts.unusable:
        yield f"{plan.counts.unusable:,} without identifier"


# Markdown -----------------------------------------------------------------------------------------------------------


def to_markdown(page: Page) -> str:
    """A comment for a pull request. Its first line is always ``MARKER``."""
    lines = list(_markdown(page, with_details=True))
    if sum(len(line) + 1 for line in lines) > MOST_CHARACTERS:
        lines = list(_markdown(page, with_details=False))
    text = "\n".join(lines)
    if len(text) > MOST_CHARACTERS:
        text = (
            text[:MOST_CHARACTERS].rpartition("\n")[0] + "\n\nCut here: `audience-syncs plan` in a terminal shows all."
        )
    return text + "\n"


def _markdown(page: Page, *, with_details: bool) -> Iterator[str]:
    yield MARKER
    yield "## Audience Syncs: what this would change"
    yield ""
    yield _summary(page)
    for heading, rows in (("would fail", page.failed), ("would be blocked by the guard", page.blocked)):
        if rows:
            names = ", ".join(f"`{row.review.sync}`" for row in rows[:10]) + (" and more" if len(rows) > 10 else "")
            yield ""
            yield "> [!CAUTION]"
            yield f"> **{_count(len(rows), 'sync')} {heading}:** {names}"
    shown = sorted((row for row in page.rows if row.deserves_attention), key=_loudest_first)
    if shown:
        yield ""
        yield "| " + " | ".join(COLUMNS) + " |"
        yield "|---|--:|--:|--:|--:|--:|--:|--:|---|"
        for row in shown[:MOST_ROWS]:
            yield "| " + " | ".join(_cells(row)) + " |"
    if len(shown) > MOST_ROWS:
        yield ""
        yield f"{len(shown) - MOST_ROWS:,} more syncs would change; `audience-syncs plan` in a terminal shows all."
    if page.gone:
        yield ""
        yield "**Not defined any more:**"
        yield ""
        for gone in page.gone[:MOST_ROWS]:
            yield f"- {escaped(gone_in_words(gone))}"
    if with_details:
        for row in shown[:MOST_DETAILS]:
            yield from _details(row)
    yield ""
    yield (
        "Planned from the data there is now, by the definitions of this change; nothing was sent and nothing was kept. "
        "Times are estimates."
    )


def _summary(page: Page) -> str:
    silent = len(page.rows) - len(page.changing) - len([row for row in page.failed if not row.review.changes])
    parts = [f"{_count(len(page.rows), 'sync')} planned ({escaped(page.scope)})"]
    added = sum(row.review.plan.counts.added for row in page.changing if row.review.plan)
    removed = sum(row.review.plan.counts.removed for row in page.changing if row.review.plan)
    if page.changing:
        parts.append(f"{_count(len(page.changing), 'list')} would change: **+{added:,} / -{removed:,} people**")
    if silent:
        parts.append(f"{silent:,} would send nothing")
    remark = f" {escaped(page.remark)}" if page.remark else ""
    return "; ".join(parts) + "." + remark


def _loudest_first(row: Row) -> tuple[bool, bool, int, str]:
    plan = row.review.plan
    size = plan.counts.added + plan.counts.removed + plan.counts.updated if plan is not None else 0
    return row.review.failure is None, plan is None or plan.blocked is None, -size, row.review.sync


def _cells(row: Row) -> list[str]:
    name, *figures = (f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in _figures(row))
    notes = [escaped(note) for note in _notes(row)]
    loud = [f"**{note}**" if note.startswith(("FAILS", "THE GUARD")) else note for note in notes]
    return [f"`{name}`", *figures, "; ".join(loud)]


def _details(row: Row) -> Iterator[str]:
    review, plan = row.review, row.review.plan
    facts = [f"destination `{row.destination}` ({escaped(row.platform)})"]
    if row.templates:
        facts.append("templates " + ", ".join(f"`{name}`" for name in row.templates))
    if review.list_name:
        facts.append(f"list {escaped(review.list_name)}")
    if plan is not None:
        facts.append(f"{plan.counts.unchanged:,} rows changed without a change of what is sent")
        if plan.reach is not None:
            reach = plan.reach
            for field in reach.fields:
                refused = ", ".join(f"{code.lower().replace('_', ' ')} {n:,}" for code, n in field.refused.items())
                missing = f", missing {field.missing:,}" if field.identifier and field.missing else ""
                share = f"{reach.usable(field):,} of {reach.members:,} usable"
                facts.append(
                    f"`{escaped(field.field)}`: {share}{missing}" + (f", refused: {refused}" if refused else "")
                )
    yield ""
    yield f"<details><summary>{review.sync}</summary>"
    yield ""
    for fact in facts:
        yield f"- {fact}"
    yield ""
    yield "</details>"


def escaped(text: str) -> str:
    """Text that means itself in a markdown table: no cells, no tags, no people called."""
    text = re.sub(r"\s+", " ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("|", "\\|").replace("@", "&#64;")


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
