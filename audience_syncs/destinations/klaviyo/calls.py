"""One call to Klaviyo: its limits, and what its errors mean, without anybody's address in them.

Facts: Klaviyo's page on rate limits, status codes and errors (read 2026-11): two windows for each endpoint, a second and a
minute; the headers tell of the minute. Which places of a body its errors name: answers of real accounts that others have
published (2026-09). That ``RateLimit-Reset`` counts seconds is taken from the draft standard of that name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qs, urlsplit

from audience_syncs.destinations.http import Answer, HttpClient, Reading, Retry, default_reading, retry_after
from audience_syncs.model.errors import AccessRefused, BatchRefused, DestinationError, NoAnswer, NotApplied

REVISION = "2026-07-15"
MEDIA_TYPE = "application/vnd.api+json"
_STEADY_WINDOW_S = 60.0
_CODE = re.compile(r"[a-z][a-z0-9_]{0,60}")
_TRACE = re.compile(r"[0-9a-zA-Z-]{1,60}")
_ROW = re.compile(r"/data/attributes/profiles/data/(\d{1,6})(?:/attributes)?(?:/(?:properties/|location/)?(\w{0,60}))?")
_REFUSED_ROWS = (400, 409, 422)


def reading(answer: Answer) -> Reading:
    """As HTTP says; and all good answers we ask for are objects, or 204 and nothing."""
    if answer.status < 400 and answer.status != 204 and not isinstance(answer.body, dict):
        return Retry(retry_after(answer), maybe_applied=True)
    return default_reading(answer)


class Calls:
    """Calls one account, at the pace that its answers ask for."""

    def __init__(self, http: HttpClient) -> None:
        self.http = http

    def get(self, path: str, params: Mapping[str, str | int] | None = None, *, operation: str) -> Answer:
        """Raises NotApplied where there is no answer: reading changes nothing."""
        try:
            return self._within_limits(self.http.request("GET", path, operation=operation, params=params))
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def change(self, method: str, path: str, body: Any, *, operation: str, idempotent: bool = True) -> Answer:
        return self._within_limits(
            self.http.request(method, path, operation=operation, json=body, idempotent=idempotent)
        )

    def _within_limits(self, answer: Answer) -> Answer:
        if answer.headers.get("RateLimit-Remaining", "").strip() == "0":
            reset = answer.headers.get("RateLimit-Reset", "").strip()
            if reset.isascii() and reset.isdigit():
                self.http.pace.hold_off(min(_STEADY_WINDOW_S, float(reset)))
        return answer


def resources(answer: Answer) -> list[Mapping[str, Any]]:
    """The resources in ``data``. Raises NotApplied where it cannot be read: that is not the same as nobody."""
    found = answer.body.get("data") if isinstance(answer.body, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) and each.get("id") for each in found):
        raise NotApplied("klaviyo: the answer has no data")
    return found


def attributes_of(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    found = resource.get("attributes")
    return found if isinstance(found, Mapping) else {}


def cursor_after(answer: Answer) -> str | None:
    """Where the next page begins: the cursor in its link. None on the last page. Raises NotApplied where it is not told."""
    links = answer.body.get("links") if isinstance(answer.body, dict) else None
    following = links.get("next") if isinstance(links, dict) else None
    if not following:
        return None
    cursors = parse_qs(urlsplit(str(following)).query).get("page[cursor]", [])
    if len(cursors) != 1:
        raise NotApplied("klaviyo: the answer does not say where the next page begins")
    return cursors[0]


def refused_rows(answer: Answer) -> dict[int, tuple[str, str]]:
    """Code and words for each profile of an import that Klaviyo names as the reason why it refuses all of it.

    Empty where any error is about something else. Klaviyo's words quote the value, so only its code and the field are kept.
    """
    rows: dict[int, tuple[str, str]] = {}
    for error in _errors(answer) if answer.status in _REFUSED_ROWS else ():
        place = row_of(error)
        if place is None:
            return {}
        rows.setdefault(place, row_reason(error))
    return rows


def row_of(error: Mapping[str, Any]) -> int | None:
    found = _ROW.match(_pointer(error))
    return int(found[1]) if found else None


def row_reason(error: Mapping[str, Any]) -> tuple[str, str]:
    code = _code(error) or "refused"
    found = _ROW.match(_pointer(error))
    words = code.replace("_", " ")
    return code.upper(), f"{found[2]}: {words}" if found and found[2] else words


def raise_refusal(answer: Answer, doing: str, *, per_batch: bool = False) -> NoReturn:
    """The error for a final refusal. ``per_batch``: a request with people, whose content may be what is refused."""
    first = next(_errors(answer), {})
    code = _code(first) or f"HTTP {answer.status}"
    told = str(first.get("id", ""))
    trace = f" (error {told})" if _TRACE.fullmatch(told) else ""
    if answer.status == 401:
        raise AccessRefused(
            f"Klaviyo refuses the API key{trace}",
            remedy="was the private key deleted? Make another (Settings, API keys) and set it in the destination's variable",
        )
    if answer.status == 403:
        raise AccessRefused(
            f"Klaviyo does not allow this key to {doing}: {code}{trace}",
            remedy="make a private key with the scopes lists:read, lists:write, profiles:read and profiles:write",
        )
    if per_batch and (answer.status in _REFUSED_ROWS or answer.status == 413):
        raise BatchRefused(code.lower().replace("_", " "), reason_code=code.upper().replace(" ", "_"))
    raise DestinationError(
        f"Klaviyo refused to {doing}: {code.replace('_', ' ')}{trace}",
        remedy="see Klaviyo's page on status codes and errors",
    )


def _errors(answer: Answer) -> Iterator[Mapping[str, Any]]:
    found = answer.body.get("errors") if isinstance(answer.body, dict) else None
    yield from (each for each in (found if isinstance(found, list) else []) if isinstance(each, Mapping))


def _code(error: Mapping[str, Any]) -> str:
    found = error.get("code")
    return found if isinstance(found, str) and _CODE.fullmatch(found) else ""


def _pointer(error: Mapping[str, Any]) -> str:
    source = error.get("source")
    found = source.get("pointer") if isinstance(source, Mapping) else None
    return found if isinstance(found, str) else ""
