"""Paths, headers and tokens of Microsoft Advertising's REST API, and what tests may look into.

Read from Microsoft's documentation of AddAudiences, GetAudiencesByIds, DeleteAudiences, ApplyCustomerListUserData, of signing in
with OAuth, and its page on the services' protocol.

Operations, as faults and the journal name them; those with rows have a star: ``token``, ``lists.create``, ``lists.find``,
``lists.get``, ``lists.delete``, ``members.add``*, ``members.remove``*, ``members.replace``*.

Who signs in with a refresh token (or works for a customer) named ``noterms...`` has not accepted the Customer Match terms. An
access token that is none of ours gets 105, one that has ended 109. The old refresh token stays good beside the new one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from audience_syncs.simulators.microsoft.errors import Refused, access_fault, batch_error, fault
from audience_syncs.simulators.microsoft.lists import NAMES, Lists, number
from audience_syncs.simulators.platform import Answer, Call, Json, Platform
from audience_syncs.simulators.store import Clock, Store
from audience_syncs.simulators.tokens import form_of, granted, holder_of

V13 = "/CampaignManagement/v13"
TOKEN = re.compile(r"/[A-Za-z0-9.-]+/oauth2/v2\.0/token").fullmatch
ACTIONS = {"Add": "members.add", "Remove": "members.remove", "Replace": "members.replace"}
SCOPES = re.compile(r"https://\S+/msads\.manage").match
GUID_OR_NAME = re.compile(r"[A-Za-z0-9-]{1,64}").fullmatch


class Microsoft(Platform):
    """Customer lists of the Campaign Management service."""

    name = "microsoft"
    size_delay_s = 0.5

    def __init__(self, store: Store, clock: Clock) -> None:
        super().__init__(store, clock)
        self._lists = Lists(store, self.size_delay_s)

    # The wire

    def read(self, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> Call:
        path = f"/{path}"
        if method == "POST" and TOKEN(path):
            # Not as the body: that is kept in the journal, where nobody's token belongs.
            return Call(method, path, query, headers, "token", target=form_of(body))
        refusal = None
        parsed: Any = None
        try:
            parsed = orjson.loads(body) if body.strip() else None
        except orjson.JSONDecodeError:
            refusal = fault(201, details="The body is not JSON")
        if refusal is None and not isinstance(parsed, dict):
            refusal = fault(100)
        asked = parsed if isinstance(parsed, dict) else {}
        data = asked.get("CustomerListUserData")
        data = data if isinstance(data, dict) else {}
        operation = _operation(method, path, asked, data)
        if operation == "unknown":
            refusal = fault(204, status=404)
        items = data.get("CustomerListItems")
        return Call(
            method=method,
            path=path,
            query=query,
            headers=headers,
            operation=operation,
            body=asked,
            list_id=str(data["AudienceId"]) if data.get("AudienceId") else None,
            rows=items if isinstance(items, list) else (),
            refusal=refusal,
        )

    def answer(self, call: Call, rejected: frozenset[int] = frozenset()) -> Answer:
        try:
            with self.lock:
                answer = self._answer(call, rejected)
        except Refused as refused:
            answer = refused.answer
        trace = answer.body.get("TrackingId") if isinstance(answer.body, dict) else None
        return Answer(answer.status, answer.body, {**answer.headers, **({"TrackingId": trace} if trace else {})})

    def throttled(self, call: Call, wait_s: float | None, status: int | None = None) -> Answer:
        answer = access_fault(117, status or 429)
        return Answer(answer.status, answer.body, {} if wait_s is None else {"Retry-After": f"{wait_s:g}"})

    def broken(self, call: Call, status: int | None = None) -> Answer:
        return fault(0, status=status or 500)

    def forbidden(self, call: Call) -> Answer:
        if call.operation == "token":
            return Answer(400, {"error": "invalid_grant", "error_codes": [65001], "error_description": "No consent."})
        return access_fault(106, 403)

    def batch_refused(self, call: Call, position: int, status: int | None = None) -> Answer:
        return fault(201, batch=[batch_error(201, position, "CustomerListItems")], status=status or 400)

    # Inspection

    def lists(self) -> list[dict[str, Json]]:
        self._lists.drop_overdue(self.clock.now())
        return [
            {"id": str(each), "name": name, "account": account, "size": self._lists.size(each)}
            for each, name, account in self._lists.all()
        ]

    def has_list(self, list_id: str) -> bool:
        self._lists.drop_overdue(self.clock.now())
        return self._lists.exists(number(list_id))

    def members(self, list_id: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._lists.members(number(list_id), after, limit)

    def values(self, list_id: str, wanted: str) -> Iterator[list[str]]:
        return self._lists.values(number(list_id), wanted)

    def put_members(self, list_id: str, members: Sequence[Mapping[str, str]]) -> int:
        kinds = {name: kind for kind, name in NAMES.items()}
        items = [
            (kinds[name], value) for member in members for name, value in member.items() if name in kinds and value
        ]
        with self.lock:
            return self._lists.put(number(list_id), items, self.clock.now())

    def delete_list(self, list_id: str) -> None:
        with self.lock:
            self._lists.delete(number(list_id))

    def forget_everything(self) -> None:
        with self.store.transaction() as db:
            for table in ("lists", "items", "sizes"):
                db.execute(f"DELETE FROM {table}")

    # What is asked for

    def _answer(self, call: Call, rejected: frozenset[int]) -> Answer:
        now = self.clock.now()
        if call.operation == "token":
            return self._token(call.target, now)
        who = self._who(call, now)
        account, customer = call.headers["customeraccountid"], call.headers["customerid"]
        terms = not who.startswith("noterms")
        if call.refusal is not None:
            return call.refusal
        if not self.may_write(who):
            return self.forbidden(call)
        self._lists.drop_overdue(now)
        if call.operation == "lists.create":
            return self._lists.create(call.body.get("Audiences"), account, customer, terms=terms)
        if call.operation == "lists.delete":
            return self._lists.delete_asked(call.body, account, customer)
        if call.operation in ("lists.find", "lists.get"):
            return self._lists.query(call.body, account, customer, now)
        asked = call.body.get("CustomerListUserData")
        return self._lists.apply(asked, account, customer, rejected, now, terms=terms)

    def _token(self, form: Mapping[str, str], now: float) -> Answer:
        if not GUID_OR_NAME(form.get("client_id", "")):
            return _no_token("invalid_request", 900144, "The request body must contain the parameter 'client_id'.")
        if not SCOPES(form.get("scope", "")):
            return _no_token("invalid_scope", 70011, "The provided value for the input parameter 'scope' is not valid.")
        who = form.get("refresh_token", "")
        if form.get("grant_type") != "refresh_token" or (who and not self.knows(who)):
            return _no_token("invalid_grant", 70000, "The grant is expired or was revoked.")
        return granted(form, now, refresh_token=f"{who}.next", scope="https://ads.microsoft.com/msads.manage")

    def _who(self, call: Call, now: float) -> str:
        """Who signed in. Raises Refused."""
        needed = ("developertoken", "customerid", "customeraccountid")
        if not call.headers.get("authorization") or not all(call.headers.get(name) for name in needed):
            raise Refused(access_fault(116, 400))
        if call.headers["developertoken"].startswith(("wrong", "revoked")):
            raise Refused(access_fault(105, 401))
        who = holder_of(call.token, now)
        if who is None:
            ended = holder_of(call.token, 0) is not None
            raise Refused(access_fault(109 if ended else 105, 401))
        if not self.knows(who) or not self.knows(call.token):
            raise Refused(access_fault(105, 401))
        return who


def _operation(method: str, path: str, asked: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    if (method, path) == ("POST", f"{V13}/Audiences/QueryByIds"):
        return "lists.find" if asked.get("AudienceIds") is None else "lists.get"
    if (method, path) == ("POST", f"{V13}/CustomerListUserData/Apply"):
        return ACTIONS.get(str(data.get("ActionType")), "members.add")
    return {("POST", f"{V13}/Audiences"): "lists.create", ("DELETE", f"{V13}/Audiences"): "lists.delete"}.get(
        (method, path), "unknown"
    )


def _no_token(code: str, number_of_it: int, words: str) -> Answer:
    """As Microsoft's sign-in says it."""
    described = f"AADSTS{number_of_it}: {words}"
    return Answer(400, {"error": code, "error_description": described, "error_codes": [number_of_it]})
