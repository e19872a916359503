"""Status of each sync, computed in one place."""
