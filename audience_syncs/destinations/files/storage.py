"""The folder: files appear whole or not at all, and errors say what is known of them.

On object stores a file is there once its upload is complete. Elsewhere it is written beside its name (``.part``) and renamed.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

from audience_syncs.destinations.files.declaration import FilesSettings
from audience_syncs.model.errors import AccessRefused, DefinitionError, DestinationError, NoAnswer, NotApplied

_RENAMED = {"file", "sftp", "ftp", "smb"}
"""File systems where who looks while a file is written sees half of it."""


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is there."""

    path: str
    bytes: int
    sha256: str


class Storage:
    """Reads and writes below one folder. Not thread-safe: SFTP has one channel."""

    def __init__(self, settings: FilesSettings, credentials: Mapping[str, str], where: str) -> None:
        self._settings = settings
        self._credentials = credentials
        self._where = where
        self._opened: Any = None
        self.root = ""
        self.requests = 0

    def read(self, path: str) -> bytes | None:
        """A small file; None where there is none."""
        with self._asking("read") as system:
            try:
                return bytes(system.cat_file(f"{self.root}/{path}"))
            except FileNotFoundError:
                return None

    def names(self, folder: str) -> list[str]:
        """The names in a folder, in order; of a folder that is not there, none. Unfinished files are not shown."""
        with self._asking("list") as system:
            try:
                found = system.ls(f"{self.root}/{folder}", detail=False)
            except FileNotFoundError:
                return []
        names = {str(path).rstrip("/").rpartition("/")[2] for path in found}
        return sorted(name for name in names - {folder.rpartition("/")[2], ""} if not name.endswith(".part"))

    def put(self, path: str, fill: Callable[[IO[bytes]], None]) -> Written:
        """Writes a file; ``fill`` writes its content. A file of that name is replaced at once."""
        full = f"{self.root}/{path}"
        with self._writing() as system:
            if self._settings.protocol in _RENAMED:
                system.makedirs(full.rpartition("/")[0], exist_ok=True)
                with system.open(f"{full}.part", "wb") as stream:
                    counted = _fill(stream, fill)
                    _to_disk(stream)
                system.mv(f"{full}.part", full)
            else:
                with system.open(full, "wb") as stream:
                    counted = _fill(stream, fill)
        return Written(path, counted.count, counted.digest.hexdigest())

    def measure(self, path: str) -> Written:
        """A file that is there, as ``put`` would have told of it."""
        digest, size = hashlib.sha256(), 0
        with self._asking("read") as system, system.open(f"{self.root}/{path}", "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
                size += len(block)
        return Written(path, size, digest.hexdigest())

    def delete(self, path: str) -> None:
        """Deletes a file or a folder, if it is there."""
        with self._asking("delete") as system:
            try:
                system.rm(f"{self.root}/{path}", recursive=True)
            except FileNotFoundError:
                return

    @contextmanager
    def _asking(self, what: str) -> Iterator[Any]:
        """Failures of what changes no list."""
        with self._failures(lambda error: NotApplied(f"files {what}: {type(error).__name__}")) as system:
            yield system

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        """Failures of what may have been written whole."""
        with self._failures(lambda error: NoAnswer(f"files write: {type(error).__name__}")) as system:
            yield system

    @contextmanager
    def _failures(self, otherwise: Callable[[Exception], Exception]) -> Iterator[Any]:
        """Turns errors into ours; their own texts may hold addresses and secrets."""
        system = self._system()
        self.requests += 1
        try:
            yield system
        except PermissionError:
            raise AccessRefused(
                "the folder may not be used",
                where=self._where,
                remedy="check the credentials and what they may do: read, write, list, rename and delete below `url`",
            ) from None
        except FileNotFoundError:
            raise DestinationError(
                "the folder, or its bucket, is not there", where=self._where, remedy="make it, or correct `url`"
            ) from None
        except Exception as error:
            if isinstance(error, (AccessRefused, DestinationError, NotApplied, NoAnswer)):
                raise
            if type(error).__name__ in ("NoCredentialsError", "AuthenticationException", "PartialCredentialsError"):
                raise self._refused() from None
            raise otherwise(error) from None

    def _refused(self) -> AccessRefused:
        return AccessRefused("the storage refuses our credentials", where=self._where, remedy="check `credentials`")

    def _system(self) -> Any:
        """The file system; connecting is tried again by the next call where it fails."""
        if self._opened is not None:
            return self._opened
        import fsspec

        try:
            kind: Any = fsspec.get_filesystem_class(self._settings.protocol)
        except (ImportError, ValueError):
            extra = {"s3": " (`pip install 'audience-syncs[s3]'`)", "sftp": " (`pip install 'audience-syncs[sftp]'`)"}
            raise DefinitionError(
                f"there is nothing here that reaches {self._settings.protocol!r} storage",
                where=self._where,
                remedy=f"install the package that fsspec names for it{extra.get(self._settings.protocol, '')}",
            ) from None
        options = {**kind._get_kwargs_from_urls(self._settings.url), **self._options()}
        try:
            self._opened = kind(**options, skip_instance_cache=True)
        except Exception as error:  # noqa: BLE001 - as above
            name = type(error).__name__
            if name in ("HostKeyRefused", "BadHostKeyException"):
                raise AccessRefused(
                    "the server's key is not the one of `host_key`",
                    where=self._where,
                    remedy="ask who runs the server whether its key has changed; if not, somebody pretends to be it",
                ) from None
            if "Authentication" in name or isinstance(error, PermissionError):
                raise self._refused() from None
            if isinstance(error, TypeError):
                raise DefinitionError(
                    f"{self._settings.protocol} storage does not take one of these options or credentials",
                    where=self._where,
                    remedy="compare `storage_options` and `credentials` with fsspec's documentation",
                ) from None
            raise NotApplied(f"files: no connection: {name}") from None
        self.root = str(kind._strip_protocol(self._settings.url)).rstrip("/")
        return self._opened

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {**self._settings.storage_options, **self._credentials}
        if self._settings.protocol != "sftp":
            return {**options, "use_listings_cache": False}
        from audience_syncs.destinations.files.ssh import host_key_policy, private_key

        if "private_key" in options:
            options["pkey"] = private_key(str(options.pop("private_key")), self._where)
        # Neither an agent nor the keys of whoever runs this: only what the definition names.
        no_others = {"allow_agent": False, "look_for_keys": False}
        return {**no_others, **options, "host_key_policy": host_key_policy(self._settings.host_key or "")}


class _Counted(io.RawIOBase):
    """Counts and digests what goes through."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.count = 0
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        block = bytes(block)
        self._stream.write(block)
        self.digest.update(block)
        self.count += len(block)
        return len(block)


def _fill(stream: Any, fill: Callable[[IO[bytes]], None]) -> _Counted:
    counted = _Counted(stream)
    fill(counted)  # type: ignore[arg-type]
    return counted


def _to_disk(stream: Any) -> None:
    """Local files outlive a loss of power once they are acknowledged."""
    try:
        stream.flush()
        os.fsync(stream.fileno())
    except (AttributeError, OSError):
        return  # no file of this machine
