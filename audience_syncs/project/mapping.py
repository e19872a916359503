"""The kinds of an audience's columns, as far as they are recorded: what its mappings are checked against."""

from __future__ import annotations

from collections.abc import Sequence

from audience_syncs.model.kinds import Kind, kind_of
from audience_syncs.model.schema import Aggregation, ModelConfig, Schema, Trait


def kinds_of(
    schema: Schema, *, audience: str, model: str | None, columns: Sequence[str] | None = None
) -> dict[str, Kind]:
    """Column -> kind. Of an audience with SQL, the columns recorded under its name; of one with a model, the model's and
    its traits, or those of them that it chooses. Nothing where nothing is recorded."""
    recorded = schema.columns.get(audience if model is None else model, {})
    found = {name: kind_of(type_name) for name, type_name in recorded.items()}
    parent = schema.models.get(model) if model is not None else None
    if parent is None or not recorded:
        return found
    for name, trait in parent.traits.items():
        found[name] = _kind_of_trait(trait, parent, schema)
    if columns is not None:
        found = {name: kind for name, kind in found.items() if name in columns or name == parent.primary_key}
    return found


def _kind_of_trait(trait: Trait, model: ModelConfig, schema: Schema) -> Kind:
    if trait.take in (Aggregation.COUNT, Aggregation.COUNT_DISTINCT):
        return Kind.INTEGER
    if trait.take in (Aggregation.AVG, Aggregation.SUM):
        return Kind.NUMBER
    return schema.kind(f"{model.name}.{trait.of}", trait.column or "") or Kind.OTHER
