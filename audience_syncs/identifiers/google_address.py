"""A postal address as Google matches it: names and place together, all four or not at all.

Google takes an address as one identifier ("a grouping of identifiers that are matched all at once"): first and last name hashed,
country and postal code plain. So it is one value here too, made of an object with the keys ``first_name``, ``last_name``,
``country`` and ``zip``, or of its JSON text; and it leaves the list together with the person it found.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from audience_syncs.identifiers.google_names import family_name, given_name
from audience_syncs.identifiers.plain import country_upper, text_of
from audience_syncs.identifiers.rule import HASH
from audience_syncs.identifiers.text import as_text
from audience_syncs.identifiers.unusable import UnusableIdentifier

KEYS = ("first_name", "last_name", "country", "zip")
_US_ZIP = re.compile(r"[0-9]{5}(?:-?[0-9]{4})?")
_ZIP = re.compile(r"[0-9A-Za-z][0-9A-Za-z -]{0,14}[0-9A-Za-z]")


def address(value: object) -> str:
    """``HASH HASH COUNTRY ZIP``: the hashes of first and last name, then the rest as it is."""
    parts = _object(value)
    for key in KEYS:
        if parts.get(key) is None or not str(parts[key]).strip():
            raise UnusableIdentifier("INCOMPLETE_ADDRESS", f"has no {key}, and Google needs {', '.join(KEYS)}")
    country = country_upper(parts["country"])
    names = [_hashed(parts["first_name"], given_name), _hashed(parts["last_name"], family_name)]
    return " ".join([*names, country, _zip(parts["zip"], country)])


def _object(value: object) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    try:
        found = orjson.loads(as_text(value))
    except orjson.JSONDecodeError:
        found = None
    if not isinstance(found, Mapping):
        raise UnusableIdentifier("INVALID_ADDRESS", f"is not an object with {', '.join(KEYS)}")
    return found


def _hashed(value: object, normalised: Callable[[object], str]) -> str:
    """A name that is a hash already stays: hashing it again would silently match nobody."""
    if isinstance(value, str) and HASH.fullmatch(value.strip()):
        return value.strip().lower()
    return hashlib.sha256(normalised(value).encode()).hexdigest()


def _zip(value: object, country: str) -> str:
    text = text_of(value)
    if (_US_ZIP if country == "US" else _ZIP).fullmatch(text) is None:
        raise UnusableIdentifier("INVALID_ZIP", "is not a postal code")
    return text
