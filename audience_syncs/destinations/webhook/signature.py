"""Signatures of Standard Webhooks 1.0.0 (its specification, read 2026-11): symmetric, HMAC-SHA256.

``webhook-id`` is the same for all attempts of a message, ``webhook-timestamp`` that of the attempt, ``webhook-signature`` one
``v1,<base64>`` for each secret, with a space between: while a secret is being changed the receiver may know either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

from audience_syncs.model.errors import DefinitionError

_PREFIX = "whsec_"
_LEAST, _MOST = 24, 64
"""Bytes of a secret: 192 to 512 bits."""


def key_of(secret: str, name: str, where: str) -> bytes:
    """The secret's bytes. Raises DefinitionError, which never shows it."""
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX) + "==", validate=False)
    except (binascii.Error, ValueError):
        key = b""
    if not _LEAST <= len(key) <= _MOST:
        raise DefinitionError(
            f"the `{name}` is not a secret of Standard Webhooks",
            where=where,
            remedy=f"it is `{_PREFIX}` and {_LEAST} to {_MOST} random bytes in base64; make one with: "
            f'echo "{_PREFIX}$(openssl rand -base64 32)"',
        )
    return key


def headers(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> Mapping[str, str]:
    """The three headers of one attempt."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
