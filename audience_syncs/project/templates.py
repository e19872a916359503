"""``{{ env.NAME }}`` in YAML values, rendered from the environment.

The syntax is Dagster's (Jinja; ``env.NAME``, ``env('NAME')``, ``env('NAME', 'default')``). Two differences, both on
purpose: a variable that is not set is a mistake with a line, where Dagster would write nothing; and a rendered value is
text, converted where a number is wanted, so that a list id of digits stays what it is.

The templates of a mapping are not rendered here: they are about a member's row (``model.row_templates``), and know no ``env``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from audience_syncs.project.problems import YamlPath
from audience_syncs.project.yaml_documents import Document

if TYPE_CHECKING:
    import jinja2

    from audience_syncs.project.problems import Problem

_MARKS = re.compile(r"\{\{|\{%|\{#")


class _VariableMissing(Exception):
    """Internal: carried out of Jinja, which knows nothing of our problems."""


class _Env:
    """What ``env`` is inside a template."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.__environ = environ

    def __getattr__(self, name: str) -> str:
        # Jinja probes every object for attributes of its own.
        if name.startswith(("jinja", "_", "unsafe_callable", "alters_data")):
            raise AttributeError(name)
        return self(name)

    def __call__(self, name: str, default: str | None = None) -> str:
        value = self.__environ.get(name, default)
        if value is None:
            raise _VariableMissing(name)
        return value


def render(document: Document, environ: Mapping[str, str]) -> tuple[Any, list[Problem]]:
    """The document's value with its templates rendered, and a problem for each that cannot be.

    A value that cannot be rendered stays as it was written.
    """
    problems: list[Problem] = []

    def rendered(value: Any, path: YamlPath) -> Any:
        if isinstance(value, str):
            if _is_about_rows(path):
                return value
            return text(value, path) if _MARKS.search(value) else value
        if isinstance(value, list):
            return [rendered(item, (*path, i)) for i, item in enumerate(value)]
        if isinstance(value, dict):
            return {key: rendered(item, (*path, key)) for key, item in value.items()}
        return value

    def text(value: str, path: YamlPath) -> str:
        import jinja2

        try:
            return _environment().from_string(value).render(env=_Env(environ))
        except _VariableMissing as missing:
            message = f"the environment variable {missing} is not set"
            remedy = f"set {missing}, or give a default: {{{{ env('{missing}', 'a default') }}}}"
        except jinja2.UndefinedError as error:
            message = f"the template cannot be rendered: {error.message}"
            remedy = "templates know `env` only: {{ env.NAME }}"
        except jinja2.TemplateSyntaxError as error:
            message = f"the template cannot be read: {error.message}"
            remedy = (
                "write {{ env.NAME }}; braces that are not meant as a template go between {% raw %} and {% endraw %}"
            )
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
            message = f"the template cannot be rendered: {type(error).__name__}"
            remedy = "templates know {{ env.NAME }} and {{ env('NAME', 'a default') }}"
        problems.append(document.problem(path, message, remedy))
        return value

    return rendered(document.value, ()), problems


def _is_about_rows(path: YamlPath) -> bool:
    """Whether a value is the ``template`` of a mapped field: ``mapping``, field, then ``object`` and a name as often as there are
    objects in objects."""
    if path[-1:] != ("template",) or "mapping" not in path:
        return False
    rest = path[path.index("mapping") + 1 :]
    while len(rest) > 2 and rest[1] == "object":
        rest = rest[2:]
    return len(rest) == 2


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    import jinja2
    import jinja2.sandbox

    return jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
