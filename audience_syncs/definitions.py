"""Dagster's entry: everything under ``defs/`` (or the folder that ``AUDIENCE_SYNCS_DEFS`` names)."""

import dagster as dg

from audience_syncs.components.loading import load_definitions


@dg.definitions
def defs() -> dg.Definitions:
    return load_definitions()
