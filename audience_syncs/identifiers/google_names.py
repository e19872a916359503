"""Names as Google wants them: lower case, no punctuation, no titles before and no suffixes after; spaces within stay."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from audience_syncs.identifiers.plain import text_of
from audience_syncs.identifiers.unusable import UnusableIdentifier

_PREFIXES = frozenset({"mr", "mrs", "ms", "miss", "mx", "dr", "prof"})
_SUFFIXES = frozenset({"jr", "sr", "ii", "iii", "iv", "phd", "md"})


def given_name(value: object) -> str:
    """Without ``Mrs.`` and the like, unless that is all there is."""
    return _name(text_of(value), last=False)


def family_name(value: object) -> str:
    """Without ``Jr.`` and the like, unless that is all there is."""
    return _name(text_of(value), last=True)


@lru_cache(maxsize=20_000)
def _name(text: str, *, last: bool) -> str:
    words = [found for word in text.lower().replace(",", " ").split() if (found := _without_punctuation(word))]
    if last:
        while len(words) > 1 and words[-1] in _SUFFIXES:
            words.pop()
    else:
        while len(words) > 1 and words[0] in _PREFIXES:
            words.pop(0)
    if not words:
        raise UnusableIdentifier("EMPTY", "has no letters")
    return " ".join(words)


def _without_punctuation(word: str) -> str:
    return "".join([c for c in word if unicodedata.category(c)[0] not in "PS"])
