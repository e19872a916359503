"""Sync templates: any part of a sync, for several syncs to start from.

The model is made from ``SyncConfig``'s own fields: whatever a sync can say, a template can say, without anybody having to
remember it. Nothing is required here, as a template need not be whole; what it lacks is missed in the syncs that use it.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo

from audience_syncs.model.config import SyncConfig
from audience_syncs.model.names import Name
from audience_syncs.model.strict import Config

NOT_SHARED = ("templates", "name", "description")
"""What belongs to one sync: a template has a name and a description of its own, and starts from no other."""

PARTS: tuple[str, ...] = tuple(name for name in SyncConfig.model_fields if name not in NOT_SHARED)
"""What a template may give to its syncs."""


def _is_section(annotation: Any) -> bool:
    """Whether values of this type are keys and values of one kind only, so that two of them can be put together."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _is_section(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        branches = [branch for branch in get_args(annotation) if branch is not type(None)]
        return len(branches) == 1 and _is_section(branches[0])
    return origin is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel))


SECTIONS = frozenset(name for name in PARTS if _is_section(SyncConfig.model_fields[name].annotation))
"""Parts that are merged key by key (`mapping`, `guard`, `list`, ...); every other is replaced as a whole."""

ALTERNATIVES: Mapping[tuple[str, ...], tuple[str, ...]] = {
    ("list", "name"): ("list", "id"),
    ("list", "id"): ("list", "name"),
}
"""Of these a list has one: giving the one takes the other away."""

LATER_THAN_MODE = "removal"
"""What a template says about it was meant for the mode it was written with."""


class _Template(Config):
    """Parts of a sync that several syncs start from."""

    name: Name
    description: str = Field(default="", description="Of the template itself; syncs do not take it over.")
    locked: list[str] = Field(
        default_factory=list,
        description="What its syncs may not change: parts, or single keys of one: `[destination, guard, mapping.EMAIL]`.",
    )


if TYPE_CHECKING:

    class SyncTemplateConfig(_Template):
        """Parts of a sync that several syncs start from."""
else:

    def _optional(info: FieldInfo) -> tuple[Any, FieldInfo]:
        # The default is never taken over: it only says that nothing was written.
        field = Field(
            default=None,
            description=info.description,
            json_schema_extra=lambda schema: schema.pop("default", None),
        )
        annotation = info.annotation
        return (Annotated[(annotation, *info.metadata)] if info.metadata else annotation), field

    SyncTemplateConfig = create_model(
        "SyncTemplateConfig",
        __base__=_Template,
        __module__=__name__,
        __doc__=_Template.__doc__,
        **{name: _optional(SyncConfig.model_fields[name]) for name in PARTS},
    )
