"""How requests say who we are: headers that stay, or a token that is fetched and expires (OAuth 2.0, RFC 6749).

``HttpClient`` asks for the headers anew for every attempt, and renews them once after an answer 401.
"""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from audience_syncs.destinations.pacing import Pace
from audience_syncs.model.errors import AccessRefused, NoAnswer, NotApplied

if TYPE_CHECKING:
    from audience_syncs.destinations.http import Answer

EARLY_S = 60
"""A token is renewed so long before it expires."""
UNTOLD_S = 300
"""How long a token is used whose end is not told."""


class SignIn(Protocol):
    """Headers of a request; ``renew`` after one was refused for them."""

    def headers(self) -> Mapping[str, str]:
        """Raises AccessRefused where there are none to be had, NotApplied where that is not known."""
        ...

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Whether there may be better headers now than those that were refused."""
        ...


class Fixed:
    """Headers that stay."""

    def __init__(self, headers: Mapping[str, str], where: str) -> None:
        if not all(value.isascii() and value.isprintable() for value in headers.values()):
            # It would not fit into a header, and the error about that would quote it.
            raise AccessRefused(
                "the secret holds characters that no token has",
                where=where,
                remedy="was the value of its environment variable copied whole, without quotes, line breaks or spaces?",
            )
        self._headers = headers

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def renew(self, refused: Mapping[str, str]) -> bool:
        return False


class Tokens:
    """Access tokens, fetched when one is needed and renewed before they expire. Thread-safe.

    ``form`` makes the fields of a request for a token: ``grant_type`` and what that grant wants (a refresh token, a signed
    assertion, a client's id and secret). ``basic``: id and secret for the header instead, as RFC 6749 section 2.3.1 prefers.
    ``account`` tells accounts apart, whose tokens are asked for at a pace each. ``remedy`` says what to check when no token
    is given, ``explain`` what the platform says about it. ``scheme`` is the word before the token.

    A refresh token that is replaced by the answer (rotation) is not kept: secrets come from the environment alone, so
    platforms that rotate them must be given one that stays.
    """

    def __init__(
        self,
        origin: str,
        path: str,
        form: Callable[[], Mapping[str, str]],
        *,
        platform: str,
        account: str,
        where: str,
        remedy: str,
        basic: tuple[str, str] | None = None,
        scheme: str = "Bearer",
        explain: Callable[[Answer], str] = lambda answer: "",
    ) -> None:
        # Imported here: that module names this one's protocol.
        from audience_syncs.destinations.http import HttpClient

        self._path = path
        self._form = form
        self._where = where
        self._remedy = remedy
        self._scheme = scheme
        self._explain = explain
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0
        self.granted: Mapping[str, object] = {}
        """The last answer that gave a token: some tell more than it (Salesforce the instance's address)."""
        self._http = HttpClient(
            origin,
            platform=f"{platform} token",
            account=hashlib.sha256(f"{origin}{path} {account}".encode()).hexdigest(),
            headers={} if basic is None else {"Authorization": basic_header(*basic)},
            pace=Pace(2, burst=5),
            max_attempts=3,
        )

    def headers(self) -> Mapping[str, str]:
        with self._lock:
            if time.monotonic() >= self._until:
                self._fetch()
            return {"Authorization": f"{self._scheme} {self._token}"}

    def renew(self, refused: Mapping[str, str]) -> bool:
        with self._lock:
            if refused.get("Authorization") == f"{self._scheme} {self._token}":
                self._until = 0.0
            return True

    def _fetch(self) -> None:
        try:
            answer = self._http.request("POST", self._path, operation="token", form=dict(self._form()), reads=True)
        except NoAnswer as error:
            raise NotApplied(error.message) from error  # no list is changed by asking for a token
        token = answer.body.get("access_token") if isinstance(answer.body, dict) else None
        if answer.status >= 400 or not isinstance(token, str) or not (token.isascii() and token.isprintable()):
            why = self._explain(answer)
            raise AccessRefused(
                f"no token was given (HTTP {answer.status}{f': {why}' if why else ''})",
                where=self._where,
                remedy=self._remedy,
            )
        lasts = answer.body.get("expires_in")
        # Microsoft and Salesforce have sent numbers as text.
        told = isinstance(lasts, int | float | str) and not isinstance(lasts, bool) and str(lasts).isdigit()
        lasts_s = float(str(lasts)) if told else UNTOLD_S + EARLY_S
        self.granted = answer.body
        self._token = token
        # Also a token that lasts less than a minute is used once.
        self._until = time.monotonic() + max(1.0, lasts_s - EARLY_S)


def oauth_error(answer: Answer) -> str:
    """The error code of RFC 6749 section 5.2, where the answer has one: a word, never a secret."""
    code = answer.body.get("error") if isinstance(answer.body, dict) else None
    return code if isinstance(code, str) and code.replace("_", "").isalpha() and len(code) < 60 else ""


def basic_header(name: str, secret: str) -> str:
    """The value of an Authorization header of RFC 7617."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()
