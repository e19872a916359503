"""Requests that Google takes at once and works on later: sent, noted, waited for.

Facts (*Diagnostics*, ``IngestionService``): an upload is checked as a whole and answered with its ``requestId``; what comes of it is
asked with ``requestStatus:retrieve``: PROCESSING, SUCCESS, PARTIAL_SUCCESS or FAILED, with the number of records for each reason and
nothing about whose they are. Google advises to ask from half an hour on, and at growing intervals; statuses are kept for 50 days.
No call tells which requests there are.

So that an old addition never comes after a newer removal, two things are noted in the engine's table of jobs:

- ``sent MOMENT NUMBER`` before an upload goes out, until its answer is read. Where the answer is lost, or this process, nobody knows
  the request's id; the next run then sends nothing until Google must be through with it (``unanswered_wait_s``). [unsure]: how long
  that can be at most, and whether Google works on uploads in the order in which they came.
- ``request MOMENT ID`` until that request is over. The next run asks for those that are left.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from audience_syncs.destinations.doubt import may_have_been_applied, watch
from audience_syncs.destinations.google.answers import Refusal, refusal_of, stopping_error
from audience_syncs.destinations.google.identities import Record, as_sent
from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.stopping import rest, stopped
from audience_syncs.model.errors import DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import JobNotes

_ID = re.compile(r"[\x21-\x7e]{1,300}")
_NOTE = re.compile(r"(sent|request) (\d{1,15}) ([\x21-\x7e]{1,300})")
_UNKNOWN_REQUEST = ("INVALID_REQUEST_ID", "NOT_FOUND", "REQUEST_TOO_OLD")
_SILENCES = 5
"""How often in a row a status may not be had before nobody waits for it any longer."""


class State(StrEnum):
    """What became of an upload."""

    SUCCESS = "SUCCESS"
    PARTIAL = "PARTIAL_SUCCESS"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"
    """Not over yet, or not to be learnt."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of an upload, and how many records failed for which reasons."""

    state: State
    failures: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Upload:
    """A request under way. ``id`` is empty where Google only checked it."""

    id: str
    note: str
    records: Sequence[Record]


class UploadRefused(Exception):
    """Google took nothing of an upload."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal
        super().__init__(refusal.reason)


@dataclass(slots=True)
class Uploads:
    """The uploads of one account. ``envelope`` is what goes along with all of them. Thread-safe."""

    http: HttpClient
    destination: Callable[[str], Mapping[str, Any]]
    envelope: Mapping[str, Any]
    validate_only: bool
    longest_wait_s: float
    unanswered_wait_s: float
    where: str
    first_pause_s: float = 15.0
    longest_pause_s: float = 300.0

    def send(self, list_id: str, records: Sequence[Record], jobs: JobNotes, *, adding: bool) -> Upload:
        """Raises UploadRefused; NotApplied, NoAnswer and DestinationError as any request does."""
        body = {
            "destinations": [self.destination(list_id)],
            "audienceMembers": [as_sent(record) for record in records],
            "encoding": "HEX",
            **(self.envelope if adding else {}),
            **({"validateOnly": True} if self.validate_only else {}),
        }
        sent_at = int(time.time() * 1_000)
        intent = f"sent {sent_at} {secrets.token_hex(8)}"
        jobs.note(intent)
        operation = "ingest" if adding else "remove"
        answer, is_answered = self._answered(f"/v1/audienceMembers:{operation}", operation, body, jobs, intent)
        if answer.status >= 400:
            if is_answered:
                jobs.done(intent)
            raise UploadRefused(refusal_of(answer))
        request_id = answer.body.get("requestId")
        if self.validate_only:
            jobs.done(intent)
            return Upload("", "", records)
        if not isinstance(request_id, str) or _ID.fullmatch(request_id) is None:
            raise NoAnswer(f"google {operation}: the answer has no id of the request")
        note = f"request {sent_at} {request_id}"
        jobs.note(note)
        if is_answered:
            jobs.done(intent)
        return Upload(request_id, note, records)

    def _answered(
        self, path: str, operation: str, body: Mapping[str, Any], jobs: JobNotes, intent: str
    ) -> tuple[Answer, bool]:
        """The answer, and whether no attempt was left without one."""
        try:
            with watch() as doubt:
                answer = self.http.request("POST", path, operation=operation, json=body)
        except (NotApplied, DestinationError):
            if not doubt.arose:
                jobs.done(intent)
            raise
        finally:
            if doubt.arose:
                may_have_been_applied()
        return answer, not doubt.arose

    def wait(self, uploads: Sequence[Upload], jobs: JobNotes) -> list[Outcome]:
        """What became of each. Raises DestinationError where Google refuses to say."""
        outcomes: dict[str, Outcome] = {}
        deadline, pause, silences = time.monotonic() + self.longest_wait_s, self.first_pause_s, 0
        left = [upload for upload in uploads if upload.id]
        while left and rest(pause):
            try:
                for upload in left:
                    outcome = self._outcome(upload.id)
                    silences = 0
                    if outcome.state is not State.UNKNOWN:
                        outcomes[upload.id] = outcome
                        jobs.done(upload.note)
            except (NotApplied, NoAnswer):
                silences += 1
            except DestinationError:
                may_have_been_applied()
                raise
            left = [upload for upload in left if upload.id not in outcomes]
            if silences >= _SILENCES or time.monotonic() > deadline:
                break
            pause = min(self.longest_pause_s, pause * 1.3)
        return [outcomes.get(upload.id, Outcome(State.UNKNOWN)) for upload in uploads]

    def resume(self, notes: Sequence[str]) -> None:
        """Waits until nothing of what is noted can change a list any more. Raises NotApplied where that takes too long."""
        deadline, pause = time.monotonic() + self.longest_wait_s, self.first_pause_s
        left = list(notes)
        while True:
            left = [note for note in left if self._is_under_way(note)]
            if not left:
                return
            if time.monotonic() > deadline or stopped() or not rest(min(pause, self._shortest(left))):
                raise NotApplied(
                    "google: an upload of an earlier run is still being worked on, or its answer was lost a short while ago",
                    remedy="nothing was sent; the next run looks again",
                )
            pause = min(self.longest_pause_s, pause * 1.3)

    def _is_under_way(self, note: str) -> bool:
        found = _NOTE.fullmatch(note)
        if found is None:
            return False
        kind, sent_at, request_id = found.groups()
        is_young = time.time() < int(sent_at) / 1_000 + self.unanswered_wait_s
        if kind == "sent":
            return is_young
        try:
            return self._outcome(request_id, lost_is_over=not is_young).state is State.UNKNOWN
        except NoAnswer as error:
            raise NotApplied(error.message) from error  # asking changes nothing

    def _shortest(self, notes: Sequence[str]) -> float:
        """Until the first of these lost answers does not matter any more."""
        moments = [int(found[2]) for note in notes if (found := _NOTE.fullmatch(note)) and found[1] == "sent"]
        left = [max(0.01, moment / 1_000 + self.unanswered_wait_s - time.time()) for moment in moments]
        return min([self.longest_pause_s, *left])

    def _outcome(self, request_id: str, *, lost_is_over: bool = False) -> Outcome:
        answer = self.http.request(
            "GET", "/v1/requestStatus:retrieve", operation="status", params={"requestId": request_id}
        )
        if answer.status >= 400:
            refusal = refusal_of(answer)
            if refusal.http in (400, 404) and refusal.has(*_UNKNOWN_REQUEST):
                # Of a request that was made a moment ago, the status may not have arrived everywhere.
                return Outcome(State.SUCCESS if lost_is_over else State.UNKNOWN)
            raise stopping_error(refusal, "tell what became of an upload", self.where)
        found = answer.body.get("requestStatusPerDestination")
        told = found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}
        state = told.get("requestStatus")
        if state not in (State.SUCCESS, State.PARTIAL, State.FAILED):
            return Outcome(State.UNKNOWN)
        return Outcome(State(state), _failures(told.get("errorInfo")))


def _failures(info: object) -> dict[str, int]:
    """Records that failed, by reason. Numbers of 64 bits are text in JSON."""
    counts = info.get("errorCounts") if isinstance(info, dict) else None
    failures: dict[str, int] = {}
    for each in counts if isinstance(counts, list) else ():
        count = str(each.get("recordCount", "")) if isinstance(each, dict) else ""
        if count.isascii() and count.isdigit():
            reason = str(each.get("reason") or "").removeprefix("PROCESSING_ERROR_").removeprefix("REASON_")
            word = (
                reason
                if reason.isascii() and reason.replace("_", "").isalnum() and len(reason) < 100
                else "UNSPECIFIED"
            )
            failures[word] = failures.get(word, 0) + int(count)
    return failures
