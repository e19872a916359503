"""YAML as nodes with positions, so that every mistake can be shown where it stands.

libyaml does the parsing where PyYAML was built with it: several times faster than PyYAML's own. The values are built
here rather than by PyYAML, which silently takes the last of two equal keys. As Dagster reads them, dates stay text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from audience_syncs.project.problems import Problem, YamlPath, path_text

if TYPE_CHECKING:
    _Base = yaml.SafeLoader
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"


class _Loader(_Base):
    """The safe loader without timestamps."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own name and shape
        first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a YAML file: its value, and where everything in it stands."""

    file: Path
    index: int
    value: Any
    node: yaml.Node

    def position(self, path: YamlPath, *, of_key: bool = False) -> tuple[int, int]:
        """Line and column, from 1, of the value at a path (or of its key), or of the nearest above that exists."""
        key_node = value_node = self.node
        for part in path:
            found = _child(value_node, part)
            if found is None:
                # What is missing is shown at what it is missing in.
                return _mark(key_node)
            key_node, value_node = found
        return _mark(key_node if of_key else value_node)

    def nodes(self, *path: str | int) -> tuple[yaml.Node, yaml.Node] | None:
        """The nodes of a key and its value (of a list's item, the item twice); None where there is none."""
        found = (self.node, self.node)
        for part in path:
            below = _child(found[1], part)
            if below is None:
                return None
            found = below
        return found

    def written(self, path: YamlPath) -> str:
        """A single value as it was written, without its quotes: `NO`, which YAML reads as false. Empty for anything else."""
        node = self.node
        for part in path:
            found = _child(node, part)
            if found is None:
                return ""
            node = found[1]
        return node.value if isinstance(node, yaml.ScalarNode) else ""

    def problem(self, path: YamlPath, message: str, remedy: str = "", *, of_key: bool = False) -> Problem:
        """A problem at a path of this document."""
        line, column = self.position(path, of_key=of_key)
        return Problem(self.file, line, column, path_text(path), message, remedy)


def read_documents(file: Path) -> tuple[list[Document], list[Problem]]:
    """Reads a YAML file: its documents, and the problems of its syntax. What stands before a syntax error is kept."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return [], [Problem(file, line, 1, "", "the file is not UTF-8", "save it as UTF-8")]
    except OSError as error:
        return [], [Problem(file, 1, 1, "", f"the file cannot be read: {error.strerror}", "check its permissions")]
    documents: list[Document] = []
    problems: list[Problem] = []
    loader = _Loader(text)
    try:
        while loader.check_node():
            builder = _Builder(loader, file, problems)
            node = loader.get_node()
            assert node is not None
            documents.append(Document(file, len(documents), builder.build(node, ()), node))
    except yaml.MarkedYAMLError as error:
        problems.append(_syntax_problem(file, error))
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        message = f"character {_shown_character(error.character)} is not allowed in YAML"
        problems.append(Problem(file, line, 1, "", message, "remove it"))
    except RecursionError:
        problems.append(Problem(file, 1, 1, "", "the file is nested too deeply", "flatten it"))
    finally:
        loader.dispose()
    return documents, problems


class _Builder:
    """Builds plain values from nodes; notes duplicate keys, keys that are not text, and tags we do not know."""

    def __init__(self, loader: _Loader, file: Path, problems: list[Problem]) -> None:
        self.loader = loader
        self.file = file
        self.problems = problems
        self.under_way: set[int] = set()

    def build(self, node: yaml.Node, path: YamlPath) -> Any:
        if id(node) in self.under_way:
            self.note(node, path, "an alias that contains itself", "write the value out")
            return None
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        self.under_way.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
                return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
            if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
                return self.mapping(node, path)
        finally:
            self.under_way.discard(id(node))
        self.note(node, path, f"the tag {node.tag} is not understood", "remove it")
        return None

    def mapping(self, node: yaml.MappingNode, path: YamlPath) -> dict[Any, Any]:
        own: dict[Any, Any] = {}
        merged: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for part in _merged_nodes(value_node):
                    merged = {**self.mapping(part, path), **merged}
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                self.note(key_node, path, "a key must be text", "put it in quotes, or indent what follows")
                continue
            key = self.scalar(key_node, path)
            if isinstance(key, bool):
                key = key_node.value  # no key of ours is true or false; `on: yesterday` is one
            if not isinstance(key, str):
                self.note(
                    key_node,
                    (*path, key_node.value),
                    f"the key `{key_node.value}` is read as {_kind_of(key)}, not as text",
                    f"put quotes around it: '{key_node.value}'",
                )
                key = str(key_node.value)
            if key in own:
                first = next(_mark(k)[0] for k, _ in node.value if k.value == key_node.value)
                self.note(
                    key_node,
                    (*path, key),
                    f"the key `{key}` is given twice; the first is on line {first}",
                    "remove one of them",
                )
            own[key] = self.build(value_node, (*path, key))
        return {**merged, **own}

    def scalar(self, node: yaml.ScalarNode, path: YamlPath) -> Any:
        constructor = self.loader.yaml_constructors.get(node.tag)
        if constructor is None or node.tag == f"{_TAG}binary":
            self.note(node, path, f"the tag {node.tag} is not understood", "remove it")
            return node.value
        try:
            return constructor(self.loader, node)
        except (ValueError, KeyError, yaml.YAMLError):
            self.note(node, path, "the value does not fit its tag", "remove the tag")
            return node.value

    def note(self, node: yaml.Node, path: YamlPath, message: str, remedy: str) -> None:
        line, column = _mark(node)
        self.problems.append(Problem(self.file, line, column, path_text(path), message, remedy))


def _child(node: yaml.Node, part: str | int) -> tuple[yaml.Node, yaml.Node] | None:
    """Key node and value node of a child; for a list's item, the item twice."""
    if isinstance(node, yaml.SequenceNode):
        if isinstance(part, int) and 0 <= part < len(node.value):
            return node.value[part], node.value[part]
        return None
    if not isinstance(node, yaml.MappingNode):
        return None
    for key_node, value_node in node.value:
        if key_node.tag != _MERGE and key_node.value == part:
            return key_node, value_node
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            for merged in _merged_nodes(value_node):
                found = _child(merged, part)
                if found is not None:
                    return found
    return None


def _merged_nodes(node: yaml.Node) -> Iterator[yaml.MappingNode]:
    """What ``<<`` brings in: a mapping, or a list of them, of which the first counts most."""
    if isinstance(node, yaml.MappingNode):
        yield node
    elif isinstance(node, yaml.SequenceNode):
        yield from (item for item in node.value if isinstance(item, yaml.MappingNode))


def _mark(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _syntax_problem(file: Path, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    words = error.problem or error.context or "not YAML"
    remedy = "check indentation, colons and quotes on this line and the one before"
    if "\\t" in words or "tab" in words or "cannot start any token" in words:
        remedy = "YAML is indented with spaces, never tabs; text that starts with %, @ or ` needs quotes"
    elif "mapping values are not allowed" in words:
        remedy = "a text that contains `: ` needs quotes; else check the indentation"
    elif "alias" in words:
        remedy = "define the anchor with & before its alias; text that starts with * needs quotes"
    return Problem(file, line, column, "", f"this is not YAML: {words}", remedy)


def _shown_character(character: Any) -> str:
    code = character if isinstance(character, int) else ord(str(character)[:1] or "\0")
    return f"U+{code:04X}"


def _kind_of(value: Any) -> str:
    kinds = {bool: "true or false", int: "a number", float: "a number", type(None): "nothing"}
    return kinds.get(type(value), "something else")
