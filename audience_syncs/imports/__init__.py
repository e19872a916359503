"""Definitions made from those of other products: what can be said here is written as our YAML, all else is listed."""
