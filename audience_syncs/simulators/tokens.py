"""Access tokens as platforms give them (RFC 6749): for a refresh token, a client's secret, or a signed assertion.

A token says by itself for whom it is and until when, so that it outlives the server's process; whoever signs in is known by
their refresh token, assertion or client id.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote

from audience_syncs.simulators.platform import Answer

LASTS_S = 3_600
_NUMBERS = itertools.count(1)
_WHO = {"refresh_token": "refresh_token", "client_credentials": "client_id"}
_JWT = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def form_of(body: bytes) -> dict[str, str]:
    """The fields of a form as it is sent."""
    return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def granted(form: Mapping[str, str], now: float, lasts_s: int = LASTS_S, **more: object) -> Answer:
    """The answer to a request for a token. Who is named ``revoked...`` gets none. ``more``: what else the platform tells."""
    kind = form.get("grant_type", "")
    who = form.get("assertion" if kind == _JWT else _WHO.get(kind, ""), "")
    if kind not in {*_WHO, _JWT}:
        return Answer(400, {"error": "unsupported_grant_type", "error_description": f"Unsupported grant type: {kind}"})
    if not who:
        return Answer(400, {"error": "invalid_request", "error_description": "A parameter is missing."})
    if who.startswith("revoked") or form.get("client_secret", "").startswith("wrong"):
        code = "invalid_grant" if who.startswith("revoked") else "invalid_client"
        return Answer(
            400 if code == "invalid_grant" else 401, {"error": code, "error_description": "Expired or revoked."}
        )
    token = f"at.{next(_NUMBERS)}.{int(now) + lasts_s}.{quote(who, safe='')}"
    return Answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": lasts_s, **more})


def holder_of(token: str, now: float) -> str | None:
    """Who the token was given to; None where it is none of ours, or has expired."""
    kind, _, rest = token.partition(".")
    number, _, rest = rest.partition(".")
    until, _, who = rest.partition(".")
    if kind != "at" or not number.isdigit() or not until.isdigit() or int(until) <= now:
        return None
    return unquote(who)
