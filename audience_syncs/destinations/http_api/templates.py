"""``${...}`` in the YAML of requests: expressions of Jinja, sandboxed, over what a request is about.

Not ``{{ ... }}``: that is rendered when definitions load. Bodies are YAML structures, never text: what an expression gives is put
in as the value it is, so that no name can break out of its quotes. A text that is one expression becomes its value, of any type; in
a longer text, values are written out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

if TYPE_CHECKING:
    import jinja2
    import jinja2.nodes

_EXPRESSION = re.compile(r"\$\{((?:[^{}]|\{[^{}]*\})*)\}")


class TemplateFailed(Exception):
    """An expression could not be worked out for what it was given; the message quotes none of that."""


def problem(template: Any, known: frozenset[str]) -> str | None:
    """What is wrong with a template (a text, or a structure of texts), in words; ``known``: the names it may use."""
    for text in _texts(template):
        if text.count("${") != len(_EXPRESSION.findall(text)):
            return "a `${` is never closed, or holds braces in braces"
        for source in _EXPRESSION.findall(text):
            found = _problem_of(source, known)
            if found is not None:
                return found
    return None


def fields_of_member(template: Any) -> frozenset[str]:
    """The fields that a template takes by name from ``member``."""
    return frozenset(
        name for text in _texts(template) for source in _EXPRESSION.findall(text) for name in _fields_in(source)
    )


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """The structure with its expressions worked out. Raises TemplateFailed."""
    if isinstance(template, str):
        whole = _EXPRESSION.fullmatch(template)
        if whole is not None:
            return _value(whole[1], values)
        return _EXPRESSION.sub(lambda found: _text(_value(found[1], values)), template)
    if isinstance(template, Mapping):
        return {fill_text(name, values): fill(value, values) for name, value in template.items()}
    if isinstance(template, list):
        return [fill(value, values) for value in template]
    return template


def fill_text(template: str, values: Mapping[str, Any]) -> str:
    """A text; null is nothing."""
    return _EXPRESSION.sub(lambda found: _text(_value(found[1], values)), template)


def fill_path(template: str, values: Mapping[str, Any]) -> str:
    """A path: every value is one segment of it, whatever it holds. Raises TemplateFailed where it would be none."""

    def segment(found: re.Match[str]) -> str:
        text = _text(_value(found[1], values))
        if text in ("", ".", ".."):
            raise TemplateFailed("a part of the path is empty")
        return quote(text, safe="")

    return _EXPRESSION.sub(segment, template)


def _texts(template: Any) -> Iterator[str]:
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        for name, value in template.items():
            yield from _texts(name)
            yield from _texts(value)
    elif isinstance(template, list):
        for value in template:
            yield from _texts(value)


def _value(source: str, values: Mapping[str, Any]) -> Any:
    try:
        found = _compiled(source)(**values)
    except Exception as error:  # noqa: BLE001 - an expression may raise anything; its words may quote a member
        raise TemplateFailed(f"`${{{source}}}` cannot be worked out: {type(error).__name__}") from None
    return list(found) if _is_lazy(found) else found


def _is_lazy(value: Any) -> bool:
    """What filters like ``map`` give."""
    return hasattr(value, "__next__")


def _text(value: Any) -> str:
    if value is None:
        return ""
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else str(value)


@lru_cache(maxsize=1_000)
def _problem_of(source: str, known: frozenset[str]) -> str | None:
    from jinja2 import TemplateSyntaxError, meta

    try:
        parsed = _environment().parse("{{" + source + "}}")
    except TemplateSyntaxError as error:
        return f"`${{{source}}}` cannot be read: {error.message}"
    unknown = sorted(meta.find_undeclared_variables(parsed) - known)
    if unknown:
        return f"there is no `{unknown[0]}` here, only {', '.join(f'`{name}`' for name in sorted(known))}"
    return None


@lru_cache(maxsize=1_000)
def _fields_in(source: str) -> frozenset[str]:
    from jinja2 import nodes

    parsed = _environment().parse("{{" + source + "}}")
    named = {node.attr for node in parsed.find_all(nodes.Getattr) if _is_member(node.node)}
    in_brackets = [node.arg for node in parsed.find_all(nodes.Getitem) if _is_member(node.node)]
    return frozenset(named | {str(node.value) for node in in_brackets if isinstance(node, nodes.Const)})


def _is_member(node: jinja2.nodes.Node) -> bool:
    return getattr(node, "name", None) == "member"


@lru_cache(maxsize=1_000)
def _compiled(source: str) -> Callable[..., Any]:
    return _environment().compile_expression(source, undefined_to_none=True)


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment()
    # Nothing here makes long texts or lists out of short ones.
    environment.globals.clear()
    return environment
