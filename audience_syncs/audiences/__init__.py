"""Evaluates an audience in the warehouse: an immutable, counted snapshot, and who entered and left."""

from audience_syncs.audiences.evaluate import evaluate_audience
from audience_syncs.audiences.reach import without_identifier

__all__ = ["evaluate_audience", "without_identifier"]
