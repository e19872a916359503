"""What everything in YAML has in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of everything in YAML: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
