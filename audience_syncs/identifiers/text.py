"""From whatever a warehouse returns to clean text."""

from __future__ import annotations

import re
import unicodedata
import uuid
from datetime import date, datetime
from decimal import Decimal

from audience_syncs.identifiers.unusable import UnusableIdentifier

LONGEST = 2_000
"""Characters; nothing that identifies a person is longer."""

_LARGEST_NUMBER = 10**60

# Lone surrogates: JSON and JavaScript produce them, UTF-8 has none.
_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
# Zero-width and direction marks come along when people copy addresses out of mails and documents.
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad]")


def as_text(value: object) -> str:
    """The value as text without surrounding or invisible characters, in Unicode's composed form (NFC).

    Raises UnusableIdentifier for null, empty, over-long values and types that are not text or a number.
    """
    text = as_written(value, LONGEST)
    if not text.isascii():
        text = unicodedata.normalize("NFC", _INVISIBLE.sub("", text))
    text = text.strip()
    if not text:
        raise UnusableIdentifier("EMPTY", "is empty")
    return text


def as_written(value: object, longest: int) -> str:
    """The value as text, nothing taken away: joiners within words and emoji are part of what somebody wrote."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, int):
        # Python refuses to write out numbers of thousands of digits.
        if not -_LARGEST_NUMBER < value < _LARGEST_NUMBER:
            raise UnusableIdentifier("TOO_LONG", "is a number of more than 60 digits")
        text = str(value)
    elif isinstance(value, uuid.UUID):
        text = str(value)
    elif isinstance(value, (float, Decimal)):
        text = _number(value)
    elif isinstance(value, (datetime, date)):
        text = value.isoformat()
    elif value is None:
        raise UnusableIdentifier("NULL", "is null")
    else:
        raise UnusableIdentifier("WRONG_TYPE", f"is of the type {type(value).__name__}, not text or a number")
    if len(text) > longest:
        raise UnusableIdentifier("TOO_LONG", f"is longer than {longest:,} characters")
    if not text.isascii() and _HALF_CHARACTER.search(text) is not None:
        raise UnusableIdentifier("NOT_TEXT", "holds half a character, which cannot be sent")
    return text


def _number(value: float | Decimal) -> str:
    """``12.0`` -> ``12``: a key that passed through a float column is still the key."""
    number = Decimal(str(value))
    if not number.is_finite():
        raise UnusableIdentifier("NOT_A_NUMBER", "is not a number")
    if not number:
        return "0"
    if not -60 <= number.adjusted() <= 60:
        raise UnusableIdentifier("TOO_LONG", "is a number of more than 60 digits")
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def without_whitespace(text: str) -> str:
    return "".join(text.split())


def letters_and_digits(text: str) -> str:
    """Without punctuation, symbols and whitespace; letters of every script stay, with their marks."""
    if text.isascii():
        return "".join([c for c in text if c.isalnum()])
    return "".join([c for c in text if unicodedata.category(c)[0] in "LMN"])
