"""One batch of members as rows of Meta's ``/users``, and Meta's answer back as one verdict per member.

Meta takes rows, not members: somebody with two email addresses is two rows. It answers with the number of invalid rows
and up to 100 samples of them, so who was refused has to be found out: by the samples, then by sending the rest again,
which is harmless, until its count is explained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from audience_syncs.destinations.meta_answers import number, without_identifiers
from audience_syncs.model.errors import AudienceSyncsError, BatchRefused, DestinationError, NoAnswer, NotApplied
from audience_syncs.model.values import ACCEPTED, FieldValue, Outgoing, Verdict, VerdictKind

MAX_ROWS = 10_000
"""Rows of one request."""
SEARCH_REQUESTS = 100
"""How many more requests one batch may cost to find its invalid rows; 100 find 10,000 where samples name them."""

INVALID = "INVALID_ENTRY"
NO_IDENTIFIER = Verdict(VerdictKind.REJECTED, "NO_IDENTIFIER", "has no value that Meta could find a person by")
NOT_NAMED = Verdict(
    VerdictKind.UNKNOWN, "INVALID_ENTRY_NOT_NAMED", "one of several of which Meta calls some invalid, not which"
)
PARTLY = Verdict(
    VerdictKind.UNKNOWN, "PARTLY_APPLIED", "Meta took some of this member's identifiers, and not the others"
)

Row = tuple[str, ...]
"""Values in the order of all fields; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What Meta answered to one upload: how many of its rows are invalid, and some of them with the reason."""

    invalid: int
    samples: Mapping[str, str]


Send = Callable[[Sequence[str], Sequence[Sequence[str]]], Receipt]
"""Uploads rows: the schema, and one list of values for each row."""


def receipt_of(body: Any, sent: int) -> Receipt:
    """Reads the answer to ``sent`` rows. Raises NoAnswer where it acknowledges none.

    The counts are those of the whole session: when an upload had to be repeated they hold its rows twice.
    """
    received = number(body.get("num_received")) if isinstance(body, dict) else None
    invalid = number(body.get("num_invalid_entries", 0)) if isinstance(body, dict) else None
    if not received or received < 0 or invalid is None:
        raise NoAnswer("meta upload: the answer does not say that the rows were received")
    if received > sent:
        invalid = invalid * sent // received
    return Receipt(max(0, invalid), dict(_samples(body.get("invalid_entry_samples"))))


class Upload:
    """One call of ``add`` or ``remove``, from members to verdicts."""

    def __init__(self, fields: Sequence[str], send: Send, *, adding: bool) -> None:
        self._fields = fields
        self._send = send
        self._adding = adding
        self._searches_left = SEARCH_REQUESTS
        self._applied = False
        self._verdicts: dict[Row, Verdict] = {}

    def of(self, members: Sequence[Outgoing]) -> list[Verdict]:
        """Uploads the members. Raises what the first request raises; once something has been applied, an error becomes
        the verdict of those it left without an answer, because it must not say that nothing was applied."""
        rows_of = [list(rows_of_member(member.fields, self._fields)) for member in members]
        rows = list(dict.fromkeys(row for rows in rows_of for row in rows))
        for start in range(0, len(rows), MAX_ROWS):
            self._upload(rows[start : start + MAX_ROWS])
        return [self._verdict([self._verdicts[row] for row in rows]) for rows in rows_of]

    def _verdict(self, of_rows: Sequence[Verdict]) -> Verdict:
        if not of_rows:
            return NO_IDENTIFIER
        first = of_rows[0]
        if all(verdict == first for verdict in of_rows):
            return first
        kinds = {verdict.kind: verdict for verdict in of_rows}
        if VerdictKind.UNKNOWN in kinds:
            return kinds[VerdictKind.UNKNOWN]
        if len(kinds) == 1:
            return first
        # Some rows are applied and some are not. For an addition "rejected" would forget those that are.
        if not self._adding:
            return kinds.get(VerdictKind.RETRYABLE) or kinds[VerdictKind.REJECTED]
        return PARTLY

    def _upload(self, rows: Sequence[Row]) -> None:
        try:
            receipt = self._sent(rows)
        except BatchRefused as refused:
            if not self._applied:
                raise
            # The engine would halve the batch; but some of it is applied, so that is done here.
            if len(rows) == 1:
                self._give(rows, Verdict(VerdictKind.REJECTED, refused.reason_code, refused.reason))
            elif self._may_search(2):
                self._upload(rows[: len(rows) // 2])
                self._upload(rows[len(rows) // 2 :])
            else:
                self._give(rows, Verdict(VerdictKind.RETRYABLE, refused.reason_code, refused.reason))
        except (NotApplied, NoAnswer, DestinationError) as error:
            if not self._applied:
                raise
            self._give(rows, _unanswered(error))
        else:
            self._applied = True
            self._find_invalid(rows, receipt)

    def _find_invalid(self, rows: Sequence[Row], receipt: Receipt) -> None:
        """Gives every row its verdict. What is sent again has been applied before, so nothing is lost by an error."""
        open_questions = [(rows, receipt)]
        while open_questions:
            asked, answer = open_questions.pop()
            if answer.invalid == 0:
                self._give(asked, ACCEPTED)
                continue
            named = _named(asked, answer.samples)
            if answer.invalid >= len(asked):
                generic = next(iter(answer.samples.values()), "") if len(set(answer.samples.values())) == 1 else ""
                for row in asked:
                    self._give([row], _invalid(named.get(row) or generic))
                continue
            if 0 < len(named) <= answer.invalid:
                for row, reason in named.items():
                    self._give([row], _invalid(reason))
                rest = [row for row in asked if row not in named]
                if len(named) == answer.invalid:
                    self._give(rest, ACCEPTED)
                    continue
                parts: list[Sequence[Row]] = [rest]
            else:
                # No sample names a row, or a sample stands for several: smaller uploads tell.
                parts = [asked[: len(asked) // 2], asked[len(asked) // 2 :]]
            for part in parts:
                again = self._asked_again(part)
                if again is None:
                    self._give(part, NOT_NAMED)
                else:
                    open_questions.append((part, again))

    def _asked_again(self, rows: Sequence[Row]) -> Receipt | None:
        if not self._may_search(1):
            return None
        try:
            return self._sent(rows)
        except (BatchRefused, NotApplied, NoAnswer):
            return None
        except DestinationError:
            # The token was revoked or the list deleted meanwhile. The next batch, or the next run, says so.
            self._searches_left = 0
            return None

    def _may_search(self, requests: int) -> bool:
        self._searches_left -= requests
        return self._searches_left >= 0

    def _sent(self, rows: Sequence[Row]) -> Receipt:
        """Uploads the columns that occur in these rows, in the order of the fields."""
        used = [position for position in range(len(self._fields)) if any(row[position] for row in rows)]
        schema = [self._fields[position] for position in used]
        return self._send(schema, [[row[position] for position in used] for row in rows])

    def _give(self, rows: Sequence[Row], verdict: Verdict) -> None:
        for row in rows:
            self._verdicts[row] = verdict


def rows_of_member(values: Mapping[str, FieldValue], fields: Sequence[str]) -> Iterator[Row]:
    """A member's rows: one, or as many as the field with most values has. Single values go along with every row.

    Of several values the first goes with the first, the second with the second, and so on.
    """
    columns = [_values(values.get(name, "")) for name in fields]
    several = max(map(len, columns), default=0)
    for number_of_row in range(several):
        row = tuple(
            column[0] if len(column) == 1 else (column[number_of_row] if number_of_row < len(column) else "")
            for column in columns
        )
        yield row


def _values(value: FieldValue) -> list[str]:
    return [text for text in ([value] if isinstance(value, str) else value) if text]


def _named(rows: Sequence[Row], samples: Mapping[str, str]) -> dict[Row, str]:
    """The rows that the samples are about, with the reason: those that hold a sampled value."""
    if not samples:
        return {}
    found: dict[Row, str] = {}
    for row in rows:
        for value in row:
            if value and value in samples:
                found[row] = samples[value]
                break
    return found


def _samples(found: Any) -> Iterator[tuple[str, str]]:
    """Invalid values with their reasons, out of a map, or a list of maps or of bare values."""
    if isinstance(found, Mapping):
        for value, reason in found.items():
            yield str(value), reason if isinstance(reason, str) else ""
    elif isinstance(found, list):
        for entry in found:
            if isinstance(entry, Mapping):
                yield from _samples(entry)
            elif isinstance(entry, str):
                yield entry, ""


def _invalid(reason: str) -> Verdict:
    return Verdict(VerdictKind.REJECTED, INVALID, without_identifiers(reason) or "Meta calls the entry invalid")


def _unanswered(error: AudienceSyncsError) -> Verdict:
    kind = VerdictKind.UNKNOWN if isinstance(error, NoAnswer) else VerdictKind.RETRYABLE
    return Verdict(kind, error.code, without_identifiers(error.message))
