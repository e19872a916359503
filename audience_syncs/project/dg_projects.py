"""The folder of definitions of somebody's own Dagster project, as `dg` finds it: from ``dg.toml`` or ``pyproject.toml``.

Read without Dagster and without importing anything of the project: commands in a terminal only need the folder.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any


def dg_defs_dir(within: Path) -> Path | None:
    """The folder of definitions of the nearest dg project at or above a folder; None where there is none, or it has no such
    folder yet."""
    for folder in (within, *within.parents):
        for name in ("dg.toml", "pyproject.toml"):
            project = _project(folder / name)
            if project is not None:
                return _folder_of(project, folder)
    return None


def _project(file: Path) -> dict[str, Any] | None:
    """The table ``project`` of dg's configuration; None where the file has none."""
    try:
        found: Any = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None  # not there, or not TOML: dg itself says so
    for key in ("project",) if file.name == "dg.toml" else ("tool", "dg", "project"):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else None


def _folder_of(project: dict[str, Any], root: Path) -> Path | None:
    defs_module, root_module = project.get("defs_module"), project.get("root_module")
    module = defs_module or (f"{root_module}.defs" if root_module else None)
    if not isinstance(module, str):
        return None
    for base in (root / "src", root):
        folder = base.joinpath(*module.split("."))
        if folder.is_dir():
            return folder
    return None
