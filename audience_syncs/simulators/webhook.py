"""A receiver of Standard Webhooks, simulated: ``{url}/webhook/<account>`` stands for an endpoint of somebody's own.

Read from: the specification of Standard Webhooks, version 1.0.0. It takes what is signed with the account's secret
(``secret_of``) or with the one before it, at most five minutes old; a message whose id it has seen is answered and not applied
again. It keeps lists by what the messages say: a member is known by the field that ``key`` names.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence

import orjson

from audience_syncs.simulators.keyed_lists import KeyedLists
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store

TOLERANCE_S = 300
OPERATIONS = {
    "members.upserted": "members.put",
    "member.added": "members.put",
    "member.updated": "members.put",
    "members.removed": "members.remove",
    "member.removed": "members.remove",
}


def secret_of(account: str, *, previous: bool = False) -> str:
    """The secret of an account, in the form in which secrets are handed out."""
    text = f"{'the previous' if previous else 'the'} secret of the account {account}"
    return "whsec_" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


class Webhook(Platform):
    """An endpoint for each account."""

    name = "webhook"

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._lists = KeyedLists(store)
        store.create("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, answer TEXT)")

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        account = path.strip("/")
        refusal = self._objection(method, account, headers, body)
        message: Json = None
        if refusal is None:
            try:
                message = orjson.loads(body)
            except orjson.JSONDecodeError:
                refusal = Answer(400, {"error": "the body is not JSON"})
        kind = message.get("type") if isinstance(message, dict) else None
        data = message.get("data") if isinstance(message, dict) else None
        if refusal is None and (kind not in OPERATIONS or not isinstance(data, dict)):
            refusal = Answer(400, {"error": "a message has a type that is known, and data"})
        rows = _rows(str(kind), data) if refusal is None and isinstance(data, dict) else []
        return Call(
            method,
            path,
            query,
            headers,
            OPERATIONS.get(str(kind), "unknown"),
            message,
            str(data.get("list")) if isinstance(data, dict) else None,
            rows,
            {"account": account, "id": headers.get("webhook-id", "")},
            refusal,
        )

    def _objection(self, method: str, account: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        if not account or "/" in account:
            return Answer(404, {"error": "no such endpoint"})
        if method != "POST":
            return Answer(405, {"error": "POST only"})
        message_id, sent_at = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        if not message_id or "." in message_id or not sent_at.isdigit():
            return Answer(400, {"error": "the headers of Standard Webhooks are missing"})
        if abs(self.clock.now() - int(sent_at)) > TOLERANCE_S:
            return Answer(400, {"error": "the message is too old or too new"})
        signed = f"{message_id}.{sent_at}.".encode() + body
        good = set()
        for previous in (False, True):
            key = base64.b64decode(secret_of(account, previous=previous).removeprefix("whsec_"))
            good.add("v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode())
        if not good & set(headers.get("webhook-signature", "").split(" ")) or not self.knows(account):
            return Answer(401, {"error": "no signature fits"})
        return None

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        if call.refusal is not None:
            return call.refusal
        if not isinstance(call.body["data"].get("list"), str):
            return Answer(400, {"error": "a message names its list"})
        refused = [
            {"index": place, "code": "BAD_MEMBER", "reason": "this member is not wanted"} for place in sorted(rejected)
        ]
        with self.lock:
            seen = self.store.row("SELECT answer FROM seen WHERE id = ?", call.target["id"])
            if seen is not None:
                return Answer(200, {**orjson.loads(seen[0]), "duplicate": True})
            key = call.body["data"].get("key")
            members = {}
            for place, row in enumerate(call.rows):
                values = row.get(key) if isinstance(row, dict) else None
                if values is None:
                    return Answer(400, {"error": f"member {place} has no key"})
                for value in values if isinstance(values, list) else [values]:
                    if place not in rejected:
                        members[str(value)] = row
            list_id = str(self._lists.make(call.target["account"], str(call.list_id)))
            if call.operation == "members.put":
                self._lists.put(list_id, members)
            else:
                self._lists.remove(list_id, list(members))
            # Whoever asks again, because the answer was lost, gets the same one.
            answer = {"rejected": refused} if refused else {"ok": True}
            with self.store.transaction() as db:
                db.execute("INSERT INTO seen VALUES (?, ?)", (call.target["id"], orjson.dumps(answer).decode()))
        return Answer(200, answer)

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        return Answer(status or 429, {"error": "slow down"}, {} if wait_s is None else {"Retry-After": f"{wait_s:g}"})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return Answer(status or 500, {"error": "out of order"})

    def forbidden(self, call: Call) -> Answer:
        return Answer(403, {"error": "not for you"})

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        return Answer(status or 422, {"error": "a member cannot be read"})

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        return self._lists.all()

    def has_list(self, list_id: str) -> bool:
        return self._lists.has(list_id)

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._lists.page(list_id, after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._lists.values(list_id, wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        """Each by its first field."""
        self._lists.put(list_id, {str(next(iter(member.values()))): member for member in members})
        return len(members)

    def delete_list(self, list_id: str) -> None:
        self._lists.delete(list_id)

    def forget_everything(self) -> None:
        self._lists.forget()
        with self.store.transaction() as db:
            db.execute("DELETE FROM seen")


def _rows(kind: str, data: Mapping[str, Json]) -> list[Json]:
    if kind.startswith("member."):
        return [data.get("fields")]
    members = data.get("members")
    found = members if isinstance(members, list) else []
    return [member.get("fields") if isinstance(member, dict) else None for member in found]
