"""Tokens, as Salesforce gives them: for a client's id and secret, a refresh token, or a signed assertion.

Read from Salesforce Help, OAuth authorization flows: the answer names the instance, and does not say how long the token
lasts; an assertion is for login.salesforce.com or test.salesforce.com (or the org itself), and lasts three minutes at most.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from audience_syncs.simulators.platform import Answer
from audience_syncs.simulators.tokens import form_of, granted

LONGEST_S = 180 + 60
"""Three minutes, and a clock that is wrong by one."""
AUDIENCES = ("https://login.salesforce.com", "https://test.salesforce.com")


def answered(text: str, headers: Mapping[str, str], here: str, now: float, knows: Callable[[str], bool]) -> Answer:
    form = form_of(text.encode())
    scheme, _, told = headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        try:
            name, _, secret = base64.b64decode(told, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return _refused("invalid_client", "invalid client credentials")
        form |= {"client_id": name, "client_secret": secret}
    kind = form.get("grant_type", "")
    if kind.endswith("jwt-bearer"):
        claims = _claims(form.get("assertion", ""))
        if claims is None or claims.get("aud") not in AUDIENCES or not claims.get("sub"):
            return _refused("invalid_grant", "invalid assertion")
        if not now < float(claims.get("exp", 0)) <= now + LONGEST_S:
            return _refused("invalid_grant", "expired authorization code")
        form["assertion"] = str(claims.get("iss", ""))
    elif kind == "client_credentials" and not form.get("client_secret"):
        return _refused("invalid_client", "invalid client credentials")
    elif kind == "refresh_token" and not form.get("client_id"):
        return _refused("invalid_client_id", "client identifier invalid")
    who = form.get("assertion") or form.get("refresh_token") or form.get("client_id", "")
    if who and not knows(who):
        return _refused("invalid_grant", "expired access/refresh token")
    more: dict[str, Any] = {
        "instance_url": here,
        "id": f"{here}/id/00DSim000000001AAA/005Sim000000001AAA",
        "issued_at": str(int(now * 1000)),
        "signature": "c2lnbmF0dXJl",
        "scope": "api",
    }
    answer = granted(form, now, **more)
    if answer.status == 200:
        return Answer(200, {name: value for name, value in answer.body.items() if name != "expires_in"})
    return answer


def _refused(code: str, words: str) -> Answer:
    return Answer(400, {"error": code, "error_description": words})


def _claims(assertion: str) -> dict[str, Any] | None:
    parts = assertion.split(".")
    if len(parts) != 3 or not parts[2]:
        return None
    try:
        head, claims = (orjson.loads(base64.urlsafe_b64decode(each + "=" * (-len(each) % 4))) for each in parts[:2])
    except (ValueError, binascii.Error):
        return None
    return claims if isinstance(claims, dict) and isinstance(head, dict) and head.get("alg") == "RS256" else None
