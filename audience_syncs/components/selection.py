"""What a job runs, said exactly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import dagster as dg
from dagster._core.definitions.assets.graph.base_asset_graph import BaseAssetGraph


@dataclass(frozen=True)
class OneAsset(dg.AssetSelection):
    """One asset with the checks that its own run answers, and no others.

    Dagster's own selections find an asset's checks by looking at all checks there are, once for each job: with 1,000
    syncs that took most of the time of loading. And they would take the checks that others answer into the job.
    """

    key: dg.AssetKey
    own_checks: frozenset[dg.AssetCheckKey]

    @classmethod
    def of(cls, definition: dg.AssetsDefinition) -> OneAsset:
        """The asset that this makes, with the checks made with it."""
        return cls(definition.key, frozenset(definition.check_keys))

    def resolve_inner(self, asset_graph: BaseAssetGraph[Any], allow_missing: bool) -> set[dg.AssetKey]:
        return {self.key}

    def resolve_checks_inner(self, asset_graph: BaseAssetGraph[Any], allow_missing: bool) -> set[dg.AssetCheckKey]:
        return set(self.own_checks)

    def to_serializable_asset_selection(self, asset_graph: BaseAssetGraph[Any]) -> dg.AssetSelection:
        return dg.AssetSelection.assets(self.key).without_checks() | dg.AssetSelection.checks(*self.own_checks)
