"""A sync, put into an audience's file as text: everything else in it stays as it was written, comments and all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.errors import DefinitionError
from audience_syncs.project.load import Project
from audience_syncs.project.problems import choose_from, shown_path
from audience_syncs.project.reading import Located
from audience_syncs.project.scaffolds.definitions import columns_of, require_name, sync_lines
from audience_syncs.project.scaffolds.references import chosen
from audience_syncs.project.yaml_documents import Document, read_documents


def add_sync(audience: str, destination: str, project: Project, *, key: str | None = None) -> Path:
    """Adds a sync to an audience, in its file; returns the file.

    Raises DefinitionError where either is not there, where the audience has a sync of that name, and where its YAML is
    written in a way that cannot be added to line by line (aliases, everything on one line).
    """
    if audience not in project.audiences and project.problems:
        known = choose_from(audience, sorted(project.audiences), none="there is none")
        raise DefinitionError(
            f"there is no audience `{audience}` without mistakes",
            remedy=f"{known}; what is wrong with others: `audience-syncs check`",
        )
    name = chosen("audience", audience, project.audiences, "AUDIENCE")
    target = chosen("destination", destination, project.destinations, "DESTINATION")
    if key is not None:
        require_name(key)
    config = project.audiences[name]
    taken = {sync.key for sync in config.syncs}
    if (key or target) in taken:
        raise DefinitionError(
            f"the audience {name} has a sync `{key or target}` already",
            remedy="give the new one a name of its own: --name NAME; and a list of its own, if it is to the same destination",
        )
    document = _located(name, project).document
    lines = sync_lines(key, target, columns_of(project, name, config.model), config.primary_key, project)
    _write(document, with_sync(document, lines))
    return document.file


def with_sync(document: Document, item: Sequence[str]) -> str:
    """The file's text with one more item under ``syncs``, given as lines at column 0. DefinitionError where it cannot be."""
    text = document.file.read_bytes().decode("utf-8-sig")
    mark = "\ufeff" if document.file.read_bytes().startswith(b"\xef\xbb\xbf") else ""
    newline = "\r\n" if "\r\n" in text else "\n"
    # Only the line ends that YAML knows: others may stand in quoted text.
    lines = text.replace("\r\n", "\n").split("\n")
    attributes = document.nodes("attributes")
    if attributes is None or not isinstance(attributes[1], yaml.MappingNode) or attributes[1].flow_style:
        raise _cannot(document, "its `attributes` are not written line by line")
    key_column = attributes[1].start_mark.column
    syncs = document.nodes("attributes", "syncs")
    if syncs is None:
        at, column, head = _after(attributes[1], lines, key_column), key_column + 2, [f"{' ' * key_column}syncs:"]
    else:
        key, value = syncs
        head = []
        if value.start_mark.index < key.start_mark.index:
            raise _cannot(document, "its `syncs` are an alias")
        if isinstance(value, yaml.SequenceNode) and value.value and not value.flow_style:
            column = value.start_mark.column
            at = _after(value, lines, column + 1)
        elif isinstance(value, yaml.SequenceNode) and value.value:
            raise _cannot(document, "its `syncs` are written on one line")
        else:
            at, column = _make_room(document, value, lines), key.start_mark.column + 2
    added = [*head, *(f"{' ' * column}{line}" if line else line for line in item)]
    return mark + newline.join([*lines[:at], *added, *lines[at:]])


def _make_room(document: Document, value: yaml.Node, lines: list[str]) -> int:
    """Takes the `[]` out of the line; answers the number of the next."""
    line, start, end = value.start_mark.line, value.start_mark.column, value.end_mark.column
    if value.end_mark.line != line:
        raise _cannot(document, "its empty `syncs` are written on several lines")
    lines[line] = (lines[line][:start].rstrip() + " " + lines[line][end:].lstrip()).rstrip()
    return int(line) + 1


def _after(node: yaml.Node, lines: Sequence[str], column: int) -> int:
    """The line, from 0, behind a node and the comments that are indented as belonging to it."""
    line = _last_line(node)
    while not lines[line].strip():
        line -= 1
    last = line
    for number in range(line + 1, len(lines)):
        stripped = lines[number].lstrip(" ")
        if not stripped:
            continue
        if not stripped.startswith("#") or len(lines[number]) - len(stripped) < column:
            break
        last = number
    return last + 1


def _last_line(node: yaml.Node) -> int:
    """The last line of a node's own text; the mark at the end of a block stands behind the blank lines that follow it."""
    if isinstance(node, yaml.ScalarNode):
        return node.end_mark.line - (1 if node.style in ("|", ">") and node.end_mark.column == 0 else 0)
    if not isinstance(node, yaml.CollectionNode) or node.flow_style or not node.value:
        return int(node.end_mark.line)
    last = node.value[-1]
    if isinstance(last, tuple):
        key, value = last
        # An alias leads to where it was defined, and nothing at all to the next token.
        is_here = value.start_mark.index >= key.end_mark.index and value.start_mark.index != value.end_mark.index
        return _last_line(value) if is_here else int(key.end_mark.line)
    return _last_line(last)


def _write(document: Document, text: str) -> None:
    """Replaces the file at once, after reading what came out: nothing but the new sync may be different."""
    file = document.file
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".defs_", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as stream:
            stream.write(text)
        after, problems = read_documents(Path(temporary))
        before, _ = read_documents(file)
        if problems or not _one_sync_more(document.index, [d.value for d in before], [d.value for d in after]):
            raise _cannot(document, "the result would not be what it was before, with one sync more")
        Path(temporary).chmod(file.stat().st_mode & 0o777)
        os.replace(temporary, file)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _one_sync_more(index: int, before: list[Any], after: list[Any]) -> bool:
    """Whether two readings of a file differ in one sync, the last of one document, and in nothing else."""
    if len(before) != len(after):
        return False
    attributes = after[index]["attributes"]
    syncs = attributes.get("syncs")
    if not isinstance(syncs, list) or len(syncs) != len(before[index]["attributes"].get("syncs") or ()) + 1:
        return False
    kept = {**attributes, "syncs": syncs[:-1]}
    was = {**before[index]["attributes"], "syncs": before[index]["attributes"].get("syncs") or []}
    return {**after[index], "attributes": kept} == {**before[index], "attributes": was} and all(
        one == other for number, (one, other) in enumerate(zip(before, after, strict=True)) if number != index
    )


def _located(audience: str, project: Project) -> Located:
    for located in project.files.values():
        if isinstance(located.config, AudienceConfig) and located.config.name == audience:
            return located
    raise DefinitionError(f"the file of the audience {audience} is not known")


def _cannot(document: Document, why: str) -> DefinitionError:
    return DefinitionError(
        f"the sync cannot be added: {why}",
        where=shown_path(document.file),
        remedy="write `syncs:` and its items line by line, as `audience-syncs new audience` does, or add the sync by hand",
    )
