"""What changed in the definitions since a revision in git: which syncs are new, gone, or no longer what they were.

The definitions of the revision are read as they were, from git's own store: the working copy is not touched.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from audience_syncs.model.config import AudienceConfig, SyncConfig, sync_id
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.filters import audiences_in
from audience_syncs.project.columns import FILE
from audience_syncs.project.load import Project, load_project
from audience_syncs.project.problems import shown_path

READ = ("defs.yaml", "defs.yml", FILE)
"""The files that make definitions."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Syncs by what happened to their definitions since a revision."""

    revision: str
    """The commit, in short."""
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    audiences: frozenset[str]
    """Audiences whose own definition is new or changed: who is in them may be others now."""
    problems: int
    """Mistakes in the definitions of the revision: what they concern counts as new."""


def changes_since(ref: str, defs_dir: Path, now: Project, environ: Mapping[str, str] | None = None) -> Changes:
    """Compares the definitions at a revision with those of the project, which were read from ``defs_dir``.

    Two definitions are the same when everything that holds for a sync is: its audience with its model, and the audiences it
    refers to; its own values with what it has from templates and inherits; its destination, exclusions and priorities.

    Raises DefinitionError where there is no git, no repository around the folder, or no such revision.
    """
    commit = _commit(ref, defs_dir)
    with _definitions_at(commit, defs_dir) as folder:
        before = load_project(folder, _Tolerant(os.environ if environ is None else environ)) if folder else Project()
    old, new = _fingerprints(before), _fingerprints(now)
    old_audiences, new_audiences = _audiences(before), _audiences(now)
    return Changes(
        revision=commit[:12],
        new=tuple(name for name in new if name not in old),
        changed=tuple(name for name in new if name in old and new[name] != old[name]),
        gone=tuple(name for name in old if name not in new),
        audiences=frozenset(name for name, what in new_audiences.items() if old_audiences.get(name) != what),
        problems=len(before.problems),
    )


class _Tolerant(dict[str, str]):
    """The environment, in which nothing is missing: what it was then is not known."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(environ)

    def get(self, name: str, default: Any = None) -> Any:
        return super().get(name, f"({name})" if default is None else default)


def _fingerprints(project: Project) -> dict[str, dict[str, Any]]:
    """Sync -> everything that holds for it."""
    return {
        sync_id(audience, sync): _fingerprint(project, audience, sync)
        for audience in project.audiences.values()
        for sync in audience.syncs
    }


def _fingerprint(project: Project, audience: AudienceConfig, sync: SyncConfig) -> dict[str, Any]:
    destination = project.destinations.get(sync.destination)
    source = project.sources.get(audience.source)
    return {
        "audience": _audience(project, audience),
        "sync": sync.model_dump(mode="json", exclude={"templates"}),
        "admission": asdict(sync.admission) | {"exclusions": [e.model_dump() for e in sync.admission.exclusions]},
        "before": [
            _audience(project, project.audiences[name]) for name in sync.admission.before if name in project.audiences
        ],
        "destination": destination.model_dump(mode="json") if destination is not None else None,
        "source": source.model_dump(mode="json") if source is not None else None,
    }


def _audiences(project: Project) -> dict[str, Any]:
    return {name: _audience(project, audience) for name, audience in project.audiences.items()}


def _audience(project: Project, audience: AudienceConfig, seen: frozenset[str] = frozenset()) -> dict[str, Any]:
    """All that says who is in an audience, also in those it refers to."""
    model = project.models.get(audience.model) if audience.model is not None else None
    others = audiences_in(audience.filter) if audience.filter is not None else []
    seen = seen | {audience.name}
    return {
        "own": audience.model_dump(mode="json", exclude={"syncs"}),
        "model": model.model_dump(mode="json") if model is not None else None,
        "columns": {
            part: project.columns.get(part) for part in (audience.name, *(model.parts if model is not None else ()))
        },
        "others": {
            name: _audience(project, project.audiences[name], seen)
            for name in others
            if name in project.audiences and name not in seen
        },
    }


# git ----------------------------------------------------------------------------------------------------------------


def _commit(ref: str, defs_dir: Path) -> str:
    """The full name of the commit that a ref means."""
    top = _git(defs_dir, "rev-parse", "--show-toplevel")
    if top is None:
        raise DefinitionError(
            f"the definitions in {shown_path(defs_dir)} are in no git repository",
            remedy="give the command in a clone whose definitions are in it (AUDIENCE_SYNCS_DEFS names their folder), or plan "
            "with `--all` or `--template`",
        )
    found = _git(defs_dir, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}")
    if found is None:
        raise DefinitionError(
            f"there is no revision {ref!r} in the repository {top.decode().strip()}",
            remedy="name a branch, tag or commit that was fetched, such as `origin/main`; in a shallow clone, fetch it first: "
            "`git fetch origin main` (in GitHub Actions: `fetch-depth: 0`)",
        )
    return found.decode().strip()


@contextmanager
def _definitions_at(commit: str, defs_dir: Path) -> Iterator[Path | None]:
    """A temporary folder with the definitions as they were; None where there were none."""
    within = (_git(defs_dir, "rev-parse", "--show-prefix") or b"").decode().strip().rstrip("/")
    kind = _git(defs_dir, "cat-file", "-t", f"{commit}:{within}")
    if kind is None or kind.strip() != b"tree":
        yield None
        return
    # From the top: in a folder below, git would look for that folder within what is asked for.
    top = Path((_git(defs_dir, "rev-parse", "--show-toplevel") or b"").decode().strip())
    archive = _git(top, "archive", "--format=tar", f"{commit}:{within}")
    if archive is None:
        raise DefinitionError(
            f"git cannot read the definitions of {commit[:12]}", remedy="fetch the revision, and try again"
        )
    with tempfile.TemporaryDirectory(prefix="audience_syncs_") as temporary:
        folder = Path(temporary) / (Path(within).name or "defs")
        folder.mkdir()
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            # Only what is read: whatever else is in the folder, a link to somewhere perhaps, is left where it is.
            for member in opened:
                if member.isfile() and Path(member.name).name in READ:
                    opened.extract(member, folder, filter="data")
        yield folder


def _git(folder: Path, *arguments: str) -> bytes | None:
    """What git answers; None where it says no."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False, timeout=120)
    except FileNotFoundError:
        raise DefinitionError("git is not installed", remedy="install git, or plan with `--all`") from None
    except subprocess.TimeoutExpired:
        raise DefinitionError(
            "git did not answer in two minutes", remedy="look at the repository, and try again"
        ) from None
    if done.returncode == 0:
        return done.stdout
    words = done.stderr.decode(errors="replace")
    if "dubious ownership" in words:
        raise DefinitionError(
            f"git refuses to read the repository around {shown_path(folder)}: it belongs to another user",
            remedy=f"git config --global --add safe.directory {folder}",
        )
    return None
