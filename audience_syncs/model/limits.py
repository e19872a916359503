"""Limits from which on a figure is worth a warning, or is critical: what the checks of a sync go by."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from audience_syncs.model.strict import Config


class Severity(StrEnum):
    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"


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

    def in_words(self, unit: str) -> str:
        """``warning above 1 %, critical above 10 %``."""
        named = (("warning", self.warning), ("critical", self.critical))
        return ", ".join(f"{name} above {value:g}{unit}" for name, value in named if value is not None) or "no limit"


class LimitsConfig(Config):
    """From when on a sync's figures are worth attention."""

    rejected_percent: Limit = Field(
        default=Limit(warning=1, critical=10), description="Share of the audience that the platform rejects."
    )
    match_rate_drop_percent: Limit = Field(
        default=Limit(warning=20, critical=50),
        description="How much lower the match rate is than usual (the median of the last 30 days).",
    )
