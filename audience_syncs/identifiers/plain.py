"""Values that are sent as they are, in the form a platform wants: property values, ids, countries, names."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime
from functools import lru_cache

from audience_syncs.identifiers.text import as_text, as_written, letters_and_digits, without_whitespace
from audience_syncs.identifiers.unusable import UnusableIdentifier

_MADID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_ISO_DATE = re.compile(r"(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?:[T ].*)?", re.ASCII)
_DIGITS_DATE = re.compile(r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})", re.ASCII)
_US_ZIP_4 = re.compile(r"\d{5}-?\d{4}", re.ASCII)
_UK_POSTCODE = re.compile(r"([a-z]{1,2}\d[a-z\d]?\d)[a-z]{2}", re.ASCII)
_LONGEST_PROPERTY = 65_536
"""Characters of a HubSpot text property; from memory of its documentation, not re-checked."""
_PLACEHOLDERS = frozenset({"null", "(null)", "<null>", "[null]", "n/a", "#n/a", "undefined"})
"""What programs write for nothing. As an id it would make all members who have it the same person."""
_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff "
_YEAR_MONTH_DAY = {"year": (4, 1900, 2100), "month": (2, 1, 12), "day": (2, 1, 31)}


def text_of(value: object) -> str:
    """Trimmed text that says something: not what programs write for nothing (``null``, ``N/A``)."""
    text = as_text(value)
    if text.lower() in _PLACEHOLDERS:
        raise UnusableIdentifier("EMPTY", "is a word for nothing")
    return text


@lru_cache(maxsize=20_000)
def _only_letters(text: str) -> str:
    name = letters_and_digits(text.lower())
    if not name:
        raise UnusableIdentifier("EMPTY", "has no letters")
    return name


def name(value: object) -> str:
    """Lower case, without punctuation and whitespace; every script stays. Also of a city or a state."""
    return _only_letters(text_of(value))


@lru_cache(maxsize=2_000)
def _country(text: str) -> str:
    code = text.lower()
    if len(code) != 2 or not code.isascii() or not code.isalpha():
        raise UnusableIdentifier("INVALID_COUNTRY", "is not an ISO 3166 country code of two letters")
    return code


def country(value: object) -> str:
    """ISO 3166 alpha-2, lower case."""
    return _country(as_text(value))


def country_upper(value: object) -> str:
    """ISO 3166 alpha-2, upper case."""
    return _country(as_text(value)).upper()


def zip_code(value: object) -> str:
    """Lower case without spaces; of a US ZIP+4 the first five digits, of a British one area, district and sector."""
    text = without_whitespace(text_of(value)).lower()
    if not letters_and_digits(text):
        raise UnusableIdentifier("EMPTY", "has no letters or digits")
    if _US_ZIP_4.fullmatch(text) is not None:
        return text[:5]
    british = _UK_POSTCODE.fullmatch(text)
    return text if british is None else british.group(1)


def gender(value: object) -> str:
    """``m`` or ``f``."""
    text = as_text(value).lower()
    short = {"male": "m", "female": "f"}.get(text, text)
    if short not in ("m", "f"):
        raise UnusableIdentifier("INVALID_GENDER", "is neither m nor f")
    return short


def birth_date(value: object) -> date:
    """A date, or an ISO 8601 one as text: ``1980-07-31``, ``19800731``. Which of 2/3/1980 is the month is not guessed."""
    if isinstance(value, date):
        found = date(value.year, value.month, value.day)
    else:
        iso = _ISO_DATE.fullmatch(as_text(value)) or _DIGITS_DATE.fullmatch(as_text(value))
        try:
            found = date(*(int(iso.group(part)) for part in ("year", "month", "day"))) if iso else date.min
        except ValueError:
            found = date.min
    if not 1900 <= found.year <= 2100:
        raise UnusableIdentifier("INVALID_DATE", "is not a date of birth, such as 1980-07-31")
    return found


def date_part(value: object, part: str) -> str:
    """Year, month or day of a birth date, from a date, an ISO 8601 date or that part alone: ``1980``, ``07``, ``31``."""
    width, least, most = _YEAR_MONTH_DAY[part]
    text = str(getattr(value, part)) if isinstance(value, date) else as_text(value)
    iso = _ISO_DATE.fullmatch(text)
    if iso is not None:
        text = iso.group(part)
    if not text.isascii() or not text.isdigit() or not least <= int(text[:10]) <= most:
        raise UnusableIdentifier("INVALID_DATE", f"is not a {part}")
    return f"{int(text):0{width}d}"


def mobile_advertiser_id(value: object) -> str:
    """Lower case, hyphens kept. All zeros mean that the person does not want to be tracked."""
    text = as_text(value).lower()
    if _MADID.fullmatch(text) is None or set(text) <= set("0-"):
        raise UnusableIdentifier("INVALID_MADID", "is not a mobile advertiser id")
    return text


def mobile_id_as_written(value: object) -> str:
    """As ``mobile_advertiser_id``, in the case in which it comes."""
    mobile_advertiser_id(value)
    return as_text(value)


def own_id(value: object) -> str:
    """An id of the customer's own, verbatim: the platform compares it character by character."""
    return text_of(value)


def property_value(value: object) -> str:
    """A CRM property as text: dates as milliseconds of their midnight in UTC, times as ISO 8601 in UTC.

    Text stays as people wrote it, except for white space around it.
    """
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).astimezone(UTC).isoformat()
    if isinstance(value, date):
        return str(int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp() * 1000))
    return free_text(value)


def free_text(value: object) -> str:
    """What somebody wrote, except for white space around it; dates and times in ISO 8601."""
    text = unicodedata.normalize("NFC", as_written(value, _LONGEST_PROPERTY)).strip()
    if not text.strip(_ZERO_WIDTH):
        raise UnusableIdentifier("EMPTY", "is empty")
    return text
