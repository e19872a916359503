"""What a platform says, without what it may quote of what was sent: addresses, hashes, ids, numbers."""

from __future__ import annotations

import re

LONGEST = 200
_PLAIN = re.compile(r"[A-Za-z][A-Za-z_-]{0,24}[.,:;]?")


def plain_words(message: object) -> str:
    """The plain words of a message; three dots where there was anything else. Empty where it is no text."""
    words = message.split() if isinstance(message, str) else []
    kept = [word if _PLAIN.fullmatch(word) else "..." for word in words]
    return " ".join(word for place, word in enumerate(kept) if word != "..." or kept[place - 1 : place] != ["..."])[
        :LONGEST
    ]
