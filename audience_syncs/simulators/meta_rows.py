"""Reading the ``payload`` of Meta's ``/users``: which keys a schema may have, and which rows are invalid.

Documented (Customer File Custom Audiences guide; Custom Audience Users reference): ``schema`` is one key with a flat
list of values, or a list of keys with a list of rows; unknown values are empty strings so that columns stay aligned;
personal keys are SHA-256 in lowercase hex, ``MADID`` and ``EXTERN_ID`` are not hashed. Bad hashes do not fail the
request: they are counted in ``num_invalid_entries`` with up to 100 samples. Not documented, and our reading: one bad
value makes its whole row invalid, and so does a row with no key at all or of the wrong length.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_ROWS = 10_000
MAX_SAMPLES = 100

HASHED = frozenset(["EMAIL", "PHONE", "GEN", "DOBY", "DOBM", "DOBD", "LN", "FN", "FI", "CT", "ST", "ZIP", "COUNTRY"])
PLAIN = frozenset(
    [
        "EXTERN_ID",
        "MADID",
        "LOOKALIKE_VALUE",
        "PAGEUID",
        "UID",
        "DATA_PROCESSING_OPTIONS",
        "DATA_PROCESSING_OPTIONS_COUNTRY",
        "DATA_PROCESSING_OPTIONS_STATE",
    ]
)
SINGLE_KEY_NAMES = {"EMAIL_SHA256": "EMAIL", "PHONE_SHA256": "PHONE", "MOBILE_ADVERTISER_ID": "MADID"}
NOT_KEYS = frozenset(name for name in PLAIN if name.startswith("DATA_PROCESSING") or name == "LOOKALIKE_VALUE")

is_sha256 = re.compile(r"[0-9a-f]{64}").fullmatch


class BadPayload(ValueError):
    """The payload is refused as a whole; the message is for ``error_user_msg``."""


@dataclass
class ReadRows:
    """The rows of one request: the valid ones as dictionaries of what is not empty, the others counted."""

    received: int = 0
    valid: list[dict[str, Any]] = field(default_factory=list)
    invalid: int = 0
    samples: dict[str, str] = field(default_factory=dict)

    def refuse(self, value: object, reason: str) -> None:
        self.invalid += 1
        if len(self.samples) < MAX_SAMPLES:
            self.samples[value if isinstance(value, str) else repr(value)] = reason


def read_schema(payload: object) -> list[str]:
    """The keys of the payload's columns; raises ``BadPayload``."""
    if not isinstance(payload, dict) or "schema" not in payload or "data" not in payload:
        raise BadPayload("payload must be an object with schema and data")
    schema = payload["schema"]
    names: list[str] = [schema] if isinstance(schema, str) else schema
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BadPayload("schema must be a key or a list of keys")
    keys: list[str] = [SINGLE_KEY_NAMES.get(name, name) for name in names]
    unknown = sorted(set(keys) - HASHED - PLAIN)
    if unknown:
        raise BadPayload(f"schema has unsupported keys: {', '.join(unknown)}")
    if len(set(keys)) != len(keys):
        raise BadPayload("schema names a key twice")
    return keys


def read_data(payload: dict[str, Any], *, flat: bool) -> list[Any]:
    """The rows, every one a list; a single-key schema may come flat. Raises ``BadPayload``."""
    rows = payload["data"]
    if not isinstance(rows, list) or not rows:
        raise BadPayload("data must be a list with at least one row")
    if len(rows) > MAX_ROWS:
        raise BadPayload(f"data has {len(rows)} rows; at most {MAX_ROWS} can be sent in one request")
    if flat:
        return [row if isinstance(row, list) else [row] for row in rows]
    if not all(isinstance(row, list) for row in rows):
        raise BadPayload("data must be a list of rows when schema has several keys")
    return rows


def read_rows(keys: Sequence[str], rows: Sequence[Any], rejected: frozenset[int]) -> ReadRows:
    """Tell valid rows from invalid ones. ``rejected`` positions are invalid whatever they hold."""
    result = ReadRows(received=len(rows))
    hashed = [key in HASHED for key in keys]
    width = len(keys)
    for position, row in enumerate(rows):
        if position in rejected:
            result.refuse(next((value for value in row if value), ""), "Invalid data")
            continue
        if len(row) != width:
            result.refuse(row, "Number of values differs from schema")
            continue
        held: dict[str, Any] = {}
        for key, is_hashed, value in zip(keys, hashed, row, strict=True):
            if value == "" or value == []:
                continue
            if is_hashed and not (isinstance(value, str) and is_sha256(value)):
                result.refuse(value, "Invalid or unhashed data")
                break
            if value is None or isinstance(value, dict | bool):
                result.refuse(value, "Invalid data")
                break
            held[key] = value
        else:
            if held.keys() - NOT_KEYS:
                result.valid.append(held)
            else:
                result.refuse("", "No identifier")
    return result
