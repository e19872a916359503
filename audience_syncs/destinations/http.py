"""The one HTTP client of all platforms.

It retries what is worth retrying, waits as long as the platform asks, keeps the account's pace, and knows after a failure
whether the request may have been applied: that is the difference between ``NotApplied`` and ``NoAnswer``, and between a member
who is simply sent again and one who may be in the list.

Nothing it logs or raises carries an address, a parameter, a header or a body: only the method, the operation's name, the status
and the platform's id of the request.
"""

from __future__ import annotations

import logging
import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import orjson

from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.pacing import Pace, pacer_of
from audience_syncs.destinations.stopping import rest, stopped
from audience_syncs.model.errors import AccessRefused, DestinationError, NoAnswer, NotApplied

if TYPE_CHECKING:
    import requests

    from audience_syncs.destinations.sign_in import SignIn

log = logging.getLogger("audience_syncs.http")

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
LONGEST_HOLD_OFF_S = 3_600.0
"""How long an account is left alone at most, whatever the platform asks for."""
_NOT_APPLIED = {408, 425, 429}
_NEVER_SERVED = {501, 505}
_PERSON = re.compile(r"(?<=/)(?:[^/]*(?:@|%40)[^/]*|[0-9a-f]{32,128})(?=/|$)", re.IGNORECASE)
"""A part of a path that is an address, or a hash."""
_NUMBER = re.compile(r"\d{1,9}(\.\d{0,9})?", re.ASCII)
_REQUEST_ID = re.compile(r"[\w.:/+=-]{1,100}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that arrived. ``readable``: its body is JSON (or empty)."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """Case-insensitive."""
    body: Any = field(repr=False)
    readable: bool = True
    request_id: str = ""
    content: bytes = field(default=b"", repr=False)
    """The body as it came, for platforms that answer in other languages (CSV)."""


class Outcome(Enum):
    """What an answer means, when it is final."""

    OK = "ok"
    REFUSED = "refused"
    """The platform's module interprets it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Worth another try: after ``after_s`` seconds where the platform says so. ``maybe_applied``: it may have worked."""

    after_s: float | None = None
    maybe_applied: bool = True


Reading = Outcome | Retry


def default_reading(answer: Answer) -> Reading:
    """What HTTP itself says; platforms refine it.

    Retried: 408, 425, 429 (not applied) and all 5xx but 501 and 505 (may have been applied; there are many beside 500
    to 504, such as the 52x of a gateway on the way). A success that cannot be read may have been applied as well.
    """
    if answer.status in _NOT_APPLIED:
        return Retry(retry_after(answer), maybe_applied=False)
    if answer.status >= 500 and answer.status not in _NEVER_SERVED:
        return Retry(retry_after(answer), maybe_applied=True)
    if answer.status >= 400:
        return Outcome.REFUSED
    return Outcome.OK if answer.readable else Retry(None, maybe_applied=True)


def any_success(answer: Answer) -> Reading:
    """As ``default_reading``, where a success needs no body that can be read."""
    reading = default_reading(answer)
    return Outcome.OK if answer.status < 300 else reading


def retry_after(answer: Answer) -> float | None:
    """Seconds that the Retry-After header asks for: a number, or a date."""
    text = answer.headers.get("Retry-After", "").strip()
    if not text:
        return None
    if _NUMBER.fullmatch(text) is not None:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None  # a hint that cannot be read is no hint
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)  # HTTP dates are in GMT
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


class _WithoutQueries(logging.Filter):
    """Takes the queries out of what urllib3 logs, and what names a person in a path: some platforms want addresses of people
    there, or their hashes."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                _PERSON.sub("...", each.partition("?")[0]) if isinstance(each, str) else each for each in record.args
            )
        return True


_WITHOUT_QUERIES = _WithoutQueries()


class HttpClient:
    """Calls one account's API. Thread-safe: every thread has a session of its own.

    ``max_wait_s``: seconds from the first attempt of a call after which there is no further one, and the longest
    ``Retry-After`` that is waited for. An account that is to be left alone for longer gets no calls: they end at once.
    """

    def __init__(
        self,
        base_url: str,
        *,
        platform: str,
        account: str,
        headers: Mapping[str, str],
        pace: Pace,
        read: Callable[[Answer], Reading] = default_reading,
        request_id_header: str = "",
        media_type: str = "application/json",
        sign_in: SignIn | None = None,
        connect_timeout_s: float = 10.0,
        read_timeout_s: float = 60.0,
        max_attempts: int = 5,
        max_wait_s: float = 300.0,
        first_backoff_s: float = FIRST_BACKOFF_S,
    ) -> None:
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            # It would not fit into a header, and the error about that would quote it.
            raise AccessRefused(
                f"the secret for {platform} holds characters that no token has",
                remedy="was the value of its environment variable copied whole, without quotes, line breaks or spaces?",
            )
        for name in ("urllib3.connectionpool", "urllib3.connection"):
            logging.getLogger(name).addFilter(_WITHOUT_QUERIES)  # the same one again changes nothing
        self._platform = platform
        self.move_to(base_url)
        self._media_type = media_type
        self._sign_in = sign_in
        self._headers = {**headers, "Accept": media_type, "User-Agent": "audience-syncs"}
        self._read = read
        self._request_id_header = request_id_header
        self._timeout = (connect_timeout_s, read_timeout_s)
        self._max_attempts = max_attempts
        self._max_wait_s = max_wait_s
        self._first_backoff_s = first_backoff_s
        self._sessions = threading.local()
        self._counting = threading.Lock()
        self._sent = 0
        self.pace = pacer_of(platform, account, pace)

    @property
    def requests_sent(self) -> int:
        """Requests made so far, retries included."""
        return self._sent

    def move_to(self, base_url: str) -> None:
        """The API is there from now on: some platforms tell where when they sign in."""
        if re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", base_url) is None:
            raise DestinationError(
                f"the address of {self._platform}'s API is not one",
                remedy="write `base_url` like https://host or https://host/path",
            )
        self._base_url = base_url.rstrip("/")

    def request(
        self,
        method: str,
        path: str,
        *,
        operation: str,
        params: Mapping[str, str | int] | None = None,
        json: Any = None,
        form: Mapping[str, str] | None = None,
        content: tuple[str, bytes] | None = None,
        headers: Callable[[bytes], Mapping[str, str]] | None = None,
        idempotent: bool = True,
        reads: bool = False,
    ) -> Answer:
        """The final answer, good or bad. ``operation`` names the call in errors and logs; ``reads``: it changes nothing.

        The body is ``json``, the fields of a ``form``, or ``content`` of a type of its own. ``headers`` makes further headers
        from the body, anew for each attempt, such as signatures. An answer 401 makes ``sign_in`` renew its headers, once.

        Raises NotApplied or NoAnswer when no final answer could be had; a call that is not ``idempotent`` is not repeated
        once it may have been applied.
        """
        content_type, body = content or self._body(json, form)
        renewed = False
        attempts = _Attempts(
            f"{self._platform} {operation}", self._max_attempts, self._max_wait_s, self._first_backoff_s
        )
        while True:
            may_go = self.pace.wait(attempts.left_s)
            if stopped():
                raise attempts.failure("the run is being stopped")
            if not may_go:
                raise attempts.failure("the platform asked to be left alone for longer than is waited for")
            attempts.begin()
            try:
                given = headers(body or b"") if headers is not None else {}
                signed = self._sign_in.headers() if self._sign_in is not None else {}
                answer = self._once(method, path, params, body, {"Content-Type": content_type, **given, **signed})
            except _Failed as failed:
                retry, what = Retry(None, failed.maybe_applied), failed.what
            else:
                if answer.status == 401 and self._sign_in is not None and not renewed:
                    renewed = True
                    if self._sign_in.renew(signed):
                        continue
                reading = self._read(answer)
                if not isinstance(reading, Retry):
                    return answer
                retry = reading
                what = f"HTTP {answer.status}" + (f", request {answer.request_id}" if answer.request_id else "")
            if retry.maybe_applied and not (reads or method == "GET"):
                may_have_been_applied()
            if retry.after_s is not None:
                # Before this call is given up, so that the other threads do not go on knocking.
                self.pace.hold_off(min(retry.after_s, LONGEST_HOLD_OFF_S))
            pause = attempts.next_pause(retry, what, idempotent=idempotent)
            log.info("%s %s: %s; again in %.1f s", method, operation, what, pause)
            rest(pause)

    def _body(self, json: Any, form: Mapping[str, str] | None) -> tuple[str, bytes | None]:
        if form is not None:
            return "application/x-www-form-urlencoded", urlencode(form).encode()
        return self._media_type, None if json is None else orjson.dumps(json)

    def _once(
        self,
        method: str,
        path: str,
        params: Mapping[str, str | int] | None,
        body: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        import requests

        with self._counting:
            self._sent += 1
        try:
            response = self._session().request(
                method,
                self._base_url + path,
                params=params,
                data=body,
                headers={name: value for name, value in headers.items() if name != "Content-Type" or body is not None},
                timeout=self._timeout,
                allow_redirects=False,
            )
        except requests.exceptions.ConnectTimeout:
            raise _Failed("no connection in time", maybe_applied=False) from None
        except requests.exceptions.ConnectionError as error:
            if _is_untrusted(error):
                raise DestinationError(
                    f"{self._platform}'s certificate is not trusted",
                    code="CERTIFICATE",
                    remedy="is there a proxy that opens encrypted connections? Name its certificates in REQUESTS_CA_BUNDLE",
                ) from None
            refused = _never_connected(error)
            raise _Failed("no connection" if refused else "connection lost", maybe_applied=not refused) from None
        except requests.exceptions.Timeout:
            raise _Failed("no answer in time", maybe_applied=True) from None
        except requests.exceptions.RequestException as error:
            raise _Failed(type(error).__name__, maybe_applied=True) from None
        if 300 <= response.status_code < 400:
            raise DestinationError(
                f"{self._platform} answered with a redirect, which is not followed",
                remedy="check the destination's base URL",
            )
        parsed, readable = _parsed(response.content)
        request_id = response.headers.get(self._request_id_header, "") if self._request_id_header else ""
        shown = request_id if _REQUEST_ID.fullmatch(request_id) is not None else ""
        return Answer(response.status_code, response.headers, parsed, readable, shown, response.content)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            import requests

            session = requests.Session()
            session.headers.update(self._headers)
            # The environment's proxies and certificates are used; but a .netrc entry for the platform's host would
            # replace our token, unless there is an `auth` of the session's own.
            session.auth = _leave_as_it_is
            self._sessions.session = session
        return session


class _Failed(Exception):
    """One attempt without an answer."""

    def __init__(self, what: str, *, maybe_applied: bool) -> None:
        self.what = what
        self.maybe_applied = maybe_applied
        super().__init__(what)


class _Attempts:
    """How often one call was tried, how long it waited, and whether one of its attempts may have been applied."""

    def __init__(self, name: str, most: int, longest_wait_s: float, first_backoff_s: float) -> None:
        self._name = name
        self._most = most
        self._longest_wait_s = longest_wait_s
        self._first_backoff_s = first_backoff_s
        self._began_at: float | None = None
        self._done = 0
        self._maybe_applied = False
        self._last = ""

    @property
    def left_s(self) -> float:
        """Seconds within which another attempt may begin."""
        return self._longest_wait_s - (0.0 if self._began_at is None else time.monotonic() - self._began_at)

    def begin(self) -> None:
        """Counts the time from the first attempt; waiting for one's turn before it is no failure."""
        if self._began_at is None:
            self._began_at = time.monotonic()

    def next_pause(self, reading: Retry, what: str, *, idempotent: bool) -> float:
        """Seconds to wait before the next attempt; raises when there is to be none."""
        self._done += 1
        self._maybe_applied |= reading.maybe_applied
        self._last = what
        backoff = min(LONGEST_BACKOFF_S, self._first_backoff_s * 2 ** (self._done - 1))
        pause = reading.after_s if reading.after_s is not None else random.uniform(0, backoff)
        if self._done < self._most and pause <= self.left_s and (idempotent or not self._maybe_applied):
            return pause
        raise self.failure(what)

    def failure(self, what: str) -> NoAnswer | NotApplied:
        """NoAnswer if any attempt may have been applied, else NotApplied."""
        earlier = f" (before: {self._last})" if self._last not in ("", what) else ""
        times = f", after {self._done} attempt{'s' if self._done > 1 else ''}" if self._done else ""
        tried = f"{self._name}: {what}{earlier}{times}"
        return NoAnswer(tried) if self._maybe_applied else NotApplied(tried)


def _leave_as_it_is(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared


def _reason(error: Exception) -> object:
    """The error of urllib3 behind one of requests."""
    from urllib3.exceptions import MaxRetryError

    reason: object = error.args[0] if error.args else None
    return reason.reason if isinstance(reason, MaxRetryError) else reason


def _never_connected(error: Exception) -> bool:
    """Whether the connection to the platform was never made, so that nothing can have been sent."""
    from urllib3.exceptions import NewConnectionError, ProxyError

    return isinstance(_reason(error), (NewConnectionError, ProxyError))


def _is_untrusted(error: Exception) -> bool:
    reason = _reason(error)
    cause = reason.args[0] if isinstance(reason, Exception) and reason.args else None
    return isinstance(cause, ssl.SSLCertVerificationError)


def _parsed(content: bytes) -> tuple[Any, bool]:
    if not content.strip():
        return None, True
    try:
        return orjson.loads(content), True
    except orjson.JSONDecodeError:
        return None, False
