"""One Iterable project: its lists, who is in them, and users outside of any list.

A list is a static list of the project. Joining and leaving it gives and takes no consent: channels and message types are never
touched. Users are deleted only where the sync says ``delete_record``.

Facts: Iterable's API description 1.8; its pages on project types, on identifying users and on lists (read 2026-11).
[unsure], and what is done about it: whether list names are unique (of several static ones the oldest is taken); how soon a
change is applied (``settling``); what is answered for a user who is not there (``{}``, or an error that says so); the
addresses of pages for people (from memory).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from audience_syncs.destinations.contract import Account, DestinationSpec, ListMember, ListRequest
from audience_syncs.destinations.doubt import may_have_been_applied
from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.iterable.bulk import Bulk
from audience_syncs.destinations.iterable.calls import (
    Calls,
    list_missing,
    raise_refusal,
    reading,
    tells_of_no_list,
    tells_of_nobody,
)
from audience_syncs.destinations.iterable.declaration import SPEC, IterableSettings
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.settling import Settling
from audience_syncs.destinations.verdicts import worst
from audience_syncs.identifiers import UnusableIdentifier, normalise
from audience_syncs.model.config import Mode
from audience_syncs.model.errors import DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, Outgoing, RemoteList, Verdict, VerdictKind

LISTS = "/api/lists"
_STATIC = ("standard", "static")
_PAGE = 10_000
"""Members that are handed on at once."""
_LONGEST_DESCRIPTION = 140
NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has nothing by which Iterable knows users")
NO_USER = Verdict(VerdictKind.REJECTED, "NOT_FOUND", "is no user of this project, and an update makes none")


class Iterable:
    """One Iterable project."""

    def __init__(
        self, account: Account, given: IterableSettings, environ: Mapping[str, str], spec: DestinationSpec = SPEC
    ) -> None:
        self.spec = spec
        self._where = f"destination {account.name}"
        key = account.credentials["api_key"]
        self._http = HttpClient(
            given.where(environ),
            platform="iterable",
            account=hashlib.sha256(key.encode()).hexdigest(),
            headers={"Api-Key": key},
            pace=Pace(given.requests_per_s, burst=5),
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
            read=reading,
        )
        self._calls = Calls(self._http)
        self._pages = "https://app.eu.iterable.com" if given.region == "EU" else "https://app.iterable.com"
        self._known_by = given.identify_by
        self._bulk = Bulk(self._calls, given.identify_by)
        self._existing_only = given.update_existing_only
        self._settling = Settling(given.settle_s)

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    # Lists

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        lists = self._lists()
        if wanted.id is not None:
            found = next((each for each in lists if str(each.get("id")) == wanted.id), None)
            if found is None:
                raise list_missing(wanted.id)
            if str(found.get("listType", "")).casefold() == "dynamic":
                raise DestinationError(
                    f"the Iterable list {wanted.id} is a dynamic one, which Iterable fills by itself",
                    where=self._where,
                    code="LIST_TYPE",
                    remedy="give the sync the `name` of a static list, or of one that is to be made",
                )
            return self._remote(found)
        named = _oldest_static(lists, wanted.name)
        return self._made(wanted) if named is None else self._remote(named)

    def _made(self, wanted: ListRequest) -> RemoteList:
        body = {"name": wanted.name, "description": wanted.description[:_LONGEST_DESCRIPTION]}
        try:
            answer = self._calls.change(LISTS, body, operation="lists.create", idempotent=False)
        except NoAnswer:
            named = _oldest_static(self._lists(), wanted.name)
            if named is not None:
                return self._remote(named)
            raise
        if answer.status >= 400:
            raise_refusal(answer, "make the list")
        made = answer.body.get("listId") if isinstance(answer.body, dict) else None
        if not isinstance(made, int):
            raise NoAnswer("iterable lists.create: the answer has no list")
        # Another sync may have made one at the same moment: both take the older one.
        named = _oldest_static(self._lists(), wanted.name) or {"id": made, "name": wanted.name}
        return replace(self._remote(named), created=named["id"] == made)

    def _remote(self, found: Mapping[str, Any]) -> RemoteList:
        list_id = str(found["id"])
        return RemoteList(list_id, str(found.get("name") or list_id), f"{self._pages}/lists/get?listId={list_id}")

    def _lists(self) -> list[Mapping[str, Any]]:
        answer = self._calls.get(LISTS, operation="lists.find")
        if answer.status >= 400:
            raise_refusal(answer, "read its lists")
        lists = answer.body.get("lists") if isinstance(answer.body, dict) else None
        if not isinstance(lists, list) or not all(isinstance(each, dict) and "id" in each for each in lists):
            raise NotApplied("iterable lists.find: the answer has no lists")
        return lists

    # Members

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        rows = self._rows(batch)
        with self._settling.kept(self._known(list_id), rows, member=True):
            found = self._bulk.subscribe(list_id, rows, existing_only=self._existing_only)
        return self._by_member(batch, found.__getitem__)

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._by_member(batch, self._taken_out(self._known(list_id), batch).__getitem__, nothing=ACCEPTED)

    def _taken_out(self, list_id: str, batch: Batch) -> dict[str, Verdict]:
        keys = dict.fromkeys(key for member in batch.members for key in self._keys_of(member))
        with self._settling.kept(list_id, keys, member=False):
            return self._bulk.unsubscribe(list_id, {key: {self._known_by: key} for key in keys})

    def members(self, list_id: str) -> Iterator[Sequence[ListMember]]:
        """Everybody in the list, who has an email address or userId. Iterable answers with all at once, a line each."""
        params = {"listId": self._known(list_id), "preferUserId": "true" if self._known_by == "userId" else "false"}
        answer = self._calls.get(f"{LISTS}/getUsers", params, operation="lists.members")
        told = self._text(answer, list_id, "read the list's members").splitlines()
        lines = [line.strip() for line in told if line.strip()]
        for start in range(0, len(lines), _PAGE):
            yield [ListMember({self._known_by: self._as_sent(line)}) for line in lines[start : start + _PAGE]]

    def matched_users(self, list_id: str) -> MatchedUsers:
        """How many users Iterable counts in the list."""
        answer = self._calls.get(f"{LISTS}/{self._known(list_id)}/size", operation="lists.size")
        told = self._text(answer, list_id, "count the list").strip().strip('"')
        count = int(told) if told.isascii() and told.isdigit() else None
        return MatchedUsers(lower=count, upper=count, as_of=datetime.now(UTC), note="users in the list at Iterable")

    def delete_records(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """For good, one by one; out of the list first, all at once."""
        found = self._taken_out(self._known(list_id), batch)
        for key, verdict in found.items():
            if verdict.kind is not VerdictKind.ACCEPTED:
                continue
            try:
                found[key] = self._deleted(key)
            except DestinationError:
                may_have_been_applied()  # they are out of the list already
                raise
        return self._by_member(batch, found.__getitem__, nothing=ACCEPTED)

    def _deleted(self, key: str) -> Verdict:
        path = f"/api/users/{'byUserId/' if self._known_by == 'userId' else ''}{quote(key, safe='')}"
        try:
            answer = self._calls.change(path, None, operation="users.delete", method="DELETE")
        except (NotApplied, NoAnswer) as error:
            # Retryable would say that nothing has happened, and so that they are still in the list.
            return Verdict(VerdictKind.UNKNOWN, error.code, f"out of the list, but not deleted: {error.message}")
        if answer.status >= 400 and not tells_of_nobody(answer):
            raise_refusal(answer, "delete users")
        return ACCEPTED

    # Users outside of any list

    def records(self) -> RemoteList:
        return RemoteList("users", "all users", f"{self._pages}/users/contactLookup")

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        """A user who comes or goes between the look-up and the change is updated, or made again."""
        if mode not in (Mode.UPSERT, Mode.UPDATE, Mode.INSERT):
            raise ValueError(f"mode {mode} writes no records")
        rows = self._rows(batch)
        there = {key for key in rows if mode is not Mode.UPSERT and self._is_user(key)}
        sent = {key: row for key, row in rows.items() if mode is Mode.UPSERT or (key in there) is (mode is Mode.UPDATE)}
        found = self._bulk.update(sent)
        other = NO_USER if mode is Mode.UPDATE else ACCEPTED
        return self._by_member(batch, lambda key: found.get(key, other))

    def _is_user(self, key: str) -> bool:
        by_email = self._known_by == "email"
        path = "/api/users/getByEmail" if by_email else "/api/users/byUserId"
        answer = self._calls.get(path, {self._known_by: key}, operation="users.find")
        if answer.status >= 400:
            if tells_of_nobody(answer):
                return False
            raise_refusal(answer, "look users up")
        if not isinstance(answer.body, dict):
            raise NotApplied("iterable users.find: the answer does not tell of a user")
        return bool(answer.body.get("user"))

    # What goes over the wire

    def _known(self, list_id: str) -> str:
        """Raises ListMissing where it is no id of a list: Iterable's are numbers."""
        if not (list_id.isascii() and list_id.isdigit()):
            raise list_missing(list_id)
        return list_id

    def _text(self, answer: Answer, list_id: str, doing: str) -> str:
        if answer.status >= 400:
            if tells_of_no_list(answer) or answer.status in (400, 404):
                raise list_missing(list_id)
            raise_refusal(answer, doing, list_id)
        return answer.content.decode("utf-8", "replace")

    def _as_sent(self, told: str) -> str:
        """In the form in which it would be sent; Iterable has some that we would not send."""
        rule = "email" if self._known_by == "email" else "external_id"
        try:
            return normalise("iterable", rule, told)
        except UnusableIdentifier:
            return told

    def _keys_of(self, member: Outgoing) -> list[str]:
        value = member.fields.get(self._known_by, "")
        keys = [text for text in ([value] if isinstance(value, str) else value) if text]
        other = "userId" if self._known_by == "email" else "email"
        if not keys and set(member.fields) == {other}:
            raise DestinationError(
                f"members were sent by `{other}`, and users are known by `{self._known_by}` now",
                where=self._where,
                code="KEY_CHANGED",
                remedy="set `identify_by` back; to fill a list by another identifier, give the sync another `list`",
            )
        return keys

    def _rows(self, batch: Batch) -> dict[str, dict[str, Any]]:
        """Users by key: members who share one are one user, with the last one's fields."""
        rows: dict[str, dict[str, Any]] = {}
        for member in batch.members:
            for key in self._keys_of(member):
                row = rows.setdefault(key, {self._known_by: key, **self._manner()})
                fields = {name: value for name, value in member.everything.items() if name != self._known_by}
                if fields:
                    row["dataFields"] = {**row.get("dataFields", {}), **fields}
        return rows

    def _manner(self) -> dict[str, bool]:
        """An email-based project makes a user without an address only when asked so."""
        return {"preferUserId": True} if self._known_by == "userId" else {}

    def _by_member(
        self, batch: Batch, verdict_of: Callable[[str], Verdict], nothing: Verdict = NO_IDENTIFIER
    ) -> list[Verdict]:
        """Somebody may be known by several keys when it is not sure which: the worst of their verdicts counts."""
        return [worst(map(verdict_of, keys), default=nothing) for keys in map(self._keys_of, batch.members)]


def _oldest_static(lists: Sequence[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    named = [
        each
        for each in lists
        if each.get("name") == name and str(each.get("listType", "standard")).casefold() in _STATIC
    ]
    return min(named, key=lambda each: (str(each.get("createdAt", "")).zfill(20), int(each["id"])), default=None)
