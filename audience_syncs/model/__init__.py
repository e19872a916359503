"""Typed configuration (``config``), value objects (``values``) and errors (``errors``). No I/O."""
