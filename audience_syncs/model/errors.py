"""One family of errors: a stable code, what happened, where, and what to do about it.

Messages are shown to people, in the Dagster UI and in logs: they never carry personal data or secrets.
"""

from __future__ import annotations


class AudienceSyncsError(Exception):
    """Base of every error this package raises on purpose.

    ``code`` is stable and may be relied upon; ``message`` says what, ``where`` says where (a file and line, an
    audience, a sync), ``remedy`` says what to do.
    """

    code = "ERROR"

    def __init__(self, message: str, *, where: str = "", remedy: str = "", code: str | None = None) -> None:
        self.message = message
        self.where = where
        self.remedy = remedy
        if code is not None:
            self.code = code
        super().__init__(str(self))

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        remedy = f"\n  What to do: {self.remedy}" if self.remedy else ""
        return f"[{self.code}] {place}{self.message}{remedy}"

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.__dict__.copy()))


def _rebuild(cls: type[AudienceSyncsError], state: dict[str, object]) -> AudienceSyncsError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    Exception.__init__(error, str(error))
    return error


class DefinitionError(AudienceSyncsError):
    """The YAML is wrong. ``where`` is file and line."""

    code = "DEFINITION"


class MissingSecret(AudienceSyncsError):
    """An environment variable that the definitions name is not set."""

    code = "MISSING_SECRET"


class AudienceError(AudienceSyncsError):
    """The audience could not be evaluated or broke a rule (duplicate or null keys, missing column)."""

    code = "AUDIENCE"


class SourceError(AudienceSyncsError):
    """The warehouse could not be reached or refused the query."""

    code = "SOURCE"


class SyncLocked(AudienceSyncsError):
    """Another run of the same sync is under way."""

    code = "SYNC_LOCKED"


class GuardBlocked(AudienceSyncsError):
    """The plan is beyond the guard's limits: nothing was sent."""

    code = "GUARD_BLOCKED"

    def __init__(self, message: str, *, digest: str, where: str = "", remedy: str = "") -> None:
        self.digest = digest
        super().__init__(message, where=where, remedy=remedy)


class DestinationError(AudienceSyncsError):
    """Something between us and the platform that stops the whole run, not just one member or batch."""

    code = "DESTINATION"


class AccessRefused(DestinationError):
    """The platform refuses our credentials or permissions: a revoked token, a missing scope, unsigned terms."""

    code = "ACCESS_REFUSED"


class ListMissing(DestinationError):
    """The list this sync keeps no longer exists at the platform."""

    code = "LIST_MISSING"


class BatchRefused(AudienceSyncsError):
    """The platform refused a whole batch for what is in it, and applied none of it; sending it again will not help.

    ``position`` names the member at fault (its index in the batch) where the platform tells; else the engine finds
    it by halving. ``reason_code`` and ``reason`` are the platform's own words, free of identifiers.
    """

    code = "BATCH_REFUSED"

    def __init__(self, reason: str, *, reason_code: str = "REFUSED", position: int | None = None) -> None:
        self.reason = reason
        self.reason_code = reason_code
        self.position = position
        super().__init__(reason)


class NotApplied(AudienceSyncsError):
    """The batch was certainly not applied and may be sent again later: throttled, or the connection was refused."""

    code = "NOT_APPLIED"


class NoAnswer(AudienceSyncsError):
    """The request may or may not have been applied: time-out, reset, or an answer that cannot be read."""

    code = "NO_ANSWER"
