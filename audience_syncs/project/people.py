"""What is wrong with whom an audience chooses: its filter, the audiences it names, its members' columns and groups."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from audience_syncs.model.config import AudienceConfig, DestinationConfig
from audience_syncs.model.filters import Condition
from audience_syncs.model.schema import Schema
from audience_syncs.project.audience_references import check_other_audiences
from audience_syncs.project.filters import check_filter
from audience_syncs.project.members import check_members
from audience_syncs.project.problems import Problem
from audience_syncs.project.yaml_documents import Document

_CONDITION: TypeAdapter[Any] = TypeAdapter(Condition)


def check_people(
    document: Document,
    attributes: Mapping[str, Any],
    audience: AudienceConfig | None,
    schema: Schema,
    destinations: Mapping[str, DestinationConfig],
    named: Mapping[str, Collection[str]],
) -> Iterator[Problem]:
    """All that is wrong with one audience's people beyond its fields' types; also of one (None) that has mistakes of other
    kinds. ``named``: kind -> names of all there are, also of those with mistakes."""
    name, model_name = attributes.get("name"), attributes.get("model")
    model = schema.models.get(model_name) if isinstance(model_name, str) else None
    if model_name is None and name in named["Model"]:
        message = f"there is a model `{name}`, and columns are recorded by name"
        yield document.problem(("attributes", "name"), message, "give the audience another name")
    if model_name is not None and model is None:
        return  # reported with the model
    condition = audience.filter if audience is not None else _readable(attributes.get("filter"))
    if model is not None and condition is not None:
        yield from check_filter(document, ("attributes", "filter"), condition, model, schema)
        yield from check_other_audiences(document, str(name), model.name, condition, schema, named["Audience"])
    if audience is not None:
        yield from check_members(document, attributes, audience, schema, destinations)


def _readable(written: Any) -> Any:
    """The filter, where it is one; None where it has mistakes of its own, which are reported with the audience's."""
    if written is None:
        return None
    try:
        return _CONDITION.validate_python(written)
    except ValidationError:
        return None
