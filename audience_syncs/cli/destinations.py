"""`destinations`: what can be synced to, and what each platform can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from audience_syncs.cli.show import print_json, print_table

if TYPE_CHECKING:
    from audience_syncs.destinations.contract import DestinationSpec

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")]


def destinations(
    platform: Annotated[
        str | None, typer.Argument(metavar="PLATFORM", help="Show this one's fields, secrets and settings.")
    ] = None,
    json: Json = False,
) -> None:
    """List the platforms that audiences can be synced to, with what each can do."""
    from audience_syncs.destinations.platforms import PLATFORMS
    from audience_syncs.destinations.registry import spec_of

    if platform is not None:
        spec = spec_of(platform)
        if json:
            print_json(_capabilities(spec) | _details(spec))
        else:
            _show(spec)
        return
    found = [_capabilities(spec_of(name)) for name in sorted(PLATFORMS)]
    if json:
        print_json(found)
        return
    print_table(
        "Platforms",
        (
            "Platform",
            "Name",
            "Modes",
            "Who leaves",
            "Found by",
            "Batch",
            "Reads members",
            "Tells matched users",
        ),
        [
            (
                one["platform"],
                one["title"],
                ", ".join(one["modes"]),
                ", ".join(one["removals"]),
                ", ".join(one["identifiers"]),
                one["batch_size"],
                "yes" if one["reads_members"] else "",
                _YES_NO.get(one["tells_matched_users"], one["tells_matched_users"]),
            )
            for one in found
        ],
    )
    typer.echo("`audience-syncs destinations PLATFORM` shows its fields, secrets and settings.")


_YES_NO = {"yes": "yes", "no": ""}


def _capabilities(spec: DestinationSpec) -> dict[str, Any]:
    """What a platform can do at most: an account's settings may allow less."""
    return {
        "platform": spec.platform,
        "title": spec.title,
        "modes": sorted(spec.modes),
        "removals": sorted(spec.removals),
        "identifiers": [field.name for field in spec.fields if field.identifier],
        "batch_size": spec.batch_size,
        "concurrency": spec.concurrency,
        "reads_members": spec.reads_members,
        "tells_matched_users": spec.tells_matched_users.value,
        "nulls": spec.empties.value,
        "docs": spec.docs,
    }


def _details(spec: DestinationSpec) -> dict[str, Any]:
    return {
        "fields": [
            {
                "name": field.name,
                "identifier": field.identifier,
                "multiple": field.multiple,
                "nested": field.nested,
                "can_be_emptied": spec.can_empty(field),
                "required": field.name in spec.required_fields,
                "rule": field.rule,
                "description": field.description,
            }
            for field in spec.fields
        ],
        "other_fields": spec.open_fields.description if spec.open_fields is not None else None,
        "credentials": [
            *({"name": name, "required": True} for name in spec.credentials),
            *({"name": name, "required": False} for name in spec.optional_credentials),
        ],
        "settings": [
            {"name": name, "required": name in spec.required_settings, "description": description}
            for name, description in spec.settings.items()
        ],
    }


def _show(spec: DestinationSpec) -> None:
    can, details = _capabilities(spec), _details(spec)
    typer.echo(f"{spec.title} (`platform: {spec.platform}`)")
    typer.echo(f"  modes: {', '.join(can['modes'])}")
    typer.echo(f"  who leaves (`removal`): {', '.join(can['removals'])}")
    typer.echo(f"  members per batch: {spec.batch_size:,}; batches under way at once: {spec.concurrency}")
    typer.echo(f"  tells who is in a list: {'yes' if spec.reads_members else 'no'}")
    typer.echo(f"  tells matched users: {can['tells_matched_users']}")
    typer.echo(f"  nulls: {can['nulls']}")
    typer.echo(f"  more: {spec.docs}\n")
    print_table(
        "Fields",
        ("Field", "Finds a person", "Several", "Object", "Needed", "Description"),
        [
            (
                field["name"],
                "yes" if field["identifier"] else "",
                "yes" if field["multiple"] else "",
                "yes" if field["nested"] else "",
                "yes" if field["required"] else "",
                field["description"],
            )
            for field in details["fields"]
        ],
    )
    if details["other_fields"] is not None:
        takes_objects = " Takes an object." if spec.open_fields is not None and spec.open_fields.nested else ""
        typer.echo(f"Any other field: {details['other_fields']}{takes_objects}\n")
    if details["credentials"]:
        print_table(
            "Secrets (`credentials`, each `{env: VARIABLE}`)",
            ("Secret", "Needed"),
            [(secret["name"], "yes" if secret["required"] else "") for secret in details["credentials"]],
        )
    print_table(
        "Settings",
        ("Setting", "Needed", "Description"),
        [(one["name"], "yes" if one["required"] else "", one["description"]) for one in details["settings"]],
    )
