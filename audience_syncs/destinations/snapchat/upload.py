"""One batch of members as identifiers, a request for each kind of them, and Snapchat's answers as one verdict per member.

Snapchat never hears of a member: it takes lists of hashes of one kind. A member with an email and a phone number is two
identifiers in two requests, and is accepted when both were taken. Snapchat tells how many identifiers it took, not which: where
it took fewer than were sent, they are sent again in halves, which changes nothing, until those it does not count are alone.
These are *unknown*: what Snapchat's number counts is published by an example only, and whoever is called rejected must not be
in the list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from audience_syncs.destinations.verdicts import unsure
from audience_syncs.model.errors import BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, FieldValue, Outgoing, Verdict, VerdictKind

SCHEMAS = {"email": "EMAIL_SHA256", "phone": "PHONE_SHA256", "mobile_ad_id": "MOBILE_AD_ID_SHA256"}
"""Kind of identifier by field."""
MOST_IDENTIFIERS = 100_000
"""Identifiers of one request."""
SEARCH_REQUESTS = 60
"""How many more requests one batch may cost to find who is at fault."""
NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has nothing that Snapchat could find a person by")
NOT_COUNTED = Verdict(
    VerdictKind.UNKNOWN, "NOT_COUNTED", "Snapchat counts fewer identifiers than were sent, this one perhaps not"
)
PARTLY = Verdict(VerdictKind.UNKNOWN, "PARTLY_APPLIED", "some of this member's identifiers were taken, not the others")

Identifier = tuple[str, str]
"""Schema and hash."""
Send = Callable[[str, Sequence[str]], int]
"""Sends hashes of one schema; how many Snapchat says it took."""


class Upload:
    """One call of ``add`` or ``remove``, from members to verdicts."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._searches_left = SEARCH_REQUESTS
        self._applied = False
        self._verdicts: dict[Identifier, Verdict] = {}

    def of(self, members: Sequence[Outgoing]) -> list[Verdict]:
        """Raises what the first request raises; once something has been applied, an error becomes the verdict of those it
        left without an answer, because it must not say that nothing was applied."""
        wanted = [identifiers_of(member.fields) for member in members]
        everything = dict.fromkeys(each for of_one in wanted for each in of_one)
        for schema in SCHEMAS.values():
            found = [each for each in everything if each[0] == schema]
            for start in range(0, len(found), MOST_IDENTIFIERS):
                self._carry(found[start : start + MOST_IDENTIFIERS])
        return [_together([self._verdicts[each] for each in of_one]) for of_one in wanted]

    def _carry(self, some: Sequence[Identifier]) -> None:
        try:
            taken = self._sent(some)
        except BatchRefused as refused:
            if not self._applied:
                raise
            # The engine would halve the batch; but some of it is applied, so that is done here.
            if len(some) == 1:
                self._give(some, Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason))
            elif self._may_ask(2):
                for half in _halves(some):
                    self._carry(half)
            else:
                self._give(some, Verdict(VerdictKind.RETRYABLE, refused.reason_code, refused.reason))
        except (NotApplied, NoAnswer, DestinationError) as error:
            if not self._applied:
                raise
            self._give(some, unsure(error))
        else:
            self._applied = True
            self._count(some, taken)

    def _count(self, some: Sequence[Identifier], taken: int) -> None:
        """Gives every identifier its verdict. What is sent again has been sent before, so nothing is lost by an error."""
        open_questions = [(some, taken)]
        while open_questions:
            asked, count = open_questions.pop()
            if count >= len(asked):
                self._give(asked, ACCEPTED)
            elif len(asked) == 1 or count <= 0:
                self._give(asked, NOT_COUNTED)
            else:
                for half in _halves(asked):
                    again = self._sent_again(half)
                    if again is None:
                        self._give(half, NOT_COUNTED)
                    else:
                        open_questions.append((half, again))

    def _sent_again(self, some: Sequence[Identifier]) -> int | None:
        if not self._may_ask(1):
            return None
        try:
            return self._sent(some)
        except (BatchRefused, NotApplied, NoAnswer):
            return None
        except DestinationError:
            # The token was revoked or the list deleted meanwhile. The next batch, or the next run, says so.
            self._searches_left = 0
            return None

    def _may_ask(self, requests: int) -> bool:
        self._searches_left -= requests
        return self._searches_left >= 0

    def _sent(self, some: Sequence[Identifier]) -> int:
        return self._send(some[0][0], [value for _, value in some])

    def _give(self, some: Sequence[Identifier], verdict: Verdict) -> None:
        self._verdicts.update(dict.fromkeys(some, verdict))


def identifiers_of(fields: Mapping[str, FieldValue]) -> list[Identifier]:
    """All of them; of a removal in doubt there may be several of one kind."""
    found = []
    for name, schema in SCHEMAS.items():
        value = fields.get(name, "")
        found += [(schema, each) for each in ([value] if isinstance(value, str) else value) if each]
    return found


def _together(verdicts: Sequence[Verdict]) -> Verdict:
    """A member's verdict, from those of their identifiers."""
    if not verdicts:
        return NO_IDENTIFIER
    if all(verdict.kind is verdicts[0].kind for verdict in verdicts):
        return verdicts[0]
    return next((verdict for verdict in verdicts if verdict.kind is VerdictKind.UNKNOWN), PARTLY)


def _halves(some: Sequence[Identifier]) -> list[Sequence[Identifier]]:
    return [some[: len(some) // 2], some[len(some) // 2 :]]
