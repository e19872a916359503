"""Dagster's entry: everything under ``defs/`` (or the folder that ``AUDIENCE_SYNCS_DEFS`` names)."""

from audience_syncs.components.loading import load_definitions

# An object, not a function under `@dg.definitions`: that one Dagster's code server calls twice, and keeps both results,
# which with many syncs is seconds and megabytes.
defs = load_definitions()
