"""Turns a row of the audience into what the destination is sent: the mapping, applied; values normalised and hashed.

Compiled once per run, then called once per changed member: the only work per row that is done in Python.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from audience_syncs.destinations.contract import DestinationSpec, FieldSpec
from audience_syncs.engine.made_values import Make, maker
from audience_syncs.identifiers import RULES, UnusableIdentifier, rule_version
from audience_syncs.model.config import ModeFamily, SyncConfig
from audience_syncs.model.errors import AudienceError, DefinitionError
from audience_syncs.model.mapping import MappedField
from audience_syncs.model.values import FieldValue, JsonObject, Outgoing, RejectionCount

NO_IDENTIFIER = "NO_USABLE_IDENTIFIER"
MISSING = "MISSING"
"""The code of an identifier that the row does not have."""
_EMPTY = "EMPTY"
"""The code of a value that says nothing."""

_NOTES = "lacks"
"""What is noted about a member beside what is sent: with something new, everybody is looked at once."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A member, ready to be sealed. Without ``identifiers`` nothing in the row finds a person: ``reason`` says why."""

    payload: str
    digest: str
    identifiers: list[str]
    reason: str = ""
    lacks: str | None = None
    """Fields that came to nothing, ``FIELD:CODE``, one a line: refused values, and identifiers that are null
    (``MISSING``). None where all that could be is there, as for most members."""


def identifier(field: str, value: str) -> str:
    """How the ledger writes an identifier."""
    return f"{field}:{value}"


def fields_of(identifiers: Sequence[str]) -> dict[str, FieldValue]:
    """The fields to send for identifiers out of the ledger: what ``identifier`` wrote, read back."""
    fields: dict[str, FieldValue] = {}
    for text in identifiers:
        name, _, value = text.partition(":")
        seen = fields.get(name)
        if seen is None:
            fields[name] = value
        elif isinstance(seen, str):
            fields[name] = [seen, value]
        else:
            seen.append(value)
    return fields


def prepared_from(payload: str | None, identifiers: Sequence[str]) -> Prepared:
    """A member as they were sent once: the payload if it is still known, else only the identifiers."""
    body = (
        payload.encode() if payload is not None else orjson.dumps(fields_of(identifiers), option=orjson.OPT_SORT_KEYS)
    )
    return Prepared(body.decode(), hashlib.blake2b(body, digest_size=16).hexdigest(), list(identifiers))


def outgoing(payload: str, remote_id: str | None, *, new: bool = False) -> Outgoing:
    """A member as they are sent: what ``prepare`` wrote, read back."""
    fields: dict[str, FieldValue] = orjson.loads(payload)
    # Most have texts and lists alone, and need not be looked through: so are objects and nulls written.
    if ":{" not in payload and ":null" not in payload:
        return Outgoing(fields, remote_id, new)
    others = [name for name, value in fields.items() if type(value) is not str and type(value) is not list]
    made: dict[str, Any] = {name: fields.pop(name) for name in others}
    objects = {name: value for name, value in made.items() if value is not None}
    return Outgoing(fields, remote_id, new, objects, tuple(name for name in others if made[name] is None))


@dataclass(slots=True)
class _Step:
    name: str
    to_send: Callable[..., str]
    position: int | None
    constant: object
    region: int | None
    default_region: str | None
    identifier: bool
    multiple: bool
    make: Make | None = None
    """What makes the value of anything but a plain column or constant."""
    nested: bool = False
    """Whether an object is sent as it is."""
    clears: bool = False
    """Whether a null empties the field."""


_REFUSED = object()
"""What is made of a row that is refused."""
_Refusal = tuple[_Step, str, str]
"""A field's value that came to nothing: its code, and why in words that follow the field's name."""


class Preparer:
    """The mapping of one sync, compiled.

    ``columns`` are the audience's columns it needs, in the order ``prepare`` wants their values; ``salt`` changes
    whenever the mapping, a normalisation rule or the mode's family changes, so that fingerprints change with it.
    """

    def __init__(self, sync: SyncConfig, spec: DestinationSpec, available: Sequence[str], where: str) -> None:
        self.columns: list[str] = []
        self._steps: list[_Step] = []
        self._family = sync.mode.family
        self._dropped: Counter[tuple[str, str]] = Counter()
        rules: set[str] = set()
        for name, mapped in sync.mapping.items():
            field = spec.field(name)
            if field is None:
                known = ", ".join(known.name for known in spec.fields)
                raise DefinitionError(f"{spec.title} has no field {name!r}", where=where, remedy=f"it has: {known}")
            rules.add(field.rule)
            # Who is taken out of a list is only named; nothing else about them is sent.
            if field.identifier or self._family is not ModeFamily.OUT_OF_LIST:
                self._steps.append(self._step(field, mapped, available, where))
        self.salt = _salt(sync.mapping, rule_version(sorted(rules)), self._family)

    def _step(self, field: FieldSpec, mapped: MappedField, available: Sequence[str], where: str) -> _Step:
        def position(column: str) -> int:
            return self._column(column, field.name, available, where)

        make = maker(mapped, position)
        return _Step(
            name=field.name,
            to_send=partial(RULES[field.rule].to_send, hashed=mapped.hashed),
            position=None if mapped.column is None or make is not None else position(mapped.column),
            constant=mapped.constant,
            region=None if mapped.region is None else position(mapped.region),
            default_region=mapped.default_region,
            identifier=field.identifier,
            multiple=field.multiple,
            make=make,
            nested=mapped.object is not None and not field.identifier,
            clears=mapped.clears,
        )

    def _column(self, column: str, field: str, available: Sequence[str], where: str) -> int:
        if column not in available:
            raise AudienceError(
                f"the audience has no column {column!r}, which the mapping of {field!r} needs",
                where=where,
                code="AUDIENCE_MISSING_COLUMN",
                remedy=f"it has: {', '.join(available)}; select the column in the SQL, or correct the mapping",
            )
        if column not in self.columns:
            self.columns.append(column)
        return self.columns.index(column)

    def prepare(self, values: Sequence[Any]) -> Prepared:
        """One member's payload. Values that cannot be normalised are left out and counted in ``dropped``."""
        payload: dict[str, FieldValue | JsonObject | None] = {}
        identifiers: list[str] = []
        refusals: list[_Refusal] = []
        for step in self._steps:
            if step.position is not None:
                value = values[step.position]
            elif step.make is None:
                value = step.constant
            else:
                value = self._made(step, step.make, values, refusals)
                if step.nested and value is not None and value is not _REFUSED:
                    payload[step.name] = value
                    continue
            region = (values[step.region] if step.region is not None else None) or step.default_region
            if value is _REFUSED:
                found = []
            elif isinstance(value, (list, tuple)):
                found = self._several(step, value, region, refusals)
            else:
                one = self._one(step, value, region, refusals)
                found = [] if one is None else [one]
            if not found:
                if step.clears and self._says_nothing(step, refusals):
                    payload[step.name] = None
                continue
            payload[step.name] = found[0] if len(found) == 1 else found
            if step.identifier:
                identifiers.extend([f"{step.name}:{text}" for text in found])
        body = orjson.dumps(payload, option=orjson.OPT_SORT_KEYS)
        # The same fields sent to another kind of place are another payload.
        person = b"" if self._family is ModeFamily.LIST else self._family.encode()
        digest = hashlib.blake2b(body, digest_size=16, person=person).hexdigest()
        if not refusals:
            return Prepared(body.decode(), digest, identifiers)
        reason = "" if identifiers else "; ".join(f"{step.name}{why}" for step, _, why in refusals if step.identifier)
        return Prepared(body.decode(), digest, identifiers, reason, _lacks(refusals, payload))

    def _made(self, step: _Step, make: Make, values: Sequence[Any], refusals: list[_Refusal]) -> Any:
        try:
            return make(values)
        except UnusableIdentifier as unusable:
            self._refuse(step, unusable, refusals)
            return _REFUSED

    def _refuse(self, step: _Step, unusable: UnusableIdentifier, refusals: list[_Refusal]) -> None:
        self._dropped[step.name, unusable.reason_code] += 1
        refusals.append((step, unusable.reason_code, f": {unusable.reason}"))

    def _says_nothing(self, step: _Step, refusals: list[_Refusal]) -> bool:
        """Whether the row's value is null, or empty text, which then counts as null; not one that could not be used."""
        mine = [refusal for refusal in refusals if refusal[0] is step]
        if any(code != _EMPTY for _, code, _ in mine):
            return False
        for refusal in mine:
            refusals.remove(refusal)
            self._dropped[step.name, _EMPTY] -= 1
        return True

    def _one(self, step: _Step, value: object, region: object, refusals: list[_Refusal]) -> str | None:
        if value is None:
            if step.identifier:
                refusals.append((step, MISSING, " is null"))
            return None
        try:
            return step.to_send(value, region)
        except UnusableIdentifier as unusable:
            self._refuse(step, unusable, refusals)
            return None

    def _several(self, step: _Step, values: Sequence[object], region: object, refusals: list[_Refusal]) -> list[str]:
        if not values and step.identifier:
            refusals.append((step, MISSING, " is an empty list"))
        found: list[str] = []
        for value in values:
            one = self._one(step, value, region, refusals)
            if one is not None and one not in found:
                found.append(one)
        return found if step.multiple else found[:1]

    @property
    def dropped(self) -> tuple[RejectionCount, ...]:
        """Values left out so far, by field and reason, most frequent first."""
        return tuple(
            RejectionCount(f"{field}:{code}", f"{field} left out: {code.lower().replace('_', ' ')}", count)
            for (field, code), count in self._dropped.most_common()
            if count
        )


def _lacks(refusals: Sequence[_Refusal], payload: Mapping[str, object]) -> str | None:
    """Each field that is not in the payload, with the first reason."""
    codes: dict[str, str] = {}
    for step, code, _ in refusals:
        if step.name not in payload:
            codes.setdefault(step.name, code)
    return "\n".join(f"{name}:{code}" for name, code in codes.items()) or None


def _salt(mapping: Mapping[str, MappedField], rules: str, family: ModeFamily) -> str:
    # An option that nobody uses changes no fingerprint: else every member would be looked at again for it.
    plain = {
        name: mapped.model_dump(mode="json", exclude={new for new in mapped.NEWER if getattr(mapped, new) is None})
        for name, mapped in mapping.items()
    }
    where = [] if family is ModeFamily.LIST else [family.value]
    return hashlib.sha256(json.dumps([plain, rules, _NOTES, *where], sort_keys=True).encode()).hexdigest()
