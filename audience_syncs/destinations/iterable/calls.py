"""One call to Iterable: its limits, and what its errors mean, without anybody's address in them.

Facts: Iterable's API description 1.8 (as its own client of 2026 carries it) and its page on response codes (read 2026-08 by others):
errors are ``{"msg", "code", "params"}``, where ``params`` may hold values of people, or an address of ours; limits are named for
some calls only (5 a minute for a list's size and members, 100 a second for looking users up). Published from real projects: a
list that is not there is told by ``error.lists.invalidListId`` in ``msg``, with 400 or even 500, and sometimes the code ``Success``.
[unsure]: whether a 429 says when to come back (``Retry-After`` is heeded where it is sent).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, HttpClient, Outcome, Reading, Retry, default_reading
from audience_syncs.model.errors import AccessRefused, BatchRefused, DestinationError, ListMissing, NoAnswer, NotApplied

_NO_LIST = "error.lists.invalidlistid"
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,60}")
_FIELD = re.compile(r"[\w :.-]{1,100}")
_OF_CONTENT = (400, 409, 413, 422)
_OF_FIELDS = ("RequestFieldsTypesMismatched", "UniqueFieldsLimitExceeded")
_NOBODY = ("UnknownEmailError", "UnknownUserIdError", "NotFound", "error.users.noUserWithIdExists")


def reading(answer: Answer) -> Reading:
    """As HTTP says; but a list that is not there is never there, and some answers are text."""
    if answer.status >= 500 and tells_of_no_list(answer):
        return Outcome.REFUSED
    if answer.status < 300 and answer.headers.get("Content-Type", "").startswith("text/plain"):
        return Outcome.OK
    found = default_reading(answer)
    if found is Outcome.OK and not isinstance(answer.body, (dict, int, str)):
        return Retry(None, maybe_applied=True)
    return found


class Calls:
    """Calls one project."""

    def __init__(self, http: HttpClient) -> None:
        self.http = http

    def get(self, path: str, params: Mapping[str, str | int] | None = None, *, operation: str) -> Answer:
        """Raises NotApplied where there is no answer: reading changes nothing."""
        try:
            return self.http.request("GET", path, operation=operation, params=params)
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def change(self, path: str, body: Any, *, operation: str, method: str = "POST", idempotent: bool = True) -> Answer:
        return self.http.request(method, path, operation=operation, json=body, idempotent=idempotent)


def code_of(answer: Answer) -> str:
    """Iterable's word for what is wrong; empty where it has none."""
    found = answer.body.get("code") if isinstance(answer.body, dict) else None
    return found if isinstance(found, str) and _CODE.fullmatch(found) and found != "Success" else ""


def tells_of_no_list(answer: Answer) -> bool:
    message = answer.body.get("msg") if isinstance(answer.body, dict) else None
    return isinstance(message, str) and _NO_LIST in message.casefold()


def tells_of_nobody(answer: Answer) -> bool:
    """Whether the user who was asked for is not there."""
    if answer.status == 404 or code_of(answer) in _NOBODY:
        return True
    message = answer.body.get("msg") if isinstance(answer.body, dict) else None
    return isinstance(message, str) and (
        "user does not exist" in message.casefold() or _NOBODY[3].casefold() in message.casefold()
    )


def list_missing(list_id: str) -> ListMissing:
    return ListMissing(
        f"the Iterable list {list_id} does not exist in this project",
        remedy="deleted lists cannot be restored: give the sync another `list` name to fill a new one",
    )


def raise_refusal(answer: Answer, doing: str, list_id: str = "", *, per_batch: bool = False) -> NoReturn:
    """The error for a final refusal. ``per_batch``: a request with people, whose content may be what is refused."""
    code = code_of(answer)
    shown = code or f"HTTP {answer.status}"
    if answer.status in (401, 403):
        raise AccessRefused(
            f"Iterable does not let this API key {doing}: {shown}",
            remedy="is it a server-side key of this project and region (Integrations, API Keys), and was it not deleted? "
            "Keys for mobile and web apps may not change lists",
        )
    if list_id and tells_of_no_list(answer):
        raise list_missing(list_id)
    if code in _OF_FIELDS:
        raise DestinationError(
            f"Iterable refused to {doing}: {code}{_fields_in(answer)}",
            code="FIELD_TYPES",
            remedy="all values are sent as texts: map these columns to fields of other names, or delete the fields' types at "
            "Iterable (Settings, Data Schema Management)",
        )
    if per_batch and answer.status in _OF_CONTENT:
        raise BatchRefused(_words(shown), reason_code=code.upper() or f"HTTP_{answer.status}")
    raise DestinationError(f"Iterable refused to {doing}: {shown}", remedy="see Iterable's page on API response codes")


def _fields_in(answer: Answer) -> str:
    """The names of the fields whose types do not fit, never their values."""
    params = answer.body.get("params")
    wrong = params.get("validationErrors") if isinstance(params, dict) else None
    names = [str(name).rpartition(":::")[2] for name in wrong] if isinstance(wrong, dict) else []
    shown = sorted({name for name in names if _FIELD.fullmatch(name)})[:10]
    return f" ({', '.join(shown)})" if shown else ""


def _words(code: str) -> str:
    """``BatchTooLarge`` -> ``batch too large``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", code).lower() if " " not in code else code
