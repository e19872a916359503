"""One call to Salesforce: its limits, and what its errors mean, without anybody's data in them.

Facts (REST API Developer Guide: status codes and error responses, headers, limits; read 2026-11): errors are an array of
``errorCode`` and ``message``; 401 INVALID_SESSION_ID is a token that expired; 403 REQUEST_LIMIT_EXCEEDED is a limit, of the
calls in 24 hours or of calls that run at once, and no lack of permission; the header ``Sforce-Limit-Info`` tells
``api-usage=18/5000``, the calls of everybody in the org. Messages quote values, so only codes and names of fields are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from audience_syncs.destinations.http import Answer, HttpClient, Outcome, Reading, Retry, default_reading
from audience_syncs.model.errors import AccessRefused, BatchRefused, DestinationError, NoAnswer, NotApplied

_CODE = re.compile(r"[A-Z][A-Z0-9_]{2,80}", re.ASCII)
_USAGE = re.compile(r"(?<![\w-])api-usage=(\d{1,12})/(\d{1,12})", re.ASCII)
_COLUMN = re.compile(r"No such column '([\w.]{1,100})' on", re.ASCII)
LIMITS = frozenset({"REQUEST_LIMIT_EXCEEDED", "SERVER_UNAVAILABLE"})
_OF_CONTENT = frozenset({"JSON_PARSER_ERROR", "INVALID_BATCH", "INVALIDBATCH", "EXCEEDED_ID_LIMIT", "MALFORMED_ID"})
"""Codes that refuse a whole request for what is in one of its rows."""
_OF_RIGHTS = frozenset({"INVALID_TYPE", "API_DISABLED_FOR_ORG", "API_CURRENTLY_DISABLED", "FUNCTIONALITY_NOT_ENABLED"})
PERMISSIONS = (
    "the user needs: API Enabled; Marketing User; read, create and edit on campaigns and on contacts or leads (delete, "
    "for `removal: delete_record`); and edit on every mapped field"
)


def reading(answer: Answer) -> Reading:
    """As HTTP says; results of jobs are CSV; a limit is worth another try."""
    if answer.status < 300 and not answer.readable and "csv" in answer.headers.get("Content-Type", ""):
        return Outcome.OK
    if answer.status == 403 and error_code(answer) in LIMITS:
        return Retry(None, maybe_applied=False)
    return default_reading(answer)


class Calls:
    """Calls one org, up to a share of the calls that all its users have in a day."""

    def __init__(self, http: HttpClient, version: str, share: float, where: str) -> None:
        self.http = http
        self.root = f"/services/data/v{version}"
        self.where = where
        self._share = share
        self._spent = ""

    def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        operation: str,
        headers: Callable[[bytes], Mapping[str, str]] | None = None,
    ) -> Answer:
        """Raises NotApplied where there is no answer: reading changes nothing."""
        return self.ask("GET", path, operation=operation, params=params, headers=headers)

    def ask(self, method: str, path: str, *, operation: str, **more: Any) -> Answer:
        """A question, whatever its method. Raises NotApplied."""
        try:
            return self._call(method, path, operation=operation, reads=True, **more)
        except NoAnswer as error:
            raise NotApplied(error.message) from error

    def change(self, method: str, path: str, *, operation: str, **more: Any) -> Answer:
        return self._call(method, path, operation=operation, **more)

    def _call(self, method: str, path: str, *, operation: str, **more: Any) -> Answer:
        if self._spent and not _goes_on(operation):
            raise NotApplied(
                f"salesforce: {self._spent}",
                where=self.where,
                remedy="the rest is sent by a later run; see Setup, System Overview, API Usage; the setting "
                "`daily_calls_percent` says how much may be spent",
            )
        whole = path if path.startswith("/services/") else f"{self.root}{path}"
        answer = self.http.request(method, whole, operation=operation, **more)
        used = _USAGE.search(answer.headers.get("Sforce-Limit-Info", ""))
        if used is not None and int(used[1]) > int(used[2]) * self._share / 100:
            self._spent = f"{int(used[1]):,} of the org's {int(used[2]):,} API calls of 24 hours are spent"
        return answer


def _goes_on(operation: str) -> bool:
    """What was begun is brought to its end, whatever that costs: a job is followed, a run asks for the size."""
    return operation == "size" or (operation.startswith("jobs.") and operation != "jobs.create")


def errors_of(answer: Answer) -> list[Mapping[str, Any]]:
    """The errors in an answer, or in the part of one."""
    found = answer.body if isinstance(answer.body, list) else []
    return [each for each in found if isinstance(each, Mapping)]


def error_code(answer: Answer) -> str:
    first = next(iter(errors_of(answer)), {})
    return code_of(first.get("errorCode"))


def code_of(value: object) -> str:
    """A code as Salesforce has them; empty for anything else."""
    text = value.upper() if isinstance(value, str) else ""
    return text if _CODE.fullmatch(text) is not None else ""


def raise_refusal(answer: Answer, doing: str, *, per_batch: bool = False) -> NoReturn:
    """The error for a final refusal. ``per_batch``: a request with people, whose content may be what is refused."""
    code = error_code(answer) or f"HTTP {answer.status}"
    message = next((str(each.get("message", "")) for each in errors_of(answer)), "")
    if answer.status == 401:
        raise AccessRefused(
            f"Salesforce refuses the token ({code})",
            remedy="is the connected app still there, and its user active? May it use the scope `api`?",
        )
    if code in LIMITS:
        raise NotApplied(f"salesforce: {code.lower().replace('_', ' ')}")
    if answer.status == 403 or code in _OF_RIGHTS or code.startswith("INSUFFICIENT_ACCESS"):
        raise AccessRefused(f"Salesforce does not allow this user to {doing} ({code})", remedy=PERMISSIONS)
    column = _COLUMN.search(message)
    if code in ("INVALID_FIELD", "INVALID_FIELD_FOR_INSERT_UPDATE") or column is not None:
        raise no_such_field(column[1] if column else "", doing)
    if answer.status == 404:
        raise DestinationError(
            f"Salesforce has no such resource ({code}), asked to {doing}",
            remedy="does the org have this `api_version`, and is `external_id_field` an external id of this object?",
        )
    if per_batch and (code in _OF_CONTENT or answer.status in (400, 413)):
        raise BatchRefused(code.lower().replace("_", " "), reason_code=code.replace(" ", "_"))
    raise DestinationError(
        f"Salesforce refused to {doing}: {code}", remedy="see the REST API Developer Guide, error responses"
    )


def no_such_field(name: str, doing: str) -> DestinationError:
    """A field that is not there, or that our user may not see: these look the same."""
    which = f"the field `{name}`" if name else "one of the fields"
    return DestinationError(
        f"Salesforce does not know {which}, or its user may not see it, asked to {doing}",
        code="NO_SUCH_FIELD",
        remedy="compare the mapping with Setup, Object Manager, Fields & Relationships; give the user edit access to the "
        "field (field-level security); `external_id_field` must be of type text",
    )
