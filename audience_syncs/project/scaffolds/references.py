"""Names of others in a new definition: the one that was asked for, or the only one there is."""

from __future__ import annotations

from collections.abc import Collection

from audience_syncs.model.errors import DefinitionError
from audience_syncs.project.problems import choose_from


def chosen(what: str, given: str | None, known: Collection[str], option: str) -> str:
    """The name of a source, a model, ...: the given one, or the only one. DefinitionError, with the nearest names, otherwise."""
    names = sorted(known)
    make_one = f"make one first: `audience-syncs new {what} NAME`"
    if given is not None:
        if given not in known:
            raise DefinitionError(f"there is no {what} `{given}`", remedy=choose_from(given, names, none=make_one))
        return given
    if len(names) == 1:
        return names[0]
    if not names:
        raise DefinitionError(f"there is no {what} yet", remedy=make_one)
    listed = ", ".join(f"`{name}`" for name in names[:20])
    raise DefinitionError(
        f"there are {len(names)} of them, so which {what} is meant must be said",
        remedy=f"name it with {option}: {listed}",
    )
