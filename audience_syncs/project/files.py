"""Which files hold definitions: folders are walked as Dagster walks them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from audience_syncs.project.components import MODELS, component_name
from audience_syncs.project.problems import Problem, shown_path
from audience_syncs.project.yaml_documents import read_documents

_TYPE_OF_OTHERS = re.compile(rb"^[\"']?type[\"']?\s*:\s*[\"']?[A-Za-z_][\w.]*[\"']?\s*(#.*)?$", re.MULTILINE)


def definition_files(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    """The ``defs.yaml`` files below a folder, in Dagster's order.

    Dagster does not look below a folder that has one; files of ours there would silently be ignored, and are reported.
    """
    file = _file_in(folder)
    if file is not None:
        yield file
        if not _describes_folder(file):
            for hidden in _files_below(folder):
                if any(component_name(document) in MODELS for document in read_documents(hidden)[0]):
                    message = f"this file is never read: the folder above it has {shown_path(file)}"
                    problems.append(Problem(hidden, 1, 1, "", message, "move this folder beside that one"))
            return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and child.name != "__pycache__":
            yield from definition_files(child, problems)


def _files_below(folder: Path) -> Iterator[Path]:
    for child in sorted(folder.rglob("defs.y*ml")):
        if child.parent != folder and child.suffix in (".yaml", ".yml"):
            yield child


def _file_in(folder: Path) -> Path | None:
    return next((file for file in (folder / "defs.yaml", folder / "defs.yml") if file.is_file()), None)


def is_of_others(file: Path) -> bool:
    """Whether a file defines only components of others, whose YAML may be written as we would not: it is theirs to read."""
    try:
        text = file.read_bytes()
    except OSError:
        return False  # reported where its definitions are read
    return b"audience_syncs" not in text and _TYPE_OF_OTHERS.search(text) is not None


def _describes_folder(file: Path) -> bool:
    # Nearly never; looking for the word first saves building every file twice.
    try:
        if b"DefsFolderComponent" not in file.read_bytes():
            return False
    except OSError:
        return False  # reported where its definitions are read
    documents, _ = read_documents(file)
    return any(
        isinstance(document.value, dict) and str(document.value.get("type", "")).endswith("DefsFolderComponent")
        for document in documents
    )
