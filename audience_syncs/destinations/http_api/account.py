"""One API, as its settings describe it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import orjson

from audience_syncs.destinations import own_endpoint
from audience_syncs.destinations.contract import Destination, DestinationSpec, ListRequest
from audience_syncs.destinations.http import Answer, HttpClient, any_success
from audience_syncs.destinations.http_api import json_path, templates
from audience_syncs.destinations.http_api.answers import verdicts
from audience_syncs.destinations.http_api.declaration import HttpApiSettings, MemberOperation, Request
from audience_syncs.destinations.http_api.sign_in import sign_in
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.model.errors import BatchRefused, DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, Outgoing, RemoteList, Verdict


def open_api(
    spec: DestinationSpec,
    settings: HttpApiSettings,
    credentials: Mapping[str, str],
    environ: Mapping[str, str],
    where: str,
) -> Destination:
    """The API; one that tells sizes where a call for that is described."""
    kind = HttpApi if settings.lists.count is None else CountingHttpApi
    return kind(spec, settings, credentials, environ, where)


class HttpApi:
    """An API."""

    def __init__(
        self,
        spec: DestinationSpec,
        settings: HttpApiSettings,
        credentials: Mapping[str, str],
        environ: Mapping[str, str],
        where: str,
    ) -> None:
        self.spec = spec
        self._settings = settings
        self._where = where
        self._names: dict[str, str] = {}
        override = environ.get(settings.base_url_env or "", "").strip()
        base_url = override or settings.base_url
        own_endpoint.origin_and_path(base_url, where, plain_http=settings.plain_http)
        who = "\n".join([base_url, *(credentials[name] for name in sorted(credentials))])
        self._http = HttpClient(
            base_url,
            platform="http_api",
            account=hashlib.sha256(who.encode()).hexdigest(),
            headers=settings.headers,
            sign_in=sign_in(settings.auth, credentials, where, plain_http=settings.plain_http),
            pace=Pace(settings.requests_per_s, burst=max(1, int(settings.requests_per_s))),
            read=any_success,
            read_timeout_s=settings.timeout_s,
            max_attempts=settings.attempts,
        )

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    # Lists

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        found = self._ensured(wanted)
        self._names[found.id] = found.name
        return found

    def _ensured(self, wanted: ListRequest) -> RemoteList:
        """The list of that name, found or made where the settings say how; else the name itself.

        A list that is known by its id is taken to be there: the first call that needs it says when it is not.
        """
        if wanted.id is not None or self._settings.lists.find is None:
            name = wanted.id or wanted.name
            return RemoteList(name, wanted.name or name)
        found = self._found(wanted.name)
        if found is not None:
            return found
        if self._settings.lists.create is None:
            raise ListMissing(
                f"there is no list {wanted.name!r} at the API",
                where=self._where,
                remedy="make it there; or describe in `lists.create` how it is made",
            )
        return self._created(wanted)

    def _found(self, name: str) -> RemoteList | None:
        find = self._settings.lists.find
        if find is None:
            return None
        answer = self._ask(find, {"list": {"name": name}}, "find list", reads=True)
        if answer.status == 404:
            return None
        self._refuse(answer, "find list")
        items = json_path.at(answer.body, find.items)
        for item in items if isinstance(items, list) else [items]:
            list_id = json_path.at(item, find.id)
            if json_path.at(item, find.name) == name and isinstance(list_id, (str, int)):
                return RemoteList(str(list_id), name)
        return None

    def _created(self, wanted: ListRequest) -> RemoteList:
        create = self._settings.lists.create
        if create is None:
            raise ListMissing(f"there is no list {wanted.name!r} at the API", where=self._where)
        about = {"list": {"name": wanted.name, "description": wanted.description}}
        try:
            answer = self._ask(create, about, "create list", idempotent=False)
        except NoAnswer:
            found = self._found(wanted.name)
            if found is None:
                raise
            return replace(found, created=True)
        self._refuse(answer, "create list")
        list_id = json_path.at(answer.body, create.id)
        if not isinstance(list_id, (str, int)) or not str(list_id):
            raise NoAnswer(f"http_api create list: the answer has no id at `{create.id}`")
        return RemoteList(str(list_id), wanted.name, created=True)

    # Members

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._deliver(self._settings.add, list_id, batch, "add members")

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        if self._settings.remove is None:
            raise DestinationError(
                "the settings describe no removal", where=self._where, remedy="describe it in `remove`"
            )
        return self._deliver(self._settings.remove, list_id, batch, "remove members")

    def _deliver(self, operation: MemberOperation, list_id: str, batch: Batch, what: str) -> list[Verdict]:
        def send(rows: Batch) -> list[Verdict]:
            if operation.one_by_one:
                return own_endpoint.one_by_one(
                    rows.members, lambda member: self._send_one(operation, list_id, rows, member, what)
                )
            return self._send_many(operation, list_id, rows, what)

        return own_endpoint.each_key(batch, self._settings.key, self._where, send)

    def _send_one(self, operation: MemberOperation, list_id: str, batch: Batch, member: Outgoing, what: str) -> Verdict:
        about = {**self._about(list_id, batch, [member], what), "member": _fields(batch, member)}
        answer = self._ask(operation, about, what)
        if answer.status < 300 or answer.status in operation.accepted_statuses:
            return ACCEPTED
        if answer.status == 404 and "${member" in operation.path.replace(" ", ""):
            raise BatchRefused(own_endpoint.reason_of(answer.body) or "HTTP 404", reason_code="HTTP 404")
        raise self._refused(answer, list_id, what)

    def _send_many(self, operation: MemberOperation, list_id: str, batch: Batch, what: str) -> list[Verdict]:
        about = self._about(list_id, batch, batch.members, what)
        fields = [_fields(batch, member) for member in batch.members]
        shape = operation.member
        shaped = fields if shape is None else [self._filled(shape, {**about, "member": one}) for one in fields]
        answer = self._ask(operation, {**about, "members": shaped}, what)
        if answer.status >= 300 and answer.status not in operation.accepted_statuses:
            raise self._refused(answer, list_id, what)
        if operation.answers is None or answer.status >= 300:
            return [ACCEPTED] * len(batch)
        if not answer.readable:
            raise NoAnswer(f"http_api {what}: the answer cannot be read")
        keys = [[str(member.fields[self._settings.key])] for member in batch.members]
        return verdicts(operation.answers, answer.body, keys)

    def _about(self, list_id: str, batch: Batch, members: Sequence[Outgoing], what: str) -> dict[str, Any]:
        """What templates may use, beside the members. ``request.id`` is the same for all attempts of a request."""
        content = [what, list_id, batch.session, batch.number, [member.everything for member in members]]
        digest = hashlib.sha256(orjson.dumps(content)).hexdigest()[:32]
        return {"list": {"id": list_id, "name": self._names.get(list_id, list_id)}, "request": {"id": digest}}

    # Requests

    def _ask(
        self,
        request: Request,
        about: Mapping[str, Any],
        what: str,
        *,
        idempotent: bool = True,
        reads: bool = False,
    ) -> Answer:
        """The answer, good or bad."""
        path = self._filled_by(templates.fill_path, request.path, about)
        query = {name: self._filled_by(templates.fill_text, value, about) for name, value in request.query.items()}
        headers = {name: self._header(value, about) for name, value in request.headers.items()}
        body = None if request.body is None else self._filled(request.body, about)
        return self._http.request(
            request.method,
            path,
            operation=what,
            params=query or None,
            json=body,
            headers=lambda _: headers,
            idempotent=idempotent,
            reads=reads,
        )

    def _filled(self, template: Any, about: Mapping[str, Any]) -> Any:
        return self._filled_by(templates.fill, template, about)

    def _filled_by(self, fill: Callable[[Any, Mapping[str, Any]], Any], template: Any, about: Mapping[str, Any]) -> Any:
        """A template that cannot be filled for a member is that member's fault, and found by isolation."""
        try:
            return fill(template, about)
        except templates.TemplateFailed as failed:
            raise BatchRefused(str(failed), reason_code="TEMPLATE") from None

    def _header(self, template: str, about: Mapping[str, Any]) -> str:
        text = str(self._filled_by(templates.fill_text, template, about))
        if not (text.isascii() and (text.isprintable() or not text)):
            raise BatchRefused("a header would hold characters that none can", reason_code="TEMPLATE")
        return text

    def _refused(self, answer: Answer, list_id: str, what: str) -> Exception:
        if answer.status == 404 and self._settings.lists.find is not None:
            return ListMissing(f"the API does not know the list {list_id}", where=self._where)
        return own_endpoint.refusal(answer, what, self._where)

    def _refuse(self, answer: Answer, what: str) -> None:
        """Raises where a call about lists was refused."""
        if answer.status >= 300:
            refused = own_endpoint.refusal(answer, what, self._where)
            if isinstance(refused, BatchRefused):
                raise DestinationError(f"{what} was refused: {refused.reason}", where=self._where, code=refused.code)
            raise refused


class CountingHttpApi(HttpApi):
    """An API that tells how many people are in a list."""

    def matched_users(self, list_id: str) -> MatchedUsers:
        request = self._settings.lists.count
        if request is None:
            raise DestinationError("the settings describe no count", where=self._where, remedy="describe it in `lists`")
        about = {"list": {"id": list_id, "name": self._names.get(list_id, list_id)}}
        try:
            answer = self._ask(request, about, "count list", reads=True)
        except NoAnswer as error:
            raise NotApplied(error.message) from error  # reading changes nothing
        if answer.status == 404:
            raise ListMissing(f"the API does not know the list {list_id}", where=self._where)
        self._refuse(answer, "count list")
        count = json_path.at(answer.body, request.count)
        known = int(count) if isinstance(count, (int, str)) and str(count).isdigit() else None
        return MatchedUsers(known, known, datetime.now(UTC), note="as the API tells")


def _fields(batch: Batch, member: Outgoing) -> dict[str, Any]:
    """All fields of the mapping: what a member who is added has not is null."""
    return {**dict.fromkeys(batch.fields), **member.everything}
