"""Phone numbers in E.164, read with Google's own metadata (``phonenumbers``)."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import TYPE_CHECKING

from audience_syncs.identifiers.text import as_text
from audience_syncs.identifiers.unusable import UnusableIdentifier

if TYPE_CHECKING:
    import phonenumbers

_CLEAN = re.compile(r"\+[1-9][0-9]{9,14}")
_INVALID = UnusableIdentifier("INVALID_PHONE", "is not a phone number")


def e164(value: object, region: object = None) -> str:
    """``+`` and digits. ``region`` is the ISO 3166 country of a number written without a country code.

    A number has to be possible (its length fits the country), not assigned: platforms match what they know, and numbers
    for examples and fiction must pass. Raises UnusableIdentifier(INVALID_PHONE), or (NO_COUNTRY_CODE) when only the
    country is missing.
    """
    text = as_text(value)
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)  # full-width digits and plus signs
    if _CLEAN.fullmatch(text) is not None:
        return _possible(text)
    country = region.strip().upper() if isinstance(region, str) else ""
    return _parsed(text, country if len(country) == 2 and country.isascii() and country.isalpha() else "")


def digits(value: object, region: object = None) -> str:
    """As ``e164``, without the plus sign: the country code and the number, no leading zeros."""
    return e164(value, region)[1:]


def _possible(text: str) -> str:
    """The fast path of the clean majority: only the length per country is looked at, once per country and length."""
    if _length_fits(text[:6], len(text)):
        return text
    return _parsed(text, "")


@lru_cache(maxsize=50_000)
def _length_fits(prefix: str, length: int) -> bool:
    """Whether any number with this beginning and length is possible: decided on one such number."""
    import phonenumbers

    try:
        number = phonenumbers.parse(prefix + "0" * (length - len(prefix)), None)
    except phonenumbers.NumberParseException:
        return False
    rest = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    # A national zero that the library drops (+49 (0)151 ...) needs the slow path.
    return len(rest) == length and _is_possible(number)


def _is_possible(number: phonenumbers.PhoneNumber) -> bool:
    import phonenumbers

    # Numbers that can be dialled within their own area only would be possible, too.
    return phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE


def _parsed(text: str, region: str) -> str:
    import phonenumbers

    if len(text) > 60:
        raise _INVALID
    if text.startswith("00") and text[2:3].isdigit():
        text = "+" + text[2:]
    try:
        number = phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException as error:
        only_country = error.error_type == phonenumbers.NumberParseException.INVALID_COUNTRY_CODE
        if only_country and not text.startswith("+") and any(c.isdigit() for c in text):
            raise UnusableIdentifier(
                "NO_COUNTRY_CODE", "has no country code, and the member's country is not known"
            ) from None
        raise _INVALID from None
    if not _is_possible(number) or number.extension:
        raise _INVALID
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
