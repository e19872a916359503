"""The platforms, simulated over real HTTP, so that tests and the demo prove the engine without a single mock.

This room is an independent reading of each platform's own documentation: it imports nothing of ours, not even the
configuration model, so that a misreading in a destination shows as a disagreement instead of being mirrored here.

Start it with ``python -m audience_syncs.simulators --port 8765 --state-dir DIR``, or in a test::

    with SimulatorServer() as simulator:
        requests.post(f"{simulator.url}/meta/v26.0/act_1/customaudiences", ...)

``{url}/meta`` stands for https://graph.facebook.com and ``{url}/hubspot`` for https://api.hubapi.com. What the
simulators hold, received and should do wrong is under ``{url}/_simulator``: see ``inspection``.
"""

from __future__ import annotations

from audience_syncs.simulators.app import create_app
from audience_syncs.simulators.server import SimulatorServer, serve

__all__ = ["SimulatorServer", "create_app", "serve"]
