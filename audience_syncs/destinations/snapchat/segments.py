"""The customer lists of an ad account: found by id or name, made, looked at."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlsplit

from audience_syncs.destinations.http import Answer, HttpClient
from audience_syncs.destinations.snapchat.answers import (
    NO_CODE,
    NOT_FOUND,
    code_of,
    is_done,
    is_refused,
    parts,
    raise_refusal,
    things,
)
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.errors import AccessRefused, DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import RemoteList

PAGE = 1_000
_LONGEST_NAME = 375
_ID = re.compile(r"[\w-]{1,64}", re.ASCII)


class Segments:
    """Thread-safe."""

    def __init__(self, http: HttpClient, ad_account_id: str, retention_in_days: int, where: str) -> None:
        self._http = http
        self._ad_account_id = ad_account_id
        self._retention_in_days = retention_in_days
        self._where = where
        self.first_pause_s = 5.0

    def make(self, name: str, description: str) -> RemoteList:
        if len(name) > _LONGEST_NAME:
            raise DestinationError(
                f"the list's name has {len(name)} characters, and Snapchat allows {_LONGEST_NAME}",
                where=self._where,
                remedy="give the sync's list a shorter `name`",
            )
        asked = {
            "name": name,
            "source_type": "FIRST_PARTY",
            "retention_in_days": self._retention_in_days,
            "ad_account_id": self._ad_account_id,
            **({"description": description} if description else {}),
        }
        try:
            answer = self._http.request(
                "POST", self._path, operation="make list", json={"segments": [asked]}, idempotent=False
            )
        except NoAnswer:
            found = self.oldest_named(name)
            if found is None:
                raise
            return replace(self.remote(found), created=True)
        if is_refused(answer):
            self._raise_of_account(answer, "make a customer list")
        made = next((each for each in things(answer, "segments", "segment") if each.get("id")), None)
        if made is None and any(not is_done(part) for part in parts(answer, "segments")):
            raise_refusal(answer, "make a customer list", self._where)
        if made is None:
            raise NoAnswer("snapchat make list: the answer has no segment")
        # Another sync may have made one at the same moment: both take the older one.
        oldest = self.oldest_named(name) or made
        return replace(self.remote(oldest), created=str(oldest["id"]) == str(made["id"]))

    def oldest_named(self, name: str) -> Mapping[str, Any] | None:
        found = [each for each in self._customer_lists() if str(each.get("name", "")).strip() == name]
        return min(found, key=lambda each: (str(each.get("created_at")), str(each["id"])), default=None)

    def _customer_lists(self) -> Iterator[Mapping[str, Any]]:
        """Those of the ad account; an organisation's other accounts may share theirs with it."""
        params: dict[str, str | int] = {"limit": PAGE}
        seen: set[str] = set()
        while True:
            answer = self._read(self._path, "list segments", params)
            if is_refused(answer):
                self._raise_of_account(answer, "see the ad account's segments")
            if not all(is_done(part) for part in parts(answer, "segments")):
                # It may be the one that is looked for: another of its name would be made.
                raise NotApplied("snapchat list segments: the answer leaves out a segment", where=self._where)
            for segment in things(answer, "segments", "segment"):
                owner = str(segment.get("ad_account_id", self._ad_account_id))
                is_own = owner.lower() == self._ad_account_id.lower()
                if segment.get("id") and segment.get("source_type") == "FIRST_PARTY" and is_own and _is_there(segment):
                    yield segment
            paging = answer.body.get("paging")
            following = paging.get("next_link") if isinstance(paging, Mapping) else None
            if not following or str(following) in seen:
                return
            seen.add(str(following))
            params = dict(parse_qsl(urlsplit(str(following)).query))

    def get(self, list_id: str) -> Mapping[str, Any]:
        """Raises ListMissing."""
        answer = self._read(self.path_of(list_id), "find segment")
        if answer.status == 404:
            raise self._missing(list_id)
        if is_refused(answer):
            raise_refusal(answer, "see the segment", self._where)
        if any(not is_done(part) for part in parts(answer, "segments")) and code_of(answer) not in (NOT_FOUND, NO_CODE):
            raise_refusal(answer, "see the segment", self._where)
        found = next((each for each in things(answer, "segments", "segment") if str(each.get("id")) == list_id), None)
        if found is None or not _is_there(found):
            raise self._missing(list_id)
        return found

    def wait_for_uploads(self, segment: Mapping[str, Any], longest_s: float) -> None:
        deadline, pause = time.monotonic() + longest_s, self.first_pause_s
        while longest_s and segment.get("upload_status") == "PROCESSING":
            if time.monotonic() > deadline or not rest(pause):
                raise NotApplied(
                    "Snapchat is still processing earlier uploads to this list",
                    where=self._where,
                    remedy="nothing was sent; the next run looks again",
                )
            segment = self.get(str(segment["id"]))
            pause = min(60.0, pause * 1.5)

    def _read(self, path: str, operation: str, params: Mapping[str, str | int] | None = None) -> Answer:
        try:
            return self._http.request("GET", path, operation=operation, params=params)
        except NoAnswer as error:
            raise NotApplied(error.message) from error  # reading changes nothing

    def _raise_of_account(self, answer: Answer, doing: str) -> NoReturn:
        if answer.status == 404:
            raise AccessRefused(
                f"Snapchat has no ad account {self._ad_account_id}",
                where=self._where,
                remedy="check `ad_account_id`: Ads Manager shows it under Ad Accounts",
            )
        raise_refusal(answer, doing, self._where)

    @property
    def _path(self) -> str:
        return f"/v1/adaccounts/{self._ad_account_id}/segments"

    def path_of(self, list_id: str) -> str:
        """Raises ListMissing for what cannot be an id."""
        if _ID.fullmatch(list_id) is None:
            raise self._missing("of this id")
        return f"/v1/segments/{list_id}"

    def _missing(self, list_id: str) -> ListMissing:
        return ListMissing(
            f"there is no segment {list_id} at Snapchat any more",
            where=self._where,
            remedy="deleted segments do not come back: give the sync another `name`, or run it once with a new list",
        )

    def remote(self, segment: Mapping[str, Any]) -> RemoteList:
        found = str(segment["id"])
        url = f"https://ads.snapchat.com/{self._ad_account_id}/audiences"
        return RemoteList(found, str(segment.get("name") or found), url)


def _is_there(segment: Mapping[str, Any]) -> bool:
    return str(segment.get("status", "")).upper() not in ("DELETED", "ARCHIVED")
