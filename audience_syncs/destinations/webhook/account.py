"""One endpoint that is told who came, changed and left.

Any 2xx accepts what was sent, except members that the answer names: ``{"rejected": [{"index": 0, "reason": "..."}]}``.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.destinations import own_endpoint
from audience_syncs.destinations.contract import DestinationSpec, ListRequest
from audience_syncs.destinations.http import HttpClient, any_success
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.webhook import signature
from audience_syncs.destinations.webhook.declaration import WebhookSettings
from audience_syncs.model.values import ACCEPTED, Batch, Outgoing, RemoteList, Verdict, VerdictKind


class Webhook:
    """An endpoint."""

    def __init__(
        self, spec: DestinationSpec, settings: WebhookSettings, credentials: Mapping[str, str], where: str
    ) -> None:
        self.spec = spec
        self._settings = settings
        self._where = where
        secrets = [name for name in ("secret", "previous_secret") if name in credentials]
        self._keys = [signature.key_of(credentials[name], name, where) for name in secrets]
        url = credentials["url"]
        origin, self._path = own_endpoint.origin_and_path(url, where, plain_http=settings.plain_http)
        self._http = HttpClient(
            origin,
            platform="webhook",
            account=hashlib.sha256(url.encode()).hexdigest(),
            headers={},
            pace=Pace(settings.requests_per_s, burst=max(1, int(settings.requests_per_s))),
            read=any_success,
            read_timeout_s=settings.timeout_s,
            max_attempts=settings.attempts,
        )

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """A list is nothing but its name, which goes with every message."""
        name = wanted.id or wanted.name
        return RemoteList(name, name)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return own_endpoint.each_key(
            batch, self._settings.key, self._where, lambda rows: self._tell(list_id, rows, "upserted")
        )

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return own_endpoint.each_key(
            batch, self._settings.key, self._where, lambda rows: self._tell(list_id, rows, "removed")
        )

    def _tell(self, list_id: str, batch: Batch, what: str) -> list[Verdict]:
        def message(member: Outgoing) -> dict[str, Any]:
            if what == "removed":
                return {"change": "removed", "fields": member.fields}
            return {"change": "added" if member.new else "updated", "fields": self._fields(batch, member)}

        def tell_one(member: Outgoing) -> Verdict:
            told = message(member)
            data = {"list": list_id, "fields": told["fields"]}
            (verdict,) = self._send(f"member.{told['change']}", data, batch, 1)
            return verdict

        if self._settings.events == "single":
            return own_endpoint.one_by_one(batch.members, tell_one)
        members = [message(member) for member in batch.members]
        return self._send(f"members.{what}", {"list": list_id, "members": members}, batch, len(members))

    def _fields(self, batch: Batch, member: Outgoing) -> dict[str, Any]:
        """All fields of the mapping: what a member has not is null."""
        return {**dict.fromkeys(batch.fields), **member.everything}

    def _send(self, kind: str, data: Mapping[str, Any], batch: Batch, count: int) -> list[Verdict]:
        content = {"key": self._settings.key, **data}
        # The same for all attempts of this message, and for no other: what was split off a refused batch is another one.
        digest = hashlib.sha256(orjson.dumps([kind, content, batch.session, batch.number])).hexdigest()
        answer = self._http.request(
            "POST",
            self._path,
            operation=kind,
            json={"type": kind, "timestamp": datetime.now(UTC).isoformat(), "data": content},
            headers=lambda body: signature.headers(f"msg_{digest[:32]}", int(time.time()), body, self._keys),
        )
        if answer.status >= 300:
            raise own_endpoint.refusal(answer, kind, self._where)
        return _verdicts(answer.body, count)


def _verdicts(body: Any, count: int) -> list[Verdict]:
    """Everybody is accepted whom the answer does not name."""
    verdicts = [ACCEPTED] * count
    named = body.get("rejected") if isinstance(body, dict) else None
    for item in named if isinstance(named, list) else ():
        index = item.get("index") if isinstance(item, dict) else None
        if isinstance(index, int) and not isinstance(index, bool) and 0 <= index < count:
            reason = own_endpoint.reason_of(item) or "the receiver rejects this member"
            code = item.get("code")
            shown = own_endpoint.without_people(code) if isinstance(code, str) and code else "REJECTED"
            verdicts[index] = Verdict(VerdictKind.REJECTED, shown, reason)
    return verdicts
