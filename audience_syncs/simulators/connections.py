"""Closing a connection without an answer, which no HTTP framework offers and real platforms do all the time.

The server's protocol class keeps the transport of every open connection under the client's address; the address is
in the request's scope, so a handler can find the wire it came in on and cut it.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_open: dict[tuple[str, int], asyncio.Transport] = {}


class TrackedProtocol(HttpToolsProtocol):
    """Uvicorn's HTTP protocol that remembers its transport while the connection is open."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        _open[_address(transport.get_extra_info("peername"))] = transport
        # asyncio does this only for sockets made with an explicit protocol number; without it every answer, being
        # two writes, waits 40 ms for the caller's delayed acknowledgement.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        _open.pop(_address(self.transport.get_extra_info("peername")), None)
        super().connection_lost(exc)


class NoWire(RuntimeError):
    """The app runs behind another server than ours, so it cannot drop a connection."""


def drop(scope: Scope, *, reset: bool) -> None:
    """Close the request's connection: with a TCP reset, or quietly as after a time-out."""
    transport = _open.get(_address(scope.get("client")))
    if transport is None:
        raise NoWire("faults that drop connections need the server of audience_syncs.simulators")
    wire = transport.get_extra_info("socket")
    if reset and wire is not None:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _address(peer: object) -> tuple[str, int]:
    host, port = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple | list) and len(peer) >= 2 else ("", 0)
    return host, port
