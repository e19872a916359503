"""The user's YAML, read and checked without Dagster: what is defined, and every mistake with file, line and remedy."""

from audience_syncs.project.components import COMPONENTS, MODELS
from audience_syncs.project.load import (
    DEFS_VARIABLE,
    Project,
    check_project,
    configured_defs_dir,
    default_defs_dir,
    load_project,
)
from audience_syncs.project.problems import Problem, format_problems, refusal

__all__ = [
    "COMPONENTS",
    "DEFS_VARIABLE",
    "MODELS",
    "Problem",
    "Project",
    "check_project",
    "configured_defs_dir",
    "default_defs_dir",
    "format_problems",
    "load_project",
    "refusal",
]
