"""How requests say who we are: a header that stays, or a token that is fetched and expires."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections.abc import Mapping
from typing import Protocol

from audience_syncs.destinations import own_endpoint
from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.http_api.declaration import Auth
from audience_syncs.destinations.pacing import Pace
from audience_syncs.model.errors import AccessRefused, NoAnswer, NotApplied

EARLY_S = 60
"""A token is renewed so long before it expires."""
UNTOLD_S = 300
"""How long a token is used whose end is not told."""


class SignIn(Protocol):
    """Headers of a request; ``renew`` after one was refused for them."""

    def headers(self) -> Mapping[str, str]: ...

    def renew(self, refused: Mapping[str, str]) -> bool:
        """Whether there may be better headers now than those that were refused."""
        ...


class _Fixed:
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


class _ClientCredentials:
    """OAuth 2.0, section 4.4 of RFC 6749: our id and secret in the header, as its section 2.3.1 prefers. Thread-safe."""

    def __init__(self, auth: Auth, credentials: Mapping[str, str], where: str, *, plain_http: bool) -> None:
        origin, self._path = own_endpoint.origin_and_path(auth.token_url or "", where, plain_http=plain_http)
        self._scope = auth.scope
        self._where = where
        self._basic = _basic(credentials["client_id"], credentials["client_secret"])
        self._lock = threading.Lock()
        self._token = ""
        self._until = 0.0
        self._http = HttpClient(
            origin,
            platform="http_api token",
            account=hashlib.sha256(f"{auth.token_url} {credentials['client_id']}".encode()).hexdigest(),
            headers={"Authorization": self._basic},
            pace=Pace(2, burst=5),
            max_attempts=3,
        )

    def headers(self) -> Mapping[str, str]:
        with self._lock:
            if time.monotonic() >= self._until:
                self._fetch()
            return {"Authorization": f"Bearer {self._token}"}

    def renew(self, refused: Mapping[str, str]) -> bool:
        with self._lock:
            if refused.get("Authorization") == f"Bearer {self._token}":
                self._until = 0.0
            return True

    def _fetch(self) -> None:
        form = {"grant_type": "client_credentials", **({"scope": self._scope} if self._scope else {})}
        try:
            answer = self._http.request("POST", self._path, operation="token", form=form, reads=True)
        except NoAnswer as error:
            raise NotApplied(error.message) from error  # no list is changed by asking for a token
        token = answer.body.get("access_token") if isinstance(answer.body, dict) else None
        if answer.status >= 400 or not isinstance(token, str) or not (token.isascii() and token.isprintable()):
            raise AccessRefused(
                f"no token was given (HTTP {answer.status})",
                where=self._where,
                remedy="check `client_id`, `client_secret`, `token_url` and `scope`",
            )
        lasts = answer.body.get("expires_in")
        lasts_s = (
            float(lasts) if isinstance(lasts, (int, float)) and not isinstance(lasts, bool) else UNTOLD_S + EARLY_S
        )
        self._token = token
        # Also a token that lasts less than a minute is used once.
        self._until = time.monotonic() + max(1.0, lasts_s - EARLY_S)


def sign_in(auth: Auth, credentials: Mapping[str, str], where: str, *, plain_http: bool) -> SignIn:
    """What the API's ``auth`` asks for."""
    if auth.type == "bearer":
        return _Fixed({"Authorization": f"Bearer {credentials['token']}"}, where)
    if auth.type == "header":
        return _Fixed({auth.header or "": credentials["token"]}, where)
    if auth.type == "basic":
        return _Fixed({"Authorization": _basic(credentials["username"], credentials["password"])}, where)
    if auth.type == "oauth2":
        return _ClientCredentials(auth, credentials, where, plain_http=plain_http)
    return _Fixed({}, where)


def _basic(name: str, secret: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()
