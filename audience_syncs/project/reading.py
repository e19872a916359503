"""From files to definitions: what was written is rendered, merged with its templates, and made a definition of its model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from audience_syncs.model.admission import PriorityConfig
from audience_syncs.model.alerts import AlertsConfig
from audience_syncs.model.config import AudienceConfig, DestinationConfig, SourceConfig, sync_id
from audience_syncs.model.schema import ModelConfig, RecordedColumns
from audience_syncs.model.sequences import SequenceConfig
from audience_syncs.model.templates import SyncTemplateConfig
from audience_syncs.project.columns import recorded_columns
from audience_syncs.project.combine import check_template, combine, template_layer
from audience_syncs.project.components import COMPONENTS, MODELS, Definition, component_name, in_words
from audience_syncs.project.explain import explain
from audience_syncs.project.files import is_of_others
from audience_syncs.project.origins import Layer, MergedDocument, SyncOrigins
from audience_syncs.project.problems import Problem, choose_from, nearest, shown_path
from audience_syncs.project.templates import render
from audience_syncs.project.yaml_documents import Document, read_documents

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


class Reading:
    """One pass over all files: what was written, then what it makes. Holds all that is found, and every mistake."""

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
        if is_of_others(file):
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
        name = component_name(document)
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
        message = f"there are two {in_words(kind)}s called `{name}`; the other is at {shown_path(first.file)}:{line}"
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
