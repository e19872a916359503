"""SOQL, as far as it goes here, in SQL: fields (also a parent's), COUNT(), conditions, order, limit.

Read from the SOQL and SOQL Reference: texts are compared without regard to case; a backslash escapes; a relationship leads
to one parent. What is not understood is refused, so that no query of ours passes by luck.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audience_syncs.simulators.salesforce.errors import Refused, error, malformed_query, no_such_field
from audience_syncs.simulators.salesforce.objects import OBJECTS, Object, long_id, object_named

LONGEST = 100_000
TOKEN = re.compile(r"\s*(?:('(?:[^'\\]|\\.)*')|([A-Za-z][\w.]*)|(\d+(?:\.\d+)?)|(<=|>=|!=|[=<>(),]))", re.DOTALL)
ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", "'": "'", '"': '"', "\\": "\\"}


@dataclass(frozen=True)
class Query:
    """A query in SQL. ``fields``: as asked for, in their order; empty for COUNT()."""

    kind: Object
    fields: tuple[str, ...]
    sql: str
    parameters: tuple[Any, ...]


def understood(text: str) -> Query:
    """Raises Refused."""
    if len(text) > LONGEST:
        raise Refused(malformed_query("SOQL statement cannot be longer than 100000 characters."))
    return _Reader(_tokens(text)).query()


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.rstrip()
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise Refused(malformed_query(f"unexpected token: {text[at : at + 20]!r}"))
        found.append(match.group().strip() if match.group(1) is None else match.group(1))
        at = match.end()
    return found


class _Reader:
    def __init__(self, tokens: list[str]) -> None:
        self._tokens = tokens
        self._at = 0
        self._joined: dict[str, str] = {}
        self._parameters: list[Any] = []
        self._kind: Object = OBJECTS["Contact"]

    def query(self) -> Query:
        self._expect("SELECT")
        names: list[str] = []
        counted = self._next_is("COUNT")
        if counted:
            for word in ("COUNT", "(", ")"):
                self._expect(word)
        else:
            names.append(self._take())
            while self._skip(","):
                names.append(self._take())
        self._expect("FROM")
        self._kind = object_named(self._take())
        columns = [self._column(name) for name in names]
        condition = self._any() if self._skip("WHERE") else "1"
        order = self._order()
        limit = f" LIMIT {int(self._take())}" if self._skip("LIMIT") else ""
        if self._at < len(self._tokens):
            raise Refused(malformed_query(f"unexpected token: {self._tokens[self._at][:20]!r}"))
        joins = " ".join(
            f"LEFT JOIN records {alias} ON {alias}.id = json_extract(r.fields, '$.{self._kind.parents[parent]}')"
            for parent, alias in self._joined.items()
        )
        # The condition's parameters are those of the text, in its order: there are none before it.
        sql = (
            f"SELECT {'count(*)' if counted else ', '.join(columns)} FROM records r {joins} "
            f"WHERE r.object = '{self._kind.name}' AND r.deleted = 0 AND ({condition}){order}{limit}"
        )
        return Query(self._kind, tuple(names), sql, tuple(self._parameters))

    def _order(self) -> str:
        if not self._skip("ORDER"):
            return " ORDER BY r.number"
        self._expect("BY")
        parts = []
        while True:
            column = self._column(self._take())
            parts.append(column + (" DESC" if self._skip("DESC") else ""))
            self._skip("ASC")
            if not self._skip(","):
                return f" ORDER BY {', '.join(parts)}"

    def _any(self) -> str:
        found = [self._all()]
        while self._skip("OR"):
            found.append(self._all())
        return " OR ".join(found)

    def _all(self) -> str:
        found = [self._one()]
        while self._skip("AND"):
            found.append(self._one())
        return " AND ".join(found)

    def _one(self) -> str:
        if self._skip("("):
            inner = self._any()
            self._expect(")")
            return f"({inner})"
        name = self._take()
        column = self._column(name)
        if self._skip("IN"):
            self._expect("(")
            values = [self._value(name)]
            while self._skip(","):
                values.append(self._value(name))
            self._expect(")")
            self._parameters += values
            return f"{column} IN ({','.join('?' * len(values))})"
        operator = self._take()
        if operator not in ("=", "!=", "<", ">", "<=", ">="):
            raise Refused(malformed_query(f"unexpected token: {operator[:20]!r}"))
        value = self._value(name)
        if value is None:
            return f"{column} IS {'NOT ' if operator == '!=' else ''}NULL"
        self._parameters.append(value)
        return f"{column} {operator} ?"

    def _value(self, name: str) -> Any:
        token = self._take()
        if token.startswith("'"):
            text = re.sub(r"\\(.)", lambda found: ESCAPES.get(found[1], found[1]), token[1:-1], flags=re.DOTALL)
            if name.lower().endswith("id") and not name.endswith("__c"):
                if re.fullmatch(r"[0-9A-Za-z]{15}([0-9A-Za-z]{3})?", text) is None:
                    raise Refused(error(400, "INVALID_QUERY_FILTER_OPERATOR", f"invalid ID field: {text}"))
                return long_id(text)
            return text
        if token.lower() in ("true", "false"):
            return token.lower() == "true"
        if token.lower() == "null":
            return None
        if re.fullmatch(r"\d+(\.\d+)?", token):
            return float(token)
        raise Refused(malformed_query(f"unexpected token: {token[:20]!r}"))

    def _column(self, name: str) -> str:
        parent, _, field = name.rpartition(".")
        if not parent:
            return _expression("r", self._kind, name)
        known = {each.lower(): each for each in self._kind.parents}.get(parent.lower())
        if known is None:
            text = f"Didn't understand relationship '{parent}' in field path."
            raise Refused(error(400, "INVALID_FIELD", text))
        alias = self._joined.setdefault(known, f"p{len(self._joined)}")
        return _expression(alias, OBJECTS[known], field)

    def _next_is(self, word: str) -> bool:
        return self._at < len(self._tokens) and self._tokens[self._at].upper() == word

    def _skip(self, word: str) -> bool:
        found = self._next_is(word)
        self._at += found
        return found

    def _expect(self, word: str) -> None:
        if not self._skip(word):
            raise Refused(malformed_query(f"expecting {word}"))

    def _take(self) -> str:
        if self._at >= len(self._tokens):
            raise Refused(malformed_query("unexpected end of statement"))
        self._at += 1
        return self._tokens[self._at - 1]


def _expression(alias: str, kind: Object, name: str) -> str:
    column = kind.column(name)
    if column is None:
        raise Refused(no_such_field(name, kind.name))
    if column == "Id":
        return f"{alias}.id"
    if column == "CreatedDate":
        return f"{alias}.created"
    return f"json_extract({alias}.fields, '$.{column}') COLLATE NOCASE"


def as_json(query: Query, row: tuple[Any, ...], version: str) -> dict[str, Any]:
    """A record as it is answered: parents nested, with the attributes that every record has."""
    record: dict[str, Any] = {
        "attributes": {"type": query.kind.name, "url": f"/services/data/v{version}/sobjects/{query.kind.name}"}
    }
    for name, value in zip(query.fields, row, strict=True):
        parent, _, field = name.rpartition(".")
        if not parent:
            record[name] = _shown(name, value)
            continue
        known = {each.lower(): each for each in query.kind.parents}[parent.lower()]
        held = record.setdefault(known, {"attributes": {"type": known}})
        held[field] = value
    for parent in query.kind.parents:
        held = record.get(parent)
        if isinstance(held, Mapping) and all(value is None for name, value in held.items() if name != "attributes"):
            record[parent] = None
    return record


def _shown(name: str, value: Any) -> Any:
    return bool(value) if name.startswith("Is") and value is not None else value
