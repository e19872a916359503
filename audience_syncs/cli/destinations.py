"""`destinations`: which platforms there are, what each can do, and what one of them needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from audience_syncs.cli.show import print_json, print_table
from audience_syncs.cli.syncs import Json
from audience_syncs.destinations.contract import DestinationSpec
from audience_syncs.destinations.registry import PLATFORMS, spec_of, tells_matched_users


@dataclass(frozen=True, slots=True)
class _Can:
    """What a platform can do, as it is shown."""

    platform: str
    title: str
    modes: list[str]
    removals: list[str]
    identifiers: list[str]
    batch_size: int
    reads_members: bool
    tells_matched_users: bool


def destinations(
    platform: Annotated[str | None, typer.Argument(help="Show this one with its fields, secrets and settings.")] = None,
    json: Json = False,
) -> None:
    """List the platforms and what each can do; or show what one of them needs."""
    if platform is not None:
        _show(spec_of(platform), json=json)
        return
    able = [_can(spec_of(name)) for name in PLATFORMS]
    if json:
        print_json([asdict(one) for one in able])
        return
    print_table(
        "Destinations",
        ("Platform", "Title", "Modes", "Removals", "Identifiers", "Batch", "Reads members", "Tells matched users"),
        [
            (
                one.platform,
                one.title,
                ", ".join(one.modes),
                ", ".join(one.removals),
                ", ".join(one.identifiers),
                one.batch_size,
                _yes(one.reads_members),
                _yes(one.tells_matched_users),
            )
            for one in able
        ],
    )


def _can(spec: DestinationSpec) -> _Can:
    return _Can(
        spec.platform,
        spec.title,
        sorted(spec.modes),
        sorted(spec.removals),
        [field.name for field in spec.fields if field.identifier],
        spec.batch_size,
        spec.reads_members,
        tells_matched_users(spec.platform),
    )


def _show(spec: DestinationSpec, *, json: bool) -> None:
    fields = [
        {
            "name": field.name,
            "identifier": field.identifier,
            "required": field.name in spec.required_fields,
            "several_values": field.multiple,
            "description": field.description,
        }
        for field in spec.fields
    ]
    settings = [
        {"name": name, "required": name in spec.required_settings, "description": description}
        for name, description in spec.settings.items()
    ]
    other = spec.open_fields.description if spec.open_fields else ""
    if json:
        needs = {"fields": fields, "other_fields": other, "credentials": list(spec.credentials), "settings": settings}
        print_json({**asdict(_can(spec)), **needs, "docs": spec.docs})
        return
    rows = [
        (f["name"], _yes(f["identifier"]), _yes(f["required"]), _yes(f["several_values"]), f["description"])
        for f in fields
    ]
    if other:
        rows.append(("any other", "-", "-", "-", other))
    print_table(f"{spec.title}: fields", ("Field", "Identifier", "Required", "Several values", "Description"), rows)
    print_table("Secrets", ("Name",), [(name,) for name in spec.credentials])
    print_table(
        "Settings",
        ("Name", "Required", "Description"),
        [(s["name"], _yes(s["required"]), s["description"]) for s in settings],
    )


def _yes(value: object) -> str:
    return "yes" if value else "-"
