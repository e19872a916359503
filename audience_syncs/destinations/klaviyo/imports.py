"""Klaviyo's bulk imports: sent, waited for, and read member by member.

An import is answered at once with a job and carried out later, so three things can be left behind, and each has its cure:

- An answer that is lost: the import is sent again. A second one of the same people changes nothing.
- A run that ends before its job: nobody knows the job's id any more, but Klaviyo tells of jobs that are not complete, and into
  which lists they go. The next run waits for those first (``wait_for_those_left``). Otherwise somebody who has left the audience
  since, and is taken out now, would be put in again by the old job.
- A job that takes too long: its members are *unknown*, and the next run waits for it likewise.

Facts: Klaviyo's OpenAPI description, revision 2026-07-15 (10,000 profiles and 5 MB an import, 100 KB a profile; the states of a
job; its errors carry the row as sent). Observed by others at real accounts in 2026: a malformed row refuses the whole import
at once and is named by its place; a list in an import gives no consent; a too short phone number is dropped without a word.
[unsure], and what is done about it: in which cases a job is ``cancelled``, so its members are unknown then; whether every
failure is among the errors, so a job with more failures than errors leaves the others unknown; how long a new profile
takes to be found, so those who are not found at first are looked up again, and are unknown in the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.klaviyo.calls import (
    Calls,
    attributes_of,
    raise_refusal,
    refused_rows,
    resources,
    row_of,
    row_reason,
)
from audience_syncs.destinations.klaviyo.profiles import ids_by_email, pages
from audience_syncs.destinations.stopping import rest
from audience_syncs.destinations.verdicts import unsure
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import Verdict, VerdictKind

JOBS = "/api/profile-bulk-import-jobs"
MOST_BYTES = 4_500_000
MOST_BYTES_EACH = 100_000
_ROUNDS = 20
"""How often an import is sent again without the rows that Klaviyo named, before it is left to the engine to divide it."""
_FORGOTTEN_AFTER = timedelta(days=1)
"""A job that is older is not waited for: something is wrong with it, and it would stop the sync for ever."""
_LOOKS = 4
TOO_LARGE = Verdict(VerdictKind.REJECTED, "TOO_LARGE", "is more than the 100 KB that Klaviyo takes of one profile")
NOT_MENTIONED = Verdict(VerdictKind.UNKNOWN, "NOT_MENTIONED", "Klaviyo counts failures that it does not name")
CANCELLED = Verdict(VerdictKind.UNKNOWN, "CANCELLED", "Klaviyo cancelled the import")
NOT_FOUND = Verdict(
    VerdictKind.UNKNOWN, "NOT_FOUND", "Klaviyo completed the import, and finds no profile of this address"
)


class Imports:
    """Bulk imports of one account. Thread-safe."""

    def __init__(self, calls: Calls, longest_wait_s: float, first_pause_s: float = 1.0) -> None:
        self._calls = calls
        self._longest_wait_s = longest_wait_s
        self.first_pause_s = first_pause_s
        self.longest_pause_s = 15.0

    def bring(
        self, profiles: Mapping[str, Mapping[str, Any]], list_id: str | None, check_list: Callable[[], object]
    ) -> dict[str, Verdict]:
        """Makes or updates the profiles, and puts them into the list: email -> verdict.

        ``check_list`` raises where the list is gone. Raises BatchRefused where Klaviyo takes none and names nobody.
        """
        verdicts: dict[str, Verdict] = {}
        fitting = []
        for email, profile in profiles.items():
            if len(orjson.dumps(profile)) > MOST_BYTES_EACH:
                verdicts[email] = TOO_LARGE
            else:
                fitting.append(email)
        try:
            for emails in _portions(fitting, profiles):
                self._bring_some(emails, profiles, list_id, check_list, verdicts)
        except DestinationError:
            if _any_may_be_there(verdicts):
                may_have_been_applied()
            raise
        return verdicts

    def _bring_some(
        self,
        emails: Sequence[str],
        profiles: Mapping[str, Mapping[str, Any]],
        list_id: str | None,
        check_list: Callable[[], object],
        verdicts: dict[str, Verdict],
    ) -> None:
        left = list(emails)
        for _ in range(_ROUNDS):
            if not left:
                break
            try:
                answer = self._calls.change(
                    "POST", JOBS, _body([profiles[email] for email in left], list_id), operation="imports.create"
                )
            except (NotApplied, NoAnswer) as error:
                verdicts.update(dict.fromkeys(left, unsure(error)))
                return
            if answer.status < 400:
                verdicts.update(self._outcome(answer, left))
                return
            named = {place: reason for place, reason in refused_rows(answer).items() if place < len(left)}
            if not named:
                break
            for place, (code, words) in named.items():
                verdicts[left[place]] = Verdict(VerdictKind.REJECTED, code, words)
            left = [email for place, email in enumerate(left) if place not in named]
        if not left:
            return
        check_list()
        try:
            raise_refusal(answer, "import profiles", per_batch=True)
        except BatchRefused as refused:
            if not _any_may_be_there(verdicts):
                raise
            if len(left) == 1:
                verdicts[left[0]] = Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason)
                return
        middle = len(left) // 2
        self._bring_some(left[:middle], profiles, list_id, check_list, verdicts)
        self._bring_some(left[middle:], profiles, list_id, check_list, verdicts)

    def _outcome(self, answer: Answer, emails: Sequence[str]) -> dict[str, Verdict]:
        data = answer.body.get("data")
        job = data.get("id") if isinstance(data, dict) else None
        if not isinstance(job, str) or not job:
            return dict.fromkeys(emails, unsure(NoAnswer("klaviyo imports.create: the answer has no job")))
        try:
            told = self._wait_for(job)
            if told.get("status") != "complete":
                return dict.fromkeys(emails, CANCELLED)
            failures = _count(told.get("failed_count"))
            verdicts = self._failures(job, emails) if failures else {}
        except NotApplied as error:
            # The job was taken: whatever is not known of it, it may have been carried out.
            return dict.fromkeys(emails, unsure(NoAnswer(error.message)))
        except DestinationError:
            may_have_been_applied()
            raise
        others = [email for email in emails if email not in verdicts]
        if failures > len(verdicts):
            return verdicts | dict.fromkeys(others, NOT_MENTIONED)
        return verdicts | self._arrived(others)

    def _wait_for(self, job: str) -> Mapping[str, Any]:
        """The job's attributes when it has ended. Raises NotApplied where that cannot be learnt, or takes too long."""
        deadline, pause = time.monotonic() + self._longest_wait_s, self.first_pause_s
        while True:
            may_go_on = rest(pause)
            answer = self._calls.get(f"{JOBS}/{job}", operation="imports.get")
            if answer.status >= 400:
                raise_refusal(answer, "follow an import")
            data = answer.body.get("data")
            told = attributes_of(data) if isinstance(data, dict) else {}
            if told.get("status") in ("complete", "cancelled"):
                return told
            if not may_go_on or time.monotonic() > deadline:
                raise NotApplied("klaviyo imports.get: the import is still under way")
            pause = min(self.longest_pause_s, pause * 1.5)

    def _failures(self, job: str, emails: Sequence[str]) -> dict[str, Verdict]:
        """Those whose import failed, by the row as it was sent, or by its place."""
        known = set(emails)
        verdicts: dict[str, Verdict] = {}
        path, params = f"{JOBS}/{job}/import-errors", {"page[size]": 100}
        for answer in pages(self._calls, path, params, operation="imports.errors", doing="read an import's errors"):
            for error in resources(answer):
                told = attributes_of(error)
                email, place = _address(told.get("original_payload")), row_of(told)
                if email not in known and place is not None and place < len(emails):
                    email = emails[place]
                if email in known:
                    verdicts[email] = Verdict(VerdictKind.REJECTED, *row_reason(told))
        return verdicts

    def _arrived(self, emails: Sequence[str]) -> dict[str, Verdict]:
        """Those whom Klaviyo counts as done, with the ids of their profiles."""
        found: dict[str, str] = {}
        missing, pause = list(emails), self.first_pause_s
        for look in range(_LOOKS):
            if not missing or (look and not rest(pause)):
                break
            try:
                found |= ids_by_email(self._calls, missing)
            except NotApplied:
                # The job said that they are in; without an id they are found by email when they leave.
                return {email: Verdict(VerdictKind.ACCEPTED, remote_id=found.get(email)) for email in emails}
            missing = [email for email in missing if email not in found]
            pause *= 2
        return {
            email: Verdict(VerdictKind.ACCEPTED, remote_id=found[email]) if email in found else NOT_FOUND
            for email in emails
        }

    def wait_for_those_left(self, list_id: str) -> None:
        """Waits until no import into this list is under way. Raises NotApplied where that takes too long."""
        deadline, pause = time.monotonic() + self._longest_wait_s, self.first_pause_s
        while self._is_under_way(list_id):
            if time.monotonic() > deadline or not rest(pause):
                raise NotApplied(
                    "klaviyo: an import into this list is still under way, from an earlier run or from somebody else",
                    remedy="nothing was sent; the next run looks again",
                )
            pause = min(self.longest_pause_s, pause * 1.5)

    def _is_under_way(self, list_id: str) -> bool:
        params: dict[str, str | int] = {"filter": 'any(status,["queued","processing"])', "page[size]": 100}
        for answer in pages(self._calls, JOBS, params, operation="imports.find", doing="look for unfinished imports"):
            for job in resources(answer):
                if not _is_forgotten(job) and list_id in self._lists_of(job):
                    return True
        return False

    def _lists_of(self, job: Mapping[str, Any]) -> set[str]:
        named = _lists_in(job)
        if named is None:
            answer = self._calls.get(f"{JOBS}/{job['id']}", operation="imports.get")
            data = answer.body.get("data") if answer.status < 400 and isinstance(answer.body, dict) else None
            named = _lists_in(data) if isinstance(data, dict) else None
        if named is None:
            raise NotApplied("klaviyo imports.get: the answer does not say into which lists an import goes")
        return named


def _any_may_be_there(verdicts: Mapping[str, Verdict]) -> bool:
    return any(verdict.kind in (VerdictKind.ACCEPTED, VerdictKind.UNKNOWN) for verdict in verdicts.values())


def _portions(emails: Sequence[str], profiles: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    """The emails in portions that fit into one import."""
    portions: list[list[str]] = []
    size = MOST_BYTES
    for email in emails:
        # The envelope of each profile beside its attributes.
        needs = len(orjson.dumps(profiles[email])) + 40
        if size + needs > MOST_BYTES:
            portions.append([])
            size = 200
        portions[-1].append(email)
        size += needs
    return portions


def _body(profiles: Sequence[Mapping[str, Any]], list_id: str | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "type": "profile-bulk-import-job",
        "attributes": {"profiles": {"data": [{"type": "profile", "attributes": profile} for profile in profiles]}},
    }
    if list_id is not None:
        data["relationships"] = {"lists": {"data": [{"type": "list", "id": list_id}]}}
    return {"data": data}


def _address(payload: object) -> str:
    """The email in a row as it was sent, with or without JSON:API's envelope."""
    if not isinstance(payload, Mapping):
        return ""
    held = payload.get("email") or attributes_of(payload).get("email")
    return held.lower() if isinstance(held, str) else ""


def _lists_in(job: Mapping[str, Any]) -> set[str] | None:
    """The ids of the lists an import goes into; None where it is not told."""
    related = job.get("relationships")
    lists = related.get("lists") if isinstance(related, Mapping) else None
    data = lists.get("data") if isinstance(lists, Mapping) else None
    if not isinstance(data, list):
        return None
    return {str(each.get("id")) for each in data if isinstance(each, Mapping)}


def _is_forgotten(job: Mapping[str, Any]) -> bool:
    try:
        created = datetime.fromisoformat(str(attributes_of(job).get("created_at")))
    except ValueError:
        return False
    moment = created if created.tzinfo else created.replace(tzinfo=UTC)
    return datetime.now(UTC) - moment > _FORGOTTEN_AFTER


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0
