"""Braze users: what they are known by, and looking them up.

Facts: Braze's documentation of /users/export/ids: 50 external ids or aliases a request, one email address or phone number;
all profiles that share an email are told; who is not there is left out, or named in ``invalid_user_ids``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from audience_syncs.destinations.braze.calls import Calls, raise_refusal
from audience_syncs.destinations.braze.declaration import KNOWN_BY, BrazeSettings
from audience_syncs.model.errors import DestinationError, NotApplied
from audience_syncs.model.values import Outgoing

EXPORT = "/users/export/ids"
MOST_AT_ONCE = 50
_FIELDS = ["braze_id", "external_id", "user_aliases"]
"""Asked for by name: a request that names what it wants may come ten times as often."""


class KnownBy:
    """What the users of an account are known by."""

    def __init__(self, given: BrazeSettings, where: str) -> None:
        self.field = given.field
        self._by = given.identify_by
        self._label = given.alias_label
        self._where = where

    @property
    def is_shared(self) -> bool:
        """Whether several users may have the same."""
        return self._by in ("email", "phone")

    def keys_of(self, member: Outgoing) -> list[str]:
        """What the member is known by: several where it is not sure which. Raises DestinationError where it is another thing."""
        value = member.fields.get(self.field, "")
        keys = [text for text in ([value] if isinstance(value, str) else value) if text]
        others = [name for name in KNOWN_BY.values() if member.fields.get(name) and name != self.field]
        if not keys and others:
            raise DestinationError(
                f"members were sent by `{others[0]}`, and users are known by `{self.field}` now",
                where=self._where,
                code="KEY_CHANGED",
                remedy="set `identify_by` back; to keep an audience by another identifier, give the sync another `list`",
            )
        return keys

    def named(self, key: str) -> dict[str, Any]:
        """What names the user in an object."""
        if self._by == "user_alias":
            return {"user_alias": {"alias_name": key, "alias_label": self._label}}
        return {self.field: key}

    def deleted_by(self, keys: Sequence[str]) -> dict[str, Any]:
        if self._by == "user_alias":
            return {"user_aliases": [self.named(key)["user_alias"] for key in keys]}
        return {"external_ids": list(keys)}

    def find(self, calls: Calls, keys: Iterable[str]) -> dict[str, list[str]]:
        """The Braze ids of the users that go by each key, of those there are. Raises NotApplied where there is no answer."""
        found: dict[str, list[str]] = {}
        wanted = list(dict.fromkeys(keys))
        for some in _groups(wanted, 1 if self.is_shared else MOST_AT_ONCE):
            answer = calls.look_up(EXPORT, {**self._asked(some), "fields_to_export": _FIELDS}, operation="users.export")
            if answer.status >= 400:
                raise_refusal(answer, "look users up", "users.export.ids")
            users = answer.body.get("users")
            if not isinstance(users, list) or not all(
                isinstance(user, dict) and user.get("braze_id") for user in users
            ):
                raise NotApplied("braze users.export: the answer has no users")
            for user in users:
                for key in some if self.is_shared else self._keys_in(user):
                    if key in some:
                        found.setdefault(key, []).append(str(user["braze_id"]))
        return found

    def _asked(self, keys: Sequence[str]) -> dict[str, Any]:
        if self._by == "email":
            return {"email_address": keys[0]}
        return {"phone": keys[0]} if self._by == "phone" else self.deleted_by(keys)

    def _keys_in(self, user: Mapping[str, Any]) -> list[str]:
        if self._by != "user_alias":
            return [str(user.get("external_id"))]
        aliases = user.get("user_aliases")
        return [
            str(alias.get("alias_name"))
            for alias in (aliases if isinstance(aliases, list) else [])
            if isinstance(alias, dict) and alias.get("alias_label") == self._label
        ]


def _groups(keys: Sequence[str], most: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(keys), most):
        yield keys[start : start + most]
