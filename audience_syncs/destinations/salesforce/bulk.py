"""Bulk API 2.0 ingest: a job is made, its rows are uploaded, it is closed, waited for, and its results are read.

Facts (Bulk API 2.0 Developer Guide, read 2026-11): states Open, UploadComplete, InProgress, JobComplete, Failed, Aborted; one
upload a job, of up to 100 MB; an empty cell leaves a field as it is, ``#N/A`` empties it; results repeat the columns that were
sent, in any order, after ``sf__Id`` and ``sf__Created`` or ``sf__Error`` (``CODE:words:fields --``); ``unprocessedrecords`` are
those that a job never came to. Jobs are listed by ``GET /jobs/ingest``, with object and user, and nothing that would tell
which sync made one: so ours are noted (``batch.jobs``), before anything is uploaded.

A job that was never closed changes nothing, so a lost answer before that leaves nothing in doubt: the job is aborted. A row that
is in none of the three results is *unknown*.

Lines end in LF, as the job says; a file with other line ends is refused as a whole ("LineEnding is invalid on user data",
people report), so line breaks inside of values are LF, too. Columns are named exactly as the fields are: results "only include
columns that are a match".

[unsure], and what is done about it: what a field with an unknown name does (a Failed job with ``InvalidBatch``, others
report: then the run is stopped); whether numbers of results are exact (results whose number differs are read again).
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.salesforce.calls import Calls, no_such_field, raise_refusal
from audience_syncs.destinations.salesforce.rows import Change, Row, Verb, refused
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import JobNotes, Verdict, VerdictKind

JOBS = "/jobs/ingest"
MOST_BYTES = 90_000_000
_OVER = frozenset({"JobComplete", "Failed", "Aborted"})
_READS = 3
_WHY = re.compile(r"(?:null:)?([A-Za-z]{3,40}) :", re.ASCII)
_FIELD = re.compile(r"Field name not found : (\w{1,80})", re.ASCII)
NOT_MENTIONED = Verdict(VerdictKind.UNKNOWN, "NOT_MENTIONED", "the job's results do not tell of this record")
NOT_PROCESSED = Verdict(VerdictKind.RETRYABLE, "NOT_PROCESSED", "the job ended before it came to this record")


class Jobs:
    """Ingest jobs of one org. Thread-safe."""

    def __init__(self, calls: Calls, longest_wait_s: float) -> None:
        self._calls = calls
        self._longest_wait_s = longest_wait_s
        self.first_pause_s = 1.0
        self.longest_pause_s = 15.0

    def portions(self, rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
        """Those that fit into one upload."""
        start, size = 0, 0
        for number, row in enumerate(rows):
            needs = sum(len((value or "#N/A").encode()) + 4 for value in row.values())
            if number > start and size + needs > MOST_BYTES:
                yield rows[start:number]
                start, size = number, 0
            size += needs
        if rows:
            yield rows[start:]

    def send(self, change: Change, rows: Sequence[Row], jobs: JobNotes) -> dict[str, Verdict]:
        """Carries out one job. Raises NotApplied and BatchRefused where it certainly changed nothing."""
        job = self._made(change)
        jobs.note(job)
        try:
            self._upload(job, change, rows)
        except (NotApplied, BatchRefused, DestinationError):
            self._give_up(job)
            jobs.done(job)
            raise
        try:
            self._close(job, change)
            told = self._ended(job)
            if told is None:
                # Still under way: the note stays, and the next run waits for it.
                return dict.fromkeys(
                    map(change.key_of, rows), Verdict(VerdictKind.UNKNOWN, "NO_ANSWER", "the job is still under way")
                )
            jobs.done(job)
            return self._verdicts(job, told, change, rows)
        except NotApplied as error:
            # The job was closed, or may have been: whatever is not known of it, it may have been carried out.
            raise NoAnswer(error.message) from error
        except DestinationError as error:
            if error.code != "NO_SUCH_FIELD":
                may_have_been_applied()
            raise

    def wait_for(self, job_ids: Sequence[str]) -> None:
        """Until none of these can change anything any more. One that was never closed is aborted. Raises NotApplied."""
        deadline = time.monotonic() + self._longest_wait_s
        for job in job_ids:
            pause = self.first_pause_s
            while True:
                told = self._read(job)
                state = told.get("state") if told is not None else "Aborted"
                if state in _OVER:
                    break
                if state == "Open":
                    self._abort(job)
                if time.monotonic() > deadline or not rest(pause):
                    raise NotApplied(
                        "salesforce: a job of an earlier run is still under way",
                        remedy="nothing was sent; the next run looks again; see Setup, Bulk Data Load Jobs",
                    )
                pause = min(self.longest_pause_s, pause * 1.5)

    def _made(self, change: Change) -> str:
        body = {
            "object": change.object,
            "operation": str(change.verb),
            "contentType": "CSV",
            "lineEnding": "LF",
            "columnDelimiter": "COMMA",
        }
        if change.verb is Verb.UPSERT:
            body["externalIdFieldName"] = change.key
        # One that was made, and whose answer was lost, stays open and changes nothing.
        answer = self._calls.ask("POST", JOBS, operation="jobs.create", json=body)
        if answer.status >= 400:
            raise_refusal(answer, f"{change.verb} {change.object} records by a job")
        job = answer.body.get("id") if isinstance(answer.body, dict) else None
        if not isinstance(job, str) or not job.isalnum():
            raise NotApplied("salesforce jobs.create: the answer has no job")
        return job

    def _upload(self, job: str, change: Change, rows: Sequence[Row]) -> None:
        content = ("text/csv; charset=UTF-8", written(rows))
        # Not repeated once it may have got through: a job takes one upload, and its refusal of another would be taken for a
        # refusal of what is in it.
        answer = self._calls.ask(
            "PUT", f"{JOBS}/{job}/batches", operation="jobs.upload", content=content, idempotent=False
        )
        if answer.status >= 400:
            raise_refusal(answer, f"{change.verb} {change.object} records by a job", per_batch=True)

    def _close(self, job: str, change: Change) -> None:
        try:
            answer = self._calls.change(
                "PATCH", f"{JOBS}/{job}", operation="jobs.close", json={"state": "UploadComplete"}
            )
        except NoAnswer:
            return  # its state will tell
        if answer.status >= 400:
            told = self._read(job)
            if told is None or told.get("state") == "Open":
                self._give_up(job)
                raise_refusal(answer, f"{change.verb} {change.object} records by a job")

    def _ended(self, job: str) -> Mapping[str, object] | None:
        """What is told of the job when it is over; None where it takes too long. Raises NotApplied."""
        deadline, pause = time.monotonic() + self._longest_wait_s, self.first_pause_s
        while True:
            may_go_on = rest(pause)
            told = self._read(job)
            if told is None:
                raise NotApplied("salesforce jobs.get: the job is gone")
            if told.get("state") in _OVER:
                return told
            if not may_go_on or time.monotonic() > deadline:
                return None
            if told.get("state") == "Open":
                # It was not closed after all; or it is still to be.
                self._calls.change("PATCH", f"{JOBS}/{job}", operation="jobs.close", json={"state": "UploadComplete"})
            pause = min(self.longest_pause_s, pause * 1.5)

    def _read(self, job: str) -> Mapping[str, object] | None:
        """None where there is no such job. Raises NotApplied."""
        answer = self._calls.get(f"{JOBS}/{job}", operation="jobs.get")
        if answer.status == 404:
            return None
        if answer.status >= 400:
            raise_refusal(answer, "follow a job")
        if not isinstance(answer.body, dict) or not isinstance(answer.body.get("state"), str):
            raise NotApplied("salesforce jobs.get: the answer has no state")
        return answer.body

    def _abort(self, job: str) -> None:
        answer = self._calls.ask("PATCH", f"{JOBS}/{job}", operation="jobs.abort", json={"state": "Aborted"})
        if answer.status >= 500:
            raise NotApplied("salesforce jobs.abort: no answer")

    def _give_up(self, job: str) -> None:
        """So that it is not left lying about; one that is stays open, and changes nothing."""
        try:
            self._abort(job)
        except (NotApplied, DestinationError):
            return

    def _verdicts(
        self, job: str, told: Mapping[str, object], change: Change, rows: Sequence[Row]
    ) -> dict[str, Verdict]:
        failed = _count(told.get("numberRecordsFailed"))
        done = max(0, _count(told.get("numberRecordsProcessed")) - failed)
        nameless = _FIELD.search(str(told.get("errorMessage") or ""))
        if told.get("state") == "Failed" and not done and not failed and nameless is not None:
            raise no_such_field(nameless[1], f"{change.verb} {change.object} records by a job")
        wanted = {change.key_of(row) for row in rows}
        verdicts: dict[str, Verdict] = {}
        if done:
            for row in self._results(job, "successfulResults", done):
                key = _key(change, row, wanted)
                verdicts[key] = Verdict(VerdictKind.ACCEPTED, remote_id=row.get("sf__Id") or None)
        if failed:
            for row in self._results(job, "failedResults", failed):
                verdicts[_key(change, row, wanted)] = _failure(row.get("sf__Error", ""))
        if told.get("state") != "JobComplete":
            why = _WHY.match(str(told.get("errorMessage") or ""))
            unprocessed = replace(NOT_PROCESSED, reason=f"{NOT_PROCESSED.reason}{f' ({why[1]})' if why else ''}")
            for row in self._results(job, "unprocessedrecords", None):
                verdicts.setdefault(_key(change, row, wanted), unprocessed)
        return {key: verdicts.get(key, NOT_MENTIONED) for key in wanted}

    def _results(self, job: str, which: str, expected: int | None) -> list[dict[str, str]]:
        """Read again where their number is another than was told. Raises NotApplied where they cannot be read."""
        found: list[dict[str, str]] | None = None
        for turn in range(_READS):
            if turn and not rest(self.first_pause_s):
                break
            answer = self._calls.get(
                f"{JOBS}/{job}/{which}", operation="jobs.results", headers=lambda body: {"Accept": "text/csv"}
            )
            if answer.status >= 400:
                raise_refusal(answer, "read a job's results")
            found = read(answer)
            if found is not None and (expected is None or len(found) == expected):
                return found
        if found is None:
            raise NotApplied("salesforce jobs.results: the answer cannot be read")
        return found


def written(rows: Sequence[Row]) -> bytes:
    """Rows as CSV: fields that a row lacks are empty, which leaves them as they are."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(columns)
    writer.writerows([["#N/A" if row.get(name, "") is None else row.get(name, "") for name in columns] for row in rows])
    return text.getvalue().encode()


def read(answer: Answer) -> list[dict[str, str]] | None:
    """Rows of CSV; None where it is none, or cut off."""
    try:
        rows = list(csv.reader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""), strict=True))
    except (csv.Error, UnicodeDecodeError):
        return None
    rows = [row for row in rows if row]
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        return None if rows else []
    return [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]


def _key(change: Change, row: Mapping[str, str], wanted: set[str]) -> str:
    """A row's key as it was sent; of a deletion, the id."""
    sent = row.get(change.key, "")
    if sent not in wanted and change.key == "Id":
        return row.get("sf__Id", "")
    return sent


def _failure(error: str) -> Verdict:
    """``REQUIRED_FIELD_MISSING:Required fields are missing: [LastName]:LastName --``."""
    code, _, rest_of_it = error.partition(":")
    named = rest_of_it.rpartition(":")[2].removesuffix("--").strip()
    return refused(code.strip(), [name.strip() for name in named.split(",")])


def _count(value: object) -> int:
    return int(value) if isinstance(value, int | str) and str(value).isdigit() else 0
