"""What every simulated platform is to the server: something that reads a request, answers it, and can be looked into.

A platform never knows about faults, journals or sockets; the server never knows a wire format. To add a platform,
write one module with a ``Platform`` and name it in ``registry``.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from audience_syncs.simulators.store import Clock, Store

Json = Any
"""Parsed JSON: the platforms' bodies are not ours to model."""


@dataclass(frozen=True)
class Call:
    """One request as the platform understood it.

    ``operation`` names what was asked ("users.add", "contacts.upsert", ...) and is what fault filters look at;
    ``rows`` are the members in the body, in order; ``refusal`` is set when the request could not even be read.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    operation: str
    body: Json = None
    list_id: str | None = None
    rows: Sequence[Json] = ()
    target: Mapping[str, str] = field(default_factory=dict)
    refusal: Answer | None = None

    @property
    def token(self) -> str:
        """The bearer token, or the ``access_token`` parameter some platforms take instead; empty when absent."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() in {"bearer", "oauth"} and token.strip():
            return token.strip()
        in_body = self.body.get("access_token") if isinstance(self.body, dict) else None
        return self.query.get("access_token") or (in_body if isinstance(in_body, str) else "")


@dataclass(frozen=True)
class Answer:
    """What goes back: a status, a JSON body (``None`` for an empty one, bytes for one that is no JSON) and headers."""

    status: int
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class RateLimit:
    """A limit the server really enforces: at most ``max_calls`` in any ``interval_s`` seconds. Off unless asked for.

    The platforms' own limits (190 in 10 s at HubSpot) would slow every test down and say nothing about our engine,
    so a test that is about the limit turns it on through ``POST /_simulator/{platform}/limit``.
    """

    max_calls: int
    interval_s: float
    calls: list[float] = field(default_factory=list)

    def admit(self, now: float) -> float | None:
        """Count a call; ``None`` when it may pass, else the seconds until one may."""
        self.calls = [at for at in self.calls if at > now - self.interval_s]
        if len(self.calls) >= self.max_calls:
            return self.calls[0] + self.interval_s - now
        self.calls.append(now)
        return None

    @property
    def remaining(self) -> int:
        return max(0, self.max_calls - len(self.calls))


class Platform(ABC):
    """One simulated platform. ``prefix`` is the path it lives under, ``now()`` its clock (which tests may advance)."""

    name: str
    size_delay_s = 2.0

    def __init__(self, store: Store, clock: Clock) -> None:
        self.store = store
        self.clock = clock
        self.limit: RateLimit | None = None
        self.lock = threading.RLock()
        self._revoked: set[str] = set(store.setting("revoked_tokens", []))

    # The wire

    @abstractmethod
    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        """Understand a request, without acting on it."""

    @abstractmethod
    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        """Act on the request and answer it. ``rejected`` are rows to refuse the way this platform refuses rows."""

    @abstractmethod
    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        """The platform's own way to say "too many calls"."""

    @abstractmethod
    def broken(self, call: Call, status: int | None = None) -> Answer:
        """The platform's own way to say "something went wrong here"."""

    @abstractmethod
    def forbidden(self, call: Call) -> Answer:
        """The platform's own way to say "this token may not do that"."""

    @abstractmethod
    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        """The platform's own way to refuse a whole batch because of one row."""

    # Tokens

    def revoke(self, token: str) -> None:
        self._revoked.add(token)
        self.store.save_setting("revoked_tokens", sorted(self._revoked))

    def restore(self, token: str) -> None:
        self._revoked.discard(token)
        self.store.save_setting("revoked_tokens", sorted(self._revoked))

    def knows(self, token: str) -> bool:
        """Every token is good except an empty one, one named ``revoked...`` and one revoked at run time."""
        return bool(token) and not token.startswith("revoked") and token not in self._revoked

    def may_write(self, token: str) -> bool:
        """A token named ``noscope...`` is known, but lacks the permission to touch audiences."""
        return not token.startswith("noscope")

    # Inspection

    @abstractmethod
    def lists(self) -> list[dict[str, Json]]:
        """Every list: ``id``, ``name``, ``account``, ``size`` (the true one, not the late one)."""

    @abstractmethod
    def has_list(self, list_id: str) -> bool: ...

    @abstractmethod
    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        """The next members, in the order they came, each with its cursor and itself as JSON text."""

    @abstractmethod
    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        """The values of one field over all members that have it, in chunks."""

    @abstractmethod
    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        """Put other people's rows into a list; how many people came in."""

    @abstractmethod
    def delete_list(self, list_id: str) -> None:
        """Delete a list as a person does in the platform's own pages."""

    @abstractmethod
    def forget_everything(self) -> None:
        """Empty the platform's own tables."""

    def reset(self) -> None:
        with self.lock:
            self.limit = None
            self._revoked = set()
            self.store.save_setting("revoked_tokens", [])
            self.forget_everything()
