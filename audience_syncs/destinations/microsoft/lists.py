"""Customer lists: found by id or name, made, looked at.

Facts, of Microsoft's documentation (``GetAudiencesByIds``, ``AddAudiences``, ``CustomerList``; read 2026-11): without ids all lists
are told that the account can use, its own and its customer's, in one answer; a name has at most 128 characters, a
description 1,024; ``MembershipDuration`` is 1 to 390 days, **and 30 unless it is said**. Others have found with real
accounts (2026): -1 is never; an empty array of ids is refused, so none is sent.

A list whose members leave by themselves is not the audience for long, and nobody is told. So lists are made for ever, and one
that was made otherwise is refused, unless ``membership_days`` says that this is meant.

[unsure]: whether names are compared with their letters' case (where the name is taken, the other writing is looked for);
whether being added again makes a member stay longer; what is answered for a list that is gone (any error about it, and no
list, mean that).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from audience_syncs.destinations.contract import ListRequest
from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.microsoft.calls import (
    BAD_DURATION,
    NAME_TAKEN,
    NO_SUCH_LIST,
    OTHER_KIND,
    TOO_MANY_LISTS,
    Calls,
    Problem,
    faults_of,
    partial_errors,
    trace_of,
)
from audience_syncs.destinations.microsoft.declaration import MicrosoftSettings
from audience_syncs.model.errors import DestinationError, ListMissing, NoAnswer, NotApplied
from audience_syncs.model.values import RemoteList

_AUDIENCES = "/CampaignManagement/v13/Audiences"
_KIND = "CustomerList"
_MOST_DESCRIPTION = 1_024
_LONGEST_DAYS = 390


class Lists:
    """The customer lists that an account can use."""

    def __init__(self, calls: Calls, given: MicrosoftSettings) -> None:
        self._calls = calls
        self._given = given

    def ensure(self, wanted: ListRequest) -> RemoteList:
        """Raises ListMissing where an id is gone, DestinationError where the list will not do."""
        if wanted.id is not None:
            return self._usable(self.get(wanted.id))
        name = wanted.name.strip()
        found = self._named(name)
        if found is not None:
            return self._usable(found)
        try:
            return self._made(name, wanted.description)
        except NoAnswer:
            found = self._named(name)
            if found is None:
                raise
            return self._usable(found)

    def get(self, list_id: str) -> Mapping[str, Any]:
        """Raises ListMissing."""
        if not is_id(list_id):
            raise self.missing(list_id)
        answer = self._calls.read(
            f"{_AUDIENCES}/QueryByIds", {"AudienceIds": [list_id], "Type": _KIND}, operation="lists.get"
        )
        problems = [*faults_of(answer), *(partial_errors(answer, "lists.get") if answer.status < 400 else ())]
        if any(problem.code == OTHER_KIND for problem in problems):
            raise DestinationError(
                f"the audience {list_id} is no customer list, so that nobody can be added to it",
                where=self._calls.where,
                code="LIST_NOT_STATIC",
                remedy="give the sync's `list` the id of a customer list, or a name to have one made",
            )
        if any(problem.code in NO_SUCH_LIST for problem in problems):
            raise self.missing(list_id)
        if answer.status >= 400:
            raise self._calls.refusal(answer, "read the list")
        for problem in problems:
            raise self._refused(problem, answer, "read the list")
        found = [each for each in _audiences(answer) if str(each.get("Id")) == list_id]
        if not found:
            raise self.missing(list_id)
        return found[0]

    def missing(self, list_id: str) -> ListMissing:
        shown = f" {list_id}" if is_id(list_id) else ""
        return ListMissing(
            f"there is no customer list{shown} at Microsoft Advertising any more, or this account may not use it",
            where=self._calls.where,
            remedy="share it with the account again; if it was deleted, give the sync another `name`: it then fills a new list",
        )

    def _named(self, name: str, *, any_case: bool = False) -> Mapping[str, Any] | None:
        answer = self._calls.read(f"{_AUDIENCES}/QueryByIds", {"Type": _KIND}, operation="lists.find")
        if answer.status >= 400 or any(faults_of(answer)):
            raise self._calls.refusal(answer, "find the list")
        found = [each for each in _audiences(answer) if _is_called(each, name, any_case=any_case)]
        # A list of this account goes before one of its customer or one that is shared with it.
        own = [each for each in found if str(each.get("ParentId")) == self._given.account_id]
        found = own or found
        if len(found) > 1:
            ids = sorted(str(each["Id"]) for each in found)
            raise DestinationError(
                f"the account can use {len(ids)} customer lists of the name {name!r}: {', '.join(ids)}",
                where=self._calls.where,
                code="LIST_AMBIGUOUS",
                remedy=f"say which one in the sync, e.g. `list: {{id: '{ids[0]}'}}`, or rename the others",
            )
        return found[0] if found else None

    def _made(self, name: str, description: str) -> RemoteList:
        asked = {
            "Type": _KIND,
            "Name": name,
            **({"Description": description[:_MOST_DESCRIPTION]} if description else {}),
            "Scope": self._given.scope,
            "ParentId": self._given.account_id if self._given.scope == "Account" else self._given.customer_id,
            "MembershipDuration": self._given.membership_days,
        }
        answer = self._calls.change(_AUDIENCES, {"Audiences": [asked]}, operation="lists.create", idempotent=False)
        problems = [*faults_of(answer), *(_errors_beside(answer) if answer.status < 400 else ())]
        if any(problem.code == NAME_TAKEN for problem in problems):
            # By somebody who made it meanwhile, or in another writing, or by an audience of another kind.
            found = self._named(name, any_case=True)
            if found is not None:
                return self._usable(found)
        for problem in problems:
            raise self._refused(problem, answer, "make the list")
        if answer.status >= 400:
            raise self._calls.not_from_microsoft(answer)
        ids = answer.body.get("AudienceIds")
        made = str(ids[0]) if isinstance(ids, list) and ids and ids[0] is not None else ""
        if not is_id(made):
            raise NoAnswer("microsoft lists.create: the answer has no id")
        return self._remote(made, name, created=True)

    def _refused(self, problem: Problem, answer: Answer, doing: str) -> DestinationError:
        remedy = "see Microsoft Advertising's page on operation error codes"
        if problem.code == BAD_DURATION:
            remedy = "write `membership_days: 390`, the longest there is if this account knows no -1"
        elif problem.code == NAME_TAKEN:
            remedy = "an audience of another kind has this name: give the sync's `list` another one"
        elif problem.code in TOO_MANY_LISTS:
            remedy = "delete audiences that nobody uses, or name one that exists in the sync's `list`"
        else:
            stopping = self._calls.stopping_error(problem, answer, doing)
            if stopping is not None:
                return stopping
        return DestinationError(
            f"Microsoft Advertising refused to {doing}: {problem.reason}{trace_of(answer)}",
            where=self._calls.where,
            remedy=remedy,
        )

    def _usable(self, found: Mapping[str, Any]) -> RemoteList:
        """Raises DestinationError where members leave the list by themselves and nobody has said that this is meant."""
        days = days_of(found)
        if days is not None and days != self._given.membership_days:
            raise DestinationError(
                f"Microsoft Advertising drops members of the customer list {found.get('Name')!r} ({found['Id']}) by itself "
                f"{days} days after they were added, so that it would not stay the audience",
                where=self._calls.where,
                code="LIST_EXPIRES",
                remedy=f"set its membership duration to unlimited there; or write `membership_days: {days}` in the "
                "destination's settings to say that this is meant, and send everybody again more often than that",
            )
        return self._remote(str(found["Id"]), str(found.get("Name") or found["Id"]))

    def _remote(self, list_id: str, name: str, *, created: bool = False) -> RemoteList:
        """With the address of the account's pages, where it is among the audiences."""
        host = "ui.ads.microsoft.com" if self._given.environment == "production" else "ui.sandbox.ads.microsoft.com"
        url = f"https://{host}/?cid={self._given.customer_id}&aid={self._given.account_id}"
        return RemoteList(list_id, name, url, created)


def is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def days_of(found: Mapping[str, Any]) -> int | None:
    """After how many days members leave by themselves; None where they do not, or it is not told."""
    days = found.get("MembershipDuration")
    if isinstance(days, int) and not isinstance(days, bool) and 0 < days <= _LONGEST_DAYS:
        return days
    return None


def size_of(found: Mapping[str, Any], name: str) -> int | None:
    """A size; None while it is not computed. Ids and sizes are 64 bits wide, and so text."""
    size = found.get(name)
    if isinstance(size, str) and size.isascii() and size.isdigit() and len(size) < 19:
        return int(size)
    return size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None


def _audiences(answer: Answer) -> Sequence[Mapping[str, Any]]:
    """Raises NotApplied where it cannot be read: that is not the same as none."""
    found = answer.body.get("Audiences") if isinstance(answer.body, dict) else None
    if not isinstance(found, list) or not all(
        each is None or (isinstance(each, Mapping) and each.get("Id") is not None) for each in found
    ):
        raise NotApplied("microsoft lists: the answer has no audiences")
    return [each for each in found if each is not None and each.get("Type", _KIND) == _KIND]


def _errors_beside(answer: Answer) -> list[Problem]:
    """The errors of an answer that also tells ids."""
    body = answer.body if isinstance(answer.body, dict) else {}
    return partial_errors(answer, "lists.create") if "AudienceIds" not in body or "PartialErrors" in body else []


def _is_called(found: Mapping[str, Any], name: str, *, any_case: bool) -> bool:
    named = str(found.get("Name") or "").strip()
    return named.casefold() == name.casefold() if any_case else named == name
