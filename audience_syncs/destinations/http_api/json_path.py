"""Paths in JSON: names with dots between them, places in lists in brackets; ``$.`` in front may stand or not."""

from __future__ import annotations

import re
from typing import Any

_STEP = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")


def at(value: Any, path: str) -> Any:
    """What stands at the path; None where nothing does."""
    for place, name in _STEP.findall(path.removeprefix("$")):
        if place:
            value = value[int(place)] if isinstance(value, list) and int(place) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value
