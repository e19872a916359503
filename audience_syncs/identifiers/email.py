"""Email addresses. Only the structure is checked; whether an address exists, the platform knows."""

from __future__ import annotations

import re

from audience_syncs.identifiers.text import as_text, without_whitespace
from audience_syncs.identifiers.unusable import UnusableIdentifier

_STRUCTURE = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@(?:[^@\s.\x00-\x1f\x7f]+\.)+[^@\s.\x00-\x1f\x7f]+")
_LONGEST_ADDRESS = 254
# Input methods of East Asian languages leave ASCII at full width; no mailbox has such characters.
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3002: ord("."), 0xFF61: ord(".")}

_GMAIL = frozenset({"gmail.com", "googlemail.com"})
_NOT_ALPHANUMERIC = re.compile(r"[^a-z0-9]")

_LABEL = r"[a-z0-9][a-z0-9-]{0,62}"
# Both parts short enough for the lengths to be right without counting.
CLEAN = re.compile(rf"[a-z0-9._%+'-]{{1,64}}@(?:{_LABEL}\.){{1,2}}[a-z]{{2,24}}")
"""Addresses that every platform takes as they are, but for those below."""
CLEAN_FOR_GOOGLE = re.compile(
    rf"[a-z0-9._%+'-]{{1,64}}@(?!(?:gmail|googlemail)\.com\Z)(?:{_LABEL}\.){{1,2}}[a-z]{{2,24}}"
    r"|[a-z0-9_-]{1,64}@(?:gmail|googlemail)\.com"
)
CLEAN_FOR_REDDIT = re.compile(rf"[a-z0-9]{{1,64}}@(?:{_LABEL}\.){{1,2}}[a-z]{{2,24}}")


def address(value: object) -> str:
    """Trimmed and in lower case; dots and plus tags are left as they are.

    Raises UnusableIdentifier(INVALID_EMAIL) for what has not the structure local@domain.tld.
    """
    return _checked(_lower(value))


def without_spaces(value: object) -> str:
    """As ``address``, and white space within is taken out instead of refused."""
    return _checked(without_whitespace(_lower(value)))


def for_google(value: object) -> str:
    """As ``without_spaces``; of Gmail addresses also the dots and the tag (``+...``) before the ``@``.

    The domain stays: gmail.com and googlemail.com are told apart.
    """
    text = without_spaces(value)
    local, _, domain = text.rpartition("@")
    if domain not in _GMAIL:
        return text
    return _checked(f"{local.partition('+')[0].replace('.', '')}@{domain}")


def for_reddit(value: object) -> str:
    """Of every domain: no tag (``+...``), and nothing but a-z and 0-9 before the ``@``."""
    local, _, domain = address(value).rpartition("@")
    return _checked(f"{_NOT_ALPHANUMERIC.sub('', local.partition('+')[0])}@{domain}")


def _lower(value: object) -> str:
    text = as_text(value).lower()
    return text if text.isascii() else text.translate(_FULL_WIDTH)


def _checked(text: str) -> str:
    if len(text) > _LONGEST_ADDRESS or _STRUCTURE.fullmatch(text) is None:
        raise UnusableIdentifier("INVALID_EMAIL", "is not an email address")
    return text
