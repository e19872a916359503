"""What should go wrong, when, and how often: the rules behind ``POST /_simulator/faults``.

A rule draws from its own random numbers, seeded by the caller, once for each request it matches, in the order the
requests arrive. The same requests in the same order therefore meet the same faults. Rules live as long as the
process: a restarted simulator starts well-behaved.
"""

from __future__ import annotations

import itertools
import random
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from audience_syncs.simulators.platform import Call


class Kind(StrEnum):
    RATE_LIMIT = "rate_limit"
    SERVER_ERROR = "server_error"
    SERVER_ERROR_AFTER = "server_error_after"
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    RESET_BEFORE = "reset_before"
    RESET_AFTER = "reset_after"
    SLOW = "slow"
    MALFORMED = "malformed"
    PARTIAL = "partial"
    REJECT_BATCH = "reject_batch"
    FORBIDDEN = "forbidden"


ABOUT_ROWS = {Kind.PARTIAL, Kind.REJECT_BATCH}
"""Kinds that only make sense for a request that carries rows."""


class BadFault(ValueError):
    """The fault that was asked for makes no sense; the message says why."""


@dataclass
class Fault:
    """One rule.

    ``operation`` is an exact operation name or a regular expression over ``METHOD path``; ``contains`` restricts the
    rule to requests of which a row contains that text (for ``partial`` and ``reject_batch``: exactly those rows are
    at fault); ``skip`` lets that many matching requests pass first; ``count`` ends the rule after that many faults;
    ``share`` is the part of a batch's rows that ``partial`` rejects (at least one). ``delay_s`` is how long a
    time-out holds the connection, or how long ``slow`` takes. ``retry_after_s`` is the hint in a rate limit; ``None``
    gives none. ``status`` overrides the HTTP status.
    """

    kind: Kind
    platform: str | None = None
    rate: float = 1.0
    seed: int = 0
    operation: str | None = None
    contains: str | None = None
    skip: int = 0
    count: int | None = None
    share: float = 0.1
    delay_s: float = 30.0
    retry_after_s: float | None = 1.0
    status: int | None = None
    id: int = 0
    matched: int = 0
    fired: int = 0
    _random: random.Random = field(default_factory=random.Random, repr=False)

    @classmethod
    def from_json(cls, asked: object) -> Fault:
        """Read a fault from the inspection endpoint's body; raises ``BadFault`` when it makes no sense."""
        if not isinstance(asked, Mapping):
            raise BadFault("a fault is a JSON object")
        known = {name for name in cls.__dataclass_fields__ if name not in {"id", "matched", "fired", "_random"}}
        unknown = sorted(set(asked) - known)
        if unknown:
            raise BadFault(f"unknown fields {unknown}; known are {sorted(known)}")
        if asked.get("kind") not in set(Kind):
            raise BadFault(f"kind must be one of {sorted(Kind)}")
        fault = cls(**{**asked, "kind": Kind(asked["kind"])})
        for name in ("rate", "share"):
            if not isinstance(getattr(fault, name), int | float) or not 0 <= getattr(fault, name) <= 1:
                raise BadFault(f"{name} must be a number from 0 to 1")
        if not isinstance(fault.delay_s, int | float) or fault.delay_s < 0:
            raise BadFault("delay_s must be a number of seconds")
        try:
            re.compile(fault.operation or "")
        except re.error as error:
            raise BadFault(f"operation is neither a name nor a regular expression: {error}") from error
        fault._random.seed(fault.seed)
        return fault

    def fires(self, platform: str, call: Call) -> bool:
        """Whether this request meets the fault. Draws a random number when, and only when, the rule matches."""
        if self.platform not in (None, platform) or not self._is_about(call):
            return False
        if self.count is not None and self.fired >= self.count:
            return False
        self.matched += 1
        if self.matched <= self.skip or self._random.random() >= self.rate:
            return False
        self.fired += 1
        return True

    def rows_at_fault(self, call: Call) -> list[int]:
        """Positions of the rows that ``partial`` or ``reject_batch`` is about."""
        if self.contains is not None:
            return self._rows_containing(call)
        wanted = max(1, round(self.share * len(call.rows))) if self.kind is Kind.PARTIAL else 1
        return sorted(self._random.sample(range(len(call.rows)), min(wanted, len(call.rows))))

    def as_json(self) -> dict[str, Any]:
        shown = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "_random"}
        return {**shown, "kind": str(self.kind)}

    def _is_about(self, call: Call) -> bool:
        if self.kind in ABOUT_ROWS and not call.rows:
            return False
        if not self._is_of_operation(call):
            return False
        return self.contains is None or bool(self._rows_containing(call))

    def _is_of_operation(self, call: Call) -> bool:
        if self.operation is None or self.operation == call.operation:
            return True
        return re.search(self.operation, f"{call.method} {call.path}") is not None

    def _rows_containing(self, call: Call) -> list[int]:
        wanted = (self.contains or "").encode()
        return [position for position, row in enumerate(call.rows) if wanted in orjson.dumps(row)]


class FaultBook:
    """The rules in force. The first rule that fires decides."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def add(self, fault: Fault) -> Fault:
        with self._lock:
            fault.id = next(self._ids)
            self._faults.append(fault)
            return fault

    def draw(self, platform: str, call: Call) -> tuple[Fault, list[int]] | None:
        """The fault this request meets, with the rows at fault; ``None`` when all is well."""
        with self._lock:
            for fault in self._faults:
                if fault.fires(platform, call):
                    return fault, fault.rows_at_fault(call) if fault.kind in ABOUT_ROWS else []
        return None

    def all(self) -> list[dict[str, Any]]:
        with self._lock:
            return [fault.as_json() for fault in self._faults]

    def clear(self, fault_id: int | None = None) -> None:
        """Forget one rule, or all of them."""
        with self._lock:
            self._faults = [] if fault_id is None else [fault for fault in self._faults if fault.id != fault_id]
