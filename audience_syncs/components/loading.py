"""A folder of definitions, as Dagster loads it.

Works from a checkout and from an installed wheel alike, where there is no ``pyproject.toml`` to ask; and for a folder
elsewhere, named by ``AUDIENCE_SYNCS_DEFS``, whose Python files can still import each other.
"""

from __future__ import annotations

import hashlib
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from weakref import WeakKeyDictionary

import dagster as dg
from dagster._utils.warnings import suppress_dagster_warnings
from dagster.components.core.component_tree import ComponentTree
from dagster.components.core.component_tree_state import ComponentTreeStateTracker

from audience_syncs.project import Project, configured_defs_dir, load_project

# A tree's equality is by folder; its state tracker is the thing that lives as long as one loading.
_projects: WeakKeyDictionary[ComponentTreeStateTracker, Project] = WeakKeyDictionary()


# As Dagster's own `load_from_defs_folder` does: components are what it warns of as beta, once per asset.
@suppress_dagster_warnings
def load_definitions(defs_dir: Path | None = None) -> dg.Definitions:
    """Dagster's definitions of a folder; DefinitionError with every mistake, file and line, if there are any."""
    folder = configured_defs_dir() if defs_dir is None else defs_dir.absolute()
    tree = component_tree(folder)
    project_of(tree).require_sound()
    # One process for a run, also when somebody presses Materialize on several assets: starting one for each costs
    # seconds, and the work is done by the warehouse and the platforms.
    return dg.Definitions.merge(tree.build_defs(), dg.Definitions(executor=dg.in_process_executor))


def component_tree(folder: Path) -> ComponentTree:
    """The tree of components of a folder."""
    return ComponentTree(defs_module=_module_of(folder), project_root=folder.parent)


def project_of(tree: ComponentTree) -> Project:
    """The project behind a tree, read once however many components ask."""
    project = _projects.get(tree.state_tracker)
    if project is None:
        project = _projects[tree.state_tracker] = load_project(tree.defs_module_path)
    return project


def _module_of(folder: Path) -> ModuleType:
    """A package for the folder, so that Python files in it can be imported; it needs no ``__init__.py``."""
    name = "audience_syncs.defs"
    if folder != configured_defs_dir({}):
        name = f"audience_syncs_defs_{hashlib.sha256(str(folder).encode()).hexdigest()[:12]}"
    known = sys.modules.get(name)
    if known is not None:
        return known
    spec = ModuleSpec(name, loader=None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    module = ModuleType(name)
    module.__spec__ = spec
    module.__path__ = [str(folder)]
    # Dagster asks for it; None says that the folder is all there is.
    module.__file__ = None
    sys.modules[name] = module
    return module
