"""A signed webhook: every batch is one POST, signed as Standard Webhooks describes (standardwebhooks.com).

Headers and signature: as its own library verifies them (tested). The length of a secret: from memory, not looked up again.

The signed content is ``{id}.{timestamp}.{body}``, HMAC-SHA256 with the base64-decoded secret. A batch keeps its id through
all attempts, so that a receiver can tell a repetition; each attempt is signed with its own time, as receivers refuse
what is older than some minutes. With several secrets there is a signature for each: that is how one is replaced.

A receiver tells nothing about single members: an answer of 2xx accepts the whole batch.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from audience_syncs.destinations.contract import Account, DestinationSpec, FieldSpec, ListRequest
from audience_syncs.destinations.http import Answer, HttpClient, Outcome, Reading, default_reading
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import AccessRefused, BatchRefused, DefinitionError, DestinationError, ListMissing
from audience_syncs.model.values import ACCEPTED, Batch, RemoteList, Verdict

ADDED, REMOVED = "audience.members.added", "audience.members.removed"
_SECRET_BYTES = range(24, 65)
"""How long a secret is, by the specification as it is remembered: see above."""
_LIMITS: Mapping[str, tuple[float, float, float]] = {
    "requests_per_s": (10, 0.1, 1_000),
    "timeout_s": (30, 0.1, 600),
    "attempts": (5, 1, 20),
}
"""Settings that are numbers: the default, the least, the most."""

SPEC = DestinationSpec(
    platform="webhook",
    title="Webhook",
    kind="http",
    fields=(
        FieldSpec("key", "generic.external_id", identifier=True, description="By which the receiver knows a member."),
    ),
    open_fields=FieldSpec("", "generic.text", description="Sent along under its name."),
    credentials=("secret",),
    settings={
        "url": "Where to send to, without a query.",
        "requests_per_s": "Requests a second. Default: 10.",
        "timeout_s": "Seconds to wait for an answer. Default: 30.",
        "attempts": "How often one request is tried. Default: 5.",
    },
    required_settings=frozenset({"url"}),
    required_fields=frozenset({"key"}),
    modes=frozenset({Mode.MIRROR, Mode.ADD, Mode.REMOVE}),
    removals=frozenset({Removal.REMOVE, Removal.KEEP}),
    batch_size=1_000,
    concurrency=2,
    docs="docs/destinations/webhook.md",
)


class Webhook:
    """One receiver."""

    spec = SPEC

    def __init__(self, account: Account, environ: Mapping[str, str]) -> None:
        self._secrets = _secrets(account)
        url = str(account.settings["url"])
        self._http = HttpClient(
            url,
            platform="webhook",
            account=url,
            headers={},
            pace=Pace(_number(account, "requests_per_s"), burst=10),
            read_timeout_s=_number(account, "timeout_s"),
            max_attempts=int(_number(account, "attempts")),
            read=_reading,
        )

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """Nothing is made: the receiver learns of a list by its first members."""
        name = wanted.id if wanted.id is not None else wanted.name
        return RemoteList(name, name)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._send(ADDED, list_id, batch)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._send(REMOVED, list_id, batch)

    def _send(self, kind: str, list_id: str, batch: Batch) -> list[Verdict]:
        message = f"msg_{uuid.uuid4().hex}"
        body = {
            "type": kind,
            "timestamp": datetime.now(UTC).isoformat(),
            "data": {"list": list_id, "members": [dict(member.fields) for member in batch.members]},
        }
        answer = self._http.request(
            "POST",
            "",
            operation=kind,
            json=body,
            sign=lambda sent: headers(message, int(time.time()), sent, self._secrets),
        )
        if answer.status >= 400:
            _raise_refusal(answer)
        return [ACCEPTED] * len(batch)


def headers(message: str, seconds: int, body: bytes, secrets: Sequence[bytes]) -> dict[str, str]:
    """The three headers of a message, with a signature for every secret."""
    content = f"{message}.{seconds}.".encode() + body
    signatures = (base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode() for secret in secrets)
    return {
        "webhook-id": message,
        "webhook-timestamp": str(seconds),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }


def _secrets(account: Account) -> list[bytes]:
    """One, or several with white space between them."""
    found: list[bytes] = []
    for text in account.credentials["secret"].split():
        try:
            secret = base64.b64decode(text.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if not text.startswith("whsec_") or len(secret) not in _SECRET_BYTES:
            raise DefinitionError(
                "the secret `secret` is none of Standard Webhooks",
                where=f"destination {account.name}",
                remedy="make one: `whsec_` and 24 to 64 random bytes in base64; put a space between two",
            )
        found.append(secret)
    return found


def _number(account: Account, name: str) -> float:
    default, least, most = _LIMITS[name]
    try:
        number = float(account.settings.get(name) or default)
    except (TypeError, ValueError):
        number = -1.0
    if not least <= number <= most:
        raise DefinitionError(
            f"`{name}` must be a number from {least:g} to {most:g}",
            where=f"destination {account.name}",
            remedy="correct it under `settings`",
        )
    return number


def _reading(answer: Answer) -> Reading:
    """As HTTP says; what a receiver writes into its answer is its own business."""
    return Outcome.OK if 200 <= answer.status < 300 else default_reading(answer)


def _raise_refusal(answer: Answer) -> None:
    if answer.status == 410:
        raise ListMissing(
            "the receiver wants no more messages (HTTP 410)",
            remedy="pause the sync or remove it; if this was a mistake, switch the receiver on again",
        )
    if answer.status in (401, 403):
        raise AccessRefused(
            f"the receiver refuses the signature (HTTP {answer.status})",
            remedy="give both sides the same secret, and look whether their clocks agree",
        )
    if answer.status in (404, 405, 501, 505):
        raise DestinationError(
            f"nobody receives at this address (HTTP {answer.status})", remedy="check the setting `url`"
        )
    raise BatchRefused(f"the receiver answered HTTP {answer.status}", reason_code=f"HTTP_{answer.status}")
