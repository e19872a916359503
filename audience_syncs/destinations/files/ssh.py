"""Whom we talk to over SFTP, and as whom."""

from __future__ import annotations

import base64
import hashlib
import io
from typing import Any

import paramiko

from audience_syncs.model.errors import DefinitionError


class HostKeyRefused(paramiko.SSHException):  # type: ignore[misc]
    """The server shows another key than the one it must have."""


def host_key_policy(fingerprint: str) -> paramiko.MissingHostKeyPolicy:
    """Takes the server whose key has this fingerprint, before any password is sent, and no other."""

    class Pinned(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            shown = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
            if f"SHA256:{shown}" != fingerprint:
                raise HostKeyRefused

    return Pinned()


def private_key(text: str, where: str) -> paramiko.PKey:
    """A key in OpenSSH's or PEM form, without a passphrase. Raises DefinitionError."""
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            return kind.from_private_key(io.StringIO(text))
        except (paramiko.SSHException, ValueError, IndexError):
            continue
    raise DefinitionError(
        "the private key cannot be read",
        where=where,
        remedy="its variable must hold the whole file, with its line breaks: an Ed25519, ECDSA or RSA key without passphrase",
    )
