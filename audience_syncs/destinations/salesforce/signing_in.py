"""OAuth 2.0 at Salesforce: three flows, chosen by the secrets that are given, and where the org is.

Facts (Salesforce Help, OAuth authorization flows; and simple-salesforce 1.12.10, which does the same): tokens come from
``/services/oauth2/token`` of the org's My Domain; the client credentials flow is refused at login.salesforce.com. The JWT's
``aud`` is https://login.salesforce.com, for a sandbox https://test.salesforce.com; it may last three minutes; it is signed
with RS256. The answer tells ``instance_url``, to which calls go, and not how long the token lasts: that is a setting of the org.
So it is renewed every few minutes, and whenever it is refused.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping

import orjson

from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.salesforce.declaration import SalesforceSettings
from audience_syncs.destinations.sign_in import Tokens, oauth_error
from audience_syncs.model.errors import AccessRefused, DefinitionError

PATH = "/services/oauth2/token"
_KEEP_OWNERS = {"Sforce-Auto-Assign": "FALSE"}
"""Without it, every update of a lead would run the org's assignment rules, and may give the lead to another owner (REST API
Developer Guide, Assignment Rule Header: "the default value is TRUE"). Jobs run none unless one is named."""
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_LASTS_S = 170
_REMEDY = (
    "check the connected app (Setup, External Client App Manager): its consumer key and secret, that the flow is enabled, "
    "that its policy allows the user (pre-authorized, or a run-as user for client credentials), and that the user is active"
)


class SignedIn:
    """Headers with a token; moves the calls to the instance that the token is for."""

    def __init__(self, tokens: Tokens, *, follows: bool, at: str) -> None:
        self._tokens = tokens
        self._follows = follows
        self.at = at
        self.moved: Callable[[str], None] = lambda address: None

    def headers(self) -> Mapping[str, str]:
        found = self._tokens.headers()
        told = self._tokens.granted.get("instance_url")
        # Never from https to http.
        if self._follows and isinstance(told, str) and told != self.at and told.startswith(self.at.split("//")[0]):
            self.moved(told)
            self.at = told
        return found

    def renew(self, refused: Mapping[str, str]) -> bool:
        return self._tokens.renew(refused)


def signed_in(
    secrets: Mapping[str, str], given: SalesforceSettings, environ: Mapping[str, str], where: str
) -> SignedIn:
    """Chooses the flow. Raises DefinitionError where the secrets make none, AccessRefused where the key is none."""
    address = given.address(environ, given.my_domain)
    tokens = Tokens(
        address,
        PATH,
        _form(secrets, given, where),
        platform="salesforce",
        account=secrets["client_id"],
        where=where,
        remedy=_REMEDY,
        explain=oauth_error,
    )
    # Another address of the API is where everything goes: a simulator, or a proxy.
    return SignedIn(tokens, follows=address == given.my_domain, at=address)


def fingerprint(secrets: Mapping[str, str], given: SalesforceSettings) -> str:
    """Tells accounts apart, for their pace."""
    return hashlib.sha256(f"{given.my_domain} {secrets['client_id']}".encode()).hexdigest()


def client(base_url: str, sign_in: SignedIn, **more: object) -> HttpClient:
    """The HTTP client of an org, which goes where the org is."""
    http = HttpClient(base_url, platform="salesforce", headers=_KEEP_OWNERS, sign_in=sign_in, **more)  # type: ignore[arg-type]
    sign_in.moved = http.move_to
    return http


def _form(secrets: Mapping[str, str], given: SalesforceSettings, where: str) -> Callable[[], Mapping[str, str]]:
    who = {"client_id": secrets["client_id"]}
    if "private_key" in secrets:
        if given.username is None:
            raise DefinitionError(
                "a `private_key` signs in as a user, and none is named",
                where=where,
                remedy="add `username` under `settings`",
            )
        audience = given.jwt_audience or _login(given.my_domain)
        sign = _signer(secrets["private_key"], where)
        claims = {"iss": secrets["client_id"], "sub": given.username, "aud": audience}
        return lambda: {"grant_type": _JWT_GRANT, "assertion": _assertion(claims, sign)}
    secret = {"client_secret": secrets["client_secret"]} if "client_secret" in secrets else {}
    if "refresh_token" in secrets:
        return lambda: {"grant_type": "refresh_token", "refresh_token": secrets["refresh_token"], **who, **secret}
    if secret:
        return lambda: {"grant_type": "client_credentials", **who, **secret}
    raise DefinitionError(
        "a `client_id` alone does not sign in",
        where=where,
        remedy="add one of `client_secret` (client credentials), `private_key` (JWT bearer) or `refresh_token`",
    )


def _login(my_domain: str) -> str:
    return f"https://{'test' if '.sandbox.' in my_domain or '.scratch.' in my_domain else 'login'}.salesforce.com"


def _assertion(claims: Mapping[str, object], sign: Callable[[bytes], bytes]) -> str:
    """RFC 7523, as Salesforce wants it."""
    parts = (orjson.dumps({"alg": "RS256"}), orjson.dumps({**claims, "exp": int(time.time()) + _LASTS_S}))
    content = b".".join(map(_encoded, parts))
    return (content + b"." + _encoded(sign(content))).decode()


def _encoded(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


def _signer(pem: str, where: str) -> Callable[[bytes], bytes]:
    try:
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import padding, rsa
    except ImportError:
        raise DefinitionError(
            "signing in with a `private_key` needs the package cryptography",
            where=where,
            remedy="install it beside audience-syncs: pip install 'audience-syncs[signing]'",
        ) from None
    try:
        # Environment files keep line breaks as two characters.
        key = serialization.load_pem_private_key(pem.replace("\\n", "\n").encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise AccessRefused(
            "the `private_key` is not an RSA key in PEM without a password",
            where=where,
            remedy="set its variable to the whole file, from -----BEGIN to END-----; the certificate belongs to Salesforce",
        )
    return lambda content: key.sign(content, padding.PKCS1v15(), hashes.SHA256())
