"""Reads the user's YAML into the model: every source, destination, audience and sequence below a folder, with every mistake.

The files are Dagster component files (``defs.yaml``), and folders are walked as Dagster walks them; but nothing here
needs Dagster, so that the terminal, the editor's check and Dagster itself read the same thing in the same way.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from audience_syncs.model.admission import PriorityConfig
from audience_syncs.model.alerts import AlertsConfig
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SourceConfig, sync_id
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.schema import ModelConfig, RecordedColumns, Schema
from audience_syncs.model.sequences import SequenceConfig
from audience_syncs.model.templates import SyncTemplateConfig
from audience_syncs.project.dg_projects import dg_defs_dir
from audience_syncs.project.files import definition_files
from audience_syncs.project.inheritance import from_model, inherited
from audience_syncs.project.origins import SyncOrigins, told_once
from audience_syncs.project.problems import Problem, refusal, shown_path
from audience_syncs.project.reading import Located, Reading
from audience_syncs.project.references import check_references

DEFS_VARIABLE = "AUDIENCE_SYNCS_DEFS"


@dataclass(frozen=True)
class Project:
    """Everything that is defined below one folder. What has problems is missing from the dictionaries."""

    sources: dict[str, SourceConfig] = field(default_factory=dict)
    destinations: dict[str, DestinationConfig] = field(default_factory=dict)
    models: dict[str, ModelConfig] = field(default_factory=dict)
    templates: dict[str, SyncTemplateConfig] = field(default_factory=dict)
    audiences: dict[str, AudienceConfig] = field(default_factory=dict)
    priorities: dict[str, PriorityConfig] = field(default_factory=dict)
    columns: RecordedColumns = field(default_factory=dict, repr=False)
    sequences: dict[str, SequenceConfig] = field(default_factory=dict)
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    """What is right and may surprise; it stops nothing."""
    files: dict[tuple[Path, int], Located] = field(default_factory=dict, repr=False)
    """By folder and number of the document in its ``defs.yaml``, as Dagster names a component's place."""
    origins: dict[str, SyncOrigins] = field(default_factory=dict, repr=False)
    """Sync -> where each of its values was written."""

    @cached_property
    def sequences_of(self) -> Mapping[str, Sequence[SequenceConfig]]:
        """Sync -> the sequences it is a step of."""
        found: dict[str, list[SequenceConfig]] = {}
        for sequence in self.sequences.values():
            for step in sequence.steps:
                found.setdefault(step, []).append(sequence)
        return found

    def require_sound(self) -> Project:
        """Itself; raises DefinitionError with all problems if there are any."""
        if self.problems:
            raise refusal(self.problems)
        return self

    def sync_ids(self, source: str) -> list[str]:
        """The syncs of the audiences of that source, in the order of their definitions."""
        return [
            sync_id(audience, sync)
            for audience in self.audiences.values()
            if audience.source == source
            for sync in audience.syncs
        ]


def default_defs_dir() -> Path:
    """The folder of definitions that commands in a terminal mean: ``AUDIENCE_SYNCS_DEFS`` where it is set, else that of the
    dg project in whose folder they are given, else the package's ``defs/``."""
    if not os.environ.get(DEFS_VARIABLE, "").strip():
        found = dg_defs_dir(Path.cwd())
        if found is not None:
            return found
    return configured_defs_dir()


def configured_defs_dir(environ: Mapping[str, str] | None = None) -> Path:
    """The folder of definitions whatever the working directory is: ``AUDIENCE_SYNCS_DEFS`` where it is set, else the
    package's ``defs/``."""
    chosen = (os.environ if environ is None else environ).get(DEFS_VARIABLE, "").strip()
    if chosen:
        return Path(chosen).expanduser().absolute()
    return Path(__file__).absolute().parent.parent / "defs"


def load_project(defs_dir: Path, environ: Mapping[str, str] | None = None, *, with_columns: bool = True) -> Project:
    """Reads all definitions below a folder. ``with_columns=False``: what is only wrong by the recorded columns is no problem,
    as for those who are about to record them.

    Never raises for a mistake in YAML: mistakes are ``problems``, in the order of files and lines. Raises
    DefinitionError when the folder itself is not there.
    """
    if not defs_dir.is_dir():
        raise DefinitionError(
            f"there is no folder {shown_path(defs_dir)}",
            remedy=f"set {DEFS_VARIABLE} to the folder with your definitions, or leave it unset for the project's own",
        )
    reading = Reading(os.environ if environ is None else environ, with_columns=with_columns)
    for file in definition_files(defs_dir, reading.problems):
        reading.read(file)
    reading.build()
    check_references(reading)
    _inherit(reading)
    reading.problems = sorted(told_once(reading.problems, reading.of_templates, reading.merged, reading.templates))
    return Project(
        sources=reading.sources,
        destinations=reading.destinations,
        models=reading.models,
        templates=reading.templates,
        audiences=reading.audiences,
        priorities=reading.priorities,
        columns=reading.columns,
        sequences=reading.sequences,
        alerts=reading.alerts,
        problems=reading.problems,
        notes=reading.notes,
        files=reading.files,
        origins={
            name: origins for name, origins in reading.origins.items() if name.partition("/")[0] in reading.audiences
        },
    )


def check_project(path: Path, environ: Mapping[str, str] | None = None) -> list[Problem]:
    """All problems of the definitions below a folder, in the order of files and lines."""
    return load_project(path, environ).problems


def _inherit(reading: Reading) -> None:
    """Gives each audience what it takes from its model, and each sync what it takes from its audience, its destination
    and the project."""
    schema = Schema(reading.models, reading.columns, reading.audiences)
    for name, audience in reading.audiences.items():
        chosen = from_model(audience, schema)
        reading.audiences[name] = inherited(chosen, reading.destinations, reading.alerts, reading.priorities.values())
    for place, located in reading.files.items():
        if isinstance(located.config, AudienceConfig):
            reading.files[place] = replace(located, config=reading.audiences[located.config.name])
