"""One folder; a list is a folder in it.

    <list>/list.json                       what it is; its being there is the list's
    <list>/changes/<time>-put-20000.csv    a batch, as it was delivered: what makes a member accepted
    <list>/members/<version>/00001.csv     everybody, put together at the end of a run
    <list>/manifest.json                   which of these count; written last

A batch is delivered once its file is there whole. When the run is over, its files go into the manifest; those of a run that died
before are listed first, in their order. So a manifest's members are always those its changes lead to.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import IO, Any
from urllib.parse import quote

import orjson

from audience_syncs.destinations import keyed
from audience_syncs.destinations.contract import DestinationSpec, ListRequest
from audience_syncs.destinations.files import formats, manifest
from audience_syncs.destinations.files.declaration import FilesSettings
from audience_syncs.destinations.files.manifest import ChangeFile, ListedFile, Manifest, Version
from audience_syncs.destinations.files.storage import Storage
from audience_syncs.model.errors import DefinitionError, ListMissing
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, Outgoing, RemoteList, Verdict

PUT, REMOVED = "put", "removed"
_MARK = "list.json"
_CHUNK = 10_000
"""Rows held in memory while a file is written."""


class Files:
    """A folder."""

    def __init__(
        self, spec: DestinationSpec, settings: FilesSettings, credentials: Mapping[str, str], where: str
    ) -> None:
        self.spec = spec
        self._settings = settings
        self._where = where
        self._storage = Storage(settings, credentials, where)
        self._delivered: list[str] = []
        """Change files of this run, in order."""
        self._number: int | None = None
        """Of the version that this run will make."""

    @property
    def requests_sent(self) -> int:
        """Calls of the storage."""
        return self._storage.requests

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        folder = wanted.id or folder_of(wanted.name, self._where)
        found = self._storage.read(f"{folder}/{_MARK}")
        if found is not None:
            return RemoteList(folder, str(orjson.loads(found).get("name", wanted.name)))
        if wanted.id is not None:
            raise self._missing(folder)
        content = orjson.dumps({"name": wanted.name, "description": wanted.description}) + b"\n"
        self._storage.put(f"{folder}/{_MARK}", _content(content))
        return RemoteList(folder, wanted.name, created=True)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        rows: dict[str, Mapping[str, Any]] = {}
        for member in batch.members:
            for key in self._keys(member):
                rows[key] = member.everything
        columns = _columns(self._settings.key, batch)
        return self._deliver(list_id, batch, PUT, columns, list(rows.values()))

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        key = self._settings.key
        keys = {text: None for member in batch.members for text in self._keys(member)}
        return self._deliver(list_id, batch, REMOVED, [key], [{key: text} for text in keys])

    def publish(self, list_id: str, fields: Sequence[str], members: Iterator[Sequence[Outgoing]] | None) -> None:
        """Puts all that was delivered and is in no manifest yet into a new version of the list."""
        self._require(list_id)
        before = self._manifest(list_id)
        number = _next_number(before)
        of_dead_runs = [
            path for path in self._change_files(list_id) if _number(path) == number and path not in self._delivered
        ]
        new = [*of_dead_runs, *self._delivered]
        columns = (self._settings.key, *(name for name in fields if name != self._settings.key))
        form, full = formats.suffix(self._settings), self._settings.members and members is not None
        as_before = before is not None and (before.columns, before.format, before.members is not None) == (
            columns,
            form,
            full,
        )
        if as_before and not new:
            return
        now = datetime.now(UTC)
        name = f"{number:06d}-{now:%Y%m%dT%H%M%SZ}"
        written = self._write_members(list_id, name, columns, members) if full and members is not None else None
        changes = tuple(self._listed_change(list_id, path) for path in new)
        versions = (*(before.versions if before is not None else ()), Version(name, now.isoformat(), changes))
        kept = versions[-self._settings.keep :]
        latest = Manifest(list_id, self._settings.key, columns, form, written, kept)
        self._storage.put(f"{list_id}/{manifest.NAME}", _content(latest.to_bytes()))
        self._delivered.clear()
        self._number = None
        self._forget_old(list_id, latest)

    def matched_users(self, list_id: str) -> MatchedUsers:
        """The members of the last manifest, counted."""
        self._require(list_id)
        found = self._manifest(list_id)
        rows = found.rows if found is not None else None
        return MatchedUsers(rows, rows, datetime.now(UTC), exact=rows is not None)

    # Files

    def _deliver(
        self,
        list_id: str,
        batch: Batch,
        change: str,
        columns: Sequence[str],
        rows: Sequence[Mapping[str, Any]],
    ) -> list[Verdict]:
        self._require(list_id)
        if self._number is None:
            self._number = _next_number(self._manifest(list_id))
        # The number says to which version it belongs, the rest which comes first among runs that died before theirs.
        moment = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        mark = hashlib.sha256(f"{batch.session} {batch.number} {len(self._delivered)}".encode()).hexdigest()[:8]
        name = f"{self._number:06d}-{moment}-{mark}-{change}-{len(rows)}"
        path = f"changes/{name}.{formats.suffix(self._settings)}"
        self._write_file(list_id, path, columns, iter(rows))
        self._delivered.append(path)
        return [ACCEPTED] * len(batch)

    def _write_members(
        self, list_id: str, version: str, columns: Sequence[str], pages: Iterator[Sequence[Outgoing]]
    ) -> tuple[ListedFile, ...]:
        """Everybody, in files of so many rows; one file also where there is nobody."""
        rows = self._distinct(pages)
        files: list[ListedFile] = []
        first = next(rows, None)
        while first is not None or not files:
            some = islice(chain([] if first is None else [first], rows), self._settings.rows_per_file)
            path = f"members/{version}/{len(files) + 1:05d}.{formats.suffix(self._settings)}"
            files.append(self._write_file(list_id, path, columns, some))
            first = next(rows, None)
        return tuple(files)

    def _write_file(
        self, list_id: str, path: str, columns: Sequence[str], rows: Iterator[Mapping[str, Any]]
    ) -> ListedFile:
        count = 0

        def fill(stream: IO[bytes]) -> None:
            nonlocal count
            writer = formats.writer(self._settings, stream, columns)
            while some := list(islice(rows, _CHUNK)):
                writer.write(some)
                count += len(some)
            writer.close()

        written = self._storage.put(f"{list_id}/{path}", fill)
        return ListedFile(path, count, written.bytes, written.sha256)

    def _distinct(self, pages: Iterator[Sequence[Outgoing]]) -> Iterator[Mapping[str, Any]]:
        """One row for each key: members come in its order, and of those who share one, the last counts."""
        last: Mapping[str, Any] | None = None
        for member in chain.from_iterable(pages):
            for key in self._keys(member):
                row = {**member.everything, self._settings.key: key}
                if last is not None and last[self._settings.key] != key:
                    yield last
                last = row
        if last is not None:
            yield last

    def _listed_change(self, list_id: str, path: str) -> ChangeFile:
        """A change file; what its name does not tell is measured."""
        *_, change, rest = path.split("-")
        found = self._storage.measure(f"{list_id}/{path}")
        return ChangeFile(change, ListedFile(path, int(rest.partition(".")[0]), found.bytes, found.sha256))

    def _change_files(self, list_id: str) -> list[str]:
        return [f"changes/{name}" for name in self._storage.names(f"{list_id}/changes")]

    def _forget_old(self, list_id: str, latest: Manifest) -> None:
        """Deletes what no kept version needs. Members of the version before stay: somebody may be reading them."""
        first_kept = _number(latest.versions[0].name)
        for path in self._change_files(list_id):
            if _number(path) < first_kept:
                self._storage.delete(f"{list_id}/{path}")
        kept = {version.name for version in latest.versions[-2:]}
        for version in self._storage.names(f"{list_id}/members"):
            if version not in kept:
                self._storage.delete(f"{list_id}/members/{version}")

    def _keys(self, member: Outgoing) -> list[str]:
        return keyed.keys_of(member.fields, self._settings.key, self._where)

    def _manifest(self, list_id: str) -> Manifest | None:
        content = self._storage.read(f"{list_id}/{manifest.NAME}")
        return None if content is None else manifest.read(content, self._where)

    def _require(self, list_id: str) -> None:
        if self._storage.read(f"{list_id}/{_MARK}") is None:
            raise self._missing(list_id)

    def _missing(self, list_id: str) -> ListMissing:
        return ListMissing(f"there is no list {list_id!r} in the folder: its {_MARK} is gone", where=self._where)


def folder_of(name: str, where: str) -> str:
    """The list's folder: its name, with what has a meaning in paths written as ``%2F``."""
    folder = quote(name.strip(), safe=" ,;=+@()'!&")
    if folder.startswith("."):
        folder = "%2E" + folder[1:]
    if not folder or len(folder) > 200:
        raise DefinitionError(
            "the list's name cannot be that of a folder", where=where, remedy="give it another: `list: {name: ...}`"
        )
    return folder


def _columns(key: str, batch: Batch) -> list[str]:
    """The key, the mapping's fields in its order, and what else a member has."""
    names = [key, *batch.fields, *sorted({name for member in batch.members for name in member.everything})]
    return list(dict.fromkeys(names))


def _content(content: bytes) -> Callable[[IO[bytes]], None]:
    def fill(stream: IO[bytes]) -> None:
        stream.write(content)

    return fill


def _next_number(before: Manifest | None) -> int:
    return 1 if before is None else 1 + _number(before.versions[-1].name)


def _number(name: str) -> int:
    """Of the version, or of the version that a change file belongs to; 0 for a file that is none of ours."""
    digits = name.rpartition("/")[2].partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() else 0
