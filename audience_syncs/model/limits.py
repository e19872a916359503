"""Limits from which on something is worth a warning, or is critical: what the checks and alerts of a sync go by."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from audience_syncs.model.strict import Config


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for OK; greater is worse."""
        return list(Severity).index(self)


class Limit(Config):
    """Two limits of one figure, in its unit; null switches one off."""

    warning: float | None = Field(default=None, ge=0, description="More than this is a warning.")
    critical: float | None = Field(default=None, ge=0, description="More than this is critical.")

    @model_validator(mode="after")
    def _in_order(self) -> Limit:
        if self.warning is not None and self.critical is not None and self.warning > self.critical:
            raise ValueError(f"the warning ({self.warning:g}) comes after the critical limit ({self.critical:g})")
        return self

    def severity(self, figure: float) -> Severity:
        """How bad a figure is."""
        if self.critical is not None and figure > self.critical:
            return Severity.CRITICAL
        return Severity.WARNING if self.warning is not None and figure > self.warning else Severity.OK

    def passed(self, figure: float) -> float | None:
        """The limit that a figure is beyond; None where it is within all."""
        severity = self.severity(figure)
        return {Severity.CRITICAL: self.critical, Severity.WARNING: self.warning, Severity.OK: None}[severity]

    def in_words(self, unit: str) -> str:
        """``warning above 1 %, critical above 10 %``."""
        named = (("warning", self.warning), ("critical", self.critical))
        return ", ".join(f"{name} above {value:g}{unit}" for name, value in named if value is not None) or "no limit"


class LimitsConfig(Config):
    """From when on something about a sync is worth attention.

    What is not written is inherited, limit by limit: a sync's from its audience's `limits`, those from the
    destination's, those from the project's (`audience_syncs.components.Alerts`).
    """

    failed: Severity = Field(default=Severity.CRITICAL, description="How bad a failed run is; `ok`: nobody is told.")
    blocked: Severity = Field(default=Severity.CRITICAL, description="How bad a plan is that the guard blocked.")
    rejected: Limit = Field(default=Limit(), description="Members of the audience whom the platform rejects.")
    rejected_percent: Limit = Field(
        default=Limit(warning=1, critical=10), description="Share of the audience that the platform rejects."
    )
    unreachable_percent: Limit = Field(
        default=Limit(warning=5), description="Share of the audience without any usable identifier."
    )
    refused_percent: Limit = Field(
        default=Limit(warning=10),
        description="Of the members that have an identifier (an email, say), how many have one that is refused.",
    )
    match_rate_drop_percent: Limit = Field(
        default=Limit(warning=20, critical=50),
        description="How much lower the match rate is than usual (the median of the last 30 days).",
    )
    audience_change_percent: Limit = Field(
        default=Limit(warning=50),
        description="How much the audience grew or shrank since the run before, if by 100 members at least.",
    )
    removals: Limit = Field(default=Limit(), description="Members removed from the list in one run.")
    duration_minutes: Limit = Field(default=Limit(), description="How long a run takes, or has been running.")
    late_minutes: Limit = Field(
        default=Limit(warning=0, critical=1440),
        description="How long a run is overdue, beyond the ten minutes that are no delay. Never while the sync is paused.",
    )

    def inheriting(self, *others: LimitsConfig) -> LimitsConfig:
        """These limits, with those that are not written taken from the others, the nearest first."""
        written: dict[str, object] = {}
        for limits in (*reversed(others), self):
            written |= {name: getattr(limits, name) for name in limits.model_fields_set}
        return self.model_copy(update=written)
