"""The manifest: which files make up a list. Written last, so that who starts from it never sees half of a run.

``docs/destinations/files.md`` describes it for those who read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from audience_syncs.model.errors import DestinationError

NAME = "manifest.json"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file of the list, by its path below the list's folder."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ChangeFile:
    """Members who came or changed (``put``), or left (``removed``)."""

    change: str
    file: ListedFile


@dataclass(frozen=True, slots=True)
class Version:
    """What one run brought; changes in the order in which they are to be applied."""

    name: str
    written_at: str
    changes: tuple[ChangeFile, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """The list now."""

    list: str
    key: str
    columns: tuple[str, ...]
    format: str
    members: tuple[ListedFile, ...] | None
    """All members; None where only changes are written."""
    versions: tuple[Version, ...]
    """The latest last."""

    @property
    def rows(self) -> int | None:
        return None if self.members is None else sum(file.rows for file in self.members)

    def to_bytes(self) -> bytes:
        latest = self.versions[-1]
        shown = {
            "manifest": FORMAT,
            "list": self.list,
            "version": latest.name,
            "written_at": latest.written_at,
            "format": self.format,
            "key": self.key,
            "columns": self.columns,
            "members": None if self.members is None else {"rows": self.rows, "files": self.members},
            "versions": [
                {
                    "version": version.name,
                    "written_at": version.written_at,
                    "changes": [{"change": change.change, **_plain(change.file)} for change in version.changes],
                }
                for version in self.versions
            ],
        }
        return orjson.dumps(shown, option=orjson.OPT_INDENT_2) + b"\n"


def read(content: bytes, where: str) -> Manifest:
    """Raises DestinationError where it is none of ours."""
    try:
        shown: dict[str, Any] = orjson.loads(content)
        if shown["manifest"] != FORMAT:
            raise ValueError
        members = shown["members"]
        return Manifest(
            list=shown["list"],
            key=shown["key"],
            columns=tuple(shown["columns"]),
            format=shown["format"],
            members=None if members is None else tuple(_file(found) for found in members["files"]),
            versions=tuple(
                Version(
                    found["version"],
                    found["written_at"],
                    tuple(ChangeFile(change["change"], _file(change)) for change in found["changes"]),
                )
                for found in shown["versions"]
            ),
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        raise DestinationError(
            f"the list's {NAME} is not one that we wrote",
            where=where,
            remedy="give the sync's `list` another name; or take the file away, and the next run writes everything again",
        ) from None


def _file(shown: Any) -> ListedFile:
    return ListedFile(str(shown["path"]), int(shown["rows"]), int(shown["bytes"]), str(shown["sha256"]))


def _plain(file: ListedFile) -> dict[str, Any]:
    return {"path": file.path, "rows": file.rows, "bytes": file.bytes, "sha256": file.sha256}
