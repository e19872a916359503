"""A mistake in the YAML, as people need it: file, line, column, what, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from audience_syncs.model.errors import DefinitionError

YamlPath = tuple[str | int, ...]
"""Keys and list positions from the top of a document: ``("attributes", "syncs", 0, "mode")``."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake. ``path`` is the YAML path as text; lines and columns count from 1."""

    file: Path
    line: int
    column: int
    path: str
    message: str
    remedy: str = ""

    @property
    def place(self) -> str:
        """``file:line:column``, relative to the working directory where the file is below it."""
        return f"{shown_path(self.file)}:{self.line}:{self.column}"

    def __str__(self) -> str:
        path = f"{self.path}: " if self.path else ""
        remedy = f"\n  What to do: {self.remedy}" if self.remedy else ""
        return f"{self.place}: {path}{self.message}{remedy}"


def shown_path(file: Path) -> str:
    """A file's name for people: relative to the working directory where it is below it."""
    try:
        return str(file.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(file)


def path_text(path: YamlPath) -> str:
    """``("attributes", "syncs", 0, "mode")`` -> ``attributes.syncs[0].mode``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else str(part))
    return text


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant, if one is close enough."""
    written = {name.lower(): name for name in known}
    found = difflib.get_close_matches(word.lower(), written, n=1, cutoff=0.6)
    return written[found[0]] if found else None


def choose_from(word: str, known: Sequence[str], *, none: str) -> str:
    """A remedy that offers the nearest of the known names, then all of them; ``none`` where there are none."""
    if not known:
        return none
    meant = nearest(word, known)
    listed = ", ".join(f"`{name}`" for name in sorted(known)[:20])
    if len(known) > 20:
        listed += f" and {len(known) - 20} more"
    return f"did you mean `{meant}`? Known: {listed}" if meant else f"known are {listed}"


def format_problems(problems: Sequence[Problem]) -> str:
    """All problems as text, in the order of files and lines."""
    return "\n".join(str(problem) for problem in sorted(problems))


def refusal(problems: Sequence[Problem]) -> DefinitionError:
    """The error that refuses a project with these problems, naming all of them."""
    count = f"{len(problems)} problem" + ("s" if len(problems) != 1 else "")
    files = len({problem.file for problem in problems})
    return DefinitionError(
        f"{count} in {files} file{'s' if files != 1 else ''} of YAML:\n{format_problems(problems)}",
        remedy="correct them; `audience-syncs check` shows them again",
    )
