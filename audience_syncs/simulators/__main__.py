"""``python -m audience_syncs.simulators``: the simulated platforms on this machine's loopback."""

from __future__ import annotations

import argparse
from pathlib import Path

from audience_syncs.simulators.server import LOOPBACK, serve


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m audience_syncs.simulators", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK)
    parser.add_argument("--port", type=int, default=8765, help="0 takes a free one")
    parser.add_argument("--state-dir", type=Path, default=None, help="where state is kept over restarts")
    parser.add_argument("--end-with-stdin", action="store_true", help="end when standard input does")
    asked = parser.parse_args()
    serve(asked.host, asked.port, asked.state_dir, end_with_stdin=asked.end_with_stdin)


if __name__ == "__main__":
    main()
