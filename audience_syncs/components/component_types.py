"""The component types that stand in ``defs.yaml``.

Reading and checking is ``audience_syncs.project``'s work, the same for Dagster, the terminal and the editor; a
component only takes its definition from there. A project with mistakes is refused as a whole, with all of them.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Self

import dagster as dg
from dagster import ComponentLoadContext
from dagster.components.component.component import ComponentTypeSpec
from dagster.components.core.decl import YamlDecl
from pydantic import BaseModel, ConfigDict, ValidationError

from audience_syncs.components.audience_assets import build_audience
from audience_syncs.components.health_sensor import build_overview
from audience_syncs.components.loading import project_of
from audience_syncs.components.scaffolders import add_scaffolders
from audience_syncs.components.sequence_jobs import Step, build_sequence
from audience_syncs.components.sync_assets import build_sync
from audience_syncs.components.sync_checks import identifier_columns
from audience_syncs.components.sync_run import Evaluated
from audience_syncs.model.admission import PriorityConfig
from audience_syncs.model.alerts import AlertsConfig
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SourceConfig, SyncConfig
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.schema import ModelConfig
from audience_syncs.model.sequences import SequenceConfig
from audience_syncs.model.templates import SyncTemplateConfig
from audience_syncs.project import MODELS, Project
from audience_syncs.project.components import Definition
from audience_syncs.project.schemas import attributes_schema


class _Attributes(BaseModel):
    """What stands under ``attributes``, unread. Its JSON schema is the model's, for ``dg check yaml``."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def component(cls) -> str:
        return cls.__name__.removeprefix("_").removesuffix("Attributes")

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return _schema(cls.component())


class _SourceAttributes(_Attributes):
    pass


class _DestinationAttributes(_Attributes):
    pass


class _ModelAttributes(_Attributes):
    pass


class _SyncTemplateAttributes(_Attributes):
    pass


class _AudienceAttributes(_Attributes):
    pass


class _PriorityAttributes(_Attributes):
    pass


class _SequenceAttributes(_Attributes):
    pass


class _AlertsAttributes(_Attributes):
    pass


@lru_cache(maxsize=len(MODELS))
def _schema(component: str) -> dict[str, Any]:
    return attributes_schema(component)


class Source(dg.Component):
    """A connection to your warehouse: where audiences are evaluated and where the state is kept."""

    def __init__(self, config: SourceConfig, project: Project | None = None) -> None:
        self.config = config
        self.project = project

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _SourceAttributes

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        return ComponentTypeSpec(
            description=cls.__doc__,
            tags=["audience-syncs", "warehouse"],
            produces=["asset", "asset_check", "sensor"],
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: ComponentLoadContext) -> Self:
        config, project = _definition("Source", attributes, context)
        assert isinstance(config, SourceConfig)
        return cls(config, project)

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        # Audiences name it; by itself it is nothing Dagster runs. With the first comes what there is once for all syncs:
        # so it is there whoever loads the folder, also in a project where we are guests.
        if self.project is not None and next(iter(self.project.sources), None) == self.config.name:
            return build_overview(self.project)
        return dg.Definitions()


class Destination(dg.Component):
    """An account on a platform (Meta, HubSpot): its settings, and the environment variables of its credentials."""

    def __init__(self, config: DestinationConfig) -> None:
        self.config = config

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _DestinationAttributes

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        return ComponentTypeSpec(description=cls.__doc__, tags=["audience-syncs", "destination"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: ComponentLoadContext) -> Self:
        config, _ = _definition("Destination", attributes, context)
        assert isinstance(config, DestinationConfig)
        return cls(config)

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        # Syncs name it; by itself it is nothing Dagster runs.
        return dg.Definitions()


class Model(dg.Component):
    """People of your warehouse, with what is related to them, their events and traits: what audiences filter."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _ModelAttributes

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        return ComponentTypeSpec(description=cls.__doc__, tags=["audience-syncs", "model"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: ComponentLoadContext) -> Self:
        config, _ = _definition("Model", attributes, context)
        assert isinstance(config, ModelConfig)
        return cls(config)

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        # Audiences name it; by itself it is nothing Dagster runs.
        return dg.Definitions()


class SyncTemplate(dg.Component):
    """Parts of a sync (destination, mapping, schedule, guard, ...) that several syncs start from."""

    def __init__(self, config: SyncTemplateConfig) -> None:
        self.config = config

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _SyncTemplateAttributes

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        return ComponentTypeSpec(description=cls.__doc__, tags=["audience-syncs", "sync"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: ComponentLoadContext) -> Self:
        config, _ = _definition("SyncTemplate", attributes, context)
        assert isinstance(config, SyncTemplateConfig)
        return cls(config)

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        # Syncs start from it; by itself it is nothing Dagster runs.
        return dg.Definitions()


class Audience(dg.Component):
    """A saved set of people, one row per member of a query, and its syncs: each into one list of one destination."""

    def __init__(self, config: AudienceConfig, project: Project) -> None:
        self.config = config
        self.project = project

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _AudienceAttributes

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        return ComponentTypeSpec(
            description=cls.__doc__,
            tags=["audience-syncs", "audience"],
            produces=["asset", "asset_check", "job", "schedule", "sensor"],
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: ComponentLoadContext) -> Self:
        config, project = _definition("Audience", attributes, context)
        assert isinstance(config, AudienceConfig)
        return cls(config, project)

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        audience = self.config
        source = self.project.sources.get(audience.source)
        if source is None:
            raise DefinitionError(
                f"there is no source {audience.source!r}",
                where=f"audience {audience.name}",
                remedy="load the audience with its source, from one folder of definitions",
            )
        identifiers = identifier_columns(audience, self.project.destinations)
        built = build_audience(audience, source, identifiers)
        assets: list[dg.AssetsDefinition] = [built.asset]
        jobs = [built.job]
        checks: list[dg.AssetChecksDefinition] = []
        schedules: list[dg.ScheduleDefinition] = []
        sensors: list[dg.SensorDefinition] = []
        for sync in audience.syncs:
            destination = self.project.destinations[sync.destination]
            first = _first(sync, self.project)
            delivered = build_sync(audience, sync, source, destination, identifiers, first)
            assets.append(delivered.asset)
            checks += delivered.checks
            jobs.append(delivered.job)
            if isinstance(delivered.trigger, dg.ScheduleDefinition):
                schedules.append(delivered.trigger)
            elif delivered.trigger is not None:
                sensors.append(delivered.trigger)
        return dg.Definitions(assets=assets, asset_checks=checks, jobs=jobs, schedules=schedules, sensors=sensors)


class Priority(dg.Component):
    """Audiences in the order of their importance: who is in several of them is sent only for the first."""

    def __init__(self, config: PriorityConfig) -> None:
        self.config = config

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _PriorityAttributes

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        return ComponentTypeSpec(description=cls.__doc__, tags=["audience-syncs", "audience"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: ComponentLoadContext) -> Self:
        config, _ = _definition("Priority", attributes, context)
        assert isinstance(config, PriorityConfig)
        return cls(config)

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        # The syncs of its audiences go by it; by itself it is nothing Dagster runs.
        return dg.Definitions()


class Sequence(dg.Component):
    """Syncs that run one after the other, with a schedule of their own."""

    def __init__(self, config: SequenceConfig, project: Project) -> None:
        self.config = config
        self.project = project

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _SequenceAttributes

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        return ComponentTypeSpec(
            description=cls.__doc__, tags=["audience-syncs", "sequence"], produces=["job", "schedule", "sensor"]
        )

    @classmethod
    def load(cls, attributes: BaseModel | None, context: ComponentLoadContext) -> Self:
        config, project = _definition("Sequence", attributes, context)
        assert isinstance(config, SequenceConfig)
        return cls(config, project)

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        built = build_sequence(self.config, [self._step(step) for step in self.config.steps])
        trigger = built.trigger
        return dg.Definitions(
            jobs=[built.job],
            schedules=[trigger] if isinstance(trigger, dg.ScheduleDefinition) else [],
            sensors=[trigger] if isinstance(trigger, dg.SensorDefinition) else [],
        )

    def _step(self, name: str) -> Step:
        audience_name, _, key = name.partition("/")
        audience = self.project.audiences.get(audience_name)
        if audience is None:
            raise DefinitionError(
                f"there is no sync {name!r}",
                where=f"sequence {self.config.name}",
                remedy="load the sequence with its syncs, from one folder of definitions",
            )
        sync = audience.sync(key)
        return Step(
            audience,
            sync,
            self.project.sources[audience.source],
            self.project.destinations[sync.destination],
            identifier_columns(audience, self.project.destinations),
            _first(sync, self.project),
        )


class Alerts(dg.Component):
    """Who is told when a sync is in trouble, and from which limits on: for all syncs of the project."""

    def __init__(self, config: AlertsConfig) -> None:
        self.config = config

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return _AlertsAttributes

    @classmethod
    def get_spec(cls) -> ComponentTypeSpec:
        return ComponentTypeSpec(description=cls.__doc__, tags=["audience-syncs", "alerts"])

    @classmethod
    def load(cls, attributes: BaseModel | None, context: ComponentLoadContext) -> Self:
        config, _ = _definition("Alerts", attributes, context)
        assert isinstance(config, AlertsConfig)
        return cls(config)

    def build_defs(self, context: ComponentLoadContext) -> dg.Definitions:
        # The sensor `sync_health` goes by it; by itself it is nothing Dagster runs.
        return dg.Definitions()


def _first(sync: SyncConfig, project: Project) -> list[Evaluated]:
    """The audiences that go before the sync's own, which its runs evaluate first."""
    audiences = [project.audiences[name] for name in sync.admission.before]
    return [Evaluated(audience, identifier_columns(audience, project.destinations)) for audience in audiences]


def _definition(kind: str, attributes: BaseModel | None, context: ComponentLoadContext) -> tuple[Definition, Project]:
    """The definition of the component that is being loaded, and the project it belongs to."""
    if isinstance(context.component_decl, YamlDecl):
        project = project_of(context.component_tree).require_sound()
        place = context.component_path
        found = project.files.get((place.file_path, int(place.instance_key or 0)))
        if found is not None:
            return found.config, project
    # Made from Python, outside a folder of definitions (``from_attributes_dict`` in a notebook or a test).
    try:
        written = (attributes.model_extra or {}) if attributes is not None else {}
        return MODELS[kind].model_validate(written), Project()
    except ValidationError as error:
        # With include_input=False: a value may be a secret.
        lines = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors(include_input=False)]
        raise DefinitionError(
            f"these attributes make no {kind.lower()}: {'; '.join(lines)}", remedy="correct the attributes"
        ) from None


add_scaffolders(globals())
