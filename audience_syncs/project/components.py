"""Which components there are, and the model of each: what may stand under ``type`` in a ``defs.yaml`` of ours."""

from __future__ import annotations

from collections.abc import Mapping

from audience_syncs.model.admission import PriorityConfig
from audience_syncs.model.alerts import AlertsConfig
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SourceConfig
from audience_syncs.model.schema import ModelConfig
from audience_syncs.model.sequences import SequenceConfig
from audience_syncs.model.templates import SyncTemplateConfig
from audience_syncs.project.yaml_documents import Document

COMPONENTS = "audience_syncs.components"

Definition = (
    SourceConfig
    | DestinationConfig
    | ModelConfig
    | SyncTemplateConfig
    | AudienceConfig
    | PriorityConfig
    | SequenceConfig
    | AlertsConfig
)

MODELS: Mapping[str, type[Definition]] = {
    "Source": SourceConfig,
    "Destination": DestinationConfig,
    "Model": ModelConfig,
    "SyncTemplate": SyncTemplateConfig,
    "Audience": AudienceConfig,
    "Priority": PriorityConfig,
    "Sequence": SequenceConfig,
    "Alerts": AlertsConfig,
}
"""Component name -> the model of its attributes; what others refer to goes before them."""


def component_name(document: Document) -> str | None:
    """``Audience`` for a document of ours (whether or not there is such a component), None for anything else's."""
    kind = document.value.get("type") if isinstance(document.value, dict) else None
    if isinstance(kind, str) and kind.startswith(f"{COMPONENTS}."):
        return kind.removeprefix(f"{COMPONENTS}.")
    return None


def in_words(kind: str) -> str:
    """A component's name within a sentence."""
    return "sync template" if kind == "SyncTemplate" else kind.lower()
