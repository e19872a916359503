"""HubSpot contacts: made or updated, and found again, a hundred a call; who was meant by which part of an answer.

HubSpot answers in no promised order. A contact that was found by one of its further addresses comes back under its first
one, so what an answer is about is told by the trace id; where that is missing, by the addresses; and where that leaves
a doubt, the contact is sent once more, alone.

Facts: HubSpot's published OpenAPI of contacts, version 2026-09, and its contacts guide (read 2026-08, 2026-09).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.hubspot_errors import keep_to_limit, raise_refusal, row_reason
from audience_syncs.model.errors import AudienceSyncsError, BatchRefused, NoAnswer, NotApplied
from audience_syncs.model.values import Batch, Outgoing, Verdict, VerdictKind

CALL_SIZE = 100
"""Contacts per upsert and per look-up (usage guidelines)."""

CONTACTS = "/crm/objects/2026-09/contacts"
_FURTHER_ADDRESSES = "hs_additional_emails"
"""A contact's other addresses, separated by semicolons."""
_HOPELESS = 20
"""Refusals without one acceptance, after which a batch is not searched for its culprit any further."""

NO_ADDRESS = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no email address, by which HubSpot finds contacts")
_NOT_MENTIONED = Verdict(VerdictKind.UNKNOWN, "NOT_MENTIONED", "HubSpot's answer does not mention this contact")


def addresses_of(member: Outgoing) -> list[str]:
    value = member.fields.get("email", "")
    return [text for text in ([value] if isinstance(value, str) else value) if text]


class Contacts:
    """The members of a batch as contacts: those who share an email are one contact, with the last one's properties."""

    def __init__(self, batch: Batch) -> None:
        self.by_position = [next(iter(addresses_of(member)), None) for member in batch.members]
        self.properties: dict[str, dict[str, str]] = {}
        for email, member in zip(self.by_position, batch.members, strict=True):
            if email is None:
                continue
            merged = self.properties.setdefault(email, {})
            for name, value in member.fields.items():
                merged[name] = value if isinstance(value, str) else ";".join(value)
        for properties in self.properties.values():
            # The id says it. As a property it would make an address that is a contact's second one its first.
            # HubSpot is not known to take contacts without any property.
            if len(properties) > 1:
                properties.pop("email", None)


class Upserts:
    """Makes or updates contacts; knows afterwards what became of each."""

    def __init__(self, http: HttpClient, contacts: Contacts) -> None:
        self._http = http
        self._contacts = contacts
        self._records: dict[str, str] = {}
        self._verdicts: dict[str, Verdict] = {}
        self._refusals = 0
        self._put_off: list[Sequence[str]] = []
        self._last_refusal = BatchRefused("refused")

    def send_all(self) -> None:
        """Raises BatchRefused where nothing was taken and the fault seems not to be in single contacts."""
        emails = list(self._contacts.properties)
        for start in range(0, len(emails), CALL_SIZE):
            self._send(emails[start : start + CALL_SIZE])
        if not self._put_off:
            return
        if not self._records and all(verdict.kind is VerdictKind.REJECTED for verdict in self._verdicts.values()):
            raise self._last_refusal
        # Where something was taken after all, the fault is in single contacts, and those who were put off beside them
        # have not had their turn.
        put_off, self._put_off = self._put_off, []
        last = self._last_refusal
        for group in put_off:
            if self._records:
                self._send(group)
            else:
                self._give(group, Verdict(VerdictKind.REJECTED, last.reason_code, last.reason))

    @property
    def record_ids(self) -> list[str]:
        return list(dict.fromkeys(self._records.values()))

    def outcome(self, email: str | None, joined: Mapping[str, Verdict]) -> Verdict:
        """``joined``: what became of each record's place in the list."""
        if email is None:
            return NO_ADDRESS
        record = self._records.get(email)
        return self._verdicts[email] if record is None else joined[record]

    @property
    def _is_hopeless(self) -> bool:
        return not self._records and self._refusals > _HOPELESS

    def _send(self, emails: Sequence[str]) -> None:
        """One call; where HubSpot refuses it as a whole for one contact, halves of it, until the contact is alone."""
        inputs = [
            {
                "id": email,
                "idProperty": "email",
                # With an id of its own on every input, HubSpot writes the good ones and names the bad ones.
                "objectWriteTraceId": str(number),
                "properties": self._contacts.properties[email],
            }
            for number, email in enumerate(emails)
        ]
        try:
            answer = self._http.request(
                "POST", f"{CONTACTS}/batch/upsert", operation="contacts.upsert", json={"inputs": inputs}
            )
            keep_to_limit(self._http.pace, answer)
            if answer.status >= 400:
                raise_refusal(answer, "write contacts", per_batch=True)
        except (NotApplied, NoAnswer) as error:
            self._give(emails, unsure(error))
        except BatchRefused as refused:
            self._refusals += 1
            self._last_refusal = refused
            if len(emails) == 1:
                self._give(emails, Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason))
                return
            if self._is_hopeless:
                self._put_off.append(emails)
                return
            middle = len(emails) // 2
            self._send(emails[:middle])
            self._send(emails[middle:])
        else:
            self._read(answer, emails)

    def _read(self, answer: Answer, emails: Sequence[str]) -> None:
        open_questions = dict.fromkeys(emails)
        unattributed = 0
        for result in entries(answer, "results"):
            meant = _meant(result.get("objectWriteTraceId"), _addresses_in(result), emails)
            unattributed += not meant
            for email in meant[:1] if result.get("id") else ():
                self._records[email] = str(result["id"])
                open_questions.pop(email, None)
        for error in entries(answer, "errors"):
            meant = _meant_by_error(error, emails)
            unattributed += not meant
            for email in meant:
                if email in open_questions:
                    self._verdicts[email] = Verdict(VerdictKind.REJECTED, *row_reason(error))
                    del open_questions[email]
        for email in open_questions:
            if unattributed and len(emails) > 1:
                self._send([email])  # alone, its answer is about nobody else
            else:
                self._give([email], _NOT_MENTIONED)

    def _give(self, emails: Iterable[str], verdict: Verdict) -> None:
        for email in emails:
            self._verdicts[email] = verdict


class Found:
    """Contacts that were looked up: the record of each address, and the addresses HubSpot gave no answer for."""

    def __init__(self, http: HttpClient, emails: Iterable[str]) -> None:
        """Raises NotApplied where there is no answer: looking up changes nothing."""
        self.records: dict[str, str] = {}
        self.unanswered: set[str] = set()
        wanted = list(dict.fromkeys(emails))
        for start in range(0, len(wanted), CALL_SIZE):
            self._look_up(http, wanted[start : start + CALL_SIZE])

    def _look_up(self, http: HttpClient, emails: Sequence[str]) -> None:
        asked = {
            "idProperty": "email",
            "properties": ["email", _FURTHER_ADDRESSES],
            "propertiesWithHistory": [],
            "inputs": [{"id": email} for email in emails],
        }
        try:
            answer = http.request("POST", f"{CONTACTS}/batch/read", operation="contacts.read", json=asked)
        except NoAnswer as error:
            raise NotApplied(error.message) from error
        keep_to_limit(http.pace, answer)
        if answer.status >= 400:
            raise_refusal(answer, "look contacts up")
        unattributed = 0
        for result in entries(answer, "results"):
            meant = _meant(None, _addresses_in(result), emails)
            unattributed += not meant
            for email in meant if result.get("id") else ():
                self.records[email] = str(result["id"])
        missing: set[str] = set()
        for problem in entries(answer, "errors"):
            if problem.get("category") == "OBJECT_NOT_FOUND":
                missing.update(_meant_by_error(problem, emails))
            else:
                unattributed += 1
        doubtful = [email for email in emails if email not in self.records and email not in missing]
        if not unattributed:
            return  # HubSpot has told of everybody it has
        if len(emails) == 1:
            self.unanswered.update(doubtful)
            return
        for email in doubtful:
            self._look_up(http, [email])


def entries(answer: Answer, name: str) -> Iterator[Mapping[str, Any]]:
    """The objects in a list of the answer; what has another shape is passed over."""
    found = answer.body.get(name) if isinstance(answer.body, Mapping) else None
    yield from (entry for entry in (found if isinstance(found, list) else []) if isinstance(entry, Mapping))


def unsure(error: AudienceSyncsError) -> Verdict:
    kind = VerdictKind.RETRYABLE if isinstance(error, NotApplied) else VerdictKind.UNKNOWN
    return Verdict(kind, error.code, error.message)


def _meant(trace: object, addresses: Iterable[str], emails: Sequence[str]) -> list[str]:
    """Which of the contacts that were sent a part of the answer is about; none where that is in doubt."""
    if isinstance(trace, str) and trace.isascii() and trace.isdigit() and int(trace) < len(emails):
        return [emails[int(trace)]]
    if len(emails) == 1:
        return list(emails)
    named = {address.lower() for address in addresses}
    return [email for email in emails if email.lower() in named]


def _meant_by_error(error: Mapping[str, Any], emails: Sequence[str]) -> list[str]:
    context = error.get("context")
    named = context if isinstance(context, Mapping) else {}
    traces, ids = _texts(named.get("objectWriteTraceId")), _texts(named.get("ids"))
    return [email for trace in (traces or [""]) for email in _meant(trace, ids, emails)]


def _addresses_in(result: Mapping[str, Any]) -> list[str]:
    properties = result.get("properties")
    held = properties if isinstance(properties, Mapping) else {}
    return [
        text.strip()
        for name in ("email", _FURTHER_ADDRESSES)
        for text in str(held.get(name) or "").split(";")
        if text.strip()
    ]


def _texts(value: object) -> list[str]:
    found = value if isinstance(value, list) else [value]
    return [text for text in found if isinstance(text, str)]
