"""HubSpot contacts: made or updated, and found again, a hundred a call; who was meant by which part of an answer.

HubSpot answers in no promised order. A contact that was found by one of its further addresses comes back under its first
one, and one that was merged into another comes back as that one, under its id. So what an answer is about is told by the
trace id; where that is missing, by the addresses or ids; and where that leaves a doubt, the contact is sent once more, alone.

Facts: HubSpot's published OpenAPI of contacts, version 2026-09, and its contacts guide (read 2026-08, 2026-09); the
changelog on merges: both ids of a merge lead to the contact that came of it. [unsure]: whether an update, too, answers with
207 for single contacts (an old changelog says so, the guide names only creations), so both ways are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.hubspot_errors import NOT_THERE, keep_to_limit, raise_refusal, row_reason
from audience_syncs.destinations.verdicts import unsure
from audience_syncs.model.errors import BatchRefused, NoAnswer, NotApplied
from audience_syncs.model.values import Batch, Outgoing, Verdict, VerdictKind

CALL_SIZE = 100
"""Contacts per call that reads, writes or archives them (usage guidelines)."""

CONTACTS = "/crm/objects/2026-09/contacts"
_FURTHER_ADDRESSES = "hs_additional_emails"
"""A contact's other addresses, separated by semicolons."""
_MERGED = "hs_merged_object_ids"
"""The ids of the contacts that were merged into one, separated by semicolons."""
_HOPELESS = 20
"""Refusals without one acceptance, after which a batch is not searched for its culprit any further."""

NO_ADDRESS = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no email address, by which HubSpot finds contacts")
NOT_LOOKED_UP = Verdict(
    VerdictKind.RETRYABLE, "NOT_LOOKED_UP", "HubSpot did not say whether it has a contact of this address"
)
NOT_MENTIONED = Verdict(VerdictKind.UNKNOWN, "NOT_MENTIONED", "HubSpot's answer does not mention this contact")


class By(StrEnum):
    """What contacts are named by in a call."""

    EMAIL = "email"
    RECORD = "hs_object_id"


def addresses_of(member: Outgoing) -> list[str]:
    value = member.fields.get("email", "")
    return [text for text in ([value] if isinstance(value, str) else value) if text]


def by_address(member: Outgoing) -> bool:
    """Whether the contacts of a member who leaves are found by address, and not by the known record alone.

    Several addresses are in the ledger where it is in doubt which of them HubSpot has: each may be a contact of its own.
    """
    return not member.remote_id or len(addresses_of(member)) > 1


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
            # An empty text empties a property (HubSpot's guide to properties, "clear a property value").
            merged |= dict.fromkeys(member.clears, "")
        for properties in self.properties.values():
            # The id says it. As a property it would make an address that is a contact's second one its first.
            # HubSpot is not known to take contacts without any property.
            if len(properties) > 1:
                properties.pop("email", None)


class Writes:
    """Writes contacts, and knows afterwards what became of each.

    By email, contacts are made or updated. By record id they are only updated: one that is not there is never made.
    """

    def __init__(self, http: HttpClient, properties: Mapping[str, Mapping[str, str]], by: By) -> None:
        """``properties``: of each contact, by its email or record id."""
        self.records: dict[str, str] = {}
        """The record id of each contact that was written."""
        self._http = http
        self._properties = properties
        self._by = by
        self._verb = "upsert" if by is By.EMAIL else "update"
        self._verdicts: dict[str, Verdict] = {}
        self._refusals = 0
        self._put_off: list[Sequence[str]] = []
        self._last_refusal = BatchRefused("refused")

    def send_all(self) -> None:
        """Raises BatchRefused where nothing was taken and the fault seems not to be in single contacts."""
        keys = list(self._properties)
        for start in range(0, len(keys), CALL_SIZE):
            self._send(keys[start : start + CALL_SIZE])
        put_off, self._put_off = self._put_off, []
        refused = all(verdict.kind is VerdictKind.REJECTED for verdict in self._verdicts.values())
        for group in put_off:
            # Where something was taken after all, the fault is in single contacts, and those who were put off beside
            # them have not had their turn.
            if self.records:
                self._send(group)
            else:
                self._give(
                    group, Verdict(VerdictKind.REJECTED, self._last_refusal.reason_code, self._last_refusal.reason)
                )
        if put_off and refused and not self.records:
            raise self._last_refusal

    @property
    def record_ids(self) -> list[str]:
        return list(dict.fromkeys(self.records.values()))

    def outcome(self, key: str) -> Verdict:
        """What became of a contact, by its email or record id."""
        record = self.records.get(key)
        return self._verdicts[key] if record is None else Verdict(VerdictKind.ACCEPTED, remote_id=record)

    @property
    def _is_hopeless(self) -> bool:
        return not self.records and self._refusals > _HOPELESS

    def _send(self, keys: Sequence[str]) -> None:
        """One call; where HubSpot refuses it as a whole for one contact, halves of it, until the contact is alone."""
        named = {"idProperty": "email"} if self._by is By.EMAIL else {}
        inputs = [
            # With a trace id of its own on every input, HubSpot writes the good ones and names the bad ones.
            {"id": key, **named, "objectWriteTraceId": str(number), "properties": self._properties[key]}
            for number, key in enumerate(keys)
        ]
        try:
            answer = self._http.request(
                "POST", f"{CONTACTS}/batch/{self._verb}", operation=f"contacts.{self._verb}", json={"inputs": inputs}
            )
            keep_to_limit(self._http.pace, answer)
            if answer.status >= 400:
                raise_refusal(answer, "write contacts", per_batch=True)
        except (NotApplied, NoAnswer) as error:
            self._give(keys, unsure(error))
        except BatchRefused as refused:
            self._refusals += 1
            self._last_refusal = refused
            if len(keys) == 1:
                self._give(keys, Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason))
                return
            if self._is_hopeless:
                self._put_off.append(keys)
                return
            middle = len(keys) // 2
            self._send(keys[:middle])
            self._send(keys[middle:])
        else:
            self._read(answer, keys)

    def _read(self, answer: Answer, keys: Sequence[str]) -> None:
        open_questions = dict.fromkeys(keys)
        unattributed = 0
        for result in entries(answer, "results"):
            meant = _meant(result.get("objectWriteTraceId"), _names_in(result, self._by), keys)
            unattributed += not meant
            for key in meant[:1] if _record_of(result) else ():
                self.records[key] = _record_of(result)
                open_questions.pop(key, None)
        for error in entries(answer, "errors"):
            meant = _meant_by_error(error, keys)
            unattributed += not meant
            for key in meant:
                if key in open_questions:
                    self._verdicts[key] = Verdict(VerdictKind.REJECTED, *row_reason(error))
                    del open_questions[key]
        for key in open_questions:
            if unattributed and len(keys) > 1:
                self._send([key])  # alone, its answer is about nobody else
            else:
                self._give([key], NOT_MENTIONED)

    def _give(self, keys: Iterable[str], verdict: Verdict) -> None:
        for key in keys:
            self._verdicts[key] = verdict


class Found:
    """Contacts that were looked up by email or by record id.

    ``records``: the record of each that there is; under an id whose contact was merged into another, that one's.
    ``missing``: those HubSpot says it does not have. ``unanswered``: those it gave no answer for.
    """

    def __init__(self, http: HttpClient, keys: Iterable[str], by: By) -> None:
        """Raises NotApplied where there is no answer: looking up changes nothing."""
        self.records: dict[str, str] = {}
        self.missing: set[str] = set()
        self.unanswered: set[str] = set()
        self.addresses: dict[str, list[str]] = {}
        """All addresses of each record, its first one first."""
        self._http = http
        self._by = by
        wanted = list(dict.fromkeys(keys))
        for start in range(0, len(wanted), CALL_SIZE):
            self._look_up(wanted[start : start + CALL_SIZE])

    def _look_up(self, keys: Sequence[str]) -> None:
        asked = {
            "properties": ["email", _FURTHER_ADDRESSES, _MERGED],
            "propertiesWithHistory": [],
            "inputs": [{"id": key} for key in keys],
        }
        if self._by is By.EMAIL:
            asked["idProperty"] = "email"
        try:
            answer = self._http.request(
                "POST", f"{CONTACTS}/batch/read", operation="contacts.read", json=asked, reads=True
            )
        except NoAnswer as error:
            raise NotApplied(error.message) from error
        keep_to_limit(self._http.pace, answer)
        if answer.status >= 400:
            raise_refusal(answer, "look contacts up")
        if not isinstance(answer.body, dict) or not isinstance(answer.body.get("results"), list):
            raise NotApplied("hubspot contacts.read: the answer has no results")
        results = list(entries(answer, "results"))
        unattributed = len(answer.body["results"]) - len(results)
        for result in results:
            record = _record_of(result)
            meant = _meant(None, _names_in(result, self._by), keys) if record else []
            unattributed += not meant
            for key in meant:
                self.records[key] = record
                self.addresses[record] = _addresses_in(result)
        for problem in entries(answer, "errors"):
            gone = _meant_by_error(problem, keys) if problem.get("category") == NOT_THERE else []
            self.missing.update(gone)
            unattributed += not gone
        doubtful = [key for key in keys if key not in self.records and key not in self.missing]
        if not unattributed:
            return  # HubSpot has told of everybody it has
        if len(keys) == 1:
            self.unanswered.update(doubtful)
            return
        for key in doubtful:
            self._look_up([key])


def entries(answer: Answer, name: str) -> Iterator[Mapping[str, Any]]:
    """The objects in a list of the answer; what has another shape is passed over."""
    found = answer.body.get(name) if isinstance(answer.body, Mapping) else None
    yield from (entry for entry in (found if isinstance(found, list) else []) if isinstance(entry, Mapping))


def _meant(trace: object, names: Iterable[str], keys: Sequence[str]) -> list[str]:
    """Which of the contacts that were sent a part of the answer is about; none where that is in doubt."""
    if isinstance(trace, str) and trace.isascii() and trace.isdigit() and int(trace) < len(keys):
        return [keys[int(trace)]]
    if len(keys) == 1:
        return list(keys)
    named = {name.lower() for name in names}
    return [key for key in keys if key.lower() in named]


def _meant_by_error(error: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    context = error.get("context")
    named = context if isinstance(context, Mapping) else {}
    traces, ids = _texts(named.get("objectWriteTraceId")), _texts(named.get("ids"))
    return [key for trace in (traces or [""]) for key in _meant(trace, ids, keys)]


def _names_in(result: Mapping[str, Any], by: By) -> list[str]:
    """What a contact in an answer may have been asked for by."""
    if by is By.EMAIL:
        return _addresses_in(result)
    return [_record_of(result), *_listed(result, _MERGED)]


def _record_of(result: Mapping[str, Any]) -> str:
    """A contact's record id; empty where the answer has none."""
    found = result.get("id")
    return str(found) if isinstance(found, str | int) else ""


def _addresses_in(result: Mapping[str, Any]) -> list[str]:
    return [*_listed(result, "email"), *_listed(result, _FURTHER_ADDRESSES)]


def _listed(result: Mapping[str, Any], name: str) -> list[str]:
    """The values of a property that may hold several."""
    properties = result.get("properties")
    held = properties.get(name) if isinstance(properties, Mapping) else None
    return [text.strip() for text in str(held or "").split(";") if text.strip()]


def _texts(value: object) -> list[str]:
    found = value if isinstance(value, list) else [value]
    return [text for text in found if isinstance(text, str)]
