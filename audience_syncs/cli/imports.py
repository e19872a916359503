"""`import`: definitions made from those of another product."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from audience_syncs.cli.show import print_json
from audience_syncs.project import default_defs_dir, format_problems
from audience_syncs.project.problems import shown_path

app = typer.Typer(help="Make definitions from those of another product.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Make definitions from those of another product."""


@app.command()
def hightouch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that Hightouch's Git Sync writes to.")],
    into: Annotated[
        Path | None, typer.Option(help="The folder of definitions to write to; default: the project's.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")] = False,
) -> None:
    """Make audiences and syncs from Hightouch's models and syncs; what cannot be taken over is listed, with its line."""
    # Imported late: with it come the platforms.
    from audience_syncs.imports.hightouch import import_hightouch

    target = into.absolute() if into is not None else default_defs_dir()
    found = import_hightouch(folder.absolute(), target, dry_run=dry_run)
    if json:
        print_json(
            {
                "syncs": {"imported": found.syncs, "of": found.of},
                "audiences": found.audiences,
                "models": found.models,
                "dry_run": dry_run,
                "files": found.files,
                "notes": [
                    {"file": note.file, "line": note.line, "path": note.path, "reason": note.reason}
                    for note in found.notes
                ],
                "problems": [
                    {"file": p.file, "line": p.line, "path": p.path, "message": p.message, "remedy": p.remedy}
                    for p in found.problems
                ],
            }
        )
        return
    for file in found.files:
        typer.echo(f"{'would be written' if dry_run else 'written'}: {shown_path(file)}")
    if found.notes:
        typer.echo("\nNot taken over, or not as it was:")
        for note in found.notes:
            typer.echo(f"  {note}")
    if found.problems:
        typer.echo("\nTo be done before the definitions load:")
        typer.echo(format_problems(found.problems))
    typer.echo(
        f"\n{found.syncs} of {found.of} syncs imported; {found.audiences} audiences, {found.models} models. "
        "Secrets are to be set, and settings to be filled in: see each destination's file."
    )
