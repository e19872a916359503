"""`splits` and `lift`: how an audience is divided into groups, and what the groups did."""

from __future__ import annotations

from typing import Annotated

import typer

from audience_syncs.cli.local import environment
from audience_syncs.cli.show import print_json, print_table, progress_bar
from audience_syncs.cli.size import AudienceName, find_audience
from audience_syncs.cli.syncs import Json
from audience_syncs.model.errors import AudienceError
from audience_syncs.model.lift import GroupLift, Lift
from audience_syncs.project import default_defs_dir, load_project


def splits(audience: AudienceName, json: Json = False) -> None:
    """Show the groups of an audience's split, by its last evaluation."""
    from audience_syncs.audiences.lift import split_of
    from audience_syncs.warehouse import open_warehouse
    from audience_syncs.warehouse.state import State

    with environment() as variables:
        project = load_project(default_defs_dir(), variables).require_sound()
        chosen = find_audience(project, audience)
        split = split_of(chosen)
        with open_warehouse(project.sources[chosen.source], variables) as warehouse:
            state = State(warehouse)
            state.prepare()
            snapshot = state.latest_snapshot(chosen.name, partitioned=chosen.partitions is not None)
    if snapshot is None or snapshot.split is None:
        raise AudienceError(
            "the audience has not been evaluated since it has a split",
            where=f"audience {chosen.name}",
            remedy=f"materialise the asset audiences/{chosen.name} first",
        )
    counted = snapshot.split.groups
    whole = sum(counted.values())
    rows = [
        {
            "group": group.name,
            "percent": group.percent,
            "members": counted.get(group.name, 0),
            "share_percent": round(100 * counted.get(group.name, 0) / whole, 2) if whole else 0.0,
            "syncs": group.syncs,
        }
        for group in split.groups
    ]
    if json:
        print_json({"audience": chosen.name, "evaluated_at": snapshot.evaluated_at, "groups": rows})
        return
    print_table(
        f"Groups of {chosen.label}, evaluated {snapshot.evaluated_at:%Y-%m-%d %H:%M} UTC",
        ("Group", "Defined", "Members", "Share", "Sent by"),
        [
            (
                row["group"],
                f"{row['percent']:g} %",
                row["members"],
                f"{row['share_percent']:.2f} %",
                ", ".join(group.syncs) or "nowhere: the holdout",
            )
            for row, group in zip(rows, split.groups, strict=True)
        ],
    )


def lift(
    audience: AudienceName,
    conversion: Annotated[
        str | None, typer.Argument(help="One of the split's conversions. Default: the only one.")
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The group to compare with. Default: the holdout.")] = None,
    json: Json = False,
) -> None:
    """Show how many of each group converted, and the difference to the holdout with its 95 % interval."""
    from audience_syncs.audiences.lift import lift_of
    from audience_syncs.warehouse import open_warehouse

    with environment() as variables:
        project = load_project(default_defs_dir(), variables).require_sound()
        chosen = find_audience(project, audience)
        with open_warehouse(project.sources[chosen.source], variables) as warehouse, progress_bar(audience):
            found = lift_of(chosen, warehouse, conversion, baseline=baseline)
    if json:
        print_json(found.to_json())
    else:
        print_lift(found)


def print_lift(lift: Lift) -> None:
    """For people."""
    within = f" within {lift.within}" if lift.within else ""
    print_table(
        f"{lift.audience}: {lift.conversion}{within} since they came into the audience",
        ("Group", "People", "Converted", "Rate, 95 % interval", "Difference, 95 % interval", "Relative", ""),
        [
            (
                group.group,
                group.people,
                group.converted,
                _rate(group),
                _difference(group),
                "" if group.relative is None else f"{100 * group.relative:+.1f} %",
                "compared with" if group.is_baseline else group.verdict,
            )
            for group in lift.groups
        ],
    )
    if lift.since is not None:
        typer.echo(f"Counted from {lift.since:%Y-%m-%d %H:%M} UTC.")
    if lift.moved:
        typer.echo(f"People whose group changed with the percentages, and who count in their first: {lift.moved:,}.")
    if lift.note:
        typer.echo(lift.note[0].upper() + lift.note[1:] + ".")


def _rate(group: GroupLift) -> str:
    if not group.people:
        return ""
    low, high = group.interval
    return f"{100 * group.rate:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def _difference(group: GroupLift) -> str:
    if group.difference is None or group.lower is None or group.upper is None:
        return ""
    return f"{100 * group.difference:+.2f} points ({100 * group.lower:+.2f} to {100 * group.upper:+.2f})"
