"""The simulators as one web application: platforms by path prefix, faults on the way in and out, and the inspection."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send

from audience_syncs.simulators.connections import drop
from audience_syncs.simulators.faults import Fault, FaultBook, Kind
from audience_syncs.simulators.inspection import Inspection
from audience_syncs.simulators.journal import Entry, Journal
from audience_syncs.simulators.platform import Answer, Call, Platform
from audience_syncs.simulators.registry import PLATFORMS
from audience_syncs.simulators.store import Clock, Store

BEFORE = {Kind.TIMEOUT_BEFORE, Kind.RESET_BEFORE}
WITHOUT_ANSWER = {Kind.TIMEOUT_BEFORE, Kind.TIMEOUT_AFTER, Kind.RESET_BEFORE, Kind.RESET_AFTER}
TIMEOUTS = {Kind.TIMEOUT_BEFORE, Kind.TIMEOUT_AFTER}


def create_app(state_dir: Path | None = None) -> Starlette:
    """The application. State is kept in ``state_dir``, or in a temporary directory that ends with the app."""
    temporary = tempfile.TemporaryDirectory(prefix="simulators-") if state_dir is None else None
    directory = Path(temporary.name) if temporary is not None else Path(state_dir or ".")
    directory.mkdir(parents=True, exist_ok=True)
    clock, faults = Clock(directory), FaultBook()
    stores = {kind.name: Store(directory / f"{kind.name}.sqlite") for kind in PLATFORMS}
    platforms = {kind.name: kind(stores[kind.name], clock) for kind in PLATFORMS}
    journals = {name: Journal() for name in platforms}

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        for store in stores.values():
            store.close()
        if temporary is not None:
            temporary.cleanup()

    inspection = Inspection(platforms, journals, faults, clock)
    doors = [Mount(f"/{name}", Door(platform, journals[name], faults)) for name, platform in platforms.items()]
    return Starlette(routes=[*inspection.routes(), *doors], lifespan=lifespan)


class Door:
    """The way into one platform: reads the request, meets the fault if there is one, writes the answer."""

    def __init__(self, platform: Platform, journal: Journal, faults: FaultBook) -> None:
        self._platform = platform
        self._journal = journal
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        path = scope["path"].removeprefix(scope.get("root_path", "")).lstrip("/")
        raw_path = scope.get("raw_path")
        if raw_path is not None and b"%2F" in raw_path.upper():
            path = raw_path.decode("ascii").removeprefix(scope.get("root_path", "")).lstrip("/")
        query, headers = dict(request.query_params), {key.lower(): value for key, value in request.headers.items()}
        call = await run_in_threadpool(self._platform.read, request.method, path, query, headers, body)
        entry = self._journal.note(call)
        response = await self._respond(call, entry, scope, receive)
        if response is not None:
            await response(scope, receive, send)

    async def _respond(self, call: Call, entry: Entry, scope: Scope, receive: Receive) -> Response | None:
        """The response, or ``None`` when the caller gets none."""
        platform = self._platform
        wait_s = platform.limit.admit(platform.clock.now()) if platform.limit is not None else None
        if wait_s is not None:
            return _response(platform.throttled(call, wait_s), entry)
        drawn = self._faults.draw(platform.name, call)
        if drawn is None:
            return _response(await run_in_threadpool(platform.answer, call), entry)
        fault, rows = drawn
        entry["fault"] = str(fault.kind)
        if fault.kind is Kind.SLOW:
            await asyncio.sleep(fault.delay_s)
        if (instead := self._instead(fault, call, rows)) is not None:
            return _response(instead, entry)
        if fault.kind not in BEFORE:
            rejected = frozenset(rows) if fault.kind is Kind.PARTIAL else frozenset[int]()
            answer = await run_in_threadpool(platform.answer, call, rejected)
        if fault.kind in WITHOUT_ANSWER:
            if fault.kind in TIMEOUTS and await _caller_gave_up(receive, fault.delay_s):
                return None
            drop(scope, reset=fault.kind not in TIMEOUTS)
            await _gone(receive)
            return None
        if fault.kind is Kind.SERVER_ERROR_AFTER:
            answer = platform.broken(call, fault.status)
        return _response(answer, entry, cut=fault.kind is Kind.MALFORMED)

    def _instead(self, fault: Fault, call: Call, rows: list[int]) -> Answer | None:
        """What is answered instead of doing what was asked."""
        if fault.kind is Kind.RATE_LIMIT:
            return self._platform.throttled(call, fault.retry_after_s, fault.status)
        if fault.kind is Kind.SERVER_ERROR:
            return self._platform.broken(call, fault.status)
        if fault.kind is Kind.FORBIDDEN:
            return self._platform.forbidden(call)
        if fault.kind is Kind.REJECT_BATCH:
            return self._platform.batch_refused(call, rows[0], fault.status)
        return None


def _response(answer: Answer, entry: Entry, *, cut: bool = False) -> Response:
    entry["status"] = answer.status
    content = (
        b"" if answer.body is None else answer.body if isinstance(answer.body, bytes) else orjson.dumps(answer.body)
    )
    if cut:
        content = content[: max(1, len(content) // 2)] or b"{"
    told = {name.lower() for name in answer.headers}
    media_type = "application/json" if content and "content-type" not in told else None
    return Response(content, answer.status, dict(answer.headers), media_type=media_type)


async def _caller_gave_up(receive: Receive, seconds: float) -> bool:
    """Hold the connection; whether the caller closed it first."""
    try:
        async with asyncio.timeout(seconds):
            await _gone(receive)
    except TimeoutError:
        return False
    return True


async def _gone(receive: Receive) -> None:
    """Wait until the connection is closed; a server that is told nothing would answer 500 by itself."""
    while (await receive())["type"] != "http.disconnect":
        pass
