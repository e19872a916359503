"""Their models: those of SQL or a table become audiences, parent models become models."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from audience_syncs.imports.hightouch.export import Resource

_LIQUID = re.compile(r"\{\{|\{%")
_TABLE = re.compile(r"[\w$]+(\.[\w$]+){0,3}|([`\"\[][^`\"\]]+[`\"\]])(\.[`\"\[][^`\"\]]+[`\"\]]){0,3}")


@dataclass(frozen=True)
class People:
    """Who is meant by one of their models."""

    resource: Resource
    title: str
    description: str
    source: str | None
    """Slug of the source, where it is told."""
    primary_key: str
    sql: str | None
    table: str | None
    is_parent: bool
    label: str | None


def people_of(model: Resource) -> People | None:
    """Who a model is of; None where it cannot be said here, which is noted."""
    value = model.value
    kind = str(model.get("type") or model.get("queryType") or "").lower()
    if kind in ("visual", "audience") or any(isinstance(value.get(key), (dict, list)) for key in ("filter", "visual")):
        model.refuse("made in the audience builder: write it with `model` and `filter`, docs/audiences.md")
        return None
    for key in ("type", "queryType"):
        model.take(key)
    sql, table = _sql(model), None
    if sql is None:
        table = _table(model)
    primary_key = model.text("primaryKey", "primary_key", ("config", "primaryKey"))
    objection = None
    if sql is None and table is None:
        objection = "it has neither SQL nor the name of a table"
    elif sql is not None and _LIQUID.search(sql):
        objection = "its SQL has a Liquid template, which only Hightouch can fill in"
    elif primary_key is None:
        objection = "it has no primary key"
    if objection is not None:
        model.refuse(objection)
        return None
    assert primary_key is not None
    slug_name = model.slug.rpartition("/")[2]
    name = model.text("name") or slug_name
    description = model.text("description") or ""
    model.text("slug")
    source = model.text("source", "sourceSlug", ("source", "slug"))
    is_parent = model.take("isSchema") is True or model.take("is_schema") is True
    label = model.text("primaryLabel", "primary_label") if is_parent else None
    return People(model, name, description, source, primary_key, sql, table, is_parent, label)


def audience_attributes(people: People, name: str, source: str) -> dict[str, Any]:
    """The audience, still without syncs."""
    found: dict[str, Any] = {"name": name, "title": people.title[:120]}
    if people.description:
        found["description"] = people.description
    found |= {"source": source, "primary_key": people.primary_key}
    return {**found, "sql": people.sql or f"SELECT * FROM {people.table}"}


def model_attributes(people: People, name: str, source: str) -> dict[str, Any]:
    """The model behind a parent model."""
    found: dict[str, Any] = {"name": name, "source": source, "title": people.title[:120]}
    if people.description:
        found["description"] = people.description
    found |= {"table": people.table} if people.table is not None else {"sql": people.sql}
    found["primary_key"] = people.primary_key
    return found | ({"label": people.label} if people.label else {})


def _sql(model: Resource) -> str | None:
    sql = model.text(
        *("sql", "querySql", "rawSql", "compiledSql"),
        *(("query", "sql"), ("raw", "sql"), ("config", "sql"), ("dbt", "compiledSql"), ("dbt", "compiled_sql")),
    )
    if sql is None:
        sql = model.text("query")
    if sql is None:
        return None
    sql = sql.strip().rstrip(";").strip()
    return sql or None


def _table(model: Resource) -> str | None:
    """A table or view. Of a dbt model, the relation where it is told, else only its name."""
    relation = model.text(
        *("table", "tableName", "relation", "dbtModelRelation", ("dbtModelRelation", "relation")),
        *(("table", "name"), ("dbt", "relation"), ("config", "table")),
    )
    if relation is None:
        for key in ("dbtModelRelation", "dbt", "table"):
            parts = [model.text((key, part)) for part in ("database", "schema", "name")]
            if parts[-1]:
                relation = ".".join(part for part in parts if part)
                break
    if relation is None:
        unique_id = model.text("modelId", "dbtUniqueId", ("dbt", "dbtUniqueId"), ("dbt", "dbt_unique_id"))
        if unique_id is None:
            return None
        relation = unique_id.rpartition(".")[2]
        key = next(key for key in ("modelId", "dbtUniqueId", "dbt") if model.get(key) is not None)
        model.note(
            f"a dbt model, whose schema is not told: written as the table `{relation}`; add its schema",
            key,
            whole=False,
        )
    if not _TABLE.fullmatch(relation.strip()):
        return None
    return relation.strip()
