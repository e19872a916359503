"""Email addresses. Only the structure is checked; whether an address exists, the platform knows."""

from __future__ import annotations

import re

from audience_syncs.identifiers.text import as_text
from audience_syncs.identifiers.unusable import Unusable

_STRUCTURE = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@(?:[^@\s.\x00-\x1f\x7f]+\.)+[^@\s.\x00-\x1f\x7f]+")
_LONGEST_ADDRESS = 254


def address(value: object) -> str:
    """Trimmed and in lower case; dots and plus tags are left as they are.

    Raises Unusable(INVALID_EMAIL) for what has not the structure local@domain.tld.
    """
    text = as_text(value).lower()
    if len(text) > _LONGEST_ADDRESS or _STRUCTURE.fullmatch(text) is None:
        raise Unusable("INVALID_EMAIL", "is not an email address")
    return text
