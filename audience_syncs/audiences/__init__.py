"""Evaluates an audience in the warehouse: an immutable, counted snapshot, and who entered and left."""

from audience_syncs.audiences.evaluate import evaluate_audience

__all__ = ["evaluate_audience"]
