"""TikTok's API for Business as far as audiences go: paths, tokens, and what tests may look into.

Operations, as faults and the journal name them: ``audiences.create``, ``audiences.delete``, ``audiences.list``,
``audiences.get``, ``mappings.add`` and ``mappings.delete`` (these two with rows). TikTok answers no row by itself: ``partial``
refuses the whole request, as one identifier that is no hash does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store
from audience_syncs.simulators.tiktok import answers
from audience_syncs.simulators.tiktok.answers import Refused, wrong
from audience_syncs.simulators.tiktok.audiences import Audiences

ROUTES = {
    ("POST", "segment/audience/"): "audiences.",
    ("POST", "segment/mapping/"): "mappings.",
    ("GET", "dmp/custom_audience/list/"): "audiences.list",
    ("GET", "dmp/custom_audience/get/"): "audiences.get",
}
DEFAULT_ACTIONS = {"audiences.": "create", "mappings.": "add"}
ACTIONS = {"create", "add", "delete"}
NO_SUCH_PATH = Answer(404, {"code": 40400, "message": "The requested path does not exist.", "data": {}})


class TikTok(Platform):
    """The audiences of every advertiser whose id somebody asks with."""

    name = "tiktok"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._audiences = Audiences(store, self.size_delay_s)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        version, _, rest = path.partition("open_api/v1.3/")
        operation = ROUTES.get((method, rest), "unknown") if not version else "unknown"
        refusal = NO_SUCH_PATH if operation == "unknown" else None
        parsed: Any = {}
        if method == "POST":
            try:
                parsed = orjson.loads(body)
            except orjson.JSONDecodeError:
                parsed = None
            if not isinstance(parsed, dict) or "json" not in headers.get("content-type", ""):
                parsed, refusal = {}, refusal or answers.refusal(40002, "The body is not a JSON object.")
        if operation in DEFAULT_ACTIONS:
            action = parsed.get("action", DEFAULT_ACTIONS[operation])
            operation += action if action in ACTIONS else "unknown"
        audience_ids, rows = None, ()
        if operation.startswith("mappings.") and isinstance(parsed.get("batch_data"), list):
            rows = parsed["batch_data"]
            audience_ids = next(iter(_audience_ids(rows)), None)
        return Call(method, f"/{path}", query, headers, operation, parsed, audience_ids, rows, {}, refusal)

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        try:
            with self.lock:
                return self._answer(call, rejected)
        except Refused as refused:
            return refused.answer

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        answer = answers.throttled()
        return Answer(status or 200, answer.body, {} if wait_s is None else {"Retry-After": f"{wait_s:g}"})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return Answer(status or 200, answers.broken().body)

    def forbidden(self, call: Call) -> Answer:
        return answers.no_scope()

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        return Answer(status or 200, answers.refusal(40002, f"batch_data.{position}.0.id: invalid id.").body)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        return self._audiences.all()

    def has_list(self, list_id: str) -> bool:
        return self._audiences.number(list_id) is not None

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._audiences.members(self._number(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._audiences.values(self._number(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        with self.lock:
            return self._audiences.put(self._number(list_id), members, self.clock.now())

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._audiences.forget(self._number(list_id))

    def forget_everything(self) -> None:
        self._audiences.forget()

    def _number(self, list_id: str) -> int:
        return self._audiences.number(list_id) or 0

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        token = call.headers.get("access-token", "")
        if call.refusal is NO_SUCH_PATH:
            return NO_SUCH_PATH
        if not token:
            return answers.no_token()
        if not self.knows(token):
            return answers.bad_token()
        if not self.may_write(token):
            return answers.no_scope()
        if call.refusal is not None:
            return call.refusal
        now = self.clock.now()
        if call.operation.startswith("mappings."):
            self._audiences.change(call.body, rejected, now)
            return answers.ok({})
        if call.operation == "audiences.create":
            return answers.ok(
                self._audiences.create(_advertiser(call.body), call.body.get("custom_audience_name"), now)
            )
        if call.operation == "audiences.delete":
            return answers.ok(self._audiences.delete(_advertiser(call.body), call.body.get("delete_audience_id")))
        if call.operation == "audiences.list":
            return answers.ok(self._audiences.page(_advertiser(call.query), call.query, now))
        if call.operation == "audiences.get":
            return answers.ok(self._audiences.details(_advertiser(call.query), call.query, now))
        raise wrong("action: Not a valid choice.")


def _advertiser(given: Mapping[str, Any]) -> str:
    found = given.get("advertiser_id")
    if not isinstance(found, str) or not found.isdigit():
        raise wrong("advertiser_id: Missing data for required field.")
    return found


def _audience_ids(rows: Sequence[Any]) -> Iterator[str]:
    for row in rows:
        for entry in row if isinstance(row, list) else ():
            ids = entry.get("audience_ids") if isinstance(entry, dict) else None
            yield from (each for each in (ids if isinstance(ids, list) else ()) if isinstance(each, str))
