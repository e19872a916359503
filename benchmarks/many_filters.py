"""Many audiences with filters: what reading and checking them costs, and what compiling them to SQL.

    python benchmarks/many_filters.py [--audiences N] [--repeat N] [--without-checks]

Writes a project of N audiences with a filter of some ten conditions and two syncs each into a temporary folder, and reads it
with `load_project`, as every command does and Dagster's code server; then compiles each to the text of its statement.
`--without-checks` reads the same without what the recorded columns are for. Seconds are CPU time, which other work on the
machine disturbs least.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from audience_syncs.audiences.compile import compile_audience
from audience_syncs.project import configured_defs_dir, format_problems, load_project
from audience_syncs.warehouse.expressions import PostgreSQLExpressions, rendered

FILTER = """\
  model: customers
  filter:
    all:
      - did: cart_adds
        within: 7 days
        where: {{category: Headphones}}
      - did_not: purchases
        where: {{category: Headphones}}
        since: {{last: cart_adds, within: 7 days, where: {{category: Headphones}}}}
      - {{property: ads_consent, equals: true}}
      - {{property: marketing_consent, equals: true}}
      - {{trait: lifetime_value, at_least: {number}}}
      - any:
          - {{property: country, in: [DE, FR, "NO"]}}
          - {{trait: order_count, at_least: 2}}
          - {{has: orders, within: 30 days, where: [{{property: total, at_least: 100}}, {{property: status, equals: paid}}]}}
      - none:
          - {{property: created_at, in_last: 1 days}}
          - {{top: {{percent: 1, by: revenue_365d}}}}
"""


def write_project(folder: Path, audiences: int) -> Path:
    """The demo project's sources, destinations and model, and so many audiences with a filter."""
    own = configured_defs_dir({})
    for name in ("sources", "destinations", "models"):
        shutil.copytree(own / name, folder / name)
    written = (own / "audiences" / "cart_abandoners" / "defs.yaml").read_text(encoding="utf-8")
    syncs = written[written.index("  syncs:") :].replace("Shop: cart abandoners, headphones", "Shop: number {number}")
    for number in range(audiences):
        (folder / "audiences" / f"a{number}").mkdir(parents=True)
        head = f"type: audience_syncs.components.Audience\nattributes:\n  name: a{number}\n"
        text = head + FILTER.format(number=number) + syncs.replace("{number}", str(number))
        (folder / "audiences" / f"a{number}" / "defs.yaml").write_text(text, encoding="utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--audiences", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--without-checks", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = write_project(Path(name), options.audiences)
        load_project(configured_defs_dir({}), {})  # imports
        seconds, compiled = [], []
        for _ in range(options.repeat):
            started = time.process_time()
            project = load_project(folder, {}, with_columns=not options.without_checks)
            seconds.append(time.process_time() - started)
            if project.problems or len(project.audiences) != options.audiences:
                raise SystemExit(format_problems(project.problems) or "not all audiences were read")
            started = time.process_time()
            for audience in project.audiences.values():
                rendered(
                    compile_audience(audience, PostgreSQLExpressions(), datetime.now(UTC)), PostgreSQLExpressions()
                )
            compiled.append(time.process_time() - started)
    print(
        f"{options.audiences} audiences with filters: read in {_shown(seconds)}, compiled in {_shown(compiled)} of CPU time"
    )


def _shown(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} s (from {min(seconds):.2f} to {max(seconds):.2f})"


if __name__ == "__main__":
    main()
