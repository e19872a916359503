"""Questions in SOQL: quoted, divided, and read to their last page.

Facts (SOQL and SOQL Reference; Salesforce Help, "Maximum number of rows returned by SOQL queries over the REST API", read
2026-11): URI and headers together may have 16,384 bytes, and 2,000 are recommended; longer questions are best put into the
body of a Composite request, of whose 25 parts five may be queries. That keeps people's addresses out of URIs, too, which
end up in logs. An answer has up to 2,000 records and, unless ``done``, ``nextRecordsUrl``. Texts are compared without
regard to case. A backslash and a quote are escaped by a backslash.

[unsure]: how long the query in a part may be (100,000 characters are SOQL's own limit): 300 values in 8,000 characters.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from audience_syncs.destinations.http import Answer
from audience_syncs.destinations.salesforce.calls import LIMITS, Calls, error_code, raise_refusal
from audience_syncs.model.errors import NotApplied

Record = Mapping[str, Any]
MOST_VALUES = 300
LONGEST = 8_000
AT_ONCE = 5
_COMES_AGAIN = LIMITS | {"INVALID_QUERY_LOCATOR", "QUERY_TIMEOUT"}
_ESCAPES = str.maketrans(
    {"\\": "\\\\", "'": "\\'", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}
)


def quoted(value: str) -> str:
    """A text in a query."""
    return f"'{value.translate(_ESCAPES)}'"


def among(field: str, values: Iterable[str]) -> Iterator[str]:
    """Conditions that together ask for all of the values."""
    some: list[str] = []
    length = 0
    for value in dict.fromkeys(values):
        text = quoted(value)
        if some and (len(some) == MOST_VALUES or length + len(text) > LONGEST):
            yield f"{field} IN ({','.join(some)})"
            some, length = [], 0
        some.append(text)
        length += len(text) + 1
    if some:
        yield f"{field} IN ({','.join(some)})"


class Queries:
    """Asks one org. All raise NotApplied where there is no answer."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def pages(self, query: str, doing: str, operation: str = "query") -> Iterator[Sequence[Record]]:
        """The records of one query, page by page."""
        answer = self._calls.get("/query", {"q": query}, operation=operation)
        yield from self._following(answer, doing, operation)

    def rows(self, query: str, doing: str, operation: str = "query") -> list[Record]:
        return [record for page in self.pages(query, doing, operation) for record in page]

    def count(self, query: str, doing: str) -> int:
        """What ``SELECT COUNT()`` counts."""
        answer = self._calls.get("/query", {"q": query}, operation="size")
        if answer.status >= 400:
            raise_refusal(answer, doing)
        found = answer.body.get("totalSize") if isinstance(answer.body, dict) else None
        if not isinstance(found, int) or isinstance(found, bool):
            raise NotApplied("salesforce query: the answer has no count")
        return found

    def all(self, queries: Iterable[str], doing: str) -> list[Record]:
        """The records of many queries, in their order."""
        wanted = list(queries)
        found: list[Record] = []
        for start in range(0, len(wanted), AT_ONCE):
            for part in self._together(wanted[start : start + AT_ONCE], doing):
                for page in self._following(part, doing, "query"):
                    found.extend(page)
        return found

    def _together(self, queries: Sequence[str], doing: str) -> list[Answer]:
        parts = [
            {
                "method": "GET",
                "url": f"{self._calls.root}/query?{urlencode({'q': query})}",
                "referenceId": f"q{number}",
            }
            for number, query in enumerate(queries)
        ]
        body = {"allOrNone": False, "compositeRequest": parts}
        answer = self._calls.ask("POST", "/composite", operation="query", json=body)
        if answer.status >= 400:
            raise_refusal(answer, doing)
        told = answer.body.get("compositeResponse") if isinstance(answer.body, dict) else None
        by_name = {
            each.get("referenceId"): Answer(int(each["httpStatusCode"]), {}, each.get("body"))
            for each in (told if isinstance(told, list) else [])
            if isinstance(each, Mapping) and isinstance(each.get("httpStatusCode"), int)
        }
        if any(part["referenceId"] not in by_name for part in parts):
            raise NotApplied("salesforce query: a part of the answer is missing")
        return [by_name[part["referenceId"]] for part in parts]

    def _following(self, answer: Answer, doing: str, operation: str) -> Iterator[Sequence[Record]]:
        seen = set[str]()
        while True:
            if answer.status >= 500 or (answer.status >= 400 and error_code(answer) in _COMES_AGAIN):
                raise NotApplied(f"salesforce {operation}: HTTP {answer.status} in a part of the answer")
            if answer.status >= 400:
                raise_refusal(answer, doing)
            body = answer.body if isinstance(answer.body, dict) else {}
            records = body.get("records")
            if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
                raise NotApplied(f"salesforce {operation}: the answer has no records")
            yield records
            if body.get("done") is not False:
                return
            following = str(body.get("nextRecordsUrl", ""))
            if not following.startswith("/services/data/") or following in seen:
                raise NotApplied(f"salesforce {operation}: the answer does not say where its next page is")
            seen.add(following)
            answer = self._calls.get(following, operation=operation)
