"""One call of ``add`` or ``remove``, from members to verdicts.

What Google refuses at once is refused as a whole, for members whom it names: the others are sent again. What fails later is only
counted. Where all of an upload failed, all have failed, and where none did, none has; where some did, the upload is sent again in
ten parts, and those again, until the ones that fail are alone. Sending somebody again changes nothing for who is in. It takes as
long as it takes (a round is some half an hour), at most ``SEARCHES`` uploads a call; who is not found out by then is *unknown*.

[unsure]: that what fails for what it is (a format, a consent) fails every time. So a member who failed alone, after an upload that
was partly carried out, is called rejected only if as many are found as were counted; else they are *unknown* and come again.
A failure of Google's own (INTERNAL_ERROR), or for what the account has not agreed to, is nobody's fault: those come again, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from audience_syncs.destinations.google.answers import (
    ABOUT_A_MEMBER,
    TOO_MUCH,
    VAGUE,
    Refusal,
    Violation,
    members_at_fault,
    stopping_error,
)
from audience_syncs.destinations.google.identities import Record, records_of
from audience_syncs.destinations.google.uploads import Outcome, State, Upload, UploadRefused, Uploads
from audience_syncs.destinations.stopping import rest
from audience_syncs.destinations.verdicts import unsure
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, JobNotes, Verdict, VerdictKind

MOST_RECORDS = 10_000
"""Records of one upload."""
PARTS = 10
SEARCHES = 200
ROUNDS = 50
"""How often an upload is sent again without the records that were named."""
VAGUE_TRIES = 3
NOT_THEIR_FAULT = frozenset(
    {"", "UNSPECIFIED", "INTERNAL_ERROR", "NO_CONSENT", "UNKNOWN_CONSENT", "TERMS_AND_CONDITIONS_NOT_SIGNED"}
)
"""Reasons of failures that no change of the member would mend."""
NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has nothing that Google could find a person by")
VALIDATED_ONLY = Verdict(
    VerdictKind.RETRYABLE, "VALIDATED_ONLY", "in order, and not carried out: the setting `validate_only` is on"
)
STILL_PROCESSING = Verdict(
    VerdictKind.UNKNOWN, "STILL_PROCESSING", "Google had not said what became of the upload when the wait for it ended"
)
NOT_NAMED = Verdict(
    VerdictKind.UNKNOWN, "FAILED_NOT_NAMED", "one of several of whom Google says that some failed, not who"
)
PARTLY = Verdict(
    VerdictKind.UNKNOWN, "PARTLY_APPLIED", "Google took some of this member's identifiers, and not the others"
)


class ChecksList(Protocol):
    def __call__(self, list_id: str, /) -> object: ...


@dataclass(slots=True)
class _Counted:
    """An upload that was partly carried out: how many of its records failed for what they are, at least and at most."""

    records: Sequence[Record]
    least: int
    most: int


class Delivery:
    """One call. ``check_list`` raises where the list is gone."""

    vague_pause_s = 2.0

    def __init__(
        self, uploads: Uploads, list_id: str, jobs: JobNotes, check_list: ChecksList, where: str, *, adding: bool
    ) -> None:
        self._uploads = uploads
        self._list_id = list_id
        self._jobs = jobs
        self._check_list = check_list
        self._where = where
        self._adding = adding
        self._verdicts: dict[Record, Verdict] = {}
        self._doubtful: set[Record] = set()
        """Records of uploads that were partly carried out."""
        self._counted: list[_Counted] = []
        self._searches_left = SEARCHES
        self._taken = False
        """Whether Google took an upload of this call."""
        self._stopped: DestinationError | None = None

    def of(self, batch: Batch) -> list[Verdict]:
        """Raises BatchRefused and DestinationError only where nothing was taken."""
        records_by_member = [records_of(member, adding=self._adding) for member in batch.members]
        records = list(dict.fromkeys(record for records in records_by_member for record in records))
        groups: list[Sequence[Record]] = [
            records[start : start + MOST_RECORDS] for start in range(0, len(records), MOST_RECORDS)
        ]
        while groups:
            sent = [upload for group in groups for upload in self._send(group)]
            outcomes = self._uploads.wait(sent, self._jobs)
            groups = [
                part for upload, outcome in zip(sent, outcomes, strict=True) for part in self._read(upload, outcome)
            ]
        self._doubt_what_does_not_add_up()
        return [self._verdict([self._verdicts[record] for record in records]) for records in records_by_member]

    def _verdict(self, of_records: Sequence[Verdict]) -> Verdict:
        if not of_records:
            return NO_IDENTIFIER
        kinds = {verdict.kind: verdict for verdict in of_records}
        if len(kinds) == 1:
            return of_records[0]
        return kinds.get(VerdictKind.UNKNOWN, PARTLY)

    # Sending

    def _send(self, records: Sequence[Record]) -> Iterator[Upload]:
        """Sends the records; more than one upload where some are refused and nobody is named."""
        left, vague_tries = list(records), 0
        for _ in range(ROUNDS):
            if self._stopped is not None:
                self._give(left, unsure(self._stopped))
                return
            try:
                upload = self._uploads.send(self._list_id, left, self._jobs, adding=self._adding)
            except UploadRefused as refused:
                at_fault = members_at_fault(refused.refusal, len(left))
                if not at_fault:
                    yield from self._refused(left, refused.refusal)
                    return
                if all(violation.vague for violation in at_fault.values()) and vague_tries < VAGUE_TRIES:
                    vague_tries += 1
                    if rest(self.vague_pause_s):
                        continue
                for place, violation in at_fault.items():
                    self._give([left[place]], _of(violation))
                left = [record for place, record in enumerate(left) if place not in at_fault]
                if not left:
                    return
            except (NotApplied, NoAnswer) as error:
                self._give(left, unsure(error))
                return
            except DestinationError as error:
                self._stop(error, left)
                return
            else:
                self._taken = True
                yield upload
                return
        self._give(left, Verdict(VerdictKind.RETRYABLE, "REFUSED", "in an upload that Google refused for others"))

    def _refused(self, records: Sequence[Record], refusal: Refusal) -> Iterator[Upload]:
        """An upload that is refused, and not for members who are named."""
        about_members = refusal.http == 413 or (
            refusal.http == 400 and refusal.reason in ABOUT_A_MEMBER | TOO_MUCH | VAGUE and not refusal.violations
        )
        if not about_members:
            try:
                self._check_list(self._list_id)
            except (NotApplied, NoAnswer) as error:
                # What the list has become is not known, but the upload was certainly refused.
                self._give(records, Verdict(VerdictKind.RETRYABLE, error.code, error.message))
                return
            except DestinationError as error:
                self._stop(error, records)
                return
            self._stop(stopping_error(refusal, self._doing, self._where), records)
            return
        words = refusal.reason.replace("_", " ").lower()
        if not self._taken and not self._verdicts:
            raise BatchRefused(words, reason_code=refusal.reason)
        if len(records) == 1:
            self._give(records, Verdict(VerdictKind.REJECTED, refusal.reason, words))
        elif self._may_search(2):
            middle = len(records) // 2
            yield from self._send(records[:middle])
            yield from self._send(records[middle:])
        else:
            self._give(records, Verdict(VerdictKind.RETRYABLE, refusal.reason, words))

    @property
    def _doing(self) -> str:
        return "add members to the list" if self._adding else "remove members from the list"

    def _stop(self, error: DestinationError, left: Sequence[Record]) -> None:
        """Raised while nothing was taken; later, the next call raises it."""
        if not self._taken:
            raise error
        self._stopped = error
        self._give(left, unsure(error))

    # What came of it

    def _read(self, upload: Upload, outcome: Outcome) -> Iterator[Sequence[Record]]:
        """The verdicts of an upload's records; those to be sent again, in parts."""
        records = upload.records
        if not upload.id:
            self._give(records, VALIDATED_ONLY)
        elif outcome.state is State.SUCCESS:
            self._give(records, ACCEPTED)
        elif outcome.state is State.UNKNOWN:
            self._give(records, STILL_PROCESSING)
        elif outcome.state is State.FAILED:
            self._give(records, self._failure(outcome))
        else:
            yield from self._divided(records, outcome)

    def _failure(self, outcome: Outcome) -> Verdict:
        """The verdict on records of which all failed."""
        reasons = sorted(outcome.failures, key=lambda reason: (-outcome.failures[reason], reason)) or ["UNSPECIFIED"]
        words = " or ".join(reason.replace("_", " ").lower() for reason in reasons)
        # Who could not be removed may still be there, whatever the reason.
        permanent = self._adding and not NOT_THEIR_FAULT & set(reasons)
        kind = VerdictKind.REJECTED if permanent else VerdictKind.RETRYABLE
        return Verdict(kind, reasons[0], f"Google took the upload and did not carry it out: {words}")

    def _divided(self, records: Sequence[Record], outcome: Outcome) -> Iterator[Sequence[Record]]:
        if not self._doubtful.issuperset(records):
            theirs = [count for reason, count in outcome.failures.items() if reason not in NOT_THEIR_FAULT]
            self._counted.append(_Counted(records, max(theirs, default=0), sum(theirs)))
        self._doubtful.update(records)
        parts = min(PARTS, len(records))
        if parts < 2 or not self._may_search(parts):
            self._give(records, NOT_NAMED)
            return
        for number in range(parts):
            yield records[number * len(records) // parts : (number + 1) * len(records) // parts]

    def _may_search(self, requests: int) -> bool:
        self._searches_left -= requests
        return self._searches_left >= 0

    def _give(self, records: Iterable[Record], verdict: Verdict) -> None:
        in_doubt = Verdict(VerdictKind.UNKNOWN, verdict.reason_code, verdict.reason)
        for record in records:
            doubtful = record in self._doubtful and verdict.kind is VerdictKind.RETRYABLE
            self._verdicts[record] = in_doubt if doubtful else verdict

    def _doubt_what_does_not_add_up(self) -> None:
        for counted in self._counted:
            refused = [each for each in counted.records if self._verdicts[each].kind is VerdictKind.REJECTED]
            if not counted.least <= len(refused) <= counted.most:
                for record in refused:
                    verdict = self._verdicts[record]
                    self._verdicts[record] = Verdict(VerdictKind.UNKNOWN, verdict.reason_code, verdict.reason)


def _of(violation: Violation) -> Verdict:
    return Verdict(VerdictKind.REJECTED, violation.reason or "INVALID_ARGUMENT", violation.in_words)
