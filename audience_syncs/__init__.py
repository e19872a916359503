"""Audience Syncs: saved audiences, kept in step with the tools where marketers use them, as Dagster assets.

The rooms of the house, from the top down; each imports only from the rooms below it:

    cli, components, health, realtime    what people and Dagster touch
    project                              reads the YAML of ``defs/``, with file and line for every mistake
    engine                               one sync run: stage, recover, plan, guard, deliver, book, settle
    audiences                            evaluates an audience: snapshot and membership history
    destinations                         the contract, the HTTP client, one module per platform
    warehouse                            connections, dialect differences, state tables
    identifiers                          normalise and hash: pure functions
    model                                typed configuration and value objects; no I/O

``simulators`` (the platforms, over real HTTP) and ``demo`` (the demo shop) stand apart: they import nothing of ours.
"""

__version__ = "0.1.0"
