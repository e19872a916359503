"""One batch of members as items of a customer list, and Microsoft's answers back as one verdict per member.

A list holds items, not people: hashes of email addresses, and CRM ids. One call takes items of one kind, at most 1,000 of them
(``ApplyCustomerListUserData``, documentation of 2024-11), and names those it refuses by their place. Adding what is there and
removing what is not changes nothing, so that a call may be repeated.

Email addresses go first, and CRM ids only of members whose addresses got in: somebody whose address is refused is then out of the
list altogether, and can be called rejected.

[unsure], and what is done about it: that removing what is not there is no error (no code for it is documented); whether an error may
come without a place, or with one that was not sent (then the items are sent again in halves, until one is alone).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum

from audience_syncs.destinations.microsoft.calls import TEMPORARY, THROTTLED, Problem
from audience_syncs.destinations.microsoft.declaration import MOST_ITEMS
from audience_syncs.destinations.verdicts import unsure
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, FieldValue, Outgoing, Verdict, VerdictKind

SEARCH_REQUESTS = 100
"""How many more calls one batch may cost to find out whom an error is about."""
_LONGEST_CRM_ID = 100

NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no value that Microsoft could find a person by")
CRM_ID_TOO_LONG = Verdict(VerdictKind.REJECTED, "CRM_ID_TOO_LONG", "crm_id: longer than 100 characters")
PARTLY = Verdict(
    VerdictKind.UNKNOWN, "PARTLY_APPLIED", "Microsoft took some of this member's identifiers, and not the others"
)
NOT_NAMED = Verdict(
    VerdictKind.UNKNOWN, "NOT_NAMED", "one of several of which Microsoft refuses some, without saying which"
)


class Kind(StrEnum):
    """What the items of a call are (``CustomerListItemSubType``)."""

    EMAIL = "Email"
    CRM = "CRM"


FIELDS = {Kind.EMAIL: "email", Kind.CRM: "crm_id"}
Item = tuple[Kind, str]
Send = Callable[[Kind, Sequence[str]], Sequence[Problem]]
"""Sends items of one kind; the errors about single ones. Raises BatchRefused with the item's place, and as ``add`` does."""


class Upload:
    """One call of ``add`` or ``remove``, from members to verdicts."""

    def __init__(self, send: Send, *, adding: bool) -> None:
        self._send = send
        self._adding = adding
        self._searches_left = SEARCH_REQUESTS
        self._applied = False
        self._verdicts: dict[Item, Verdict] = {}
        self._members: Sequence[Mapping[Kind, Sequence[str]]] = ()

    def of(self, members: Sequence[Outgoing]) -> list[Verdict]:
        """Raises what the first call raises. Once something has been applied, an error becomes the verdict of those it left
        without an answer, because it must not say that nothing was applied."""
        self._members = [
            {kind: _values(member.fields.get(field, "")) for kind, field in FIELDS.items()} for member in members
        ]
        for kind in Kind:
            items = list(dict.fromkeys(value for own in self._members for value in self._to_send(own, kind)))
            for start in range(0, len(items), MOST_ITEMS):
                self._upload(kind, items[start : start + MOST_ITEMS])
        return [self._verdict(own) for own in self._members]

    def _to_send(self, own: Mapping[Kind, Sequence[str]], kind: Kind) -> Sequence[str]:
        if not self._adding:
            # Too long a CRM id can never have got in.
            return [value for value in own[kind] if kind is Kind.EMAIL or len(value) <= _LONGEST_CRM_ID]
        if _has_too_long_an_id(own):
            return ()
        if kind is Kind.CRM and any(self._verdicts[Kind.EMAIL, email] != ACCEPTED for email in own[Kind.EMAIL]):
            return ()
        return own[kind]

    def _verdict(self, own: Mapping[Kind, Sequence[str]]) -> Verdict:
        if self._adding and _has_too_long_an_id(own):
            return CRM_ID_TOO_LONG
        found = [self._verdicts[kind, value] for kind in Kind for value in own[kind] if (kind, value) in self._verdicts]
        if not found:
            return NO_IDENTIFIER if self._adding else ACCEPTED
        by_kind = {verdict.kind: verdict for verdict in reversed(found)}
        for worst in (VerdictKind.UNKNOWN, VerdictKind.RETRYABLE, VerdictKind.REJECTED):
            if worst in by_kind:
                is_mixed = self._adding and worst is not VerdictKind.UNKNOWN and VerdictKind.ACCEPTED in by_kind
                return PARTLY if is_mixed else by_kind[worst]
        return ACCEPTED

    def _upload(self, kind: Kind, items: Sequence[str]) -> None:
        try:
            problems = self._send(kind, items)
        except BatchRefused as refused:
            if not self._applied:
                raise self._about_a_member(refused, kind, items) from None
            # The engine would halve the batch; but some of it is applied, so that is done here.
            self._without(kind, items, refused)
        except (NotApplied, NoAnswer, DestinationError) as error:
            if not self._applied:
                raise
            self._give(kind, items, unsure(error))
        else:
            self._applied = True
            self._read(kind, items, problems)

    def _read(self, kind: Kind, items: Sequence[str], problems: Sequence[Problem]) -> None:
        refused = {problem.index: problem for problem in problems}
        named = {place: problem for place, problem in refused.items() if place is not None and 0 <= place < len(items)}
        if len(items) == 1 and problems:
            named = {0: problems[0]}
        for place, problem in named.items():
            self._give(kind, [items[place]], _of_item(problem))
        rest = [item for place, item in enumerate(items) if place not in named]
        if len(named) == len(refused) or not rest:
            self._give(kind, rest, ACCEPTED)
        elif self._may_search(2):
            middle = (len(rest) + 1) // 2
            for part in (rest[:middle], rest[middle:]):
                if part:
                    self._upload(kind, part)
        else:
            self._give(kind, rest, NOT_NAMED)

    def _without(self, kind: Kind, items: Sequence[str], refused: BatchRefused) -> None:
        """Sends the items again without the one that is named, or in halves."""
        rejected = Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason)
        if len(items) == 1:
            self._give(kind, items, rejected)
            return
        if not self._may_search(2):
            self._give(kind, items, Verdict(VerdictKind.RETRYABLE, refused.reason_code, refused.reason))
            return
        place = refused.position
        if place is not None and 0 <= place < len(items):
            self._give(kind, [items[place]], rejected)
            self._upload(kind, [*items[:place], *items[place + 1 :]])
            return
        self._upload(kind, items[: len(items) // 2])
        self._upload(kind, items[len(items) // 2 :])

    def _about_a_member(self, refused: BatchRefused, kind: Kind, items: Sequence[str]) -> BatchRefused:
        """The engine counts members, Microsoft items."""
        place = refused.position
        owner = None
        if place is not None and 0 <= place < len(items):
            owner = next(number for number, own in enumerate(self._members) if items[place] in own[kind])
        return BatchRefused(refused.reason, reason_code=refused.reason_code, position=owner)

    def _may_search(self, requests: int) -> bool:
        self._searches_left -= requests
        return self._searches_left >= 0

    def _give(self, kind: Kind, items: Collection[str], verdict: Verdict) -> None:
        for item in items:
            self._verdicts[kind, item] = verdict


def _of_item(problem: Problem) -> Verdict:
    kinds = dict.fromkeys(THROTTLED, VerdictKind.RETRYABLE) | dict.fromkeys(TEMPORARY, VerdictKind.UNKNOWN)
    return Verdict(kinds.get(problem.code, VerdictKind.REJECTED), problem.reason_code, problem.reason)


def _has_too_long_an_id(own: Mapping[Kind, Sequence[str]]) -> bool:
    return any(len(value) > _LONGEST_CRM_ID for value in own[Kind.CRM])


def _values(value: FieldValue) -> list[str]:
    return list(dict.fromkeys(_texts(value)))


def _texts(value: FieldValue) -> Iterator[str]:
    yield from (text for text in ([value] if isinstance(value, str) else value) if text)
