"""The table of rules: for each platform's field, how its value is made, and where that is written.

Hashed fields are SHA-256 of the UTF-8 text, lower-case hex. A value that is such a hash already (64 hex digits) is
taken as it is, in lower case: hashing it again would silently match nobody.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from audience_syncs.identifiers import email, phone, plain
from audience_syncs.identifiers.text import as_text, letters_and_digits
from audience_syncs.identifiers.unusable import Unusable

_META = "developers.facebook.com, Marketing API, Custom Audiences guide, hashing and normalisation (read 2026-09)"
_HUBSPOT = "developers.hubspot.com, CRM API, contacts and property values (read 2026-09)"
_HASHED = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Rule:
    """How one field of one platform is made. ``version`` is raised whenever ``apply`` would return something else."""

    name: str
    version: int
    apply: Callable[[object, object], str]
    hashed: bool
    source: str


def _rules(*rules: Rule) -> Mapping[str, Rule]:
    return {rule.name: rule for rule in rules}


def _only(function: Callable[[object], str]) -> Callable[[object, object], str]:
    """A rule that does not look at the region."""
    return lambda value, _region: function(value)


def _meta_phone(value: object, region: object) -> str:
    return phone.e164(value, region)[1:]


def _meta_city(value: object, _region: object) -> str:
    text = letters_and_digits(as_text(value).lower())
    if not text:
        raise Unusable("EMPTY", "has no letters")
    return text


def _meta_state(value: object, _region: object) -> str:
    return _meta_city(value, None)


def _date_part(part: str) -> Callable[[object, object], str]:
    return _only(partial(plain.date_part, part=part))


RULES: Mapping[str, Rule] = _rules(
    Rule("meta.email", 1, _only(email.address), hashed=True, source=_META),
    # Digits with the country code, without a plus sign and without leading zeros.
    Rule("meta.phone", 1, _meta_phone, hashed=True, source=_META),
    Rule("meta.first_name", 1, _only(plain.name), hashed=True, source=_META),
    Rule("meta.last_name", 1, _only(plain.name), hashed=True, source=_META),
    Rule("meta.city", 1, _meta_city, hashed=True, source=_META),
    Rule("meta.state", 1, _meta_state, hashed=True, source=_META),
    Rule("meta.zip", 1, _only(plain.zip_code), hashed=True, source=_META),
    Rule("meta.country", 1, _only(plain.country), hashed=True, source=_META),
    Rule("meta.gender", 1, _only(plain.gender), hashed=True, source=_META),
    Rule("meta.birth_year", 1, _date_part("year"), hashed=True, source=_META),
    Rule("meta.birth_month", 1, _date_part("month"), hashed=True, source=_META),
    Rule("meta.birth_day", 1, _date_part("day"), hashed=True, source=_META),
    Rule("meta.madid", 1, _only(plain.mobile_advertiser_id), hashed=False, source=_META),
    Rule("meta.extern_id", 1, _only(plain.own_id), hashed=False, source=_META),
    Rule("hubspot.email", 1, _only(email.address), hashed=False, source=_HUBSPOT),
    Rule("hubspot.phone", 1, phone.e164, hashed=False, source=_HUBSPOT),
    Rule("hubspot.text", 1, _only(plain.property_value), hashed=False, source=_HUBSPOT),
)


def normalise(rule_name: str, value: object, region: object = None) -> str:
    """The value as the platform wants it: normalised and, where the rule says so, hashed.

    ``region``: ISO 3166 country for phone numbers without a country code. Raises Unusable; KeyError: no such rule.
    """
    rule = RULES[rule_name]
    if not rule.hashed:
        return rule.apply(value, region)
    if isinstance(value, str) and len(value) >= 64 and _HASHED.fullmatch(value.strip()):
        return value.strip().lower()
    return hashlib.sha256(rule.apply(value, region).encode()).hexdigest()


def rule_version(names: Iterable[str]) -> str:
    """The versions of these rules in one text; it changes when any of them does."""
    return ",".join(f"{name}={RULES[name].version}" for name in sorted(names))
