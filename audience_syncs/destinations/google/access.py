"""Signing in to Google: an OAuth client's refresh token, or a service account's key (RFC 7523).

Facts: Google's guide *Using OAuth 2.0 for server to server applications* (claims, RS256, one hour at most, grant type); the scope
of the Data Manager API. The pace of requests belongs to the Google Cloud project (limits guide: 300 a minute and 100,000 a day for
each), so it is shared by all accounts that are reached with credentials of the same project.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from audience_syncs.destinations import own_endpoint
from audience_syncs.destinations.google.declaration import TOKEN_URL, GoogleSettings
from audience_syncs.destinations.sign_in import Tokens, oauth_error
from audience_syncs.model.errors import AccessRefused

SCOPE = "https://www.googleapis.com/auth/datamanager"
JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LASTS_S = 3_600


def tokens(given: GoogleSettings, credentials: Mapping[str, str], where: str) -> Tokens:
    """Access tokens, by what the settings say."""
    if given.sign_in == "service_account":
        key = ServiceAccount(credentials["service_account_key"], where)
        # The key names an address of its own; ours comes first, for proxies and simulators.
        url = given.token_url or key.token_url
        return _tokens(
            url,
            lambda: {"grant_type": JWT_GRANT, "assertion": key.assertion(url, time.time())},
            account=key.email,
            where=where,
            remedy=f"is the key of {key.email} still there (Cloud console, IAM, Service accounts), and is the clock right?",
            plain_http=given.token_url is not None,
        )
    form = {
        "grant_type": "refresh_token",
        "client_id": credentials["client_id"],
        "client_secret": credentials["client_secret"],
        "refresh_token": credentials["refresh_token"],
    }
    return _tokens(
        given.token_url or TOKEN_URL,
        lambda: form,
        account=credentials["client_id"] + credentials["refresh_token"],
        where=where,
        remedy=f"make a new refresh token with the scope {SCOPE} and set it in the destination's variable; while the OAuth consent "
        "screen is in testing, refresh tokens end after 7 days",
        plain_http=given.token_url is not None,
    )


def project_of(given: GoogleSettings, credentials: Mapping[str, str], where: str) -> str:
    """What tells Google Cloud projects apart: whose quota our requests use."""
    if given.quota_project:
        return given.quota_project
    if given.sign_in == "service_account":
        return ServiceAccount(credentials["service_account_key"], where).project
    # 123456789012-abc.apps.googleusercontent.com: the number is the project's.
    return credentials["client_id"].partition("-")[0]


class ServiceAccount:
    """A service account's key, as the Cloud console gives it: JSON. Raises AccessRefused where it is none."""

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        try:
            held = orjson.loads(text)
        except orjson.JSONDecodeError:
            held = None
        wanted = ("client_email", "private_key")
        if not isinstance(held, dict) or not all(isinstance(held.get(name), str) and held[name] for name in wanted):
            raise AccessRefused(
                "the service account's key is not the JSON that Google gives",
                where=where,
                remedy="put the whole content of the key file (JSON, with client_email and private_key) into the variable",
            )
        self.email: str = held["client_email"]
        self.project: str = str(held.get("project_id") or self.email)
        self.token_url: str = str(held.get("token_uri") or TOKEN_URL)
        self._key_id = held.get("private_key_id")
        self._private_key: str = held["private_key"]

    def assertion(self, audience: str, now: float) -> str:
        """A signed claim to be this account, for an hour."""
        header: dict[str, Any] = {"alg": "RS256", "typ": "JWT"}
        if isinstance(self._key_id, str):
            header["kid"] = self._key_id
        claims = {"iss": self.email, "scope": SCOPE, "aud": audience, "iat": int(now), "exp": int(now) + _LASTS_S}
        signed = f"{_encoded(orjson.dumps(header))}.{_encoded(orjson.dumps(claims))}"
        return f"{signed}.{_encoded(self._signature(signed.encode()))}"

    def _signature(self, text: bytes) -> bytes:
        # Imported here: only who signs in with a key needs it.
        try:
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import padding, rsa
        except ImportError:
            raise AccessRefused(
                "a service account's key needs the package cryptography",
                where=self._where,
                remedy="install it where Dagster runs: pip install 'audience-syncs[signing]'",
            ) from None
        try:
            key = serialization.load_pem_private_key(self._private_key.encode(), password=None)
        except (ValueError, TypeError):
            key = None
        if not isinstance(key, rsa.RSAPrivateKey):
            raise AccessRefused(
                "the private key in the service account's key cannot be read",
                where=self._where,
                remedy="its line breaks must be written \\n inside of the JSON; copy the key file unchanged",
            )
        return key.sign(text, padding.PKCS1v15(), hashes.SHA256())


def _tokens(
    url: str, form: Callable[[], Mapping[str, str]], *, account: str, where: str, remedy: str, plain_http: bool
) -> Tokens:
    origin, path = own_endpoint.origin_and_path(url, where, plain_http=plain_http)
    return Tokens(
        origin,
        path,
        form,
        platform="google",
        account=account,
        where=where,
        remedy=remedy,
        explain=oauth_error,
    )


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
