"""The customer lists of an ad account, and the audiences made of them: found, made, looked at.

A list cannot be made empty: its description asks for records. So it is made with one that is nobody's, the hash of an address in
the domain ``invalid``, which is removed at once. Should that not happen, Pinterest drops it by itself: what matches none of
its accounts does not stay in a list.

Advertisements are targeted at an audience, so one is made of each list. Whether that can be done while the list is new is not
published: where it is refused, the next run tries again.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.pinterest.answers import Calls, code_of, raise_refusal
from audience_syncs.destinations.stopping import rest
from audience_syncs.model.errors import ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import RemoteList

log = logging.getLogger("audience_syncs.pinterest")

NOBODY = hashlib.sha256(b"nobody@audience-syncs.invalid").hexdigest()
_UNDER_WAY = ("PROCESSING", "UPLOADING")
_ID = re.compile(r"[0-9]{1,18}", re.ASCII)


class Lists:
    """Thread-safe."""

    def __init__(self, calls: Calls, ad_account_id: str, list_type: str) -> None:
        self._calls = calls
        self._ad_account_id = ad_account_id
        self._list_type = list_type
        self._path = f"/v5/ad_accounts/{ad_account_id}/customer_lists"
        self._audiences = f"/v5/ad_accounts/{ad_account_id}/audiences"
        self.first_pause_s = 5.0

    def oldest_named(self, name: str) -> Mapping[str, Any] | None:
        doing = "see the ad account's customer lists"
        found = [
            each
            for each in self._calls.pages(self._path, operation="find list", doing=doing)
            if str(each.get("name", "")).strip() == name
        ]
        return min(found, key=lambda each: (_moment(each), int(str(each["id"]))), default=None)

    def get(self, list_id: str) -> Mapping[str, Any]:
        """Raises ListMissing."""
        answer = self._calls.get(self.path_of(list_id), operation="get list")
        if answer.status == 404:
            raise self.missing(list_id)
        if answer.status >= 400:
            raise_refusal(answer, "see the customer list", self._calls.where)
        if str(answer.body.get("id")) != list_id:
            raise NotApplied("pinterest get list: the answer has no list", where=self._calls.where)
        found: Mapping[str, Any] = answer.body
        return found

    def make(self, name: str) -> RemoteList:
        asked = {"name": name, "records": NOBODY, "list_type": self._list_type}
        try:
            answer = self._calls.change("POST", self._path, asked, operation="make list", idempotent=False)
        except NoAnswer:
            found = self.oldest_named(name)
            if found is None:
                raise
            self.tidy(found)
            return replace(self.remote(found), created=True)
        if answer.status >= 400:
            raise_refusal(answer, "make a customer list", self._calls.where)
        if not answer.body.get("id"):
            raise NoAnswer("pinterest make list: the answer has no list")
        made = str(answer.body["id"])
        # Another sync may have made one at the same moment: both take the older one.
        oldest = self.oldest_named(name) or answer.body
        self.tidy(oldest)
        return replace(self.remote(oldest), created=str(oldest["id"]) == made)

    def tidy(self, found: Mapping[str, Any]) -> None:
        """Takes nobody's record out of a list to which nothing has happened since it was made with it."""
        if (found.get("num_batches"), found.get("num_uploaded_user_records")) == (1, 1):
            answer = self.change(str(found["id"]), "REMOVE", [NOBODY])
            if answer.status >= 400:
                log.info("the record that a list is made with was not removed: HTTP %s", code_of(answer))

    def change(self, list_id: str, operation: str, records: list[str]) -> Answer:
        body = {"operation_type": operation, "records": ",".join(records)}
        doing = "add members" if operation == "ADD" else "remove members"
        return self._calls.change("PATCH", self.path_of(list_id), body, operation=doing)

    def wait(self, found: Mapping[str, Any], longest_s: float) -> None:
        """Until the list's earlier changes have been carried out. Raises NotApplied."""
        deadline, pause = time.monotonic() + longest_s, self.first_pause_s
        while found.get("status") in _UNDER_WAY:
            if time.monotonic() > deadline or not rest(pause):
                raise NotApplied(
                    "Pinterest is still processing earlier changes of this list",
                    where=self._calls.where,
                    remedy="the next run tries again; `processing_wait_s` says how long one waits",
                )
            found = self.get(str(found["id"]))
            pause = min(60.0, pause * 1.5)

    # Audiences

    def audience_of(self, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The oldest audience that is made of the list; where Pinterest shows no rule, the one of its name."""
        list_id, name = str(found["id"]), str(found.get("name", "")).strip()
        doing = "see the ad account's audiences"
        for each in self._calls.pages(self._audiences, operation="find audience", doing=doing):
            rule = each.get("rule")
            made_of = rule.get("customer_list_id") if isinstance(rule, Mapping) else None
            if str(made_of) == list_id or (
                made_of is None
                and each.get("audience_type") == "CUSTOMER_LIST"
                and str(each.get("name", "")).strip() == name
            ):
                return each
        return None

    def make_audience(self, found: Mapping[str, Any]) -> None:
        """Unless there is one."""
        if self.audience_of(found) is not None:
            return
        asked = {
            "name": str(found.get("name", "")),
            "audience_type": "CUSTOMER_LIST",
            "rule": {"customer_list_id": str(found["id"])},
        }
        try:
            answer = self._calls.change("POST", self._audiences, asked, operation="make audience", idempotent=False)
        except NoAnswer as error:
            # The list is not touched by this; an audience that was made is found by the next run.
            raise NotApplied(error.message) from error
        if answer.status in (401, 403):
            raise_refusal(answer, "make an audience of the list", self._calls.where)
        if answer.status >= 400:
            log.info("an audience cannot be made of the list yet: HTTP %s", code_of(answer))

    def path_of(self, list_id: str) -> str:
        """Raises ListMissing for what cannot be an id."""
        if _ID.fullmatch(list_id) is None:
            raise self.missing("of this id")
        return f"{self._path}/{list_id}"

    def missing(self, list_id: str) -> ListMissing:
        return ListMissing(
            f"there is no customer list {list_id} in this ad account any more",
            where=self._calls.where,
            remedy="deleted lists do not come back: give the sync another `name`, or run it once with a new list",
        )

    def remote(self, found: Mapping[str, Any]) -> RemoteList:
        url = f"https://ads.pinterest.com/advertiser/{self._ad_account_id}/audiences/"
        return RemoteList(str(found["id"]), str(found.get("name") or found["id"]), url)


def _moment(found: Mapping[str, Any]) -> float:
    created = found.get("created_time")
    return float(created) if isinstance(created, int | float) else 0.0
