"""Contacts and leads: what a member is as one; found by email or by an external id; made and updated.

Who is found is updated by record id, who is not is made. Of several records with one email the oldest is taken, always
the same one. Making is not safe to repeat where people go by email: so it is never repeated blindly, but looked up again
by the next run; two threads that bring the same person take turns (``Claims``). With an external id, which Salesforce keeps
unique, making is an upsert.

A lead that was converted cannot be written any more. Where a person is only that, the contact it became is taken: it joins the
campaign, and nothing is written to it.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from audience_syncs.destinations.salesforce.declaration import EMAIL, NEVER_EMPTIED, Kind
from audience_syncs.destinations.salesforce.rows import Change, Row, Verb, is_gone
from audience_syncs.destinations.salesforce.soql import Queries, Record, among
from audience_syncs.destinations.salesforce.writes import Writes
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.config import Mode
from audience_syncs.model.errors import NotApplied
from audience_syncs.model.values import Batch, FieldValue, Outgoing, Verdict, VerdictKind

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
EMPTIES = "#N/A"
"""What empties a field in a job, so that no value can be it: spreadsheets write it for "not available"."""
NOT_THERE = Verdict(VerdictKind.REJECTED, "NOT_FOUND", "Salesforce has nobody like this, and an update makes none")
CONVERTED = Verdict(VerdictKind.REJECTED, "CONVERTED", "the lead has become a contact, and is not written any more")
GONE_MEANWHILE = Verdict(VerdictKind.RETRYABLE, "GONE", "the record was deleted while it was being updated")


@dataclass(frozen=True, slots=True)
class Found:
    """A record; ``id`` is of a contact where a lead has become one."""

    id: str
    is_converted: bool = False


class People:
    """Contacts or leads of one org. Thread-safe."""

    def __init__(
        self, queries: Queries, writes: Writes, kind: Kind, key_field: str, defaults: Mapping[str, str]
    ) -> None:
        self._queries = queries
        self._writes = writes
        self.kind = kind
        self.key_field = key_field
        self._defaults = defaults
        self.claims = Claims()

    # Members as records

    def key_of(self, member: Outgoing) -> str | None:
        return next(iter(self.keys_of(member)), None)

    def keys_of(self, member: Outgoing) -> list[str]:
        """All that a member may be found by: several, where it is in doubt which one Salesforce has."""
        value = member.fields.get(self.key_field, "")
        return [self._folded(text) for text in ([value] if isinstance(value, str) else value) if text]

    def by_key(self, batch: Batch) -> dict[str, dict[str, str | None]]:
        """The members' fields by key: those who share one are one person, with the last one's fields."""
        found: dict[str, dict[str, str | None]] = {}
        for member in batch.members:
            key = self.key_of(member)
            if key is not None:
                texts = {name: _text(value) for name, value in member.fields.items() if name != self.key_field}
                found.setdefault(key, {}).update(
                    {name: text for name, text in texts.items() if text not in ("", EMPTIES)}
                    | dict.fromkeys(member.clears)
                )
        return found

    # Looking up

    def find(self, keys: Iterable[str]) -> dict[str, Found]:
        """Those there are, by key. Raises NotApplied."""
        lead = self.kind is Kind.LEAD
        fields = f"Id, {self.key_field}" + (", IsConverted, ConvertedContactId" if lead else "")
        queries = [
            f"SELECT {fields} FROM {self.kind} WHERE {condition} ORDER BY CreatedDate, Id"
            for condition in among(self.key_field, keys)
        ]
        found: dict[str, Found] = {}
        for record in self._queries.all(queries, f"look {self.kind.lower()}s up"):
            key, each = self._folded(str(record.get(self.key_field) or "")), _found(record)
            # Leads that can still be written come before converted ones, however old these are.
            if each is not None and (key not in found or (found[key].is_converted and not each.is_converted)):
                found[key] = each
        return found

    def key_at(self, record: Record) -> str:
        """The key of a record that was read, in the form in which it is sent."""
        return self._folded(str(record.get(self.key_field) or ""))

    # Writing

    def write(self, batch: Batch, mode: Mode) -> dict[str, Verdict]:
        """Key -> verdict; accepted with the record's id. A converted lead is accepted by ``upsert`` only if it is to join a
        list, which the caller knows: it comes as ``CONVERTED`` with the id."""
        wanted = self.by_key(batch)
        found = self.find(wanted)
        verdicts: dict[str, Verdict] = {}
        to_make: dict[str, Row] = {}
        to_update: dict[str, Row] = {}
        for key, fields in wanted.items():
            there = found.get(key)
            if there is None:
                if mode is Mode.UPDATE:
                    verdicts[key] = NOT_THERE
                else:
                    # A record that is made is empty already, but for the defaults.
                    given = {name: text for name, text in fields.items() if text is not None}
                    to_make[key] = {**self._defaults, **given, self.key_field: key}
            elif there.is_converted:
                verdicts[key] = Verdict(CONVERTED.kind, CONVERTED.reason_code, CONVERTED.reason, there.id)
            elif mode is Mode.INSERT or not fields:
                verdicts[key] = Verdict(VerdictKind.ACCEPTED, remote_id=there.id)
            else:
                to_update[key] = {"Id": there.id, **fields}
        verdicts |= self._updated(to_update, batch)
        verdicts |= self._made(to_make, batch)
        return verdicts

    def _made(self, rows: Mapping[str, Row], batch: Batch) -> dict[str, Verdict]:
        by_email = self.key_field == EMAIL
        change = Change(Verb.INSERT if by_email else Verb.UPSERT, self.kind, self.key_field, repeatable=not by_email)
        return self._writes.carry_out(change, list(rows.values()), batch)

    def _updated(self, rows: Mapping[str, Row], batch: Batch) -> dict[str, Verdict]:
        change = Change(Verb.UPDATE, self.kind, "Id")
        told = self._writes.carry_out(change, list(rows.values()), batch)
        return {
            key: GONE_MEANWHILE if is_gone(told[str(row["Id"])]) else told[str(row["Id"])] for key, row in rows.items()
        }

    def emptied(self, ids: Collection[str], fields: Iterable[str], batch: Batch) -> dict[str, Verdict]:
        """Empties fields of records, by id."""
        names = [name for name in fields if name not in NEVER_EMPTIED and name != self.key_field]
        if not names:
            return dict.fromkeys(ids, Verdict(VerdictKind.ACCEPTED))
        rows = [{"Id": each, **dict.fromkeys(names)} for each in ids]
        return self._writes.carry_out(Change(Verb.UPDATE, self.kind, "Id"), rows, batch)

    def deleted(self, ids: Collection[str], batch: Batch) -> dict[str, Verdict]:
        """Deletes records, by id: into the recycle bin, for 15 days."""
        return self._writes.carry_out(Change(Verb.DELETE, self.kind, "Id"), [{"Id": each} for each in ids], batch)

    def _folded(self, key: str) -> str:
        return key.lower() if self.key_field == EMAIL else key


class Claims:
    """Who is being brought by which thread: nobody by two at once."""

    def __init__(self) -> None:
        self._claimed = set[str]()
        self._changed = threading.Condition()

    @contextmanager
    def of(self, keys: Collection[str]) -> Iterator[None]:
        """Waits until none of them is claimed. Raises NotApplied when the run is being stopped meanwhile."""
        mine = set(keys)
        with self._changed:
            while not mine.isdisjoint(self._claimed):
                self._changed.wait(0.2)
                if not rest(0):
                    raise NotApplied("salesforce: the run is being stopped")
            self._claimed |= mine
        try:
            yield
        finally:
            with self._changed:
                self._claimed -= mine
                self._changed.notify_all()


def _found(record: Record) -> Found | None:
    if record.get("IsConverted") is True:
        contact = record.get("ConvertedContactId")
        return Found(contact, is_converted=True) if isinstance(contact, str) and contact else None
    name = record.get("Id")
    return Found(name) if isinstance(name, str) and name else None


def _text(value: FieldValue) -> str:
    """Several values are those of a multi-select picklist. Characters that no text has are left out; line breaks are of
    one kind: a job is refused as a whole whose lines seem to end in two ways."""
    text = (value if isinstance(value, str) else ";".join(value)).replace("\r\n", "\n").replace("\r", "\n")
    return _CONTROL.sub("", text)


def is_contact(name: str) -> bool:
    return name.startswith("003")


def ids_of(members: Sequence[Outgoing]) -> list[str]:
    """The records that are known of members."""
    return list(dict.fromkeys(member.remote_id for member in members if member.remote_id))
