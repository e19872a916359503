"""The columns that definitions may name: of people, of their rows, of an audience's members, as the record knows them.

Where nothing is recorded, nothing is known to be wrong: who asks for a column then gets no answer, and no problem.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.kinds import Kind, kind_of
from audience_syncs.model.schema import Aggregation, ModelConfig, Schema, Trait
from audience_syncs.project.problems import Problem, YamlPath, choose_from
from audience_syncs.project.yaml_documents import Document

_WORDS = {
    Kind.TEXT: "text",
    Kind.INTEGER: "a whole number",
    Kind.NUMBER: "a number",
    Kind.BOOLEAN: "true or false",
    Kind.DATE: "a date",
    Kind.TIMESTAMP: "a time",
    Kind.INSTANT: "a time",
    Kind.ARRAY: "a list",
}


@dataclass(frozen=True, slots=True)
class Part:
    """The columns of one table or query: name -> the warehouse's name of its type."""

    what: str
    """Whose columns they are, in words: ``the people of `customers```."""
    columns: Mapping[str, str]

    def kind(self, column: str) -> Kind | None:
        """None where there is no such column, or nothing is known."""
        type_name = self.columns.get(column)
        return None if type_name is None else kind_of(type_name)

    def words(self, column: str) -> str:
        """What a column holds: ``a number (numeric(10, 2))``."""
        type_name = self.columns[column]
        words = _WORDS.get(kind_of(type_name))
        return f"of the type {type_name}" if words is None else f"{words} ({type_name})"

    def missing(
        self, document: Document, path: YamlPath, column: str, *, of_key: bool = False, hint: str = ""
    ) -> Iterator[Problem]:
        """The problem that there is no such column; ``hint``: a remedy instead of the nearest names."""
        if self.columns and column not in self.columns:
            remedy = hint or choose_from(column, list(self.columns), none="")
            yield document.problem(path, f"{self.what} have no column `{column}`", remedy, of_key=of_key)


def people(model: ModelConfig, schema: Schema) -> Part:
    """The columns of a model's people."""
    return Part(f"the people of `{model.name}`", schema.columns.get(model.name, {}))


def rows(model: ModelConfig, name: str, schema: Schema, *, through: bool = False) -> Part:
    """The columns of its related rows or events of that name, or of the table in between."""
    if through:
        return Part(f"the rows between people and `{name}`", schema.columns.get(f"{model.name}.{name}.through", {}))
    return Part(f"the rows of `{name}`", schema.columns.get(f"{model.name}.{name}", {}))


def trait_part(model: ModelConfig, schema: Schema) -> Part:
    """The traits of a model's people, as far as it is known what they hold."""
    found = {name: _trait_type(model, trait, schema) for name, trait in model.traits.items()}
    known = {name: type_name for name, type_name in found.items() if type_name is not None}
    return Part(f"the people of `{model.name}`", known)


def _trait_type(model: ModelConfig, trait: Trait, schema: Schema) -> str | None:
    if trait.take in (Aggregation.COUNT, Aggregation.COUNT_DISTINCT):
        return "bigint"
    type_name = rows(model, trait.of, schema).columns.get(trait.column or "")
    return "numeric" if trait.take is Aggregation.AVG and type_name is not None else type_name


def members(audience: AudienceConfig, schema: Schema) -> Part:
    """The columns of an audience's members; none where they are not known."""
    what = f"the members of `{audience.name}`"
    model = schema.models.get(audience.model or "")
    if model is None:
        return Part(what, schema.columns.get(audience.name, {}) if audience.sql is not None else {})
    own = people(model, schema).columns
    if audience.columns is None or not own:
        return Part(what, own)
    available = {**own, **trait_part(model, schema).columns}
    chosen = [model.primary_key, *audience.columns]
    if any(name not in available for name in chosen):
        return Part(what, {})  # reported where they are chosen
    return Part(what, {name: available[name] for name in chosen})
