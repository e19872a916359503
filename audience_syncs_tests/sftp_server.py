"""A real SFTP server on the loopback, serving one folder to one user; for the tests of files."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import threading
from pathlib import Path
from typing import Any

import paramiko

USER, PASSWORD = "drop", "sftp-pass-word"


class _Login(paramiko.ServerInterface):  # type: ignore[misc]
    def __init__(self, logins: list[str]) -> None:
        self._logins = logins

    def check_auth_password(self, username: str, password: str) -> int:
        self._logins.append(password)
        good = (username, password) == (USER, PASSWORD)
        return int(paramiko.AUTH_SUCCESSFUL if good else paramiko.AUTH_FAILED)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)


class _Handle(paramiko.SFTPHandle):  # type: ignore[misc]
    def stat(self) -> Any:
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


class _Folder(paramiko.SFTPServerInterface):  # type: ignore[misc]
    """Maps paths below ``/`` to the folder."""

    root: Path

    def __init__(self, server: Any, *_: Any, root: Path) -> None:
        self.root = root

    def _real(self, path: str) -> Path:
        return self.root / self.canonicalize(path).lstrip("/")

    def _done(self, act: Any) -> int:
        try:
            act()
        except OSError as error:
            return int(paramiko.SFTPServer.convert_errno(error.errno))
        return int(paramiko.SFTP_OK)

    def list_folder(self, path: str) -> Any:
        try:
            found = list(self._real(path).iterdir())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        return [paramiko.SFTPAttributes.from_stat(entry.stat(), filename=entry.name) for entry in found]

    def stat(self, path: str) -> Any:
        try:
            return paramiko.SFTPAttributes.from_stat(self._real(path).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    lstat = stat

    def open(self, path: str, flags: int, attr: Any) -> Any:
        try:
            descriptor = os.open(self._real(path), flags, 0o644)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        mode = "wb" if flags & os.O_WRONLY else "rb" if not flags & os.O_RDWR else "r+b"
        stream = os.fdopen(descriptor, mode)
        handle = _Handle(flags)
        handle.filename, handle.readfile, handle.writefile = path, stream, stream
        return handle

    def remove(self, path: str) -> int:
        return self._done(self._real(path).unlink)

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return self._done(lambda: self._real(oldpath).replace(self._real(newpath)))

    rename = posix_rename

    def mkdir(self, path: str, attr: Any) -> int:
        return self._done(self._real(path).mkdir)

    def rmdir(self, path: str) -> int:
        return self._done(self._real(path).rmdir)


class SftpServer:
    """Serves ``root`` until stopped."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.passwords_seen: list[str] = []
        self._key = paramiko.RSAKey.generate(2048)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(10)
        self.port = int(self._socket.getsockname()[1])
        self._transports: list[Any] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def fingerprint(self) -> str:
        return "SHA256:" + base64.b64encode(hashlib.sha256(self._key.asbytes()).digest()).decode().rstrip("=")

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(self._key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Folder, root=self.root)
            self._transports.append(transport)
            try:
                transport.start_server(server=_Login(self.passwords_seen))
            except (paramiko.SSHException, EOFError):
                continue

    def stop(self) -> None:
        self._socket.close()
        for transport in self._transports:
            transport.close()
