"""Verdicts that destinations give alike: of several the worst, and that of somebody without an answer."""

from __future__ import annotations

from collections.abc import Iterable

from audience_syncs.model.errors import AudienceSyncsError, NoAnswer
from audience_syncs.model.values import ACCEPTED, Verdict, VerdictKind

_BADNESS = (VerdictKind.ACCEPTED, VerdictKind.REJECTED, VerdictKind.RETRYABLE, VerdictKind.UNKNOWN)


def worst(verdicts: Iterable[Verdict], default: Verdict = ACCEPTED) -> Verdict:
    """One verdict for somebody of whom there are several, the first of the worst; ``default`` where there is none."""
    return max(verdicts, key=lambda verdict: _BADNESS.index(verdict.kind), default=default)


def unsure(error: AudienceSyncsError) -> Verdict:
    """Somebody whose request came to nothing: unknown after NoAnswer, else retryable, as nothing was applied."""
    kind = VerdictKind.UNKNOWN if isinstance(error, NoAnswer) else VerdictKind.RETRYABLE
    return Verdict(kind, error.code, error.message)
