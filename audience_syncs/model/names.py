"""Names in YAML, and the names of secrets."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, model_validator

from audience_syncs.model.strict import Config

NAME = re.compile(r"[a-z][a-z0-9_]*")
Name = Annotated[
    str,
    Field(
        pattern=r"^[a-z][a-z0-9_]*$",
        max_length=60,
        description="Lower-case letters, digits and underscores, starting with a letter.",
    ),
]


class Secret(Config):
    """A secret, named by the environment variable that holds it. Never written in YAML itself."""

    env: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        description="Name of the environment variable that holds the value.",
    )

    @model_validator(mode="before")
    @classmethod
    def _no_literals(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError("write {env: NAME_OF_VARIABLE}; secrets are never written in YAML")
        return value
