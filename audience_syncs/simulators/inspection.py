"""What the simulators hold, received and should do wrong, for tests and the demo. Not part of any platform.

=======================================================  ==========================================================
``GET /_simulator/health``                               ``{"status": "ok", "platforms": [...]}``
``GET /_simulator/{platform}/lists``                     every list: id, name, account, true size
``GET /_simulator/{platform}/lists/{id}/members``        ``{"members": [...], "next": cursor, "total": n}``;
                                                         ``?limit=&after=`` to page, ``?field=EMAIL`` for a plain list
``POST /_simulator/{platform}/lists/{id}/members``       ``{"members": [...]}``: rows that others put there
``POST /_simulator/{platform}/lists/{id}/delete``        as if somebody deleted the list in the platform's own pages
``GET, DELETE /_simulator/{platform}/requests``          what was received, newest last (``?limit=&after=``); forget it
``POST /_simulator/{platform}/tokens/revoke, restore``   ``{"token": "..."}``
``POST /_simulator/{platform}/limit``                    ``{"max": 190, "interval_s": 10}`` to enforce; ``{}`` to stop
``GET, POST, DELETE /_simulator/faults``                 the faults in force: see ``faults.Fault`` for the fields
``POST /_simulator/clock``                               ``{"advance_s": 5400}``: let the platforms' time pass
``POST /_simulator/reset``                               forget everything
=======================================================  ==========================================================
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from audience_syncs.simulators.faults import BadFault, Fault, FaultBook
from audience_syncs.simulators.journal import Journal
from audience_syncs.simulators.platform import Platform, RateLimit
from audience_syncs.simulators.store import Clock

CHUNK = 20_000
MOST = 10_000_000

Handler = Callable[[Request], Awaitable[Response]]


class Asked(Exception):
    """The inspection was asked for something that is not there or makes no sense."""

    def __init__(self, status: int, message: str) -> None:
        self.status, self.message = status, message
        super().__init__(message)


class Inspection:
    """The ``/_simulator`` routes."""

    def __init__(
        self, platforms: Mapping[str, Platform], journals: Mapping[str, Journal], faults: FaultBook, clock: Clock
    ) -> None:
        self._platforms = platforms
        self._journals = journals
        self._faults = faults
        self._clock = clock

    def routes(self) -> list[Route]:
        found: list[tuple[str, str, Handler]] = [
            ("GET", "/health", self._health),
            ("GET", "/faults", self._read_faults),
            ("POST", "/faults", self._add_fault),
            ("DELETE", "/faults", self._clear_faults),
            ("POST", "/clock", self._advance_clock),
            ("POST", "/reset", self._reset),
            ("GET", "/{platform}/lists", self._lists),
            ("GET", "/{platform}/lists/{id}/members", self._members),
            ("POST", "/{platform}/lists/{id}/members", self._put_members),
            ("POST", "/{platform}/lists/{id}/delete", self._delete_list),
            ("GET", "/{platform}/requests", self._requests),
            ("DELETE", "/{platform}/requests", self._clear_requests),
            ("POST", "/{platform}/tokens/{verb}", self._tokens),
            ("POST", "/{platform}/limit", self._set_limit),
        ]
        return [Route(f"/_simulator{path}", _answering(handler), methods=[method]) for method, path, handler in found]

    # The simulators as a whole

    async def _health(self, _request: Request) -> Response:
        return _json({"status": "ok", "platforms": sorted(self._platforms)})

    async def _read_faults(self, _request: Request) -> Response:
        return _json(self._faults.all())

    async def _add_fault(self, request: Request) -> Response:
        try:
            fault = Fault.from_json(await _body(request))
        except (BadFault, TypeError) as bad:
            raise Asked(400, str(bad)) from bad
        if fault.platform is not None and fault.platform not in self._platforms:
            raise Asked(400, f"platform must be one of {sorted(self._platforms)}")
        return _json(self._faults.add(fault).as_json(), 201)

    async def _clear_faults(self, request: Request) -> Response:
        wanted = request.query_params.get("id")
        self._faults.clear(None if wanted is None else _number(wanted))
        return Response(status_code=204)

    async def _advance_clock(self, request: Request) -> Response:
        seconds = (await _body(request)).get("advance_s")
        if not isinstance(seconds, int | float):
            raise Asked(400, "advance_s must be a number of seconds")
        self._clock.advance(seconds)
        return _json({"now": self._clock.now()})

    async def _reset(self, _request: Request) -> Response:
        for platform in self._platforms.values():
            await run_in_threadpool(platform.reset)
        for journal in self._journals.values():
            journal.clear()
        self._faults.clear()
        self._clock.set_offset(0)
        return Response(status_code=204)

    # One platform

    async def _lists(self, request: Request) -> Response:
        return _json(await run_in_threadpool(self._platform(request).lists))

    async def _members(self, request: Request) -> Response:
        platform, list_id = self._list(request)
        wanted = request.query_params.get("field")
        if wanted is not None:
            return _stream(_joined_values(platform, list_id, wanted))
        after = _number(request.query_params.get("after", "0"))
        limit = _number(request.query_params.get("limit", str(MOST)))
        return _stream(_joined_members(platform, list_id, after, limit))

    async def _put_members(self, request: Request) -> Response:
        platform, list_id = self._list(request)
        members = (await _body(request)).get("members")
        if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
            raise Asked(400, "members must be a list of objects")
        return _json({"added": await run_in_threadpool(platform.put_members, list_id, members)})

    async def _delete_list(self, request: Request) -> Response:
        platform, list_id = self._list(request)
        await run_in_threadpool(platform.delete_list, list_id)
        return Response(status_code=204)

    async def _requests(self, request: Request) -> Response:
        self._platform(request)
        after = _number(request.query_params.get("after", "0"))
        limit = request.query_params.get("limit")
        return _json(
            self._journals[request.path_params["platform"]].read(after, None if limit is None else _number(limit))
        )

    async def _clear_requests(self, request: Request) -> Response:
        self._platform(request)
        self._journals[request.path_params["platform"]].clear()
        return Response(status_code=204)

    async def _tokens(self, request: Request) -> Response:
        platform, verb, token = (
            self._platform(request),
            request.path_params["verb"],
            (await _body(request)).get("token"),
        )
        if verb not in {"revoke", "restore"} or not isinstance(token, str):
            raise Asked(400, 'revoke or restore, with a body like {"token": "..."}')
        await run_in_threadpool(platform.revoke if verb == "revoke" else platform.restore, token)
        return Response(status_code=204)

    async def _set_limit(self, request: Request) -> Response:
        platform, asked = self._platform(request), await _body(request)
        most, interval = asked.get("max"), asked.get("interval_s", 10)
        if most is not None and not (isinstance(most, int) and most > 0 and isinstance(interval, int | float)):
            raise Asked(400, "max must be a positive number of calls, interval_s a number of seconds")
        platform.limit = None if most is None else RateLimit(most, float(interval))
        return Response(status_code=204)

    def _platform(self, request: Request) -> Platform:
        name = request.path_params["platform"]
        if name not in self._platforms:
            raise Asked(404, f"no platform {name}; there are {sorted(self._platforms)}")
        return self._platforms[name]

    def _list(self, request: Request) -> tuple[Platform, str]:
        platform, list_id = self._platform(request), str(request.path_params["id"])
        if not platform.has_list(list_id):
            raise Asked(404, f"no list {list_id} at {platform.name}")
        return platform, list_id


def _answering(handler: Handler) -> Handler:
    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except Asked as asked:
            return _json({"error": asked.message}, asked.status)

    return answer


def _joined_members(platform: Platform, list_id: str, after: int, limit: int) -> Iterator[bytes]:
    """The members as one JSON object, without ever holding them all."""
    yield b'{"members":['
    left, first = limit, True
    while left > 0 and (page := platform.members(list_id, after, min(left, CHUNK))):
        after, left = page[-1][0], left - len(page)
        yield (b"" if first else b",") + ",".join(text for _, text in page).encode()
        first = False
    more = bool(platform.members(list_id, after, 1))
    total = next((found["size"] for found in platform.lists() if found["id"] == list_id), 0)
    yield b'],"next":' + (str(after).encode() if more else b"null") + b',"total":' + str(total).encode() + b"}"


def _joined_values(platform: Platform, list_id: str, wanted: str) -> Iterator[bytes]:
    yield b"["
    first = True
    for values in platform.values(list_id, wanted):
        if values:
            yield (b"" if first else b",") + orjson.dumps(values)[1:-1]
            first = False
    yield b"]"


def _stream(chunks: Iterator[bytes]) -> Response:
    return StreamingResponse(chunks, media_type="application/json")


def _json(body: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


async def _body(request: Request) -> dict[str, Any]:
    try:
        found = orjson.loads(await request.body() or b"{}")
    except orjson.JSONDecodeError as bad:
        raise Asked(400, f"the body is not JSON: {bad}") from bad
    if not isinstance(found, dict):
        raise Asked(400, "the body must be a JSON object")
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Asked(400, f"{text!r} is not a number")
    return int(text)
