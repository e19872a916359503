"""Cases on which the compiler and the evaluator once differed, as YAML: small, and with the answer that is right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from audience_syncs.model.config import AudienceConfig
from audience_syncs.model.kinds import Kind, kind_of
from audience_syncs.model.schema import ModelConfig, Schema
from audience_syncs_tests.filter_cases import Case, resolved
from audience_syncs_tests.filter_data import Data, Table

FILE = Path(__file__).parent / "data" / "filter_cases.yaml"


@dataclass(frozen=True)
class Kept:
    why: str
    case: Case
    audience: AudienceConfig
    members: set[Any]


def _kept(found: dict[str, Any]) -> Kept:
    """Each has ``why``, ``now``, ``model`` (its name, source and tables are filled in), ``tables`` (part -> columns and
    rows), ``audience`` and its ``members``."""
    model = ModelConfig.model_validate(
        {"name": "people", "source": "warehouse", "table": "shop.people", **found["model"]}
    )
    tables = {
        part: Table(part.removeprefix("people.").replace(".", "_"), table["columns"], _rows(**table))
        for part, table in found["tables"].items()
    }
    audiences: dict[str, AudienceConfig] = {}
    models = {model.name: model}
    schema = Schema(models, {part: table.columns for part, table in tables.items()}, audiences)
    now = datetime.fromisoformat(found["now"]).astimezone(UTC)
    data = Data(now, model.timezone, (), (), schema, tables, found.get("keys", {}), models)
    for other in found.get("audiences", []):
        audiences[other["name"]] = resolved(other, data)
    audience = resolved({"name": "asked", "model": "people", **found["audience"]}, data)
    return Kept(found["why"], Case(data, [audience]), audience, set(found["members"]))


def _rows(columns: dict[str, str], rows: list[list[Any]]) -> list[tuple[Any, ...]]:
    kinds = [kind_of(name) for name in columns.values()]
    return [tuple(_value(value, kind) for value, kind in zip(row, kinds, strict=True)) for row in rows]


def _value(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind is Kind.DATE:
        return date.fromisoformat(value)
    if kind in (Kind.TIMESTAMP, Kind.INSTANT):
        return datetime.fromisoformat(value)
    return Decimal(str(value)) if kind is Kind.NUMBER else value


KEPT = [_kept(found) for found in yaml.safe_load(FILE.read_text(encoding="utf-8"))]
