"""Reads the user's YAML into the model: every source, destination, audience and sequence below a folder, with every mistake.

The files are Dagster component files (``defs.yaml``), and folders are walked as Dagster walks them; but nothing here
needs Dagster, so that the terminal, the editor's check and Dagster itself read the same thing in the same way.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from audience_syncs.model.admission import PriorityConfig
from audience_syncs.model.alerts import AlertsConfig
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SourceConfig, sync_id
from audience_syncs.model.errors import DefinitionError
from audience_syncs.model.kinds import Kind
from audience_syncs.model.schema import ModelConfig, RecordedColumns, Schema
from audience_syncs.model.sequences import SequenceConfig
from audience_syncs.model.templates import SyncTemplateConfig
from audience_syncs.project.audience_references import check_cycles, check_one_priority, check_priority
from audience_syncs.project.columns import recorded_columns
from audience_syncs.project.combine import check_template, combine, template_layer
from audience_syncs.project.dg_projects import dg_defs_dir
from audience_syncs.project.explain import explain
from audience_syncs.project.inheritance import from_model, inherited
from audience_syncs.project.mapping import kinds_of
from audience_syncs.project.members import check_exclusions, surprises
from audience_syncs.project.models import check_model
from audience_syncs.project.origins import Layer, MergedDocument, SyncOrigins, told_once
from audience_syncs.project.people import check_people
from audience_syncs.project.problems import Problem, choose_from, nearest, refusal, shown_path
from audience_syncs.project.rules import (
    check_audience,
    check_channels,
    check_destination,
    check_name,
    check_sequence,
    check_shared_lists,
    check_template_references,
)
from audience_syncs.project.templates import render
from audience_syncs.project.yaml_documents import Document, read_documents

COMPONENTS = "audience_syncs.components"
DEFS_VARIABLE = "AUDIENCE_SYNCS_DEFS"

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

_TYPE_OF_OTHERS = re.compile(rb"^[\"']?type[\"']?\s*:\s*[\"']?[A-Za-z_][\w.]*[\"']?\s*(#.*)?$", re.MULTILINE)
_FILE_KEYS = ("attributes", "post_processing", "requirements", "template_vars_module", "type")


@dataclass(frozen=True)
class Located:
    """A definition and where it stands."""

    kind: str
    config: Definition
    document: Document


@dataclass(frozen=True)
class _Written:
    """A definition as it was written, before it is made one."""

    kind: str
    document: Document
    attributes: dict[str, Any]
    unrendered: set[str]
    """Paths of templates that could not be rendered."""
    is_first: bool
    """Whether no other of its kind has its name."""


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
    reading = _Reading(os.environ if environ is None else environ, with_columns=with_columns)
    for file in definition_files(defs_dir, reading.problems):
        reading.read(file)
    reading.build()
    reading.check_references()
    reading.inherit()
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


def definition_files(folder: Path, problems: list[Problem]) -> Iterator[Path]:
    """The ``defs.yaml`` files below a folder, in Dagster's order.

    Dagster does not look below a folder that has one; files of ours there would silently be ignored, and are reported.
    """
    file = _file_in(folder)
    if file is not None:
        yield file
        if not _describes_folder(file):
            for hidden in _files_below(folder):
                if any(_component_name(document) in MODELS for document in read_documents(hidden)[0]):
                    message = f"this file is never read: the folder above it has {shown_path(file)}"
                    problems.append(Problem(hidden, 1, 1, "", message, "move this folder beside that one"))
            return
    for child in sorted(folder.iterdir()):
        if child.is_dir() and not child.name.startswith(".") and child.name != "__pycache__":
            yield from definition_files(child, problems)


def _files_below(folder: Path) -> Iterator[Path]:
    for child in sorted(folder.rglob("defs.y*ml")):
        if child.parent != folder and child.suffix in (".yaml", ".yml"):
            yield child


def _file_in(folder: Path) -> Path | None:
    return next((file for file in (folder / "defs.yaml", folder / "defs.yml") if file.is_file()), None)


def _is_of_others(file: Path) -> bool:
    """Whether a file defines only components of others, whose YAML may be written as we would not: it is theirs to read."""
    try:
        text = file.read_bytes()
    except OSError:
        return False  # reported where its definitions are read
    return b"audience_syncs" not in text and _TYPE_OF_OTHERS.search(text) is not None


def _describes_folder(file: Path) -> bool:
    # Nearly never; looking for the word first saves building every file twice.
    try:
        if b"DefsFolderComponent" not in file.read_bytes():
            return False
    except OSError:
        return False  # reported where its definitions are read
    documents, _ = read_documents(file)
    return any(
        isinstance(document.value, dict) and str(document.value.get("type", "")).endswith("DefsFolderComponent")
        for document in documents
    )


def _in_words(kind: str) -> str:
    return "sync template" if kind == "SyncTemplate" else kind.lower()


def _component_name(document: Document) -> str | None:
    """``Audience`` for a document of ours (whether or not there is such a component), None for anything else's."""
    kind = document.value.get("type") if isinstance(document.value, dict) else None
    if isinstance(kind, str) and kind.startswith(f"{COMPONENTS}."):
        return kind.removeprefix(f"{COMPONENTS}.")
    return None


class _Reading:
    """One pass over all files, then the questions between them."""

    def __init__(self, environ: Mapping[str, str], *, with_columns: bool) -> None:
        self.environ = environ
        self.with_columns = with_columns
        self.sources: dict[str, SourceConfig] = {}
        self.destinations: dict[str, DestinationConfig] = {}
        self.models: dict[str, ModelConfig] = {}
        self.templates: dict[str, SyncTemplateConfig] = {}
        self.layers: dict[str, Layer] = {}
        self.merged: list[MergedDocument] = []
        self.of_templates: set[Problem] = set()
        self.origins: dict[str, SyncOrigins] = {}
        self.audiences: dict[str, AudienceConfig] = {}
        self.priorities: dict[str, PriorityConfig] = {}
        self.columns: RecordedColumns = {}
        self.sequences: dict[str, SequenceConfig] = {}
        self.alerts = AlertsConfig()
        self.problems: list[Problem] = []
        self.notes: list[Problem] = []
        self.files: dict[tuple[Path, int], Located] = {}
        # Names of all that was found, also of what has mistakes: so that one mistake is not reported many times.
        self.named: dict[str, dict[str, Document]] = {kind: {} for kind in MODELS}
        self.written: list[_Written] = []
        self.found: list[tuple[str, Document, dict[str, Any], Definition | None]] = []

    def read(self, file: Path) -> None:
        if _is_of_others(file):
            return
        documents, problems = read_documents(file)
        self.problems += problems
        if not documents and not problems:
            self.problems.append(Problem(file, 1, 1, "", "the file is empty", "write a definition, or remove the file"))
        for document in documents:
            self.read_document(document)

    def read_document(self, document: Document) -> None:
        if not isinstance(document.value, dict):
            message = "the document is empty" if document.value is None else "the document is not a mapping"
            self.problems.append(document.problem((), message, "it needs `type` and `attributes`; or remove it"))
            return
        name = _component_name(document)
        if name is None:
            if not isinstance(document.value.get("type"), str):
                self.problems.append(
                    document.problem(
                        ("type",), "the key `type` is missing or not text", f"write e.g. `type: {COMPONENTS}.Audience`"
                    )
                )
            return
        if name not in MODELS:
            by_word = {known.lower(): known for known in MODELS}
            meant = nearest(name, by_word)
            known = ", ".join(f"{COMPONENTS}.{known}" for known in MODELS)
            remedy = f"did you mean `{COMPONENTS}.{by_word[meant]}`?" if meant else f"known: {known}"
            self.problems.append(document.problem(("type",), f"there is no component `{name}`", remedy))
            return
        self.check_file_keys(document)
        self.read_definition(name, document)

    def check_file_keys(self, document: Document) -> None:
        for key in document.value:
            if key not in _FILE_KEYS:
                remedy = choose_from(str(key), _FILE_KEYS, none="")
                self.problems.append(document.problem((key,), f"unknown key `{key}`", remedy, of_key=True))
        if document.value.get("template_vars_module") is not None:
            self.problems.append(
                document.problem(
                    ("template_vars_module",),
                    "variables from Python are not available here",
                    "use {{ env.NAME }}; the terminal reads these files without Dagster",
                    of_key=True,
                )
            )

    def read_definition(self, kind: str, document: Document) -> None:
        value, problems = render(document, self.environ)
        self.problems += problems
        unrendered = {problem.path for problem in problems}
        attributes = value.get("attributes")
        if not isinstance(attributes, dict):
            message = (
                "the key `attributes` is missing" if attributes is None else "must be a mapping (`key: value` lines)"
            )
            self.problems.append(document.problem(("attributes",), message, "indent the settings below `attributes:`"))
            return
        self.written.append(_Written(kind, document, attributes, unrendered, self.is_first(kind, document, attributes)))

    def is_first(self, kind: str, document: Document, attributes: Mapping[str, Any]) -> bool:
        """Whether nothing of this kind and name was met before; else that is a problem."""
        name = attributes.get("name")
        if not isinstance(name, str):
            return True
        first = self.named[kind].setdefault(name, document)
        if first is document:
            return True
        line, _ = first.position(("attributes", "name"))
        message = f"there are two {_in_words(kind)}s called `{name}`; the other is at {shown_path(first.file)}:{line}"
        self.problems.append(document.problem(("attributes", "name"), message, "give one of them another name"))
        return False

    def build(self) -> None:
        """Makes definitions of all that was read, those first that others refer to."""
        self.read_columns()
        for kind in MODELS:
            for written in self.written:
                if written.kind == kind:
                    self.build_definition(written)

    def build_definition(self, written: _Written) -> None:
        kind, document, attributes = written.kind, written.document, written.attributes
        config: Definition | None = None
        before = len(self.problems)
        told = written.unrendered
        is_whole = written.is_first
        if kind == "SyncTemplate" and written.is_first and isinstance(attributes.get("name"), str):
            self.layers[attributes["name"]] = template_layer(document, attributes)
        if kind == "Audience":
            combined = combine(document, attributes, self.layers, self.source_of(attributes))
            document, attributes = combined.document, combined.attributes
            self.problems += combined.problems
            told = told | combined.lacking
            self.merged.append(combined.document)
            is_whole = is_whole and not combined.problems and combined.document.templates <= self.templates.keys()
        try:
            config = MODELS[kind].model_validate(attributes)
        except ValidationError as error:
            found = explain(error, MODELS[kind], attributes, document, ("attributes",))
            # A template that could not be rendered has been reported as such.
            self.problems += [problem for problem in found if problem.path not in told]
        if isinstance(config, SyncTemplateConfig):
            wrong = list(check_template(document, config))
            self.problems += wrong
            config = None if wrong else config
        if kind == "SyncTemplate":
            self.of_templates.update(self.problems[before:])
        if written.unrendered or not is_whole:
            config = None
        self.found.append((kind, document, attributes, config))
        if config is not None:
            self.keep(kind, document, config)

    def source_of(self, attributes: Mapping[str, Any]) -> str:
        """The name of an audience's source, as far as it can be told."""
        model = attributes.get("model")
        if isinstance(model, str) and model in self.models:
            return self.models[model].source
        source = attributes.get("source")
        return source if isinstance(source, str) else ""

    def read_columns(self) -> None:
        """What the warehouse told about columns, recorded beside the definitions."""
        for folder in {written.document.file.parent for written in self.written}:
            found, problems = recorded_columns(folder)
            self.columns |= found
            if self.with_columns:
                self.problems += problems

    def keep(self, kind: str, document: Document, config: Definition) -> None:
        self.files[(document.file.parent, document.index)] = Located(kind, config, document)
        if isinstance(config, SourceConfig):
            self.sources[config.name] = config
        elif isinstance(config, DestinationConfig):
            self.destinations[config.name] = config
        elif isinstance(config, ModelConfig):
            self.models[config.name] = config
        elif isinstance(config, SyncTemplateConfig):
            self.templates[config.name] = config
        elif isinstance(config, PriorityConfig):
            self.priorities[config.name] = config
        elif isinstance(config, SequenceConfig):
            self.sequences[config.name] = config
        elif isinstance(config, AlertsConfig):
            self.alerts = config
        else:
            self.audiences[config.name] = config
            if isinstance(document, MergedDocument):
                for number, sync in enumerate(config.syncs):
                    self.origins[sync_id(config, sync)] = document.syncs[number]

    def check_references(self) -> None:
        """What only shows when everything is known: names of others, and what destinations can do."""
        broken: set[int] = set()
        known_channels = self.check_alerts()
        schema = Schema(self.models, self.columns if self.with_columns else {}, self.audiences)
        for number, (kind, document, attributes, config) in enumerate(self.found):
            before = len(self.problems)
            if isinstance(config, DestinationConfig):
                self.problems += check_destination(document, config)
                self.problems += check_exclusions(document, config)
            elif isinstance(config, ModelConfig):
                sources = self.named["Source"]
                self.problems += check_model(document, config, schema, sources=sources, with_columns=self.with_columns)
                if len(self.problems) > before:
                    self.drop(kind, document, config)  # now: what is about it is not looked at then
            elif kind == "SyncTemplate":
                self.problems += check_template_references(document, attributes, self.named["Destination"])
            elif kind == "Audience":
                self.problems += check_audience(
                    document,
                    attributes,
                    sources=self.named["Source"],
                    models=self.named["Model"],
                    destination_names=self.named["Destination"],
                    destinations=self.destinations,
                    kinds=self.kinds_of(attributes),
                )
                audience = config if isinstance(config, AudienceConfig) else None
                self.problems += check_people(document, attributes, audience, schema, self.destinations, self.named)
                if audience is not None:
                    self.notes += surprises(document, audience, schema)
                if audience is not None and audience.model is not None and audience.model not in self.models:
                    broken.add(number)  # it has nobody to choose from; reported with the model
            elif isinstance(config, PriorityConfig):
                self.problems += check_name(document, ("attributes", "name"), config.name)
                self.problems += check_priority(document, config, schema, self.named["Audience"])
            elif isinstance(config, SequenceConfig):
                self.problems += check_sequence(document, config, self.audiences, self.named["Audience"])
            if known_channels is not None:
                self.problems += check_channels(document, attributes, known_channels)
            if kind == "SyncTemplate":
                self.of_templates.update(self.problems[before:])
            if len(self.problems) > before:
                broken.add(number)
        whole = [(document, config) for _, document, _, config in self.found if isinstance(config, AudienceConfig)]
        self.problems += check_shared_lists(whole)
        lists = [(document, config) for _, document, _, config in self.found if isinstance(config, PriorityConfig)]
        self.problems += check_one_priority(lists)
        for cycle, problem in check_cycles(whole):
            self.problems.append(problem)
            broken |= {
                number
                for number, (_, _, _, config) in enumerate(self.found)
                if getattr(config, "name", "") in cycle and isinstance(config, AudienceConfig)
            }
        for number in broken:
            kind, document, _, config = self.found[number]
            if config is not None:
                self.drop(kind, document, config)

    def kinds_of(self, audience: Mapping[str, Any]) -> dict[str, Kind]:
        """The kinds of an audience's columns, as far as they are recorded."""
        name, model, columns = (audience.get(key) for key in ("name", "model", "columns"))
        return kinds_of(
            Schema(self.models, self.columns),
            audience=name if isinstance(name, str) else "",
            model=None if model is None else str(model),
            columns=columns if isinstance(columns, list) else None,
        )

    def check_alerts(self) -> Collection[str] | None:
        """There is one definition of alerts at most. Answers the channels' names; None where it has mistakes."""
        found = [(document, config) for kind, document, _, config in self.found if kind == "Alerts"]
        for document, _ in found[1:]:
            line, _ = found[0][0].position(("type",))
            message = f"the project's alerts are defined twice; the other is at {shown_path(found[0][0].file)}:{line}"
            self.problems.append(document.problem(("type",), message, "put everything into one of them"))
        if not found:
            return ()
        config = found[0][1]
        return config.channels if isinstance(config, AlertsConfig) else None

    def inherit(self) -> None:
        """Gives each audience what it takes from its model, and each sync what it takes from its audience, its destination
        and the project."""
        schema = Schema(self.models, self.columns, self.audiences)
        for name, audience in self.audiences.items():
            chosen = from_model(audience, schema)
            self.audiences[name] = inherited(chosen, self.destinations, self.alerts, self.priorities.values())
        for place, located in self.files.items():
            if isinstance(located.config, AudienceConfig):
                self.files[place] = replace(located, config=self.audiences[located.config.name])

    def drop(self, kind: str, document: Document, config: BaseModel) -> None:
        """Takes out what turned out to be wrong."""
        self.files.pop((document.file.parent, document.index), None)
        of_kind: dict[str, dict[str, Any]] = {
            "Source": self.sources,
            "Destination": self.destinations,
            "Model": self.models,
            "SyncTemplate": self.templates,
            "Audience": self.audiences,
            "Priority": self.priorities,
            "Sequence": self.sequences,
            "Alerts": {},
        }
        of_kind[kind].pop(getattr(config, "name", ""), None)
