"""One Braze account: its audiences, who comes and who leaves, and users outside of any audience.

Braze has no lists that others may fill. An audience is a custom attribute of the user, of the audience's name: ``true`` for who is in
it, ``false`` for who was. A segment with the filter "is true" is what marketers then use. An attribute of its own for each
audience, and not one array with the names of all: an array is cut off without a word at its length (500 today, 25 in older
workspaces), and then somebody drops out of an audience that nobody has touched.

Leaving an audience sets ``false`` on users that exist and makes nobody; it never unsubscribes, and deletes nobody unless the
sync says ``delete_record``.

Facts: Braze's documentation (read 2026-11) of /users/track, the user attributes object, /users/export/ids, /users/delete,
/custom_attributes, /segments/list and /segments/data_series. Attributes come into being with the first value sent; a
blocklisted one takes no more values, though requests with them succeed, so each run looks at the attribute first.
[unsure], and what is done about it: how Braze spells the type of a boolean attribute (what does not begin with "bool" is
refused only if it is one of the other types it documents); whether a profile that shares its email is the one that was
marked before (all profiles of an email are looked up and taken out).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from audience_syncs.destinations.braze.calls import Calls, raise_refusal, reading
from audience_syncs.destinations.braze.declaration import MOST_IN_NAME, NEVER_CLEARED, RESERVED, SPEC, BrazeSettings
from audience_syncs.destinations.braze.people import MOST_AT_ONCE, KnownBy
from audience_syncs.destinations.braze.track import Track
from audience_syncs.destinations.contract import Account, DestinationSpec, ListRequest
from audience_syncs.destinations.http import HttpClient
from audience_syncs.destinations.pacing import Pace, Pacer
from audience_syncs.destinations.settling import Settling
from audience_syncs.destinations.verdicts import unsure, worst
from audience_syncs.model.config import Mode
from audience_syncs.model.errors import AccessRefused, DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, Batch, MatchedUsers, Outgoing, RemoteList, Verdict, VerdictKind

ATTRIBUTES = "/custom_attributes"
_MOST_PAGES = 400
_OTHER_TYPES = ("string", "number", "integer", "float", "array", "time", "date", "object", "event", "nested")
NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has nothing by which Braze knows users")
NO_USER = Verdict(VerdictKind.REJECTED, "NOT_FOUND", "is no user of Braze, and none is made")


class Braze:
    """One Braze account."""

    def __init__(
        self, account: Account, given: BrazeSettings, environ: Mapping[str, str], spec: DestinationSpec = SPEC
    ) -> None:
        self.spec = spec
        self._where = f"destination {account.name}"
        key = account.credentials["api_key"]
        address = given.where(environ)
        if not address:
            raise DestinationError(
                "it is not said where this Braze account is",
                where=self._where,
                remedy="set `instance`, e.g. `US-03` or `EU-01`: the dashboard's address begins with it",
            )
        self._http = HttpClient(
            address,
            platform="braze",
            account=hashlib.sha256(key.encode()).hexdigest(),
            headers={"Authorization": f"Bearer {key}"},
            pace=Pace(given.requests_per_s, burst=10),
            read_timeout_s=given.timeout_s,
            max_attempts=given.attempts,
            read=reading,
        )
        self._calls = Calls(self._http)
        self._track = Track(self._calls, given.objects_per_request)
        self._known_by = KnownBy(given, self._where)
        self._makes_nobody = given.update_existing_only
        self._settling = Settling(given.settle_s)

    @property
    def requests_sent(self) -> int:
        return self._http.requests_sent

    @property
    def pace(self) -> Pacer:
        return self._http.pace

    # The audience

    def ensure_list(self, wanted: ListRequest) -> RemoteList:
        """The attribute. Braze makes it with the first member, and cannot be asked to before."""
        name = self._checked(wanted.id or wanted.name)
        held = self._attribute(name)
        if held is None:
            return RemoteList(name, name, created=wanted.id is None)
        status, kind = str(held.get("status", "")), str(held.get("data_type", "")).casefold()
        if status.casefold() not in ("", "active"):
            raise ListMissing(
                f"the Braze attribute `{name}` takes no values any more: its status is {status[:30]}",
                where=self._where,
                remedy="make it active again (Data Settings, Custom Attributes), or give the sync another `list` name",
            )
        if kind.startswith(_OTHER_TYPES):
            raise DestinationError(
                f"the Braze attribute `{name}` is there already and holds no booleans, but {kind[:30]}",
                where=self._where,
                code="LIST_TYPE",
                remedy="give the sync another `list` name: an audience is a boolean attribute of its own",
            )
        return RemoteList(name, name)

    def _checked(self, name: str) -> str:
        words = ""
        if name.casefold() in RESERVED or name.startswith(("$", "_")):
            words = "is a word of Braze's own"
        elif not name.strip() or len(name) > MOST_IN_NAME or not name.isprintable() or name != name.strip():
            words = f"is none: 1 to {MOST_IN_NAME} printable characters, without spaces around them"
        if words:
            raise DestinationError(
                f"an audience is an attribute of its name at Braze, and this list's name {words}",
                where=self._where,
                code="LIST_NAME",
                remedy="give the sync another `list` name, e.g. `in_cart_abandoners`",
            )
        return name

    def _attribute(self, name: str) -> Mapping[str, Any] | None:
        params: dict[str, str | int] = {}
        for _ in range(_MOST_PAGES):
            answer = self._calls.get(ATTRIBUTES, params, operation="attributes.list")
            if answer.status >= 400:
                raise_refusal(answer, "read custom attributes", "custom_attributes.get")
            held = answer.body.get("attributes")
            if not isinstance(held, list):
                raise NotApplied("braze attributes.list: the answer has no attributes")
            for attribute in held:
                if isinstance(attribute, dict) and attribute.get("name") == name:
                    return attribute
            cursor = _next_cursor(answer.headers.get("Link", ""))
            if cursor is None or cursor == params.get("cursor"):
                return None
            params = {"cursor": cursor}
        raise NotApplied("braze attributes.list: the pages do not end")

    def add(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        name = self._not_mapped(list_id, batch)
        users = self._users(batch)
        there = set(self._known_by.find(self._calls, users)) if self._makes_nobody else set(users)
        sent = [key for key in users if key in there]
        about = {"_update_existing_only": self._makes_nobody, name: True}
        objects = [{**self._known_by.named(key), **users[key], **about} for key in sent]
        with self._settling.kept(name, sent, member=True):
            found = dict(zip(sent, self._track.send(objects), strict=True))
        return self._by_member(batch, lambda key: found.get(key, NO_USER))

    def remove(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        return self._take_out(self._not_mapped(list_id, batch), batch, {})

    def clear_fields(self, list_id: str, batch: Batch, fields: Sequence[str]) -> Sequence[Verdict]:
        """One change does both: out of the audience, and empty."""
        name = self._not_mapped(list_id, batch)
        return self._take_out(name, batch, {field: None for field in fields if field not in NEVER_CLEARED})

    def _take_out(self, name: str, batch: Batch, more: Mapping[str, None]) -> list[Verdict]:
        """Several users may share an email or a phone number, and any of them may be the one who was put in."""
        keys = list(dict.fromkeys(self._keys(batch)))
        about = {"_update_existing_only": True, **more, name: False}
        shared = self._known_by.find(self._calls, keys) if self._known_by.is_shared else {}
        objects: list[dict[str, Any]] = []
        owners: list[str] = []
        for key in keys:
            ids = shared.get(key, [])
            for named in [{"braze_id": each} for each in ids] if len(ids) > 1 else [self._known_by.named(key)]:
                objects.append({**named, **about})
                owners.append(key)
        found: dict[str, Verdict] = {}
        with self._settling.kept(name, keys, member=False):
            for key, verdict in zip(owners, self._track.send(objects, counted=False), strict=True):
                found[key] = worst([found.get(key, ACCEPTED), verdict])
        return self._by_member(batch, found.__getitem__, nothing=ACCEPTED)

    # Users outside of any audience

    def records(self) -> RemoteList:
        return RemoteList("users", "all users")

    def write(self, batch: Batch, mode: Mode) -> Sequence[Verdict]:
        """A user who comes or goes between the look-up and the change is updated, or passed over."""
        if mode not in (Mode.UPSERT, Mode.UPDATE, Mode.INSERT):
            raise ValueError(f"mode {mode} writes no records")
        users = self._users(batch)
        there = set(users) if mode is Mode.UPSERT else set(self._known_by.find(self._calls, users))
        sent = [key for key in users if (key in there) is not (mode is Mode.INSERT)]
        about = {"_update_existing_only": mode is Mode.UPDATE}
        objects = [{**self._known_by.named(key), **users[key], **about} for key in sent]
        found = dict(zip(sent, self._track.send(objects), strict=True))
        left = NO_USER if mode is Mode.UPDATE else ACCEPTED
        return self._by_member(batch, lambda key: found.get(key, left))

    # What Braze counts

    def matched_users(self, list_id: str) -> MatchedUsers:
        """The size of the segment of the audience's name, as Braze estimated it last."""
        try:
            segment = self._segment(list_id)
            size = None if segment is None else self._size(segment)
        except AccessRefused:
            segment = size = None
        note = "users in the segment of the audience's name, as Braze estimates them once a day"
        if size is None:
            note = (
                "make a segment of the audience's name, turn on its analytics tracking, and give the API key segments.list and "
                "segments.data_series"
                if segment is None
                else "Braze has not counted the segment of the audience's name yet"
            )
        return MatchedUsers(lower=size, upper=size, as_of=datetime.now(UTC), note=note)

    def _segment(self, name: str) -> str | None:
        for page in range(_MOST_PAGES):
            answer = self._calls.get("/segments/list", {"page": page}, operation="segments.list")
            if answer.status >= 400:
                raise_refusal(answer, "list segments", "segments.list")
            segments = answer.body.get("segments")
            if not isinstance(segments, list):
                raise NotApplied("braze segments.list: the answer has no segments")
            for segment in segments:
                if (
                    isinstance(segment, dict)
                    and segment.get("name") == name
                    and segment.get("analytics_tracking_enabled")
                ):
                    return str(segment.get("id"))
            if not segments:
                return None
        return None

    def _size(self, segment: str) -> int | None:
        params: dict[str, str | int] = {"segment_id": segment, "length": 1}
        answer = self._calls.get("/segments/data_series", params, operation="segments.sizes")
        if answer.status >= 400:
            raise_refusal(answer, "read a segment's size", "segments.data_series")
        days = answer.body.get("data")
        sizes = [day.get("size") for day in days if isinstance(day, dict)] if isinstance(days, list) else []
        return sizes[-1] if sizes and isinstance(sizes[-1], int) else None

    # Members

    def _keys(self, batch: Batch) -> list[str]:
        return [key for member in batch.members for key in self._known_by.keys_of(member)]

    def _users(self, batch: Batch) -> dict[str, dict[str, Any]]:
        """Attributes by key: members who share one are one user, with the last one's values."""
        users: dict[str, dict[str, Any]] = {}
        for member in batch.members:
            for key in self._known_by.keys_of(member):
                users.setdefault(key, {}).update(_attributes(member, self._known_by.field))
        return users

    def _by_member(
        self, batch: Batch, verdict_of: Callable[[str], Verdict], nothing: Verdict = NO_IDENTIFIER
    ) -> list[Verdict]:
        verdicts = []
        for member in batch.members:
            keys = self._known_by.keys_of(member)
            verdict = ACCEPTED if keys else nothing
            for key in keys:
                verdict = worst([verdict, verdict_of(key)])
            verdicts.append(verdict)
        return verdicts

    def _not_mapped(self, list_id: str, batch: Batch) -> str:
        if list_id in batch.fields:
            raise DestinationError(
                "the list has the name of a mapped attribute, and would overwrite it",
                where=self._where,
                code="LIST_NAME",
                remedy="give the sync another `list` name",
            )
        return list_id


class BrazeForGood(Braze):
    """An account whose users are known by what only one of them has, so that a user can be deleted by it."""

    def delete_records(self, list_id: str, batch: Batch) -> Sequence[Verdict]:
        """For good. Who is no user any more is deleted already."""
        keys = list(dict.fromkeys(self._keys(batch)))
        found: dict[str, Verdict] = {}
        for start in range(0, len(keys), MOST_AT_ONCE):
            some = keys[start : start + MOST_AT_ONCE]
            found.update(dict.fromkeys(some, self._deleted(some, first=start == 0)))
        return self._by_member(batch, found.__getitem__, nothing=ACCEPTED)

    def _deleted(self, keys: Sequence[str], *, first: bool) -> Verdict:
        try:
            answer = self._calls.change("/users/delete", self._known_by.deleted_by(keys), operation="users.delete")
            if answer.status >= 400:
                raise_refusal(answer, "delete users", "users.delete")
        except (NotApplied, NoAnswer) as error:
            return unsure(error)
        except DestinationError as error:
            if first:
                raise
            return Verdict(VerdictKind.RETRYABLE, error.code, error.message)
        return ACCEPTED


def _attributes(member: Outgoing, known_by: str) -> dict[str, Any]:
    return {name: value for name, value in member.everything.items() if name != known_by}


def _next_cursor(link: str) -> str | None:
    """The cursor in the link to the next page; None on the last."""
    for part in link.split(","):
        address, _, rest = part.partition(";")
        if 'rel="next"' in rest.replace("'", '"').replace("rel=next", 'rel="next"'):
            found = parse_qs(urlsplit(address.strip().strip("<>")).query).get("cursor", [])
            return found[0] if found else None
    return None
