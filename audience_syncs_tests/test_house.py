"""The house stands as it was designed: rooms import only from the rooms below them, and names say the thing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import audience_syncs

PACKAGE = Path(audience_syncs.__file__).parent

MAY_IMPORT = {
    "model": set(),
    "identifiers": set(),
    "warehouse": {"model"},
    "destinations": {"model", "identifiers"},
    "audiences": {"model", "warehouse"},
    "engine": {"model", "identifiers", "warehouse", "destinations", "audiences"},
    "project": {"model", "destinations"},
    "imports": {"model", "destinations", "project"},
    "health": {"model", "warehouse", "destinations", "project"},
    "components": {"model", "warehouse", "destinations", "audiences", "engine", "project", "health"},
    "cli": {
        *("model", "warehouse", "destinations", "audiences", "engine", "project", "imports", "health", "components"),
        *("definitions", "demo", "simulators"),
    },
    "demo": {"model"},
    "simulators": set(),
    "definitions": {"components"},
}
"""Room -> the rooms it may import from. Only ``components`` and ``health`` know Dagster; ``cli`` starts it."""

KNOWS_DAGSTER = {"components", "health", "definitions", "cli"}


def modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if "defs" not in path.parts)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Full names of what a module imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_from_the_rooms_below(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in MAY_IMPORT, f"a new room {room!r}: say in this test what it may import"
    for name in imported(path):
        if name.startswith("audience_syncs."):
            target = name.split(".")[1]
            assert target == room or target in MAY_IMPORT[room], f"{path.name} imports {name}"
        if name.split(".")[0] in ("dagster", "dagster_postgres"):
            assert room in KNOWS_DAGSTER, f"{path.name} knows Dagster"


def test_no_module_has_a_name_that_says_nothing() -> None:
    nothing = {"utils", "util", "helpers", "helper", "common", "misc", "base", "manager", "core"}
    assert not {path.stem for path in modules()} & nothing


def test_definitions_load_without_drivers_and_http() -> None:
    program = (
        "import sys; before = set(sys.modules); import dagster; known = set(sys.modules); "
        "from audience_syncs.definitions import defs; "
        "heavy = {'pandas', 'pyarrow', 'psycopg2', 'phonenumbers'} & (set(sys.modules) - known); print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"
