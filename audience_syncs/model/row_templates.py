"""``{{ first_name }} {{ last_name|upper }}``: text made of a row's columns, by a small part of Jinja.

A row may hold anything, and a template is written by whoever may change the YAML: neither may reach into the process, nor keep it
busy. So a template is read first and refused unless each of its parts is among those listed here: columns, filters of our own
(whose results are bounded), comparisons, ``if``. There are no loops, no calls, no attributes, no variables of its own; no
``env``. What is left takes a time that grows with the template's and the values' length, and both have bounds.

Null is empty text where it is written, and null in comparisons and ``if``.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2
    import jinja2.nodes

LONGEST_SOURCE = 2_000
LONGEST = 65_536
"""Characters of a value that goes in, and of the text that comes out."""
_LARGEST = 60
"""Digits of a number."""
_DATE_FORMAT = re.compile(r"(?:[^%]|%[YymdBbAajHIMSpuVGU%])*")
_KNOWS = "columns, filters, `if`, comparisons and `~`"


class TemplateFailed(Exception):
    """A template cannot be worked out for a row. ``reason`` follows the field's name, and quotes no value."""

    def __init__(self, code: str, reason: str) -> None:
        self.code, self.reason = code, reason
        super().__init__(reason)


class RowTemplate:
    """A template, compiled. ``columns``: what it is called with, in their order."""

    def __init__(self, source: str) -> None:
        """Raises ValueError: what is wrong, and a remedy after a semicolon."""
        parsed, self.columns = _read(source)
        self._template = _compile(parsed)

    def __call__(self, values: Mapping[str, Any]) -> str | None:
        """The text; None where it has none. Raises TemplateFailed."""
        for value in values.values():
            if isinstance(value, str) and len(value) > LONGEST:
                raise TemplateFailed("TOO_LONG", f"takes a value of more than {LONGEST:,} characters")
        try:
            text = "".join(self._template.root_render_func(self._template.new_context(dict(values))))
        except TemplateFailed:
            raise
        except Exception as error:  # noqa: BLE001 - a template may raise anything; its words may quote a member
            raise TemplateFailed("TEMPLATE_FAILED", f"has a template that fails with {type(error).__name__}") from None
        if len(text) > LONGEST:
            raise TemplateFailed("TOO_LONG", f"is longer than {LONGEST:,} characters")
        return text if text.strip() else None


@lru_cache(maxsize=1_000)
def problem(source: str) -> str | None:
    """What is wrong with a template, with a remedy after a semicolon; None where nothing is."""
    try:
        RowTemplate(source)
    except ValueError as error:
        return str(error)
    return None


@lru_cache(maxsize=1_000)
def columns_of(source: str) -> tuple[str, ...]:
    """The columns of a template, in their order. Raises ValueError."""
    return _read(source)[1]


# What a template may hold -------------------------------------------------------------------------------------------


def _read(source: str) -> tuple[jinja2.nodes.Template, tuple[str, ...]]:
    import jinja2

    if len(source) > LONGEST_SOURCE:
        raise ValueError(f"the template is longer than {LONGEST_SOURCE:,} characters; write it as SQL instead")
    try:
        parsed = _environment().parse(source)
        columns: dict[str, None] = {}
        _check(parsed, columns)
    except jinja2.TemplateSyntaxError as error:
        raise ValueError(
            f"the template cannot be read: {error.message}; write e.g. {{{{ first_name }}}} {{{{ last_name|upper }}}}"
        ) from None
    except RecursionError:
        raise ValueError("the template is nested too deeply; write it as SQL instead") from None
    return parsed, tuple(columns)


def _compile(parsed: jinja2.nodes.Template) -> jinja2.Template:
    try:
        return _environment().from_string(parsed)
    except (SyntaxError, RecursionError, MemoryError):
        # Python's own bounds for nested code.
        raise ValueError("the template is nested too deeply; write it as SQL instead") from None


def _check(node: jinja2.nodes.Node, columns: dict[str, None]) -> None:
    """Raises ValueError for what is not listed; notes columns; writes out what `~` joins as everything else is written out."""
    from jinja2 import nodes

    if isinstance(node, nodes.Name):
        columns[node.name] = None
    elif isinstance(node, nodes.Filter):
        if node.name not in _FILTERS or node.dyn_args is not None or node.dyn_kwargs is not None:
            raise ValueError(f"the template uses the filter `{node.name}`; there are {_listed(_FILTERS)}")
    elif isinstance(node, nodes.Test):
        if node.name not in _TESTS:
            raise ValueError(f"the template uses the test `{node.name}`; there are {_listed(_TESTS)}")
    elif not isinstance(node, _allowed()):
        raise ValueError(f"the template holds `{_name_of(node)}`; it may hold {_KNOWS}")
    for child in node.iter_child_nodes():
        _check(child, columns)
    if isinstance(node, nodes.Concat):
        node.nodes = [nodes.Filter(each, "text", [], [], None, None, lineno=node.lineno) for each in node.nodes]


@lru_cache(maxsize=1)
def _allowed() -> tuple[type[jinja2.nodes.Node], ...]:
    from jinja2 import nodes

    return (
        *(nodes.Template, nodes.Output, nodes.TemplateData, nodes.Const, nodes.If, nodes.CondExpr),
        *(nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.Concat, nodes.List, nodes.Tuple),
        *(nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Neg, nodes.Pos, nodes.Keyword),
    )


def _name_of(node: jinja2.nodes.Node) -> str:
    """As people write it."""
    words = {
        "Assign": "set",
        "Getattr": "an attribute",
        "Call": "a call",
        "Pow": "**",
        "Mod": "%",
        "Dict": "an object",
        "Getitem": "a place within a value",
    }
    name = type(node).__name__
    return words.get(name, name.lower())


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


# What it can do -----------------------------------------------------------------------------------------------------


def text_of(value: Any) -> str:
    """A value as it is written in a text: null is empty, 12.0 is 12, dates are ISO 8601. Raises TemplateFailed."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float, Decimal)):
        number = _number(value)
        text = f"{number:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, (date, uuid.UUID)):
        return value.isoformat() if isinstance(value, date) else str(value)
    raise TemplateFailed("WRONG_TYPE", "writes out a value that is not text, a number or a date")


def _number(value: Any) -> Decimal:
    if isinstance(value, int) and abs(value) >= 10**_LARGEST:
        raise TemplateFailed("TOO_LONG", f"holds a number of more than {_LARGEST} digits")
    found = Decimal(str(value).strip())
    if not found.is_finite() or (found and not -_LARGEST <= found.adjusted() <= _LARGEST):
        raise TemplateFailed("NOT_A_NUMBER", "holds a number that cannot be written out")
    return found


def _bounded(text: str) -> str:
    if len(text) > LONGEST:
        raise TemplateFailed("TOO_LONG", f"is longer than {LONGEST:,} characters")
    return text


def _of_text(change: Callable[[str], str]) -> Callable[[Any], str]:
    return lambda value: _bounded(change(_bounded(text_of(value))))


def _replace(value: Any, old: str, new: str) -> str:
    text, old, new = _bounded(text_of(value)), text_of(old), text_of(new)
    if len(text) + text.count(old) * len(new) > 2 * LONGEST:
        raise TemplateFailed("TOO_LONG", f"is longer than {LONGEST:,} characters")
    return _bounded(text.replace(old, new))


def _default(value: Any, instead: Any) -> Any:
    return instead if value is None or (isinstance(value, str) and not value.strip()) else value


def _truncate(value: Any, length: int) -> str:
    return text_of(value)[: max(0, length)].rstrip()


def _join(value: Any, between: str = ", ") -> str:
    if value is None:
        return ""
    texts = [text_of(each) for each in _list(value) if each is not None]
    if sum(map(len, texts)) + len(texts) * len(text_of(between)) > 2 * LONGEST:
        raise TemplateFailed("TOO_LONG", f"is longer than {LONGEST:,} characters")
    return _bounded(text_of(between).join(texts))


def _first(value: Any) -> Any:
    return next(iter(text_of(value) if not isinstance(value, (list, tuple)) else value), None)


def _last(value: Any) -> Any:
    return next(reversed(text_of(value) if not isinstance(value, (list, tuple)) else value), None)


def _list(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise TemplateFailed("WRONG_TYPE", "joins a value that is no list")
    return value


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, tuple)) else len(text_of(value))


def _round(value: Any, digits: int = 0) -> Decimal | None:
    if value is None:
        return None
    return round(_number(value), min(12, max(0, digits)))


def _int(value: Any) -> int | None:
    return None if value is None else int(_number(value))


def _date(value: Any, form: str = "%Y-%m-%d") -> str | None:
    """By a few letters of ``strftime`` without widths."""
    if value is None:
        return None
    if _DATE_FORMAT.fullmatch(text_of(form)) is None:
        raise TemplateFailed("TEMPLATE_FAILED", "writes a date in a way that is not known")
    moment = value if isinstance(value, date) else datetime.fromisoformat(text_of(value).strip())
    return _bounded(moment.strftime(_bounded(form)))


_FILTERS: Mapping[str, Callable[..., Any]] = {
    "capitalize": _of_text(str.capitalize),
    "date": _date,
    "default": _default,
    "first": _first,
    "int": _int,
    "join": _join,
    "last": _last,
    "length": _length,
    "lower": _of_text(str.lower),
    "replace": _replace,
    "round": _round,
    "text": text_of,
    "title": _of_text(str.title),
    "trim": _of_text(str.strip),
    "truncate": _truncate,
    "upper": _of_text(str.upper),
}
_TESTS: Mapping[str, Callable[..., Any]] = {
    "none": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float, Decimal)) and not isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
}


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Environment(ImmutableSandboxedEnvironment):
        # Repeating text makes much out of little.
        intercepted_binops = frozenset({"*"})

        def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
            return _number(left) * _number(right) if operator == "*" and _are_numbers(left, right) else _refuse()

    environment = Environment(undefined=jinja2.StrictUndefined, autoescape=False, finalize=text_of, cache_size=0)
    environment.globals.clear()
    environment.filters = dict(_FILTERS)
    environment.tests = dict(_TESTS)
    return environment


def _are_numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float, Decimal)) for value in values)


def _refuse() -> None:
    raise TemplateFailed("WRONG_TYPE", "multiplies what is not a number")
