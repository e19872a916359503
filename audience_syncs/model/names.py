"""Names in YAML, and the names of secrets."""

from __future__ import annotations

import hashlib
import re
import unicodedata
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


def as_name(text: str) -> str:
    """A name made from any text: ``High-value Kündinnen`` -> ``high_value_kundinnen``; one without a letter of the Latin
    alphabet becomes a short digest. The same text always becomes the same name; different ones may become one."""
    latin = unicodedata.normalize("NFKD", text.replace("ß", "ss")).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9]+", "_", latin).strip("_")[:60].strip("_")
    if not name:
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return name if name[0].isalpha() else f"n_{name}"[:60].strip("_")
