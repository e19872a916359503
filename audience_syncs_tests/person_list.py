"""A destination in memory, at the level of our contract, that does on each call what a test told it to.

It recognises people as the ad platforms do: a row stands for the person its strongest identifier belongs to (email
before phone before external id), and identifiers that came together belong to one person. So removing somebody by an
old phone number removes the person, whoever else is meant by their email.

The simulators test the same promises over HTTP; this double is for what HTTP cannot time exactly.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from audience_syncs.destinations.contract import DestinationSpec, FieldSpec, ListMember, ListRequest
from audience_syncs.model.config import Mode, Removal
from audience_syncs.model.errors import AccessRefused, BatchRefused, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, FieldValue, Outgoing, RemoteList, Verdict, VerdictKind

STRENGTH = ("EMAIL", "PHONE", "EXTERN_ID")


def spec(batch_size: int = 10, concurrency: int = 1) -> DestinationSpec:
    """Meta's fields and rules, with batches as small as a test wants them."""
    return DestinationSpec(
        platform="person_list",
        title="A list in memory",
        kind="python",
        fields=(
            FieldSpec("EMAIL", "meta.email", identifier=True, multiple=True),
            FieldSpec("PHONE", "meta.phone", identifier=True, multiple=True),
            FieldSpec("EXTERN_ID", "meta.external_id", identifier=True),
            FieldSpec("FN", "meta.first_name"),
        ),
        credentials=(),
        settings={},
        required_settings=frozenset(),
        modes=frozenset(Mode),
        removals=frozenset(Removal),
        reads_members=True,
        batch_size=batch_size,
        concurrency=concurrency,
    )


Script = Callable[[str, Batch], str]
"""What happens to a call: ``ok``, ``not_applied``, ``lost_before``, ``lost_after``, ``access``, ``die_before``,
``die_after``. Given the operation and the batch."""


class PersonList:
    """One list. ``rejects`` and ``refuses`` hold identifiers: members rejected, or whole batches refused for them."""

    def __init__(self, batch_size: int = 10, concurrency: int = 1) -> None:
        self.spec = spec(batch_size, concurrency)
        self.script: Script = lambda operation, batch: "ok"
        self.rejects: set[str] = set()
        self.refuses: set[str] = set()
        self.names_culprit = False
        self.last_words: Path | None = None
        """Where to write who is in the list before the process dies."""
        self.people: dict[str, dict[str, set[str]]] = {}
        self.records_written: dict[str, Mapping[str, FieldValue]] = {}
        """What the modes without a list wrote: email -> fields."""
        self.cleared: list[tuple[set[str], tuple[str, ...]]] = []
        self.deleted: list[set[str]] = []
        self.is_gone = False
        """Whether somebody deleted the list."""
        self.list_number = 1
        self.calls: list[tuple[str, int]] = []
        self.members_sent: list[tuple[str, Mapping[str, FieldValue]]] = []
        self._aliases: dict[str, str] = {}
        self._lock = threading.Lock()

    @property
    def requests_sent(self) -> int:
        return len(self.calls)

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        if self.is_gone:
            if wanted.id is not None:
                raise ListMissing("there is no such list any more")
            self.is_gone, self.list_number, self.people = False, self.list_number + 1, {}
        list_id = wanted.id or f"list-{self.list_number}"
        return RemoteList(list_id, wanted.name, f"https://platform.example/{list_id}", wanted.id is None)

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        for name, person in self.people.items():
            yield [ListMember({field: sorted(values) for field, values in person.items()}, remote_id=f"id of {name}")]

    def records(self) -> RemoteList:
        return RemoteList("records", "Records")

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        return self._call(mode.value, batch, self._writing(mode))

    def _writing(self, mode: Mode) -> Callable[[Outgoing], None]:
        def write(member: Outgoing) -> None:
            key = str(member.fields["EMAIL"])
            if mode is not Mode.INSERT or key not in self.records_written:
                self.records_written[key] = member.fields

        return write

    def clear_fields(self, list_id: str, batch: Batch, fields: Sequence[str]) -> Sequence[Verdict]:
        self.cleared += [(set(_values(member.fields)), tuple(fields)) for member in batch.members]
        return self._call("clear_fields", batch, self._take)

    def delete_records(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        self.deleted += [set(_values(member.fields)) for member in batch.members]
        return self._call("delete_records", batch, self._take)

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._call("add", batch, self._put)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._call("remove", batch, self._take)

    def emails(self) -> set[str]:
        """Hashes of the emails that are in the list."""
        return {email for person in self.people.values() for email in person.get("EMAIL", ())}

    def identifiers(self, field: str) -> set[str]:
        return {value for person in self.people.values() for value in person.get(field, ())}

    def sent_since(self, mark: int) -> list[tuple[str, int]]:
        """Operation and size of the calls after the first ``mark``."""
        return self.calls[mark:]

    def _call(self, operation: str, batch: Batch, apply: Callable[[Outgoing], None]) -> Sequence[Verdict]:
        with self._lock:
            self.calls.append((operation, len(batch)))
            self.members_sent.extend((operation, member.fields) for member in batch.members)
            event = self.script(operation, batch)
            if self.is_gone:
                raise ListMissing("there is no such list any more")
            if event == "die_before":
                self._die()
            if event == "not_applied":
                raise NotApplied("throttled")
            if event == "access":
                raise AccessRefused("the token was revoked", remedy="connect the account again")
            if event == "lost_before":
                raise NoAnswer("no answer")
            culprits = [
                position for position, member in enumerate(batch.members) if self.refuses & set(_values(member.fields))
            ]
            if culprits:
                raise BatchRefused(
                    "a value is not allowed",
                    reason_code="BAD_VALUE",
                    position=culprits[0] if self.names_culprit else None,
                )
            verdicts = [self._verdict(member, apply) for member in batch.members]
            if event == "lost_after":
                raise NoAnswer("no answer")
            if event == "die_after":
                self._die()
            return verdicts

    def _die(self) -> None:
        if self.last_words is not None:
            self.last_words.write_text(json.dumps(sorted(self.emails())))
        os._exit(9)

    def _verdict(self, member: Outgoing, apply: Callable[[Outgoing], None]) -> Verdict:
        if self.rejects & set(_values(member.fields)):
            return Verdict(VerdictKind.REJECTED, "BAD_MEMBER", "this member is not allowed")
        apply(member)
        return ACCEPTED

    def _put(self, member: Outgoing) -> None:
        rows = [(field, value) for field in STRENGTH for value in _list(member.fields.get(field))]
        strongest = rows[0]
        name = f"{strongest[0]}:{strongest[1]}"
        if strongest[0] != "EMAIL":
            name = self._aliases.get(name, name)
        person = self.people.setdefault(name, {})
        for field, value in rows:
            person.setdefault(field, set()).add(value)
            self._aliases[f"{field}:{value}"] = name

    def _take(self, member: Outgoing) -> None:
        for field in STRENGTH:
            values = _list(member.fields.get(field))
            for value in values:
                name = f"{field}:{value}"
                self.people.pop(name if name in self.people else self._aliases.get(name, name), None)
            if values:
                return


def _list(value: FieldValue | None) -> list[str]:
    return [] if value is None else [value] if isinstance(value, str) else value


def _values(fields: Mapping[str, FieldValue]) -> list[str]:
    return [text for value in fields.values() for text in _list(value)]
