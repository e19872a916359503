"""What the description of an API says about signing in."""

from __future__ import annotations

from collections.abc import Mapping

from audience_syncs.destinations import own_endpoint
from audience_syncs.destinations.http_api.declaration import Auth
from audience_syncs.destinations.sign_in import Fixed, SignIn, Tokens, basic_header


def sign_in(auth: Auth, credentials: Mapping[str, str], where: str, *, plain_http: bool) -> SignIn:
    """What the API's ``auth`` asks for."""
    if auth.type == "bearer":
        return Fixed({"Authorization": f"Bearer {credentials['token']}"}, where)
    if auth.type == "header":
        return Fixed({auth.header or "": credentials["token"]}, where)
    if auth.type == "basic":
        return Fixed({"Authorization": basic_header(credentials["username"], credentials["password"])}, where)
    if auth.type == "oauth2":
        origin, path = own_endpoint.origin_and_path(auth.token_url or "", where, plain_http=plain_http)
        form = {"grant_type": "client_credentials", **({"scope": auth.scope} if auth.scope else {})}
        return Tokens(
            origin,
            path,
            lambda: form,
            platform="http_api",
            account=credentials["client_id"],
            where=where,
            remedy="check `client_id`, `client_secret`, `token_url` and `scope`",
            basic=(credentials["client_id"], credentials["client_secret"]),
        )
    return Fixed({}, where)
